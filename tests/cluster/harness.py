"""Clusters of real raftd processes, for the tests and for the tools beside them.

A Cluster has a directory of its own, a loopback address of its own and free ports on it; nothing of
two clusters can meet. Everything is asked through the programs people use: raftd and raftctl. The
build to test is RAFTD_BUILD (default: build/ of this repository). RAFTD_TEST_SLOWDOWN multiplies
every deadline: sanitizers make the programs several times slower.
"""
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RAFTD_BUILD", ROOT / "build")).resolve()
RAFTD = BUILD / "daemon/raftd/raftd"
RAFTCTL = BUILD / "daemon/raftctl/raftctl"
SLOWDOWN = float(os.environ.get("RAFTD_TEST_SLOWDOWN", "1"))

ELECTION_TIMEOUT_S = 0.5  # the default of raft.election_timeout, T
SOCKET_PATH_MAX = 107     # sun_path without its NUL
POLL_S = 0.02

EXIT_USAGE = 64
EXIT_BUG = 70
EXIT_CONFIG = 78
EXIT_DATA = 79
EXIT_DISK_FULL = 80
EXIT_IO = 81

# What no log may hold: the words of failed assertions and of the sanitizers.
REPORTS = re.compile(rb"assertion failed|AddressSanitizer|LeakSanitizer|ThreadSanitizer|"
                     rb"UndefinedBehaviorSanitizer|MemorySanitizer|runtime error:|stack smashing|"
                     rb"buffer overflow detected|malloc\(\)|double free|Segmentation fault")
LEADER_LINE = re.compile(r" raft: .*?\bstate=leader\b.*?\bterm=(\d+)")


class Answer(NamedTuple):
    """What raftctl said: its exit status and its JSON (None when it printed none)."""
    code: int
    obj: object

    @property
    def error(self):
        """The code of the error object, or None."""
        if isinstance(self.obj, dict) and isinstance(self.obj.get("error"), dict):
            return self.obj["error"]["code"]
        return None

    @property
    def message(self):
        return self.obj["error"]["message"]


def wait_until(predicate, seconds, what):
    """Poll until the predicate returns something true, and return that. AssertionError after
    `seconds` (times the slowdown), naming `what` was waited for and what came last."""
    end = time.monotonic() + seconds * SLOWDOWN
    while True:
        last = predicate()
        if last:
            return last
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds * SLOWDOWN:g} s: {what}; last: {last!r}")
        time.sleep(POLL_S)


def _is_free(address, port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((address, port))
        except OSError:
            return False
    return True


def free_ports(address, count):
    """Ports below the range from which the kernel takes ports for outgoing connections: one that a
    stopped node listened on is still free when it starts again."""
    low = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = []
    while len(ports) < count:
        port = random.randrange(10000, max(low, 11000))
        if port not in ports and _is_free(address, port):
            ports.append(port)
    return ports


def free_address():
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


def as_nobody():
    """The words before a command that run it as `nobody`, or None when this user cannot."""
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.geteuid() == 0:
        return words
    sudo = ["sudo", "-n"]
    can = shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False,
                                                  capture_output=True).returncode == 0
    return [*sudo, *words] if can else None


_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no raftd outlives the tests


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class HTTPAnswer(NamedTuple):
    status: int
    headers: dict
    text: str

    @property
    def obj(self):
        return json.loads(self.text)


class Exit(NamedTuple):
    status: int   # as Popen.returncode: negative is a signal
    killed: bool  # the signal was ours


