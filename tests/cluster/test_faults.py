"""Nodes that die, hang and come back: nothing acknowledged is lost, nobody claims what is not his."""
import signal
import subprocess
import time

import pytest

from harness import ELECTION_TIMEOUT_S, SLOWDOWN, wait_until

T = ELECTION_TIMEOUT_S


def put_many(node, prefix, count):
    """Write through one connection; the acknowledged keys and values."""
    done = {}
    with node.batch() as batch:
        for i in range(count):
            answer = batch.ask(f"put {prefix}{i} {prefix}v{i}")
            assert "revision" in answer, answer
            done[f"{prefix}{i}"] = f"{prefix}v{i}"
    return done


def read_all(node, prefix):
    return {kv["key"]: kv["value"] for kv in node.ok("list", prefix)["kvs"]}


def test_leader_killed_and_restarted(trio):
    leader = trio.leader()
    done = put_many(leader, "a", 50)
    leader.kill()
    killed = time.monotonic()
    others = trio.others(leader)
    done["b"] = "after"
    others[0].ok("put", "b", "after")
    gap = time.monotonic() - killed
    assert gap < (2 * T + 1.5) * SLOWDOWN, f"{gap:.3f} s from the kill to the next write"
    second = trio.leader()
    assert second is not leader and second.status()["term"] > 1
    leader.start()
    trio.settled()
    for node in trio:
        found = {**read_all(node, "a"), **read_all(node, "b")}
        assert found == done


def test_follower_killed_and_restarted(trio):
    leader = trio.leader()
    follower = trio.others(leader)[0]
    term = leader.status()["term"]
    follower.kill()
    done = put_many(leader, "a", 300)
    member = next(m for m in wait_until(
        lambda: next((s for s in [leader.status()] if s["quorum"]["reachable"] == 2), None), 10,
        "the leader misses the follower")["members"] if m["id"] == follower.id)
    assert not member["connected"] and member["lag"] > 0
    assert "degraded" in leader.run("status", text=True).stdout
    follower.start()
    states = trio.settled()
    assert {s["term"] for s in states} == {term}, "a follower that returns must not cost a term"
    assert read_all(follower, "a") == done


def test_whole_cluster_killed_keeps_its_data(trio):
    done = put_many(trio[2], "k", 200)
    before = trio.settled()[0]
    for _ in range(3):
        for node in trio:
            node.kill()
        trio.start()
        states = trio.settled()
        assert states[0]["revision"] == before["revision"]
        assert states[0]["cluster"]["id"] == before["cluster"]["id"]
        assert read_all(trio[1], "k") == done


def test_all_stopped_and_started_one_by_one(trio):
    done = put_many(trio[1], "k", 20)
    for node in trio:
        node.stop()
    trio[3].start()
    answer = trio[3].ctl("get", "k1", timeout="1s")
    assert answer.code == 4 and answer.error == "no_quorum"
    trio[2].start()
    trio.settled(among=[trio[2], trio[3]])
    assert read_all(trio[3], "k") == done
    trio[1].start()
    trio.settled()


def test_sigterm_is_clean_for_each_role(trio):
    for _ in range(2):
        leader = trio.leader()
        for node in [trio.others(leader)[0], leader]:
            start = time.monotonic()
            node.stop(seconds=7)
            assert "stopped exit=0" in node.log_text()
            assert time.monotonic() - start < 7 * SLOWDOWN
            assert not node.sock.exists(), "the admin socket stays behind"
            node.start()
            trio.settled()


def test_sigint_is_clean(single):
    single[1].signal(signal.SIGINT)
    single[1].wait_exit(expect=0)


def test_sigterm_ends_while_nothing_can_be_committed(trio):
    leader = trio.leader()
    for node in trio.others(leader):
        node.kill()
    with leader.batch() as batch:
        batch.send("put k v")
        wait_until(lambda: leader.status()["last_index"] > leader.status()["commit_index"], 5,
                   "the write waits")
        start = time.monotonic()
        leader.signal(signal.SIGTERM)
        answer = batch.line(10)
        assert answer["error"]["code"] in ("unknown_outcome", "no_quorum", "no_leader"), answer
        leader.wait_exit(10, expect=0)
        assert time.monotonic() - start < 8 * SLOWDOWN


