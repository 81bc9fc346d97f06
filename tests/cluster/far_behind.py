#!/usr/bin/python3
"""far_behind.py - let a node be away until the log has forgotten what it needs, add another, and watch.

usage: far_behind.py [--entries N] [--state MIB] [--clients N] [--keep N]

Three nodes and a state of some size. One is stopped, the others write on until there are that many more
entries. Then, with clients writing through the two all the time, it is started again and a fourth node,
with empty data, is added: both have to get a snapshot. Checked: no request failed, none was lost, none was
applied twice, the leader is the same in the same term, the fourth is a voter, the digests are equal; and
that both did get a snapshot: their logs begin after what they had.
Exit status: 0 all of it held, 1 something did not. The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import json
import subprocess
import sys
import time

from campaign import run_campaign, say
from harness import Cluster, wait_until
from load import Load

VALUE_BYTES = 64 * 1024


def bench(node, *options):
    answer = node.ok("bench", *options, timeout="60s")
    assert answer["errors"] == 0, answer


def write_until(node, entries):
    """Small writes through one node, until it has committed so many entries."""
    while (left := entries - node.status()["commit_index"]) > 0:
        bench(node, "--clients", "64", "--size", "64", "--duration", "2s" if left > 50000 else "150ms")


def longest_log(nodes):
    """What a node that is away has at most: its commit index may be ahead of theirs, its log is not."""
    return max(n.status()["last_index"] for n in nodes)


class FarBehind:
    def __init__(self, cluster, entries, state_mib, clients, tell):
        self.cluster = cluster
        self.entries = entries
        self.state_mib = state_mib
        self.clients = clients
        self.tell = tell
        self.told = []

    def say(self, text):
        self.tell(text)
        self.told.append(text)

    def fill(self):
        node = self.cluster[1]
        duration = "1s" if self.state_mib > 16 else "100ms"
        while node.status()["disk"]["state_bytes"] < self.state_mib << 20:
            bench(node, "--clients", "8", "--size", str(VALUE_BYTES), "--duration", duration, "--keep")
        s = node.status()
        self.say(f"state: {s['disk']['state_bytes'] >> 20} MiB on disk, index {s['commit_index']}")

    @staticmethod
    def first_index(nodes, above):
        """Of their logs, once all of them begin after that."""
        first = min(n.status()["first_index"] for n in nodes)
        return first if first > above else None

    def leave_behind(self, node, stay):
        node.stop()
        had = longest_log(stay)
        write_until(stay[0], had + self.entries)
        first = wait_until(lambda: self.first_index(stay, had), 20, f"no log of who stays begins before {had}")
        self.say(f"node {node.id} is away with {had} entries, the log of node {stay[0].id} begins at {first}")
        return had

    def come_back(self, node, had, stay):
        began = time.monotonic()
        node.start()
        fresh = self.cluster.add_node()
        adding = subprocess.Popen(stay[0].command("add-server", fresh.id, fresh.address, timeout="120s"),
                                  stdout=subprocess.PIPE)
        goal = stay[0].status()["commit_index"]
        wait_until(lambda: node.status()["applied_index"] >= goal, 120, f"node {node.id} has caught up")
        self.say(f"node {node.id} has caught up after {time.monotonic() - began:.1f} s")
        added = json.loads(adding.communicate()[0])
        assert added.get("role") == "voter", added
        self.say(f"node {fresh.id} is a voter after {time.monotonic() - began:.1f} s")
        for one, before in ((node, had), (fresh, 0)):
            first = one.status()["first_index"]
            assert first > before + 1, f"n{one.id} has entries from {first}: it got no snapshot"

    def run(self):
        self.fill()
        node = self.cluster.others(self.cluster.leader())[0]
        stay = [n for n in self.cluster if n is not node]
        had = self.leave_behind(node, stay)
        before = stay[0].status()
        with Load(lambda: stay, self.clients) as load:
            wait_until(lambda: load.count() > 100, 20, "writes are acknowledged")
            self.come_back(node, had, stay)
            seen = load.count()
            wait_until(lambda: load.count() > seen + 100, 20, "writes go on")
        states = self.cluster.settled(seconds=60)
        assert len({s["digest"]["value"] for s in states}) == 1
        after = states[0]
        assert (after["term"], after["leader"]["id"]) == (before["term"], before["leader"]["id"]), (before, after)
        self.written = load.check(self.cluster)
        self.silence = load.longest_silence()
        return self

    def summary(self):
        return (f"{self.written} writes meanwhile, 0 failed, 0 lost, 0 applied twice, longest time without an "
                f"acknowledgement {self.silence:.0f} ms; same leader, same term, equal digests")


def run_far_behind(cluster, entries, state_mib, clients, tell=lambda text: None):
    return FarBehind(cluster.formed(), entries, state_mib, clients, tell).run()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--entries", type=int, default=1000000)
    p.add_argument("--state", type=int, default=128, help="MiB of values, about")
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--keep", type=int, default=10000, help="log_keep_entries")
    a = p.parse_args()
    cluster = Cluster(3, name="far-behind", options={"storage.log_keep_entries": str(a.keep)})
    return run_campaign("far_behind", cluster, lambda: run_far_behind(cluster, a.entries, a.state, a.clients, say))


if __name__ == "__main__":
    sys.exit(main())
