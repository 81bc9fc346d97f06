"""A little of kill_sweep.py, error_sweep.py, power_cuts.py and bit_flips.py; scripts/soak does all of it."""
import re
import shutil
import subprocess
import sys

import pytest

import bit_flips
import power_cuts
from error_sweep import ErrorSweep
from inject import strace_works
from kill_sweep import KillSweep

needs_strace = pytest.mark.skipif(not strace_works(), reason="strace cannot trace here (ptrace)")


@needs_strace
@pytest.mark.parametrize("kind, phases, points", [
    (KillSweep, ["creation", "bootstrap"], 5),
    (KillSweep, ["truncation", "stop"], 4),
    (ErrorSweep, ["leads"], 6),
])
def test_sweep(kind, phases, points):
    sweep = kind(print)
    try:
        print(sweep.run(phases, points, seed=1).summary())
        sweep.close()
    except BaseException:
        sweep.keep = True
        sweep.shut_down()
        sweep.print_logs(40)
        raise
    assert sweep.met.total() >= points - 2


needs_disks = pytest.mark.skipif(not power_cuts.can_mount(), reason="no loop devices here, or not root")


def cut_power(*words):
    done = subprocess.run([sys.executable, power_cuts.__file__, "--nodes", "1", "--seed", "1", *words],
                          check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return done


@needs_disks
def test_power_cuts():
    assert cut_power("--rounds", "3").returncode == 0


@needs_disks
def test_power_cuts_find_a_sync_that_lies(tmp_path):
    (tmp_path / "lie.c").write_text("int fdatasync(int fd);\nint fdatasync(int fd) { return fd < 0; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "lie.so", "lie.c"], cwd=tmp_path, check=True)
    done = cut_power("--rounds", "10", "--preload", tmp_path / "lie.so")
    assert done.returncode == 1 and "power_cuts: FAILED" in done.stdout
    shutil.rmtree(re.search(r"the cluster is in (.*)", done.stdout).group(1))


def test_bit_flips(make_cluster):
    cluster = make_cluster(1, options=bit_flips.OPTIONS)
    run = bit_flips.run_bit_flips(cluster, range(22), 1, print)
    print(run.summary())
    assert run.outcomes.total() == 22