class Node:
    """One raftd: its directory, its configuration, and its process when it runs."""

    def __init__(self, cluster, node_id):
        port, http_port = cluster.new_ports(2)
        self.cluster = cluster
        self.id = node_id
        self.dir = cluster.dir / f"n{node_id}"
        self.dir.mkdir()
        self.address = f"{cluster.address}:{port}"
        self.sock = self.dir / "raftd.sock"
        self.http = f"{cluster.address}:{http_port}"
        self.http_sock = self.dir / "http.sock"
        self.conf = self.dir / "raftd.conf"
        self.data = self.dir / "data"
        self.log_path = self.dir / "raftd.log"
        self.options = {}        # "section.key" -> value, or a list of values
        self.extra = []          # more arguments of raftd
        self.build = BUILD       # of raftd and of the raftctl that asks it
        self.wrapper = []        # the words before raftd: it runs under them (strace ...)
        self.env = {}
        self.stderr = None       # a descriptor for what it logs; None: its file
        self.process = None
        self.wrapped = False     # it runs under a wrapper now
        self.paused = False
        self.exits = []          # of every process it was
        self.may_exit_with = {0}
        if len(str(self.sock)) > SOCKET_PATH_MAX:
            raise AssertionError(f"{self.sock} is too long for a Unix socket; set TMPDIR")

    # ---- HTTP ----

    def get(self, path, headers=None, timeout=5, method="GET"):
        """One request over the Unix socket: status, headers, body as text."""
        connection = UnixHTTPConnection(self.http_sock, timeout * SLOWDOWN)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return HTTPAnswer(response.status, dict(response.getheaders()),
                              response.read().decode())
        finally:
            connection.close()

    def connect_http(self):
        """A TCP connection to its HTTP side."""
        host, port = self.http.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=10 * SLOWDOWN)

    # ---- Configuration ----

    def write_conf(self):
        options = {"node.id": self.id, "node.name": f"n{self.id}", "node.data_dir": self.data,
                   "node.listen": self.address, "cluster.name": "test",
                   "cluster.member": self.cluster.member_list, "admin.socket": self.sock,
                   "admin.group": "", "http.listen": [self.http, f"unix:{self.http_sock}"],
                   "storage.map_size": "1G",
                   **self.cluster.options, **self.options}
        sections = {}
        for name, value in options.items():
            section, key = name.split(".")
            for one in value if isinstance(value, list) else [value]:
                sections.setdefault(section, []).append(f"{key} = {one}".rstrip())
        self.conf.write_text("".join(f"[{section}]\n" + "\n".join(lines) + "\n"
                                     for section, lines in sections.items()))

    # ---- Process ----

    def start(self, wait=True):
        """Start raftd, and wait until it answers on its socket."""
        assert not self.process, f"n{self.id} runs already"
        self.write_conf()
        with open(self.log_path, "ab") as log:
            # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
            self.process = subprocess.Popen(
                [*self.wrapper, self.build / RAFTD.relative_to(BUILD), "-c", self.conf, *self.extra],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log if self.stderr is None else self.stderr,
                env={**os.environ, **self.env},
                preexec_fn=_die_with_parent)
        self.paused = False
        self.wrapped = bool(self.wrapper)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"n{self.id} ended with {self.process.returncode} at its "
                                     f"start:\n{self.log_tail()}")
            return self.ctl("leader").code != 3
        wait_until(ready, 10, f"n{self.id} answers on its socket")

    def wait_ready_or_ended(self):
        """Wait until it answers, or has ended: True when it answers."""
        wait_until(lambda: not self.is_running() or self.ctl("leader").code != 3, 15,
                   f"n{self.id} answers or ends")
        return self.is_running()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def _ended(self, seconds, killed):
        try:
            status = self.process.wait(seconds * SLOWDOWN)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"n{self.id} still runs after {seconds * SLOWDOWN:g} s\n"
                                 f"{self.log_tail()}") from None
        self.process = None
        self.exits.append(Exit(status, killed))
        return status

    def wait_exit(self, seconds=10, expect=None):
        """Wait for the end of the process; returns its exit status, which is `expect` if given."""
        status = self._ended(seconds, False)
        if expect is not None:
            assert status == expect, f"n{self.id} ended with {status}, not {expect}\n" \
                                     f"{self.log_tail()}"
            self.may_exit_with.add(expect)
        return status

    @property
    def pid(self):
        """Of raftd itself, not of what it runs under; None when there is none (any more)."""
        if not self.process or self.process.poll() is not None:
            return None
        if not self.wrapped:
            return self.process.pid
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = path.read_text().split() if path.exists() else []
        return int(children[0]) if children else None

    def kill(self):
        """SIGKILL, and gone when this returns."""
        self.signal(signal.SIGKILL)
        return self._ended(10, True)

    def signal(self, number):
        pid = self.pid
        if pid:
            os.kill(pid, number)

    def stop(self, seconds=10):
        """SIGTERM, which has to end in a clean exit."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(seconds, expect=0)

    def pause(self):
        """SIGSTOP, and stopped when this returns."""
        self.signal(signal.SIGSTOP)
        self.paused = True
        stat = pathlib.Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 5,
                   f"n{self.id} is stopped")

    def resume(self):
        self.signal(signal.SIGCONT)
        self.paused = False

    def restart(self):
        self.stop()
        return self.start()

    # ---- Asking ----

    def command(self, *words, timeout=None, as_json=True, program=None):
        options = ["--json"] if as_json else []
        options += [f"--timeout={timeout}"] if timeout else []
        return [program or self.build / RAFTCTL.relative_to(BUILD), "-s", self.sock, *options, *map(str, words)]

    def run(self, *words, stdin=None, timeout=None, prefix=(), program=None, text=False):
        """raftctl without --json (unless it is among the words), as CompletedProcess of bytes."""
        command = self.command(*words, timeout=timeout, as_json=False, program=program)
        done = subprocess.run([*prefix, *command],
                              input=b"" if stdin is None else stdin, capture_output=True,
                              timeout=120 * SLOWDOWN, check=False)
        self.cluster.check_client(words, done)
        if text:
            done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    def ctl(self, *words, stdin=None, timeout=None, prefix=()):
        """raftctl --json: (exit code, object)."""
        done = self.run("--json", *words, stdin=stdin, timeout=timeout, prefix=prefix)
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None)

    def ok(self, *words, **options):
        """raftctl --json that has to succeed: the object."""
        answer = self.ctl(*words, **options)
        assert answer.code == 0, f"raftctl {' '.join(map(str, words))[:80]} on n{self.id}: {answer}"
        return answer.obj

    def status(self):
        return self.ok("status")

    def batch(self, timeout="60s", prefix=()):
        return Batch(self, timeout, prefix)

    def watch(self):
        return Watch(self)

    # ---- Its log ----

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines=40):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_mark(self):
        """Where its log ends now, for logged_since()."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def logged_since(self, mark):
        with open(self.log_path, "rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")


