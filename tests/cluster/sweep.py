"""What kill_sweep.py and error_sweep.py share: a run in phases, and every persistence call in it.

The run is that of one node, the victim: it makes its store, forms a cluster, votes, appends, leads, has the
tail replaced that nobody else had, trims, flushes, catches up after it was away for long, starts and stops.
First each phase is run while strace looks on: which calls touch files of the data directory, by which
thread. Then once for each of these calls, with a fault at it, and judged. A run that did not come to its
call (threads batch as they like, and how many writes a commit takes depends on what pages are free) is tried
again; what is never met is told, and too much of it fails the sweep.
"""
import argparse
import collections
import contextlib
import itertools
import pathlib
import random
import shutil
import subprocess
import tempfile
import time
from typing import NamedTuple

from campaign import run_campaign, say
from harness import SLOWDOWN, Cluster, Conversation, wait_until
from inject import Attached, Injected, calls_on

KINDS = ("fdatasync,fsync,sync_file_range,pwrite64,pwritev,pwritev2,write,writev,rename,renameat,"
         "renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,truncate,fallocate,"
         "copy_file_range,sendfile")
OPTIONS = {"raft.heartbeat_interval": "50ms", "raft.election_timeout": "300ms",
           "storage.log_keep_entries": 20, "storage.log_keep_bytes": "64K", "log.level": "info"}
AWAY_ENTRIES = 500
KEYS_MAX = 2500
CLIENTS = 8
TAIL_ENTRIES = 4
MAY_FAIL = ("/LOCK", " fallocate(")  # what is for people only, and room that is asked for ahead
TRIES = 3
UNMET_SHARE = 0.5  # of the calls of a phase: more is "could not tell"
FEW_UNMET = 2      # of a sample, of which a share says little: a flush may have come before the stop


class Violation(AssertionError):
    pass


class Bench:
    """The cluster, who is who in it, and what was acknowledged."""

    def __init__(self, directory, nodes=3, founding=True):
        self.cluster = Cluster(nodes, founding=founding, options=OPTIONS, name="sweep")
        self.victim = self.cluster[1]
        self.partner = self.cluster[2] if nodes > 1 else None
        self.third = self.cluster[3] if nodes > 2 else None
        self.output = directory / "strace.out"
        self.acked = {}
        self.keys = itertools.count(1)
        self.used_up = False  # it was made for one run

    def alive(self):
        return self.victim.is_running()

    def wait(self, predicate, what, seconds=20):
        """For the predicate, or for the victim's end."""
        wait_until(lambda: not self.alive() or predicate(), seconds, what)

    def victim_shows(self, field):
        """Of its status; None when it does not answer (any more)."""
        return (self.victim.ctl("status").obj or {}).get(field)

    def put(self, node, sizes):
        """One after the other, for as long as `node` answers; what it acknowledged is remembered."""
        with node.batch(timeout="5s") as batch:
            for size in sizes:
                key = f"k{next(self.keys)}"
                try:
                    batch.send(f"put {key} {key}{'v' * size} --if-revision 0")
                    answer = batch.line(20)
                except BrokenPipeError:
                    answer = None
                if answer is None or "error" in answer:
                    if node is not self.victim:
                        raise Violation(f"n{node.id} refused a write: {answer}")
                    return
                self.acked[key] = len(key) + size

    def pour(self, node, count):
        """Many small ones, several at once."""
        with contextlib.ExitStack() as stack:
            batches = [stack.enter_context(node.batch(timeout="20s")) for _ in range(CLIENTS)]
            for _ in range(0, count, CLIENTS):
                keys = [f"k{next(self.keys)}" for _ in batches]
                for batch, key in zip(batches, keys):
                    batch.send(f"put {key} {key} --if-revision 0")
                for batch, key in zip(batches, keys):
                    answer = batch.line(20)
                    if answer is None or "error" in answer:
                        raise Violation(f"n{node.id} refused a write: {answer}")
                    self.acked[key] = len(key)

    def make_lead(self, node):
        def leads():
            leader = self.cluster.leader()
            return leader is node or (node.ctl("transfer", node.id).code == 0 and False)
        wait_until(leads, 20, f"n{node.id} leads")

    def as_partner_knows(self):
        """What the victim has acknowledged, as the partner knows if it leads; else None."""
        if not self.partner or not self.partner.is_running():
            return None, None
        state = self.partner.status()
        if not state["is_leader"]:
            return None, state
        return next(m["match_index"] for m in state["members"] if m["id"] == self.victim.id), state

    def caught_up(self):
        def same():
            match, state = self.as_partner_knows()
            return match is not None and match == state["last_index"]
        self.wait(same, "the victim has everything")

    def start_held(self):
        """The victim runs, and nothing reaches it: the others are paused. See release()."""
        for node in self.cluster.others(self.victim):
            node.pause()
        self.victim.start()

    def release(self):
        for node in self.cluster.nodes:
            if node.paused:
                node.resume()

    def state_file(self):
        path = self.victim.data / "state/data.mdb"
        return path.stat().st_mtime_ns, path.stat().st_size

    def flushed(self, before):
        self.wait(lambda: self.state_file() != before, "the state was flushed")

    def check_data(self):
        """Everything acknowledged is there, once, on the victim as on all others (equal digests)."""
        found = {kv["key"]: kv for kv in self.victim.ok("list", "k", timeout="30s")["kvs"]}
        lost = [k for k, size in self.acked.items() if k not in found or len(found[k]["value"]) != size]
        if lost:
            raise Violation(f"{len(lost)} acknowledged writes are gone: {lost[:5]}")
        if any(kv["version"] != 1 for kv in found.values()):
            raise Violation("a write was applied twice")
        if len(found) > KEYS_MAX:
            self.forget(found)

    def forget(self, keys):
        """No more than one reply can hold."""
        with self.cluster.leader().batch() as batch:
            for key in keys:
                assert "revision" in batch.ask(f"del {key}")
        self.acked.clear()
        self.cluster.settled()


