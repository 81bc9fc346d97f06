#!/usr/bin/python3
"""endless.py - overwrite the same keys again and again, and let nothing grow.

usage: endless.py [--writes N] [--nodes N] [--clients N] [--size BYTES] [--samples N]

Writes go through one node after the other (`raftctl bench`, at most 1,000 keys). Every so often the sizes
of log and state (pages in use, and what the files take on disk), resident memory without mapped files,
and open descriptors of every node are taken down. Checked: in the second half of the samples none of them
is larger than anything in the first half, but for a margin (sizes 25 % and 4 MiB, descriptors 12: a client's connections); the
digests are equal at the end. Exit status: 0 all of it held, 1 something did not.
The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import sys
import threading
import time

from campaign import run_campaign, say
from harness import Cluster

MARGIN_BYTES = 4 << 20
COLUMNS = ("log", "state", "log file", "state file", "memory", "fds")


def anonymous_memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon:"))


def taken_on_disk(path):
    return path.stat().st_blocks * 512


class Endless:
    def __init__(self, cluster, writes, clients, size, samples, margin=MARGIN_BYTES, tell=say):
        self.cluster = cluster
        self.writes = writes
        self.clients = clients
        self.size = size
        self.samples = samples
        self.margin = margin
        self.say = tell
        self.rows = []  # (writes, {node: values by COLUMNS})
        self.done = 0
        self.error = None

    def load(self):
        """Writes until there were enough, a few seconds through each node in turn."""
        nodes = list(self.cluster)
        turn = 0
        while self.done < self.writes and not self.error:
            node = nodes[turn % len(nodes)]
            turn += 1
            answer = node.ok("bench", "--clients", self.clients, "--size", self.size, "--duration",
                             "2s" if self.writes > 100000 else "300ms", timeout="60s")
            if answer["errors"]:
                self.error = f"n{node.id}: {answer}"
                return
            self.done += answer["ops"]

    def sample(self):
        values = {}
        for node in self.cluster:
            s = node.status()
            values[node.id] = (s["disk"]["log_bytes"], s["disk"]["state_bytes"],
                               taken_on_disk(node.data / "log" / "data.mdb"),
                               taken_on_disk(node.data / "state" / "data.mdb"),
                               anonymous_memory(node.pid), s["process"]["fds"])
        self.rows.append((self.done, values))
        for node_id, row in values.items():
            sizes = "".join(f"{v / (1 << 20):12.1f}" for v in row[:-1])
            self.say(f"{self.done:>10}  n{node_id}{sizes}{row[-1]:8}")

    def check_flat(self):
        half = len(self.rows) // 2
        for node in self.cluster:
            for i, name in enumerate(COLUMNS):
                early = max(values[node.id][i] for _, values in self.rows[:half])
                late = max(values[node.id][i] for _, values in self.rows[half:])
                limit = early + 12 if name == "fds" else 1.25 * early + self.margin
                assert late <= limit, f"n{node.id}: {name} grew from {early} to {late} in the second half"

    def run(self):
        self.say("    writes  node" + "".join(f"{c + ' MiB':>12}" for c in COLUMNS[:-1]) + "     fds")
        writer = threading.Thread(target=self.load, daemon=True)
        writer.start()
        for number in range(1, self.samples + 1):
            while self.done < number * self.writes // self.samples and writer.is_alive():
                writer.join(0.1)
            self.sample()
        writer.join()
        assert not self.error, self.error
        assert self.done >= self.writes, f"the load ended after {self.done} writes"
        self.check_flat()
        digests = {s["digest"]["value"] for s in self.cluster.settled()}
        assert len(digests) == 1, digests
        return self

    def summary(self):
        return f"{self.done} writes, nothing grew in the second half, digests are equal"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--writes", type=int, default=2000000)
    p.add_argument("--nodes", type=int, default=3)
    p.add_argument("--clients", type=int, default=64)
    p.add_argument("--size", type=int, default=128)
    p.add_argument("--samples", type=int, default=10)
    a = p.parse_args()
    began = time.monotonic()
    cluster = Cluster(a.nodes, name="endless").formed()
    code = run_campaign("endless", cluster,
                        Endless(cluster, a.writes, a.clients, a.size, a.samples).run)
    say(f"{time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
