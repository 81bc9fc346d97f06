"""raftctl follow: hooks are told the newest state, one at a time, and never left believing that this node leads."""
import json
import os
import signal
import subprocess

import pytest

from harness import SLOWDOWN, wait_until

NAMES = ["EVENT", "STATE", "IS_LEADER", "LEADER_ID", "LEADER_ADDRESS", "LEADER_URI", "TERM", "FENCE"]
# Appends what it is told to runs, as one line, in one write; `before` is done first, `after` afterwards.
HOOK = """#!/bin/sh
cd "{dir}" || exit 1
{before}
read -r object
printf '%s\\n' "$RAFTD_EVENT|$RAFTD_STATE|$RAFTD_IS_LEADER|$RAFTD_LEADER_ID|$RAFTD_LEADER_ADDRESS|\
$RAFTD_LEADER_URI|$RAFTD_TERM|$RAFTD_FENCE|{name}|$object" >> runs
{after}
"""


class Follow:
    """`raftctl follow` of a node, with hooks in a directory of its own."""

    def __init__(self, node, directory, *words):
        self.node = node
        self.dir = directory
        self.words = words
        self.process = None
        self.stderr = directory / "stderr"

    def hook(self, name="hook", before="", after="", mode=0o755):
        path = self.dir / name
        path.parent.mkdir(exist_ok=True)
        made = path.with_name("." + path.name)  # appears whole: a directory is read at any time
        made.write_text(HOOK.format(dir=self.dir, name=path.name, before=before, after=after))
        made.chmod(mode)
        made.rename(path)
        return path

    def start(self, hook="hook", options=("-q",)):
        command = self.node.command("follow", "--hook", self.dir / hook, *self.words, as_json=False)
        with open(self.stderr, "ab") as stderr, open(self.dir / "stdout", "ab") as stdout:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command, *options],
                                            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        return self

    def runs(self):
        path = self.dir / "runs"
        found = []
        for line in path.read_text().splitlines() if path.exists() else []:
            *values, name, told = line.split("|", len(NAMES) + 1)
            found.append({**dict(zip(NAMES, values)), "hook": name, "told": json.loads(told)})
        return found

    def said(self):
        return self.stderr.read_text()

    def until(self, predicate, what, seconds=10):
        """The first run that fits."""
        return wait_until(lambda: next((r for r in self.runs() if predicate(r)), None), seconds, what)

    def end(self, number=signal.SIGTERM, seconds=10):
        self.process.send_signal(number)
        status = self.process.wait(seconds * SLOWDOWN)
        self.node.cluster.check_text("raftctl follow", self.stderr.read_bytes())
        return status


@pytest.fixture
def follow(tmp_path):
    made = []

    def make(node, *words):
        directory = tmp_path / f"f{len(made)}"
        directory.mkdir()
        made.append(Follow(node, directory, *words))
        return made[-1]

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def leads(run):
    return run["IS_LEADER"] == "1"


def test_tells_the_start_and_each_change(make_cluster, follow):
    cluster = make_cluster(3, options={"node.uri": "amqp://10.0.0.1:5672"}).formed()
    leader = cluster.leader()
    term = str(leader.status()["term"])
    follows = {n: follow(n) for n in cluster}
    for one in follows.values():
        one.hook()
        one.start()
    for node, one in follows.items():
        first = one.until(lambda r: True, "it runs at the start")
        assert first["EVENT"] == "start" and first["TERM"] == first["FENCE"] == term
        assert first["LEADER_ID"] == str(leader.id) and first["LEADER_ADDRESS"] == leader.address
        assert first["LEADER_URI"] == "amqp://10.0.0.1:5672"
        assert first["STATE"] == ("leader" if node is leader else "follower")
        assert leads(first) == (node is leader)
        told = first["told"]
        assert told["is_leader"] == leads(first) and told["leader"]["id"] == leader.id
        assert told["state"] == first["STATE"] and str(told["term"]) == term
    to = cluster[leader.ok("step-down")["to"]]
    gained = follows[to].until(leads, "the new leader's hook is told")
    assert gained["EVENT"] == "change" and int(gained["FENCE"]) > int(term)
    lost = follows[leader].until(lambda r: not leads(r), "the old leader's hook is told")
    assert lost["EVENT"] == "change"
    follows[leader].until(lambda r: r["LEADER_ID"] == str(to.id), "and who leads now")
    for node, one in follows.items():
        seen = [tuple(r[n] for n in NAMES[1:]) for r in one.runs()]
        assert all(a != b for a, b in zip(seen, seen[1:])), "nothing is told twice"
        assert [r["EVENT"] for r in one.runs()].count("start") == 1
        assert one.end() == 0 and one.said() == "", node.id


