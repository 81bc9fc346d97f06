"""raftd's command line and its configuration; nothing of it needs a cluster."""
import os
import pathlib
import re
import socket
import subprocess

import pytest

from harness import EXIT_CONFIG, EXIT_IO, EXIT_USAGE, RAFTCTL, RAFTD, ROOT, free_address, free_ports

GOOD = """[node]
id = 1
listen = 127.0.0.1:17400
data_dir = {dir}/data
[admin]
socket = {dir}/raftd.sock
"""


def raftd(*words, prefix=()):
    return subprocess.run([*prefix, RAFTD, *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=60, stdin=subprocess.DEVNULL)


def raftctl(*words):
    return subprocess.run([RAFTCTL, *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=60, stdin=subprocess.DEVNULL)


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "raftd.conf"
    path.write_text(GOOD.format(dir=tmp_path))
    return path


def test_help_and_version():
    for program, name in ((raftd, "raftd"), (raftctl, "raftctl")):
        done = program("--help")
        assert done.returncode == 0 and done.stderr == ""
        lines = [x for x in done.stdout.splitlines()[:4] if x.strip().startswith(name)]
        assert len(lines) == 2, "it starts with two examples"
        done = program("--version")
        assert done.returncode == 0 and re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("words", [["--frobnicate"], ["-c"], ["extra"], ["-o"], ["-x"], ["--check-config=1"]])
def test_bad_command_line(words):
    done = raftd(*words)
    assert done.returncode == EXIT_USAGE and "--help" in done.stderr and done.stdout == ""


def test_sample_configuration_is_valid():
    done = raftd("-c", ROOT / "conf/raftd.conf", "--check-config")
    assert done.returncode == 0, done.stderr


def test_check_config(conf):
    done = raftd("-c", conf, "--check-config")
    assert done.returncode == 0 and "valid" in done.stdout and not (conf.parent / "data").exists()


def test_dump_config_round_trip(conf, tmp_path):
    conf.write_text(conf.read_text() + "[raft]\nelection_timeout = 1500ms\n[cluster]\n"
                    "member = 2@127.0.0.1:17402\nmember = 1@127.0.0.1:17400\n"
                    "[http]\nlisten = 127.0.0.1:1\nlisten = [::1]:2\n[storage]\nmap_size = 2048M\n")
    first = raftd("-c", conf, "--dump-config")
    assert first.returncode == 0, first.stderr
    assert "election_timeout = 1500ms" in first.stdout and "map_size = 2G" in first.stdout
    again = tmp_path / "again.conf"
    again.write_text(first.stdout)
    second = raftd("-c", again, "--dump-config")
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


def test_options_override_the_file(conf):
    done = raftd("-c", conf, "-o", "node.id=9", "-o", "raft.heartbeat_interval=50ms", "-o",
                 "cluster.member=9@127.0.0.1:17400", "-o", "cluster.member=10@127.0.0.1:17401",
                 "--dump-config")
    assert done.returncode == 0, done.stderr
    for line in ("id = 9", "heartbeat_interval = 50ms", "member = 9@127.0.0.1:17400",
                 "member = 10@127.0.0.1:17401"):
        assert line in done.stdout.splitlines()


@pytest.mark.parametrize("text, line, says", [
    ("[node]\nid = 0\n", 2, "1..4294967295|range"),
    ("[node]\nid = 4294967296\n", 2, "range|number"),
    ("[node]\nid = one\n", 2, "number"),
    ("[node]\nid = 1\nid = 2\n", 3, "id"),
    ("[node]\nid = 1\ncolour = red\n", 3, "unknown key"),
    ("[node]\nid = 1\ndata_dri = /x\n", 3, "data_dir"),
    ("[nodes]\nid = 1\n", 1, r"\[node\]"),
    ("[node\nid = 1\n", 1, "section|]"),
    ("id = 1\n", 1, "section"),
    ("[node]\nid = 1\n  name = x\n", 3, "indented"),
    ("[node]\nid = 1\nname\n", 3, "key = value"),
    ("[node]\nid = 1\nlisten = 127.0.0.1\n", 3, "HOST:PORT"),
    ("[node]\nid = 1\nlisten = 127.0.0.1:70000\n", 3, "port"),
    ("[node]\nid = 1\n[raft]\nelection_timeout = 500\n", 4, "500ms|duration"),
    ("[node]\nid = 1\n[raft]\nelection_timeout = 200ms\n", 4, "heartbeat_interval"),
    ("[node]\nid = 1\n[raft]\nheartbeat_interval = 400ms\n", 4, "election_timeout"),
    ("[node]\nid = 1\n[storage]\nmap_size = lots\n", 4, "size"),
    ("[node]\nid = 1\n[admin]\nmode = 0999\n", 4, "octal"),
    ("[node]\nid = 1\n[log]\nlevel = loud\n", 4, "error, warning"),
    ("[node]\nid = 1\n[log]\nformat = xml\n", 4, "json"),
    ("[node]\nid = 1\n[tls]\ncert = /x\n", 4, "all of cert, key and ca"),
    ("[node]\nid = 1\n[tls]\ncert = /x\nkey = /y\nca = /z\n", 4, "cluster.name"),
    ("[node]\nid = 1\n[cluster]\nmember = 1@127.0.0.1:1\n", 4, "advertise|listen"),
    ("[node]\nid = 1\nlisten = 127.0.0.1:1\n[cluster]\nmember = 2@127.0.0.1:2\n", 5, "does not list"),
    ("[node]\nid = 1\nlisten = 127.0.0.1:1\n[cluster]\nmember = 1@127.0.0.1:1\nmember = 1@127.0.0.1:2\n",
     6, "twice"),
    ("[node]\nid = 1\nlisten = 127.0.0.1:1\n[cluster]\nmember = 1@127.0.0.1:1\nmember = 2@127.0.0.1:1\n",
     6, "twice"),
    ("[node]\nid = 1\nlisten = 127.0.0.1:1\n[cluster]\nmember = one\n", 5, "ID@HOST:PORT"),
    ("[node]\nid = 1\nname = " + "x" * 5000 + "\n", 3, "bytes"),
    ("[node]\nid = 1\nname = a\0b\n", 3, "NUL"),
    ("[node]\nname = x\n", 1, "node.id is missing"),
])
def test_bad_config_names_file_and_line(tmp_path, text, line, says):
    path = tmp_path / "bad.conf"
    path.write_text(text)
    for words in ([], ["--check-config"], ["--dump-config"]):
        done = raftd("-c", path, *words)
        assert done.returncode == EXIT_CONFIG, done
        assert done.stdout == ""
        assert re.search(rf"^{re.escape(str(path))}:{line}: .*({says})", done.stderr, re.M), done.stderr


def test_every_error_is_printed(tmp_path):
    path = tmp_path / "bad.conf"
    path.write_text("[node]\nid = x\nlisten = y\n[raft]\nheartbeat_interval = 1\n[frob]\na = b\n")
    done = raftd("-c", path)
    assert done.returncode == EXIT_CONFIG
    lines = [int(m) for m in re.findall(rf"^{re.escape(str(path))}:(\d+): ", done.stderr, re.M)]
    assert lines == [2, 3, 5, 6], done.stderr


def test_bad_option_is_named(conf):
    for option in ("node.id=x", "frob.id=1", "node.frob=1", "raft.election_timeout=1ms"):
        done = raftd("-c", conf, "-o", option)
        assert done.returncode == EXIT_CONFIG and option in done.stderr, (option, done.stderr)
    for option in ("node", "node.id"):
        done = raftd("-c", conf, "-o", option)
        assert done.returncode == EXIT_USAGE and option in done.stderr, (option, done.stderr)


def test_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.conf", tmp_path):
        done = raftd("-c", path, "--check-config")
        assert done.returncode == EXIT_CONFIG and str(path) in done.stderr


LISTENERS = pytest.mark.parametrize("option", ["node.listen", "http.listen"])


def start_on(conf, option, address, prefix=()):
    """One of the two listeners there, the other one where nothing is in its way."""
    host = free_address()
    where = {"node.listen": f"{host}:{free_ports(host, 1)[0]}", "http.listen": "", option: address}
    done = raftd("-c", conf, *(f"-o{name}={value}" for name, value in where.items()), prefix=prefix)
    section, key = option.split(".")
    assert f'option="[{section}] {key}"' in done.stderr, done.stderr
    return done


@LISTENERS
def test_an_address_that_may_come_later(conf, option):
    """systemd tries again after 81, and never after 78."""
    for address, says in (("192.0.2.1:7400", "this machine does not have that address (yet)"),
                          ("[fe80::1%nosuchif]:7400", "the host cannot be resolved (yet)")):
        done = start_on(conf, option, address)
        assert done.returncode == EXIT_IO and f"cannot listen: {says}" in done.stderr, done


@LISTENERS
def test_an_address_of_another_process(conf, option):
    host = free_address()
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        done = start_on(conf, option, f"{host}:{taken.getsockname()[1]}")
        assert done.returncode == EXIT_CONFIG and "cannot listen: another process has this address" in done.stderr, done


@pytest.mark.skipif(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == "0\n",
                    reason="every user may listen on every port here")
@LISTENERS
def test_a_port_that_is_not_ours(conf, option):
    prefix = ["setpriv", "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    done = start_on(conf, option, f"{free_address()}:1", prefix)
    assert done.returncode == EXIT_CONFIG and "need root or CAP_NET_BIND_SERVICE" in done.stderr, done


@pytest.mark.parametrize("words", [
    [], ["frobnicate"], ["put"], ["put", "k"], ["put", "k", "v", "w"], ["get"], ["get", "a", "b"],
    ["--frob", "status"], ["status", "--frob"], ["put", "k", "v", "--if-revision", "x"],
    ["put", "k", "v", "--if-revision"], ["put", "k", "v", "--fence", "0"], ["wait"],
    ["wait", "--for", "godot"], ["list", "--limit", "0"], ["bench", "--clients", "0"],
    ["bench", "--op", "frob"], ["bench", "--size", "2M"], ["bench", "--duration", "5"],
    ["--timeout", "5", "status"], ["--timeout", "0s", "status"], ["log-level"], ["log-level", "loud"],
    ["bootstrap", "x"], ["help", "frobnicate"], ["-s", "", "status"]])
def test_raftctl_usage(words):
    done = raftctl(*words)
    assert done.returncode == 2 and done.stdout == "", done
    assert "raftctl" in done.stderr
    if words:
        done = raftctl("--json", *words)
        assert done.returncode == 2 and '"code":"invalid"' in done.stdout, done


def test_raftctl_suggests(tmp_path):
    assert "did you mean 'status'" in raftctl("-s", tmp_path / "s", "statsu").stderr


@pytest.mark.parametrize("words", [
    ["status"], ["members"], ["leader"], ["is-leader"], ["wait", "--for", "leader"], ["watch"],
    ["bootstrap"], ["put", "k", "v"], ["get", "k"], ["del", "k"], ["list"], ["batch"],
    ["log-level", "info"], ["bench", "--duration", "100ms"]])
def test_daemon_that_is_not_there(tmp_path, words):
    """Every command: exit 3, and the path it tried."""
    path = tmp_path / "raftd.sock"
    done = raftctl("-s", path, *words)
    assert done.returncode == 3 and str(path) in done.stderr and done.stdout == ""
    done = raftctl("--json", "-s", path, *words)
    assert done.returncode == 3 and '"code":"unreachable"' in done.stdout and str(path) in done.stdout


def test_raftctl_socket_that_is_too_long(tmp_path):
    done = raftctl("-s", tmp_path / ("x" * 120), "status")
    assert done.returncode in (2, 3) and "107" in done.stderr or "long" in done.stderr, done
