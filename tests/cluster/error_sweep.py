#!/usr/bin/python3
"""error_sweep.py - EIO, and ENOSPC, at every single persistence call of a node, and miss nothing.

usage: error_sweep.py [--phase NAME]... [--points N] [--seed S] [--only FAULT:LANE:CALL:NUMBER]

The phases and what is met in them: sweep.py. The call fails once; a second try would succeed, and would
hide what was lost. At each
  - the node ends with 81 (EIO) or 80 (ENOSPC), after one line of level error that names the path, or the
    call may fail: about LOCK, which holds the pid for people only, or for room ahead;
  - no reply left that depended on it: what kill_sweep.py checks holds here, too;
  - the others go on meanwhile.
Prints how many errors there were at which call in which phase. Exit status: 0 all of it held, 1
something did not. The build under test is RAFTD_BUILD (default: build/).
"""
import sys

from harness import EXIT_DISK_FULL, EXIT_IO
from sweep import Sweep, Violation, main


class ErrorSweep(Sweep):
    faults = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}

    def statuses(self, point):
        return {EXIT_IO} if point.fault == "EIO" else {EXIT_DISK_FULL}

    def judge(self, point):
        lines = [x for x in self.bench.victim.logged_since(self.log_mark).splitlines() if " error " in x]
        if len(lines) != 1 or str(self.bench.victim.data) not in lines[0]:
            raise Violation(f"not one clear line, but {lines}")
        super().judge(point)


if __name__ == "__main__":
    sys.exit(main("error_sweep", ErrorSweep))
