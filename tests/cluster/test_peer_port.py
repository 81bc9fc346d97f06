"""Strangers on the peer port: they are closed, cost little, and the cluster does not notice."""
import os
import random
import socket
import struct
import time

import pytest

from harness import SLOWDOWN, wait_until

HELLO_S = 3  # a stranger has this long to say hello


def connect(node):
    host, port = node.address.split(":")
    s = socket.create_connection((host, int(port)), timeout=10 * SLOWDOWN)
    s.settimeout(10 * SLOWDOWN)
    return s


def is_closed(s):
    """Reads what raftd says (its hello, a refusal) up to the end of the stream."""
    try:
        while s.recv(65536):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass
    return True


def send(s, data):
    try:
        s.sendall(data)
    except OSError:
        pass  # closed already


@pytest.fixture
def steady(trio):
    """A cluster whose leader and term have to be the same after the test, and which works."""
    leader = trio.leader()
    before = leader.status()
    yield trio
    assert trio.leader() is leader
    assert leader.status()["term"] == before["term"], "an election was forced"
    trio[1].ok("put", "after", "v")
    trio.settled()
    for node in trio:
        assert all(m["connected"] for m in node.status()["members"])


GARBAGE = {
    "length_0": struct.pack("<I", 0) + bytes(64),
    "length_4g": struct.pack("<I", 0xffffffff) + bytes(64),
    "hello_above_4k": struct.pack("<IBBH", 5000, 1, 0, 4000) + bytes(5000),
    "frame_above_8m": struct.pack("<I", 8 * 1024 * 1024 + 1) + bytes(64),
    "version_2": struct.pack("<IBBH", 12, 2, 0, 8) + bytes(8),
    "flags": struct.pack("<IBBH", 12, 1, 0x80, 8) + bytes(8),
    "header_beyond_frame": struct.pack("<IBBH", 12, 1, 0, 4096) + bytes(8),
    "no_protobuf": struct.pack("<IBBH", 12, 1, 0, 8) + b"\xff" * 8,
    "empty_envelope": struct.pack("<IBBH", 4, 1, 0, 0),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("160301020001000 1fc0303".replace(" ", "")) + bytes(512),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_closed(steady, name):
    for node in steady:
        with connect(node) as s:
            send(s, GARBAGE[name])
            start = time.monotonic()
            assert is_closed(s)
            assert time.monotonic() - start < (HELLO_S + 1) * SLOWDOWN


def test_random_bytes(steady):
    rng = random.Random(7)
    rss = [n.status()["process"]["rss_bytes"] for n in steady]
    for _ in range(150):
        for node in steady:
            with connect(node) as s:
                send(s, rng.randbytes(rng.randrange(1, 4000)))
                s.shutdown(socket.SHUT_WR)
    for node, before in zip(steady, rss):
        assert node.status()["process"]["rss_bytes"] < before + (64 << 20) * SLOWDOWN


def test_first_byte_then_silence_is_closed_after_3_s(steady):
    node = steady[1]
    sockets = [connect(node) for _ in range(4)]
    for i, s in enumerate(sockets):
        send(s, b"\x40\0\0\0\x01"[:i])
    start = time.monotonic()
    for s in sockets:
        assert is_closed(s)
        s.close()
    assert HELLO_S - 0.5 < time.monotonic() - start < (HELLO_S + 2) * SLOWDOWN


def test_slow_sender_gets_no_more_than_3_s(steady):
    frame = struct.pack("<IBBH", 2000, 1, 0, 1000) + bytes(2000)
    with connect(steady[1]) as s:
        start = time.monotonic()
        try:
            for byte in frame:
                s.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - start < (HELLO_S + 2) * SLOWDOWN


def test_a_thousand_idle_connections(steady):
    """S4: they take each other's places, not the members'."""
    node = steady.leader()
    idle = []
    for _ in range(1000):
        idle.append(connect(node))
    # Members can come and go meanwhile.
    follower = steady.others(node)[0]
    follower.restart()
    steady.settled()
    assert node.status()["process"]["fds"] < 300
    for s in idle:
        s.close()


def test_garbage_while_there_is_load(steady):
    rng = random.Random(11)
    with steady[2].batch() as batch:
        for i in range(200):
            batch.send(f"put k{i} v")
            if i % 4 == 0:
                with connect(steady[1 + i % 3]) as s:
                    send(s, rng.choice(list(GARBAGE.values())) + os.urandom(100))
        for _ in range(200):
            assert "revision" in batch.line(20)


def test_what_strangers_send_costs_few_log_lines(steady):
    node = steady[1]
    mark = node.log_mark()
    for _ in range(300):
        with connect(node) as s:
            send(s, GARBAGE["http"])
            is_closed(s)
    assert len(node.logged_since(mark).splitlines()) <= 20


# ---- Strangers who speak the protocol (proto/PROTOCOL.md, proto/peer.proto) ----

HELLO, RAFT, FORWARD, REFUSAL, PROGRESS_ASK = 1, 2, 3, 5, 6  # fields of the Envelope
CLUSTER, ID, STORE, INCARNATION, EMPTY, URI, CLUSTER_NAME, MEMBER_LIST, BINDINGS = 1, 2, 3, 4, 7, 9, 12, 13, 14


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def message(fields):
    """Protobuf: pairs of a number and an int or bytes, as in the .proto."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def frame(kind, fields, payload=b""):
    envelope = message([(kind, message(fields))])
    return struct.pack("<IBBH", 4 + len(envelope) + len(payload), 1, 0, len(envelope)) + envelope + payload


def hello(node_id, store=b"\xab" * 16, cluster=b"", incarnation=1, empty=True, bindings=()):
    fields = [(CLUSTER, cluster)] if cluster else []
    fields += [(ID, node_id), (STORE, store), (INCARNATION, incarnation), (5, 1), (6, 1), (EMPTY, int(empty)),
               (8, b"stranger"), (10, b"127.0.0.1:1"), (11, b"0.1.0")]
    return frame(HELLO, fields + [(BINDINGS, message([(1, i), (2, s)])) for i, s in bindings])


def parse(data):
    """A protobuf message as a dict: number -> list of values."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            value = number()
        else:
            size = number() if tag & 7 == 2 else 8
            value = data[at:at + size]
            at += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def receive(s):
    """The next frame: which message of the Envelope it holds, and its fields. None: the stream ended."""
    data = b""
    while len(data) < 4 or len(data) < struct.unpack_from("<I", data)[0] + 4:
        try:
            piece = s.recv(4 if len(data) < 4 else struct.unpack_from("<I", data)[0] + 4 - len(data))
        except ConnectionResetError:
            return None
        if not piece:
            return None
        data += piece
    header = struct.unpack_from("<H", data, 6)[0]
    (kind, bodies), = parse(data[8:8 + header]).items()
    return kind, parse(bodies[0])


def greeted(node, said):
    """Says hello; the connection, and what the answer holds."""
    s = connect(node)
    send(s, said)
    answer = receive(s)
    assert answer, "closed without a word"
    return s, *answer


def store_of(node):
    return bytes.fromhex(node.status()["node"]["store_id"])


def cluster_id(node):
    return bytes.fromhex(node.status()["cluster"]["id"])


def put_forward(me, key, value):
    """A write as a follower passes it on."""
    txn = b"\x01" + struct.pack("<HHH", 0, 1, 0) + b"\x01" + struct.pack("<H", len(key)) + key + \
        struct.pack("<I", len(value)) + value
    return frame(FORWARD, [(1, me), (2, 999), (3, 1), (4, 1)], txn)


def test_two_nodes_of_one_id(steady):
    """Somebody with the id of the node itself: refused, and told why."""
    node = steady[1]
    for _ in range(5):
        s, kind, answer = greeted(node, hello(node.id, store=store_of(node)))
        with s:
            assert kind == REFUSAL and b"two nodes have node.id 1" in answer[2][0], answer
            assert is_closed(s)


def test_a_stranger_learns_nothing_that_makes_it_a_member(steady):
    leader = steady.leader()
    secrets = [cluster_id(leader), *(store_of(n) for n in steady.others(leader))]
    member = steady.others(leader)[0]
    for said in (hello(777), hello(777, empty=False), hello(777, cluster=b"\x01" * 16, empty=False),
                 hello(member.id, store=store_of(member)), hello(member.id, store=b"\x01" * 16),
                 hello(777, bindings=[(leader.id, store_of(leader))])):
        s, kind, answer = greeted(leader, said)
        with s:
            if kind == HELLO:
                assert answer[ID] == [leader.id] and answer.get(EMPTY, [0]) == [0]
                assert not {CLUSTER, BINDINGS} & set(answer)
            text = repr(answer).encode() + b"".join(v for values in answer.values() for v in values
                                                    if isinstance(v, bytes))
            assert secrets[0] not in text and secrets[0].hex().encode() not in text
    s, kind, answer = greeted(leader, hello(777))
    with s:
        assert kind == HELLO and not {CLUSTER_NAME, MEMBER_LIST, URI} & set(answer)


def test_a_stranger_writes_and_elects_nothing(steady):
    leader = steady.leader()
    member = steady.others(leader)[0]
    cluster, term = cluster_id(leader), leader.status()["term"]
    for node_id, store in ((777, b"\xab" * 16), (member.id, store_of(member))):
        s, kind, _ = greeted(leader, hello(node_id, store, incarnation=1 << 60, empty=False))
        with s:
            assert kind == HELLO
            send(s, put_forward(node_id, b"pwned", b"yes"))
            send(s, frame(RAFT, [(1, 3), (2, cluster), (3, node_id), (4, leader.id), (5, term + 50), (6, 1),
                                 (9, 1 << 40), (10, term + 49), (15, 1)]))
            send(s, frame(PROGRESS_ASK, [(1, 1)]))
            # What comes after is answered when what came before was looked at.
            for i in range(2):
                send(s, hello(node_id, store, incarnation=(1 << 60) + i + 1, empty=False))
            leader.ok("put", f"after{node_id}", "v")
    assert leader.ctl("get", "pwned").error == "not_found"
    assert leader.status()["term"] == term


def test_strangers_with_a_hello_do_not_lock_members_out(steady):
    """More of them than there are places, each back as soon as it is closed, while a member restarts."""
    leader = steady.leader()
    follower = steady.others(leader)[0]
    live = [greeted(leader, hello(1000 + i))[0] for i in range(72)]
    follower.stop()
    live += [greeted(leader, hello(2000 + i))[0] for i in range(72)]
    follower.start()
    live += [greeted(leader, hello(3000 + i))[0] for i in range(72)]
    steady.settled()
    wait_until(lambda: all(m["connected"] for n in steady for m in n.status()["members"]), 5, "all links are up")
    assert leader.status()["process"]["fds"] < 300
    for s in live:
        s.close()


def test_an_impostor_does_not_end_a_members_link(steady):
    leader = steady.leader()
    member = steady.others(leader)[0]
    mark = leader.log_mark()
    for i in range(20):
        s, kind, _ = greeted(leader, hello(member.id, b"\xcd" * 16, incarnation=(1 << 60) + i))
        with s:
            assert kind == REFUSAL
        s, kind, _ = greeted(leader, hello(member.id, store_of(member), incarnation=(1 << 60) + i))
        with s:
            assert kind == HELLO
    leader.ok("put", "k", "v")
    assert "link down" not in leader.logged_since(mark)


def test_a_flood_of_hellos_costs_nothing(steady):
    """The same one again and again, or one that changes: closed, and no memory is held."""
    leader = steady.leader()
    before = leader.status()["process"]["rss_bytes"]
    flood = {"same": hello(777) * 20000,
             "changing": b"".join(hello(777, incarnation=i) for i in range(1, 20000))}
    for name, data in flood.items():
        for _ in range(5):
            with connect(leader) as s:
                s.settimeout(10 * SLOWDOWN)
                send(s, data)
                assert is_closed(s), name
    assert leader.status()["process"]["rss_bytes"] < before + (16 << 20) * SLOWDOWN
