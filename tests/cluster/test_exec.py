"""raftctl exec: a command that runs only while this node leads, and never longer."""
import os
import pty
import re
import signal
import socket
import subprocess
import time

import pytest
from exec_jobs import (CLAIM_S, FAILED, LOST, NOT_FOUND, NOT_RUNNABLE, WAITED, Exec, Scanner, comm)
from harness import RAFTCTL, SLOWDOWN, wait_until

SLACK_S = 0.1  # to look

GROUP = ("sh", "-c", "sleep 1d & sleep 1d")
STUBBORN = ("sh", "-c", "trap '' TERM; sleep 1d & sleep 1d")
SCATTERED = ("sh", "-c", "setsid sleep 1d & trap '' TERM; setsid sh -c '(sleep 1d &) ; sleep 1d' & sleep 1d")
EACH = pytest.mark.parametrize("command, count", [(GROUP, 3), (STUBBORN, 3), (SCATTERED, 5)],
                               ids=["group", "stubborn", "scattered"])


@pytest.fixture
def single(make_cluster):
    """One node, whose lease outlasts whatever else the machine may have to do."""
    return make_cluster(1, options={"raft.election_timeout": "5s"}).formed()


def run(node, *command, options=(), **rest):
    with Exec(node, *command, options=options, **rest) as job:
        status = job.wait()
        assert not job.commands()
        return status, job.out, job.err


def gone_in(job, seconds):
    took = job.gone()
    print(f"gone after {1000 * took:.0f} ms")
    assert took < seconds + SLACK_S * SLOWDOWN, f"its processes lived for {took:.3f} s"


# ---- What comes of it ----

@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 3", 3), ("exit 75", 75), ("kill -9 $$", 137),
                                            ("kill -TERM $$", 143)])
def test_the_status_is_the_commands(single, script, status):
    assert run(single[1], "sh", "-c", script) == (status, "", "")


def test_what_cannot_be_run(single):
    node = single[1]
    status, _, err = run(node, "no-such-program")
    assert status == NOT_FOUND and "no-such-program: No such file or directory" in err
    status, _, err = run(node, "/etc/passwd")
    assert status == NOT_RUNNABLE and "Permission denied" in err
    status, out, err = run(node, "/etc/passwd", options=["--json"])
    assert status == NOT_RUNNABLE and '"permission_denied"' in out and not err
    assert run(node)[0] == FAILED
    assert run(node, "true", options=["--grace", "2"])[0] == FAILED
    with node.batch() as batch:
        assert batch.ask("exec true")["error"]["code"] == "invalid"


def test_the_environment(single):
    status = single[1].status()
    code, out, _ = run(single[1], "sh", "-c", "echo $RAFTD_FENCE $RAFTD_TERM $RAFTD_NODE_ID $RAFTD_CLUSTER_ID")
    assert code == 0
    assert out.split() == [str(status["fence"]), str(status["term"]), "1", status["cluster"]["id"]]


def test_words_reach_it_untouched(single):
    words = ["--json", "a b", "", "--", "-q", "$HOME", "*"]
    status, out, _ = run(single[1], "printf", "<%s>\n", *words)
    assert status == 0 and out == "".join(f"<{w}>\n" for w in words)


