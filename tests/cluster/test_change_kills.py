"""A few rounds of change_kills.py; scripts/soak runs hundreds."""
import change_kills


def test_change_kills(make_cluster):
    run = change_kills.run_change_kills(8, 1, make_cluster(3), print)
    print(run.summary())
    assert sum(run.outcomes.values()) == 8
