#!/usr/bin/python3
"""run.py - is every mutant of the core found? (mutants.toml)

usage: run.py BUILD [--seeds N] [--jobs N] [--only PART_OF_A_NAME]

BUILD is a build directory with the simulator and the golden traces that have the mutants in them:
ninja -C BUILD tests/mutants/sim-mutants tests/mutants/golden-mutants. Each mutant is switched on by
itself and has to be found by the simulator within N seeds (default 2000), or by a golden trace if
mutants.toml says so; without any, the first 100 seeds and all traces have to pass. One line for
each; exit status 1 when one was not found.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

from weave import mutants

TRACES = pathlib.Path(__file__).resolve().parents[1] / "golden"
FOUND = re.compile(r"^FAILED seed (\d+)", re.M)
STORY = re.compile(r"^ *[\d.]+ ms .*", re.M)


def simulate(build, number, options):
    """Run the simulator with one mutant: (who found it or None, what it said)."""
    sim = [f"{build}/tests/mutants/sim-mutants", "--seeds", f"1..{options.seeds if number else 100}"]
    done = subprocess.run([*sim, "--failures", "1", "--jobs", str(options.jobs)], check=False,
                          env={**os.environ, "RAFT_MUTANT": str(number)}, capture_output=True, text=True)
    found = FOUND.search(done.stderr)
    story = STORY.search(done.stderr) or re.search(r"^.*assert.*$", done.stderr, re.M)
    return f"seed {found[1]}" if found else None, story[0].strip() if story else ""


def compare(build, number, _):
    """Run all golden traces with one mutant, until one differs: the same."""
    for trace in sorted(TRACES.glob("*.txt")):
        done = subprocess.run([f"{build}/tests/mutants/golden-mutants", trace], check=False,
                              env={**os.environ, "RAFT_MUTANT": str(number)}, capture_output=True,
                              text=True)
        if done.returncode:
            return trace.stem, " ".join(done.stderr.split())
    return None, ""


SEEKERS = {"sim": simulate, "golden": compare}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    began = time.monotonic()
    passed = failed = 0
    for name, seek in SEEKERS.items():
        by, story = seek(options.build, 0, options)
        if by:
            print(f"FAILED: without a mutant {name} fails: {by}: {story}")
            return 1
    for row in mutants():
        if options.only not in row["name"]:
            continue
        name = row.get("by", "sim")
        by, story = SEEKERS[name](options.build, row["number"], options)
        if by:
            passed += 1
            print(f"found by {by}: {row['name']}: {story[:120]}", flush=True)
        else:
            failed += 1
            print(f"NOT FOUND by {name}: {row['name']} ({row['file']}), RAFT_MUTANT={row['number']}",
                  flush=True)
    print(f"{passed} mutants found, {failed} not, {time.monotonic() - began:.0f} s")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
