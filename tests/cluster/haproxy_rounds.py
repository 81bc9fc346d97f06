#!/usr/bin/python3
"""haproxy_rounds.py - HAProxy in front of three nodes, with conf/examples/haproxy.cfg.

usage: haproxy_rounds.py [--step-downs N] [--kills N]

Beside each raftd runs a service that says whose it is; clients connect to HAProxy all the time while
leaders hand over (step-down) and are killed (SIGKILL; started again afterwards). Checked: connections
go to the leader only; for as long as the checks of the configuration take to notice, to the one before
it; never to anybody else. Sessions with a former leader are cut. Reported: how long after a
change the first connection reached the new leader. Exit status: 0 all of it held, 1 something did not.
The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import contextlib
import re
import socket
import subprocess
import sys
import threading
import time

from campaign import run_campaign, say
from harness import ROOT, SLOWDOWN, Cluster, wait_until
from load import percentiles

EXAMPLE = ROOT / "conf/examples/haproxy.cfg"
NOTICE_S = 2.5  # inter + fastinter + two times timeout check, and the time to be scheduled


class Service(threading.Thread):
    """Says to everybody who connects whose it is, and keeps the session."""

    def __init__(self, node, address, port):
        super().__init__(daemon=True)
        self.node = node
        self.listener = socket.create_server((address, port), backlog=64)
        self.sessions = []

    def run(self):
        while True:
            try:
                session, _ = self.listener.accept()
            except OSError:
                return
            self.sessions.append(session)
            with contextlib.suppress(OSError):  # HAProxy may have given it up
                session.sendall(b"%d\n" % self.node.id)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for session in self.sessions:
            session.close()


class HAProxy:
    """The example of conf/, with the addresses of a test."""

    def __init__(self, cluster, services):
        self.port = cluster.new_ports(1)[0]
        self.address = cluster.address
        text = EXAMPLE.read_text()
        text = re.sub(r"^ *(log|option tcplog).*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r"bind :\d+", f"bind {self.address}:{self.port}", text)
        for node, port in services:
            text, count = re.subn(rf"server n{node.id} \S+", f"server n{node.id} "
                                  f"{self.address}:{port} port {node.http.rsplit(':', 1)[1]}", text)
            assert count == 1, text
        self.conf = cluster.dir / "haproxy.cfg"
        self.conf.write_text(text)
        self.process = None

    def __enter__(self):
        check = subprocess.run(["haproxy", "-c", "-f", self.conf], capture_output=True, text=True,
                               check=False)
        assert check.returncode == 0, check.stderr
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(["haproxy", "-db", "-f", self.conf],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def connect(self):
        """A session and the id of whose service it is with; (None, None): nobody serves."""
        try:
            session = socket.create_connection((self.address, self.port), timeout=5)
            told = session.recv(16)
        except OSError:
            return None, None
        if not told:
            session.close()
            return None, None
        return session, int(told)


class Rounds:
    def __init__(self, cluster, haproxy, tell):
        self.cluster, self.haproxy, self.say = cluster, haproxy, tell
        self.connections = self.late = self.refused = 0
        self.took = []  # ms, from the change to the first connection to the new leader

    def connect(self, leader, former=None, until=0):
        """One connection: who serves it."""
        session, served = self.haproxy.connect()
        if session is None:
            self.refused += 1
            return None
        session.close()
        self.connections += 1
        if served == leader.id:
            return served
        assert former and served == former.id and time.monotonic() < until, \
            f"a connection to n{served}; n{leader.id} leads, before it {former and former.id}"
        self.late += 1
        return served

    def reach(self, leader):
        wait_until(lambda: self.connect(leader) == leader.id, 15, "the leader is served")

    def change(self, how):
        former = self.cluster.leader()
        self.reach(former)
        kept, _ = self.haproxy.connect()
        began = time.monotonic()
        how(former)
        leader = self.cluster.leader(among=self.cluster.others(former))
        until = time.monotonic() + NOTICE_S * SLOWDOWN
        wait_until(lambda: self.connect(leader, former, until) == leader.id, 10,
                   "HAProxy finds the new leader")
        self.took.append(1000 * (time.monotonic() - began))
        for _ in range(10):
            assert self.connect(leader) == leader.id
        kept.settimeout(10)
        assert kept.recv(1) == b"", "the session with the former leader is cut"
        kept.close()
        return former

    def step_down(self):
        self.change(lambda node: node.ok("step-down"))

    def kill(self):
        self.change(lambda node: node.kill()).start()

    def settle(self, leader):
        """HAProxy takes all servers for healthy until it has asked each."""
        def served_by_it():
            session, served = self.haproxy.connect()
            if session:
                session.close()
            return served == leader.id
        wait_until(lambda: all(served_by_it() for _ in range(10)), 15, "HAProxy has asked all")

    def run(self, step_downs, kills):
        self.settle(self.cluster.leader())
        for number in range(step_downs):
            self.step_down()
            self.say(f"step-down {number + 1}: {self.took[-1]:.0f} ms")
        for number in range(kills):
            self.kill()
            self.say(f"kill {number + 1}: {self.took[-1]:.0f} ms")
        self.step_downs = step_downs
        return self

    def summary(self):
        return (f"{self.step_downs} step-downs, {len(self.took) - self.step_downs} leaders killed: "
                f"{self.connections} connections, {self.connections - self.late} to the leader, "
                f"{self.late} to the one before it while HAProxy had not noticed, 0 to others; "
                f"{self.refused} refused\nfrom a step-down to the first connection to the new "
                f"leader: {percentiles(self.took[:self.step_downs])}\nfrom a SIGKILL: "
                f"{percentiles(self.took[self.step_downs:])}")


def run_rounds(cluster, step_downs, kills, tell=lambda text: None):
    cluster.formed()
    services = [(node, cluster.new_ports(1)[0]) for node in cluster]
    threads = [Service(node, cluster.address, port) for node, port in services]
    for thread in threads:
        thread.start()
    try:
        with HAProxy(cluster, services) as haproxy:
            return Rounds(cluster, haproxy, tell).run(step_downs, kills)
    finally:
        for thread in threads:
            thread.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step-downs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    cluster = Cluster(3, name="haproxy")
    return run_campaign("haproxy_rounds", cluster, lambda: run_rounds(
        cluster, options.step_downs, options.kills, say))


if __name__ == "__main__":
    sys.exit(main())
