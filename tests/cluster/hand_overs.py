#!/usr/bin/python3
"""hand_overs.py - hand leadership over again and again under load, and let no request notice.

usage: hand_overs.py [--mode step-down|transfer|rolling] [--rounds N] [--nodes N] [--clients N]

Clients write through all nodes all the time. In each round the leader hands over: by `step-down`
(asked through each node in turn), by `transfer` to each member in turn, or because it is stopped by
SIGTERM and started again (rolling). Checked: no request failed, none was lost, none was applied twice;
a leader that is stopped exits with 0 within 2 s; no term has two leaders; the digests are equal.
Reported: for how long writes waited, as raftd says (gap_ms) and as the clients saw it (the longest
time without any acknowledgement). Exit status: 0 all of it held, 1 something did not.
The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import sys
import time

from campaign import run_campaign, say
from harness import SLOWDOWN, Cluster, wait_until
from load import Load, percentiles


class HandOvers:
    def __init__(self, cluster, mode, clients, say):
        self.cluster = cluster
        self.mode = mode
        self.say = say
        self.load = Load(lambda: [n for n in cluster if n.is_running()], clients)
        self.gaps = []     # ms, as raftd says
        self.moments = []  # when each began

    def ask(self, number, leader):
        """One hand-over, asked through any node; returns the leader before it."""
        nodes = list(self.cluster)
        through = nodes[number % len(nodes)]
        if self.mode == "step-down":
            done = through.ok("step-down")
        else:
            target = nodes[(leader.id + number % (len(nodes) - 1)) % len(nodes)]
            done = through.ok("transfer", target.id)
            assert done["to"] == target.id, done
        assert done["from"] == leader.id and done["to"] != leader.id, done
        self.gaps += [done["gap_ms"]] if done["gap_ms"] is not None else []
        self.say(f"round {number + 1}: {done}")

    def restart(self, number, leader):
        began = time.monotonic()
        leader.stop()
        took = time.monotonic() - began
        assert took < 2 * SLOWDOWN, f"n{leader.id} took {took:.1f} s to stop"
        successor = self.cluster.leader()
        self.say(f"round {number + 1}: node {leader.id} stopped within {1000 * took:.0f} ms, node "
                 f"{successor.id} leads")
        leader.start()

    def one_round(self, number):
        leader = self.cluster.leader()
        before = self.load.count()
        self.moments.append(time.monotonic())
        (self.restart if self.mode == "rolling" else self.ask)(number, leader)
        wait_until(lambda: self.load.count() > before + 20, 10, "writes go on")

    def run(self, rounds):
        with self.load as load:
            wait_until(lambda: load.count() > 50, 10, "writes are acknowledged")
            for number in range(rounds):
                self.one_round(number)
        states = self.cluster.settled()
        assert len({s["digest"]["value"] for s in states}) == 1
        self.written = self.load.check(self.cluster)

    def summary(self):
        seen = percentiles(self.load.longest_silences(self.moments))
        told = f"; as raftd says: {percentiles(self.gaps)}" if self.gaps else ""
        return (f"{len(self.moments)} hand-overs ({self.mode}): {self.written} writes, 0 failed, "
                f"0 lost, 0 applied twice\nwrites waited{told}; longest time without an "
                f"acknowledgement as the clients saw it: {seen}")


def run_hand_overs(cluster, mode, rounds, clients, say=lambda text: None):
    """Form the cluster, hand over; returns the HandOvers."""
    cluster.formed()
    run = HandOvers(cluster, mode, clients, say)
    run.run(rounds)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=["step-down", "transfer", "rolling"], default="step-down")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    cluster = Cluster(options.nodes, name="hand-overs")
    return run_campaign("hand_overs", cluster, lambda: run_hand_overs(
        cluster, options.mode, options.rounds, options.clients, say))


if __name__ == "__main__":
    sys.exit(main())