def test_its_descriptors_and_signals(single):
    """Three descriptors; nothing blocked and nothing ignored that was not before."""
    script = "ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status"
    read, write = os.pipe()
    os.set_inheritable(write, False)
    plain = subprocess.run(["sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, check=True,
                           text=True)
    status, out, _ = run(single[1], "sh", "-c", script)
    assert status == 0 and out == plain.stdout
    os.close(read)
    os.close(write)


def test_input_and_output_pass_through(single):
    with Exec(single[1], "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as job:
        out, _ = job.process.communicate(b"x" * (1 << 20), timeout=20)
        assert out == b"x" * (1 << 20) and job.wait() == 0


def test_who_reads_its_output_sees_the_end(single):
    """No other process of ours holds it open."""
    with Exec(single[1], "sh", "-c", "exec >&-; sleep 1d", stdout=subprocess.PIPE,
              stderr=subprocess.DEVNULL) as job:
        job.running()
        guardian = job.guardian
        wait_until(lambda: {os.readlink(f"/proc/{guardian}/fd/{fd}") for fd in "012"} == {"/dev/null"}, 5,
                   "the guardian has let go of what is the command's")
        with open(f"/proc/{guardian}/cmdline", encoding="utf-8") as file:
            assert file.read().rstrip("\0") == "exec-guard"


# ---- Waiting ----

def test_only_the_leader_runs_it(trio):
    leader = trio.leader()
    jobs = {node.id: Exec(node, *GROUP) for node in trio}
    try:
        assert {c.node for c in jobs[leader.id].running(3)} == {leader.id}
        for node in trio.others(leader):
            jobs[node.id].said("waiting until this node leads: this node is follower")
            assert not jobs[node.id].commands()
    finally:
        for job in jobs.values():
            job.__exit__()


def test_waits_for_a_time(trio):
    follower = trio.others(trio.leader())[0]
    began = time.monotonic()
    status, out, err = run(follower, "true", options=["--wait-timeout", "300ms"])
    assert status == WAITED and not out
    assert 0.3 <= time.monotonic() - began < 0.3 + 2 * SLOWDOWN
    assert re.search(r"does not lead after \d+ ms: this node is follower in term \d+, node \d leads", err)
    status, out, err = run(follower, "true", options=["--wait-timeout", "100ms", "--json", "-q"])
    assert status == WAITED and '"code":"timeout"' in out and not err


def test_waits_for_raftd(make_cluster):
    cluster = make_cluster(1)
    node = cluster[1]
    status, _, err = run(node, "true", options=["--wait-timeout", "300ms"])
    assert status == WAITED and err.count("waiting for raftd") == 1 and "the socket does not exist" in err
    with Exec(node, "sh", "-c", "echo ran") as job:
        job.said("waiting for raftd")
        node.start()
        assert job.wait() == 0 and job.out == "ran\n"
        assert job.err.count("waiting for raftd") == 1
        assert re.search(r"this node leads with fence \d+: running sh", job.err)


def test_waits_over_a_restart(trio):
    follower = trio.others(trio.leader())[0]
    with Exec(follower, *GROUP) as job:
        job.said("waiting until")
        follower.kill()
        job.said("waiting for raftd")
        follower.start()
        for node in trio.others(follower):
            node.kill()
            node.start()
        trio.settled()
        follower.ok("transfer", follower.id)
        job.running(3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait(trio, number):
    follower = trio.others(trio.leader())[0]
    with Exec(follower, *GROUP) as job:
        job.said("waiting until")
        job.signal(number)
        assert job.wait() == -number


def test_what_waiting_does_not_help(single, tmp_path):
    node = single[1]

    class Elsewhere:
        cluster, dir = single, node.dir

        def __init__(self, sock):
            self.sock = sock

    status, _, err = run(Elsewhere("/tmp/" + "x" * 200), "true")
    assert status == FAILED and "the limit is 107" in err and "Usage" not in err
    if os.geteuid() == 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(closed / "s"))
            status, _, err = run(Elsewhere(closed / "s"), "true",
                                 prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert status == FAILED and "permission_denied" in err


# ---- The end of leadership ----

def test_a_hand_over(trio):
    """The next one starts on the next leader; the first says why it ended, and how fast."""
    leader = trio.leader()
    jobs = {node.id: Exec(node, *GROUP) for node in trio}
    try:
        before = jobs[leader.id].running(3)
        began = time.monotonic()
        done = trio[1].ok("step-down")
        jobs[leader.id].gone()
        ended = time.monotonic()
        after = jobs[done["to"]].running(3)
        print(f"step-down to the old one's end {1000 * (ended - began):.0f} ms, from there to the new one's "
              f"start {1000 * (time.monotonic() - ended):.0f} ms")
        assert after[0].fence > before[0].fence
        assert jobs[leader.id].wait() == LOST
        assert re.search(rf"raftctl: exec: not_leader: leadership with fence {before[0].fence} is lost: .*\. "
                         r"sh was stopped within \d+ ms\n$", jobs[leader.id].err)
    finally:
        for job in jobs.values():
            job.__exit__()


def test_it_may_stop_in_order(trio):
    """SIGTERM first; its own code does not matter then."""
    leader = trio.leader()
    with Exec(leader, "sh", "-c", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done") as job:
        job.running()
        trio[1].ok("step-down")
        assert job.wait() == LOST and job.out == "bye\n"


def test_the_grace_is_short_where_the_lease_allows_more(make_cluster):
    cluster = make_cluster(3, options={"raft.election_timeout": "10s"}).formed()
    leader = cluster.leader()
    with Exec(leader, *STUBBORN, options=["--grace", "100ms"]) as job:
        job.running(3)
        leader.ok("step-down")
        gone_in(job, 0.1)
        assert job.wait() == LOST and "sh was killed within" in job.err


@EACH
def test_raftd_is_killed(trio, command, count):
    leader = trio.leader()
    with Exec(leader, *command) as job:
        job.running(count)
        leader.kill()
        gone_in(job, CLAIM_S)
        assert job.wait() == LOST and "closed the connection" in job.err


@EACH
def test_raftd_is_silent(trio, command, count):
    leader = trio.leader()
    with Exec(leader, *command) as job:
        job.running(count)
        leader.pause()
        gone_in(job, CLAIM_S)
        assert job.wait() == LOST and "raftd has not answered for" in job.err


def test_raftd_is_stopped(trio):
    leader = trio.leader()
    with Exec(leader, *GROUP) as job:
        job.running(3)
        leader.stop()
        assert job.wait() == LOST


def test_the_others_are_silent(trio):
    leader = trio.leader()
    with Exec(leader, *STUBBORN) as job:
        job.running(3)
        for node in trio.others(leader):
            node.pause()
        gone_in(job, CLAIM_S)
        assert job.wait() == LOST and "was not renewed in time" in job.err


# ---- raftctl and its guardian ----

@EACH
def test_raftctl_is_killed(single, command, count):
    with Exec(single[1], *command) as job:
        job.running(count)
        job.signal(signal.SIGKILL)
        gone_in(job, 0)


@EACH
def test_raftctl_is_stopped(trio, command, count):
    with Exec(trio.leader(), *command) as job:
        job.running(count)
        job.signal(signal.SIGSTOP)
        gone_in(job, CLAIM_S)
        job.signal(signal.SIGCONT)
        assert job.wait() == LOST


@EACH
def test_the_guardian_is_killed(single, command, count):
    with Exec(single[1], *command) as job:
        job.running(count)
        os.kill(job.guardian, signal.SIGKILL)
        gone_in(job, 0)
        assert job.wait() == FAILED and "guardian of sh was killed" in job.err


@EACH
def test_the_guardian_is_stopped(trio, command, count):
    """raftctl does its work then."""
    leader = trio.leader()
    with Exec(leader, *command) as job:
        job.running(count)
        os.kill(job.guardian, signal.SIGSTOP)
        leader.kill()
        gone_in(job, CLAIM_S)
        assert job.wait() == LOST and "sh was killed" in job.err


def test_a_stopped_guardian_hears_of_raftctls_end(single):
    with Exec(single[1], *SCATTERED) as job:
        job.running(5)
        os.kill(job.guardian, signal.SIGSTOP)
        job.signal(signal.SIGKILL)
        job.gone(2)


def test_earlier_children_are_spared(single):
    """A script may have others in the background when it becomes raftctl."""
    script = 'sleep 86399 & echo $!; exec "$@"'
    with Exec(single[1], *GROUP, prefix=["sh", "-c", script, "sh"]) as job:
        job.running(3)
        other = int(job.out)
        os.kill(job.guardian, signal.SIGKILL)
        assert job.wait() == FAILED and not job.commands()
        assert comm(other) == "sleep"
        os.kill(other, signal.SIGKILL)


# ---- Signals ----

@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "CONT", "WINCH"])
def test_signals_are_passed_on(single, name):
    script = f"trap 'echo {name}; exit 6' {name}; echo ready; while :; do sleep 0.01; done"
    with Exec(single[1], "sh", "-c", script) as job:
        wait_until(lambda: "ready" in job.out, 10, "the command is ready")
        job.signal(getattr(signal, f"SIG{name}"))
        assert job.wait() == 6 and job.out == f"ready\n{name}\n" and "raftctl" not in job.err


def test_the_whole_group_hears_them(single):
    with Exec(single[1], *GROUP) as job:
        job.running(3)
        job.signal(signal.SIGTERM)
        assert job.wait() == 128 + signal.SIGTERM


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_it_is_stopped_and_goes_on(single):
    with Exec(single[1], *GROUP) as job:
        pids = [c.pid for c in job.running(3)]
        job.signal(signal.SIGTSTP)
        wait_until(lambda: all(state(pid) == "T" for pid in pids), 5, "all are stopped")
        time.sleep(1)  # raftctl goes on meanwhile
        assert job.process.poll() is None
        job.signal(signal.SIGCONT)
        wait_until(lambda: all(state(pid) == "S" for pid in pids), 5, "all go on")
        job.signal(signal.SIGTSTP)
        wait_until(lambda: all(state(pid) == "T" for pid in pids), 5, "all are stopped again")
        job.signal(signal.SIGTERM)
        assert job.wait() == 128 + signal.SIGTERM


def test_what_is_ignored_stays_ignored(single):
    with Exec(single[1], "sh", "-c", "echo ready; sleep 1d", prefix=["nohup"]) as job:
        job.running(2)
        job.signal(signal.SIGHUP)
        job.signal(signal.SIGTERM)
        assert job.wait() == 128 + signal.SIGTERM


# ---- What it leaves behind ----

@pytest.mark.parametrize("script", [
    "sleep 1d & exit 4", "setsid sleep 1d & exit 4", "trap '' TERM; sleep 1d & exit 4",
    "(setsid sh -c 'trap \"\" TERM; sleep 1d & sleep 1d' &) ; exit 4"])
def test_leftovers_are_ended(single, script):
    status, _, err = run(single[1], "sh", "-c", script, options=["--grace", "100ms"])
    assert status == 4 and not err


def test_leftovers_may_take_their_grace_while_it_leads(single):
    """Longer than a claim lasts: it is renewed until they are gone."""
    script = "(trap 'sleep 1; echo saved; exit' TERM; echo r; while :; do sleep 0.01; done) & read _; exit 4"
    with Exec(single[1], "sh", "-c", script, stdin=subprocess.PIPE, options=["--grace", "20s"]) as job:
        wait_until(lambda: job.out == "r\n", 10, "it is ready")
        job.process.stdin.close()
        assert job.wait() == 4 and job.out == "r\nsaved\n"


# ---- On a terminal ----

class Terminal:
    """A session of its own on a terminal, in which a shell runs raftctl exec."""

    def __init__(self, node, script):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execv("/bin/bash", ["bash", "-c", f'"{RAFTCTL}" -s "{node.sock}" exec -- {script}; '
                                   'echo "status $?"; read line; echo "and $line"'])
        self.pid = pid
        self.seen = ""
        os.set_blocking(self.fd, False)

    def shows(self, words):
        def look():
            try:
                self.seen += os.read(self.fd, 65536).decode()
            except (BlockingIOError, OSError):
                pass
            return words in self.seen
        wait_until(look, 10, f"the terminal shows {words!r}; it shows {self.seen!r}")

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def test_it_gets_the_terminal_and_gives_it_back(single):
    terminal = Terminal(single[1], "sh -c 'read line; echo \"got $line\"; read line'")
    terminal.type("hello\n")
    terminal.shows("got hello")
    terminal.type("\x1a")  # ^Z: it cannot be stopped
    terminal.shows("cannot be stopped from the terminal")
    terminal.type("\x03")
    terminal.shows("status 130")
    terminal.type("good bye\n")
    terminal.shows("and good bye")
    terminal.end()


def test_nothing_is_left_of_this_file():
    commands, others = Scanner(Exec.marks).scan()
    assert not commands and not others
