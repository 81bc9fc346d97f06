"""Fixtures of the cluster tests. See harness.py."""
import re
import resource

import pytest

import harness


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        item.failed_before = True


def pytest_configure():
    for program in (harness.RAFTD, harness.RAFTCTL):
        if not program.exists():
            pytest.exit(f"{program} does not exist: build first, or set RAFTD_BUILD", 2)


@pytest.fixture
def make_cluster(request):
    """Makes clusters for one test. At its end they are shut down and checked; when the test failed
    their logs are printed and their directories are kept."""
    made = []

    def make(count, **options):
        name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))
        cluster = harness.Cluster(count, name=name, **options)
        made.append(cluster)
        return cluster

    yield make
    failures = []
    for cluster in made:
        cluster.keep = getattr(request.node, "failed_before", False)
        try:
            cluster.close()
        except AssertionError as error:
            failures.append(str(error))
        if cluster.keep:
            cluster.print_logs()
    assert not failures, "\n".join(failures)


@pytest.fixture
def trio(make_cluster):
    """Three nodes that formed a cluster."""
    return make_cluster(3).formed()


@pytest.fixture
def single(make_cluster):
    """One node that formed a cluster of its own."""
    return make_cluster(1).formed()


def unmoved(cluster):
    """For a fixture: the leader and the term of this cluster are the same at the end, and it works."""
    leader = cluster.leader()
    before = leader.status()
    yield cluster
    assert cluster.leader() is leader
    assert leader.status()["term"] == before["term"], "an election was forced"
    cluster[1].ok("put", "after", "v")
    cluster.settled()
    cluster.linked()


@pytest.fixture
def steady(trio):
    yield from unmoved(trio)


@pytest.fixture
def many_descriptors():
    """Enough of them for a crowd of clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
