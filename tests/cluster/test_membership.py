"""Growing and shrinking: through any member, one change at a time, everywhere or nowhere."""
import re
import shutil
import threading
import time

import pytest

from harness import ELECTION_TIMEOUT_S, SLOWDOWN, wait_until
from load import Load


def fill(node):
    """So long a log that a new server is busy with it for a while."""
    done = node.run("--json", "bench", "--clients", "128", "--duration", "4s", "--size", "1K", "--keep")
    assert done.returncode == 0, done


def value_on(node, key):
    return node.ok("get", key, "--stale")["value"]


def test_one_to_three_and_back(make_cluster):
    """M1 and M2: the flows that started raftd."""
    cluster = make_cluster(1, founding=False)
    first = cluster.bootstrapped()
    for node_id in (2, 3):
        node = cluster.add_node()
        added = first.ok("add-server", node_id, node.address)
        assert added.keys() >= {"id", "role", "index"}
        assert (added["id"], added["role"]) == (node_id, "voter")
    states = cluster.agree_on({1: "voter", 2: "voter", 3: "voter"})
    assert {s["role"] for s in states} == {"voter"}
    first.ok("put", "grown", "three")
    cluster.settled()
    assert [value_on(n, "grown") for n in cluster] == ["three"] * 3
    leader = cluster.leader()
    for node in cluster.others(leader):
        removed = leader.ok("remove-server", node.id)
        assert removed["id"] == node.id and removed["index"] > 0 and "role" not in removed
        assert leader.ctl("put", "shrunk", str(node.id)).code == 0
    assert cluster.roles(leader) == {leader.id: "voter"}
    last = leader.ctl("remove-server", leader.id)
    assert (last.code, last.error) == (1, "last_voter")
    assert leader.ctl("demote", leader.id).error == "last_voter"
    assert leader.ctl("put", "still", "writable").code == 0


def test_through_every_kind_of_node_and_again(make_cluster):
    """Any member takes a change; each can be repeated."""
    cluster = make_cluster(3).formed()
    follower = cluster.others(cluster.leader())[0]
    node = cluster.add_node()
    added = follower.ok("add-server", 4, node.address, "--learner")
    assert added["role"] == "learner"
    assert follower.ok("add-server", 4, node.address, "--learner")["index"] == added["index"]
    cluster.agree_on({1: "voter", 2: "voter", 3: "voter", 4: "learner"})
    assert node.status()["role"] == "learner"
    assert node.ctl("add-server", 4, node.address).error == "already_member"
    assert node.status()["state"] == "learner"
    node.ok("wait", "--for", "caught-up")
    assert node.ok("promote", 4)["role"] == "voter", "asked itself, and at once"
    again = node.ok("promote", 4)
    assert again["role"] == "voter"
    assert node.ok("demote", 4)["role"] == node.ok("demote", 4)["role"] == "learner"
    removed = follower.ok("remove-server", 4)
    assert follower.ok("remove-server", 4)["index"] == removed["index"]
    cluster.agree_on({1: "voter", 2: "voter", 3: "voter"})
    assert follower.ctl("remove-server", 9).code == 7
    assert follower.ctl("promote", 9).code == 7


def test_add_without_waiting_is_promoted_by_itself(make_cluster):
    cluster = make_cluster(3).formed()
    node = cluster.add_node()
    added = cluster[2].ok("add-server", 4, node.address, "--no-wait")
    assert added["role"] in ("learner", "voter")
    cluster.agree_on({1: "voter", 2: "voter", 3: "voter", 4: "voter"})


def test_the_promise_survives_the_leader(make_cluster):
    """The flag stands in the entry: whoever leads next promotes."""
    cluster = make_cluster(3).formed()
    leader = cluster.leader()
    fill(leader)
    node = cluster.add_node()
    added = leader.ok("add-server", 4, node.address, "--no-wait")
    leader.kill()
    assert added["role"] == "learner"
    others = cluster.running()
    assert cluster.roles(cluster.others(leader, node)[0]).get(4) != "voter", "its log was too short"
    cluster.agree_on({1: "voter", 2: "voter", 3: "voter", 4: "voter"}, among=others, seconds=30)
    leader.start()


def refused(cluster, through, words, code, exit_code=1):
    """The command is refused, and nothing is logged for it."""
    before = [(s["last_index"], s["membership"]["index"]) for s in cluster.settled()]
    answer = through.ctl(*words)
    assert (answer.code, answer.error) == (exit_code, code), answer
    after = [(s["last_index"], s["membership"]["index"]) for s in cluster.settled()]
    assert before == after, f"{words}: refused with {code}, but something was logged"
    return answer.message