def test_newest_state_wins(trio, follow):
    """While a hook runs states go by; the one after it is the newest."""
    leader = trio.leader()
    one = follow(leader)
    one.hook(before='if mkdir first 2>/dev/null; then while ! [ -e go ]; do sleep 0.02; done; fi')
    one.start()
    wait_until((one.dir / "first").exists, 10, "the first run has begun")
    for _ in range(2):  # away and back
        trio.leader().ok("step-down")
        trio.leader().ok("transfer", leader.id)
    trio.leader()
    wait_until(lambda: leader.status()["is_leader"], 10, "it leads again")
    fence = leader.status()["fence"]
    assert not one.runs()
    (one.dir / "go").touch()
    last = one.until(lambda r: r["FENCE"] == str(fence), "the newest state")
    assert leads(last) and last["EVENT"] == "change"
    assert [r["EVENT"] for r in one.runs()][:2] == ["start", "change"] and len(one.runs()) <= 3
    assert all(leads(r) for r in one.runs() if r["FENCE"] != ""), "what was in between was skipped"
    assert one.end() == 0


def test_hook_that_takes_too_long(single, follow):
    one = follow(single[1], "--hook-timeout", "200ms")
    one.hook(before="[ -e good ] || exec sleep 60")
    one.start()
    wait_until(lambda: "took too long, ended after " in one.said(), 10, "it is ended")
    assert "hook (leader, term 2)" in one.said() and "signal 15 (TERM); again in 1.0s" in one.said()
    (one.dir / "good").touch()
    assert one.until(leads, "it runs again")["EVENT"] == "start"
    assert one.end() == 0


def test_hook_that_fails_runs_again(trio, follow):
    leader = trio.leader()
    one = follow(leader)
    one.hook(after="[ -e good ] || exit 3")
    one.start()
    wait_until(lambda: len(one.runs()) >= 2, 10, "it runs again for the same state")
    assert {r["EVENT"] for r in one.runs()} == {"start"} and all(leads(r) for r in one.runs())
    assert ": exit status 3; again in 1.0s" in one.said()
    leader.ok("step-down")
    one.until(lambda r: not leads(r), "a change runs it at once")
    (one.dir / "good").touch()
    newest = str(trio.leader().id)
    one.until(lambda r: r["LEADER_ID"] == newest, "who leads now, in the end")
    assert one.end() == 0


