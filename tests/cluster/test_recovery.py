"""raftctl check, recover and reset, offline; and the commands of docs/recovery.md as they stand there."""
import os
import re
import shutil
import subprocess

import pytest

from harness import EXIT_CONFIG, EXIT_DATA, RAFTCTL, ROOT, wait_until
from test_backup import data_of, leads, restored
from test_disk import strace_works

TERMS = 1_000_000
MAKE_ANEW = "make this node anew: raftctl remove-server, reset --force, add-server; see raftd-recovery(7)"
SMALL_LOG = {"storage.log_keep_entries": 5, "storage.log_keep_bytes": "4K"}

needs_strace = pytest.mark.skipif(not strace_works(), reason="strace cannot trace here (ptrace)")


def check(node, data_dir=None):
    return node.ok("check", "--data-dir", data_dir or node.data)


def newest(nodes):
    found = {n: check(n) for n in nodes}
    return max(nodes, key=lambda n: (found[n]["last_term"], found[n]["last_index"])), found


def recover(node, *ids, force=True):
    words = ["recover", "--data-dir", node.data, "--members", ",".join(str(i) for i in ids)]
    return node.ctl(*words, *(["--force"] if force else []))


def reset(node, *words):
    return node.ctl("reset", "--data-dir", node.data, *words)


def write(node, count, prefix):
    """Acknowledged writes: key -> value."""
    done = {}
    with node.batch() as batch:
        for i in range(count):
            assert "revision" in batch.ask(f"put {prefix}/{i} {i}")
            done[f"{prefix}/{i}"] = str(i)
    return done


def snapshot(directory):
    """Everything that a file system tells of a directory but the times of reading."""
    return {p.relative_to(directory): (p.lstat().st_mtime_ns, p.lstat().st_size, p.lstat().st_mode)
            for p in directory.rglob("*")}


# ---- check ----

@pytest.mark.parametrize("options", [{}, SMALL_LOG])
def test_check_knows_the_newest_and_changes_nothing(make_cluster, options):
    cluster = make_cluster(3, options=options).formed()
    leader = cluster.leader()
    write(leader, 300, "a")
    cluster.settled()
    behind, other = cluster.others(leader)
    behind.kill()
    write(leader, 200, "b")
    for node in (leader, other):
        node.stop()
    before = {n: snapshot(n.data) for n in cluster}
    best, found = newest([leader, other, behind])
    assert best is not behind and found[best]["last_index"] > found[behind]["last_index"]
    assert before == {n: snapshot(n.data) for n in cluster}
    for node in cluster:
        f = found[node]
        assert f["ok"] and f["role"] == "voter" and f["removed"] is False
        assert [(m["id"], m["role"], m["address"]) for m in f["members"]] == \
            [(n.id, "voter", n.address) for n in cluster]
        assert f["base_index"] + 1 == f["first_index"] <= f["last_index"]
        assert f["base_index"] <= f["applied_index"] <= f["last_index"]
    assert (found[best]["base_index"] > 0) == bool(options)
    text = best.run("check", "--data-dir", best.data, text=True).stdout
    assert text.startswith("sound\n") and f"state     as of entry {found[best]['applied_index']}" in text
    assert f"voter {best.address} (this node)" in text
    assert text.endswith("the higher last_term, then the higher last_index.\n")
    best.start()
    other = next(n for n in cluster.others(best) if n is not behind)
    other.start()
    cluster.settled([best, other])
    assert best.status()["applied_index"] >= found[best]["applied_index"]


def damage(file, needle):
    data = bytearray(file.read_bytes())
    places = [m.start() for m in re.finditer(re.escape(needle), data)]
    assert places, f"{needle} stands in {file}"
    for at in places:
        data[at] ^= 1
    file.write_bytes(data)


def blank(file):
    """Its pages are there, and nothing says how they belong together."""
    file.write_bytes(b"\0" * 8192 + file.read_bytes()[8192:])


