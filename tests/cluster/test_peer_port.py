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


def recorded_hello(node):
    """What raftd says first to a stranger, or b'' when it waits for the stranger's hello."""
    with connect(node) as s:
        s.settimeout(1)
        try:
            return s.recv(65536)
        except TimeoutError:
            return b""


def test_its_own_hello_sent_back(steady):
    """Its own hello from somebody else: two nodes of one id, refused."""
    node = steady[1]
    hello = recorded_hello(node)
    for _ in range(5):
        with connect(node) as s:
            send(s, hello or bytes(8))
            assert is_closed(s)
    wait_until(lambda: all(m["connected"] for m in node.status()["members"]), 10, "the links are up")
