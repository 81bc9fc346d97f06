"""What something costs a raftd: memory, processor time, descriptors, as the kernel tells."""
import os
import pathlib
import time

from harness import SLOWDOWN, wait_until

MIB = 1 << 20
KEPT_BY_SANITIZER = 0 if SLOWDOWN == 1 else 384 * MIB  # of what was freed


def _status_bytes(node, name):
    status = pathlib.Path(f"/proc/{node.pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def anonymous_bytes(node):
    return _status_bytes(node, "RssAnon")


def cpu_seconds(node):
    fields = pathlib.Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def cpu_share(nodes, seconds):
    """Of one core, of the one that takes the most, while that time passes."""
    before, began = [cpu_seconds(n) for n in nodes], time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return max(cpu_seconds(n) - b for n, b in zip(nodes, before)) / took


class Cost:
    """What these nodes spend in a `with` block. At its end: what they grew by is at most `memory` bytes of
    anonymous memory and `space` bytes of address space (what was asked for, used or not), and they have
    given back their descriptors. Prints the figures; pytest shows them with -s."""

    def __init__(self, nodes, memory=4 * MIB, space=32 * MIB):
        self.nodes = nodes
        self.memory = memory + KEPT_BY_SANITIZER
        self.space = space if SLOWDOWN == 1 else 1 << 40  # sanitizers map what they like
        self.most = self.most_space = 0
        self.before = []

    @staticmethod
    def look(node):
        return {"memory": anonymous_bytes(node), "space": _status_bytes(node, "VmSize"),
                "peak": _status_bytes(node, "VmPeak"), "cpu": cpu_seconds(node), "fds": descriptors(node)}

    def sample(self):
        """Now is a moment at which it may have the most."""
        for node, before in zip(self.nodes, self.before):
            now = self.look(node)
            self.most = max(self.most, now["memory"] - before["memory"])
            self.most_space = max(self.most_space, now["space"] - before["space"], now["peak"] - before["peak"])

    def __enter__(self):
        self.before = [self.look(n) for n in self.nodes]
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        self.sample()
        for node, before in zip(self.nodes, self.before):
            wait_until(lambda n=node, most=before["fds"] + 2: descriptors(n) <= most, 10,
                       f"n{node.id} gives descriptors back")
            now = self.look(node)
            print(f"\nn{node.id}: anonymous memory {(now['memory'] - before['memory']) // 1024:+d} KiB, "
                  f"CPU {now['cpu'] - before['cpu']:.2f} s, descriptors {before['fds']} -> {now['fds']}", end="")
        print(f"; of all at most: memory {self.most // 1024:+d} KiB, "
              f"address space {self.most_space // 1024:+d} KiB", end="")
        assert self.most_space <= self.space, f"{self.most_space} bytes of address space more"
        assert self.most <= self.memory, f"{self.most} bytes more"