def test_check_reads_the_state(make_cluster):
    cluster = make_cluster(1, options=SMALL_LOG).formed()
    node = cluster[1]
    node.ok("put", "k", "a-value-to-be-found")
    write(node, 500, "a")
    wait_until(lambda: node.status()["first_index"] > 10, 20, "the log was trimmed")
    node.stop()
    whole = node.dir / "whole"
    shutil.copytree(node.data, whole)
    damage(node.data / "state" / "data.mdb", b"a-value-to-be-found")
    answer = node.ctl("check", "--data-dir", node.data)
    assert answer.code == 1 and answer.obj["ok"] is False
    assert "the state's rows are damaged" in answer.obj["problem"]
    assert f"the log does not hold all entries: {MAKE_ANEW}" in answer.obj["problem"]
    refused = recover(node, 1)
    assert refused.code == 1 and "the state on disk is damaged" in refused.message
    assert check(node, whole)["ok"] is True
    # A state that is not of this log.
    shutil.rmtree(node.data / "state")
    shutil.copytree(whole / "state", node.data / "state")
    assert check(node)["ok"] is True


def test_a_state_that_can_be_made_anew_is_no_loss(single):
    node = single[1]
    done = write(node, 50, "a")
    node.ok("put", "k", "a-value-to-be-found")
    node.stop()
    damage(node.data / "state" / "data.mdb", b"a-value-to-be-found")
    answer = node.ctl("check", "--data-dir", node.data)
    assert answer.code == 1 and "raftd makes the state anew" in answer.obj["problem"]
    assert recover(node, 1).code == 0
    node.start()
    leads(node)
    assert data_of(node) == {**done, "k": "a-value-to-be-found"}


# ---- recover ----

@pytest.mark.parametrize("options", [{}, SMALL_LOG])
def test_one_survivor_of_three(make_cluster, options):
    cluster = make_cluster(3, options=options).formed()
    leader = cluster.leader()
    done = write(leader, 200, "a")
    states = cluster.settled()
    for node in cluster:
        node.kill()
    survivor, lost, also = cluster.others(leader)[0], leader, cluster.others(leader)[1]
    before = check(survivor)
    would = recover(survivor, survivor.id, force=False)
    assert would.code == 6 and would.error == "would_lose_quorum"
    assert "must never run on its old data again" in would.message and lost.address in would.message
    assert check(survivor) == before, "it said what it would do, and did nothing"
    words = survivor.run("recover", "--data-dir", survivor.data, "--members", survivor.id, text=True)
    assert words.returncode == 6 and words.stdout == ""
    assert f"up to entry {before['last_index']} of term {before['last_term']}" in words.stderr
    assert f"the voters, and all members: {survivor.id} ({survivor.address})" in words.stderr
    answer = recover(survivor, survivor.id)
    assert answer.obj == {"term": before["term"] + TERMS, "members": [survivor.id],
                          "index": before["last_index"] + 1}
    after = check(survivor)
    assert after["last_index"] == before["last_index"] + 1 and after["last_term"] == answer.obj["term"]
    assert [m["id"] for m in after["members"]] == [survivor.id]
    survivor.start()
    status = leads(survivor)
    assert status["fence"] > states[0]["term"] + TERMS
    assert data_of(survivor) == done and survivor.ok("put", "after", "1")["revision"] > len(done)
    # Who is removed and comes back all the same is told so.
    lost.start()
    gone = wait_until(lambda: (s := lost.status())["state"] == "removed" and s, 15,
                      "it knows that it was removed")
    assert gone["role"] is None and lost.ctl("bootstrap").error == "removed"
    assert leads(survivor)["term"] == status["term"]
    lost.stop()
    # The others come as new ones.
    assert reset(lost).code == 6, "its own log does not say so"
    assert reset(lost, "--force").code == 0
    shutil.rmtree(also.data)
    for node in (lost, also):
        node.options["cluster.member"] = []
        node.start()
        assert survivor.ok("add-server", node.id, node.address, timeout="30s")["role"] == "voter"
    cluster.agree_on({1: "voter", 2: "voter", 3: "voter"})
    for node in cluster:
        assert data_of(node) == {**done, "after": "1"}
    cluster.leader().stop()  # and it is a cluster like any other
    cluster.settled(cluster.running())


def test_two_survivors_of_five(make_cluster):
    cluster = make_cluster(5, options=SMALL_LOG).formed()
    leader = cluster.leader()
    done = write(leader, 100, "a")
    cluster.settled()
    one, two, *lost = cluster.others(leader)
    lost.append(leader)
    two.kill()  # it has less
    done |= write(leader, 100, "b")
    cluster.settled(cluster.others(two))
    for node in cluster.running():
        node.kill()
    assert newest([one, two])[0] is one
    assert recover(one, one.id, two.id).obj["members"] == sorted([one.id, two.id])
    one.start()
    assert one.ctl("list", timeout="1s").code in (4, 5), "two voters: one is no majority"
    two.start()
    cluster.leader([one, two])
    for node in (one, two):
        assert data_of(node) == done
    for node in lost:
        assert reset(node, "--force").code == 0
        node.options["cluster.member"] = []
        node.start()
        assert two.ok("add-server", node.id, node.address, timeout="30s")["role"] == "voter"
    cluster.agree_on({n.id: "voter" for n in cluster})
    assert data_of(lost[0]) == done


