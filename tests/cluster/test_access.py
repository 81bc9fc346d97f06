"""Who may do what on the admin socket, and what its limits are."""
import json
import os
import shutil
import socket
import struct
import time

import pytest

import harness
from harness import SLOWDOWN, as_nobody, wait_until

CONNECTIONS_MAX = 256


@pytest.fixture
def nobody(single):
    """Runs raftctl as another user: from a copy which that user can reach."""
    prefix = as_nobody()
    if prefix is None:
        pytest.skip("needs root or sudo without a password, to become another user")
    program = single.dir / "raftctl"
    shutil.copy(harness.RAFTCTL, program)
    program.chmod(0o755)
    node = single[1]
    os.chmod(node.dir, 0o755)

    def ctl(*words, stdin=None, many=False):
        """(exit code, object); many: the objects of all lines."""
        done = node.run("--json", *words, stdin=stdin, prefix=prefix, program=program)
        lines = [json.loads(x) for x in done.stdout.splitlines()]
        return lines if many else harness.Answer(done.returncode, lines[0])

    return ctl


@pytest.mark.parametrize("words", [("status",), ("members",), ("leader",), ("is-leader",),
                                   ("wait", "--for", "has-leader"), ("wait", "--for", "caught-up")])
def test_everybody_may_ask_who_leads(nobody, words):
    assert nobody(*words).code == 0


@pytest.mark.parametrize("words", [("put", "k", "v"), ("get", "k"), ("get", "k", "--stale"), ("del", "k"),
                                   ("list",), ("bootstrap",), ("log-level", "debug"),
                                   ("bench", "--duration", "200ms")])
def test_data_and_changes_need_permission(single, nobody, words):
    single[1].ok("put", "k", "secret")
    before = single[1].status()["last_index"]
    answer = nobody(*words)
    assert answer.code == 8 and answer.error == "permission_denied"
    assert "group" in answer.message and "secret" not in str(answer)
    assert single[1].status()["last_index"] == before
    wait_until(lambda: "refused a command" in single[1].log_text(), 5, "the audit line")
    line = next(x for x in single[1].log_text().splitlines() if "refused a command" in x)
    assert "uid=65534" in line and "pid=" in line


def test_batch_of_somebody_else_goes_on(single, nobody):
    single[1].ok("put", "k", "v")
    done = nobody("batch", stdin=b"leader\n")
    assert done.code == 0 and done.obj["leader"]["id"] == 1
    assert nobody("batch", stdin=b"put k w\n").error == "permission_denied"


def test_refusals_do_not_flood_the_log(single, nobody):
    node = single[1]
    mark = node.log_mark()
    answers = nobody("batch", stdin=b"put k v\n" * 5000, many=True)
    assert len(answers) == 5000
    assert {a["error"]["code"] for a in answers} == {"permission_denied"}
    assert node.logged_since(mark).count("refused a command") <= 20 * 30 * SLOWDOWN


def test_socket_that_lets_nobody_in(make_cluster):
    prefix = as_nobody()
    if prefix is None:
        pytest.skip("needs root or sudo without a password, to become another user")
    cluster = make_cluster(1, options={"admin.mode": "0600"}).formed()
    program = cluster.dir / "raftctl"
    shutil.copy(harness.RAFTCTL, program)
    program.chmod(0o755)
    done = cluster[1].run("--json", "status", prefix=prefix, program=program)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 8 and error["code"] == "permission_denied" and "mode" in error["message"]


# ---- Strangers on the socket ----

def connect(node):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10 * SLOWDOWN)
    s.connect(str(node.sock))
    return s


def is_closed(s):
    """Reads what is left (a last reply), up to the end of the stream."""
    try:
        while s.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("data", [
    struct.pack("<I", 0) + bytes(16), struct.pack("<I", 0xffffffff) + bytes(16), b"GET / HTTP/1.1\r\n\r\n",
    bytes(64), struct.pack("<IBBH", 8, 9, 0, 4) + bytes(4), struct.pack("<IBBH", 4, 1, 0, 60000),
    struct.pack("<IBBH", 12, 1, 0, 8) + b"\xff" * 8], ids=["length_0", "length_4g", "http", "zeros",
                                                          "version_9", "header_beyond", "no_protobuf"])
