"""Who leads: leader, is-leader, members, wait, watch, status; and log-level and bench."""
import threading
import time

import pytest

from harness import ELECTION_TIMEOUT_S, SLOWDOWN, wait_until


def test_leader_is_the_same_everywhere(make_cluster):
    cluster = make_cluster(3, options={"node.uri": "amqp://10.0.0.1:5672"}).formed()
    leader = cluster.leader()
    for node in cluster:
        answer = node.ok("leader")
        assert answer["leader"] == {"id": leader.id, "address": leader.address,
                                    "uri": "amqp://10.0.0.1:5672"}
        assert answer["term"] == answer["fence"] == leader.status()["term"]
        assert str(leader.id) in node.run("leader", text=True).stdout


def test_is_leader_says_yes_to_one(trio):
    leader = trio.leader()
    for node in trio:
        answer = node.ctl("is-leader")
        assert answer.code == (0 if node is leader else 1)
        assert answer.obj["is_leader"] is (node is leader)
        if node is leader:
            assert 0 < answer.obj["lease_remaining_ms"] <= 0.8 * 1000 * ELECTION_TIMEOUT_S
            assert answer.obj["fence"] == leader.status()["term"]
        else:
            assert not answer.obj["lease_remaining_ms"]
        assert node.run("is-leader").returncode == answer.code


def test_members(trio):
    for node in trio:
        answer = node.ok("members")
        assert answer["pending"] is False and answer["index"] >= 1
        assert [(m["id"], m["role"], m["address"], m["name"]) for m in answer["members"]] == \
            [(n.id, "voter", n.address, f"n{n.id}") for n in trio]
        text = node.run("members", text=True).stdout
        assert all(n.address in text for n in trio)


def test_status_for_people(trio):
    text = trio[1].run("status", text=True).stdout
    assert "healthy" in text and all(n.address in text for n in trio)
    victim = trio.others(trio.leader())[0]
    victim.kill()
    node = trio.others(victim)[0]
    wait_until(lambda: "degraded: 2 of 3 voters reachable, tolerates 0 failures" in
               node.run("status", text=True).stdout, 10, "degraded, with numbers")


def test_wait_that_holds_already(trio):
    leader = trio.leader()
    for node in trio:
        for what in ("has-leader", "voter", "caught-up"):
            assert node.ok("wait", "--for", what)["waited_ms"] < 5000 * SLOWDOWN
    assert leader.ok("wait", "--for", "leader")["waited_ms"] < 1000 * SLOWDOWN


def test_wait_times_out(trio):
    follower = trio.others(trio.leader())[0]
    start = time.monotonic()
    answer = follower.ctl("wait", "--for", "leader", timeout="400ms")
    assert answer.code == 5 and answer.error == "timeout" and "follower" in answer.message
    assert 0.35 < time.monotonic() - start < 0.4 + 1 * SLOWDOWN
    assert follower.run("wait", "--for", "leader", timeout="100ms").returncode == 5


def test_wait_for_leader_ends_when_this_node_leads(trio):
    leader = trio.leader()
    others = trio.others(leader)
    answers = {}

    def wait_for(node):
        answers[node] = node.ctl("wait", "--for", "leader", timeout=f"{int(6000 * SLOWDOWN)}ms")

    threads = [threading.Thread(target=wait_for, args=(n,)) for n in others]
    for thread in threads:
        thread.start()
    leader.kill()
    second = trio.leader()
    wait_until(lambda: second in answers, 5, "the wait on the new leader ends")
    assert answers[second].code == 0
    for thread in threads:
        thread.join()
    third = next(n for n in others if n is not second)
    assert answers[third].code == 5 and answers[third].error == "timeout"


def test_wait_for_caught_up(trio):
    leader = trio.leader()
    follower = trio.others(leader)[0]
    follower.stop()
    with leader.batch() as batch:
        for i in range(500):
            batch.send(f"put k{i} v")
        for _ in range(500):
            batch.line(20)
    index = leader.status()["commit_index"]
    follower.start(wait=False)
    follower.wait_ready()
    assert follower.ok("wait", "--for", "caught-up", timeout="20s")["waited_ms"] >= 0
    assert follower.status()["applied_index"] >= index