def test_recover_refuses_what_makes_no_sense(trio):
    node = trio[1]
    node.ok("put", "k", "v")
    in_use = recover(node, 1)
    assert in_use.code == 1 and "another process holds the data directory" in in_use.message
    trio[1].ok("remove-server", 3)
    wait_until(lambda: trio[3].status()["state"] == "removed", 15, "node 3 knows that it was removed")
    trio[3].stop()  # what it knows is on its disk then
    trio[1].kill()
    trio[2].kill()
    before = check(node)
    refusals = [((1, 9), 7, "node 9 is no member; the members are 1"), ((2,), 1, "has to name node 1, too"),
                ((1, 3), 7, "node 3 is no member"), ((1, 1), 2, "node 1 stands there twice"),
                ((0,), 2, "'0' is not the id of a node"), (("",), 2, "the value is empty"),
                (("1,",), 2, "'' is not the id"), (tuple(range(1, 11)), 2, "9 voters are the most")]
    for ids, code, words in refusals:
        answer = recover(node, *ids)
        assert answer.code == code and words in answer.message, answer
    nobody = recover(node, 1, 2, force=False)
    assert nobody.code == 6 and "Nobody is removed by it" in nobody.message
    removed = recover(trio[3], 3)
    assert removed.code == 1 and removed.error == "removed" and "was removed" in removed.message
    assert check(node) == before
    nothing = node.ctl("recover", "--data-dir", trio.dir / "none", "--members", "1", "--force")
    assert nothing.code == 1 and "there is no raftd store here" in nothing.message
    assert not (trio.dir / "none").exists()
    assert reset(trio[3]).code == 0
    unconfigured = recover(trio[3], 3)
    assert unconfigured.code == 1 and unconfigured.error == "unconfigured"


# ---- reset ----

def test_reset_needs_force_unless_removed(trio):
    leader = trio.leader()
    leader.ok("put", "k", "v")
    gone, kept = trio.others(leader)
    in_use = reset(gone, "--force")
    assert in_use.code == 1 and "another process holds the data directory" in in_use.message
    gone.stop()
    before = snapshot(gone.data)
    answer = reset(gone)
    assert answer.code == 6 and answer.error == "would_lose_quorum"
    assert f"raftctl remove-server {gone.id}" in answer.message
    assert "if that was done while it was away, or cannot be, repeat it with --force" in answer.message
    assert snapshot(gone.data) == before
    store = check(gone)["store_id"]
    gone.start()
    leader.ok("remove-server", gone.id)
    wait_until(lambda: gone.status()["state"] == "removed", 15, "it knows that it was removed")
    gone.stop()
    assert check(gone)["removed"] is True and check(gone)["role"] is None
    assert reset(gone).obj == {}
    fresh = check(gone)
    assert fresh["node_id"] == gone.id and fresh["store_id"] != store
    assert "promises  term 0, no vote in it\n" in gone.run("check", "--data-dir", gone.data, text=True).stdout
    assert fresh["term"] == 0 and fresh["last_index"] == 0 and fresh["cluster_id"] is None
    assert reset(gone).code == 0, "there is nothing to lose"
    gone.options["cluster.member"] = []
    gone.start()
    assert leader.ok("add-server", gone.id, gone.address, timeout="30s")["role"] == "voter"
    kept.stop()
    assert reset(kept, "--force").obj == {}
    nothing = leader.ctl("reset", "--data-dir", trio.dir / "none", "--force")
    assert nothing.code == 1 and not (trio.dir / "none").exists()
    nothing = leader.ctl("reset", "--data-dir", gone.dir, "--force")
    assert nothing.code == 1 and "there is no raftd store here" in nothing.message
    assert gone.conf.exists()


def forgotten_by_force(node):
    answer = reset(node)
    assert answer.code == 6 and answer.error == "would_lose_quorum", answer
    assert "repeat it with --force" in answer.message
    assert reset(node, "--force").code == 0
    assert check(node)["last_index"] == 0
    return answer


