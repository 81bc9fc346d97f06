"""What status and members show of the others: as the leader knows it, and in an outage."""
import time

from harness import SLOWDOWN, wait_until

PROGRESS = ("match_index", "lag", "contact_ms")


def members_of(node):
    return {m["id"]: m for m in node.status()["members"]}


def test_every_node_shows_what_the_leader_knows(trio):
    for i in range(20):
        trio[1 + i % 3].ok("put", f"key{i}", "v")
    last = trio.settled()[0]["last_index"]
    for words in (["status"], ["members"]):
        for node in trio:
            shown = {m["id"]: m for m in node.ok(*words)["members"]}
            assert sorted(shown) == [1, 2, 3]
            for member in shown.values():
                assert member["match_index"] == last, f"{words} on n{node.id}: {member}"
                assert member["lag"] == 0
                assert member["contact_ms"] < 5000
    text = trio[2].run("status").stdout.decode()
    assert " -  " not in text, "no column is empty on any node"


def test_a_follower_shows_who_lags(trio):
    leader = trio.leader()
    victim, other = trio.others(leader)
    trio.settled()
    victim.pause()
    for i in range(10):
        other.ok("put", f"key{i}", "v")
    last = leader.status()["last_index"]
    seen = wait_until(lambda: members_of(other) if members_of(other)[victim.id]["lag"] else None, 5,
                      "the follower shows the lag of the other")
    assert seen[victim.id]["match_index"] + seen[victim.id]["lag"] == last
    assert seen[leader.id]["match_index"] == last and seen[leader.id]["contact_ms"] < 1000
    wait_until(lambda: members_of(other)[victim.id]["contact_ms"] > 1000, 5,
               "the silence is counted")
    victim.resume()
    trio.settled()


def test_status_answers_while_the_leader_hangs(trio):
    """Nobody waits for long: the numbers are missing then, the rest is there."""
    leader = trio.leader()
    leader.pause()
    for node in trio.others(leader):
        begin = time.monotonic()
        state = node.status()
        assert time.monotonic() - begin < 1.5 * SLOWDOWN
        assert [m["id"] for m in state["members"]] == [1, 2, 3]
    leader.resume()
    trio.settled()


def test_an_outage_shows_the_members(trio):
    """A restart with no leader: who the members are is what people need to know."""
    trio[1].ok("put", "k", "v")
    before = trio.settled()[0]
    for node in trio:
        node.kill()
    survivor = trio[2]
    survivor.start()
    state = survivor.status()
    assert state["leader"] is None and state["commit_index"] <= before["commit_index"]
    assert state["membership"] == before["membership"] and not state["membership"]["pending"]
    shown = survivor.ok("members")
    assert shown["index"] == before["membership"]["index"] and not shown["pending"]
    for members in (state["members"], shown["members"]):
        assert [m["id"] for m in members] == [1, 2, 3]
        assert [m["address"] for m in members] == [n.address for n in trio]
        assert all(m[key] is None for m in members for key in PROGRESS), "nobody leads"
    text = survivor.run("members").stdout.decode()
    assert all(n.address in text for n in trio)
    assert all(n.address in survivor.run("status").stdout.decode() for n in trio)
    trio[1].start()
    trio[3].start()
    trio.settled()
    assert members_of(survivor)[1]["match_index"] is not None
