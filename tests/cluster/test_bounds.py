"""What others can cost a node, whoever they are: S1 to S8, in this order. They are closed or refused, it costs
little, and the cluster does not notice. The figures are printed (pytest -s).

S1 lengths of frames            here, on the peer port (plain, TLS; before and after a hello) and the admin socket
S2 random, cut, changed bytes   here; a proxy changes what members say to each other
S3 submessage bombs             here; the allocator's cap in tests/unit/wire/test_arena.c
S4 idle and slow connections    here; admin: 256 and no more in test_access.py, HTTP in test_http_limits.py
S5 no descriptor is left        here, for each of the ports
S6 another uid changes things   test_access.py: test_data_and_changes_need_permission (with the audit line),
                                test_refusals_do_not_flood_the_log
S7 certificates                 test_tls.py: test_a_dialler_is_refused, test_an_acceptor_is_refused: none, another
                                authority, expired, another node, another cluster
S8 absurd numbers of a member   here; the rule in tests/golden/rule-an-absurd-term.txt

Strangers who say hello are in test_peer_port.py.
"""
import concurrent.futures
import os
import random
import resource
import socket
import struct
import threading
import time

import pytest

from certs import Certs
from conftest import unmoved
from cost import MIB, Cost, cpu_share
from harness import SLOWDOWN, Cluster, Node, wait_until
from load import Load
from peer import (CHANGE, FORWARD, HELLO, HELLO_S, PROGRESS, PROGRESS_ASK, RAFT, closed_at_once, cluster_id, connect,
                  frame, frame_head, greeted, hello, is_closed, message, raw_frame, send, store_of, varint)
from proxy import behind_proxies

pytestmark = pytest.mark.usefixtures("many_descriptors")

HELLO_MAX = 4096
FRAME_MAX = 8 * MIB
ADMIN_MAX = 2 * MIB + 64 * 1024
STRANGERS_MAX = 64
AHEAD_MAX = (1 << 40) - 1  # RAFT_AHEAD_MAX


class Impostor:
    """A cluster of three of which one is stopped, and somebody who says to be that one, and may."""

    def __init__(self, cluster, certs=None):
        self.cluster = cluster
        self.leader = cluster.leader()
        self.gone = cluster.others(self.leader)[0]
        self.store = store_of(self.gone)
        self.id = cluster_id(self.leader)
        self.stores = {n.id: store_of(n) for n in cluster}
        self.tls = certs.client(self.gone.id) if certs else None
        self.gone.stop()

    def returns(self):
        """The member itself."""
        self.gone.start()
        self.cluster.settled()
        self.cluster.linked()

    def said(self, **options):
        return hello(self.gone.id, self.store, cluster=self.id, empty=False, **options)

    def connect(self, node=None):
        s, kind, answer = greeted(node or self.leader, self.said(), self.tls)
        assert kind == HELLO and answer.get(1) == [self.id], "it is not taken for a member"
        return s


class Standing:
    """A cluster for many tests, made for the first of them, and made anew after one that failed."""

    def __init__(self, directory, tls, proxied):
        self.cluster = Cluster(3, name=directory.name)
        self.certs = Certs(directory) if tls else None
        if tls:
            self.certs.use(self.cluster.nodes)
        self.proxies = behind_proxies(self.cluster) if proxied else {}
        self.cluster.formed().linked()

    def close(self):
        try:
            self.cluster.close()
        finally:
            for proxy in self.proxies.values():
                proxy.close()


@pytest.fixture(scope="module", name="standing")
def _standing(tmp_path_factory):
    made = {}
    yield made, tmp_path_factory.mktemp("certs")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(Standing.close, made.values()))


@pytest.fixture(name="stand")
def _stand(standing, request):
    """stand(kind): the cluster of that kind."""
    made, directory = standing
    used = set()

    def stand(kind):
        if kind not in made:
            made[kind] = Standing(directory / kind, "tls" in kind, "proxied" in kind)
        used.add(kind)
        return made[kind]
    yield stand
    for kind in used:
        if getattr(request.node, "failed_before", False):
            one = made.pop(kind)
            one.cluster.keep = True
            one.cluster.print_logs()
            one.close()


