"""What HTTP clients can do to a node that leads: nothing that the others, or those who write, notice.

The figures that are printed (pytest -s) are of one machine that does other things, too.
"""
import json
import random
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from cost import KEPT_BY_SANITIZER, MIB, anonymous_bytes, cpu_seconds, descriptors
from harness import ROOT, SLOWDOWN, wait_until
from load import Load
from peer import send

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
REQUEST_S = 10  # a whole request has to be there by then
LINES_MAX = 128
WATCHERS = 1000
SPARE = 256     # connections more than max_watchers


pytestmark = pytest.mark.usefixtures("many_descriptors")


# ---- Looking at a node ----

def metrics(node):
    lines = node.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in
            (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


class Watchman(threading.Thread):
    """Asks /v1/leader all the time, each time over a new connection, as a health check does."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.stopping = threading.Event()
        self.took = []
        self.failed = []
        self.most_memory = 0

    def run(self):
        while not self.stopping.wait(0.02):
            began = time.monotonic()
            try:
                answer = self.node.get("/v1/leader")
                if not (answer.status == 200 and answer.obj["is_leader"]):
                    self.failed.append(answer)
            except (OSError, ValueError, EOFError) as error:
                self.failed.append(error)
            self.took.append(time.monotonic() - began)
            self.most_memory = max(self.most_memory, anonymous_bytes(self.node))


@pytest.fixture(name="leader")
def _leader(trio, request):
    """A leader that is attacked while somebody writes through it and somebody asks who leads: at the
    end it leads in the same term, and all of that went well."""
    leader = trio.leader()
    wait_until(lambda: leader.get("/health/leader").status == 200, 10, "it claims")
    term, fds, memory = leader.status()["term"], descriptors(leader), anonymous_bytes(leader)
    watchman = Watchman(leader)
    with Load(lambda: [leader], 1) as load:
        watchman.start()
        yield leader
        watchman.stopping.set()
        watchman.join(10 * SLOWDOWN)
    written = load.check([leader])
    status = leader.status()
    assert status["is_leader"] and status["term"] == term, "an election was forced"
    assert not watchman.failed, f"{len(watchman.failed)}: {watchman.failed[:3]}"
    assert watchman.took, "nobody looked"
    wait_until(lambda: metrics(leader)["raftd_http_connections"] == 1, 5, "they have left")
    wait_until(lambda: descriptors(leader) <= fds, 5, "their descriptors are given back")
    grown = anonymous_bytes(leader) - memory
    print(f"\n{request.node.name}: {written} writes, none failed; /v1/leader {len(watchman.took)} "
          f"times, max {1000 * max(watchman.took):.0f} ms; anonymous memory before "
          f"{memory // 1024} KiB, most {watchman.most_memory // 1024} KiB, after {grown // 1024:+d} KiB")
    assert grown < 24 * MIB + KEPT_BY_SANITIZER  # the writes are in there, too


# ---- Clients ----

def read_all(s):
    """What is said up to the end of the connection."""
    said = b""
    try:
        while piece := s.recv(65536):
            said += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return said


def status_of(said):
    return int(said.split()[1]) if said.startswith(b"HTTP/1.") else None


def refused(node, data):
    """Send it over a connection of its own: the status of the answer, None when there was none."""
    with node.connect_http() as s:
        send(s, data)
        return status_of(read_all(s))


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


# ---- Attacks ----

def test_slow_loris(leader):
    crowd = [leader.connect_http() for _ in range(300)]
    began, open_ones = time.monotonic(), list(crowd)
    selector = selectors.DefaultSelector()
    for s in crowd:
        selector.register(s, selectors.EVENT_READ)
    next_byte = began
    while open_ones:
        assert time.monotonic() - began < (REQUEST_S + 3) * SLOWDOWN, f"{len(open_ones)} still open"
        if time.monotonic() >= next_byte:
            next_byte += 0.5
            for s in open_ones:
                send(s, b"G")
        for key, _ in selector.select(0.1):
            assert not read_all(key.fileobj)
            selector.unregister(key.fileobj)
            open_ones.remove(key.fileobj)
    assert time.monotonic() - began > REQUEST_S - 1
    for s in crowd:
        s.close()


def test_headers_that_are_too_large(leader):
    start = b"GET /livez HTTP/1.1\r\n"
    for data in (start + b"a: " + b"x" * 9000 + b"\r\n\r\n",
                 b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
                 start + b"a: " + b"x" * (4 * MIB),
                 start + b"a: bcdefghijklmnopqrstuvwxyz\r\n" * 400 + b"\r\n",
                 start + b" more\r\n" * 100000,
                 start + b":\n" * 100000,
                 start + b"a: b\r\n" * (LINES_MAX + 1) * 2):
        assert refused(leader, data) in (400, None), data[:60]
    crowd = []
    for _ in range(500):  # the most memory for the fewest bytes
        s = leader.connect_http()
        send(s, start + b":\n" * (LINES_MAX - 10))
        crowd.append(s)
    for s in crowd:
        s.close()


def test_bodies_and_methods(leader):
    post = b"POST /livez HTTP/1.1\r\nHost: x\r\n"
    for head, status in ((b"Content-Length: 4000000\r\n\r\n", 413),
                         (b"Content-Length: 99999999999999999999\r\n\r\n", 413),
                         (b"Content-Length: -1\r\n\r\n", 400),
                         (b"Transfer-Encoding: chunked\r\n\r\n400000\r\n", 413),
                         (b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", 413)):
        assert refused(leader, post + head) == status, head
        assert refused(leader, post + head + b"x" * 4 * MIB) in (status, None), head
    # Chunks that never end: bufferevents with a read watermark never come back from the first one.
    for tail in (b"a" * 20000, b"a" * 4 * MIB, b"\r\n" * MIB, b"\r" * 40000):
        s = leader.connect_http()
        send(s, post + b"Transfer-Encoding: chunked\r\n\r\n" + tail)
        assert leader.get("/livez").status == 200, tail[:4]
        reset(s)
    for method in (b"BREW", b"PROPFIND", b"get", b"G" * 5000):
        assert refused(leader, method + b" /livez HTTP/1.1\r\n\r\n") == 501, method[:10]


def test_a_long_poll_that_is_reset_costs_nothing(leader):
    etag = leader.get("/v1/leader").obj["etag"]
    for _ in range(50):
        s = leader.connect_http()
        send(s, f"GET /v1/leader?wait=10m&after={etag} HTTP/1.1\r\n\r\n".encode())
        wait_until(lambda: metrics(leader)["raftd_http_watchers"] == 1, 5, "it waits")
        reset(s)
        wait_until(lambda: metrics(leader)["raftd_http_watchers"] == 0, 5, "it has left")


def test_pipelined(leader):
    count = 10000
    with leader.connect_http() as s:
        began = time.monotonic()
        data = b"".join(GET.replace(b"/livez", b"/livez" if i % 3 else b"/health/follower")
                        for i in range(count))
        writer = threading.Thread(target=send, args=(s, data), daemon=True)
        writer.start()
        said, seen = s.makefile("rb"), []
        for _ in range(count):
            seen.append(status_of(said.readline()))
            length = 0
            while (line := said.readline()) != b"\r\n":
                name, _, value = line.partition(b": ")
                length = int(value) if name == b"Content-Length" else length
            said.read(length)
        writer.join()
        took = time.monotonic() - began
    assert seen == [200 if i % 3 else 503 for i in range(count)]
    print(f"\n{count} pipelined requests: {count / took:.0f}/s")


def test_two_thousand_connections(leader):
    crowd = [leader.connect_http() for _ in range(2000)]
    wait_until(lambda: metrics(leader)["raftd_http_connections"] <= 1024 + SPARE, 5,
               "the slowest are cut off")
    for s in crowd:
        send(s, GET)
    answered = 0
    for s in crowd:
        answered += status_of(s.recv(4096) if not_reset(s) else b"") == 200
        s.close()
    print(f"\n2000 connections at once: {answered} answered")
    assert answered > 1000


def not_reset(s):
    try:
        return bool(s.recv(1, socket.MSG_PEEK))
    except ConnectionResetError:
        return False


def test_five_hundred_that_ask_as_fast_as_they_can(leader):
    """Each sends its next request when it has an answer."""
    selector, answers = selectors.DefaultSelector(), 0
    crowd = [leader.connect_http() for _ in range(500)]
    for i, s in enumerate(crowd):
        path = (b"/livez", b"/metrics", b"/v1/status", b"/v1/leader")[i % 4]
        request = GET.replace(b"/livez", path)
        selector.register(s, selectors.EVENT_READ, request)
        send(s, request)
    began = time.monotonic()
    while time.monotonic() - began < 5:
        for key, _ in selector.select(1):
            assert key.fileobj.recv(1 << 16)
            answers += 1
            send(key.fileobj, key.data)
    print(f"\n500 clients: {answers / 5:.0f} requests/s")
    for s in crowd:
        s.close()


def test_random_bytes(leader):
    seed = random.randrange(1 << 32)
    print(f"\nseed {seed}")
    source = random.Random(seed)
    pieces = [b"GET ", b"/livez", b"/v1/watch", b"/v1/leader?wait=1s&after=", b" HTTP/1.1", b"\r\n",
              b"\r\n\r\n", b"\n", b"Transfer-Encoding: chunked", b"Content-Length: 0", b"Expect: "
              b"100-continue", b"Connection: close", b"0\r\n", b"5\r\n", b"\0", b"%00", b":", b" "]
    for i in range(1500):
        with leader.connect_http() as s:
            if i % 3:
                send(s, b"".join(source.choices(pieces, k=source.randrange(30))))
            else:
                send(s, source.randbytes(source.randrange(20000)))
            if i % 2:
                reset(s)


def test_thousands_of_connections_one_after_the_other(leader):
    began = time.monotonic()
    for i in range(6000):
        s = leader.connect_http()
        if i % 3 == 1:
            send(s, GET if i % 2 else GET[:10])
        if i % 3 == 2:
            reset(s)
        s.close()
    print(f"\n6000 connections: {6000 / (time.monotonic() - began):.0f}/s")


# ---- Streams ----

class Streams:
    """tests/cluster/http_streams.py"""

    def __init__(self, node, count):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable,
             ROOT / "tests/cluster/http_streams.py", node.http, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.last = None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.last = json.loads(line)

    def all_see(self, node, count):
        """The state that the node is in, all of them, and none was cut off."""
        etag = node.get("/v1/leader").obj["etag"]
        seen = self.last
        return seen and seen.get("states") == {etag: count} and seen["closed"] == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def slow_reader(node):
    host, port = node.http.rsplit(":", 1)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    s.connect((host, int(port)))
    s.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
    return s


def test_a_thousand_streams(make_cluster):
    cluster = make_cluster(3, options={"http.max_watchers": WATCHERS}).formed()
    leader = cluster.leader()
    wait_until(lambda: leader.get("/health/leader").status == 200, 10, "it claims")
    before, fds = anonymous_bytes(leader), descriptors(leader)
    with Streams(leader, WATCHERS) as streams:
        wait_until(lambda: streams.all_see(leader, WATCHERS), 15, "all are told the first state")
        per_client = (anonymous_bytes(leader) - before) // WATCHERS
        assert leader.get("/v1/watch").status == 503, "one too many"
        cpu, began = cpu_seconds(leader), time.monotonic()
        while time.monotonic() - began < 3:
            leader.get("/livez")
            time.sleep(0.1)
        cpu = (cpu_seconds(leader) - cpu) / (time.monotonic() - began)
        took = []
        for _ in range(4):  # it follows, and leads again
            now = cluster.leader()
            began = time.monotonic()
            now.ok("step-down" if now is leader else "transfer", *([] if now is leader else [leader.id]))
            wait_until(lambda: streams.all_see(leader, WATCHERS), 10, "all are told the next state")
            took.append(1000 * (time.monotonic() - began))
        most = anonymous_bytes(leader) - before
        assert metrics(leader)["raftd_http_watchers"] == WATCHERS
    wait_until(lambda: metrics(leader)["raftd_http_watchers"] == 0, 10, "they have left")
    wait_until(lambda: descriptors(leader) <= fds, 5, "their descriptors are given back")
    print(f"\n{WATCHERS} streams: {per_client} bytes each, after {len(took)} changes of the leader "
          f"{most // WATCHERS}; CPU {100 * cpu:.1f} % while nothing changes; all told of a change "
          f"and back {max(took):.0f} ms after it was asked for")
    assert most < WATCHERS * 32 * 1024 + KEPT_BY_SANITIZER


def test_a_slow_reader_is_cut_off(make_cluster):
    cluster = make_cluster(1, options={"http.max_watchers": 20, "raft.heartbeat_interval": "20ms",
                                       "raft.election_timeout": "60ms"}).formed()
    node = cluster[1]
    with Streams(node, 10) as streams:
        wait_until(lambda: streams.all_see(node, 10), 10, "ten are told the state")
        began = time.monotonic()
        with slow_reader(node):
            wait_until(lambda: metrics(node)["raftd_http_watchers"] == 11, 10, "it is one, too")
            wait_until(lambda: metrics(node)["raftd_http_watchers"] == 10, 60, "it is cut off")
            print(f"\ncut off after {time.monotonic() - began:.1f} s")
        assert streams.all_see(node, 10), streams.last
