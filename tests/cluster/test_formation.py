"""How a cluster comes into being: member lists, bootstrap, and what a node without one answers."""
import pytest

from harness import wait_until


def test_member_lists_form_one_cluster(make_cluster):
    cluster = make_cluster(3)
    states = cluster.formed().settled()
    assert len({s["cluster"]["id"] for s in states}) == 1
    assert len({s["node"]["store_id"] for s in states}) == 3
    assert [s["node"]["id"] for s in states] == [1, 2, 3]
    assert sum(s["is_leader"] for s in states) == 1
    assert sorted(s["state"] for s in states) == ["follower", "follower", "leader"]
    for state in states:
        assert state["schema"] == "raftd/1"
        assert state["role"] == "voter"
        assert state["cluster"]["name"] == "test"
        assert state["quorum"]["voters"] == 3 and state["quorum"]["need"] == 2
        assert [m["id"] for m in state["members"]] == [1, 2, 3]
        assert [m["address"] for m in state["members"]] == [n.address for n in cluster]
        assert [m["store_id"] for m in state["members"]] == [s["node"]["store_id"] for s in states]


def test_five_nodes_form(make_cluster):
    states = make_cluster(5).formed().settled()
    for state in states:
        assert (state["quorum"]["voters"], state["quorum"]["need"]) == (5, 3)


def test_put_through_each_is_read_through_each(trio):
    for writer in trio:
        trio_key = f"from{writer.id}"
        writer.ok("put", trio_key, f"value{writer.id}")
        for reader in trio:
            assert reader.ok("get", trio_key)["value"] == f"value{writer.id}"


def test_forming_waits_and_names_the_missing_node(make_cluster):
    cluster = make_cluster(3)
    cluster[1].start()
    cluster[2].start()
    for node in (cluster[1], cluster[2]):
        state = wait_until(lambda n=node: (s := n.status())["reason"] and "node 3" in s["reason"] and s,
                           10, "the missing node is named")
        assert state["state"] == "forming"
        assert cluster[3].address in state["reason"]
        assert "does not answer" in state["reason"]
        assert state["leader"] is None and state["last_index"] == 0
        text = node.run("status", text=True).stdout
        assert "node 3" in text
        assert node.ctl("put", "k", "v", timeout="1s").error == "unconfigured"
    cluster[3].start()
    cluster.settled()


def test_forming_refuses_another_member_list(make_cluster):
    cluster = make_cluster(2)
    other = cluster.member_list + [f"9@{cluster.address}:9"]
    cluster[2].options["cluster.member"] = other
    cluster.start()
    state = wait_until(lambda: (s := cluster[1].status())["reason"] and "another member list"
                       in s["reason"] and s, 10, "the other list is named")
    assert state["state"] == "forming" and "node 2" in state["reason"]
    cluster[2].stop()
    del cluster[2].options["cluster.member"]
    cluster[2].start()
    cluster.settled()


def test_a_member_with_data_is_never_forked_away(make_cluster):
    """n1 has the data of an older cluster; n2 and n3 are empty and list it: nothing forms."""
    cluster = make_cluster(3)
    old, cluster.member_list = cluster.member_list, []
    cluster[1].start()
    cluster[1].ok("bootstrap")
    cluster[1].ok("put", "old", "data")
    cluster[1].stop()
    cluster.member_list = old
    cluster.start()
    reasons = [wait_until(lambda n=n: (s := n.status())["reason"] and "node 1" in s["reason"] and
                          "has data already" in s["reason"] and s, 10, "n1's data is named")
               for n in (cluster[2], cluster[3])]
    assert {s["state"] for s in reasons} == {"forming"}
    state = cluster[1].status()
    assert state["quorum"]["voters"] == 1 and state["is_leader"]
    assert cluster[1].ok("get", "old")["value"] == "data"


