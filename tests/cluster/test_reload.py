"""Reload: every option, by SIGHUP and by `raftctl reload`; what takes effect, and at which moments it may be asked for.

(The files of [tls] are reloaded in test_tls.)
"""
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from certs import Certs
from harness import RAFTD, wait_until
from inject import Injected, strace_works

# For each key another value that is valid.
OTHER = {
    "node.id": 7, "node.name": "other", "node.data_dir": "/var/lib/other", "node.listen": "127.0.0.1:17400",
    "node.advertise": "127.0.0.1:17401", "node.uri": "amqp://other", "cluster.name": "other",
    "cluster.member": "1@{address}", "raft.heartbeat_interval": "90ms", "raft.election_timeout": "600ms",
    "raft.shutdown_transfer_timeout": "4s", "storage.map_size": "2G", "storage.log_keep_entries": 7,
    "storage.log_keep_bytes": "1M", "storage.stall_timeout": "9s", "storage.state_max_bytes": "1M",
    "admin.socket": "/run/raftd/other.sock", "admin.mode": "0600", "admin.group": "daemon",
    "http.listen": "127.0.0.1:17403", "http.max_watchers": 3, "http.https": "yes", "tls.cert": "other.crt", "tls.key": "other.key",
    "tls.ca": "other.ca", "log.level": "debug", "log.format": "json",
}


@pytest.fixture(name="node")
def _node(make_cluster, tmp_path):
    """A cluster of one that was not given a list of members, within TLS: nothing in its file depends on another key."""
    cluster = make_cluster(1)
    cluster.member_list = []
    node = cluster[1]
    certs = Certs(tmp_path / "certs", ids="1")
    certs.use([node])
    for name, copy in ("1.crt", "other.crt"), ("1.key", "other.key"), ("ca.crt", "other.ca"):
        certs.path(copy).write_bytes(certs.path(name).read_bytes())
        certs.path(copy).chmod(0o600)
    node.start()
    node.ok("bootstrap")
    node.ok("wait", "--for", "leader")
    return node


def reloaded(node, options):
    """What a reload of the file with these options says; for people, too."""
    usual = dict(node.options)
    node.options.update(options)
    node.write_conf()
    node.options = usual
    return node.ok("reload")


def all_keys(node):
    dumped = subprocess.run([RAFTD, "-c", node.conf, "--dump-config"], capture_output=True, text=True, check=True).stdout
    keys, section = [], None
    for line in dumped.splitlines():
        section = line[1:-1] if line.startswith("[") else section
        if re.match(r"\w+ =", line):
            keys.append(f"{section}.{line.split()[0]}")
    return keys


def test_every_option(node):
    """Each is told under one of the two heads, alone, and back again; nothing but what is reloadable changes."""
    taken = {"node.uri", "raft.shutdown_transfer_timeout", "storage.stall_timeout", "log.level", "tls.cert", "tls.key",
             "tls.ca"}
    assert set(all_keys(node)) == set(OTHER), "every option is tried here"
    before = node.status()
    for key, value in OTHER.items():
        if key.startswith("tls."):
            value = node.options[key].parent / value
        elif key == "cluster.member":
            value = value.format(address=node.address)
        options = {key: value}
        mark = node.log_mark()
        told = reloaded(node, options)
        head, other = ("changed", "needs_restart") if key in taken else ("needs_restart", "changed")
        assert key in told[head] and told[other] == [], (key, told)
        # What is taken from another key by default follows it.
        assert set(told[head]) - {key} <= ({"node.advertise"} if key == "node.listen" else set()), (key, told)
        if key in taken:
            assert f"reloaded changed={key} " in node.logged_since(mark)
            assert reloaded(node, {})["changed"] == [key], "back again"
        else:
            assert "reloaded changed=nothing " in node.logged_since(mark)
            keys = ",".join(told[head])
            assert re.search(rf"need a restart keys={re.escape(keys)}$", node.logged_since(mark), re.M)
            assert reloaded(node, {}) == {"changed": [], "needs_restart": []}
    after = node.status()
    for field in ("cluster", "node", "state", "role", "term", "membership"):
        assert after[field] == before[field], field


def test_what_takes_effect(node):
    options = {"node.uri": "amqp://new", "log.level": "error"}
    reloaded(node, options)
    assert node.ok("leader")["leader"]["uri"] == "amqp://new"
    mark = node.log_mark()
    assert reloaded(node, options)["changed"] == []
    assert node.logged_since(mark) == "", "a reload is a notice"
    node.ok("log-level", "info")
    assert reloaded(node, options)["changed"] == ["log.level"], "the file counts again"