@pytest.fixture(name="steady")
def _steady(stand):
    yield from unmoved(stand("plain").cluster)


@pytest.fixture(params=["plain", "tls"])
def impostor(stand, request):
    """The leader has to be the same afterwards, and the member itself comes back."""
    one = stand(request.param)
    who = Impostor(one.cluster, one.certs)
    term = who.leader.status()["term"]
    yield who
    assert who.leader.status()["term"] == term and who.leader.status()["is_leader"], "an election was forced"
    who.returns()


def admin_connect(node):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10 * SLOWDOWN)
    wait_until(lambda: s.connect_ex(str(node.sock)) == 0, 10, "it accepts connections")
    return s


def writers(nodes):
    return Load(lambda: nodes, len(nodes), name=f"w{time.monotonic_ns()}-")


# ---- S1: lengths ----

BAD_LENGTHS = (0, 3, 1 << 31, (1 << 32) - 1)


def test_s1_lengths_on_the_peer_port(impostor):
    leader = impostor.leader
    with Cost([leader]):
        for _ in range(5):
            for length in (*BAD_LENGTHS, HELLO_MAX - 4 + 1, FRAME_MAX - 4 + 1):
                closed_at_once(connect(leader, impostor.tls), frame_head(length))
            for length in (*BAD_LENGTHS, FRAME_MAX - 4 + 1):
                closed_at_once(impostor.connect(), frame_head(length))


def test_s1_lengths_on_the_admin_socket(steady):
    node = steady[1]
    with Cost([node]):
        for _ in range(5):
            for length in (0, 3, ADMIN_MAX - 4 + 1, 1 << 31, (1 << 32) - 1):
                closed_at_once(admin_connect(node), struct.pack("<IBBH", length, 1, 0, 0))


def drip(s, pieces, pause, cost):
    for piece in pieces:
        send(s, piece)
        time.sleep(pause)
    cost.sample()


def test_s1_the_longest_frame_comes_slowly(impostor):
    """Memory follows the bytes, the others' links and the writes go on; and all of it costs one frame."""
    leader = impostor.leader
    with writers([leader]) as load:
        with Cost([leader], memory=3 * MIB, space=6 * MIB) as cost, impostor.connect() as s:
            drip(s, [frame_head(FRAME_MAX - 4, 100), *[bytes(64 * 1024)] * 15], 0.05, cost)
        with Cost([leader], memory=2 * FRAME_MAX + 4 * MIB, space=64 * MIB) as cost:
            with impostor.connect() as s:
                drip(s, [frame_head(FRAME_MAX - 4, 100), *[bytes(64 * 1024)] * 127], 0, cost)
                send(s, bytes(64 * 1024 - 8))
                assert is_closed(s)  # that is no envelope
    load.check([leader])
    assert load.longest_silence() < 1000 * SLOWDOWN


# ---- S2: bytes that are not what was said ----

def test_s2_random_bytes(steady):
    seed = random.randrange(1 << 32)
    print(f"\nseed {seed}")
    rng = random.Random(seed)
    with Cost(steady.nodes):
        for i in range(150):
            for node in steady:
                with admin_connect(node) if i % 3 == 0 else connect(node) as s:
                    data = rng.randbytes(rng.randrange(1, 4000))
                    send(s, data if i % 2 else frame_head(8 + len(data) % 4000, 8) + data)
                    if i % 5:
                        s.shutdown(socket.SHUT_WR)


def flip(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]


def cut(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 12):]


def insert(rng, data):
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:]


def struck(proxy, change, seconds):
    """That connection is closed in time."""
    proxy.strike(change)
    assert proxy.hit.wait(10 * SLOWDOWN), "nothing passed"
    assert proxy.struck.closed.wait(seconds * SLOWDOWN), "what was changed is not noticed"


