"""Ten rounds of kill_rounds.py; scripts/soak runs hundreds."""
import pytest

import kill_rounds


@pytest.mark.parametrize("nodes, rounds", [(3, 10), (5, 4)])
def test_kill_rounds(make_cluster, nodes, rounds):
    run = kill_rounds.run_rounds(make_cluster(nodes), rounds, seed=1, writers=2 * nodes, say=print)
    print(run.summary())
    assert len(run.gaps) == rounds and run.history.count > 10 * rounds