def test_another_cluster_name_is_refused(make_cluster):
    cluster = make_cluster(2)
    cluster[2].options["cluster.name"] = "prod"
    cluster.start()
    wait_until(lambda: "cluster.name" in cluster[1].log_text() and "wrong_cluster" in
               cluster[1].log_text(), 10, "the refusal is logged")
    lines = [x for x in cluster[1].log_text().splitlines() if "cluster.name" in x]
    assert "test" in lines[0] and "prod" in lines[0] and len(lines) <= 4
    assert cluster[1].status()["state"] == "forming"


def test_wrong_id_at_an_address_is_refused(make_cluster):
    """The list says 2 is at n2's address, but a node 3 answers there."""
    cluster = make_cluster(2)
    cluster[2].options["node.id"] = 3
    cluster[2].options["cluster.member"] = [cluster.member_list[0],
                                            cluster.member_list[1].replace("2@", "3@")]
    cluster.start()
    wait_until(lambda: "answers as node 3, not as node 2" in cluster[1].log_text(), 10,
               "the wrong id is named")
    assert "node 2" in cluster[1].status()["reason"]


def test_bootstrap_makes_one_voter(make_cluster):
    cluster = make_cluster(1, founding=False)
    node = cluster[1].start()
    state = node.status()
    assert state["state"] == "unconfigured" and state["cluster"]["id"] is None
    assert state["role"] is None and state["members"] == []
    made = node.ok("bootstrap")
    state = cluster.settled()[0]
    assert state["cluster"]["id"] == made["cluster_id"] and len(made["cluster_id"]) == 32
    assert state["is_leader"] and state["quorum"]["voters"] == 1
    assert node.ok("put", "k", "v")["revision"] == 1
    assert node.ok("bootstrap") == made, "a repetition is answered as the first"
    node.restart()
    cluster.settled()
    assert node.ok("get", "k")["value"] == "v"
    assert node.status()["cluster"]["id"] == made["cluster_id"]


def test_bootstrap_of_a_listed_node_is_refused(make_cluster):
    """It waits for the others of its list: a second cluster beside theirs must not come to be."""
    cluster = make_cluster(2)
    answer = cluster[1].start().ctl("bootstrap", timeout="2s")
    assert answer.code == 1 and answer.error in ("invalid", "already_member", "not_ready"), answer
    assert "member" in answer.message
    cluster[2].start()
    cluster.settled()
    assert cluster[1].ctl("bootstrap").error == "already_member"


@pytest.mark.parametrize("words, code, error", [
    (("put", "k", "v"), 1, "unconfigured"), (("get", "k"), 1, "unconfigured"),
    (("del", "k"), 1, "unconfigured"), (("list",), 1, "unconfigured"),
    (("leader",), 4, "no_leader"), (("bench", "--duration", "100ms"), 1, "unconfigured"),
    (("wait", "--for", "has-leader"), 5, "timeout"), (("wait", "--for", "voter"), 5, "timeout"),
    (("wait", "--for", "leader"), 5, "timeout"), (("wait", "--for", "caught-up"), 5, "timeout")])
def test_unconfigured_node_refuses(make_cluster, words, code, error):
    node = make_cluster(1, founding=False)[1].start()
    answer = node.ctl(*words, timeout="300ms")
    assert (answer.code, answer.error) == (code, error), answer
    done = node.run(*words, timeout="300ms", text=True)
    assert done.returncode == code and error in done.stderr and done.stdout == ""


def test_unconfigured_node_answers_what_it_can(make_cluster):
    node = make_cluster(1, founding=False)[1].start()
    assert node.ok("members")["members"] == []
    answer = node.ctl("is-leader")
    assert answer.code == 1 and answer.obj["is_leader"] is False
    assert node.ctl("get", "k", "--stale").code == 7
    with node.watch() as watch:
        line = watch.line(5)
        assert line["state"] == "unconfigured" and line["leader"] is None
        node.ok("bootstrap")
        watch.until(lambda x: x["is_leader"], 5, "the node leads")
