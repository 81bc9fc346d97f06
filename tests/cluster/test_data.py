"""Keys and values, as users and scripts see them, on the leader and through followers."""
import base64
import os
import re

import pytest

from harness import wait_until

VALUE_MAX = 1024 * 1024
KEY_MAX = 480


@pytest.fixture(params=["leader", "follower"])
def node(trio, request):
    """Each test that takes it runs on the leader and on a follower."""
    leader = trio.leader()
    return leader if request.param == "leader" else trio.others(leader)[0]


def test_put_get_del(node):
    put = node.ok("put", "app/limit", "20")
    assert put.keys() >= {"revision", "index", "term"} and put["revision"] == 1
    got = node.ok("get", "app/limit")
    assert got == {"key": "app/limit", "value": "20", "create_revision": 1, "mod_revision": 1, "version": 1}
    assert node.ok("put", "app/limit", "30")["revision"] == 2
    got = node.ok("get", "app/limit")
    assert (got["value"], got["create_revision"], got["mod_revision"], got["version"]) == ("30", 1, 2, 2)
    gone = node.ok("del", "app/limit")
    assert (gone["deleted"], gone["revision"]) == (1, 3) and gone["index"] > put["index"]
    assert node.ok("del", "app/limit")["deleted"] == 0


def test_absent_key_exits_7(node):
    answer = node.ctl("get", "nothing")
    assert answer.code == 7 and answer.error == "not_found"
    answer = node.ctl("get", "nothing", "--stale")
    assert answer.code == 7 and answer.error == "not_found"
    done = node.run("get", "nothing")
    assert done.returncode == 7 and done.stdout == b"" and b"not_found" in done.stderr


def test_if_revision(node):
    assert node.ok("put", "k", "1", "--if-revision", "0")["revision"] == 1
    answer = node.ctl("put", "k", "2", "--if-revision", "0")
    assert answer.code == 1 and answer.error == "conflict" and "1" in answer.message
    node.ok("put", "k", "2", "--if-revision", "1")
    answer = node.ctl("put", "k", "3", "--if-revision", "1")
    assert answer.error == "conflict" and "2" in answer.message
    answer = node.ctl("del", "k", "--if-revision", "1")
    assert answer.code == 1 and answer.error == "conflict"
    assert node.ok("get", "k")["value"] == "2"
    assert node.ok("del", "k", "--if-revision", "2")["deleted"] == 1
    answer = node.ctl("put", "k", "4", "--if-revision", "2")
    assert answer.error == "conflict" and "not exist" in answer.message


def test_fence(node):
    fence = node.ok("leader")["fence"]
    assert node.ok("put", "k", "1", "--fence", fence)["term"] == fence
    for stale in (fence - 1, fence + 1):
        if stale:
            answer = node.ctl("put", "k", "2", "--fence", stale)
            assert answer.code == 1 and answer.error == "stale_fence" and str(fence) in answer.message
    assert node.ok("get", "k")["value"] == "1"


def test_list(node):
    for key in ("b/2", "a", "b/1", "b/10", "c", "b"):
        node.ok("put", key, f"v-{key}")
    everything = node.ok("list")
    assert [kv["key"] for kv in everything["kvs"]] == ["a", "b", "b/1", "b/10", "b/2", "c"]
    assert everything["revision"] == 6
    assert [kv["key"] for kv in node.ok("list", "b/")["kvs"]] == ["b/1", "b/10", "b/2"]
    limited = node.ok("list", "b", "--limit", "2")
    assert [kv["key"] for kv in limited["kvs"]] == ["b", "b/1"] and limited["more"]
    assert not node.ok("list", "zzz")["kvs"]
    done = node.run("list", "b/", text=True)
    assert done.stdout.splitlines() == ["b/1\tv-b/1", "b/10\tv-b/10", "b/2\tv-b/2"]


def test_list_beyond_one_reply_is_refused_and_a_prefix_helps(single):
    value = b"x" * VALUE_MAX
    for i in range(8):
        single[1].ok("put", f"big/{i}", "-", stdin=value)
    answer = single[1].ctl("list")
    assert answer.code == 1 and answer.error == "too_large" and "--limit" in answer.message
    assert len(single[1].ok("list", "--limit", "3")["kvs"]) == 3
    assert len(single[1].ok("list", "big/4")["kvs"]) == 1


