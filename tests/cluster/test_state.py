"""The state on disk, written behind: a restart goes on from it, and the log makes up for what is missing."""
import re

from harness import EXIT_DATA, wait_until


def began_with(node):
    """(applied index, last index) of the last start."""
    found = re.findall(r"raftd: ready .*last_index=(\d+) applied_index=(\d+)", node.log_text())
    last, applied = map(int, found[-1])
    return applied, last


def test_a_clean_stop_leaves_nothing_to_replay(trio):
    for i in range(50):
        trio[1].ok("put", f"k{i}", str(i))
    states = trio.settled()
    digest = states[0]["digest"]["value"]
    for node in trio:
        node.stop()
    node = trio[2].start()  # alone: nobody tells it what is committed
    applied, last = began_with(node)
    assert applied > 50 and applied <= last
    state = node.status()
    assert (state["applied_index"], state["commit_index"]) == (applied, applied)
    assert state["digest"]["value"] == digest and state["leader"] is None
    assert node.ok("get", "k49", "--stale")["value"] == "49"
    trio[1].start()
    trio[3].start()
    assert {s["digest"]["value"] for s in trio.settled()} == {digest}


def test_after_kills_the_log_makes_up_for_the_rest(trio):
    trio[1].ok("put", "early", "1")

    def flushed():
        victim = trio.others(trio.leader())[0]
        victim.kill()
        victim.start()
        return began_with(victim)[0] > 0
    wait_until(flushed, 20, "the state was flushed by itself")
    for i in range(200):
        trio[1].ok("put", f"late{i}", str(i))
    digest = trio.settled()[0]["digest"]["value"]
    for node in trio:
        node.kill()
    for node in trio:
        node.start()
    assert {s["digest"]["value"] for s in trio.settled()} == {digest}
    assert trio[3].ok("get", "late199")["value"] == "199"


def test_damaged_rows_are_built_anew_from_the_log(trio):
    marker = "a-value-that-can-be-found-in-the-file"
    trio[1].ok("put", "k", marker)
    digest = trio.settled()[0]["digest"]["value"]
    victim = trio.others(trio.leader())[0]
    victim.stop()
    file = victim.data / "state" / "data.mdb"
    data = bytearray(file.read_bytes())
    places = [m.start() for m in re.finditer(marker.encode(), data)]
    assert places, "the row is on disk"
    for at in places:
        data[at] ^= 1
    file.write_bytes(data)
    mark = victim.log_mark()
    victim.start()
    assert "it is built anew from the log" in victim.logged_since(mark)
    assert {s["digest"]["value"] for s in trio.settled()} == {digest}
    victim.stop()
    mark = victim.log_mark()
    victim.start()
    assert "built anew" not in victim.logged_since(mark), "what it built is on disk"
    assert began_with(victim)[0] > 0
    trio.settled()


def test_a_log_that_ends_before_its_state_is_refused(trio):
    """An older log/ beside a newer state/: what is missing may have been acknowledged."""
    victim = trio.others(trio.leader())[0]
    victim.stop()
    older = (victim.data / "log" / "data.mdb").read_bytes()
    victim.start()
    for i in range(5):
        trio[1].ok("put", f"k{i}", "v")
    trio.settled()
    victim.stop()
    (victim.data / "log" / "data.mdb").write_bytes(older)
    victim.start(wait=False)
    victim.wait_exit(10, expect=EXIT_DATA)
    assert "entries are lost" in victim.log_text()


def test_nor_is_it_made_good_by_a_damaged_entry_before(trio):
    """The state has that entry, but not the ones that are missing after it."""
    marker = b"a-value-that-can-be-found-in-the-file"
    trio[1].ok("put", "k", marker.decode())
    trio.settled()
    victim = trio.others(trio.leader())[0]
    victim.stop()
    older = (victim.data / "log" / "data.mdb").read_bytes()
    assert marker in older
    victim.start()
    for i in range(5):
        trio[1].ok("put", f"k{i}", "v")
    trio.settled()
    victim.stop()
    (victim.data / "log" / "data.mdb").write_bytes(older.replace(marker, marker.upper()))
    victim.start(wait=False)
    victim.wait_exit(10, expect=EXIT_DATA)
    assert "the log begins after that" not in victim.log_text()