# ---- The phases ----

class Phase:
    """prepare() leaves the victim running (attached) or not started; drive() does what is looked at, and
    ends early when the victim does."""
    attached = True  # else it is started under strace, and its first thread is looked at
    fresh = None     # a cluster of its own for each run: arguments of Bench
    trusted = True   # there is a store already: its directory is sound whenever it is looked at

    def prepare(self, bench):
        bench.make_lead(bench.partner)

    def drive(self, bench):
        raise NotImplementedError

    def evidence(self, bench, logged):
        """After a run without a fault: what the phase is there for has happened."""
        return True


class Creation(Phase):
    """From an empty directory to a store, waiting for the others."""
    attached = trusted = False
    fresh = {}

    def prepare(self, bench):
        pass

    def drive(self, bench):
        bench.victim.start(wait=False)
        bench.victim.wait_ready_or_ended()


class Formation(Phase):
    """It has the lowest id: it mints the cluster id, and writes the first entry."""
    fresh = {}

    def prepare(self, bench):
        bench.victim.start()

    def drive(self, bench):
        for node in (bench.partner, bench.third):
            node.start()
        bench.wait(lambda: bench.victim_shows("commit_index"), "it formed")

    def evidence(self, bench, logged):
        return "membership committed index=1 " in logged


class Bootstrap(Phase):
    """A cluster of one."""
    fresh = {"nodes": 1, "founding": False}

    def prepare(self, bench):
        bench.victim.start()

    def drive(self, bench):
        if bench.victim.ctl("bootstrap", timeout="5s").code == 0:
            bench.put(bench.victim, [10, 10])


class Start(Phase):
    """A store that is there is opened."""
    attached = False

    def prepare(self, bench):
        super().prepare(bench)
        bench.victim.stop()

    def drive(self, bench):
        bench.victim.start(wait=False)
        bench.victim.wait_ready_or_ended()


class Votes(Phase):
    """For itself, and for the partner, whom nobody else can elect: the third does not answer."""

    def prepare(self, bench):
        super().prepare(bench)
        bench.third.pause()

    def drive(self, bench):
        for target in (bench.victim, bench.partner):
            bench.wait(lambda t=target: bench.partner.ctl("transfer", t.id, timeout="1s").code == 0,
                       f"n{target.id} leads")

    def evidence(self, bench, logged):
        return " raft: " in logged and "state=leader" in logged


class Appends(Phase):
    """Of entries of all sizes, one after the other."""

    def drive(self, bench):
        bench.put(bench.partner, [10, 100, 1500, 10, 20000, 10])
        bench.caught_up()


class Leads(Phase):
    """What it acknowledges to a client itself."""

    def prepare(self, bench):
        bench.make_lead(bench.victim)

    def drive(self, bench):
        bench.put(bench.victim, [10, 3000, 10, 10])


