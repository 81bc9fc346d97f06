"""The sidecars of conf/examples against real nodes, while leadership moves."""
import importlib.util
import os
import re
import signal
import subprocess
import threading

import pytest
from harness import ROOT, wait_until

EXAMPLES = ROOT / "conf/examples"


def load_sidecar():
    spec = importlib.util.spec_from_file_location("sidecar", EXAMPLES / "sidecar.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Sidecar


class Watched:
    """One Sidecar per node, and a thread that looks whether two of them may act."""

    def __init__(self, cluster):
        kind = load_sidecar()
        self.told = []
        self.sidecars = {}
        for node in cluster:
            self.sidecars[node.id] = kind(node.http, lambda fence, i=node.id: self.told.append((i, fence)),
                                          lambda i=node.id: self.told.append((i, None)))
        self.overlaps = []
        self.looks = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def __enter__(self):
        for sidecar in self.sidecars.values():
            sidecar.start()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(20)

    def look(self):
        while not self.stopping.wait(0.001):
            first = {i: s.fence() for i, s in self.sidecars.items()}
            again = {i: s.fence() for i, s in self.sidecars.items()}
            acting = [i for i in first if first[i] is not None and first[i] == again[i]]
            self.looks += 1
            if len(acting) > 1:
                self.overlaps.append((first, again))

    def acting(self):
        return [i for i, s in self.sidecars.items() if s.fence() is not None]


def test_one_sidecar_acts_at_a_time(trio):
    with Watched(trio) as watched:
        for how in ("step-down", "step-down", "kill", "step-down", "stop"):
            leader = trio.leader()
            wait_until(lambda n=leader: watched.acting() == [n.id], 10, f"n{leader.id} acts")
            if how == "step-down":
                leader.ok("step-down")
            elif how == "kill":
                leader.kill()
            else:
                leader.process.send_signal(signal.SIGSTOP)
            wait_until(lambda n=leader: watched.acting() not in ([], [n.id]), 10, "another one acts")
            if how == "kill":
                leader.start()
            elif how == "stop":
                leader.process.send_signal(signal.SIGCONT)
    assert not watched.overlaps, watched.overlaps[:3]
    assert watched.looks > 100
    gains = [(i, fence) for i, fence in watched.told if fence is not None]
    assert len(gains) >= 6
    assert [fence for _, fence in gains] == sorted(fence for _, fence in gains)


class Shell:
    """sidecar.sh with a child that says under which fence it runs."""

    def __init__(self, node, scheme="http"):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", EXAMPLES / "sidecar.sh", "sleep", "86400"],
            env={**os.environ, "RAFTD_URL": f"{scheme}://{node.http}"}, stderr=subprocess.PIPE)
        self.said = ""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.said += line.decode()

    def runs(self):
        last = re.findall(r"sidecar: (it runs|stopped)", self.said)
        return bool(last) and last[-1] == "it runs"

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.reader.join(20)
        self.process.stderr.close()


@pytest.fixture(name="shells")
def _shells(trio):
    shells = {node.id: Shell(node) for node in trio}
    yield shells
    for shell in shells.values():
        shell.close()
        assert not shell.runs() or "it runs" not in shell.said.splitlines()[-1]


def test_the_shell_sidecar_runs_where_the_leader_is(trio, shells):
    for _ in range(3):
        leader = trio.leader()
        wait_until(lambda n=leader: [i for i, s in shells.items() if s.runs()] == [n.id], 15,
                   f"the command runs beside n{leader.id}")
        leader.ok("step-down")