def test_s2_a_changed_value_is_never_stored(stand):
    """One bit of a value on its way to a follower, and of one on its way to the leader: no protocol is broken by
    that, only the sum tells."""
    cluster, proxies = stand("proxied-plain").cluster, stand("proxied-plain").proxies
    cluster.linked()
    leader = cluster.leader()
    for i, to in enumerate([*cluster.others(leader), leader]):
        via = leader if to is not leader else cluster.others(leader)[0]
        value = f"value-{i}-" + "x" * 50

        def change(data, value=value.encode()):
            at = data.find(value)
            return None if at < 0 else data[:at + 20] + b"y" + data[at + 21:]
        proxies[to.id].strike(change)
        via.ok("put", f"k{i}", value)
        assert proxies[to.id].hit.wait(5 * SLOWDOWN), "it did not pass here"
        assert proxies[to.id].struck.closed.wait(3 * SLOWDOWN), "a changed value was taken"
        wait_until(lambda n=to: "a sum is wrong" in n.log_text(), 5, "it says so")
        cluster.settled()
        for node in cluster:
            assert node.ok("get", f"k{i}")["value"] == value


# TLS does not look at a record before all of it is there: when its length is wrong, 16 KiB of heartbeats.
NOTICED_S = {"proxied-plain": 3, "proxied-tls": 30}


@pytest.mark.parametrize("kind", NOTICED_S)
def test_s2_changed_bytes(stand, kind):
    cluster, proxies = stand(kind).cluster, stand(kind).proxies
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    began = time.monotonic()
    rounds = 0
    with writers(cluster.nodes) as load:
        for change in (flip, cut, insert, flip) * 4:
            for proxy in proxies.values():
                struck(proxy, lambda data, c=change: c(rng, data) if rng.random() < 0.5 else None, NOTICED_S[kind])
                rounds += 1
        cluster.linked()
    written = load.check(cluster.nodes)
    cluster.settled()
    print(f"\nseed {seed}: {rounds} changes in {time.monotonic() - began:.1f} s, {written} writes, none lost; longest "
          f"silence {load.longest_silence():.0f} ms", end="")


# ---- S3: a small message of a great many empty ones ----

def test_s3_submessage_bombs(impostor):
    leader = impostor.leader
    rows = b"\x08\x01" + b"\x22\x00" * 32600  # of a Progress
    bombs = {
        "before the hello": (None, raw_frame(message([(HELLO, b"\x72\x00" * 2000)]))),
        "rows": (impostor, raw_frame(message([(PROGRESS, rows)]))),
        "bindings": (impostor, raw_frame(message([(HELLO, b"\x72\x00" * 2000)]))),
        "unknown fields": (impostor, raw_frame(message([(PROGRESS, b"\xf8\x3f\x01" * 21000)]))),
        "entries": (impostor, frame(RAFT, [(16, bytes(65000))])),
    }
    with Cost([leader]) as cost:
        for who, bomb in bombs.values():
            for _ in range(10):
                closed_at_once(who.connect() if who else connect(leader, impostor.tls), bomb)
                cost.sample()
        for _ in range(10):
            closed_at_once(admin_connect(leader), admin_request(b"\xf8\x3f\x01" * 21000))
            cost.sample()


# ---- S4: connections that are idle or slow ----