def test_refused_before_anything_is_logged(make_cluster):
    """M5: one wrong address must never freeze a cluster."""
    cluster = make_cluster(3).formed()
    foreign = make_cluster(1).formed()[1]
    through = cluster.others(cluster.leader())[0]
    spare = cluster.add_node(start=False)
    message = refused(cluster, through, ["add-server", 4, spare.address], "unreachable")
    assert spare.address in message
    refused(cluster, through, ["add-server", 9, foreign.address], "invalid")
    own = refused(cluster, through, ["add-server", 9, cluster[1].address], "invalid")
    assert "node 1" in own and "node 9" in own
    refused(cluster, through, ["add-server", 1, spare.address], "already_member")
    refused(cluster, through, ["replace-server", 8, 4, spare.address], "not_found", 7)
    for words in (["add-server", 4, "nonsense"], ["add-server", 0, spare.address],
                  ["add-server", 4, "0.0.0.0:7400"], ["promote", "x"]):
        assert through.ctl(*words).code == 2, words
    with Load(lambda: list(cluster)[:3], 4) as load:
        wait_until(lambda: load.count() > 20, 10, "writes are acknowledged")
        assert through.ctl("add-server", 4, spare.address).error == "unreachable"
    load.check(list(cluster)[:3])
    assert load.longest_silence() < 500 * SLOWDOWN, "writes never stopped"


def test_a_node_of_another_cluster_is_refused(make_cluster):
    cluster = make_cluster(3).formed()
    foreign = make_cluster(4).formed()[4]  # id 4 in its own
    message = refused(cluster, cluster[1], ["add-server", 4, foreign.address], "wrong_cluster")
    assert re.search(r"node 4 is in cluster \w{8}\.\.\., node \d in", message), message


def test_a_removed_node_is_quiet_and_says_so(make_cluster):
    """M7, and the data of a removed member is not taken back."""
    cluster = make_cluster(3).formed()
    leader = cluster.leader()
    gone, down = cluster.others(leader)
    leader.ok("remove-server", gone.id)
    state = wait_until(lambda: (s := gone.status())["state"] == "removed" and s, 5, "it knows")
    assert "add-server" in state["reason"] and state["leader"] is None
    for words in (["put", "a", "b"], ["get", "a"], ["step-down"]):
        answer = gone.ctl(*words)
        assert (answer.code, answer.error) == (1, "removed"), answer
    term = leader.status()["term"]
    gone.kill()
    gone.start()
    wait_until(lambda: gone.status()["state"] == "removed", 5, "it knows after a restart")
    down.kill()  # this one is removed while it is away
    forced = leader.ctl("remove-server", down.id)
    assert forced.code == 0, forced
    down.start()
    wait_until(lambda: down.status()["state"] == "removed", 5, "who was away is told")
    assert leader.status()["term"] == term, "nobody was disturbed"
    refused_again = leader.ctl("add-server", gone.id, gone.address)
    assert (refused_again.code, refused_again.error) == (1, "not_empty"), refused_again
    gone.stop()
    shutil.rmtree(gone.data)
    gone.options["cluster.member"] = []
    gone.start()
    assert leader.ok("add-server", gone.id, gone.address)["role"] == "voter"
    cluster.agree_on({leader.id: "voter", gone.id: "voter"})


def test_a_new_disk_under_the_old_id_counts_its_requests_anew(make_cluster):
    """M8: refused as a voter, and told what to do; removed and added again it is like any other."""
    cluster = make_cluster(3).formed()
    leader = cluster.leader()
    wiped = cluster.others(leader)[0]
    for _ in range(3):  # its processes have been counted up
        wiped.restart()
        wiped.ok("put", "old", "life")
    wiped.kill()
    shutil.rmtree(wiped.data)
    wiped.start()
    reason = wait_until(lambda: wiped.status()["reason"], 5, "a reason")
    assert "store" in reason or "add" in reason
    leader.ok("remove-server", wiped.id)
    wiped.restart()
    assert leader.ok("add-server", wiped.id, wiped.address)["role"] == "voter"
    first = wiped.ok("put", "new", "life")
    assert wiped.ok("put", "new", "again")["revision"] == first["revision"] + 1
    cluster.agree_on({1: "voter", 2: "voter", 3: "voter"})


