"""`raftctl exec` in the tests: start it, and find what runs under it by a mark in the environment, wherever
that has gone."""
import os
import pathlib
import signal
import subprocess
import time
import uuid
from typing import NamedTuple

import harness
from harness import SLOWDOWN, wait_until

MARK = "RAFTD_TEST_MARK"
CLAIM_S = 0.8 * harness.ELECTION_TIMEOUT_S  # how long a claim lasts at most

LOOK_S = 0.03  # a look takes less, unless the machine has others to serve

LOST, WAITED, FAILED, NOT_RUNNABLE, NOT_FOUND = 75, 124, 125, 126, 127


def claims_lapse(timeout_s=harness.ELECTION_TIMEOUT_S):
    """Whatever was told before: the answer to `status`, too, is a claim, and one that nobody takes back."""
    end = time.monotonic() + timeout_s * SLOWDOWN
    wait_until(lambda: time.monotonic() > end, timeout_s + 5, "earlier claims have lapsed")


class Command(NamedTuple):
    """A process that a raftctl exec has started, or something that this one has."""
    pid: int
    mark: str
    node: int
    fence: int
    group: int


class Scanner:
    """Finds the processes that have one of these marks: others test on this machine, too. Who has a mark
    and no fence is raftctl itself, or its guardian."""

    def __init__(self, marks):
        self.marks = marks
        self.strangers = set()

    @staticmethod
    def environment(pid):
        """{} when it has ended, or is a thread of the kernel."""
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            return {}
        return dict(word.decode(errors="replace").split("=", 1) for word in words if b"=" in word)

    def scan(self):
        """(commands, pids of raftctls and guardians)"""
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self.strangers &= pids
        commands, others = [], []
        for pid in pids - self.strangers:
            env = self.environment(pid)
            if env.get(MARK) not in self.marks:
                if env:  # perhaps a raftctl before its execve(); its commands have the mark from their fork on
                    self.strangers.add(pid)
            elif "RAFTD_FENCE" in env:
                commands += self.command(pid, env)
            else:
                others.append(pid)
        return commands, others

    @staticmethod
    def command(pid, env):
        """A list of one, or of none when it has ended meanwhile."""
        try:
            return [Command(pid, env[MARK], int(env["RAFTD_NODE_ID"]), int(env["RAFTD_FENCE"]), os.getpgid(pid))]
        except ProcessLookupError:
            return []


def comm(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Exec:
    """One `raftctl exec`."""
    count = 0
    marks = set()  # of all of them

    def __init__(self, node, *command, options=(), prefix=(), mark=None, env=None, **popen):
        Exec.count += 1
        self.node = node
        self.mark = mark or uuid.uuid4().hex
        self.marks.add(self.mark)
        self.err_path = node.dir / f"exec{Exec.count}.err"
        self.out_path = node.dir / f"exec{Exec.count}.out"
        popen = {"stdin": subprocess.DEVNULL, **popen}
        with open(self.err_path, "wb") as err, open(self.out_path, "wb") as out:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *prefix, harness.RAFTCTL, "-s", node.sock, "exec",
                 *options, "--", *command],
                env={**os.environ, **(env or {}), MARK: self.mark}, **{"stdout": out, "stderr": err, **popen})
        self.pid = self.process.pid

    # ---- What runs ----

    def commands(self):
        return Scanner({self.mark}).scan()[0]

    def running(self, count=1, seconds=10):
        """Wait until so many processes of the command run; they."""
        def enough():
            if self.process.poll() is not None:
                raise AssertionError(f"raftctl exec ended with {self.process.returncode}: {self.err}")
            found = self.commands()
            return found if len(found) >= count else None
        return wait_until(enough, seconds, f"{count} processes of the command")

    def gone(self, seconds=10):
        """Wait until nothing of the command is left: for how long, in s, without the times in which this
        process was not run either. Somebody else's load is not what is to be found here."""
        began = last = time.monotonic()
        stalled = 0
        while self.commands():
            now = time.monotonic()
            stalled += max(0, now - last - LOOK_S)
            last = now
            if now - began > seconds * SLOWDOWN:
                raise AssertionError(f"of the command is left, after {now - began:.1f} s: {self.commands()}")
        stalled += max(0, time.monotonic() - last - LOOK_S)
        return time.monotonic() - began - stalled

    @property
    def guardian(self):
        path = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return next(int(pid) for pid in path.read_text().split() if comm(pid) == "exec-guard")

    # ---- raftctl itself ----

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=10):
        """Its exit status; negative: the signal that ended it."""
        status = self.process.wait(seconds * SLOWDOWN)
        self.node.cluster.check_text("raftctl exec", self.err_path.read_bytes())
        return status

    @property
    def err(self):
        return self.err_path.read_text()

    @property
    def out(self):
        return self.out_path.read_text()

    def said(self, words, seconds=10):
        wait_until(lambda: words in self.err, seconds, f"raftctl exec says {words!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        for command in self.commands():
            try:
                os.kill(command.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
