#!/usr/bin/python3
"""power_cuts.py - cut the power of all nodes at once, again and again, and miss nothing.

usage: power_cuts.py [--rounds N] [--nodes N] [--writers N] [--seed S] [--preload LIBRARY]

Needs root: the data directory of each node is on an ext4 of its own, in a file (a loop device). Clients
write through all nodes all the time. In each round all raftd are frozen, at a random moment or right after
one of a node's calls (a write that is not synced yet, a sync before the meta page ...), and the files are
copied: what was written and not synced stands in no copy. The nodes go on with the copies. Checked:
  - that it was a cut: the file system wrote nothing while it was copied, and a control, written without a
    sync before the round's writes were acknowledged, is lost in each copy. A round whose control is not
    lost, or in which nothing was acknowledged, could not tell and does not count;
  - `raftctl check` finds each directory sound;
and, as in kill_rounds.py, nothing acknowledged is missing, no revision was given twice, no term has two
leaders, equal digests. Exit status: 0 all of it held, 1 something did not. With --preload raftd runs with a library
of yours: one whose fdatasync() does nothing has to be found. The build under test is RAFTD_BUILD (default:
build/).
"""
import argparse
import collections
import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

from campaign import run_campaign, say
from harness import SLOWDOWN, Cluster, wait_until
from inject import Attached
from kill_rounds import Rounds, Violation

IMAGE_SIZE = 1 << 30  # sparse
IN_FLIGHT, WRITES, FLUSHES = 8, 4, 15  # fields of /sys/dev/block/*/stat
KINDS = [None, None, None, "pwrite64", "writev", "fdatasync"]  # None: at a random moment
ALONE = "RAFTD_POWER_CUTS_ALONE"  # set: in a mount namespace of its own, which ends with the process