def test_what_people_and_the_log_are_told(single):
    node = single[1]
    good = node.conf.read_text()
    done = node.run("reload", text=True)
    assert (done.returncode, done.stdout) == (0, "") and "nothing has changed" in done.stderr
    node.conf.write_text(good + "[storage]\nlog_keep_entries = 7\n")
    done = node.run("reload", text=True)
    assert (done.returncode, done.stdout) == (0, "needs a restart: storage.log_keep_entries\n")
    assert "nothing of it can change while raftd runs" in done.stderr
    node.conf.write_text(good + "[log]\nlevel = debug\n[storage]\nlog_keep_entries = 7\nstall_timeout = 9s\n")
    mark = node.log_mark()
    done = node.run("reload", text=True)
    assert (done.returncode, done.stdout) == \
        (0, "changed: storage.stall_timeout, log.level\nneeds a restart: storage.log_keep_entries\n")
    assert "need a restart keys=storage.log_keep_entries" in node.logged_since(mark)


@pytest.mark.parametrize("how", ["raftctl", "SIGHUP"])
def test_one_mistake_and_all_of_it_is_refused(single, how):
    """What is right in the file is not taken up either; each mistake is named."""
    node = single[1]
    good = node.conf.read_text()
    lines = len(good.splitlines())
    node.conf.write_text(good + "[log]\nlevel = debug\n[frob]\n[raft]\nheartbeat_interval = 1\n")
    mark = node.log_mark()
    if how == "raftctl":
        refused = node.ctl("reload")
        assert refused.code == 1 and refused.error == "invalid"
        assert f"{node.conf}:{lines + 3}: " in refused.message and f"{node.conf}:{lines + 5}: " in refused.message
    else:
        node.signal(signal.SIGHUP)
    line = wait_until(lambda: re.search(r"^.*reload refused.*$", node.logged_since(mark), re.M), 5, "it is logged")[0]
    assert f"{node.conf}:{lines + 3}: " in line and f"{node.conf}:{lines + 5}: " in line, "in one line"
    node.conf.unlink()
    assert str(node.conf) in node.ctl("reload").message, "no file is a mistake, too"
    node.ok("put", "k", "v")
    node.conf.write_text(good)
    assert node.ok("reload") == {"changed": [], "needs_restart": []}, "nothing of it had been taken up"


def test_options_of_the_command_line_stay(make_cluster):
    cluster = make_cluster(1)
    node = cluster[1]
    node.extra = ["-o", "node.uri=amqp://line"]
    cluster.formed()
    assert reloaded(node, {"node.uri": "amqp://file"}) == {"changed": [], "needs_restart": []}
    assert node.ok("leader")["leader"]["uri"] == "amqp://line"


def test_many_at_once(single):
    """One after the other: a change is told once."""
    node = single[1]
    node.options["storage.stall_timeout"] = "9s"
    node.write_conf()
    told = []
    threads = [threading.Thread(target=lambda: told.append(node.ok("reload"))) for _ in range(8)]
    for thread in threads:
        thread.start()
        node.signal(signal.SIGHUP)
    for thread in threads:
        thread.join()
    assert len(told) == 8 and sum(bool(x["changed"]) for x in told) <= 1
    assert node.log_text().count("reloaded changed=storage.stall_timeout") == 1


def test_while_the_cluster_forms(make_cluster):
    node = make_cluster(3)[1].start()
    assert node.status()["state"] == "forming"
    assert reloaded(node, {"node.uri": "amqp://early"})["changed"] == ["node.uri"]
    assert node.status()["node"]["uri"] == "amqp://early" and node.status()["state"] == "forming"


@pytest.mark.skipif(not strace_works(), reason="strace cannot trace here (ptrace)")
def test_before_it_is_ready(single):
    """The file was read, then changed, then SIGHUP: a start that takes long must not lose that."""
    node = single[1]
    node.stop()
    mark = node.log_mark()
    with Injected(node, "flock:delay_exit=1500000"):
        node.start(wait=False)
        wait_until(lambda: has_read_its_file(node), 5, "it is at its data")
        node.conf.write_text(node.conf.read_text() + "[log]\nlevel = debug\n")
        node.signal(signal.SIGHUP)
        node.wait_ready()
        assert "reloaded changed=log.level" in node.logged_since(mark)
        node.stop()


def has_read_its_file(node):
    """What it does before it opens its data."""
    done = subprocess.run(["readlink", *[f"/proc/{node.pid}/fd/{n}" for n in range(3, 12)]], capture_output=True,
                          text=True, check=False)
    return str(node.data) in done.stdout


def test_while_it_stops(make_cluster, tmp_path):
    """Stopping goes on; and systemd was asked for as much time as the reload before allowed."""
    cluster = make_cluster(1)
    node = cluster[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        node.env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        cluster.formed()
        assert reloaded(node, {"raft.shutdown_transfer_timeout": "10m"})["changed"] == \
            ["raft.shutdown_transfer_timeout"]
        with node.watch():
            node.signal(signal.SIGTERM)
            for _ in range(20):
                node.signal(signal.SIGHUP)
                time.sleep(0.001)
        node.wait_exit(10, expect=0)
        manager.setblocking(False)
        told = []
        while "STOPPING=1" not in told:
            told += manager.recv(4096).decode().splitlines()
        told += manager.recv(4096).decode().splitlines()
    assert "EXTEND_TIMEOUT_USEC=620000000" in told, told