def test_garbage_closes_that_connection_only(single, data):
    node = single[1]
    with node.batch() as batch:
        batch.ask("put k v")
        with connect(node) as s:
            s.sendall(data)
            assert is_closed(s)
        assert batch.ask("get k")["value"] == "v"


def test_random_garbage(single):
    node = single[1]
    rss = node.status()["process"]["rss_bytes"]
    for _ in range(200):
        with connect(node) as s:
            try:
                s.sendall(os.urandom(5000))
                s.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            is_closed(s)
    assert node.ok("put", "k", "v")
    assert node.status()["process"]["rss_bytes"] < rss + (64 << 20) * SLOWDOWN


def test_client_that_leaves_in_the_middle(trio):
    node = trio.leader()
    for cut in (1, 3, 7, 8, 20):
        with connect(node) as s:
            s.sendall((struct.pack("<IBBH", 1000, 1, 0, 40) + bytes(1000))[:cut])
    for _ in range(20):
        with node.batch() as batch:
            batch.ask("put k v")
            batch.send("put k w")
            batch.process.kill()
    assert node.ok("get", "k")["value"] in ("v", "w")
    wait_until(lambda: node.status()["process"]["fds"] < 60, 5, "nothing leaks")


def connect_patiently(node):
    """Also while the backlog is full of those before."""
    made = []

    def try_it():
        try:
            made.append(connect(node))
        except BlockingIOError:
            return False
        return True

    wait_until(try_it, 10, "it accepts connections")
    return made[0]


def test_connections_are_bounded(single):
    """256 at most. One more learns that, and so that its command was not carried out; those who hold them
    do not hurt the others for longer than they stay."""
    node = single[1]
    before = node.ok("put", "k", "v")["revision"]
    idle = [connect_patiently(node) for _ in range(CONNECTIONS_MAX)]
    for words in (("put", "k", "w"), ("get", "k"), ("status",), ("wait", "--for", "has-leader"),
                  ("bench", "--duration", "200ms")):
        answer = node.ctl(*words)
        assert answer.code == 1 and answer.error == "too_large", words
        assert "256 admin connections are open, the limit: close some first" in answer.message
    done = node.run("put", "k", "-", stdin=b"x" * (1 << 20), text=True)
    assert done.returncode == 1 and "too_large: 256 admin connections" in done.stderr
    assert node.is_running()
    for s in idle:
        s.close()
    wait_until(lambda: node.ctl("get", "k").code == 0, 10, "it serves again")
    pair = node.ok("get", "k")
    assert pair["value"] == "v" and pair["mod_revision"] == before
    wait_until(lambda: node.status()["process"]["fds"] < 60, 5, "the descriptors are free")


def request(number, command, key=b"", value=None):
    """A frame with an admin request."""
    envelope = bytes([0x08, number, 0x12, len(command)]) + command.encode()
    if key:
        envelope += bytes([0x22, len(key)]) + key
    if value is not None:
        envelope += b"\x28\x01"
    payload = value or b""
    return struct.pack("<IBBH", 4 + len(envelope) + len(payload), 1, 0, len(envelope)) + envelope + payload


def test_client_that_shuts_down_its_sending_side_is_answered(single):
    """Also what takes time: a write waits for the disk."""
    node = single[1]
    with connect(node) as s:
        s.sendall(b"".join(request(n, "put", b"k%d" % n, b"v") for n in range(1, 9)))
        s.shutdown(socket.SHUT_WR)
        answers = b""
        while more := s.recv(65536):
            answers += more
        assert answers.count(b'"revision":') == 8
    assert len(node.ok("list", "k")["kvs"]) == 8


def test_slow_reader_does_not_grow_the_daemon(single):
    """Requests without end from somebody who reads a little at a time."""
    node = single[1]
    node.stop()
    # Else AddressSanitizer keeps up to 256 MiB of what was freed, in memory.
    node.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    node.start()
    rss = node.status()["process"]["rss_bytes"]
    data = request(1, "leader") * 20000
    with connect(node) as s:
        s.setblocking(False)
        sent = taken = 0
        while taken < 16 << 20:
            try:
                sent += s.send(data[sent % len(data):])
            except BlockingIOError:
                pass
            try:
                taken += len(s.recv(16384))
            except BlockingIOError:
                pass
        assert node.status()["process"]["rss_bytes"] < rss + (4 << 20) * SLOWDOWN