def connections(node):
    """How many are connected to its socket."""
    with open("/proc/net/unix", encoding="utf-8") as table:
        rows = [line.split() for line in table]
    return sum(row[-1] == str(node.sock) and row[5] == "03" for row in rows)


def test_wait_ends_with_the_daemon(trio):
    node = trio.others(trio.leader())[0]
    answers = []
    thread = threading.Thread(target=lambda: answers.append(node.ctl("wait", "--for", "leader",
                                                                     timeout="20s")))
    thread.start()
    wait_until(lambda: connections(node), 5, "raftctl is connected")
    node.stop()
    thread.join(10 * SLOWDOWN)
    assert answers and answers[0].code in (1, 3), answers
    assert answers[0].error in ("not_ready", "unreachable")


def test_watch_shows_every_change(trio):
    leader = trio.leader()
    one, two = trio.others(leader)
    with one.watch() as watch:
        first = watch.line(5)
        assert first.keys() >= {"state", "term", "leader", "fence", "lease_remaining_ms"}
        assert first["leader"]["id"] == leader.id and first["state"] == "follower"
        leader.kill()
        watch.until(lambda x: x["leader"] is None, 5, "no leader is known")
        changed = watch.until(lambda x: x["leader"] is not None, 10, "a new leader")
        assert changed["leader"]["id"] in (one.id, two.id)
        assert changed["term"] > first["term"] and changed["fence"] == changed["term"]
        assert changed["is_leader"] == (changed["leader"]["id"] == one.id)
        one.stop()
        last = watch.until(lambda x: "error" in x, 5, "the end of the stream")
        assert last["error"]["code"] in ("not_ready", "unreachable")
        assert watch.process.wait(5) in (1, 3)


def test_watch_shows_that_a_claim_lapsed(trio):
    leader = trio.leader()
    with leader.watch() as watch:
        assert watch.line(5)["is_leader"]
        for node in trio.others(leader):
            node.pause()
        line = watch.until(lambda x: not x["is_leader"], 5, "the claim lapses without any event")
        assert line["lease_remaining_ms"] == 0 and line["reason"]


def test_quiet_watch_is_quiet(trio):
    """Nothing changes: nothing is printed, although leases are renewed all the time."""
    with trio.leader().watch() as watch:
        assert watch.line(5)
        assert watch.line(4 * ELECTION_TIMEOUT_S / SLOWDOWN) is None


def test_many_watchers(trio):
    leader = trio.leader()
    watches = [node.watch() for node in trio for _ in range(20)]
    for watch in watches:
        assert watch.line(10)
    leader.kill()
    for watch in watches:
        if watch.node is not leader:
            watch.until(lambda x: x["leader"] and x["leader"]["id"] != leader.id, 10, "a new leader")
    for watch in watches:
        watch.__exit__()


def test_log_level(single):
    node = single[1]
    mark = node.log_mark()
    assert node.ok("log-level", "debug") == {}
    wait_until(lambda: "log level set" in node.logged_since(mark), 5, "the change is logged")
    assert node.ok("log-level", "error") == {}
    mark = node.log_mark()
    node.restart()
    assert "raftd: ready" in node.logged_since(mark), "until it restarts"


@pytest.mark.parametrize("op", ["put", "get"])
def test_bench(trio, op):
    for node in trio:
        answer = node.ok("bench", "--clients", "16", "--size", "64", "--duration", "500ms", "--op", op)
        assert answer["ops"] > 10 and answer["errors"] == 0
        assert 0 < answer["p50_us"] <= answer["p99_us"] <= answer["max_us"]
        assert answer["ops_per_s"] > 0
    assert not trio[1].ok("list", "bench/")["kvs"], "its keys are deleted"


def test_bench_keep_and_text(single):
    done = single[1].run("bench", "--duration", "200ms", "--keep", text=True)
    assert done.returncode == 0 and "p99" in done.stdout
    assert single[1].ok("list", "bench/")["kvs"]


def test_bench_loses_its_daemon(trio):
    node = trio[2]
    answers = []
    thread = threading.Thread(target=lambda: answers.append(node.ctl("bench", "--duration", "20s")))
    thread.start()
    wait_until(lambda: node.ok("list", "bench/")["kvs"], 10, "the load runs")
    node.kill()
    thread.join(15 * SLOWDOWN)
    assert answers and answers[0].code == 3 and answers[0].error == "unreachable"