class Conversation:
    """A raftctl that stays connected and answers with lines."""

    def __init__(self, node, words, timeout, prefix=()):
        # setpriv, not preexec_fn: a fork of a test with a lot of data stops all of its threads for long.
        # pylint: disable=consider-using-with
        self.node = node
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *prefix,
                                         *node.command(*words, timeout=timeout)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.pending = b""

    def line(self, seconds):
        """The next line as an object; None when there is none in time, or none any more."""
        end = time.monotonic() + seconds * SLOWDOWN
        while b"\n" not in self.pending:
            left = end - time.monotonic()
            if left <= 0 or not self.selector.select(left):
                return None
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:
                return None
            self.pending += piece
        line, _, self.pending = self.pending.partition(b"\n")
        return json.loads(line)

    def end(self, seconds=10):
        """Close its input and wait: the exit status."""
        self.process.stdin.close()
        status = self.process.wait(seconds * SLOWDOWN)
        self.node.cluster.check_text("raftctl", self.process.stderr.read())
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.selector.close()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass


class Batch(Conversation):
    """`raftctl batch`: commands over one connection."""

    def __init__(self, node, timeout, prefix=()):
        super().__init__(node, ["batch"], timeout, prefix)

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line, seconds=20):
        self.send(line)
        answer = self.line(seconds)
        assert answer is not None, f"batch on n{self.node.id}: no answer to {line[:80]!r}"
        return answer


