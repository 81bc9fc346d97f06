"""A few rounds of leader_claims.py; scripts/soak runs a thousand."""
import pytest
from leader_claims import Claims, run_claims


def test_nobody_is_entitled_beside_another(make_cluster):
    run = run_claims(make_cluster(3), step_downs=8, stops=2)
    print(run.summary())
    assert len(run.claims.runs) >= 11


@pytest.mark.parametrize("second, what", [
    (dict(node=2, fence=8, sent=1300, received=1301, lease=400), "both may act"),
    (dict(node=1, fence=6, sent=1500, received=1501, lease=400), "a fence went back"),
])
def test_the_checker_finds(second, what):
    claims = Claims()
    claims.add(1, 7, 1000, 1001, 400)
    claims.add(**second)
    assert what in claims.violations[0]


def test_the_checker_takes_what_is_right():
    claims = Claims()
    claims.add(1, 7, 1000, 1001, 400)
    claims.add(2, 8, 1000, 1500, 400)  # answered too late to act on it
    claims.add(2, 8, 1400, 1401, 400)
    claims.add(2, 8, 1500, 1501, 400)
    assert not claims.violations
    assert [r.fence for r in claims.runs] == [7, 8]
