"""A few rounds of haproxy_rounds.py; scripts/soak runs twenty of each."""
from haproxy_rounds import run_rounds


def test_connections_go_to_the_leader_only(make_cluster):
    print(run_rounds(make_cluster(3), step_downs=3, kills=2, tell=print).summary())
