"""The log stays short, and who needs what it has forgotten gets a snapshot."""
from endless import Endless
from far_behind import bench, longest_log, run_far_behind, write_until
from harness import wait_until

SHORT = {"storage.log_keep_entries": "100"}


def fill(node, value_bytes):
    """A thousand keys that stay."""
    bench(node, "--clients", "8", "--size", value_bytes, "--duration", "100ms", "--keep")


def leave_behind(node, stay):
    """It is killed, and the others write on until their logs begin after what it has."""
    node.kill()
    had = longest_log(stay)
    write_until(stay[0], had + 400)
    wait_until(lambda: min(n.status()["first_index"] for n in stay) > had + 1, 20, "the logs are trimmed")


def start_until_sent(node, others):
    """Started, until one of the others (who leads may have changed) sends it a snapshot."""
    marks = [n.log_mark() for n in others]
    node.start()

    def is_sent():
        return any(f"that node needs to={node.id} " in n.logged_since(m) for n, m in zip(others, marks))
    wait_until(is_sent, 20, "it is sent one")


def installed(node):
    return node.log_text().count("installed a snapshot")


def test_endless_overwrites(make_cluster):
    cluster = make_cluster(3, options={"storage.log_keep_entries": "1000"}).formed()
    # Until the entries kept in memory have filled their 16 MiB, that grows.
    Endless(cluster, 30000, 32, 128, 6, margin=20 << 20, tell=lambda text: None).run()

    def short():
        return all(s["last_index"] - s["first_index"] < 1100 for s in cluster.settled())
    wait_until(short, 15, "the logs are trimmed")


def test_away_for_long_and_new(make_cluster):
    run_far_behind(make_cluster(3, options=SHORT), 3000, 8, 3)


def test_a_restart_after_trimming(trio):
    """Nothing but base, rows and the rest of the log: the membership, the term and the data are there."""
    # pylint: disable=unused-argument
    for node in trio:
        node.options.update(SHORT)
        node.restart()
    before = trio.settled()[0]
    write_until(trio[1], 3000)
    wait_until(lambda: min(n.status()["first_index"] for n in trio) > before["last_index"], 15, "the logs are trimmed")
    states = trio.settled()
    trio[1].ok("put", "k", "v")
    digest = trio.settled()[0]["digest"]["value"]
    for node in trio:
        node.kill()
    for node in trio:
        node.start()
    after = trio.settled()
    assert {s["digest"]["value"] for s in after} == {digest}
    assert after[0]["membership"] == states[0]["membership"]
    assert trio[2].ok("get", "k")["value"] == "v"


def test_several_receivers_at_once(make_cluster):
    cluster = make_cluster(1, options=SHORT).formed()
    first = cluster[1]
    fill(first, "16384")
    write_until(first, 1500)
    wait_until(lambda: first.status()["first_index"] > 100, 15, "the log is trimmed")
    fresh = [cluster.add_node() for _ in range(4)]
    for node in fresh:
        first.ok("add-server", node.id, node.address, "--learner", "--no-wait")
    for node in fresh:
        node.ok("wait", "--for", "caught-up", timeout="30s")
    assert all(installed(n) == 1 for n in fresh), [installed(n) for n in fresh]
    for node in fresh:
        assert first.ok("promote", node.id)["role"] == "voter"
    cluster.agree_on({n: "voter" for n in range(1, 6)})


def test_killed_while_it_receives(make_cluster):
    """A receiver that dies in the middle of it, again and again, ends up with the right data."""
    cluster = make_cluster(3, options=SHORT).formed()
    leader = cluster.leader()
    victim, other = cluster.others(leader)
    fill(leader, "32768")
    for _ in range(5):
        leave_behind(victim, [leader, other])
        start_until_sent(victim, [leader, other])
    states = cluster.settled(seconds=30)
    assert len({s["digest"]["value"] for s in states}) == 1
    assert installed(victim) > 0

    def told():
        return leader.log_text() + other.log_text()
    assert "a snapshot was given up before its receiver had it" in told()
    wait_until(lambda: "a snapshot is installed where it was sent" in told(), 10, "how it ended is told")
    victim.stop()
    assert other.ok("check", "--data-dir", str(victim.data))["ok"]


def test_paused_while_it_receives(make_cluster):
    """It sleeps until its leader has given it up, and is sent another one."""
    cluster = make_cluster(3, options=SHORT).formed()
    leader = cluster.leader()
    victim, other = cluster.others(leader)
    fill(leader, "65536")
    leave_behind(victim, [leader, other])
    start_until_sent(victim, [leader, other])
    victim.pause()
    write_until(other, other.status()["commit_index"] + 2000)  # nobody waits for it
    victim.resume()
    states = cluster.settled(seconds=30)
    assert len({s["digest"]["value"] for s in states}) == 1
    assert installed(victim) in (1, 2)  # all of the first may have been under way to it when it fell asleep


def test_stopped_while_it_sends(make_cluster):
    """Nobody to hand over to: it still leads, and still reads its rows, when it closes its store."""
    cluster = make_cluster(1, options=SHORT).formed()
    first = cluster[1]
    fill(first, "131072")
    write_until(first, 1500)
    wait_until(lambda: first.status()["first_index"] > 100, 15, "the log is trimmed")
    learner = cluster.add_node()
    mark = first.log_mark()
    first.ok("add-server", learner.id, learner.address, "--learner", "--no-wait")
    wait_until(lambda: f"that node needs to={learner.id} " in first.logged_since(mark), 20, "it is sent one")
    learner.pause()
    first.stop()
    learner.resume()
    first.start()
    states = cluster.settled(seconds=30)
    assert len({s["digest"]["value"] for s in states}) == 1