def test_what_cannot_be_read_can_still_be_reset(single):
    node = single[1]
    write(node, 20, "a")
    node.stop()
    damage(node.data / "log" / "data.mdb", b"a/7")
    mark = node.log_mark()
    node.start(wait=False)
    assert not node.wait_ready_or_ended() or "a log entry cannot be trusted" in node.logged_since(mark)
    if node.is_running():
        node.stop()
        damage(node.data / "log" / "data.mdb", b"a/8")
    else:
        node.wait_exit(expect=EXIT_DATA)
    forgotten_by_force(node)
    blank(node.data / "log" / "data.mdb")
    answer = forgotten_by_force(node)
    assert "the data is damaged" in answer.message, "not even whose it is can be read"


# ---- Killed in the middle ----

CALLS = "mkdirat,symlinkat,unlinkat,fsync,fdatasync,pwrite64,pwritev,rename"


def killed_at(number, *words):
    """Run raftctl, SIGKILL where it changes something for the `number`-th time: was it killed?"""
    done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e",
                           f"inject={CALLS}:signal=KILL:when={number}", RAFTCTL, *map(str, words)],
                          check=False, capture_output=True, timeout=120,
                          env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    return done.returncode != 0


def each_kill(words, prepare, judge):
    """From a fresh copy each time: killed at its first call, its second, ... until it is not met any more."""
    for number in range(1, 200):
        prepare()
        if not killed_at(number, *words):
            assert number > 5, "it changes something"
            return
        judge(number)
    raise AssertionError("it never ends")


def again(source, target):
    shutil.rmtree(target, ignore_errors=True)
    if source:
        shutil.copytree(source, target, symlinks=True)


def refuses_to_start(node):
    """raftd says that the directory is not finished; or it starts."""
    mark = node.log_mark()
    node.start(wait=False)
    if node.wait_ready_or_ended():
        return False
    node.wait_exit(expect=EXIT_CONFIG)
    assert "is not finished" in node.logged_since(mark)
    return True


@needs_strace
def test_a_reset_killed_anywhere_is_finished_by_the_next(single):
    node = single[1]
    write(node, 20, "a")
    node.stop()
    kept = node.dir / "kept"
    shutil.copytree(node.data, kept)
    stages = set()

    def judge(number):
        answer = node.ctl("check", "--data-dir", node.data)
        unfinished = (node.data / "UNFINISHED").is_symlink()
        stages.add(unfinished)
        if unfinished:
            assert answer.code == 1 and "unfinished reset" in answer.message, (number, answer)
            assert number % 5 or refuses_to_start(node)
        finished = reset(node) if unfinished else reset(node, "--force")
        assert finished.code == 0, (number, finished)
        fresh = check(node)
        assert fresh["node_id"] == 1 and fresh["last_index"] == 0 and fresh["term"] == 0
        assert sorted(os.listdir(node.data)) == ["LOCK", "log", "state"]

    each_kill(["reset", "--data-dir", node.data, "--force"], lambda: again(kept, node.data), judge)
    assert stages == {True, False}


@needs_strace
def test_a_restore_killed_anywhere_is_finished_by_the_next(single):
    node = single[1]
    done = write(node, 20, "a")
    file = single.dir / "backup"
    node.ok("backup", file)
    node.stop()
    words = ["restore", file, "--data-dir", node.data]

    def judge(number):
        answer = node.ctl("check", "--data-dir", node.data)
        assert answer.code == 1 or answer.obj["applied_index"] > 20, (number, answer)
        if (node.data / "UNFINISHED").is_symlink():
            assert "unfinished restore" in answer.message
            assert number % 5 or refuses_to_start(node)
        finished = node.ctl(*words)
        assert finished.code == 0 or (answer.code == 0 and finished.error == "not_empty"), (number, finished)
        assert check(node)["revision"] > 1_000_000_000
        assert not (node.data / "UNFINISHED").is_symlink()

    each_kill(words, lambda: again(None, node.data), judge)
    node.start()
    leads(node)
    assert data_of(node) == done


@needs_strace
def test_a_recover_killed_anywhere_happened_or_did_not(trio):
    node = trio.others(trio.leader())[0]
    done = write(node, 20, "a")
    trio.settled()
    for each in trio:
        each.kill()
    before = check(node)
    kept = node.dir / "kept"
    shutil.copytree(node.data, kept)
    words = ["recover", "--data-dir", node.data, "--members", node.id, "--force"]
    number = 0
    while True:
        number += 1
        again(kept, node.data)
        killed = killed_at(number, *words)
        found = check(node)
        if found["last_index"] == before["last_index"]:
            assert killed and found == before
        else:
            assert found["last_term"] == found["term"] == before["term"] + TERMS
            assert [m["id"] for m in found["members"]] == [node.id]
        if not killed:
            break
        assert recover(node, node.id).code == 0
    assert number > 2
    node.start()
    leads(node)
    assert data_of(node) == done


