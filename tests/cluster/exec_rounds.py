#!/usr/bin/python3
"""exec_rounds.py - raftctl exec on every node, while leadership is taken away in every way there is.

usage: exec_rounds.py [--rounds N] [--nodes N] [--seed S]

On each node `raftctl exec -- sh -c 'sleep 1d & sleep 1d'` is started again whenever it ends. In each
round one thing happens: a planned hand-over, the leader is killed, it is stopped for 1 to 3 s
or restarted, raftctl is stopped for as long, raftctl is killed, its guardian is killed. All the time
the processes of the commands are looked for in /proc. Checked:
  - at no instant processes of two nodes' commands live, whoever was killed or stopped;
  - fences only grow from one command to the next;
  - after each round the command runs again, on the node that leads, and there only;
  - the exit statuses are those of the contract: 75, 125 when the guardian was killed;
  - nothing is left at the end: no command, no guardian, no raftctl;
  - on one node, too, there is nearly nothing of two commands at once, when raftctl was killed and its
    successor is faster than the guardian.
Reports for how long no command ran, from the old one's last process to the new one's first.
Exit status: 0 all of it held, 1 something did not (the last lines say what, and the seed).
The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import collections
import os
import random
import select
import signal
import sys
import threading
import time
import uuid

from campaign import run_campaign, say
from exec_jobs import FAILED, LOST, Exec, Scanner
from harness import SLOWDOWN, Cluster, wait_until
from kill_rounds import Violation, distribution

SCAN_S = 0.004
COMMAND = ("sh", "-c", "sleep 1d & sleep 1d")
PROCESSES = 3  # of one command


class Life:
    """What is known of one process of a command."""

    def __init__(self, command, seen):
        self.command = command
        self.seen = seen  # first
        self.ended = None
        try:
            self.fd = os.pidfd_open(command.pid)
        except ProcessLookupError:
            self.fd = None
            self.ended = seen

    def lives(self):
        """Now; when it does not, when that was found."""
        if self.ended is None and select.select([self.fd], [], [], 0)[0]:
            self.ended = time.monotonic()
            os.close(self.fd)
        return self.ended is None


class Run:
    """One command, from its first process to its last."""

    def __init__(self, command, seen):
        self.node, self.fence, self.group = command.node, command.fence, command.group
        self.began = seen
        self.ended = None


class Witness(threading.Thread):
    """Looks for the processes of all commands all the time, and complains when two nodes have some."""

    def __init__(self, marks):
        super().__init__(daemon=True)
        self.scanner = Scanner(marks)
        self.lives = {}  # pid -> Life
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.runs = []  # in order
        self.scans = 0
        self.longest = 0  # s between two looks
        self.failure = None

    def run(self):
        last = time.monotonic()
        try:
            while not self.stopping.is_set():
                self.look()
                now = time.monotonic()
                self.longest = max(self.longest, now - last)
                last = now
                self.wait_for_an_end()
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def wait_for_an_end(self):
        """The next look is due, or some process has ended."""
        fds = [life.fd for life in self.lives.values() if life.ended is None]
        select.select(fds, [], [], SCAN_S)

    def look(self):
        commands = self.scanner.scan()[0]
        now = time.monotonic()
        for c in commands:
            if c.pid not in self.lives:
                self.lives[c.pid] = Life(c, now)
        living = [life for life in self.lives.values() if life.lives()]
        self.compare(living)
        with self.lock:
            self.note_runs(living)
        self.lives = {life.command.pid: life for life in living}
        self.scans += 1

    def compare(self, living):
        """Of two that were both seen, the older one is asked again after that: then they did live together."""
        nodes = {life.command.node for life in living}
        if len(nodes) < 2:
            return
        still = [life.command for life in living if life.lives()]
        if len({c.node for c in still}) > 1:
            raise Violation(f"commands of two nodes live at the same time: {sorted(still)}")

    def note_runs(self, living):
        known = {run.group: run for run in self.runs if run.ended is None}
        for life in living:
            c = life.command
            if c.group not in known:
                if self.runs and self.runs[-1].fence > c.fence:
                    raise Violation(f"a command began with fence {c.fence}, after fence {self.runs[-1].fence}")
                known[c.group] = Run(c, life.seen)
                self.runs.append(known[c.group])
        groups = {life.command.group for life in living}
        for run in known.values():
            if run.group not in groups:
                run.ended = max(life.ended for life in self.lives.values() if life.command.group == run.group)

    def check(self):
        if self.failure:
            raise self.failure

    def count(self):
        self.check()
        with self.lock:
            return len(self.runs)

    def current(self):
        """(node, how many processes) that live now."""
        self.check()
        living = [life.command for life in list(self.lives.values()) if life.ended is None]
        return {c.node for c in living}, len(living)

    def gap_before(self, number):
        """From the end of the run before to the beginning of this one, in s; None: the end is not seen yet."""
        self.check()
        with self.lock:
            ended = self.runs[number - 1].ended
            return None if ended is None else (self.runs[number].began - ended,)


class Loop(threading.Thread):
    """Starts raftctl exec on one node again and again, as a service manager would."""

    def __init__(self, node, mark):
        super().__init__(daemon=True)
        self.node = node
        self.mark = mark
        self.stopping = threading.Event()
        self.job = None
        self.expected = []  # exit statuses that we caused
        self.statuses = collections.Counter()
        self.failure = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.job = Exec(self.node, *COMMAND, options=["-q"], mark=self.mark)
                status = self.job.process.wait()
                if not self.stopping.is_set():
                    self.judge(status)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def judge(self, status):
        self.statuses[status] += 1
        if status in self.expected:
            self.expected.remove(status)
        elif status != LOST:
            raise Violation(f"raftctl exec on node {self.node.id} ended with {status}: {self.job.err}")

    def stop(self):
        self.stopping.set()
        if self.job:
            self.job.process.send_signal(signal.SIGTERM)


class Rounds:
    def __init__(self, cluster, seed, say):
        self.cluster = cluster
        self.random = random.Random(seed)
        self.say = say
        marks = {node.id: uuid.uuid4().hex for node in cluster}
        self.witness = Witness(set(marks.values()))
        self.loops = {node.id: Loop(node, marks[node.id]) for node in cluster}
        self.gaps = collections.defaultdict(list)  # what happened -> s
        self.what = {"step-down": self.step_down, "leader killed": self.kill_leader,
                     "leader stopped": self.stop_leader, "leader restarted": self.restart_leader,
                     "raftctl stopped": self.stop_raftctl,
                     "raftctl killed": self.kill_raftctl, "guardian killed": self.kill_guardian}

    # ---- What happens ----

    def step_down(self, leader, _):
        done = self.random.choice(list(self.cluster)).ok("step-down")
        assert done["from"] == leader.id, done

    def kill_leader(self, leader, _):
        leader.kill()
        time.sleep(self.random.uniform(0, 1))
        leader.start()

    def stop_leader(self, leader, _):
        leader.pause()
        time.sleep(self.random.uniform(1, 3))
        leader.resume()

    def restart_leader(self, leader, _):
        leader.restart()

    def stop_raftctl(self, _, loop):
        job = loop.job
        job.signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(1, 3))
        job.signal(signal.SIGCONT)

    def kill_raftctl(self, _, loop):
        loop.expected.append(-signal.SIGKILL)
        loop.job.signal(signal.SIGKILL)

    def kill_guardian(self, _, loop):
        loop.expected.append(FAILED)
        os.kill(loop.job.guardian, signal.SIGKILL)

    # ---- The run ----

    def check(self):
        self.witness.check()
        for loop in self.loops.values():
            if loop.failure:
                raise loop.failure

    def runs_on_the_leader(self):
        """The leader, when exactly its command runs."""
        self.check()
        leader = self.leader()
        return leader if self.witness.current() == ({leader and leader.id}, PROCESSES) else None

    def leader(self):
        """Not by `status`, whose answer is a claim to lead that the next leader would wait for."""
        told = [node.ctl("leader") for node in self.cluster.running()]
        leaders = {answer.obj["leader"]["id"] for answer in told if answer.code == 0}
        return self.cluster[leaders.pop()] if len(leaders) == 1 else None

    def one_round(self, number):
        leader = wait_until(self.runs_on_the_leader, 20, "the command runs on the leader, and only there")
        time.sleep(self.random.uniform(0, 0.4))
        name = self.random.choice(list(self.what))
        before = self.witness.count()
        self.what[name](leader, self.loops[leader.id])
        wait_until(lambda: self.witness.count() > before or self.check(), 20, f"after {name} the command runs again")
        gap, = wait_until(lambda: self.witness.gap_before(before), 5, f"after {name} the old command is gone")
        if gap < -0.2 * SLOWDOWN:
            raise Violation(f"after {name} the old command lived on for {-gap:.3f} s beside the new one")
        self.gaps[name].append(gap)
        self.say(f"round {number}: node {leader.id}, {name}: no command for {1000 * gap:.0f} ms")

    def run(self, rounds):
        for thread in (self.witness, *self.loops.values()):
            thread.start()
        for number in range(1, rounds + 1):
            self.one_round(number)
        wait_until(self.runs_on_the_leader, 20, "the command runs on the leader, and only there")

    def end(self):
        """Stop all; nothing may be left."""
        for loop in self.loops.values():
            loop.stop()
        for loop in self.loops.values():
            loop.join(20 * SLOWDOWN)
        self.witness.stopping.set()
        self.witness.join()

    def check_end(self):
        self.check()

        scanner = Scanner(self.witness.scanner.marks)
        wait_until(lambda: scanner.scan() == ([], []), 5, "no command, no guardian and no raftctl is left")

    def summary(self):
        statuses = sum((loop.statuses for loop in self.loops.values()), collections.Counter())
        lines = [f"{sum(map(len, self.gaps.values()))} rounds, {len(self.witness.runs)} commands, never of two "
                 f"nodes at once ({self.witness.scans} looks, at most {1000 * self.witness.longest:.0f} ms apart); "
                 f"exit statuses {dict(sorted(statuses.items()))}"]
        lines += [f"no command ran, {name} ({len(gaps)}): {distribution(gaps)}"
                  for name, gaps in sorted(self.gaps.items())]
        return "\n".join(lines)


def run_rounds(cluster, rounds, seed, say):
    """Form the cluster, run the rounds; returns the Rounds. Raises Violation (an AssertionError)."""
    cluster.formed()
    run = Rounds(cluster, seed, say)
    try:
        run.run(rounds)
    finally:
        run.end()
    run.check_end()
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="of what happens and when (default: random)")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"exec_rounds: {options.rounds} rounds, {options.nodes} nodes, seed {seed}", flush=True)
    cluster = Cluster(options.nodes, name="exec-rounds")
    return run_campaign("exec_rounds", cluster, lambda: run_rounds(cluster, options.rounds, seed, say),
                        f"--rounds {options.rounds} --nodes {options.nodes} --seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
