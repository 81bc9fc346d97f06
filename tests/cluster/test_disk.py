"""Disks that fail: system calls of the unmodified binary are made to fail by strace."""
import signal
import time

import pytest

from harness import EXIT_DISK_FULL, EXIT_IO, wait_until
from inject import Injected, strace_works

pytestmark = pytest.mark.skipif(not strace_works(), reason="strace cannot trace here (ptrace)")


def test_sync_that_fails_ends_the_node_before_any_answer(trio):
    """D2: EIO from fdatasync: exit 81, no reply that depended on it, and nothing lost elsewhere."""
    leader = trio.leader()
    victim, other = trio.others(leader)
    victim.stop()
    written = 0
    with Injected(victim, "fdatasync:error=EIO:when=5+") as node:
        node.start()
        with other.batch() as batch:
            # A slow victim takes many entries in one commit: write until it has met the error.
            deadline = time.monotonic() + 20
            while node.is_running() and time.monotonic() < deadline:
                assert "revision" in batch.ask(f"put k{written} v")
                written += 1
        assert node.wait_exit(1) == EXIT_IO
        node.may_exit_with.add(EXIT_IO)
    errors = [x for x in victim.log_text().splitlines() if " error " in x]
    assert any("EIO" in x or "Input/output error" in x for x in errors), errors
    victim.start()
    trio.settled()
    assert len(victim.ok("list", "k")["kvs"]) == written


def test_sync_that_fails_on_the_only_node(single):
    """What was acknowledged is there after the restart; what met the error was not acknowledged."""
    node = single[1]
    node.stop()
    acked = 0
    with Injected(node, "fdatasync:error=EIO:when=12+"):
        node.start()
        for i in range(100):
            answer = node.ctl("put", f"k{i}", "v", timeout="3s")
            if answer.code != 0:
                assert answer.code in (3, 5) and answer.error in ("unknown_outcome", "unreachable")
                break
            acked += 1
        assert node.wait_exit(20) == EXIT_IO
        node.may_exit_with.add(EXIT_IO)
    assert 0 < acked < 100
    node.start()
    single.settled()
    found = len(node.ok("list", "k")["kvs"])
    assert acked <= found <= acked + 1


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_file_system_that_is_full(single, call):
    node = single[1]
    node.stop()
    with Injected(node, f"{call}:error=ENOSPC:when=12+"):
        node.start(wait=False)
        node.wait_ready_or_ended()
        wait_until(lambda: not node.is_running() or node.ctl("put", "k", "v", timeout="1s").code, 20,
                   "the disk is full")
        status = node.wait_exit(20)
    node.may_exit_with.add(status)
    assert status == EXIT_DISK_FULL
    node.start()
    single.settled()
    assert node.ok("put", "k", "w")


@pytest.mark.parametrize("error", ["EROFS", "EACCES", "ENOMEM"])
def test_disk_that_fails_under_a_node_that_serves(single, error):
    """It was opened: whatever the error is called, it is the disk's (81) and not the configuration's."""
    node = single[1]
    node.stop()
    with Injected(node, f"fdatasync:error={error}:when=20+"):
        node.start()
        wait_until(lambda: not node.is_running() or node.ctl("put", "k", "v", timeout="1s").code, 20,
                   "the disk fails")
        node.wait_exit(20, expect=EXIT_IO)
    assert "check the disk and the kernel log" in node.log_text()
    node.start()
    single.settled()


def fill(node):
    """Write until a write is refused: that answer."""
    with node.batch() as batch:
        for i in range(400):
            answer = batch.ask(f"put k{i} {'v' * 10000}")
            if "error" in answer:
                return answer["error"]
    raise AssertionError("400 writes of 10 kB fit into a map of 1 MB")


def test_log_that_fills_the_map(make_cluster):
    """Writes are refused before the map is full; the cluster stays one, and a larger map helps."""
    cluster = make_cluster(3, options={"storage.map_size": "1M"})
    cluster.formed()
    leader = cluster.leader()
    error = fill(leader)
    assert error["code"] == "no_space"
    assert "of storage.map_size (1M)" in error["message"] and "raise it" in error["message"]
    big = "v" * 10000
    for node in cluster.others(leader):
        answer = node.ctl("put", "k", big)
        assert answer.code == 1 and answer.error == "no_space" and "storage.map_size" in answer.message
    assert leader.ok("get", "k0")["value"] == big
    cluster.settled()
    # Elections go on, with an entry each.
    for _ in range(3):
        cluster.leader().restart()
        cluster.settled()
    assert cluster.leader().ctl("put", "k", big).error == "no_space"
    for node in cluster:
        assert all(x.status == 0 for x in node.exits), "nobody ended for it"
        node.stop()
    cluster.options["storage.map_size"] = "16M"
    for node in cluster:
        node.start(wait=False)
    for node in cluster:
        node.wait_ready()
    cluster.settled()
    assert cluster[1].ok("put", "k", big)


