#!/usr/bin/python3
"""leader_claims.py - who may act as leader, asked of every node all the time, while leadership moves.

usage: leader_claims.py [--step-downs N] [--stops N] [--nodes N]

Each node's /v1/leader and /health/leader are polled, and one /v1/watch and one `raftctl watch` stream
of each node are read, while leaders hand over (step-down) and are stopped (SIGSTOP, then SIGCONT once
another node may act). Checked, by the deadline rule (may act from the answer until the time of the
request + lease_remaining_ms): no two nodes are entitled at the same instant, fences only grow, every
stream ends in the true state. Reported: from the end of the old claim to the begin of the new one.
Exit status: 0 all of it held, 1 something did not. The build under test is RAFTD_BUILD (default:
build/).
"""
import argparse
import json
import re
import signal
import subprocess
import sys
import threading
import time

from campaign import run_campaign, say
from harness import Cluster, UnixHTTPConnection, wait_until
from load import percentiles

PACE_S = 0.002  # between two requests of a poller
HEALTH = re.compile(r"^leader, fence (\d+), may act for (\d+) ms")


def boottime_ms():
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000


class Run:
    """What one node said under one fence, as far as it said that it may act."""

    def __init__(self, node, fence, received, deadline):
        self.node, self.fence = node, fence
        self.first = self.last = received
        self.deadline = deadline
        self.answers = 1

    def __str__(self):
        return f"n{self.node} fence {self.fence}: {self.first:.1f} to {self.deadline:.1f}, " \
               f"{self.answers} answers"


class Claims:
    """All of them, checked as they come."""

    def __init__(self):
        self.lock = threading.Lock()
        self.runs = []  # by the time of the first answer
        self.violations = []

    def add(self, node, fence, sent, received, lease):
        deadline = sent + lease
        if deadline <= received:
            return  # too late to act on it
        with self.lock:
            run = next((r for r in reversed(self.runs) if (r.node, r.fence) == (node, fence)), None)
            if run is None:
                run = Run(node, fence, received, deadline)
                self.runs.append(run)
            run.last = max(run.last, received)
            run.deadline = max(run.deadline, deadline)
            run.answers += 1
            self._check(run, received, deadline)

    def _check(self, run, received, deadline):
        for other in self.runs[-8:]:
            if other.node != run.node and other.first < deadline and received < other.deadline:
                self.violations.append(f"both may act: {other} | n{run.node} fence {run.fence}: "
                                       f"{received:.1f} to {deadline:.1f}")
            if other.fence > run.fence and other.first < received:
                self.violations.append(f"a fence went back: {other} | {run}")

    def current(self):
        with self.lock:
            return self.runs[-1] if self.runs else None

    def moves(self):
        """(ms without anybody entitled, ms from the last answer of the old to the first of the new)"""
        pairs = [(a, b) for a, b in zip(self.runs, self.runs[1:]) if a.node != b.node]
        return [b.first - a.deadline for a, b in pairs], [b.first - a.last for a, b in pairs]


class Poller(threading.Thread):
    def __init__(self, node, path, claims, stopping):
        super().__init__(daemon=True)
        self.node, self.path, self.claims, self.stopping = node, path, claims, stopping
        self.polls = 0
        self.error = None

    def claim_in(self, status, text):
        if self.path == "/v1/leader":
            told = json.loads(text)
            assert (status == 200) == (told["leader"] is not None), (status, text)
            return (told["fence"], told["lease_remaining_ms"]) if told["is_leader"] else None
        found = HEALTH.match(text) if status == 200 else None
        assert (status == 200) == (found is not None), (status, text)
        return tuple(map(int, found.groups())) if found else None

    def run(self):
        connection = UnixHTTPConnection(self.node.http_sock, 60)
        try:
            while not self.stopping.wait(PACE_S):
                sent = boottime_ms()
                connection.request("GET", self.path)
                response = connection.getresponse()
                claim = self.claim_in(response.status, response.read().decode())
                if claim:
                    self.claims.add(self.node.id, claim[0], sent, boottime_ms(), claim[1])
                self.polls += 1
        except Exception as error:  # pylint: disable=broad-except
            self.error = f"{self.path} of n{self.node.id}: {error!r}"
        finally:
            connection.close()