def test_no_quorum_is_answered_by_the_deadline(trio):
    leader = trio.leader()
    for node in trio.others(leader):
        node.kill()
    start = time.monotonic()
    answer = leader.ctl("put", "k", "v", timeout="1s")
    took = time.monotonic() - start
    assert answer.code in (4, 5), answer
    assert answer.error in ("no_leader", "no_quorum", "timeout", "unknown_outcome")
    assert 0.9 < took < 1 + 1 * SLOWDOWN, f"answered after {took:.3f} s"
    wait_until(lambda: not leader.status()["is_leader"], 3 * T, "it stops claiming")
    # Now there is no leader: what is asked now is surely not done, and the answer says so.
    wait_until(lambda: leader.status()["state"] != "leader", 6 * T, "it steps down")
    for words in (("put", "k2", "v"), ("del", "k"), ("get", "k"), ("list",)):
        start = time.monotonic()
        answer = leader.ctl(*words, timeout="500ms")
        assert answer.code == 4 and answer.error == "no_quorum", (words, answer)
        assert "1 of 3 voters reachable, 2 needed" in answer.message
        assert time.monotonic() - start < 0.5 + 1 * SLOWDOWN
        assert leader.run(*words, timeout="500ms").returncode == 4
    answer = leader.ctl("leader")
    assert answer.code == 4 and answer.error == "no_leader" and answer.message
    answer = leader.ctl("bench", "--duration", "200ms", timeout="300ms")
    assert answer.code == 4 and answer.error in ("no_leader", "no_quorum")
    state = leader.status()
    assert state["leader"] is None and state["reason"], "status works without a leader and says why"
    assert [m["match_index"] for m in state["members"]].count(None) >= 2
    text = leader.run("status", text=True)
    assert text.returncode == 0 and "NO QUORUM" in text.stdout
    # The first one told the truth: its outcome was open. What was refused is not there.
    for node in trio.others(leader):
        node.start()
    trio.settled()
    assert leader.ctl("get", "k2").code == 7


def test_followers_without_leader_answer_truthfully(trio):
    leader = trio.leader()
    one, two = trio.others(leader)
    leader.pause()
    two.pause()
    answer = one.ctl("put", "k", "v", timeout="1s")
    assert answer.code in (4, 5) and answer.error in ("no_leader", "no_quorum", "unknown_outcome")
    answer = one.ctl("get", "k", timeout="1s")
    assert answer.code in (4, 5) and answer.error in ("no_leader", "no_quorum", "timeout")
    # Their links stay up for long; what counts is that nobody answers.
    wait_until(lambda: one.status()["quorum"]["reachable"] == 1, 5 * T, "stopped processes do not count")
    answer = one.ctl("put", "k", "v", timeout="1s")
    assert answer.code == 4 and answer.error == "no_quorum", answer
    leader.resume()
    two.resume()
    trio.settled()


@pytest.mark.parametrize("words, error", [
    (("put", "k", "v"), "unknown_outcome"), (("del", "k"), "unknown_outcome"), (("get", "k"), "timeout"),
    (("list",), "timeout")])
def test_leader_that_hangs_for_a_moment(trio, words, error):
    """The deadline passes while the leader is still believed in: what was handed over may happen."""
    leader = trio.leader()
    follower = trio.others(leader)[0]
    leader.ok("put", "k", "old")
    trio.settled()
    leader.pause()
    answer = follower.ctl(*words, timeout="150ms")
    leader.resume()
    assert (answer.code, answer.error) == (5, error), answer
    trio.settled()
    leader = trio.leader()
    leader.pause()
    done = trio.others(leader)[0].run(*words, timeout="150ms", text=True)
    leader.resume()
    assert done.returncode == 5 and error in done.stderr and done.stdout == ""


def test_paused_leader_never_claims_nor_reads_stale(trio):
    """SIGSTOP for 10 s: the questions wait in its sockets, and are the first it answers."""
    leader = trio.leader()
    others = trio.others(leader)
    leader.ok("put", "k", "old")
    with leader.batch() as asking, leader.batch() as reading, leader.watch() as watching:
        assert asking.ask("is-leader")["is_leader"]
        assert reading.ask("get k")["value"] == "old"
        assert watching.line(10)["is_leader"]
        leader.pause()
        asking.send("is-leader")
        reading.send("get k")
        second = wait_until(lambda: next((n for n in others if n.status()["is_leader"]), None), 10,
                            "another leads")
        second.ok("put", "k", "new")
        # Ten seconds in all, during which the new one keeps its claim.
        end = time.monotonic() + 10
        while time.monotonic() < end:
            assert second.status()["is_leader"]
            time.sleep(0.1)
        leader.resume()
        first = asking.line(10)
        assert first["is_leader"] is False and not first["lease_remaining_ms"], \
            f"first answer after the pause: {first}"
        assert reading.line(20)["value"] == "new"
        # A stream of questions: it never says yes while the other, undisturbed, leads.
        for _ in range(200):
            assert not asking.ask("is-leader")["is_leader"]
        watching.until(lambda line: line["leader"] and line["leader"]["id"] == second.id, 10,
                       "the new leader")
    trio.settled()


