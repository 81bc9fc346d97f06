"""Clusters of two versions: what an earlier raftd of tests/upgrade/versions and this one do together.

Each test is run with every version, built from the history of the repository. An upgrade is a restart of one
node after the other under load, the way back is the same: no request may fail, nothing may be lost.
"""
import subprocess
from typing import NamedTuple

import pytest
from certs import Certs
from exec_jobs import Exec, claims_lapse
from far_behind import bench, longest_log, write_until
from harness import BUILD, RAFTCTL, ROOT, wait_until
from load import Load

PROTOCOL = 2  # the highest of this raftd


class Version(NamedTuple):
    commit: str
    protocol: int
    has: frozenset


def versions():
    lines = (ROOT / "tests/upgrade/versions").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return [Version(commit, int(protocol), frozenset(has)) for commit, protocol, *has in words]


VERSIONS = versions()
SECURE = [v for v in VERSIONS if "tls" in v.has]


@pytest.fixture(name="old")
def _old(request):
    """The build directory of a version."""
    done = subprocess.run([ROOT / "tests/upgrade/build", request.param.commit], capture_output=True, text=True,
                          check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    build = type(ROOT)(done.stdout.strip())
    assert (build / "daemon/raftd/raftd").exists()
    return build


each_version = pytest.mark.parametrize("old", VERSIONS, indirect=True, ids=lambda v: v.commit[:7])


def make_old(nodes, old):
    """What both versions know of a configuration is all that is set."""
    for node in nodes:
        node.build = old
        node.options["http.listen"] = ""


def change_to(node, build):
    """What an upgrade of a package and `systemctl restart` do; returns once it has caught up."""
    node.stop()
    node.build = build
    node.start()
    cluster = node.cluster
    goal = max(n.status()["commit_index"] for n in cluster.running())
    wait_until(lambda: node.status()["applied_index"] >= goal, 20, f"n{node.id} has caught up")
    wait_until(lambda: all(m["connected"] for n in cluster.running() for m in n.status()["members"]), 20,
               "all are linked")


def protocols(node):
    return {m["id"]: m["protocol"] for m in node.status()["members"]}


def roll(cluster, build):
    """One after the other, the leader last."""
    leader = cluster.leader()
    for node in [*cluster.others(leader), leader]:
        before = cluster.load.count()
        change_to(node, build)
        wait_until(lambda: cluster.load.count() > before + 20, 20, "writes go on")


# ---- There and back ----

def up_and_down(cluster, old):
    cluster.formed()
    cluster.load = Load(lambda: [n for n in cluster if n.is_running()], 6)
    with cluster.load as load:
        wait_until(lambda: load.count() > 50, 20, "writes are acknowledged")
        change_to(cluster[1], BUILD)
        assert protocols(cluster[1]) == {1: PROTOCOL, 2: 1, 3: 1}
        roll(cluster, BUILD)
        wait_until(lambda: all(set(protocols(n).values()) == {PROTOCOL} for n in cluster), 20,
                   "all speak the newest protocol")
        roll(cluster, old)
    states = cluster.settled()
    assert len({s["digest"]["value"] for s in states}) == 1
    written = load.check(cluster)
    print(f"{written} writes, 0 failed, longest time without an acknowledgement {load.longest_silence():.0f} ms")


@each_version
def test_a_rolling_upgrade_and_the_way_back(make_cluster, old):
    cluster = make_cluster(3)
    make_old(cluster, old)
    up_and_down(cluster, old)


@pytest.mark.parametrize("old", SECURE, indirect=True, ids=lambda v: v.commit[:7])
def test_a_rolling_upgrade_within_tls(make_cluster, old, tmp_path):
    cluster = make_cluster(3)
    make_old(cluster, old)
    Certs(tmp_path / "certs").use(cluster)
    up_and_down(cluster, old)


# ---- While both are members ----

@each_version
@pytest.mark.parametrize("leads", ["the old one leads", "the new one leads"])
def test_all_that_members_do_together(make_cluster, old, leads):
    """Of three, one is of the other version; it is added, promoted, written through, led by, and removed."""
    cluster = make_cluster(2)
    make_old(cluster, old if leads == "the old one leads" else BUILD)
    cluster.formed()
    other = cluster.add_node(start=False)
    make_old([other], BUILD if leads == "the old one leads" else old)
    other.start()
    assert cluster[1].ok("add-server", 3, other.address, timeout="30s")["role"] == "voter"
    assert other.ok("put", "k", "v")["revision"] == cluster[2].ok("get", "k")["mod_revision"]
    assert other.ok("get", "k")["value"] == "v"
    assert cluster[2].ok("transfer", 3)["to"] == 3
    assert cluster[1].ok("put", "k", "w")["term"] == other.status()["term"]
    assert other.ok("demote", 2)["role"] == "learner"
    assert cluster[2].ok("promote", 2)["role"] == "voter"
    assert other.ok("step-down")["from"] == 3
    assert other.ok("get", "k")["value"] == "w"
    states = cluster.settled()
    assert len({s["digest"]["value"] for s in states}) == 1
    assert cluster[1].ok("remove-server", 3)["id"] == 3
    wait_until(lambda: other.status()["state"] == "removed", 10, "it knows that it was removed")


@each_version
@pytest.mark.parametrize("away", ["an old one was away", "a new one was away"])
def test_a_snapshot_for_the_other_version(make_cluster, old, away):
    cluster = make_cluster(3, options={"storage.log_keep_entries": "100"})
    make_old(cluster, old)
    if away == "an old one was away":
        cluster[1].build = cluster[2].build = BUILD
    else:
        cluster[3].build = BUILD
    cluster.formed()
    bench(cluster[1], "--clients", "8", "--size", "16384", "--duration", "100ms", "--keep")
    cluster[3].stop()
    stay = [cluster[1], cluster[2]]
    had = longest_log(stay)
    write_until(cluster[1], had + 400)
    wait_until(lambda: min(n.status()["first_index"] for n in stay) > had + 1, 20, "the logs are trimmed")
    cluster[3].start()
    states = cluster.settled(seconds=30)
    assert len({s["digest"]["value"] for s in states}) == 1
    assert "installed a snapshot" in cluster[3].log_text()


@each_version
def test_what_the_old_one_does_not_know_is_not_said(make_cluster, old):
    """Holders that have stopped are told to a successor that knows of that; the link to another lasts."""
    cluster = make_cluster(3)
    make_old(cluster, old)
    cluster[1].build = BUILD
    cluster.formed()
    if cluster.leader() is not cluster[1]:
        cluster[2].ok("transfer", 1)
    with Exec(cluster[1], "sleep", "1d") as job:
        job.running()
        claims_lapse()  # else there is nothing to tell
        mark = cluster[2].log_mark()
        mark_new = cluster[1].log_mark()
        assert cluster[3].ok("transfer", 2)["to"] == 2
        job.wait()
        wait_until(lambda: cluster[2].status()["is_leader"], 5, "the claims have lapsed")
        cluster[3].ok("put", "k", "v")
        assert "protocol" not in cluster[2].logged_since(mark), cluster[2].logged_since(mark)
        assert "link down" not in cluster[1].logged_since(mark_new), cluster[1].logged_since(mark_new)
        assert cluster[3].ok("transfer", 1)["to"] == 1
    cluster.settled()


# ---- One host ----

@each_version
def test_raftctl_of_the_other_version(make_cluster, old):
    """A package replaces raftctl at once, and raftd at its next restart."""
    cluster = make_cluster(2)
    make_old([cluster[1]], old)
    make_old([cluster[2]], BUILD)
    cluster.formed()
    for node, build in ((cluster[1], BUILD), (cluster[2], old)):
        program = build / RAFTCTL.relative_to(BUILD)

        def says(*words, node=node, program=program, **options):
            done = node.run(*words, program=program, text=True, **options)
            assert done.returncode == 0, (words, done)
            return done.stdout
        assert "healthy" in says("status")
        assert f'"id":{node.id}' in says("--json", "status")
        assert "voter" in says("members")
        says("put", "k", "v")
        assert says("get", "k") in ("v", "v\n")
        assert "k" in says("list")
        assert '"deleted":1' in says("batch", stdin=b"del k\n")
        says("backup", node.dir / f"b{node.id}")
        assert "reload" not in says("log-level", "debug")
        says("wait", "--for", "caught-up")


@each_version
def test_a_data_directory_is_used_by_both(make_cluster, old):
    """Made by the old one, used by the new one, and by the old one again: with a flushed state and a trimmed log."""
    cluster = make_cluster(1, options={"storage.log_keep_entries": "100"})
    make_old(cluster, old)
    cluster.formed()
    node = cluster[1]
    digests = []
    for build in (old, BUILD, old, BUILD):
        if node.build != build:
            change_to(node, build)
        before = node.status()["last_index"]
        write_until(node, before + 400)
        wait_until(lambda: node.status()["first_index"] > before, 20, "the log is trimmed")
        digests.append(node.ok("put", "k", str(len(digests)))["revision"])
    assert digests == sorted(digests)
    assert node.ok("get", "k")["value"] == "3"
    node.stop()
    check = node.ok("check", "--data-dir", node.data)
    assert check["ok"] and check["format"] == 1
    assert f"raftctl {check['used_by']}" in node.run("--version", text=True).stdout
    assert "format    1, last used by raftd " in node.run("check", "--data-dir", node.data, text=True).stdout
    node.build = old
    assert node.ok("check", "--data-dir", node.data)["ok"]
