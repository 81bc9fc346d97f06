"""M9: a data directory that is put back to an earlier state, and what must not be taken for one."""
import filecmp
import re
import shutil

import pytest

from harness import EXIT_DATA, wait_until

REMEMBERS = re.compile(r"node (\d) remembers this store in term (\d+)(?:, voting for it)?, with the log up to index "
                       r"(\d+); it began this time in term (\d+) \(vote \d\), with the log up to index (\d+) of "
                       r"term \d+: data_dir is an older copy")


def fill(node, name, count):
    with node.batch() as batch:
        for i in range(count):
            assert batch.ask(f"put {name}{i} v").get("error") is None


def copy_of(node, name):
    """A copy of its data directory, taken between two saves."""
    copy = node.dir / name
    files = ["log/data.mdb", "state/data.mdb"]

    def is_whole():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(node.data, copy)
        return all(filecmp.cmp(node.data / f, copy / f, shallow=False) for f in files)
    wait_until(is_whole, 10, f"n{node.id} writes nothing while its directory is copied")
    return copy


def put_back(node, copy):
    shutil.rmtree(node.data)
    shutil.copytree(copy, node.data)


def refused(node):
    """It stops, and says why: the match of that line."""
    mark = node.log_mark()
    node.start(wait=False)
    node.wait_exit(15, expect=EXIT_DATA)
    line = next(x for x in node.logged_since(mark).splitlines() if " remembers this store " in x)
    found = REMEMBERS.search(line)
    assert found, line
    assert "put the newest data back, or empty data_dir" in line and "replace-server" in line, "it says what to do"
    return found


def leads(cluster, node):
    """Make it the leader."""
    leader = cluster.leader()
    if leader is not node:
        leader.ok("transfer", node.id)
    wait_until(lambda: node.status()["is_leader"], 10, f"n{node.id} leads")
    return cluster.settled()


def comes_back(cluster, victim):
    """Emptied and added again it is a member like the others."""
    others = cluster.others(victim)
    leader = cluster.leader(among=others)
    shutil.rmtree(victim.data)
    leader.ok("remove-server", victim.id, timeout="30s")
    victim.options["cluster.member"] = []
    victim.start()
    assert leader.ok("add-server", victim.id, victim.address, timeout="30s")["role"] == "voter"
    victim.ok("put", "again", "v")
    cluster.agree_on({n.id: "voter" for n in cluster})
    assert victim.ok("get", "late7")["value"] == "v"


def test_an_older_copy_of_a_follower_is_refused(trio):
    victim = trio.others(trio.leader())[0]
    fill(trio[1], "early", 20)
    trio.settled()
    victim.stop()
    copy = copy_of(victim, "copy")
    victim.start()
    trio.settled()
    fill(trio[1], "late", 20)
    last = victim.status()["last_index"]
    trio.settled()
    victim.kill()
    put_back(victim, copy)
    fill(trio.leader(among=trio.others(victim)), "without", 5)
    by, term, index, had_term, had_index = map(int, refused(victim).groups())
    assert by != victim.id and had_term <= term
    assert had_index < last <= index, "it names what it once had"
    again = refused(victim)
    assert int(again.group(3)) == index, "and so it does again"
    trio.others(victim)[0].ok("put", "k", "v")
    comes_back(trio, victim)


def test_an_older_copy_of_a_leader_is_refused_whoever_leads_now(trio):
    """It led all the time: nobody has an acknowledgement of it, and the copy is of the same term."""
    victim = trio[2]
    leads(trio, victim)
    fill(victim, "early", 20)
    copy = copy_of(victim, "copy")
    term = victim.status()["term"]
    fill(victim, "late", 20)
    states = trio.settled()
    assert {s["term"] for s in states} == {term}, "the same leadership"
    victim.kill()
    put_back(victim, copy)
    trio.leader(among=trio.others(victim)).ok("put", "k", "v")
    _, seen, index, had_term, had_index = map(int, refused(victim).groups())
    assert seen == had_term == term
    assert had_index < states[0]["commit_index"] <= index + 1, "the last heartbeat told of all but the newest"
    comes_back(trio, victim)


def test_a_copy_from_before_the_cluster_is_refused(make_cluster):
    """The directory of a founder as it was before it knew of any cluster: its store is bound all the same."""
    trio = make_cluster(3)
    victim = trio[3]
    victim.start()
    wait_until(lambda: victim.status()["state"] == "forming", 10, "it waits for the others")
    copy = copy_of(victim, "copy")
    trio[1].start()
    trio[2].start()
    trio.settled()
    fill(trio[1], "late", 20)
    trio.settled()
    victim.kill()
    put_back(victim, copy)
    found = refused(victim)
    assert int(found.group(4)) == int(found.group(5)) == 0
    trio.leader(among=trio.others(victim)).ok("put", "k", "v")
    comes_back(trio, victim)


def test_who_remembers_was_stopped_meanwhile(trio):
    """The only one who knows more sleeps while the directory is put back, with acknowledgements unread. And the newest
    data are as welcome as before."""
    leader = trio.leader()
    victim, other = trio.others(leader)
    copy = copy_of(victim, "copy")
    fill(leader, "late", 20)
    trio.settled()
    other.stop()
    for _ in range(5):
        with leader.batch() as batch:
            for i in range(200):
                batch.send(f"put busy{i} v")
            batch.line(10)
            leader.pause()
            victim.kill()
            newest = copy_of(victim, "newest")
            put_back(victim, copy)
            mark = victim.log_mark()
            victim.start()
            leader.resume()
            victim.wait_exit(15, expect=EXIT_DATA)
            assert f"node {leader.id} remembers this store" in victim.logged_since(mark)
            put_back(victim, newest)
            victim.start()
        trio.leader(among=[leader, victim])
        trio.settled(among=[leader, victim])
    assert victim.ok("get", "late19")["value"] == "v"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_newest_copy_is_as_good_as_the_original(trio, end):
    for victim in trio.nodes * 2:
        fill(trio[1], "k", 10)
        leader = trio.leader()
        getattr(victim, end)()
        copy = copy_of(victim, "copy")
        if victim is not leader:
            fill(leader, "meanwhile", 5)
        put_back(victim, copy)
        victim.start()
        trio.settled()
