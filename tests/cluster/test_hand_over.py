"""Handing leadership over: planned stops that no request notices, and hand-overs that cannot be."""
import re
import time

import pytest
from hand_overs import run_hand_overs
from harness import ELECTION_TIMEOUT_S, SLOWDOWN, wait_until
from load import Load

SLACK_S = 0.5  # two cores, and processes to start


@pytest.mark.parametrize("mode", ["step-down", "transfer", "rolling"])
def test_no_request_notices(make_cluster, mode):
    run = run_hand_overs(make_cluster(3), mode, rounds=10, clients=16)
    print(run.summary())


def timed(node, *words):
    began = time.monotonic()
    answer = node.ctl(*words)
    return answer, time.monotonic() - began


def check_ended(answer, took, codes, still_leads):
    assert answer.error in codes, answer
    assert took < ELECTION_TIMEOUT_S * SLOWDOWN + SLACK_S * SLOWDOWN, f"took {took:.2f} s: {answer}"
    wait_until(lambda: still_leads.ctl("put", "after", "1").code == 0, 5, "the cluster writes on")


def test_nobody_to_hand_over_to(make_cluster):
    """The only other voters are stopped for long enough not to count as reachable."""
    cluster = make_cluster(3, options={"raft.election_timeout": "3s"}).formed()
    leader = cluster.leader()
    others = cluster.others(leader)
    for node in others:
        node.pause()
    wait_until(lambda: all(m["contact_ms"] > 400 for m in leader.ok("members")["members"]
                           if m["id"] != leader.id), 5, "the others are silent")
    answer, took = timed(leader, "step-down")
    assert answer.error == "no_target" and "0 of 2 other voters" in answer.message, answer
    assert took < 1 * SLOWDOWN
    for node in others:
        node.resume()
    wait_until(lambda: leader.ctl("put", "after", "1").code == 0, 5, "the cluster writes on")


def test_a_single_node_has_nobody(single):
    node = single[1]
    answer = node.ctl("step-down")
    assert (answer.code, answer.error) == (1, "no_target")
    assert node.ok("transfer", 1)["to"] == 1, "it leads already"
    assert node.ctl("transfer", 2).code == 7


def test_to_a_paused_target(trio):
    leader = trio.leader()
    target = trio.others(leader)[0]
    term = leader.status()["term"]
    target.pause()
    answer, took = timed(leader, "transfer", target.id)
    check_ended(answer, took, {"unreachable", "transfer_failed"}, leader)
    if answer.error == "transfer_failed":  # the target had been told: that leadership is over
        assert leader.status()["term"] > term
    target.resume()
    trio.settled()


def test_to_a_target_that_lags_by_50000_entries(make_cluster):
    """It was away while 50,000 entries were written; it has answered again, and no more than that. All of
    the log is kept: a snapshot would be there too soon."""
    cluster = make_cluster(3, options={"storage.log_keep_entries": "1000000",
                                       "storage.log_keep_bytes": "1G"}).formed()
    leader = cluster.leader()
    target = cluster.others(leader)[0]
    target.kill()
    goal = leader.status()["last_index"] + 150000  # it is seen when it has many of them already
    while leader.status()["last_index"] < goal:
        leader.ok("bench", "--clients", "512", "--duration", "3s", "--size", "512")
    target.start(wait=False)

    def heard():
        shown = next(m for m in leader.ok("members")["members"] if m["id"] == target.id)
        return shown if shown["contact_ms"] < 200 * SLOWDOWN else None
    shown = wait_until(heard, 10, "the target has answered again")
    assert shown["lag"] > 50000 or SLOWDOWN > 1, shown
    answer, took = timed(leader, "transfer", target.id)
    if answer.code == 0:
        assert answer.obj["to"] == target.id
        assert took < (ELECTION_TIMEOUT_S + SLACK_S) * SLOWDOWN
    else:
        check_ended(answer, took, {"not_caught_up"}, leader)
    cluster.settled(seconds=30)


def test_during_a_change_of_the_membership(make_cluster):
    cluster = make_cluster(3, options={"raft.election_timeout": "10s"}).formed()
    leader = cluster.leader()
    others = cluster.others(leader)
    for node in others:
        node.pause()
    pending = leader.ctl("remove-server", others[0].id, timeout="300ms")
    assert pending.error == "unknown_outcome", pending
    answer, took = timed(leader, "step-down")
    assert (answer.code, answer.error) == (1, "change_pending"), answer
    assert took < 1 * SLOWDOWN
    second = leader.ctl("demote", others[1].id)
    assert (second.code, second.error) == (1, "change_pending"), second
    assert re.search(r"index \d+ is not committed", second.message)
    for node in others:
        node.resume()
    cluster.agree_on({leader.id: "voter", others[1].id: "voter"})
    assert leader.ctl("put", "after", "1").code == 0


def test_only_voters_take_over(make_cluster):
    cluster = make_cluster(3).formed()
    leader = cluster.leader()
    other = cluster.others(leader)[0]
    leader.ok("demote", other.id)
    answer = leader.ctl("transfer", other.id)
    assert (answer.code, answer.error) == (1, "no_target"), answer
    assert leader.ctl("transfer", 99).code == 7


def test_watch_tells_of_it(trio):
    leader = trio.leader()
    follower = trio.others(leader)[0]
    fence = leader.status()["fence"]
    with follower.watch() as watch:
        watch.until(lambda line: line["leader"] and line["leader"]["id"] == leader.id, 5, "the leader")
        done = follower.ok("step-down")
        assert done["from"] == leader.id and done["term"] > fence
        line = watch.until(lambda line: line["leader"] and line["leader"]["id"] == done["to"], 5,
                           "the new leader")
        assert line["fence"] > fence


def test_two_are_never_entitled_at_once(trio):
    """Each yes is good until it was asked plus the rest of its lease: none overlaps with another's."""
    claims = []  # (from, until, node, fence)

    def poll():
        for node in trio:
            asked = time.monotonic()
            answer = node.ctl("is-leader").obj
            if answer["is_leader"]:
                claims.append((asked, asked + answer["lease_remaining_ms"] / 1000, node.id,
                               answer["fence"]))
    for number in range(10):
        poll()
        trio[1 + number % 3].ok("step-down")
        end = time.monotonic() + 0.7 * SLOWDOWN
        while time.monotonic() < end:
            poll()
    for begin, _, node, fence in claims:
        for other_begin, until, other, other_fence in claims:
            assert not (other != node and other_begin < begin < until), \
                f"node {node} is told yes for fence {fence} while node {other}'s {other_fence} holds"
    assert len({fence for *_, fence in claims}) >= 5, "several of them came to claim"


def test_sigterm_hands_over(trio):
    leader = trio.leader()
    with Load(lambda: trio.others(leader), 4) as load:
        wait_until(lambda: load.count() > 20, 10, "writes are acknowledged")
        began = time.monotonic()
        leader.stop()
        assert time.monotonic() - began < 2 * SLOWDOWN
        count = load.count()
        wait_until(lambda: load.count() > count + 20, 10, "writes go on")
    load.check(trio.running())
    assert "hands over to node" in leader.log_text()
    leader.start()


def test_sigterm_without_anybody_to_hand_over_to(make_cluster):
    cluster = make_cluster(3, options={"raft.election_timeout": "2s",
                                       "raft.shutdown_transfer_timeout": "1s"}).formed()
    leader = cluster.leader()
    for node in cluster.others(leader):
        node.pause()
    began = time.monotonic()
    leader.stop()
    assert time.monotonic() - began < 3 * SLOWDOWN
