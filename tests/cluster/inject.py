"""System calls of the unmodified raftd that fail, wait or kill: strace does it to them.

Which call it is counts strace for each thread and each kind of call by itself, and with paths only
those calls that touch them. A signal comes before the call is carried out.
"""
import os
import pathlib
import re
import shutil
import subprocess

from harness import SLOWDOWN, wait_until


def strace_works():
    if not shutil.which("strace"):
        return False
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], check=False, capture_output=True)
    return done.returncode == 0


def strace_words(inject, output, kinds=None, paths=()):
    """`inject` as strace wants it, or None to look only."""
    words = ["strace", "-f", "-y", "-qq", "-o", output]
    words += [f"--trace={kinds}"] if kinds else []
    words += [f"--inject={inject}"] if inject else []
    return words + [f"--trace-path={path}" for path in paths]


class Injected:
    """raftd under strace from its first call on. strace ends as raftd does. (Leaks cannot be looked for then:
    that needs ptrace itself.)"""

    def __init__(self, node, inject, output="/dev/null", kinds=None, paths=()):
        self.node = node
        self.env = node.env
        node.env = {**node.env, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        self.node.wrapper = strace_words(inject, output, kinds, paths)

    def __enter__(self):
        return self.node

    def __exit__(self, *_):
        self.node.wrapper = []
        self.node.env = self.env


class Attached:
    """strace on a raftd that runs (or is stopped by SIGSTOP), from now on."""

    def __init__(self, node, inject, output="/dev/null", kinds=None, paths=()):
        self.node = node
        self.words = strace_words(inject, output, kinds, paths)
        self.strace = None

    def is_on(self):
        """It holds all threads; or the fault has met them already."""
        if self.strace.poll() is not None or not self.node.is_running():
            return not self.node.is_running()
        mine = f"TracerPid:\t{self.strace.pid}\n"
        try:
            return all(mine in status.read_text()
                       for status in pathlib.Path(f"/proc/{self.node.pid}/task").glob("*/status"))
        except FileNotFoundError:  # a thread has ended
            return False

    def __enter__(self):
        # pylint: disable=consider-using-with
        self.strace = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.words, "-p",
                                        str(self.node.pid)], stdin=subprocess.DEVNULL)
        wait_until(self.is_on, 10, f"strace is attached to n{self.node.id}")
        return self.node

    def __exit__(self, *_):
        if self.strace.poll() is None:
            self.strace.terminate()  # it lets raftd go
        try:
            self.strace.wait(2 * SLOWDOWN)
        except subprocess.TimeoutExpired:  # one of its threads was killed just then: it waits for another
            self.strace.kill()
            self.strace.wait()


CALL = re.compile(r"^(\d+) +(\w+)\((.*)")


def calls_on(output, directory):
    """(thread, kind, the words of its line) of each call in strace's output that touches the directory."""
    for line in pathlib.Path(output).read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if match and re.search(re.escape(str(directory)) + r"(?=[/>\"])", match.group(3)):
            yield match.groups()
