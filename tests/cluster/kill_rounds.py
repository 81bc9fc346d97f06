#!/usr/bin/python3
"""kill_rounds.py - kill the leader again and again under load, and miss nothing.

usage: kill_rounds.py [--rounds N] [--nodes N] [--writers N] [--seed S]

Clients write through all nodes all the time, each over one `raftctl batch`. In each round the leader
is killed by SIGKILL at a random moment and started again at another. Checked in each round and at
the end:
  - nothing acknowledged is missing, through whichever node it is read;
  - no revision was given to two writes;
  - no term has two leaders, by what the nodes answer and by what stands in their logs;
  - the digests of two nodes at one index are equal.
Reports how long it took from each SIGKILL to the next write acknowledged by the next leader.
Exit status: 0 all of it held, 1 something did not (the last lines say what, and the seed).
The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import random
import statistics
import sys
import threading
import time

from campaign import run_campaign, say
from harness import SLOWDOWN, Cluster, wait_until

KEYS_PER_WRITER = 16
FAILOVER_LIMIT_S = 10


class Violation(AssertionError):
    pass


class Writer(threading.Thread):
    """Writes its own keys through one node, one after the other: key -> counter."""

    def __init__(self, number, node, history):
        super().__init__(daemon=True)
        self.number = number
        self.history = history
        self.batch = node.batch(timeout="5s")
        self.stopping = threading.Event()
        self.acked = {}      # key -> the last counter that was acknowledged
        self.attempted = {}  # key -> the last counter that was sent
        self.unknown = 0
        self.refused = 0
        self.failure = None

    def run(self):
        counter = 0
        try:
            while not self.stopping.is_set():
                counter += 1
                self.write(f"w{self.number}/{counter % KEYS_PER_WRITER}", counter)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def write(self, key, counter):
        self.attempted[key] = counter
        answer = self.batch.ask(f"put {key} {counter}", seconds=30)
        if "revision" in answer:
            self.acked[key] = counter
            self.history.acknowledged(answer)
            return
        if answer["error"]["code"] == "unknown_outcome":
            self.unknown += 1
        else:
            self.refused += 1
        time.sleep(0.01)  # its node is down, or there is no leader


class History:
    """What the writers were told, together."""

    def __init__(self):
        self.lock = threading.Condition()
        self.count = 0
        self.revisions = set()
        self.first_in_term = {}  # term -> when its first write was acknowledged

    def acknowledged(self, answer):
        now = time.monotonic()
        with self.lock:
            self.count += 1
            if answer["revision"] in self.revisions:
                raise Violation(f"revision {answer['revision']} was acknowledged twice")
            self.revisions.add(answer["revision"])
            if answer["term"] not in self.first_in_term:
                self.first_in_term[answer["term"]] = now
                self.lock.notify_all()

    def wait_for_term_above(self, term, seconds):
        """When the first write of a later term was acknowledged, or None."""
        end = time.monotonic() + seconds
        with self.lock:
            while True:
                later = [at for t, at in self.first_in_term.items() if t > term]
                if later:
                    return min(later)
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self.lock.wait(left)


class Rounds:
    def __init__(self, cluster, seed, writers, say):
        self.cluster = cluster
        self.random = random.Random(seed)
        self.say = say
        self.history = History()
        nodes = list(cluster)
        self.writers = [Writer(i, nodes[i % len(nodes)], self.history) for i in range(writers)]
        self.digests = {}  # index -> (value, node)
        self.leaders = {}  # term -> node
        self.gaps = []

    def members(self):
        """The nodes that have to agree at the end, and to have all the data."""
        return list(self.cluster)

    # ---- Checks ----

    def check_states(self, states):
        for state in states:
            node, digest = state["node"]["id"], state["digest"]
            value, other = self.digests.setdefault(digest["index"], (digest["value"], node))
            if value != digest["value"]:
                raise Violation(f"at index {digest['index']} the digest of node {node} is "
                                f"{digest['value']}, that of node {other} {value}")
            if state["is_leader"]:
                leader = self.leaders.setdefault(state["term"], node)
                if leader != node:
                    raise Violation(f"in term {state['term']} nodes {leader} and {node} lead")

    def check_data(self, node):
        """Read through the node: each key holds what was acknowledged, or what was sent later."""
        acked = {key: n for w in self.writers for key, n in dict(w.acked).items()}
        answer = node.ctl("list", "w", timeout="10s")
        if answer.code != 0:
            raise Violation(f"node {node.id} did not answer a read within 10 s: {answer}")
        attempted = {key: n for w in self.writers for key, n in dict(w.attempted).items()}
        found = {kv["key"]: int(kv["value"]) for kv in answer.obj["kvs"]}
        for key, counter in acked.items():
            if found.get(key, -1) < counter:
                raise Violation(f"write {counter} of {key} was acknowledged, node {node.id} reads "
                                f"{found.get(key)}")
        for key, counter in found.items():
            if counter > attempted.get(key, -1):
                raise Violation(f"node {node.id} reads {counter} of {key}, which nobody wrote")

    def check_writers(self):
        for writer in self.writers:
            if writer.failure:
                raise writer.failure

    # ---- The run ----

    def one_round(self, number):
        cluster = self.cluster
        time.sleep(self.random.uniform(0, 0.4))
        leader = cluster.leader()
        term = leader.status()["term"]
        time.sleep(self.random.uniform(0, 0.05))
        killed = time.monotonic()
        leader.kill()
        at = self.history.wait_for_term_above(term, FAILOVER_LIMIT_S * SLOWDOWN)
        if at is None:
            raise Violation(f"no write was acknowledged for {FAILOVER_LIMIT_S * SLOWDOWN:g} s after "
                            f"the leader of term {term}, node {leader.id}, was killed")
        # It may have lost its leadership between the question and the kill: then nothing was
        # interrupted.
        gap = max(0.0, at - killed)
        self.gaps.append(gap)
        time.sleep(self.random.uniform(0, 0.6))
        leader.start()
        self.check_states(n.status() for n in cluster)
        self.check_data(self.random.choice(cluster.running()))
        self.check_writers()
        self.say(f"round {number}: killed node {leader.id} of term {term}, next write after "
                 f"{gap * 1000:.0f} ms; {self.history.count} writes acknowledged")

    def run(self, rounds):
        for writer in self.writers:
            writer.start()
        wait_until(lambda: self.history.count > 0, 10, "the first write is acknowledged")
        try:
            for number in range(1, rounds + 1):
                self.one_round(number)
        finally:
            for writer in self.writers:
                writer.stopping.set()
            for writer in self.writers:
                writer.join(40 * SLOWDOWN)
        self.check_writers()
        self.check_states(self.cluster.settled(self.members()))
        for node in self.members():
            self.check_data(node)
        leaders = self.cluster.leaders_by_term()
        if len(leaders) <= len(self.gaps):
            raise Violation(f"the logs tell of {len(leaders)} leaderships over {len(self.gaps)} kills")
        for term, nodes in leaders.items():
            if len(nodes) > 1:
                raise Violation(f"term {term} has several leaders: {sorted(nodes)}")
        for writer in self.writers:
            writer.batch.end()

    def summary(self):
        unknown = sum(w.unknown for w in self.writers)
        refused = sum(w.refused for w in self.writers)
        return (f"{len(self.gaps)} rounds: {self.history.count} writes acknowledged, {unknown} of "
                f"unknown outcome, {refused} refused, {len(self.cluster.leaders_by_term())} leaderships\n"
                f"from SIGKILL to the next acknowledged write: {distribution(self.gaps)}")


def distribution(seconds):
    """min, median, p90, p99, max in milliseconds."""
    ordered = sorted(1000 * s for s in seconds)

    def at(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return (f"min {ordered[0]:.0f} ms, median {statistics.median(ordered):.0f} ms, "
            f"p90 {at(0.9):.0f} ms, p99 {at(0.99):.0f} ms, max {ordered[-1]:.0f} ms")


def run_rounds(cluster, rounds, seed, writers, say):
    """Form the cluster, run the rounds; returns the Rounds. Raises Violation (an AssertionError)."""
    cluster.formed()
    run = Rounds(cluster, seed, writers, say)
    try:
        run.run(rounds)
    finally:
        for writer in run.writers:
            writer.batch.__exit__()
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--writers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="of the moments (default: random)")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"kill_rounds: {options.rounds} rounds, {options.nodes} nodes, {options.writers} writers, "
          f"seed {seed}", flush=True)
    cluster = Cluster(options.nodes, name="kill-rounds")
    return run_campaign(
        "kill_rounds", cluster,
        lambda: run_rounds(cluster, options.rounds, seed, options.writers, say),
        f"--rounds {options.rounds} --nodes {options.nodes} --writers {options.writers} --seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