def test_a_pause_is_no_stall(single):
    """The disk of who did not run for longer than stall_timeout is as good as before."""
    node = single[1]
    with subprocess.Popen(node.command("bench", "--clients", "16", "--size", "1000", "--duration", "60s"),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as load:
        time.sleep(0.5)
        for _ in range(4):
            node.pause()
            time.sleep(3)
            node.resume()
            time.sleep(0.3)
        load.kill()
    assert "the log disk hangs" not in node.log_text()
    assert node.status()["term"] == 2, "it went on leading"


@pytest.mark.parametrize("pause_ms", [200, 450, 700, 1200])
def test_claims_never_overlap_over_short_pauses(trio, pause_ms):
    """Claims are handed out until (time asked + lease_remaining); two nodes' never overlap."""
    clients = {n: n.batch() for n in trio}
    claims = []  # (from, until, node), by this machine's one clock

    def ask_all(nodes):
        for node in nodes:
            asked = time.monotonic()
            answer = clients[node].ask("is-leader")
            if answer["is_leader"]:
                claims.append((asked, asked + answer["lease_remaining_ms"] / 1000, node.id))
        time.sleep(0.002)

    for _ in range(2):
        leader = trio.leader()
        ask_all(trio)
        leader.pause()
        woken = time.monotonic() + pause_ms / 1000
        while time.monotonic() < woken:
            ask_all(trio.others(leader))
        leader.resume()
        end = time.monotonic() + 2 * T
        while time.monotonic() < end:
            ask_all(trio)
    for conversation in clients.values():
        conversation.end()
    ends = {}  # node -> the latest end of its claims
    for asked, until, node in sorted(claims):
        for other, end in ends.items():
            assert other == node or asked >= end, \
                f"node {node} claims {1000 * (end - asked):.0f} ms before node {other}'s claim ends"
        ends[node] = max(until, ends.get(node, 0))
    assert len(claims) > 10


def test_paused_follower_costs_no_term(trio):
    leader = trio.leader()
    follower = trio.others(leader)[0]
    term = leader.status()["term"]
    for _ in range(3):
        follower.pause()
        time.sleep(2.5 * T)
        follower.resume()
        states = trio.settled()
        assert {s["term"] for s in states} == {term}
        assert {s["leader"]["id"] for s in states} == {leader.id}


def test_a_write_rides_over_the_change_of_leader(trio):
    """The client asked once; the node it asked hands it to whoever leads next."""
    leader = trio.leader()
    one, two = trio.others(leader)
    with one.batch() as batch:
        batch.ask("put warm up")
        leader.kill()
        for i in range(5):
            assert "revision" in batch.ask(f"put k{i} v")
    assert len(read_all(two, "k")) == 5
    versions = [kv["version"] for kv in two.ok("list", "k")["kvs"]]
    assert versions == [1] * 5, "each was applied once"


def test_five_nodes_survive_two(make_cluster):
    cluster = make_cluster(5).formed()
    done = put_many(cluster[1], "k", 20)
    leader = cluster.leader()
    victims = [leader, cluster.others(leader)[0]]
    for node in victims:
        node.kill()
    rest = cluster.others(*victims)
    done["k-after"] = "x"
    rest[0].ok("put", "k-after", "x")
    assert read_all(rest[1], "k") == done
    for node in victims:
        node.start()
    cluster.settled()
    assert read_all(victims[0], "k") == done


def test_one_winner_per_revision(trio):
    """C2: many clients race a compare-and-set."""
    clients = [node.batch() for node in trio for _ in range(8)]
    revision = 0
    for round_number in range(10):
        for i, client in enumerate(clients):
            client.send(f"put race {round_number}-{i} --if-revision {revision}")
        answers = [client.line(20) for client in clients]
        winners = [a for a in answers if "revision" in a]
        assert len(winners) == 1, winners
        assert all(a["error"]["code"] == "conflict" for a in answers if "error" in a)
        revision = winners[0]["revision"]
    for client in clients:
        assert client.end() == 0