def test_a_copied_directory_is_refused_by_name(make_cluster):
    cluster = make_cluster(3).formed()
    original = cluster.others(cluster.leader())[0]
    original.stop()
    copy = cluster.add_node(start=False)
    shutil.copytree(original.data, copy.data)
    original.start()
    copy.id = original.id
    copy.may_exit_with.add(0)
    mark = cluster.leader().log_mark()
    copy.start()
    wait_until(lambda: "runs twice" in (copy.status()["reason"] or "") or
               "runs twice" in cluster.leader().logged_since(mark) or
               "runs twice" in copy.log_text(), 10, "the copy is named")
    assert original.ctl("put", "the", "original").code == 0
    copy.stop()


def test_the_leader_can_be_removed_and_demoted(make_cluster):
    """M4: it hands over first; asked through itself, or through another."""
    cluster = make_cluster(4).formed()
    leader = cluster.leader()
    removed = leader.ok("remove-server", leader.id)
    assert removed["id"] == leader.id
    left = cluster.others(leader)
    cluster.agree_on({n.id: "voter" for n in left}, among=left)
    assert leader.status()["state"] == "removed"
    second = cluster.leader(among=left)
    other = next(n for n in left if n is not second)
    assert other.ok("demote", second.id)["role"] == "learner"
    left_roles = {n.id: "learner" if n is second else "voter" for n in left}
    cluster.agree_on(left_roles, among=left)
    assert cluster.leader(among=left) is not second
    assert second.ctl("put", "through", "a learner").code == 0


def test_replace(make_cluster):
    """A dead node, and the leader."""
    cluster = make_cluster(3).formed()
    dead = cluster.others(cluster.leader())[0]
    dead.kill()
    through = cluster.leader()
    fourth = cluster.add_node()
    done = through.ok("replace-server", dead.id, 4, fourth.address)
    assert (done["added"], done["removed"]) == (4, dead.id) and done["index"] > 0
    assert through.ok("replace-server", dead.id, 4, fourth.address)["removed"] == dead.id
    leader = cluster.leader()
    fifth = cluster.add_node()
    done = fourth.ok("replace-server", leader.id, 5, fifth.address)
    assert (done["added"], done["removed"]) == (5, leader.id)
    left = [n for n in cluster.running() if n is not leader]
    cluster.agree_on({n.id: "voter" for n in left}, among=left)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_promoted_by_a_leader_that_is_new(make_cluster, force):
    """It has not heard the learner yet, which has everything: that is no reason to refuse."""
    cluster = make_cluster(3, options={"raft.election_timeout": "5s"}).formed()
    leader = cluster.leader()
    learner = cluster.add_node()
    leader.ok("add-server", 4, learner.address, "--learner")
    learner.ok("wait", "--for", "caught-up")
    learner.pause()
    leader.ok("step-down")
    heard_again = threading.Timer(0.5, learner.resume)
    heard_again.start()
    promoted = leader.ctl("promote", 4, *force)
    heard_again.join()
    assert promoted.code == 0 and promoted.obj["role"] == "voter", promoted


def test_new_voters_that_forget_a_leader_sooner(make_cluster):
    """What the one node there was claimed for 4 s holds, although two that vote after 0.5 s come to it."""
    cluster = make_cluster(1, founding=False)
    first = cluster.bootstrapped({"raft.election_timeout": "5s"})
    others = [cluster.add_node(), cluster.add_node()]
    for node in others:
        node.options["raft.election_timeout"] = "500ms"
        node.stop()
        node.start()
    asked = time.monotonic()
    until = asked + first.ok("is-leader")["lease_remaining_ms"] / 1000
    assert until > asked + 3
    for node in others:
        assert first.ok("add-server", node.id, node.address)["role"] == "voter"
    first.pause()
    wait_until(lambda: any(n.ctl("is-leader").code == 0 for n in others), 20, "another one claims")
    assert time.monotonic() > until, "the claim of the first one was alive"


def test_too_few_voters_would_be_left(make_cluster):
    """M11: refused with the numbers, done with --force."""
    cluster = make_cluster(3, options={"raft.election_timeout": "2s"}).formed()
    leader = cluster.leader()
    alive, dead = cluster.others(leader)
    dead.kill()
    wait_until(lambda: leader.status()["quorum"]["reachable"] == 2, 10, "one is gone")
    answer = leader.ctl("remove-server", alive.id)
    assert (answer.code, answer.error) == (6, "would_lose_quorum"), answer
    assert "1 of the 2 voters left would answer, 2 are needed" in answer.message
    assert leader.ok("remove-server", dead.id)["id"] == dead.id, "the dead one can go"
    dead.start()
    forced = leader.ok("remove-server", alive.id, "--force")
    assert forced["id"] == alive.id


