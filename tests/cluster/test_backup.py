"""raftctl backup, online, and raftctl restore, offline."""
import itertools
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from harness import RAFTCTL, SLOWDOWN, as_nobody, Node, wait_until

REVISIONS = 1_000_000_000
TERMS = 1_000_000


class Load:
    """Writes over one connection, as fast as they are answered, until it is told to stop."""

    def __init__(self, node):
        self.node = node
        self.acknowledged = {}
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        number = 0
        with self.node.batch() as batch:
            while not self.stopping:
                number += 1
                if "revision" in batch.ask(f"put load/{number} {number}"):
                    self.acknowledged[f"load/{number}"] = str(number)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()


def data_of(node, *words):
    return {kv["key"]: kv.get("value", kv.get("value_base64")) for kv in node.ok("list", *words)["kvs"]}


def restored(cluster, file, node_id=None):
    """A node that is in no cluster of the others, its data restored from the file: not started."""
    node = Node(cluster, node_id or len(cluster.nodes) + 1)
    node.options["cluster.member"] = []
    node.options["cluster.name"] = ""
    cluster.nodes.append(node)
    answer = node.ok("restore", file, "--data-dir", node.data, "--id", node.id, "--address", node.address)
    return node, answer


def leads(node):
    return wait_until(lambda: node.status() if node.status()["is_leader"] else None, 15,
                      f"n{node.id} leads")


