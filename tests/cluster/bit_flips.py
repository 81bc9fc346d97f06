#!/usr/bin/python3
"""bit_flips.py - flip one bit in the data of a stopped node, start it, and never be told a lie.

usage: bit_flips.py [--rounds N] [--nodes 1|3] [--seed S] [--only CASE]

In each case one bit of log/data.mdb or of state/data.mdb is flipped, in each region in turn: the two
meta pages, branch and leaf pages, the free list, free pages, overflow pages, named records and those of
databases, entries, rows, and what is not used at all. Then `raftctl check` looks at the directory, and
the node is started. With three nodes it has to be (and to stay) a follower of a cluster that goes on;
alone, it leads, and is written to. It must
  - be healthy, with the right data, and start again after a clean stop,
  - or refuse with 78, 79 or 81, in words that name the file, and the page, the entry or the record.
Never another answer, never a signal, never silence. If `check` says ok, the start must work.
Prints what came of it for each region. Exit status: 0 all of it held, 1 something did not; every case that
did not is told, and the run goes on. The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import collections
import random
import re
import shutil
import signal
import subprocess
import sys
from typing import NamedTuple

from campaign import run_campaign, say
from harness import EXIT_CONFIG, EXIT_DATA, EXIT_IO, Cluster
from lmdb_file import DataFile

REFUSALS = {EXIT_CONFIG, EXIT_DATA, EXIT_IO}
OPTIONS = {"raft.heartbeat_interval": "50ms", "raft.election_timeout": "300ms"}
SMALL, LARGE = 120, 6
WHERE = re.compile(r" (?:page|index)=\d| (?:reason|cause)=")


class Violation(AssertionError):
    pass


class Case(NamedTuple):
    number: int
    file: str
    region: str
    what: str
    at: int
    bit: int

    def __str__(self):
        return f"case {self.number}: bit {self.bit} of byte {self.at} of {self.file}/data.mdb, {self.region} " \
               f"({self.what})"


class BitFlips:
    def __init__(self, cluster, seed, say):
        self.cluster = cluster
        self.seed = seed
        self.say = say
        self.victim = cluster[1]
        self.good = self.victim.dir / "good"
        self.data = {}  # key -> value
        self.digest = None
        self.files = {}
        self.outcomes = collections.Counter()  # (file, region, outcome)
        self.violations = []

    # ---- Before ----

    def fill(self):
        """Deep enough trees, large values, and pages that became free; the victim follows, and stops."""
        with self.cluster.leader().batch() as batch:
            for i in range(SMALL + LARGE):
                size = 9000 if i % (SMALL // LARGE) == 7 else 200
                self.put(batch, f"k{i:03}", f"{i}-" + "v" * size)
            for i in range(0, SMALL, 10):
                assert "revision" in batch.ask(f"del k{i:03}")
                del self.data[f"k{i:03}"]
        for node in self.cluster.others(self.victim):
            if self.cluster.leader() is self.victim:
                node.ok("transfer", node.id)
        self.cluster.settled()
        self.victim.restart()  # one flush more, and other pages are free
        self.digest = self.cluster.settled()[0]["digest"]
        self.victim.stop()
        self.good.mkdir()
        for name in ("log", "state"):
            shutil.copy(self.victim.data / name / "data.mdb", self.good / f"{name}.mdb")
            self.files[name] = DataFile((self.good / f"{name}.mdb").read_bytes())

    def put(self, batch, key, value):
        answer = batch.ask(f"put {key} {value}")
        assert "revision" in answer, answer
        self.data[key] = value

    # ---- A case ----

    def case(self, number):
        chance = random.Random(f"{self.seed}/{number}")
        places = [(name, region) for name, file in self.files.items() for region in file.regions()]
        name, region = places[number % len(places)]
        at, what = self.files[name].pick(region, chance)
        return Case(number, name, region, what, at, chance.randrange(8))

    def restore(self, case):
        for name, file in self.files.items():
            data = bytearray(file.data)
            if case and name == case.file:
                data[case.at] ^= 1 << case.bit
            (self.victim.data / name / "data.mdb").write_bytes(data)

    def refused(self, status, mark, when):
        lines = [x for x in self.victim.logged_since(mark).splitlines() if " error " in x or "raftd: store" in x]
        if status not in REFUSALS:
            raise Violation(f"{when} it ended with {status}: {lines}")
        if not any(str(self.victim.data) in line and WHERE.search(line) for line in lines):
            raise Violation(f"{when} it ended with {status}, and does not say what is damaged: {lines}")
        return f"refused, {status}"

    def check(self):
        """Whether `raftctl check` finds it sound."""
        answer = self.victim.ctl("check", "--data-dir", self.victim.data)
        if answer.code not in (0, 1):
            raise Violation(f"check: {answer}")
        if answer.code == 1 and not (answer.error or answer.obj.get("problem")):
            raise Violation(f"check has no words: {answer}")
        return answer.code == 0

    def healthy(self):
        """It answers as before the damage."""
        digests = [s["digest"] for s in self.cluster.settled()]
        if self.cluster.others(self.victim) and digests[0] != self.digest:
            raise Violation(f"the digests are {digests}, they were {self.digest}")
        found = {kv["key"]: kv["value"] for kv in self.victim.ok("list", "k")["kvs"]}
        if found != self.data:
            raise Violation(f"it shows other data: {len(found)} keys, {len(self.data)} were written")

    def use(self):
        """Alone, it is the only one that can be written to; what is added is not for the next case."""
        if not self.cluster.others(self.victim):
            with self.victim.batch() as batch:
                for i in range(20):
                    self.put(batch, f"k{900 + i}", "w" * (3000 if i % 5 == 0 else 30))
            self.healthy()

    def lives(self, when, mark):
        """None when it started, was right, and stopped; else how it refused."""
        self.victim.start(wait=False)
        if not self.victim.wait_ready_or_ended():
            return self.refused(self.victim.wait_exit(1), mark, f"at its {when} start")
        try:
            self.healthy()
            if when == "first":
                self.use()
        except AssertionError:
            try:
                status = self.victim.process.wait(1)
            except subprocess.TimeoutExpired:
                pass
            else:
                self.victim.wait_exit(1)
                return self.refused(status, mark, f"after its {when} start")
            raise
        self.victim.signal(signal.SIGTERM)
        status = self.victim.wait_exit(10)
        return self.refused(status, mark, f"when it stopped, after its {when} start") if status else None

    def outcome(self, sound):
        mark = self.victim.log_mark()
        before = dict(self.data)
        try:
            refusal = self.lives("first", mark) or self.lives("second", mark)
        finally:
            self.data = before
            if self.victim.process:
                self.victim.kill()
        if refusal:
            return refusal
        if "built anew" in self.victim.logged_since(mark):
            return "rows built anew"
        return "harmless" if sound else "healthy, check refused"

    def one_case(self, number):
        case = self.case(number)
        self.restore(case)
        try:
            sound = self.check()
            outcome = self.outcome(sound)
            if sound and outcome.startswith("refused"):
                raise Violation(f"check said ok, and it was {outcome}: {self.victim.log_tail(2)}")
        except AssertionError as error:
            outcome = "VIOLATION"
            self.violations.append(f"{case}: {error}")
            self.say(self.violations[-1])
        self.victim.exits.clear()  # they were judged here
        self.outcomes[case.file, case.region, outcome] += 1

    def run(self, cases):
        self.fill()
        for count, number in enumerate(cases, 1):
            self.one_case(number)
            if count % 50 == 0:
                self.say(f"{count} cases, {len(self.violations)} violations")
        self.restore(None)
        self.victim.start()
        self.healthy()
        if self.violations:
            cases = " ".join(text.split(":")[0].removeprefix("case ") for text in self.violations)
            raise Violation(f"{self.summary()}\n{len(self.violations)} cases: --only {cases}")
        return self

    def summary(self):
        kinds = sorted({outcome for _, _, outcome in self.outcomes})
        width = max(map(len, kinds)) + 2
        lines = [f"{'':24}" + "".join(f"{kind:>{width}}" for kind in kinds)]
        for file, region in sorted({(f, r) for f, r, _ in self.outcomes}):
            counts = [self.outcomes[file, region, kind] for kind in kinds]
            lines.append(f"  {file + ', ' + region:22}" + "".join(f"{n or '':>{width}}" for n in counts))
        return "\n".join([*lines, f"{self.outcomes.total()} flipped bits, {len(self.violations)} violations"])


def run_bit_flips(cluster, cases, seed, say):
    """Raises Violation after the last case if there was any."""
    cluster.formed()
    return BitFlips(cluster, seed, say).run(cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="cases")
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=3)
    parser.add_argument("--seed", type=int, default=None, help="of the places (default: random)")
    parser.add_argument("--only", type=int, nargs="+", help="these cases of the seed")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    say(f"bit_flips: {options.rounds} cases, {options.nodes} nodes, seed {seed}")
    cluster = Cluster(options.nodes, options=OPTIONS, name="bit-flips")
    return run_campaign("bit_flips", cluster, lambda: run_bit_flips(
        cluster, options.only or range(options.rounds), seed, say),
        f"--nodes {options.nodes} --seed {seed} --rounds {options.rounds}")


if __name__ == "__main__":
    sys.exit(main())