class Watch(Conversation):
    """`raftctl watch`: the current state, then every change."""

    def __init__(self, node):
        super().__init__(node, ["watch"], None)

    def until(self, predicate, seconds, what):
        """Read lines until one fits, and return it."""
        end = time.monotonic() + seconds * SLOWDOWN
        seen = []
        while time.monotonic() < end:
            line = self.line((end - time.monotonic()) / SLOWDOWN)
            if line is not None:
                seen.append(line)
                if predicate(line):
                    return line
            elif self.process.poll() is not None:
                break
        raise AssertionError(f"watch on n{self.node.id} never showed: {what}; it showed {seen}")


class Cluster:
    """N nodes of one founding member list (founding=False: no list at all), not started yet; add_node()
    makes more, which are on nobody's list.

    As a context manager it starts nothing, and at the end kills what runs and checks that no
    process ended as it should not and that no log holds a report or two leaders of one term."""

    def __init__(self, count, founding=True, options=None, name="c"):
        base = os.environ.get("TMPDIR", "/tmp")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"raftd-{name[:20]}-", dir=base))
        self.dir.chmod(0o755)
        self.address = free_address()
        self.options = options or {}
        self.complaints = []
        self.has_led = False  # a leader was seen: its log has to name it, too
        self.ports = set()
        self.nodes = [Node(self, i) for i in range(1, count + 1)]
        self.member_list = [f"{node.id}@{node.address}" for node in self.nodes] if founding else []
        self.keep = False

    def __getitem__(self, node_id):
        return self.nodes[node_id - 1]

    def __iter__(self):
        return iter(self.nodes)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.shut_down()

    def new_ports(self, count):
        """Free ports that nobody else here has been given."""
        ports = []
        while len(ports) < count:
            port = free_ports(self.address, 1)[0]
            if port not in self.ports:
                self.ports.add(port)
                ports.append(port)
        return ports

    # ---- Growing and shrinking ----

    def add_node(self, node_id=None, start=True):
        """One more node, with empty data and no member list, not a member yet."""
        node = Node(self, node_id or len(self.nodes) + 1)
        node.options["cluster.member"] = []
        self.nodes.append(node)
        return node.start() if start else node

    def bootstrapped(self, options=None):
        """Start the first node and make it a cluster of its own."""
        first = self.nodes[0]
        first.options.update(options or {})
        first.start().ok("bootstrap")
        self.has_led = True
        return first

    def grown(self, size, timeout="30s"):
        """Add new nodes, each through the first member, until there are that many voters."""
        while len(self.roles(self.nodes[0])) < size:
            node = self.add_node()
            added = self.nodes[0].ok("add-server", node.id, node.address, timeout=timeout)
            assert added["role"] == "voter", added
        return self

    @staticmethod
    def roles(node):
        """id -> role, as this node tells."""
        return {m["id"]: m["role"] for m in node.ok("members")["members"]}

    def agree_on(self, roles, among=None, seconds=15):
        """Wait until all of them show exactly these members, committed, and equal states."""
        nodes = among or [n for n in self.running() if n.id in roles]

        def same():
            seen = [n.ok("members") for n in nodes]
            good = all(not m["pending"] and {x["id"]: x["role"] for x in m["members"]} == roles
                       for m in seen)
            return good and len({m["index"] for m in seen}) == 1
        wait_until(same, seconds, f"{len(nodes)} nodes show the members {roles}")
        return self.settled(nodes, seconds)

    # ---- All nodes ----

    def start(self):
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        return self

    def formed(self):
        """Start all, and wait until all know the leader and have applied what it committed."""
        self.start()
        self.settled()
        return self

    def others(self, *nodes):
        return [n for n in self.nodes if n not in nodes]

    def running(self):
        return [n for n in self.nodes if n.is_running() and not n.paused]

    def leader(self, among=None, seconds=15):
        """The node that leads, as it says itself and as most of the others see it."""
        def agreed():
            states = {n: n.status() for n in among or self.running()}
            for node, state in states.items():
                if state["is_leader"]:
                    sees = [s for s in states.values() if (s["leader"] or {}).get("id") == node.id
                            and s["term"] == state["term"]]
                    return node if len(sees) == len(states) else None
            return None
        return wait_until(agreed, seconds, "one leader, known to all that run")

    def settled(self, among=None, seconds=15):
        """All agree on leader, term and membership, and have applied the same entries with the
        same result: the list of their states."""
        nodes = among or self.running()

        def same():
            states = [n.status() for n in nodes]
            facts = {(s["leader"]["id"] if s["leader"] else None, s["term"], s["applied_index"],
                      s["commit_index"], s["digest"]["index"], s["digest"]["value"])
                     for s in states}
            return states if len(facts) == 1 and states[0]["leader"] else None
        states = wait_until(same, seconds, f"{len(nodes)} nodes agree on everything")
        self.has_led = True
        return states

    def linked(self, seconds=10):
        """Wait until every running node has links to all the others that run."""
        nodes = {n.id for n in self.running()}
        wait_until(lambda: all(m["connected"] for i in nodes for m in self[i].status()["members"] if m["id"] in nodes),
                   seconds, "all links are up")

    # ---- What has to hold at the end ----

    def check_text(self, who, text):
        found = REPORTS.search(text)
        if found:
            line = text[text.rfind(b"\n", 0, found.start()) + 1:][:2000]
            self.complaints.append(f"{who}: {line.decode(errors='replace')}")

    def check_client(self, words, done):
        who = f"raftctl {' '.join(map(str, words))[:60]}"
        if done.returncode < 0 or done.returncode > 8:
            self.complaints.append(f"{who} ended with {done.returncode}: {done.stderr[-2000:]!r}")
        self.check_text(who, done.stderr)

    def leaders_by_term(self):
        """Term -> the nodes that wrote into their logs that they lead in it."""
        leaders = {}
        for node in self.nodes:
            for match in LEADER_LINE.finditer(node.log_text()):
                leaders.setdefault(int(match.group(1)), set()).add(node.id)
        return leaders

    def check(self):
        """AssertionError when something went wrong that no test may cause."""
        for node in self.nodes:
            for ended in node.exits:
                if not ended.killed and ended.status not in node.may_exit_with:
                    self.complaints.append(f"n{node.id} ended with {ended.status}")
            if node.log_path.exists():
                self.check_text(f"n{node.id}", node.log_path.read_bytes())
        leaders = self.leaders_by_term()
        if self.has_led and not leaders and "log.format" not in self.options:
            self.complaints.append("no log says who led: LEADER_LINE does not fit the log any more")
        for term, nodes in leaders.items():
            if len(nodes) > 1:
                self.complaints.append(f"term {term} has several leaders: {sorted(nodes)}")
        assert not self.complaints, "\n".join(self.complaints)

    def shut_down(self):
        """End what still runs: by SIGTERM, which has to be clean, what is not paused."""
        for node in self.nodes:
            if node.process and node.is_running():
                if node.paused:
                    node.kill()
                else:
                    node.signal(signal.SIGTERM)
        for node in self.nodes:
            if node.process:
                try:
                    node.wait_exit(15)
                except AssertionError as error:
                    self.complaints.append(f"after SIGTERM: {error}")
                    node.kill()

    def close(self):
        self.shut_down()
        try:
            self.check()
        except AssertionError:
            self.keep = True
            raise
        finally:
            self.remove()

    def remove(self):
        if not self.keep and not os.environ.get("RAFTD_TEST_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def print_logs(self, lines=60, out=sys.stdout):
        print(f"the cluster is in {self.dir}", file=out)
        for node in self.nodes:
            print(f"---- n{node.id}: last {lines} lines of {node.log_path}", file=out)
            print(node.log_tail(lines), file=out)
