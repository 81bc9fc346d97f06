"""A few rounds of exec_rounds.py; scripts/soak runs hundreds."""
import exec_rounds


def test_exec_rounds(make_cluster):
    run = exec_rounds.run_rounds(make_cluster(3), 8, seed=1, say=print)
    print(run.summary())
    assert len(run.witness.runs) > 8
