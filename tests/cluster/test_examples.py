"""What stands in conf/ is accepted by the programs it is for."""
import ast
import os
import re
import subprocess

import pytest

from harness import BUILD, RAFTCTL, RAFTD, ROOT, wait_until

CONF = ROOT / "conf"
EXAMPLES = CONF / "examples"
UNITS = sorted([*(BUILD / "conf").glob("*.service"), *EXAMPLES.glob("*.service"), *EXAMPLES.glob("*.target")])
SHELL = [EXAMPLES / "sidecar.sh", *sorted((EXAMPLES / "hooks.d").iterdir())]


def name(path):
    return path.name


def run(*words, **options):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_systemd_takes_the_unit(unit, tmp_path):
    """Beside the others, and with programs that exist here: an unknown key is a line, but no failure."""
    for path in UNITS:
        text = re.sub(r"/\S+/raftctl\b", str(RAFTCTL), path.read_text())
        text = re.sub(r"/\S+/raftd (?=-c)", f"{RAFTD} ", text).replace("/usr/bin/app", "/bin/true")
        (tmp_path / path.name).write_text(text)
    done = run("systemd-analyze", "verify", "--man=no", tmp_path / unit.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_haproxy_takes_its_configuration():
    done = run("haproxy", "-c", "-f", EXAMPLES / "haproxy.cfg")
    assert done.returncode == 0 and "WARNING" not in done.stdout + done.stderr, done


@pytest.mark.parametrize("script", SHELL, ids=name)
def test_shell(script):
    assert os.access(script, os.X_OK) and script.read_text().startswith("#!/bin/sh\n")
    done = run("shellcheck", script)
    assert done.returncode == 0, done.stdout


def test_python_is_of_the_standard_library():
    path = EXAMPLES / "sidecar.py"
    assert os.access(path, os.X_OK)
    names = {alias.name.partition(".")[0] for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"http", "json", "os", "ssl", "threading", "time"}


def test_hook_of_the_target(trio, tmp_path):
    """With a systemctl that writes down what it is told."""
    asked = tmp_path / "asked"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >> {asked}\n')
    systemctl.chmod(0o755)
    leader = trio.leader()
    command = leader.command("follow", "--hook", EXAMPLES / "hooks.d", as_json=False)

    def lines():
        return asked.read_text().splitlines() if asked.exists() else []

    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}) as follow:
        try:
            wait_until(lambda: lines() == ["--no-block start raftd-leader.target"], 10, "the target starts")
            leader.ok("step-down")
            wait_until(lambda: lines()[-1] == "--no-block stop raftd-leader.target", 10, "and stops")
        finally:
            follow.terminate()


@pytest.mark.parametrize("page", ["README.md", "docs/leader-discovery.md"])
def test_page_names_files_that_exist(page):
    for path in re.findall(r"\b(?:conf|docs)/[\w./-]*\w", (ROOT / page).read_text()):
        assert (ROOT / path).exists(), path


def test_readme_shows_what_status_prints(trio):
    sample = re.search(r"^\$ raftctl status\n(.*?)^\$", (ROOT / "README.md").read_text(), re.M | re.S).group(1)

    def words(text):
        """What begins each line of the first part, and the heads of the table."""
        facts, table = text.split("\n\n")
        return [line.split()[0] for line in facts.splitlines()] + table.splitlines()[0].split()

    assert words(sample) == words(trio.leader().run("status", text=True).stdout)


def test_fence_is_refused_as_the_page_says(single):
    text = (ROOT / "docs" / "leader-discovery.md").read_text()
    said = re.search(r"^raftctl: put: stale_fence: the term is (\d+) now$", text, re.M)
    assert said
    term = single[1].status()["term"]
    done = single[1].run("put", "jobs/7", "done", "--fence", term - 1, text=True)
    assert (done.returncode, done.stderr) == (1, said.group().replace(said.group(1), str(term)) + "\n")