# ---- docs/recovery.md ----

class Page:
    """The fenced blocks of a section, each on the nodes that its first line names, run as they stand: but with
    the nodes' own directories and addresses, and raftd itself instead of systemctl."""

    def __init__(self, cluster, title):
        text = (ROOT / "docs" / "recovery.md").read_text()
        section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
        assert section, f"there is a section {title}"
        self.cluster = cluster
        self.blocks = []
        for block in re.findall(r"^```sh\n(.*?)^```", section.group(1), re.S | re.M):
            first, *commands = block.splitlines()
            assert first.startswith("# on node"), first
            self.blocks.append(([int(i) for i in re.findall(r"\d+", first)], commands))
        assert self.blocks

    def words(self, node, command):
        command = command.replace("/var/lib/raftd", str(node.data))
        command = command.replace("/var/backups", str(self.cluster.dir))
        command = command.replace("-o raftd -g raftd", f"-o {os.geteuid()} -g {os.getegid()}")
        return re.sub(r"10\.0\.0\.(\d):7400", lambda m: self.cluster[int(m.group(1))].address, command)

    def run_command(self, node, command):
        if command == "systemctl stop raftd":
            if node.is_running():
                node.stop(seconds=20)
            return
        if command == "systemctl start raftd":
            node.start()
            return
        command = self.words(node, command).replace("raftctl ", f"{RAFTCTL} ", 1)
        done = subprocess.run(["bash", "-c", command], env={**os.environ, "RAFTCTL_SOCKET": str(node.sock)},
                              check=False, capture_output=True, text=True, timeout=300)
        unforced = " recover " in command and "--force" not in command
        assert done.returncode == (6 if unforced else 0), f"{command}: {done.stdout}{done.stderr}"

    def run(self, blocks=None):
        for nodes, commands in self.blocks[blocks or slice(None)]:
            for number in nodes:
                for command in commands:
                    self.run_command(self.cluster[number], command)


def test_page_quorum_lost(make_cluster):
    cluster = make_cluster(5).formed()
    done = write(cluster[1], 50, "a")
    cluster.settled()
    for number in (3, 4, 5):
        cluster[number].kill()
    Page(cluster, "Quorum lost for good").run()
    cluster.agree_on({i: "voter" for i in range(1, 6)})
    assert data_of(cluster[4]) == done


def test_page_restore(trio):
    done = write(trio[1], 50, "a")
    trio.settled()
    page = Page(trio, "Restore from a backup")
    page.run(slice(0, 1))
    trio[1].ok("put", "later", "lost")
    page.run(slice(1, None))
    trio.agree_on({1: "voter", 2: "voter", 3: "voter"})
    assert data_of(trio[3]) == done and trio[3].status()["revision"] > 1_000_000_000


def test_page_full_disk(trio):
    Page(trio, "A full disk").run()


def test_page_damaged_disk(trio):
    done = write(trio[1], 50, "a")
    trio.settled()
    trio[3].stop()
    blank(trio[3].data / "log" / "data.mdb")
    mark = trio[3].log_mark()
    trio[3].start(wait=False)
    assert not trio[3].wait_ready_or_ended()
    trio[3].may_exit_with.add(trio[3].wait_exit(expect=EXIT_DATA))
    answer = trio[3].ctl("check", "--data-dir", trio[3].data)
    assert answer.code == 1
    for said in (trio[3].logged_since(mark), answer.obj["problem"]):
        assert MAKE_ANEW in said, "what raftd and check advise is what the page does"
    Page(trio, "A damaged disk").run()
    trio.agree_on({1: "voter", 2: "voter", 3: "voter"})
    assert data_of(trio[3]) == done


def test_the_page_names_what_exists():
    """Each raftctl command on the page is one of raftctl's."""
    text = (ROOT / "docs" / "recovery.md").read_text()
    known = subprocess.run([RAFTCTL, "help"], capture_output=True, text=True, check=True).stdout
    for name in set(re.findall(r"raftctl ([a-z][a-z-]+)", text)):
        assert re.search(rf"^  {name}\b", known, re.M), name
