"""The manual pages and the completions: nothing of the tables is missing, and the programs they are for take them."""
import os
import pathlib
import re
import subprocess

import pytest

from harness import BUILD, RAFTCTL, RAFTD, ROOT

CONF = BUILD / "conf"
HERE = pathlib.Path(__file__).parent
PAGES = ["raftctl.1", "raftd.conf.5", "raftd-http.7", "raftd-recovery.7", "raftd.8"]


def run(*words, **options):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=60,
                          stdin=subprocess.DEVNULL, **options)


def page(name):
    """As it is read, without what makes bold."""
    done = run("mandoc", "-Tascii", "-O", "width=100", CONF / name)
    assert done.returncode == 0, done.stderr
    return re.sub(".\b", "", done.stdout)


def heads(text, indent=5):
    """The first words of the entries of a page's lists."""
    return set(re.findall(rf"^ {{{indent}}}(\S+)", text, re.M))


def raftctl_help(*words):
    done = run(RAFTCTL, "help", *words)
    assert done.returncode == 0
    return done.stdout


def commands():
    listed = raftctl_help().partition("\nCommands:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^  ([a-z]\S*)", listed, re.M)
    assert "status" in found and "help" in found
    return found


def options_in(text):
    return set(re.findall(r"^ {2,6}(?:-\w, )?(--[a-z-]+)", text, re.M))


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_nothing_to_say(name):
    lines = run("mandoc", "-Tlint", CONF / name).stdout.splitlines()
    # The other pages are not installed here; that they exist is looked at below.
    assert [x for x in lines if "referenced manual not found" not in x] == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_name_pages_and_files_that_exist(name):
    text = (CONF / name).read_text()
    for other, section in re.findall(r"^\.Xr (raft\S+) (\d)", text, re.M):
        assert f"{other}.{section}" in PAGES
    for path in re.findall(r"share/doc/raftd/(\S+)", text):
        assert (ROOT / "docs" / path).exists(), path


def test_every_option_of_the_configuration(tmp_path):
    conf = tmp_path / "raftd.conf"
    conf.write_text("[node]\nid = 1\n")
    dumped = run(RAFTD, "-c", conf, "--dump-config").stdout
    text = page("raftd.conf.5")
    sections = re.split(r"^\[(\w+)\]$", dumped, flags=re.M)[1:]
    assert len(sections) == 2 * 8
    for section, keys in zip(sections[::2], sections[1::2]):
        described = text.partition(f"Section [{section}]\n")[2].partition("   Section [")[0]
        missing = set(re.findall(r"^(\w+) =", keys, re.M)) - heads(described)
        assert not missing, (section, missing)


def test_every_command_and_its_options():
    text = page("raftctl.1").partition("\nCOMMANDS\n")[2].partition("\nENVIRONMENT\n")[0]
    entries = dict(re.findall(r"^     (\S+)(.*?)(?=^     \S|\Z)", text, re.M | re.S))
    for command in commands():
        own = raftctl_help(command).partition("\nOptions:\n")[2].partition("\nOptions of every")[0]
        missing = options_in(own) - set(re.findall(r"--[a-z-]+", entries[command]))
        assert not missing, (command, missing)


@pytest.mark.parametrize("name, program", [("raftctl.1", RAFTCTL), ("raftd.8", RAFTD)])
def test_every_option_of_a_program(name, program):
    text = page(name)
    shown = options_in(run(program, "--help").stdout)
    assert shown >= {"--help", "--version"}
    missing = shown - set(re.findall(r"--[a-z-]+", text))
    assert not missing


def test_every_metric_and_path(single):
    node = single[1]
    entries = heads(page("raftd-http.7"))
    served = set(re.findall(r"^# TYPE (\S+)", node.get("/metrics").text, re.M))
    assert served and not served - entries, served - entries
    paths = set(re.findall(r"/[\w/]+", node.get("/none").text.partition("there are")[2]))
    assert "/v1/leader" in paths and not paths - entries, paths - entries