class Crowd(threading.Thread):
    """Strangers who say nothing, each back as soon as it is closed: all places are always taken."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.count = 0
        self.stopping = threading.Event()

    def run(self):
        held = []
        while not self.stopping.wait(0.002):
            try:
                held.append(connect(self.node))
                self.count += 1
            except OSError:
                pass
            if len(held) > 2 * STRANGERS_MAX:
                held.pop(0).close()
        for s in held:
            s.close()

    def __enter__(self):
        self.start()
        wait_until(lambda: self.count > 2 * STRANGERS_MAX, 10, "the crowd is there")
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join(10 * SLOWDOWN)


def test_s4_a_thousand_idle_connections(steady):
    """The 65th makes the oldest go: they take each other's places, not the members'."""
    leader = steady.leader()
    with Cost([leader]) as cost, writers([leader]) as load:
        idle = [connect(leader) for _ in range(1000)]
        cost.sample()
        assert leader.status()["process"]["fds"] < 300
        for s in idle:
            s.close()
    load.check([leader])
    assert load.longest_silence() < 1000 * SLOWDOWN
    quiet = cpu_share([leader], 0.5)
    idle = [connect(leader) for _ in range(1000)]
    share = cpu_share([leader], 2)
    print(f"\nCPU {100 * quiet:.1f} % alone, {100 * share:.1f} % with 1000 idle connections", end="")
    assert share < 0.1 * SLOWDOWN + quiet
    for s in idle:
        s.close()


def test_s4_a_member_gets_in_through_a_crowd(steady):
    leader = steady.leader()
    follower = steady.others(leader)[0]
    follower.stop()
    with Cost([leader]), Crowd(leader) as crowd:
        began = time.monotonic()
        follower.start()
        steady.settled()
        steady.linked()
        print(f"\nlinked after {time.monotonic() - began:.1f} s, through {crowd.count} strangers", end="")


def test_s4_slow_hellos(steady):
    """Nearly all places are full of them: 3 s, whether they say nothing, stop after a few bytes, or go on with a
    byte each 100 ms."""
    leader = steady.leader()
    with Cost([leader]), writers([leader]) as load:
        began = time.monotonic()
        slow = [connect(leader) for _ in range(STRANGERS_MAX - 4)]
        for i in range(6):
            send(slow[i], hello(777)[:i])
        for i, byte in enumerate(hello(777)[:40]):
            for s in slow[6:]:
                s.setblocking(True)
                send(s, bytes([byte]))
            time.sleep(0.1)
            ended = has_ended(slow[i % len(slow)])
            assert not ended or time.monotonic() - began >= HELLO_S - 0.1, "too early"
            if time.monotonic() - began > (HELLO_S + 0.5) * SLOWDOWN:
                break
        # Sooner than 3 s after the last byte, which would mean that each byte extends the time.
        wait_until(lambda: all(has_ended(s) for s in slow), 1, "all of them are closed")
        for s in slow:
            s.close()
    load.check([leader])


def has_ended(s):
    s.setblocking(False)
    try:
        return not s.recv(1)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_s4_slow_frames_of_a_member(impostor):
    """It may take its time: it only holds its own place, and gives way to the member when that comes back."""
    with Cost([impostor.leader]), impostor.connect() as s:
        for byte in frame_head(FRAME_MAX - 4, 100):
            send(s, bytes([byte]))
            time.sleep(0.1)
        impostor.leader.ok("put", "k", "v")
        impostor.returns()
        assert is_closed(s)
        impostor.gone.stop()


def test_s4_slow_requests_on_the_admin_socket(steady):
    leader = steady.leader()
    with Cost([leader]), writers([leader]) as load:
        slow = [admin_connect(leader) for _ in range(200)]
        for byte in struct.pack("<IBBH", ADMIN_MAX - 4, 1, 0, 100) + b"\x08\x01":
            for s in slow:
                send(s, bytes([byte]))
            time.sleep(0.05)
        assert leader.ctl("is-leader").code == 0
        for s in slow:
            s.close()
    load.check([leader])


# ---- S5: no descriptor is left ----

def admin_request(envelope):
    return struct.pack("<IBBH", 4 + len(envelope), 1, 0, len(envelope)) + envelope


PORTS = {  # how to connect, whose lines the log has, what is answered there
    "peer": (connect, "net", hello(777)),
    "admin": (admin_connect, "admin", admin_request(b"\x08\x01\x12\x06leader")),
    "http": (Node.connect_http, "http", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
}


@pytest.mark.parametrize("port", PORTS)
def test_s5_descriptors_run_out(steady, port):
    """By those who connect to one of the ports. One leaves and another comes all the time, so that now and then
    one is free."""
    dial, room, question = PORTS[port]
    leader = steady.leader()
    other = steady.others(leader)[0]
    term, mark = leader.status()["term"], leader.log_mark()
    soft, hard = resource.prlimit(leader.pid, resource.RLIMIT_NOFILE)
    assert soft == hard, "it takes what the system allows"
    with Cost([leader]):
        used = [int(n) for n in os.listdir(f"/proc/{leader.pid}/fd")]
        resource.prlimit(leader.pid, resource.RLIMIT_NOFILE, (max(used) + 8, hard))
        held = [dial(leader) for _ in range(40)]
        wait_until(lambda: f" {room}: cannot accept" in leader.logged_since(mark), 5, "nothing is left")
        stopping = threading.Event()

        def come_and_go():
            while not stopping.wait(0.1):
                held.pop(0).close()
                held.append(dial(leader))
        worker = threading.Thread(target=come_and_go, daemon=True)
        worker.start()
        share = cpu_share([leader], 2)
        other.ok("put", "k", port)  # the links that are up work
        stopping.set()
        worker.join(20 * SLOWDOWN)
        assert other.status()["leader"]["id"] == leader.id and other.status()["term"] == term
        for s in held:
            s.close()
        with dial(leader) as s:
            s.settimeout(10 * SLOWDOWN)
            send(s, question)
            assert s.recv(1000), "it is not answered"
        resource.prlimit(leader.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert leader.ok("get", "k")["value"] == port
    lines = [x for x in leader.logged_since(mark).splitlines() if "accept" in x]
    print(f"\n{port}: CPU {100 * share:.1f} % of a core meanwhile, {len(lines)} lines", end="")
    assert share < 0.2 * SLOWDOWN, "it spins"
    assert 1 <= len(lines) <= 2 and "raise LimitNOFILE" in lines[0]


# ---- S8: a member's absurd numbers ----

def absurd_raft(who, to, term, number):
    """Each Raft message. Lies that are possible are left out: a leader of our own term (two of them are what Raft
    says cannot be, the node stops with 79), and a vote in it (it would be remembered, and the member be told)."""
    for kind in range(1, 14):
        for t in (0, term, term + AHEAD_MAX + 1, 1 << 62, (1 << 62) + 1, (1 << 63) - 1):
            if kind in (5, 11) and t == term:
                continue
            fields = [(1, kind), (2, who.id), (3, who.gone.id), (4, to.id), (5, t), (6, number), (7, number),
                      (8, number), (9, number - 1), (10, number if kind < 5 else 0), (12, number), (13, number),
                      (15, 1)]
            fields += [(14, 1)] if kind == 4 else []
            fields += [(20, 3600000)] if kind in (9, 13) else []
            fields += [(21, number)] if kind in (11, 12) else []
            yield frame(RAFT, fields, b"x" if kind == 11 else b"")


def absurd_others(who, term, number):
    txn = b"\x01" + struct.pack("<HHH", 0, 1, 0) + b"\x01\x01\x00p" + struct.pack("<I", 1) + b"v"
    yield frame(FORWARD, [(1, who.gone.id), (2, number), (3, number), (4, number), (5, number)], txn)
    yield frame(4, [(1, number), (2, number), (6, number), (7, number), (8, number), (9, number)])
    yield frame(PROGRESS_ASK, [(1, number)])
    row = message([(1, 1), (2, number), (3, 1), (4, number)])
    yield frame(PROGRESS, [(1, number), (2, number), (3, number), (4, row)])
    for kind in range(2, 6):
        for t in (term, number):
            yield frame(CHANGE, [(1, number), (2, number), (3, kind), (4, (1 << 32) - 1), (6, t)])
    yield frame(9, [(1, number), (2, number), (3, 6), (4, 1001), (5, number), (11, number)])
    if number > AHEAD_MAX:  # what we are said to have promised; less could be true, and the node stops with 79
        for field in ((4, number),), ((4, term), (5, number)), ((4, number), (6, number)):
            yield who.said(bindings=[(i, store, *field) for i, store in who.stores.items()])


def refused_raft(who, to, term):
    """What breaks a rule of peer.proto: the connection is closed."""
    head = [(2, who.id), (3, who.gone.id), (4, to.id)]
    for number in (1 << 63, (1 << 64) - 1):
        for field in (5, 6, 7, 8, 9, 10, 12, 13):
            yield frame(RAFT, [(1, 6), *head, (field, number)])
        yield frame(RAFT, [(1, 11), *head, (5, term), (21, number)], b"x")
        yield frame(PROGRESS_ASK, [(1, number)])
    yield frame(RAFT, [(1, 9), *head, (5, term), (20, (1 << 32) - 1)])
    yield frame(RAFT, [(1, 14), *head, (5, term)])
    yield frame(RAFT, [(1, 11), *head, (5, term)])                                  # a piece of nothing
    for sizes, count in ((varint((1 << 32) - 1), 1), (b"\x00" * 4097, 4097), (b"\x00", (1 << 32) - 1)):
        yield frame(RAFT, [(1, 5), *head, (5, term), (16, sizes), (17, varint(term)), (18, b"\x03"), (19, varint(count))])
    yield frame(RAFT, [(1, 5), *head, (5, term), (9, (1 << 63) - 1), (16, b"\x00"), (17, varint(term)), (18, b"\x03"),
                       (19, b"\x01")])
    yield frame(FORWARD, [(1, who.gone.id), (2, 1), (3, (1 << 63) - 1), (4, 1)], b"x")


@pytest.mark.parametrize("impostor", ["plain"], indirect=True)
def test_s8_absurd_numbers(impostor):
    """They have no effect: the term and the leader are the same, and the member can come back."""
    nodes = impostor.cluster.running()
    term = impostor.leader.status()["term"]
    with writers([impostor.leader]) as load, Cost(nodes, memory=8 * MIB) as cost:
        for node in nodes:
            mark = node.log_mark()
            with impostor.connect(node) as s:
                for number in (10 ** 6, AHEAD_MAX + 10 ** 6, 1 << 62, (1 << 63) - 1):
                    for data in (*absurd_raft(impostor, node, term, number), *absurd_others(impostor, term, number)):
                        s.sendall(data)  # it stays open
                    cost.sample()
                send(s, frame(PROGRESS_ASK, [(1, 7)]))
                wait_until(lambda n=node: n.logged_since(mark).count("terms or indexes are absurd") == 1, 5,
                           "it says so, once")
                for data in [frame(RAFT, [(1, 7), (2, impostor.id), (3, impostor.gone.id), (4, node.id), (5, term),
                                          (6, i)]) for i in range(5000)]:
                    s.sendall(data)
            for data in refused_raft(impostor, node, term):
                closed_at_once(impostor.connect(node), data)
            assert node.status()["term"] == term
    load.check([impostor.leader])
    assert impostor.leader.ctl("get", "p").error == "not_found"


def test_s8_the_highest_term_that_is_believed(trio):
    """An election, no more: there are enough terms left."""
    impostor = Impostor(trio)
    term = impostor.leader.status()["term"]
    with impostor.connect() as s:
        send(s, frame(RAFT, [(1, 6), (2, impostor.id), (3, impostor.gone.id), (4, impostor.leader.id),
                             (5, term + AHEAD_MAX), (6, 1), (8, 1)]))
        wait_until(lambda: impostor.leader.status()["term"] >= term + AHEAD_MAX, 5, "it is believed")
    leader = impostor.cluster.leader()
    leader.ok("put", "k", "v")
    assert leader.status()["term"] < term + AHEAD_MAX + 20

    fourth = impostor.cluster.add_node()  # its own numbers are 0
    assert leader.ok("replace-server", impostor.gone.id, fourth.id, fourth.address)["added"] == fourth.id
    assert impostor.cluster.settled()