def test_directory(trio, follow):
    leader = trio.leader()
    one = follow(leader)
    for name in ("d/20-b", "d/10-a.sh", "d/B", "d/skipped.dpkg-old", "d/skipped~", "d/.skipped"):
        one.hook(name)
    one.hook("d/readme", mode=0o644)
    one.start("d")
    one.until(lambda r: r["hook"] == "B", "the last of them")
    assert [r["hook"] for r in one.runs()] == ["10-a.sh", "20-b", "B"]
    one.hook("d/15-new")
    (one.dir / "d" / "B").unlink()
    leader.ok("step-down")
    newest = str(trio.leader().id)
    one.until(lambda r: r["LEADER_ID"] == newest and r["hook"] == "20-b", "the new leader is told to all")
    later = [r["hook"] for r in one.runs()][3:]
    assert later == ["10-a.sh", "15-new", "20-b"] * (len(later) // 3)
    assert one.end() == 0


def test_hook_that_is_none(single, follow):
    for mode, words in ((0o644, "neither a directory nor an executable file: chmod +x it"),
                        (None, "No such file")):
        one = follow(single[1])
        if mode:
            one.hook(mode=mode)
        one.start()
        assert one.process.wait(10 * SLOWDOWN) == 2
        assert words in one.said() and "Usage: raftctl follow --hook" in one.said()


def test_raftd_restarts(trio, follow):
    node = trio.others(trio.leader())[0]
    one = follow(node)
    one.hook()
    one.start(options=())
    first = one.until(lambda r: r["LEADER_ID"] != "", "the start")
    node.restart()
    gone = one.until(lambda r: r["STATE"] == "unreachable", "raftd is gone")
    assert gone["EVENT"] == "change" and not leads(gone) and gone["LEADER_ID"] == gone["FENCE"] == ""
    assert gone["TERM"] == first["TERM"] and gone["told"]["leader"] is None
    assert gone["told"]["reason"] and gone["told"]["is_leader"] is False
    wait_until(lambda: one.runs()[-1]["LEADER_ID"] == first["LEADER_ID"], 10, "and is there again")
    assert one.said().count("Trying again until it answers\n") == 1
    assert one.said().count(f"raftd at {node.sock} answers\n") == 1
    assert one.end() == 0


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_leader_that_is_gone(trio, follow, how):
    """Killed, or hung: its hooks do not believe for ever that it leads."""
    leader = trio.leader()
    one = follow(leader)
    one.hook()
    one.start()
    one.until(leads, "it leads")
    getattr(leader, how)()
    gone = one.until(lambda r: not leads(r), "its hook is told")
    assert gone["STATE"] == "unreachable"
    if how == "pause":
        assert "it hangs" in gone["told"]["reason"]
        leader.resume()
        one.until(lambda r: r["STATE"] == "follower" and r["LEADER_ID"], "it follows the next one")
    assert one.end() == 0


def test_started_before_raftd(make_cluster, follow):
    cluster = make_cluster(1)
    node = cluster[1]
    one = follow(node)
    one.hook()
    one.start(options=())
    assert one.until(lambda r: True, "the start")["STATE"] == "unreachable"
    assert "the socket does not exist" in one.said()
    cluster.formed()
    one.until(leads, "it leads")
    assert one.end(signal.SIGINT) == 0


def test_signal_waits_for_the_hook(single, follow):
    one = follow(single[1])
    one.hook(before='touch begun; trap "" TERM; while ! [ -e go ]; do sleep 0.02; done', after="touch done")
    one.start()
    wait_until((one.dir / "begun").exists, 10, "it runs")
    one.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        one.process.wait(0.3)
    (one.dir / "go").touch()
    assert one.process.wait(10 * SLOWDOWN) == 0 and (one.dir / "done").exists()
    assert one.said() == ""


def test_second_signal_does_not(single, follow):
    one = follow(single[1])
    one.hook(before="touch begun; echo $$ > pid; exec sleep 60")
    one.start()
    wait_until((one.dir / "begun").exists, 10, "it runs")
    one.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not signal_is_pending(one.process.pid), 5, "it was read")
    assert one.end(signal.SIGTERM, 4) == 0
    assert "took too long, ended after" in one.said() and "again in" not in one.said()
    assert not os.path.exists(f"/proc/{(one.dir / 'pid').read_text().strip()}")


def signal_is_pending(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["ShdPnd"], 16) & 1 << (signal.SIGTERM - 1)


def test_json_tells_how_they_ran(single, follow):
    one = follow(single[1])
    one.hook(after="[ -e good ] || { touch good; kill -9 $$; }")
    one.start(options=("--json",))
    def lines():
        return [json.loads(x) for x in (one.dir / "stdout").read_text().splitlines()]
    wait_until(lambda: len(lines()) == 2, 10, "it has run twice")
    for line, status, number in zip(lines(), (None, 0), (9, None)):
        assert line["event"] == "start" and line["state"] == "leader" and line["is_leader"] is True
        assert line["fence"] == line["term"] == 2 and line["hook"] == str(one.dir / "hook")
        assert line["exit"] == status and line["signal"] == number and line["took_ms"] >= 0
    assert one.end() == 0


def test_socket_that_can_never_be(single, follow):
    one = follow(single[1], "-s", "/tmp/" + "x" * 200)
    one.hook()
    one.start()
    assert one.process.wait(10 * SLOWDOWN) == 2 and "the socket path has 205 bytes" in one.said()