# ---- Completions ----

BASH = r"""
compopt() { :; }
. "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_raftctl
printf '%s\n' "${COMPREPLY[@]}"
"""


WITH_RAFTCTL = {**os.environ, "PATH": f"{RAFTCTL.parent}:{os.environ['PATH']}", "RAFTCTL_SOCKET": "/none"}


def bash(*words, env=None):
    return set(run("bash", "-c", BASH, "bash", CONF / "raftctl", "raftctl", *words, cwd=CONF, env=env or WITH_RAFTCTL).stdout.split())


def zsh(*words, env=None):
    done = run("zsh", "-f", HERE / "complete.zsh", CONF, " ".join(["raftctl", *words]), cwd=CONF, env=env or WITH_RAFTCTL)
    assert done.returncode == 0 and done.stderr == "", done
    return set(done.stdout.split())


def fish(*words, env=None):
    line = " ".join(["raftctl", *words])
    done = run("fish", "--no-config", "-c", f"source {CONF}/raftctl.fish; complete -C '{line}'", cwd=CONF, env=env or WITH_RAFTCTL)
    assert done.returncode == 0 and done.stderr == "", done
    return {x.split("\t")[0] for x in done.stdout.splitlines()}


SHELLS = pytest.mark.parametrize("complete", [bash, zsh, fish])


@pytest.mark.parametrize("words", [["bash", "-n", "raftctl"], ["shellcheck", "raftctl"],
                                   ["zsh", "-n", "_raftctl"], ["fish", "--no-execute", "raftctl.fish"]],
                         ids=lambda x: x[0])
def test_shells_take_the_completions(words):
    done = run(*words, cwd=CONF)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@SHELLS
def test_what_is_offered(complete):
    assert complete("") >= set(commands())
    assert complete("--timeout", "2s", "") >= set(commands()), "behind options, too"
    assert complete("is-l") == {"is-leader"}
    assert complete("wait", "--for", "") == {"has-leader", "leader", "voter", "caught-up"}
    assert complete("--timeout", "2s", "log-level", "") == {"error", "warning", "notice", "info", "debug"}
    assert complete("put", "k", "--if") == {"--if-revision"}
    assert "--if-revision" not in complete("get", "k", "--")
    assert "--stale" not in complete("put", "get", "--"), "get is a key here"
    assert "raftctl.1" in complete("backup", "raftctl."), "files"
    for command in commands():
        own = options_in(raftctl_help(command)) - {"--version", "--help"}
        assert not own - complete(command, "--"), command


def test_bash_takes_an_equals_sign_for_a_word():
    assert bash("wait", "--for", "=", "") == {"has-leader", "leader", "voter", "caught-up"}
    assert bash("wait", "--for", "=") == {"has-leader", "leader", "voter", "caught-up"}
    assert bash("--timeout", "=", "2s", "is-l") == {"is-leader"}
    assert bash("wait", "--for", "=", "leader", "--tim") == {"--timeout"}


@SHELLS
def test_ids_of_members_are_asked_for(complete, trio):
    """Of the raftd the command would go to; where there is none, nothing is offered, and nothing waits."""
    env = {**WITH_RAFTCTL, "RAFTCTL_SOCKET": str(trio[1].sock)}
    for command in ("remove-server", "promote", "demote", "transfer", "replace-server"):
        assert complete(command, "", env=env) == {"1", "2", "3"}, command
    assert complete("-s", "/none", "transfer", "", env=env) == set()
    assert complete("transfer", "") == set()
    assert complete("-s", str(trio[2].sock), "transfer", "", env=env) == {"1", "2", "3"}
    for sock, ids in (trio[2].sock, {"1", "2", "3"}), ("/none", set()):
        one_word = ["--socket", "=", str(sock)] if complete is bash else [f"--socket={sock}"]
        assert complete(*one_word, "transfer", "", env=env) == ids, one_word
