"""Writers that never stop, and the accounts of what they were told.

Each client writes keys of its own, one after the other, over one `raftctl batch`. A node that stops or
was removed says that it did not take a write (`unreachable`, `removed`): the client writes it through
another node, as any client would. Everything else that is not an acknowledgement is a failure.
"""
import itertools
import threading
import time

from harness import SLOWDOWN

ELSEWHERE = {"unreachable", "removed", "unconfigured"}


def percentiles(values, unit="ms"):
    """median, p99, max of some numbers, in words."""
    ordered = sorted(values)

    def at(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return f"median {at(0.5):.0f} {unit}, p99 {at(0.99):.0f} {unit}, max {ordered[-1]:.0f} {unit}"


class Client(threading.Thread):
    """Writes <name><number>/<count> = count, for as long as it is not told to stop."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load = load
        self.number = number
        self.acked = {}       # key -> its answer
        self.failed = []      # (key, answer)
        self.moved = 0
        self.error = None
        self.batch = None
        self.fresh = False    # the batch has answered nothing yet

    def run(self):
        try:
            for count in itertools.count(1):
                if self.load.stopping.is_set():
                    return
                self.write(f"{self.load.name}{self.number}/{count}", count)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            self.leave()

    def leave(self):
        if self.batch:
            self.batch.__exit__()
            self.batch = None

    def go_on(self):
        """Talk to the next node that is there to be talked to."""
        self.leave()
        self.moved += 1
        nodes = self.load.nodes()
        if nodes:
            self.batch = nodes[(self.number + self.moved) % len(nodes)].batch(timeout="20s")
            self.fresh = True

    def ask(self, line):
        """The answer to one line; a batch that found nobody to talk to ends before it reads any."""
        if not self.batch:
            self.go_on()
        try:
            answer = self.batch.ask(line, seconds=40) if self.batch else None
        except (AssertionError, BrokenPipeError):
            if not self.fresh or self.batch.process.wait(10 * SLOWDOWN) != 3:
                raise
            answer = None
        self.fresh = False
        return answer or {"error": {"code": "unreachable"}}

    def write(self, key, count):
        while True:
            answer = self.ask(f"put {key} {count} --if-revision 0")
            if "revision" in answer:
                self.acked[key] = answer
                self.load.acknowledged(time.monotonic())
                return
            if answer["error"]["code"] not in ELSEWHERE:
                self.failed.append((key, answer))
                return
            self.leave()
            if self.load.stopping.is_set():
                return
            time.sleep(0.005)  # it may be the only one that runs


class Load:
    """`count` clients over the nodes that `nodes()` names whenever one has to choose. Another name for each
    load of a cluster: its keys must not exist."""

    def __init__(self, nodes, count, name="c"):
        self.nodes = nodes
        self.name = name
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.times = []  # of all acknowledgements
        self.stopped_at = None
        self.revision_before = None
        self.clients = [Client(self, i) for i in range(count)]

    def __enter__(self):
        self.revision_before = self.nodes()[0].status()["revision"]
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, kind, *_):
        self.stopped_at = time.monotonic()
        self.stopping.set()
        for client in self.clients:
            client.join(60 * SLOWDOWN)

    def acknowledged(self, now):
        with self.lock:
            self.times.append(now)

    def count(self):
        with self.lock:
            return len(self.times)

    def longest_silences(self, moments):
        """For each moment: the longest time, in ms, without an acknowledgement that began in the
        second after it or was under way then, however long it lasted."""
        with self.lock:
            times = sorted(self.times) + [self.stopped_at or time.monotonic()]
        longest = [0.0] * len(moments)
        for a, b in zip(times, times[1:]):
            for i, moment in enumerate(moments):
                if b >= moment and a <= moment + 1:
                    longest[i] = max(longest[i], 1000 * (b - a))
        return longest

    def longest_silence(self):
        """The longest time, in ms, between two acknowledgements."""
        with self.lock:
            times = sorted(self.times)
        return max(1000 * (b - a) for a, b in zip(times, times[1:]))

    def check(self, nodes):
        """Nothing failed, nothing was lost, nothing was applied twice: by what each node reads."""
        for client in self.clients:
            if client.error:
                raise client.error
            assert not client.failed, f"client {client.number}: {client.failed[:3]}"
        acked = {key: answer for c in self.clients for key, answer in c.acked.items()}
        assert acked, "nothing was written at all"
        revisions = [a["revision"] for a in acked.values()]
        assert len(set(revisions)) == len(revisions), "two writes were given one revision"
        prefixes = [f"{self.name}{c.number}/{digit}" for c in self.clients for digit in range(1, 10)]
        for node in nodes:
            found = {kv["key"]: kv for prefix in prefixes  # all at once may not fit into one reply
                     for kv in node.ok("list", prefix, timeout="30s")["kvs"]}
            lost = set(acked) - set(found)
            assert not lost, f"n{node.id} misses {len(lost)} acknowledged writes: {sorted(lost)[:3]}"
            twice = [k for k, kv in found.items() if kv["version"] != 1]
            assert not twice, f"n{node.id} shows writes that were applied twice: {twice[:3]}"
            grown = node.status()["revision"] - self.revision_before
            assert grown == len(found), f"n{node.id}: {grown} revisions for {len(found)} writes"
        return len(acked)