def call(*words):
    done = subprocess.run(list(map(str, words)), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


def can_mount():
    """Root, with mount namespaces and loop devices?"""
    works = [subprocess.run(words, check=False, capture_output=True).returncode == 0
             for words in (["unshare", "--mount", "true"], ["losetup", "--find"])]
    return os.geteuid() == 0 and all(works)


class Disk:
    """A file system of its own below a node."""

    def __init__(self, node):
        self.image = node.dir / "disk.img"
        self.root = node.dir / "disk"
        self.root.mkdir()
        with open(self.image, "wb") as f:
            f.truncate(IMAGE_SIZE)
        call("mkfs.ext4", "-q", "-F", "-b", 4096, "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.mounted = False
        self.mount()
        self.control = self.root / "control"
        self.control.write_bytes(b"0".ljust(4096))
        os.sync()
        node.data = self.root / "data"

    def mount(self):
        # commit: the journal by itself, every so many seconds.
        call("mount", "-o", "loop,noatime,commit=300", self.image, self.root)
        self.mounted = True

    def unmount(self):
        if self.mounted:
            wait_until(self.try_unmount, 10, f"{self.root} is unmounted")
            self.mounted = False

    def try_unmount(self):
        with contextlib.suppress(OSError):
            call("umount", self.root)
            return True
        return False

    def write_control(self, number):
        """In place, and not synced."""
        with open(self.control, "r+b", buffering=0) as f:
            f.write(str(number).encode())

    def read_control(self):
        return int(self.control.read_bytes().split()[0])

    def writes(self):
        device = os.stat(self.root).st_dev
        stat = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return None if stat[IN_FLIGHT] != "0" else (stat[WRITES], stat[FLUSHES])

    def copy(self):
        """As it is at one moment: nothing was written meanwhile."""
        def copied():
            before = self.writes()
            call("cp", "--sparse=always", self.image, f"{self.image}.cut")
            return before is not None and before == self.writes()
        wait_until(copied, 10, f"{self.image} was copied while nothing was written")

    def cut(self):
        """Go on with the copy."""
        self.unmount()
        os.replace(f"{self.image}.cut", self.image)
        self.mount()


class Frozen:
    """Whether all threads of a node are stopped, and none has run since it was asked last."""

    def __init__(self, node):
        self.tasks = pathlib.Path(f"/proc/{node.pid}/task")
        self.last = None

    def __call__(self):
        texts = [status.read_text() for status in self.tasks.glob("*/status")]
        now = [re.findall(r"^(?:State|\w+_ctxt_switches):\s+(\w+)", text, re.M) for text in texts]
        same = now == self.last and all(state in ("T", "t") for state, *_ in now)
        self.last = now
        return same


class PowerCuts(Rounds):
    def __init__(self, cluster, disks, seed, writers, say):
        super().__init__(cluster, seed, writers, say)
        self.disks = disks
        self.told = collections.Counter()  # at which call -> cuts
        self.could_not_tell = 0
        self.rounds = 0

    def stop_at(self, kind, node, stack):
        """strace stays until the stack ends: it holds the threads where they are."""
        inject = f"{kind}:signal=STOP:when={self.random.randrange(1, 20)}"
        paths = [node.data / name / "data.mdb" for name in ("log", "state")]
        attached = Attached(node, inject, kinds=kind, paths=paths)
        with contextlib.ExitStack() as mine:
            mine.enter_context(attached)
            try:
                wait_until(Frozen(node), 1, "it stops at the call")
            except AssertionError:
                return None  # it did not make the call: whoever waits for nothing
            stack.push(mine.pop_all())
            return kind

    def freeze(self, kind):
        """All of them; one of them right after a call, if it makes it soon."""
        with contextlib.ExitStack() as stack:
            if kind:
                kind = self.stop_at(kind, self.random.choice(self.cluster.nodes), stack)
            for node in self.cluster:
                node.signal(signal.SIGSTOP)
                node.paused = True
            for node in self.cluster:
                wait_until(Frozen(node), 10, f"all threads of n{node.id} are stopped")
            for disk in self.disks:
                disk.copy()
            for node in self.cluster:
                node.kill()
        return kind

    def one_round(self, number):
        before = self.history.count
        for disk in self.disks:
            disk.write_control(number)
        wait_until(lambda: self.history.count > before, 10, "writes are acknowledged")
        time.sleep(self.random.uniform(0, 0.4))
        term = max(self.history.first_in_term)
        acknowledged = self.history.count - before
        kind = self.freeze(self.random.choice(KINDS))
        cut_at = time.monotonic()
        for disk in self.disks:
            disk.cut()
        lost = [disk.read_control() < number for disk in self.disks]
        for node in self.cluster:
            found = node.ctl("check", "--data-dir", node.data)
            if found.code != 0:
                raise Violation(f"node {node.id}: check says {found}")
        for node in self.cluster:
            node.start(wait=False)
        for node in self.cluster:
            node.wait_ready()
        at = self.history.wait_for_term_above(term, 20 * SLOWDOWN)
        if at is None:
            raise Violation("no write was acknowledged after the power cut")
        self.check_states(n.status() for n in self.cluster)
        self.check_data(self.random.choice(self.cluster.nodes))
        self.check_writers()
        self.gaps.append(max(0.0, at - cut_at))
        if all(lost):
            self.told[kind or "a random moment"] += 1
        else:
            self.could_not_tell += 1
        self.say(f"round {number}: cut at {kind or 'a random moment'}, {acknowledged} writes after the "
                 f"control, which is {'lost' if all(lost) else 'NOT lost: could not tell'}")

    def run(self, rounds):
        super().run(rounds)
        if self.could_not_tell > rounds // 10:
            raise Violation(f"could not tell: the control was not lost in {self.could_not_tell} rounds")

    def summary(self):
        at = "\n".join(f"  at {kind:16} {count}" for kind, count in sorted(self.told.items()))
        return (f"{super().summary()}\n{sum(self.told.values())} power cuts of {len(self.disks)} disks in which "
                f"the control was lost ({self.could_not_tell} could not tell):\n{at}")


def run_power_cuts(cluster, rounds, seed, writers, say):
    disks = []
    try:
        for node in cluster:
            disks.append(Disk(node))
        cluster.formed()
        run = PowerCuts(cluster, disks, seed, writers, say)
        try:
            run.run(rounds)
        finally:
            for writer in run.writers:
                writer.batch.__exit__()
            cluster.shut_down()
        return run
    finally:
        for node in cluster:
            if node.is_running():
                node.kill()
        for disk in disks:
            disk.unmount()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--writers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="of the moments (default: random)")
    parser.add_argument("--preload", default=None, help="LD_PRELOAD of each raftd")
    options = parser.parse_args()
    if not can_mount():
        say("power_cuts: could not tell: this user or this machine can mount no file (loop devices)")
        return 1
    if ALONE not in os.environ:  # whatever happens, no mount stays
        os.execvpe("unshare", ["unshare", "--mount", sys.executable, *sys.argv], {**os.environ, ALONE: "1"})
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    say(f"power_cuts: {options.rounds} rounds, {options.nodes} nodes, {options.writers} writers, seed {seed}")
    cluster = Cluster(options.nodes, name="power-cuts")
    for node in cluster:
        node.env = {"LD_PRELOAD": options.preload} if options.preload else {}
    return run_campaign(
        "power_cuts", cluster,
        lambda: run_power_cuts(cluster, options.rounds, seed, options.writers, say),
        f"--rounds {options.rounds} --nodes {options.nodes} --writers {options.writers} --seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