def test_what_is_not_committed_is_not_shown_as_a_fact(make_cluster):
    """The leader lost its majority in the middle of a change: who is a member is open."""
    cluster = make_cluster(3).formed()
    leader = cluster.leader()
    others = cluster.others(leader)
    before = leader.ok("members")["index"]
    for node in others:
        node.pause()
    assert leader.ctl("remove-server", others[0].id, timeout="200ms").error == "unknown_outcome"
    wait_until(lambda: leader.status()["state"] != "leader", 5, "it steps down")
    shown = leader.ok("members")
    assert (shown["index"], len(shown["members"]), shown["pending"]) == (before, 3, True)
    assert leader.status()["membership"] == {"index": before, "pending": True}
    again = leader.ctl("remove-server", others[0].id, timeout="500ms")
    assert again.code == 4 and "waits to be committed" in again.message, again
    for node in others:
        node.resume()
    cluster.settled([leader, others[1]])  # whether the other one is a member still is decided now


def test_progress_is_told(make_cluster):
    """People see what it is at, and how far the new server is; -q is quiet."""
    # All of the log is kept: a snapshot would be there too soon to be seen.
    cluster = make_cluster(1, founding=False, options={"storage.log_keep_entries": "1000000",
                                                       "storage.log_keep_bytes": "1G"})
    first = cluster.bootstrapped()
    node = cluster.add_node()
    first.ok("add-server", 2, node.address, "--learner")
    node.ok("wait", "--for", "caught-up")
    node.pause()
    wait_until(lambda: first.ok("members")["members"][1]["contact_ms"] > 1000 * ELECTION_TIMEOUT_S, 5,
               "its silence is noticed")
    shown = first.run("--timeout", "1s", "promote", 2, text=True)
    node.resume()
    assert shown.returncode == 1 and ("not_caught_up" in shown.stderr or "unreachable" in shown.stderr)
    first.ok("remove-server", 2)
    third = cluster.add_node()
    third.pause()
    shown = first.run("--timeout", "2s", "add-server", 3, third.address, text=True)
    third.resume()
    assert shown.returncode in (1, 5) and "dialling node 3" in shown.stderr, shown.stderr
    assert shown.stdout == ""
    first.ctl("remove-server", 3)
    fill(first)
    for quiet in ([], ["-q"]):
        node = cluster.add_node()
        shown = first.run("--timeout", "60s", *quiet, "add-server", node.id, node.address, text=True)
        assert shown.returncode == 0 and f"node {node.id}" in shown.stdout, shown
        told = re.search(r"catching up +\d+%", shown.stderr)
        assert not shown.stderr if quiet else told, shown.stderr


def test_every_node_shows_every_member(make_cluster):
    cluster = make_cluster(3).formed()
    cluster.grown(4)
    for node in cluster:
        for view in (node.status()["members"], node.ok("members")["members"]):
            assert [m["id"] for m in view] == [1, 2, 3, 4]
            for m in view:
                assert m["role"] == "voter" and m["version"] and m["name"] == f"n{m['id']}"
                assert m["match_index"] > 0 and m["lag"] is not None and m["contact_ms"] is not None


def test_one_five_three_five_under_load(make_cluster):
    """Nobody notices: writes through all nodes, of which some leave and others come."""
    cluster = make_cluster(1, founding=False)
    first = cluster.bootstrapped()
    members = [first]
    with Load(lambda: list(members), 6) as load:
        wait_until(lambda: load.count() > 20, 10, "writes are acknowledged")
        for _ in range(4):
            node = cluster.add_node()
            assert first.ok("add-server", node.id, node.address)["role"] == "voter"
            members.append(node)
        leader = cluster.leader(among=members)
        for node in [leader, next(n for n in members if n not in (leader, first))]:
            members.remove(node)
            assert members[0].ok("remove-server", node.id)["id"] == node.id
        for _ in range(2):
            node = cluster.add_node()
            assert members[0].ok("add-server", node.id, node.address)["role"] == "voter"
            members.append(node)
        count = load.count()
        wait_until(lambda: load.count() > count + 50, 10, "writes go on")
    cluster.agree_on({n.id: "voter" for n in members}, among=members, seconds=30)
    load.check(members)


def test_an_address_that_nobody_dials_is_told(make_cluster):
    """The others dial what stands in the membership, whatever the configuration says now."""
    node = make_cluster(1, founding=False).bootstrapped()
    node.stop()
    node.options["node.advertise"] = "raftd.invalid:7400"
    node.start()
    line = wait_until(lambda: next((x for x in node.log_text().splitlines() if "dial another address" in x), None),
                      10, "it says so")
    assert f"members_dial={node.address} " in line and "advertise=raftd.invalid:7400" in line and "do=" in line
