#!/usr/bin/python3
"""run.py - does the simulator find every mutant of the core? (mutants.toml)

usage: run.py SIM [--seeds N] [--jobs N] [--only PART_OF_A_NAME]

SIM is the simulator with the mutants in it (ninja -C build sim-mutants). Each mutant is switched on
by itself and has to be found within N seeds (default 2000); without any, SIM has to find nothing in
the first 100. One line for each; exit status 1 when one was not found.
"""
import argparse
import os
import re
import subprocess
import sys
import time

from weave import mutants

FOUND = re.compile(r"^FAILED seed (\d+)", re.M)
STORY = re.compile(r"^ *[\d.]+ ms .*", re.M)


def hunt(sim, number, seeds, jobs):
    """Run the simulator with one mutant: (the first seed that found it or None, what it said)."""
    done = subprocess.run([sim, "--seeds", f"1..{seeds}", "--failures", "1", "--jobs", str(jobs)],
                          env={**os.environ, "RAFT_MUTANT": str(number)}, capture_output=True,
                          text=True, check=False)
    found = FOUND.search(done.stderr)
    story = STORY.search(done.stderr) or re.search(r"^.*assert.*$", done.stderr, re.M)
    return (int(found.group(1)) if found else None), (story.group(0).strip() if story else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sim")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    began = time.monotonic()
    passed = failed = 0
    seed, story = hunt(options.sim, 0, 100, options.jobs)
    if seed is not None:
        print(f"FAILED: without a mutant seed {seed} fails: {story}")
        return 1
    for row in mutants():
        if options.only not in row["name"]:
            continue
        seed, story = hunt(options.sim, row["number"], options.seeds, options.jobs)
        if seed is None:
            failed += 1
            print(f"NOT FOUND within {options.seeds} seeds: {row['name']} ({row['file']}); try: "
                  f"RAFT_MUTANT={row['number']} {options.sim} --seeds 1..{options.seeds}", flush=True)
        else:
            passed += 1
            print(f"found by seed {seed}: {row['name']}: {story[:120]}", flush=True)
    print(f"{passed} mutants found, {failed} not, {time.monotonic() - began:.0f} s")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
