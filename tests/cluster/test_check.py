"""raftctl check: a data directory looked at offline."""
import os
import struct

import pytest

from harness import as_nobody
from peer import crc32c


def test_check_agrees_with_the_cluster(trio):
    leader = trio.leader()
    for i in range(20):
        leader.ok("put", f"k{i}", "v")
    trio.settled()
    last = leader.status()["last_index"]
    for node in trio.nodes:
        node.kill()  # a leader that is stopped hands over, which adds entries
    found = [node.ok("check", "--data-dir", node.data) for node in trio.nodes]
    for node, check in zip(trio.nodes, found):
        assert check["ok"] is True and check["node_id"] == node.id
        assert check["first_index"] == 1 and check["last_index"] == last
        assert check["incarnation"] == 1
    assert len({check["last_chain"] for check in found}) == 1, "equal logs have equal chains"
    assert len({check["cluster_id"] for check in found}) == 1
    assert len({check["store_id"] for check in found}) == 3
    trio.start()
    trio.settled()


def test_check_refuses_what_is_in_use_or_no_store(single, tmp_path):
    node = single[1]
    answer = node.ctl("check", "--data-dir", node.data)
    assert answer.code == 1 and answer.error == "invalid"
    assert "another process holds the data directory" in answer.message
    answer = node.ctl("check", "--data-dir", str(tmp_path / "nothing"))
    assert answer.code == 1 and "there is no raftd store here" in answer.message
    assert not os.path.exists(tmp_path / "nothing")
    assert node.run("check").returncode == 2


def test_check_misses_what_was_lost(single):
    node = single[1]
    node.stop()
    for lost, words in (("log", "the log was lost"), ("state", "the state was lost")):
        path = os.path.join(node.data, lost, "data.mdb")
        with open(path, "rb") as f:
            sound = f.read()
        for prepare in (lambda p: open(p, "wb").close(), os.remove):
            prepare(path)
            answer = node.ctl("check", "--data-dir", node.data)
            assert answer.code == 1 and answer.obj["ok"] is False and words in answer.obj["problem"]
        with open(path, "wb") as f:
            f.write(sound)
    assert node.ok("check", "--data-dir", node.data)["ok"] is True


def test_who_may_not_use_the_directory_is_told_so(single):
    node = single[1]
    node.stop()
    nobody = as_nobody()
    if not nobody:
        pytest.skip("needs root or sudo")
    single.dir.chmod(0o755)
    node.dir.chmod(0o755)  # and its data is its owner's only
    for words in (["check"], ["reset", "--force"], ["recover", "--members", "1"]):
        answer = node.ctl(*words, "--data-dir", node.data, prefix=nobody)
        assert answer.code == 8 and answer.error == "permission_denied"
        assert "Permission denied" in answer.message and "as the owner of the directory" in answer.message
    assert node.ok("check", "--data-dir", node.data)["ok"] is True


def raise_format(path):
    """As a raftd that is to come might make it: the record fmt, on whatever pages it stands."""
    data = bytearray(path.read_bytes())
    at = data.find(b"fmt")
    assert at > 0
    while at > 0:
        record = at + len(b"fmt")
        rest = struct.pack("<I", 2) + data[record + 8:record + 36]
        data[record:record + 36] = struct.pack("<I", crc32c(b"fmt" + rest)) + rest
        at = data.find(b"fmt", record)
    path.write_bytes(data)


def test_a_later_format_is_no_damage(single):
    """Who went back too far is told which version to use, and not to throw away what is sound."""
    node = single[1]
    node.ok("put", "k", "v")
    node.stop()
    for name in ("log", "state"):
        raise_format(node.data / name / "data.mdb")
    words = f"format 2, reads_from 1, reads_to 1, used_by {node.run('--version', text=True).stdout.split()[1]}"
    answer = node.ctl("check", "--data-dir", node.data)
    assert answer.code == 1 and answer.obj["ok"] is False and words in answer.obj["problem"]
    said = node.run("check", "--data-dir", node.data, text=True).stdout
    assert said.startswith("not for this version: ") and words in said
    for command in (["reset"], ["reset", "--force"], ["recover", "--members", "1", "--force"]):
        answer = node.ctl(*command, "--data-dir", node.data)
        assert answer.code == 1 and answer.error == "invalid" and words in answer.message
        assert answer.message.endswith("or a later one; nothing was changed"), answer.message
    node.start(wait=False)
    node.wait_exit(expect=79)
    assert "format=2 reads_from=1 reads_to=1" in node.log_tail()


def test_check_tells_damage_and_never_dies_of_it(single):
    node = single[1]
    node.ok("put", "k", "v")
    node.stop()
    path = os.path.join(node.data, "log", "data.mdb")
    with open(path, "rb") as f:
        sound = f.read()
    for page in range(2, len(sound) // 4096):
        for filling in (b"\0", b"\xff", b"\x5a"):
            with open(path, "wb") as f:
                f.write(sound[:page * 4096] + filling * 4096 + sound[(page + 1) * 4096:])
            answer = node.ctl("check", "--data-dir", node.data)
            assert answer.code in (0, 1), (page, filling, answer)
            if answer.code == 1:
                assert answer.obj["ok"] is False and answer.obj["problem"]
    with open(path, "wb") as f:
        f.write(sound)
    assert node.ok("check", "--data-dir", node.data)["ok"] is True
    node.start()
    assert node.ok("get", "k")["value"] == "v"