class Stream(threading.Thread):
    """The last state that a stream told."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.state = None
        self.states = 0

    def take(self, state):
        self.state = state
        self.states += 1


class HTTPStream(Stream):
    def __init__(self, node):
        super().__init__(node)
        self.connection = UnixHTTPConnection(node.http_sock, 60)

    def run(self):
        self.connection.request("GET", "/v1/watch", headers={"Accept": "application/x-ndjson"})
        try:
            for line in self.connection.getresponse():
                told = json.loads(line)
                if "state" in told:
                    self.take(told)
        except (OSError, ValueError):
            pass  # ended by close()

    def close(self):
        if self.connection.sock:
            self.connection.sock.close()


class WatchStream(Stream):
    def __init__(self, node):
        super().__init__(node)
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(node.command("watch"), stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)

    def run(self):
        for line in self.process.stdout:
            self.take(json.loads(line))

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class LeaderClaims:
    def __init__(self, cluster, tell):
        self.cluster = cluster
        self.say = tell
        self.claims = Claims()
        self.stopping = threading.Event()
        self.pollers = [Poller(node, path, self.claims, self.stopping)
                        for node in cluster for path in ("/v1/leader", "/health/leader")]
        self.streams = [kind(node) for node in cluster for kind in (HTTPStream, WatchStream)]
        self.handed = []  # gap_ms as raftd says
        self.stops = 0

    def check(self):
        assert not self.claims.violations, "\n".join(self.claims.violations[:5])
        errors = [p.error for p in self.pollers if p.error]
        assert not errors, "\n".join(errors)

    def wait_claim(self, other_than, seconds=20):
        """Until a node may act under another fence."""
        def claimed():
            self.check()
            run = self.claims.current()
            return run is not None and (other_than is None or run.fence > other_than.fence)
        wait_until(claimed, seconds, "another node says that it may act")
        return self.claims.current()

    def step_down(self):
        before = self.claims.current()
        done = self.cluster[before.node].ok("step-down")
        self.handed += [done["gap_ms"]] if done["gap_ms"] is not None else []
        self.wait_claim(before)

    def stop(self):
        before = self.claims.current()
        node = self.cluster[before.node]
        node.process.send_signal(signal.SIGSTOP)
        try:
            self.wait_claim(before)
        finally:
            node.process.send_signal(signal.SIGCONT)
        self.stops += 1

    def finish(self):
        def true(stream):
            leader = self.cluster.leader()
            told = stream.state
            return told and told["leader"] and told["leader"]["id"] == leader.id and \
                told["is_leader"] == (stream.node is leader) and \
                told["fence"] == leader.ok("leader")["fence"]
        for stream in self.streams:
            wait_until(lambda s=stream: true(s), 20, f"{type(stream).__name__} of "
                       f"n{stream.node.id} ends in the true state")

    def run(self, step_downs, stops):
        for thread in (*self.pollers, *self.streams):
            thread.start()
        try:
            self.wait_claim(None)
            for number in range(step_downs):
                self.step_down()
                if stops and number % max(1, step_downs // stops) == 0 and self.stops < stops:
                    self.stop()
                if number % 100 == 99:
                    self.say(f"{number + 1} step-downs, {self.stops} stops, "
                             f"{sum(p.polls for p in self.pollers)} answers")
            self.finish()
        finally:
            self.stopping.set()
            for poller in self.pollers:
                poller.join(60)
            for stream in self.streams:
                stream.close()
        self.check()
        return self

    def summary(self):
        free, pause = self.claims.moves()
        return (f"{len(self.handed)} step-downs, {self.stops} leaders stopped: "
                f"{sum(p.polls for p in self.pollers)} answers, {len(self.claims.runs)} leaderships "
                f"with a claim, 0 overlaps, fences only grew, {len(self.streams)} streams of "
                f"{sum(s.states for s in self.streams)} states ended in the true state\n"
                f"from the end of the old claim to the new one: {percentiles(free)}\n"
                f"from the last answer of the old to the first of the new: {percentiles(pause)}\n"
                f"writes waited, as raftd says: {percentiles(self.handed)}")


def run_claims(cluster, step_downs, stops, tell=lambda text: None):
    cluster.formed()
    return LeaderClaims(cluster, tell).run(step_downs, stops)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step-downs", type=int, default=1000)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    cluster = Cluster(options.nodes, name="claims")
    return run_campaign("leader_claims", cluster, lambda: run_claims(
        cluster, options.step_downs, options.stops, say))


if __name__ == "__main__":
    sys.exit(main())