class Truncation(Phase):
    """A deposed leader, stopped for a while, whose tail nobody else has: it is replaced."""

    def prepare(self, bench):
        bench.make_lead(bench.victim)
        before = bench.victim.status()["last_index"]
        others = bench.cluster.others(bench.victim)
        for node in others:
            node.kill()  # what is sent to one that is only paused reaches it later
        with contextlib.ExitStack() as stack:
            for i in range(TAIL_ENTRIES):
                words = ["put", f"tail{i}", "t" * 500]
                stack.enter_context(Conversation(bench.victim, words, "1s"))
            wait_until(lambda: bench.victim.status()["last_index"] == before + TAIL_ENTRIES, 5,
                       "it has a tail")
            bench.victim.pause()
        for node in others:
            node.start()
        if bench.cluster.leader(among=others) is not bench.partner:
            bench.partner.ok("transfer", bench.partner.id)
        bench.put(bench.partner, [10, 10, 10])

    def drive(self, bench):
        bench.victim.resume()
        bench.caught_up()

    def evidence(self, bench, logged):
        return not bench.partner.ok("list", "tail")["kvs"]


class Trim(Phase):
    """Many entries, and what is kept of them (storage.log_keep_entries)."""

    def drive(self, bench):
        before = bench.state_file()
        first = bench.victim_shows("first_index")
        bench.pour(bench.partner, 5 * CLIENTS)
        bench.flushed(before)
        bench.put(bench.partner, [10, 10])
        bench.caught_up()
        bench.wait(lambda: (bench.victim_shows("first_index") or 0) > (first or 0), "the log is trimmed")


class Flush(Phase):
    """The state, twice."""

    def drive(self, bench):
        for sizes in ([10, 10, 5000], [10]):
            before = bench.state_file()
            bench.put(bench.partner, sizes)
            bench.flushed(before)


class Away(Phase):
    """It was not there while the others wrote and trimmed: it gets a snapshot."""

    def prepare(self, bench):
        super().prepare(bench)
        last = bench.victim.status()["last_index"]
        bench.victim.stop()
        bench.pour(bench.partner, AWAY_ENTRIES)
        enough = last + AWAY_ENTRIES // 2  # else the next entry may still be there
        wait_until(lambda: all(n.status()["first_index"] > enough for n in (bench.partner, bench.third)), 10,
                   "the log is trimmed")
        bench.start_held()

    def drive(self, bench):
        bench.release()
        bench.wait(lambda: bench.cluster.leader(among=[bench.partner, bench.third]), "the others go on")
        bench.wait(lambda: bench.victim_shows("applied_index") == bench.partner.status()["applied_index"],
                   "it has caught up")

    def evidence(self, bench, logged):
        return "installed a snapshot" in logged


class Stop(Phase):
    """By SIGTERM, with something left to flush."""

    def prepare(self, bench):
        super().prepare(bench)
        before = bench.state_file()
        bench.put(bench.partner, [10])
        bench.flushed(before)
        bench.put(bench.partner, [10, 10])
        bench.caught_up()

    def drive(self, bench):
        bench.victim.signal(15)
        bench.victim.process.wait(20 * SLOWDOWN)


PHASES = {"creation": Creation(), "formation": Formation(), "bootstrap": Bootstrap(), "start": Start(),
          "votes": Votes(), "appends": Appends(), "leads": Leads(), "truncation": Truncation(),
          "trim": Trim(), "flush": Flush(), "away": Away(), "stop": Stop()}


# ---- The sweep ----

class Point(NamedTuple):
    phase: str
    fault: str
    lane: str   # log, state, or all of the directory: where the call is counted
    kind: str
    number: int
    total: int  # of that kind in the first run

    def __str__(self):
        return f"{self.phase}: {self.fault} at {self.kind} {self.number} of {self.total} on {self.lane}"

    @property
    def name(self):
        return f"{self.fault}:{self.lane}:{self.kind}:{self.number}"


def lane_of(words, attached):
    return "all" if not attached else "state" if "/data/state" in words else "log"


def paths_in(words, data):
    """What comes after the data directory in the paths of one call: of descriptors, and as names."""
    at = words.find(data)
    while at >= 0:
        end = min((i for i in (words.find(c, at) for c in '>",') if i >= 0), default=len(words))
        yield words[at + len(data):end]
        at = words.find(data, end)


