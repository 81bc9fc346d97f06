"""`raftctl batch`: what a script that holds one connection can rely on."""
import json
import subprocess

from harness import SLOWDOWN


def test_lines_are_answered_in_order_and_flushed(trio):
    with trio[2].batch() as batch:
        assert batch.ask("put a 1")["revision"] == 1
        assert batch.ask("get a")["value"] == "1"
        assert batch.ask("put a 2 --if-revision 1")["revision"] == 2
        assert batch.ask("status")["node"]["id"] == 2
        assert batch.ask("leader")["leader"]["id"] in (1, 2, 3)
        assert batch.ask("is-leader")["is_leader"] in (True, False)
        assert len(batch.ask("members")["members"]) == 3
        assert [kv["key"] for kv in batch.ask("list")["kvs"]] == ["a"]
        assert batch.ask("log-level info") == {}
        assert batch.ask("del a")["deleted"] == 1
        assert batch.end() == 0


def test_words_as_in_a_shell(single):
    with single[1].batch() as batch:
        for line, key, value in [("put 'a b' \"c d\"", "a b", "c d"), (r"put e\ f g\"h", "e f", 'g"h'),
                                 ("put k ''", "k", ""), ("put d '$HOME *'", "d", "$HOME *"),
                                 ("put q \"it's\"", "q", "it's"), ("put h '#x' # why", "h", "#x")]:
            assert "revision" in batch.ask(line), line
            got = single[1].ok("get", key)
            assert got["value"] == value, line
        assert batch.end() == 0


def test_never_stops_at_an_error(single):
    with single[1].batch() as batch:
        for line, code in [("frobnicate", "invalid"), ("put k", "invalid"), ("put 'k v", "invalid"),
                           ("get nothing", "not_found"), ("put k v --if-revision 9", "conflict"),
                           ("put k v --fence 99", "stale_fence"), ("put k -", "invalid"),
                           ("put k v --if-revision many", "invalid"), ("get k --frob", "invalid"),
                           ("batch", "invalid"), ("watch", "invalid"), ("bench", "invalid"),
                           ("log-level loud", "invalid"), ("--socket /x get k", "invalid"),
                           ("get k extra", "invalid")]:
            answer = batch.ask(line)
            assert answer["error"]["code"] == code, (line, answer)
            assert answer["error"]["message"], line
        assert batch.ask("put k v")["revision"] == 1
        assert batch.end() == 0


def test_blank_lines_and_comments_have_no_answer(single):
    done = single[1].run("batch", stdin=b"\n  # nothing\nput k v\n\nget k")
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) == 2 and lines[1]["value"] == "v"


def test_timeout_of_a_line(trio):
    leader = trio.leader()
    for node in trio.others(leader):
        node.pause()
    with leader.batch() as batch:
        assert batch.ask("put k v --timeout 500ms")["error"]["code"] in ("unknown_outcome", "no_leader",
                                                                         "no_quorum")
        assert batch.ask("get k --stale")["error"]["code"] == "not_found"
        assert batch.end() == 0


def test_lost_daemon_exits_3(single):
    with single[1].batch() as batch:
        assert batch.ask("put k v")["revision"] == 1
        single[1].kill()
        answer = batch.ask("put k w")
        assert answer["error"]["code"] in ("unreachable", "unknown_outcome")
        assert batch.ask("get k")["error"]["code"] == "unreachable"
        assert batch.end() == 3


def test_a_large_batch_through_a_pipe(trio):
    count = 2000
    lines = "".join(f"put key{i} value{i}\n" for i in range(count)).encode()
    done = subprocess.run(trio[3].command("batch"), input=lines, capture_output=True, check=False,
                          timeout=120 * SLOWDOWN)
    answers = [json.loads(x) for x in done.stdout.splitlines()]
    assert done.returncode == 0 and len(answers) == count
    assert [a["revision"] for a in answers] == list(range(1, count + 1))
