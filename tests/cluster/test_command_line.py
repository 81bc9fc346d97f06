"""How raftd is started: its words on a bad command line, and missing standard descriptors."""
import os
import subprocess

import pytest

from harness import EXIT_CONFIG, EXIT_USAGE, RAFTD, wait_until

GOOD = """[node]
id = 1
listen = 127.0.0.1:17400
data_dir = {dir}/data
[admin]
socket = {dir}/raftd.sock
"""


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "raftd.conf"
    path.write_text(GOOD.format(dir=tmp_path))
    return path


def raftd(*words):
    return subprocess.run([RAFTD, *map(str, words)], capture_output=True, text=True, check=False,
                          timeout=60, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("words", [["--frobnicate"], ["-x"], ["-c"], ["--check-config=1"], ["extra"],
                                   ["-o", "bogus"]])
def test_messages_begin_with_the_name(words):
    """Not with the path it was started by."""
    done = raftd(*words)
    assert done.returncode == EXIT_USAGE
    assert done.stderr.startswith("raftd: ") and "/raftd" not in done.stderr


@pytest.mark.parametrize("option", ["bogus", "node.id", "=1", "node=1", "nodeid=1.5", "", "."])
def test_override_that_is_none(conf, option):
    done = raftd("-c", conf, "-o", option, "--check-config")
    assert done.returncode == EXIT_USAGE and done.stdout == ""
    assert f"raftd: -o {option}: expected SECTION.KEY=VALUE" in done.stderr


@pytest.mark.parametrize("option", ["node.id=x", "node.idd=1", "nodee.id=1", "node.id="])
def test_override_with_a_bad_value(conf, option):
    done = raftd("-c", conf, "-o", option, "--check-config")
    assert done.returncode == EXIT_CONFIG and option in done.stderr


def run_closed(closed, *command, timeout=60):
    """Run it with these descriptors closed."""
    redirects = " ".join(f"{fd}>&-" for fd in closed)
    return subprocess.run(["sh", "-c", f'exec "$@" {redirects}', "sh", *map(str, command)],
                          capture_output=True, timeout=timeout, check=False)


def test_no_standard_output(conf):
    for words in (["--help"], ["--version"], ["-c", conf, "--check-config"], ["-c", conf, "--dump-config"]):
        assert run_closed([1], RAFTD, *words).returncode == 81, words


def descriptor(pid, fd):
    return os.readlink(f"/proc/{pid}/fd/{fd}")


@pytest.mark.parametrize("closed", [[0], [2], [1, 2], [0, 1, 2]])
def test_daemon_without_standard_descriptors(make_cluster, closed):
    """What it logs must not reach its sockets and databases, which would have got the free numbers."""
    node = make_cluster(1)[1]
    node.write_conf()
    command = ["sh", "-c", 'exec "$@" ' + " ".join(f"{fd}>&-" for fd in closed), "sh", RAFTD,
               "-c", node.conf]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: node.ctl("is-leader").code == 0, 10, "it leads")
            assert [descriptor(process.pid, fd) for fd in (0, 1, 2)] == ["/dev/null"] * 3
        finally:
            process.terminate()
        assert process.wait(20) == 0
