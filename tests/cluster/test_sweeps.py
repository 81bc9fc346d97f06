"""A little of kill_sweep.py, error_sweep.py, power_cuts.py and bit_flips.py; scripts/soak does all of it."""
import pathlib
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
    (KillSweep, ["creation", "bootstrap"], 6),
    (KillSweep, ["truncation", "stop"], 5),
    (ErrorSweep, ["leads"], 8),
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


@pytest.mark.skipif(not power_cuts.can_mount(), reason="no loop devices here, or not root")
def test_power_cuts():
    script = pathlib.Path(power_cuts.__file__)
    done = subprocess.run([sys.executable, script, "--rounds", "3", "--nodes", "1", "--seed", "1"],
                          check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0


def test_bit_flips(make_cluster):
    cluster = make_cluster(1, options=bit_flips.OPTIONS)
    run = bit_flips.run_bit_flips(cluster, range(44), 1, print)
    print(run.summary())
    assert run.outcomes.total() == 44
