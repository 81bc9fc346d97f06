"""What raftd tells systemd: READY, STATUS, WATCHDOG, STOPPING."""
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from harness import SLOWDOWN, wait_until
from inject import Attached, Injected, strace_works


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)
        self.seen = []

    def read(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return self.seen
            self.seen += [(time.monotonic(), line) for line in text.splitlines()]

    def lines(self):
        return [line for _, line in self.read()]

    def wait(self, predicate, what, seconds=10):
        return wait_until(lambda: next((x for x in self.lines() if predicate(x)), None), seconds, what)


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = f"\0raftd-test-{os.getpid()}-{time.monotonic_ns()}" if request.param == "abstract" \
        else str(tmp_path / "notify")
    made = Manager(name)
    made.name = name.replace("\0", "@")
    yield made
    made.socket.close()


def test_life_of_a_service(make_cluster, manager):
    cluster = make_cluster(1)
    node = cluster[1]
    node.env = {"NOTIFY_SOCKET": manager.name}
    node.start()
    manager.wait(lambda x: x == "READY=1", "READY")
    assert node.ctl("leader").code in (0, 4), "it serves when it says so"
    cluster.settled()
    manager.wait(lambda x: x.startswith("STATUS=leader, term"), "STATUS tells who leads")
    node.stop()
    lines = manager.lines()
    assert lines.count("READY=1") == 1 and lines.count("STOPPING=1") == 1
    assert lines.index("READY=1") < lines.index("STOPPING=1")
    assert not any(x.startswith("WATCHDOG") for x in lines), "nobody asked for it"


def test_ready_without_quorum(make_cluster, manager):
    """READY means that it serves, not that there is a quorum."""
    node = make_cluster(3)[1]
    node.env = {"NOTIFY_SOCKET": manager.name}
    node.start()
    manager.wait(lambda x: x == "READY=1", "READY")
    manager.wait(lambda x: x.startswith("STATUS=forming") and "node 2" in x, "STATUS says what is missing")


def test_no_ready_when_it_cannot_start(make_cluster, manager):
    node = make_cluster(1)[1]
    node.env = {"NOTIFY_SOCKET": manager.name}
    node.data.write_text("no directory")
    node.start(wait=False)
    status = node.wait_exit()
    node.may_exit_with.add(status)
    assert status in (78, 81) and "READY=1" not in manager.lines()


def test_watchdog_stops_when_the_loop_hangs(make_cluster, manager):
    cluster = make_cluster(1)
    node = cluster[1]
    node.env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"}
    node.start()
    cluster.settled()

    def pings():
        return [at for at, line in manager.read() if line == "WATCHDOG=1"]

    wait_until(lambda: len(pings()) >= 8, 10, "the watchdog is fed")
    at = pings()
    assert max(b - a for a, b in zip(at, at[1:])) < 0.4 * SLOWDOWN, "in time, always"
    assert len(at) < 40, "and not in every turn"
    node.pause()
    count = len(pings())
    time.sleep(0.6)
    assert len(pings()) == count
    node.resume()
    wait_until(lambda: len(pings()) > count, 5, "it is fed again")


@pytest.mark.skipif(not strace_works(), reason="strace cannot trace here (ptrace)")
def test_watchdog_stops_when_only_the_loop_hangs(make_cluster, manager):
    """The threads of the disk go on: they must not feed it."""
    cluster = make_cluster(1)
    node = cluster[1]
    node.env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"}
    node.start()
    cluster.settled()

    def pings():
        return sum(line == "WATCHDOG=1" for line in manager.lines())

    with Attached(node, "epoll_wait,epoll_pwait,epoll_pwait2:delay_enter=2000000:when=2"):
        time.sleep(0.5)
        count = pings()
        time.sleep(0.8)
        assert pings() == count, "the loop waits"
        wait_until(lambda: pings() > count, 5, "it is fed again")


FAST_CLOCK = """#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t)
{
    long code = syscall(SYS_clock_gettime, id, t);
    if (code == 0 && id == CLOCK_BOOTTIME) {
        long long ns = (t->tv_sec % 100000 * 1000000000LL + t->tv_nsec) * 10000;
        t->tv_sec = ns / 1000000000;
        t->tv_nsec = ns % 1000000000;
    }
    return (int)code;
}
"""


def test_a_long_log_asks_for_more_time(single, manager, tmp_path):
    """Verifying what 2,000 entries are takes many of its seconds, for a process whose clock is 10,000 times too fast."""
    (tmp_path / "fast.c").write_text(FAST_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "fast.so", "fast.c"], cwd=tmp_path, check=True)
    node = single[1]
    batch = "".join(f"put k {i}\n" for i in range(2000))
    assert node.run("batch", stdin=batch.encode()).returncode == 0
    node.stop()
    node.env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000", "LD_PRELOAD": str(tmp_path / "fast.so")}
    node.start(wait=False)
    time.sleep(1)  # the manager is busy: its queue is full
    manager.wait(lambda x: x == "READY=1", "READY is not lost")
    node.kill()  # with that clock it is of no other use
    lines = manager.lines()
    lines = lines[:lines.index("READY=1")]
    assert "EXTEND_TIMEOUT_USEC=30000000" in lines and "WATCHDOG=1" in lines, lines
    assert any(x.startswith("STATUS=verifying the log: entry ") and " of 200" in x for x in lines), lines
    node.env = {}
    node.start()
    single.settled()


