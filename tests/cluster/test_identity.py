"""Whose data is it, and is it whole: the refusals at the start, and of strangers."""
import random
import re
import shutil
import signal

import pytest

from harness import EXIT_CONFIG, EXIT_DATA, wait_until

EXIT_IO = 81


def log_bytes(node):
    return bytearray((node.data / "log/data.mdb").read_bytes())


def start_and_wait_exit(node, expect):
    node.start(wait=False)
    return node.wait_exit(15, expect=expect)


def test_second_raftd_on_a_directory_harms_nothing(trio):
    node = trio[2]
    node.ok("put", "k", "v")
    other = trio.__class__(1, name="second")
    try:
        second = other[1]
        second.options = {"node.id": 2, "node.data_dir": node.data, "cluster.member": []}
        start_and_wait_exit(second, EXIT_CONFIG)
        text = second.log_text()
        assert str(node.data) in text and f"pid={node.process.pid}" in text
        assert "stop it first" in text, "it says what to do"
    finally:
        other.close()
    assert node.ok("get", "k")["value"] == "v"
    assert node.ok("put", "k", "w")
    trio.settled()


def test_second_raftd_on_a_socket_is_refused(single):
    other = single.__class__(1, name="socket")
    try:
        second = other[1]
        second.options = {"admin.socket": single[1].sock}
        start_and_wait_exit(second, EXIT_CONFIG)
        assert str(single[1].sock) in second.log_text()
    finally:
        other.close()
    assert single[1].ok("put", "k", "v")


def test_second_raftd_on_a_port_is_refused(single):
    other = single.__class__(1, name="port")
    try:
        second = other[1]
        second.options = {"node.listen": single[1].address, "cluster.member": []}
        start_and_wait_exit(second, EXIT_CONFIG)
        host, port = single[1].address.split(":")
        line = next(x for x in second.log_text().splitlines() if " error " in x)
        assert host in line and port in line and "in use" in line
    finally:
        other.close()


def test_wrong_node_id_on_a_directory(single):
    node = single[1]
    node.ok("put", "k", "v")
    node.stop()
    node.options = {"node.id": 7, "cluster.member": [f"7@{node.address}"]}
    start_and_wait_exit(node, EXIT_CONFIG)
    text = node.log_text()
    assert "belongs to another node" in text and "directory_id=1" in text and "config_id=7" in text
    node.options = {}
    node.start()
    single.settled()
    assert node.ok("get", "k")["value"] == "v", "the refusal changed nothing"


