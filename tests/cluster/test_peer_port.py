"""Strangers on the peer port: they are closed, cost little, and the cluster does not notice."""
import os
import random
import struct

import pytest

from harness import SLOWDOWN, wait_until
from peer import (BINDINGS, CLUSTER, CLUSTER_NAME, EMPTY, FORWARD, HELLO, ID, MEMBER_LIST, PROGRESS_ASK, RAFT, REFUSAL,
                  URI, closed_at_once, cluster_id, connect, frame, frame_head, greeted, hello, is_closed, raw_frame,
                  send, store_of, unsummed)

GARBAGE = {  # lengths and random bytes: test_bounds.py
    "version_2": frame_head(12, 8, version=2) + bytes(8),
    "flags": frame_head(12, 8, flags=0x81) + bytes(8),
    "wrong_sum": hello(777)[:-1] + bytes([hello(777)[-1] ^ 1]),
    "sum_left_out": unsummed(hello(777)),
    "header_beyond_frame": frame_head(12, 4096) + bytes(8),
    "no_protobuf": raw_frame(b"\xff" * 8),
    "empty_envelope": raw_frame(b""),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(512),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_closed(steady, name):
    for node in steady:
        closed_at_once(connect(node), GARBAGE[name])


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