class Sweep:
    faults = {}  # name -> what strace injects

    def __init__(self, say):
        self.say = say
        self.keep = False
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="raftd-sweep-"))
        self.bench = None
        self.paths = {}  # (phase, lane) -> what its calls touched
        self.met = collections.Counter()     # (phase, fault, kind)
        self.unmet = collections.Counter()   # phase -> calls of the first run that were not made again
        self.unharmed = 0  # calls that may fail
        self.log_mark = 0
        self.term_before = None

    # ---- The cluster ----

    def bench_for(self, phase):
        if phase.fresh is not None or self.bench is None or self.bench.used_up:
            self.close_bench()
            self.bench = Bench(self.dir, **(phase.fresh or {}))
            self.bench.used_up = phase.fresh is not None
            if phase.fresh is None:
                self.bench.cluster.formed()
        return self.bench

    def close_bench(self):
        if self.bench:
            bench, self.bench = self.bench, None
            bench.cluster.close()

    def close(self):
        self.close_bench()
        shutil.rmtree(self.dir, ignore_errors=True)

    def shut_down(self):
        if self.bench:
            self.bench.cluster.keep = self.keep
            self.bench.cluster.shut_down()

    def print_logs(self, lines):
        if self.bench:
            self.bench.cluster.print_logs(lines)

    def remove(self):
        if self.bench:
            self.bench.cluster.remove()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- Which calls there are ----

    def drive(self, phase, inject, kinds=KINDS, paths=()):
        bench = self.bench_for(phase)
        phase.prepare(bench)
        self.log_mark = bench.victim.log_mark()
        running = bench.partner and bench.partner.is_running() and not bench.partner.paused
        self.term_before = bench.partner.status()["term"] if running else None
        how = Attached if phase.attached else Injected
        with how(bench.victim, inject, bench.output, kinds,
                 [str(bench.victim.data) + path for path in paths]):
            phase.drive(bench)

    def look(self, name):
        """The points of a phase."""
        phase = PHASES[name]
        self.drive(phase, None)
        data = self.bench.victim.data
        calls = list(calls_on(self.bench.output, data))
        counts = collections.Counter()
        for thread, kind, words in calls:
            if phase.attached or thread == calls[0][0]:
                lane = lane_of(words, phase.attached)
                counts[thread, lane, kind] += 1
                self.paths.setdefault((name, lane), set()).update(paths_in(words, str(data)))
        self.calm()
        if not counts or not phase.evidence(self.bench, self.bench.victim.logged_since(self.log_mark)):
            raise Violation(f"could not tell: phase {name} did not do what it is there for")
        most = collections.Counter()
        for (_, lane, kind), count in counts.items():
            most[lane, kind] = max(most[lane, kind], count)
        self.say(f"{name}: {sum(most.values())} calls: " + ", ".join(
            f"{count} {kind} on {lane}" for (lane, kind), count in sorted(most.items())))
        return [Point(name, fault, lane, kind, number, count) for fault in self.faults
                for (lane, kind), count in sorted(most.items()) for number in range(1, count + 1)]

    # ---- Each of them ----

    def statuses(self, point):
        """With which the victim may end."""
        raise NotImplementedError

    def fault_line(self):
        """strace's words for the call that met the fault, or None."""
        for line in self.bench.output.read_text(errors="replace").splitlines():
            if "(INJECTED)" in line or "= ?" in line or "killed by SIGKILL" in line:
                return line
        return None

    def happened(self, point):
        """Whether the fault met the victim; it has ended of it then, with the right status."""
        victim, line = self.bench.victim, self.fault_line()
        if line and any(words in line for words in MAY_FAIL) and victim.is_running():
            self.unharmed += 1
            return True
        if line and victim.process:
            try:
                victim.process.wait(10 * SLOWDOWN)
            except subprocess.TimeoutExpired:
                raise Violation(f"it goes on after {line}") from None
        if victim.is_running():
            return False
        status = victim.wait_exit(1)
        if status in self.statuses(point):
            victim.may_exit_with.add(status)
            return True
        if "<detached" in self.bench.output.read_text(errors="replace"):
            victim.may_exit_with.add(status)  # of half a fault: the run was over while strace began it
            return False
        if status != 0 or line:
            raise Violation(f"it ended with {status} after {line}")
        return False

    def judge(self, point):
        """What the victim left behind."""
        answer = self.bench.victim.ctl("check", "--data-dir", self.bench.victim.data)
        if answer.code != 0:
            if PHASES[point.phase].trusted or answer.code != 1:
                raise Violation(f"check says {answer}")
            return
        match, _ = self.bench.as_partner_knows()
        if match is not None and answer.obj["last_index"] < match:
            raise Violation(f"entry {match} was acknowledged, the log ends with {answer.obj}")
        if point.phase == "votes":
            led = [t for t, nodes in self.bench.cluster.leaders_by_term().items()
                   if t > self.term_before and self.bench.partner.id in nodes]
            promised = (answer.obj["term"], answer.obj["vote"])
            if led and promised[0] <= max(led) and promised != (max(led), self.bench.partner.id):
                raise Violation(f"its vote elected the leader of term {max(led)}: it has {promised}")

    def calm(self):
        """All run, agree, and have everything that was acknowledged."""
        bench = self.bench
        bench.release()
        if bench.victim.is_running() and bench.victim.wrapped:
            bench.victim.stop()
        for node in bench.cluster:
            if not node.is_running():
                if node.process:
                    node.wait_exit(1)
                node.start(wait=False)
        for node in bench.cluster:
            node.wait_ready()
        if not bench.partner and bench.victim.status()["state"] == "unconfigured":
            if bench.acked:
                raise Violation("the cluster is gone, and what was acknowledged with it")
            bench.victim.ok("bootstrap")
        bench.cluster.settled(seconds=30)
        bench.check_data()

    def try_point(self, point):
        """Whether the fault happened."""
        phase = PHASES[point.phase]
        self.drive(phase, f"{point.kind}:{self.faults[point.fault]}:when={point.number}", point.kind,
                   sorted(self.paths[point.phase, point.lane]))
        met = self.happened(point)
        if met and not self.bench.victim.is_running():
            self.judge(point)
        self.calm()
        return met

    def meet(self, point, tries=TRIES):
        began = time.monotonic()
        try:
            met = any(self.try_point(point) for _ in range(tries))
        except AssertionError as error:
            raise Violation(f"{point}: {error}\nthis one only: --phase {point.phase} --only "
                            f"{point.name}") from error
        if met:
            self.met[point.phase, point.fault, point.kind] += 1
        elif point.number <= point.total:
            self.unmet[point.phase] += 1
        self.say(f"{point}: {'ok' if met else 'was not made this time'} ({time.monotonic() - began:.1f} s)")
        return met

    def meet_all(self, name):
        """Each call of a phase; one that is made in no run any more ends the row."""
        for last in (p for p in self.look(name) if p.number == p.total):
            for number in itertools.count(1):
                if not self.meet(last._replace(number=number), TRIES if number <= last.total else 1):
                    self.unmet[name] += max(0, last.total - number)
                    break

    def run(self, phases, limit=None, seed=0, only=None):
        """`limit`: only so many points, chosen by the seed."""
        if limit or only:
            points = [p for name in phases for p in self.look(name) if only in (None, p.name)]
            if not points:
                raise Violation(f"could not tell: there is no {only}")
            for point in sorted(random.Random(seed).sample(points, min(limit or 1, len(points))),
                                key=lambda p: list(PHASES).index(p.phase)):
                self.meet(point)
            if self.unmet.total() > (0 if only else FEW_UNMET):
                raise Violation(f"could not tell: {self.unmet.total()} calls were not made again")
        else:
            self.run_all(phases)
        self.close_bench()
        return self

    def run_all(self, phases):
        for name in phases:
            self.meet_all(name)
        for name in phases:
            met = sum(count for (phase, *_), count in self.met.items() if phase == name)
            if self.unmet[name] > UNMET_SHARE * (met + self.unmet[name]):
                raise Violation(f"could not tell: in {name} {self.unmet[name]} calls were not made again")

    def summary(self):
        lines = []
        for fault in self.faults:
            kinds = sorted({kind for _, f, kind in self.met if f == fault})
            lines.append(f"{fault:12}" + "".join(f"{kind:>11}" for kind in kinds))
            for phase in PHASES:
                counts = [self.met[phase, fault, kind] for kind in kinds]
                if any(counts):
                    lines.append(f"  {phase:10}" + "".join(f"{count or '':>11}" for count in counts))
        lines.append(f"{sum(self.met.values())} calls met, all ok ({self.unharmed} of them may fail); "
                     f"{self.unmet.total()} that a phase made when it was looked at it did not make again")
        return "\n".join(lines)


def main(name, kind):
    parser = argparse.ArgumentParser(description=f"{name}.py: see its first lines, and sweep.py")
    parser.add_argument("--phase", action="append", choices=PHASES, help="only this one (repeatable)")
    parser.add_argument("--points", type=int, default=None, help="only so many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=None, help="this point, as a failure names it")
    options = parser.parse_args()
    sweep = kind(say)
    return run_campaign(name, sweep, lambda: sweep.run(options.phase or PHASES, options.points,
                                                       options.seed, options.only))