@pytest.mark.parametrize("from_leader", [True, False])
def test_a_backup_under_load_holds_what_was_acknowledged(trio, from_leader):
    leader = trio.leader()
    source = leader if from_leader else trio.others(leader)[0]
    writer = trio.others(leader, source)[0]
    file = trio.dir / "backup"
    with Load(writer) as load:
        wait_until(lambda: len(load.acknowledged) > 200, 20, "there is load")
        before = dict(load.acknowledged)
        answer = source.ok("backup", file)
        after = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) > after, 20, "the load goes on")
    assert answer["revision"] >= len(before) and answer["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o7777 == 0o600
    assert sorted(p.name for p in trio.dir.iterdir()) == ["backup", "n1", "n2", "n3"]
    node, made = restored(trio, file)
    assert made["index"] == answer["index"] and made["revision"] == answer["revision"] + REVISIONS
    assert made["bytes"] == answer["bytes"]
    node.start()
    leads(node)
    found = data_of(node)
    assert before.items() <= found.items()
    assert set(found.values()) <= {str(i) for i in range(1, len(load.acknowledged) + 2)}


def test_a_restored_cluster_goes_on(trio):
    leader = trio.leader()
    for i in range(50):
        leader.ok("put", f"k{i}", f"v{i}")
    leader.ok("del", "k7")
    leader.ok("put", "binary", "-", stdin=b"\x00\xff\n")
    want = leader.ok("list")
    status = leader.status()
    file = trio.dir / "backup"
    trio[2].ok("backup", file)
    node, made = restored(trio, file)
    check = node.ok("check", "--data-dir", node.data)
    assert check["cluster_id"] == made["cluster_id"] != status["cluster"]["id"]
    assert check["members"] == [{"id": 4, "role": "voter", "address": node.address,
                                 "store_id": check["store_id"]}]
    assert check["role"] == "voter" and check["revision"] == made["revision"]
    assert check["base_index"] == check["last_index"] == made["index"]
    node.start()
    mine = leads(node)
    assert mine["fence"] > status["fence"] + TERMS - 1
    assert mine["revision"] > want["revision"] + REVISIONS - 1
    found = node.ok("list")
    assert found["kvs"] == want["kvs"], "keys, values, and the revisions they were changed at"
    written = node.ok("put", "new", "1")
    assert written["revision"] == made["revision"] + 1 and written["term"] > status["term"] + TERMS - 1
    # It grows.
    for number in (5, 6):
        more = trio.add_node(number, start=False)
        more.options["cluster.name"] = ""
        more.start()
        assert node.ok("add-server", number, more.address, timeout="30s")["role"] == "voter"
    states = trio.settled(trio.nodes[3:])
    assert len({s["digest"]["value"] for s in states}) == 1
    for other in trio.nodes[3:]:
        assert data_of(other) == data_of(node)
        assert other.ok("put", f"by/{other.id}", "x")["revision"] > made["revision"]
    node.restart()
    trio.settled(trio.nodes[3:])
    # And the cluster it comes from does not notice.
    assert trio[1].ok("put", "still", "here")["revision"] < REVISIONS


def test_the_node_and_its_address_are_as_in_the_backup(trio):
    file = trio.dir / "backup"
    trio[2].ok("put", "k", "v")
    trio[2].ok("backup", file)
    for node in trio:
        node.kill()
    target = trio.dir / "new"
    target.mkdir(mode=0o700)
    answer = trio[2].ok("restore", file, "--data-dir", target)
    assert answer["id"] == 2 and answer["address"] == trio[2].address
    again = trio[2].ctl("restore", file, "--data-dir", target)
    assert again.code == 1 and again.error == "not_empty" and str(target) in again.message
    trio[2].data = target
    trio[2].start()
    leads(trio[2])
    assert data_of(trio[2]) == {"k": "v"}
    answer = trio[1].ctl("restore", file, "--data-dir", trio.dir / "other", "--id", "9")
    assert answer.code == 2 and "node 9 is not in the backup's membership" in answer.message
    assert not (trio.dir / "other").exists()
    answer = trio[1].ctl("restore", file, "--data-dir", trio.dir / "other", "--address", "0.0.0.0:1")
    assert answer.code == 2 and "'0.0.0.0:1' is to listen on" in answer.message


def test_a_damaged_backup_is_refused(single):
    node = single[1]
    for i in range(20):
        node.ok("put", f"k{i}", "x" * 100)
    file = single.dir / "backup"
    node.ok("backup", file)
    sound = file.read_bytes()
    target = single.dir / "new"

    def refused(data, words):
        file.write_bytes(data)
        answer = node.ctl("restore", file, "--data-dir", target)
        assert answer.code == 1 and answer.error == "invalid", answer
        assert words in answer.message and str(file) in answer.message, answer
        assert not target.exists()

    for size in (0, 5, 15):
        refused(sound[:size], "is no backup of raftd")
    for size in (16, 17, 300, len(sound) - 1):
        refused(sound[:size], f"is cut short at byte {size}")
    for at in range(40, len(sound), 97):
        flipped = bytearray(sound)
        flipped[at] ^= 4
        refused(flipped, str(file))
    refused(sound + b"x", "cut short")
    refused(b"root:x:0:0:root:/root:/bin/bash\n", "is no backup of raftd")
    refused(sound[:12] + b"\2\0\0\0" + sound[16:], "has the format 2, this raftctl knows 1")
    answer = node.ctl("restore", single.dir / "none", "--data-dir", target)
    assert answer.code == 1 and "No such file" in answer.message
    file.write_bytes(sound)
    assert node.ctl("restore", file, "--data-dir", target).code == 0


def test_restore_takes_only_an_empty_directory(single):
    node = single[1]
    file = single.dir / "backup"
    node.ok("put", "k", "v")
    node.ok("backup", file)
    in_use = node.ctl("restore", file, "--data-dir", node.data)
    assert in_use.code == 1 and "another process holds the data directory" in in_use.message
    node.stop()
    before = {p: p.stat().st_mtime_ns for p in node.data.rglob("data.mdb")}
    answer = node.ctl("restore", file, "--data-dir", node.data)
    assert answer.code == 1 and answer.error == "not_empty"
    assert before == {p: p.stat().st_mtime_ns for p in node.data.rglob("data.mdb")}
    answer = node.ctl("restore", file, "--data-dir", single.dir)  # somebody else's files
    assert answer.code == 1 and not (single.dir / "log").exists()
    answer = node.ctl("restore", file, "--data-dir", file)
    assert answer.code == 1 and "Not a directory" in answer.message
    answer = node.ctl("restore", file, "--data-dir", single.dir / "no" / "parent")
    assert answer.code == 1 and not (single.dir / "no").exists()
    node.start()
    assert node.ok("get", "k")["value"] == "v"


# ---- What goes wrong online ----

def test_no_backup_is_left_when_it_fails(trio):
    leader = trio.leader()
    one, other = trio.others(leader)
    leader.ok("put", "k", "v")
    where = trio.dir / "backups"
    where.mkdir()
    file = where / "b"
    one.ok("backup", file)
    kept = file.read_bytes()
    leader.kill()
    other.kill()
    answer = one.ctl("backup", file, timeout="1s")
    assert answer.code in (4, 5) and answer.error in ("no_leader", "no_quorum", "timeout")
    assert one.ctl("backup", where / "new", timeout="1s").code in (4, 5)
    assert os.listdir(where) == ["b"] and file.read_bytes() == kept
    one.kill()
    assert one.ctl("backup", where / "new").code == 3
    assert os.listdir(where) == ["b"]


def test_a_backup_waits_only_for_what_is_missing(single):
    """However short the time-out, what it says it waited for was not there."""
    node = single[1]
    for i in range(30):
        node.ok("put", "k", i)
        answer = node.ctl("backup", single.dir / "b", timeout="1ms")
        message = answer.obj.get("error", {}).get("message", "")
        missing = re.search(r"entry (\d+) is not in the state on disk yet, only up to (\d+)", message)
        assert not missing or int(missing[1]) > int(missing[2]), answer


def test_a_terminal_is_told_how_far_it_is_while_nothing_comes(single):
    node = single[1]
    node.ok("put", "k", "v")
    ours, its = pty.openpty()
    os.kill(node.pid, signal.SIGSTOP)
    try:
        with subprocess.Popen([RAFTCTL, "-s", node.sock, "--timeout", "60s", "backup", single.dir / "b"],
                              stdout=subprocess.PIPE, stderr=its) as backup:
            os.close(its)
            told = b""
            while told.count(b"backup: ") < 2:
                assert select.select([ours], [], [], 30)[0], told
                told += os.read(ours, 4096)
            os.kill(node.pid, signal.SIGCONT)
            assert b"1 key, as of entry" in backup.communicate(timeout=60)[0]
    finally:
        os.kill(node.pid, signal.SIGCONT)
        os.close(ours)
    assert backup.returncode == 0


def test_a_file_needs_a_name(single):
    for words in (["backup", ""], ["restore", "", "--data-dir", single.dir / "r"]):
        answer = single[1].ctl(*words)
        assert answer.code == 2 and answer.message == "the name of the FILE is empty"
    assert not (single.dir / "r").exists()


def test_a_refused_backup_names_no_option_it_lacks(trio):
    leader = trio.leader()
    one, other = trio.others(leader)
    leader.kill()
    other.kill()
    answer = one.ctl("backup", trio.dir / "b", timeout="1s")
    assert answer.code == 4 and "get and list with --stale" in answer.message


def test_who_may_not_read_data_gets_no_backup(single):
    nobody = as_nobody()
    if not nobody:
        pytest.skip("needs root or sudo")
    single.dir.chmod(0o777)
    single[1].dir.chmod(0o755)
    file = single.dir / "stolen"
    answer = single[1].ctl("backup", file, prefix=nobody)
    assert answer.code == 8 and answer.error == "permission_denied"
    assert not list(single.dir.glob("stolen*"))


def rss(node):
    with open(f"/proc/{node.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def fill(node, mebibytes):
    value = "x" * (512 * 1024)
    with node.batch() as batch:
        for i in range(2 * mebibytes):
            assert "revision" in batch.ask(f"put big/{i:04} {value}")


def ask_and_not_read(node):
    """A client that asks for a backup (PROTOCOL.md: id 1, command) and takes nothing of it."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(node.sock))
    header = b"\x08\x01\x12\x06backup"
    client.sendall(struct.pack("<IBBH", 4 + len(header), 1, 0, len(header)) + header)
    return client


def read_all(client):
    """What is left of its answer, once it asks for nothing more."""
    client.shutdown(socket.SHUT_WR)
    pieces = []
    while True:
        piece = client.recv(1 << 16)
        if not piece:
            client.close()
            return b"".join(pieces)
        pieces.append(piece)


def test_a_client_that_stops_reading_costs_nothing(make_cluster):
    """Neither memory nor heartbeats; and it may go on."""
    cluster = make_cluster(3, options={"raft.election_timeout": "1s"}).formed()
    leader = cluster.leader()
    fill(leader, 40)
    cluster.settled()
    term = leader.status()["term"]
    before = rss(leader)
    client = ask_and_not_read(leader)
    end = time.monotonic() + 4
    written = 0
    while time.monotonic() < end:  # several election timeouts
        leader.ok("put", "meanwhile", str(written))
        written += 1
    assert rss(leader) - before < (8 << 20) * SLOWDOWN  # a sanitizer keeps what is freed for a while
    assert leader.status()["is_leader"] and leader.status()["term"] == term
    answer = read_all(client)
    assert len(answer) > 40 << 20 and re.search(rb'{"index":\d+,"revision":\d+,"bytes":\d+}$', answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_goes_away(single, number):
    node = single[1]
    fill(node, 20)
    readers = f"/proc/{node.pid}/fd"
    before = len(os.listdir(readers))
    with subprocess.Popen(node.command("backup", single.dir / "b"), stdout=subprocess.PIPE) as process:
        wait_until(lambda: list(single.dir.glob("b.*.tmp")), 20, "it has begun")
        process.send_signal(number)
        assert process.wait(20) in (-number, 0)
    if number != signal.SIGKILL:
        assert not list(single.dir.glob("b.*.tmp"))
    wait_until(lambda: len(os.listdir(readers)) <= before, 10, "its connection is closed")
    assert node.ok("backup", single.dir / "again")["revision"] == 40
    # Four at once are the limit; who went away does not count.
    for _ in range(5):
        assert node.ctl("backup", single.dir / "again").code == 0


def test_a_client_that_ends_while_it_opens_files(single):
    """A signal at each open(): the last one makes the temporary file, which is not left behind."""
    node = single[1]
    fill(node, 1)
    made = False
    for number in itertools.count(1):
        trace = single.dir / "trace"
        done = subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=openat", "-e",
                               f"inject=openat:signal=TERM:when={number}",
                               *node.command("backup", single.dir / "b")], capture_output=True, check=False,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})  # not while it is traced
        assert not list(single.dir.glob("b.*.tmp")), f"the signal came at open number {number}"
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGTERM, done
        made = made or ".tmp" in trace.read_text()
    assert made and (single.dir / "b").exists()


def test_a_stop_ends_a_backup(single):
    node = single[1]
    fill(node, 20)
    with subprocess.Popen(node.command("backup", single.dir / "b", as_json=False), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        wait_until(lambda: list(single.dir.glob("b.*.tmp")), 20, "it has begun")
        process.send_signal(signal.SIGSTOP)
        node.signal(signal.SIGTERM)
        node.wait_exit(20, expect=0)
        process.send_signal(signal.SIGCONT)
        error = process.stderr.read().decode()
        assert process.wait(20) != 0 or (single.dir / "b").exists()
    assert not list(single.dir.glob("b.*.tmp"))
    assert (single.dir / "b").exists() or "stop" in error or "closed the connection" in error, error


def test_four_at_once_and_none_for_ever(single):
    """A fifth is refused; and who takes nothing any more is not waited for: its place is free again."""
    node = single[1]
    fill(node, 20)
    clients = [ask_and_not_read(node) for _ in range(4)]
    refused = wait_until(lambda: a if (a := node.ctl("backup", single.dir / "fifth")).code else None, 10,
                         "four are under way")
    assert refused.code == 1 and refused.error == "not_ready" and "4 backups" in refused.message
    wait_until(lambda: node.ctl("backup", single.dir / "fifth").code == 0, 45, "there is a place again")
    for client in clients:
        assert b"is not taken fast enough" in read_all(client)
    assert sorted(p.name for p in single.dir.iterdir()) == ["fifth", "n1"]