def test_follower_with_a_smaller_map_ends_and_says_why(make_cluster):
    """It cannot refuse what the leader takes: exit 80, and a larger map brings it back."""
    cluster = make_cluster(3, options={"storage.map_size": "64M"})
    cluster.formed()
    leader = cluster.leader()
    victim = cluster.others(leader)[0]
    victim.stop()
    victim.options["storage.map_size"] = "1M"
    victim.start()
    with leader.batch() as batch:
        for i in range(150):
            assert "revision" in batch.ask(f"put k{i} {'v' * 10000}")
    victim.wait_exit(20, expect=EXIT_DISK_FULL)
    assert "raise storage.map_size" in victim.log_text()
    assert "the log fills storage.map_size" in victim.log_text(), "it said so before"
    del victim.options["storage.map_size"]
    victim.start()
    cluster.settled()


def test_slow_disk_of_a_follower_slows_nobody(trio):
    leader = trio.leader()
    victim = trio.others(leader)[0]
    victim.stop()
    with Injected(victim, "fdatasync:delay_enter=300000") as node:
        node.start()
        with leader.batch() as batch:
            for i in range(100):
                assert "revision" in batch.ask(f"put k{i} v", seconds=5)
        assert trio.leader(among=trio.others(victim)) is leader
        trio.settled(seconds=60)


def kill_with_strace(node):
    """By itself strace would wait out its delay before it saw the end."""
    node.signal(signal.SIGKILL)
    node.process.kill()
    node.kill()


def lead_with(cluster, victim):
    """Have this node lead before its disk hangs."""
    def leads():
        leader = cluster.leader()
        return leader is victim or not leader.ctl("transfer", victim.id, timeout="5s")
    wait_until(leads, 30, f"n{victim.id} leads")


def test_leader_whose_disk_hangs_tells_a_successor(make_cluster):
    """D4: a sync that takes 30 s. Who has all entries is told to lead; nobody has to miss the old leader
    first, which goes on answering, knows why, and passes on what it is asked."""
    cluster = make_cluster(3, options={"storage.stall_timeout": "1s"})
    cluster.formed()
    victim = cluster[1]
    others = cluster.others(victim)
    victim.stop()
    with Injected(victim, "fdatasync:delay_enter=30000000:when=150+"):
        victim.start()
        lead_with(cluster, victim)
        term = victim.status()["term"]
        written = 0
        with victim.batch(timeout="25s") as batch:
            # The others are a majority: writes go on over the hang, over the hand-over, and after it.
            while victim.status()["disk"]["state"] != "stalled":
                assert "revision" in batch.ask(f"put k{written} v", seconds=25)
                written += 1
                assert written < 3000, "its disk hangs"
            new = wait_until(lambda: next((n for n in others if n.status()["is_leader"]), None), 10,
                             "another node leads")
            assert "revision" in batch.ask("put after v", seconds=25)
        seen = victim.status()
        assert seen["disk"]["state"] == "stalled" and seen["reason"].startswith("disk: "), seen
        assert not seen["is_leader"] and seen["term"] > term
        assert "disk stalled" in victim.run("status", text=True).stdout
        log = victim.log_text()
        assert "disk: a log commit is overdue" in log
        assert len(new.ok("list", "k")["kvs"]) == written
        kill_with_strace(victim)
    victim.start()
    cluster.settled()


def test_leader_whose_disk_hangs_gives_way(make_cluster):
    """D4: another leads within stall_timeout and an election; the old one goes on answering."""
    cluster = make_cluster(3, options={"storage.stall_timeout": "500ms"})
    cluster.formed()
    victim = cluster[1]
    victim.stop()
    with Injected(victim, "fdatasync:delay_enter=8000000:when=40+"):
        victim.start()
        # It has to lead before its disk hangs: the others make room.
        others = cluster.others(victim)
        for _ in range(20):
            if cluster.leader() is victim:
                break
            leader = cluster.leader()
            leader.restart()
            cluster.leader()
        else:
            pytest.fail("the node with the slow disk never led")
        with victim.batch(timeout="20s") as batch:
            for i in range(60):
                batch.send(f"put k{i} v")
            new = wait_until(lambda: next((n for n in others if n.status()["is_leader"]), None), 15,
                             "another node leads")
            assert victim.ctl("leader").code in (0, 4), "it answers"
            assert new.ok("put", "after", "v")
            for i in range(60):
                answer = batch.line(30)
                assert answer and ("revision" in answer or
                                   answer["error"]["code"] in ("unknown_outcome", "no_leader"))
        victim.kill()
    victim.start()
    cluster.settled()
