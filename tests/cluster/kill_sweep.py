#!/usr/bin/python3
"""kill_sweep.py - SIGKILL at every single persistence call of a node, and miss nothing.

usage: kill_sweep.py [--phase NAME]... [--points N] [--seed S] [--only FAULT:LANE:CALL:NUMBER]

The phases and what is met in them: sweep.py. After each kill
  - `raftctl check` finds the directory sound (it may find it unfinished while the store is being made);
  - its log holds everything that the leader had been told it has, and its promises the vote that elected
    the leader;
  - started again it is a member as before, everything acknowledged is there, and the digests are equal.
Prints how many kills there were at which call in which phase. Exit status: 0 all of it held, 1
something did not. The build under test is RAFTD_BUILD (default: build/).
"""
import signal
import sys

from sweep import Sweep, main


class KillSweep(Sweep):
    faults = {"KILL": "signal=KILL"}

    def statuses(self, point):
        return {-signal.SIGKILL}


if __name__ == "__main__":
    sys.exit(main("kill_sweep", KillSweep))