def test_watchdog_of_another_process_is_left_alone(make_cluster, manager):
    node = make_cluster(1)[1]
    node.env = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    node.start()
    time.sleep(0.5)
    assert "WATCHDOG=1" not in manager.lines()


def test_journal_gets_priorities(make_cluster):
    """With JOURNAL_STREAM naming its stderr, lines begin with <N> and have no time of their own."""
    cluster = make_cluster(1)
    node = cluster[1]
    node.log_path.touch()
    stat = node.log_path.stat()
    node.env = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
    node.start()
    node.ok("wait", "--for", "leader")
    assert all(line[0] == "<" and line[2] == ">" for line in node.log_text().splitlines())


def test_json_log(make_cluster):
    import json  # pylint: disable=import-outside-toplevel
    cluster = make_cluster(1, options={"log.format": "json"})
    cluster.formed()
    cluster[1].stop()
    lines = [json.loads(line) for line in cluster[1].log_text().splitlines()]
    assert {"time", "level", "room", "message"} <= lines[0].keys()
    assert any(x["message"] == "ready" for x in lines)


def hears_sigterm(node):
    """Has raftd itself a handler for SIGTERM yet?"""
    try:
        text = pathlib.Path(f"/proc/{node.pid}/status").read_text()
    except OSError:
        return False
    facts = dict(line.split(":", 1) for line in text.splitlines())
    return facts["Name"].strip() == "raftd" and int(facts["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.skipif(not strace_works(), reason="strace cannot trace here (ptrace)")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_before_the_log_is_verified(single, manager, number):
    """A start that takes long can be stopped: cleanly, and it never says READY."""
    node = single[1]
    node.stop()
    mark = node.log_mark()
    node.env = {"NOTIFY_SOCKET": manager.name}
    with Injected(node, "flock:delay_exit=1000000"):
        node.start(wait=False)
        wait_until(lambda: hears_sigterm(node), 5, "raftd has begun")
        node.signal(number)
        node.wait_exit(10, expect=0)
    text = node.logged_since(mark)
    assert text.count("stopping") == 1 and "exit=0" in text and "raftd: ready" not in text
    lines = manager.lines()
    assert lines.count("STOPPING=1") == 1 and "READY=1" not in lines
    node.env = {}
    node.start()
    single.settled()


def test_stop_at_any_moment_of_the_start(single):
    node = single[1]
    for i in range(25):
        node.stop()
        node.start(wait=False)
        wait_until(lambda: hears_sigterm(node), 5, "raftd has begun")
        time.sleep(0.002 * i)  # another moment each time
        node.signal(signal.SIGTERM)
        node.wait_exit(10, expect=0)
        if i % 8 == 0:
            node.start()
            single.settled()
        else:
            node.start(wait=False)
            node.wait_ready()