@pytest.mark.parametrize("value, is_text", [
    (b"", True), (b"\0", True), (bytes(range(256)), False), (b"\xff\xfe", False), (b"\xed\xa0\x80", False),
    ("grün ✓".encode(), True), (b"line\nline\n", True), (b"\xff" + os.urandom(100_000), False)],
    ids=["empty", "nul", "all", "not_utf8", "surrogate", "utf8", "lines", "random"])
def test_values_of_any_bytes(single, value, is_text):
    node = single[1]
    node.ok("put", "k", "-", stdin=value)
    assert node.run("get", "k").stdout == value
    got = node.ok("get", "k")
    if is_text:
        assert got["value"].encode() == value and "value_base64" not in got
    else:
        assert base64.b64decode(got["value_base64"]) == value and "value" not in got


def test_stale_get_answers_from_this_node(trio):
    leader = trio.leader()
    put = leader.ok("put", "k", "v")
    for node in trio:
        wait_until(lambda n=node: n.status()["applied_index"] >= put["index"], 5, "it is applied")
        assert node.ok("get", "k", "--stale")["value"] == "v"
        assert [kv["key"] for kv in node.ok("list", "--stale")["kvs"]] == ["k"]


def test_largest_value_and_longest_key(node):
    key, value = "k" * KEY_MAX, os.urandom(VALUE_MAX)
    node.ok("put", key, "-", stdin=value)
    assert node.run("get", key).stdout == value
    assert node.ok("del", key)["deleted"] == 1


def test_over_limit_is_refused_and_nothing_is_logged(trio):
    node = trio.leader()
    before = trio.settled()[0]["last_index"]
    for words, stdin in [(("put", "k" * (KEY_MAX + 1), "v"), None), (("get", "k" * (KEY_MAX + 1)), None),
                         (("del", "k" * (KEY_MAX + 1)), None), (("list", "k" * (KEY_MAX + 1)), None),
                         (("put", "k", "-"), b"v" * (VALUE_MAX + 1))]:
        answer = node.ctl(*words, stdin=stdin)
        assert answer.code == 1 and answer.error == "too_large", answer
        assert str(KEY_MAX) in answer.message or str(VALUE_MAX) in answer.message
    for words in [("put", "", "v"), ("get", ""), ("del", "")]:
        answer = node.ctl(*words)
        assert answer.code == 1 and answer.error == "invalid", answer
    assert trio.settled()[0]["last_index"] == before


def test_over_limit_in_a_batch_leaves_the_connection_usable(trio):
    node = trio.leader()
    before = trio.settled()[0]["last_index"]
    with node.batch() as batch:
        for line in (f"put {'k' * (KEY_MAX + 1)} v", f"put k {'v' * (VALUE_MAX + 1)}",
                     f"put k {'v' * (3 * VALUE_MAX)}", f"get {'k' * (KEY_MAX + 1)}"):
            assert batch.ask(line)["error"]["code"] == "too_large"
        assert node.status()["last_index"] == before
        assert batch.ask("put k v")["revision"] == 1
        assert batch.ask("get k")["value"] == "v"
        assert batch.end() == 0


def test_quota_refuses_growth_and_lets_deletes_through(make_cluster):
    cluster = make_cluster(3, options={"storage.state_max_bytes": "64K"}).formed()
    node = cluster[2]
    value = b"x" * 8000
    written = 0
    while (answer := node.ctl("put", f"k{written}", "-", stdin=value)).code == 0:
        written += 1
        assert written < 20, "no quota"
    assert answer.code == 1 and answer.error == "no_space" and written >= 4
    assert re.match(r"the state would have \d+ bytes, .*storage.state_max_bytes of the leader",
                    answer.message), answer.message
    disk = node.status()["disk"]
    assert disk["state_max_bytes"] == 65536 and 65536 - 8200 < disk["state_used_bytes"] <= 65536
    assert " of 64.0 KiB, " in node.run("status", text=True).stdout
    assert node.ctl("get", f"k{written}").code == 7
    assert node.ok("del", "k0")["deleted"] == 1
    assert node.ok("put", "k0", "-", stdin=value)
    cluster.settled()


def test_put_reads_a_dash_literally_after_double_dash_only_in_other_places(single):
    node = single[1]
    node.ok("put", "k", "--", "-v")
    assert node.ok("get", "k")["value"] == "-v"


def test_replicas_are_equal(trio):
    with trio[2].batch() as batch:
        for i in range(200):
            batch.send(f"put key{i % 17} value{i}" if i % 5 else f"del key{i % 17}")
        for _ in range(200):
            assert "error" not in batch.line(20)
    states = trio.settled()
    assert len({s["digest"]["value"] for s in states}) == 1 and states[0]["revision"] > 0
