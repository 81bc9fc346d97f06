"""File systems that somebody else fills while the cluster runs: real ones, of 32 MiB, mounted by the test."""
import os
import pathlib
import subprocess
import time

import pytest

from harness import wait_until

SIZE_MIB = 32
VALUE = "v" * 100_000
KINDS = {
    "ext4": [["truncate", "-s", f"{SIZE_MIB}M", "{image}"], ["mkfs.ext4", "-q", "-F", "-m", "0", "{image}"],
             ["mount", "-o", "loop", "{image}", "{at}"]],
    "tmpfs": [["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", "{at}"]],
}


class SmallDisk:
    """A file system of its own, and the file with which somebody else fills it."""

    def __init__(self, path, kind):
        self.at = path / "disk"
        self.at.mkdir(parents=True)
        self.filler = self.at / "filler"
        for words in KINDS[kind]:
            command = [w.format(image=path / "image", at=self.at) for w in words]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"cannot mount here: {' '.join(command)}: {done.stderr.strip()}")

    def fill(self):
        """Until nothing is left, whatever else is written meanwhile."""
        with open(self.filler, "ab") as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), file.tell(), size)
                        file.seek(0, os.SEEK_END)
                except OSError:
                    pass

    def empty(self):
        self.filler.unlink()

    def free(self):
        fs = os.statvfs(self.at)
        return fs.f_bfree * fs.f_frsize

    def unmount(self):
        if os.path.ismount(self.at):
            subprocess.run(["umount", "-l", self.at], check=True)


@pytest.fixture(params=sorted(KINDS))
def small_disks(request, tmp_path):
    """Makes small file systems; they go when the cluster on them has ended."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    made = []

    def make(count):
        for i in range(count):
            made.append(SmallDisk(tmp_path / f"d{i}", request.param))
        return made

    yield make
    for disk in made:
        disk.unmount()


def on(node, disk):
    """The node's data is on this file system."""
    node.data = pathlib.Path(disk.at) / "data"
    return node


def disk_state(node):
    return node.status()["disk"]["state"]


def put_until_refused(cluster, via, acked, most=300):
    """Puts through one node after the other until one is refused: the answer. What was acknowledged is
    added."""
    nodes = list(via)
    for i in range(most):
        key = f"k{len(acked)}"
        answer = nodes[i % len(nodes)].ctl("put", key, VALUE, timeout="20s")
        if answer.code:
            return answer
        acked.append(key)
    raise AssertionError(f"{most} puts of 100 kB fit on {len(cluster.nodes)} full disks")


def assert_keys(node, acked):
    found = [kv["key"] for kv in node.ok("list", "k")["kvs"]]
    assert sorted(found) == sorted(acked)


def test_all_disks_full(small_disks, make_cluster):
    """D3: what grows is refused with numbers, the rest goes on, room makes all well again."""
    disks = small_disks(3)
    cluster = make_cluster(3)
    for node, disk in zip(cluster, disks):
        on(node, disk)
    cluster.formed()
    acked = []
    for node in cluster:
        assert node.ok("put", f"k{len(acked)}", VALUE)
        acked.append(f"k{len(acked)}")
        disk = node.status()["disk"]
        assert disk["state"] == "ok" and disk["reserve_bytes"] >= 2 << 20 and disk["free_bytes"] > 0
    for disk in disks:
        disk.fill()
    refusal = put_until_refused(cluster, cluster, acked)
    assert refusal.error == "no_space", refusal
    assert "disk is low" in refusal.message and "in reserve" in refusal.message
    wait_until(lambda: all(disk_state(n) == "low" for n in cluster), 20, "all disks are low")
    for node in cluster:
        answer = node.ctl("put", "more", VALUE)
        assert answer.error == "no_space" and " bytes are free" in answer.message, answer
        shown = node.run("status", text=True).stdout
        assert "degraded: disk low (" in shown and "\ndisk      low, " in shown, shown
        assert "the disk is low" in node.log_text() and "free_bytes=" in node.log_text()
    # Deletes, reads, votes and hand-overs go on.
    for node in cluster:
        gone = acked.pop()
        assert node.ok("del", gone)["deleted"] == 1
        assert node.ok("get", acked[0])["value"] == VALUE
    for _ in range(3):
        moved = cluster.leader().ok("step-down")
        assert moved["to"] != moved["from"]
    cluster.settled()
    assert cluster.leader().ctl("put", "more", VALUE).error == "no_space"
    # A start, too.
    cluster.others(cluster.leader())[0].restart()
    cluster.settled()
    for disk in disks:
        disk.empty()
    wait_until(lambda: all(disk_state(n) == "ok" for n in cluster), 20, "all disks are well again")
    for node in cluster:
        assert "the disk has room again" in node.log_text()
        assert node.ok("put", f"k{len(acked)}", VALUE)
        acked.append(f"k{len(acked)}")
    cluster.settled()
    for node in cluster:
        assert_keys(node, acked)
        assert not [x for x in node.exits if x.status], "nobody ended for it"


def test_one_disk_full(small_disks, make_cluster):
    """A leader without room gives way; afterwards its disk is nobody else's trouble, however full."""
    disk = small_disks(1)[0]
    cluster = make_cluster(3)
    small = on(cluster[1], disk)
    cluster.formed()
    if cluster.leader() is not small:
        assert cluster.leader().ok("transfer", small.id)["to"] == small.id
    acked = []
    disk.fill()
    with cluster[2].batch() as batch:
        # More than what it has in reserve: in the end its log waits, and the others go on.
        for _ in range(60):
            key = f"k{len(acked)}"
            assert "revision" in batch.ask(f"put {key} {VALUE}", seconds=20)
            acked.append(key)
    assert cluster.leader(among=cluster.others(small)) is not small
    assert small.ok("put", f"k{len(acked)}", VALUE, timeout="20s"), "it takes what others have room for"
    acked.append(f"k{len(acked)}")
    wait_until(lambda: disk_state(small) == "stalled", 20, "its log waits for room")
    assert "the disk is low" in small.log_text()
    assert "handed over" in small.log_text()
    assert small.is_running()
    # Stopped and started without room: it is what it was.
    small.restart()
    assert small.is_running()
    assert cluster.others(small)[0].ok("put", f"k{len(acked)}", VALUE)
    acked.append(f"k{len(acked)}")
    disk.empty()
    wait_until(lambda: disk_state(small) == "ok", 30, "it has room again")
    cluster.settled(seconds=30)
    for node in cluster:
        assert_keys(node, acked)
        assert not [x for x in node.exits if x.status], "nobody ended for it"


def test_leadership_does_not_wander(small_disks, make_cluster):
    """With all disks low there is nobody better: the leader stays."""
    disks = small_disks(3)
    cluster = make_cluster(3)
    for node, disk in zip(cluster, disks):
        on(node, disk)
    cluster.formed()
    for disk in disks:
        disk.fill()
    acked = []
    assert put_until_refused(cluster, [cluster[1]], acked).error == "no_space"
    wait_until(lambda: all(disk_state(n) == "low" for n in cluster), 20, "all disks are low")
    cluster.settled()
    term = cluster.leader().status()["term"]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert cluster[2].ctl("put", "more", VALUE).error == "no_space"
    assert cluster.leader().status()["term"] == term