def test_directory_of_something_else(make_cluster):
    node = make_cluster(1)[1]
    node.data.mkdir()
    (node.data / "letter.txt").write_text("not yours")
    start_and_wait_exit(node, EXIT_CONFIG)
    assert "letter.txt" in node.log_text() and str(node.data) in node.log_text()
    assert [p.name for p in node.data.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("make", ["file", "missing_parent", "unwritable"])
def test_directory_that_cannot_be_used(make_cluster, make):
    node = make_cluster(1)[1]
    if make == "file":
        node.data.write_text("")
    elif make == "missing_parent":
        node.options["node.data_dir"] = node.data / "a/b"
    else:
        node.options["node.data_dir"] = "/proc/raftd"
    node.start(wait=False)
    status = node.wait_exit(15)
    assert status in (EXIT_CONFIG, EXIT_IO), status
    node.may_exit_with.add(status)
    assert "data directory" in node.log_text()


def test_a_wiped_node_without_a_member_list_is_not_told_to_bootstrap(trio):
    """Nobody listed: it dials nobody and refuses those who know it. Its operator must not be sent to fork the cluster."""
    leader = trio.leader()
    victim = trio.others(leader)[0]
    victim.kill()
    shutil.rmtree(victim.data)
    victim.extra = [*victim.extra, "-o", "cluster.member="]
    victim.start()
    reason = wait_until(lambda: "remove the node and add it again" in (victim.status()["reason"] or "") and
                        victim.status()["reason"], 10, "status says what to do")
    assert "bootstrap" not in reason, reason
    assert victim.status()["state"] == "unconfigured"


def test_a_node_that_lost_its_directory_does_not_vote_under_its_old_id(trio):
    """M8: wiped under the old id: refused by name, told what to do; its promises are gone."""
    leader = trio.leader()
    victim, other = trio.others(leader)
    leader.ok("put", "k", "v")
    old = victim.status()["node"]["store_id"]
    victim.kill()
    shutil.rmtree(victim.data)
    mark = leader.log_mark()
    victim.start()
    wait_until(lambda: "data directory was replaced" in leader.logged_since(mark), 10,
               "the leader names the replaced directory")
    line = next(x for x in leader.logged_since(mark).splitlines() if "was replaced" in x)
    new = victim.status()["node"]["store_id"]
    assert f"node {victim.id}" in line and old in line and new in line
    assert "remove-server it and add-server it again" in line, "it says what to do"
    wait_until(lambda: "remove-server it and add-server it again" in victim.log_text() or
               "remove the node and add it again" in victim.log_text(), 10, "the node itself says so")
    member = wait_until(lambda: next((m for m in leader.status()["members"] if m["id"] == victim.id and
                                      old in (m["trouble"] or "") and new in m["trouble"]), None), 10,
                        "status of the leader names both stores")
    assert not member["connected"]
    state = victim.status()
    assert state["state"] not in ("follower", "candidate", "leader") and state["last_index"] == 0
    assert state["term"] == 0
    wait_until(lambda: "remove-server it and add-server it again" in (victim.status()["reason"] or "") or
               "remove the node and add it again" in (victim.status()["reason"] or ""), 10,
               "status of the node itself says what to do")
    reason = victim.status()["reason"]
    assert re.match(rf"(forming|joining): node \d at {re.escape(trio.address)}:\d+ refused this node: ",
                    reason), reason
    assert old in reason and new in reason and f"node {victim.id}" in reason, reason
    shown = victim.run("status").stdout.decode()
    assert f"health    {reason}\n" in shown, "people read the same"
    waited = victim.ctl("wait", "--for", "has-leader", timeout="300ms")
    assert waited.code != 0 and reason in waited.message, waited
    assert reason in victim.ctl("leader").message
    assert victim.ctl("put", "k", "w", timeout="500ms").code in (1, 4)
    # It is not counted: with one more gone there is no quorum.
    other.kill()
    assert leader.ctl("put", "k2", "v", timeout="1500ms").code in (4, 5)
    other.start()
    trio.settled(among=[leader, other])
    lines = [x for x in leader.logged_since(mark).splitlines() if "was replaced" in x]
    assert len(lines) <= 3, "at most a line a minute and direction"


def killed_before_a_flush(node, value):
    """Kill it when its last entry is in its log and not yet in its state; the index of that entry."""
    while True:
        index = node.ok("put", "last", value)["index"]
        node.kill()
        applied = node.ok("check", "--data-dir", node.data)["applied_index"]
        if applied < index:
            return index
        node.start()
        wait_until(lambda: node.status()["leader"], 10, "it leads again")


def damage(node, text, where=0):
    """Flip a bit in every copy of the text that is in the file of its log."""
    data = log_bytes(node)
    places = [m.start() for m in re.finditer(text, data)]
    assert places, "the entry is in the file as it is"
    for place in places:  # of all copies that copy-on-write left behind one is in use
        data[place + where] ^= 0x40
    (node.data / "log/data.mdb").write_bytes(data)
    return places, data


def test_corrupt_entry_is_refused_with_its_index(single):
    """D5: a flipped bit in an entry that is nowhere else."""
    node = single[1]
    for i in range(20):
        node.ok("put", f"key{i}", f"MARKER-{i:04}")
    index = killed_before_a_flush(node, "MARKER-LAST")
    places, data = damage(node, b"MARKER-LAST")
    start_and_wait_exit(node, EXIT_DATA)
    line = next(x for x in node.log_text().splitlines() if "cannot be trusted" in x)
    assert f"index={index}" in line and str(node.data) in line
    assert "do=" in line, "it says what to do"
    left = log_bytes(node)
    assert all(left[place:place + 11] == data[place:place + 11] for place in places), "nothing was cut"


def test_corrupt_entry_that_the_state_has_is_given_up(trio):
    """What was applied, and is in the state on disk, is needed in the log no more."""
    indexes = [trio[1].ok("put", f"key{i}", f"MARKER-{i:04}")["index"] for i in range(20)]
    digest = trio.settled()[0]["digest"]["value"]
    victim = trio.others(trio.leader())[0]
    victim.stop()
    damage(victim, b"MARKER-0007", 3)
    victim.start()
    line = next(x for x in victim.log_text().splitlines() if "cannot be trusted, but the state on disk has it" in x)
    assert f"index={indexes[7]} " in line and " warning " in line
    assert victim.status()["first_index"] > indexes[7]
    assert victim.ok("get", "key7", "--stale")["value"] == "MARKER-0007"
    trio[1].ok("put", "k", "v")
    assert len({s["digest"]["value"] for s in trio.settled()}) == 1 and digest
    mark = victim.log_mark()
    victim.restart()
    assert "cannot be trusted" not in victim.logged_since(mark), "once is enough"


def test_corrupt_member_is_refused_and_the_others_go_on(trio):
    victim = trio.others(trio.leader())[0]

    def killed():
        index = trio[victim.id].ok("put", "last", "MARKER-LAST")["index"]
        victim.kill()
        checked = victim.ok("check", "--data-dir", victim.data)
        # The two others may have acknowledged it before the victim had it.
        return checked["applied_index"] < index <= checked["last_index"] or not victim.start()
    wait_until(killed, 20, "its log has the entry, its state has not")
    damage(victim, b"MARKER-LAST", 3)
    start_and_wait_exit(victim, EXIT_DATA)
    assert "index=" in victim.log_text()
    trio.leader(among=trio.others(victim)).ok("put", "k", "v")


@pytest.mark.parametrize("seed", [*range(12), 104, 146, 160, 182, 190])
def test_random_damage_never_ends_in_a_crash(single, seed):
    """Whatever the damage: the node starts with whole data, or refuses; it never dies of a signal."""
    node = single[1]
    expected = {}
    for i in range(30):
        value = f"value{i:04}" * 40
        node.ok("put", f"key{i}", value)
        expected[f"key{i}"] = value
    node.stop()
    rng = random.Random(seed)
    path = node.data / rng.choice(["log/data.mdb", "log/data.mdb", "state/data.mdb"])
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "zero_page", "garbage_page", "cut"])
    if kind == "flip":
        for _ in range(rng.randrange(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data)):]
    else:
        page = rng.randrange(len(data) // 4096) * 4096
        data[page:page + 4096] = bytes(4096) if kind == "zero_page" else rng.randbytes(4096)
    path.write_bytes(data)
    node.start(wait=False)
    node.wait_ready_or_ended()
    what = f"seed {seed}: {kind} in {path.name}"
    if node.is_running() and node.ctl("wait", "--for", "leader").code == 0:
        found = {kv["key"]: kv["value"] for kv in node.ok("list")["kvs"]}
        assert found == expected, f"{what}: served other data"
    else:
        status = node.wait_exit()
        assert status in (EXIT_CONFIG, EXIT_DATA, EXIT_IO), f"{what}: ended with {status}"
        node.may_exit_with.add(status)
        assert str(node.data) in node.log_text()


def test_hard_state_that_is_gone_is_never_guessed(trio):
    """A log environment emptied under a state environment that is there: refused, no votes."""
    trio[1].ok("put", "k", "v")
    trio.settled()
    victim = trio.others(trio.leader())[0]
    victim.stop()
    shutil.rmtree(victim.data / "log")
    start_and_wait_exit(victim, EXIT_DATA)
    assert str(victim.data) in victim.log_text() and "do=" in victim.log_text()
    trio.leader(among=trio.others(victim)).ok("put", "k", "w")


def test_kill_during_the_first_start_leaves_a_directory_that_works(make_cluster):
    cluster = make_cluster(1)
    node = cluster[1]
    for delay in range(12):
        node.start(wait=False)
        try:
            node.process.wait(0.002 * delay)
        except Exception:  # pylint: disable=broad-except
            pass
        node.signal(signal.SIGKILL)
        node._ended(5, True)  # pylint: disable=protected-access
    node.start()
    cluster.settled()
    assert node.ok("put", "k", "v")
