#!/usr/bin/python3
"""change_kills.py - kill the leader in the middle of membership changes, again and again.

usage: change_kills.py [--rounds N] [--seed S]

Five nodes, of which three or more vote, and clients that write through all of them. In each round a
random change is asked for through a random node (add, promote, demote, remove or replace, of the
leader itself, too), and at a random moment around it the leader is killed by SIGKILL and started
again. Checked in each round:
  - all members show one membership, and it is the one before the change or the one after it (a
    replacement, which is two changes, may stop after its first);
  - what the command answered is true: done is done, refused is not;
  - the next change works: the same command, repeated through another node, ends with what was wanted;
  - who was removed knows it, and can be added again with empty data;
and, as kill_rounds.py, nothing acknowledged is missing, no revision was given twice, no term has two
leaders, equal digests. Exit status: 0 all of it held, 1 something did not (with the seed).
The build under test is RAFTD_BUILD (default: build/).
"""
import argparse
import collections
import json
import random
import shutil
import subprocess
import sys
import threading
import time

from campaign import run_campaign, say
from harness import SLOWDOWN, Cluster, wait_until
from kill_rounds import Rounds, Violation

NODES = 5
UNSURE = {"unknown_outcome", "unreachable", "timeout"}  # the command may have worked


class Asked(threading.Thread):
    """One raftctl in the background."""

    def __init__(self, node, words):
        super().__init__(daemon=True)
        self.node = node
        self.command = node.command(*words, timeout="10s")
        self.code = None
        self.answer = None

    def run(self):
        done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=60 * SLOWDOWN)
        self.code = done.returncode
        self.answer = json.loads(done.stdout) if done.stdout.strip() else {}

    @property
    def outcome(self):
        return "done" if self.code == 0 else self.answer["error"]["code"]


class ChangeKills(Rounds):
    """Rounds of kill_rounds.py, each with a change under way."""

    def __init__(self, cluster, seed, writers, say):
        super().__init__(cluster, seed, writers, say)
        self.roles = {}  # of the members
        self.outcomes = collections.Counter()

    def members(self):
        return [self.cluster[i] for i in self.roles]

    # ---- What to ask for ----

    def voters(self):
        return [i for i, role in self.roles.items() if role == "voter"]

    def choose(self):
        """(words, roles after each of its steps): a change that leaves three to five voters."""
        random_one = self.random.choice
        voters, roles = self.voters(), self.roles
        learners = [i for i in roles if i not in voters]
        spare = [n for n in self.cluster if n.id not in roles]
        can = []
        if spare:
            new = random_one(spare)
            can += [(["add-server", new.id, new.address], [{**roles, new.id: "voter"}])] * 2
            can += [(["add-server", new.id, new.address, "--learner"],
                     [{**roles, new.id: "learner"}])] * 2
            old = random_one(voters)
            grown = {**roles, new.id: "voter"}
            can += [(["replace-server", old, new.id, new.address],
                     [grown, {i: r for i, r in grown.items() if i != old}])] * 2
        if learners:
            one = random_one(learners)
            can += [(["promote", one], [{**roles, one: "voter"}])] * 2
            can += [(["remove-server", one], [{i: r for i, r in roles.items() if i != one}])]
        if len(voters) > 3:
            one = self.cluster.leader(among=self.members()).id if self.random.random() < 0.3 \
                else random_one(voters)
            can += [(["demote", one], [{**roles, one: "learner"}])] * 2
            can += [(["remove-server", one], [{i: r for i, r in roles.items() if i != one}])] * 2
        return random_one(can)

    # ---- What came of it ----

    def agreed(self):
        """The roles that all members show, once nothing is pending or to be promoted."""
        def same():
            shown = [n.ok("members") for n in self.members() if n.is_running()]
            sets = {tuple(sorted((m["id"], m["role"]) for m in s["members"])) for s in shown}
            calm = not any(s["pending"] or any(m["auto_promote"] for m in s["members"])
                           for s in shown)
            if not calm or len(sets) != 1 or len({s["index"] for s in shown}) != 1:
                return None
            roles = dict(sets.pop())
            added = [self.cluster[i] for i in roles if i not in self.roles]
            return roles if all(n.ok("members")["index"] == shown[0]["index"] for n in added) else None
        # Whom an open change removes may not show it: it is asked no more.
        def seen():
            for node in self.members():
                if node.ok("status")["state"] == "removed":
                    del self.roles[node.id]
            return same()
        return wait_until(seen, 20, "all members show one membership")

    def judge(self, asked, before, steps, found):
        if found not in [before, *steps]:
            raise Violation(f"{before} became {found}, not {steps}")
        if asked.code == 0 and found != steps[-1]:
            raise Violation(f"{asked.command} was done, and the members are {found}")
        if asked.code != 0 and asked.outcome not in UNSURE and found not in [before, *steps[:-1]]:
            raise Violation(f"{asked.command} answered {asked.answer}, and the members are {found}")

    def again(self, words):
        """The same command, of somebody who wants it done and who was told to try again."""
        through = [n for n in self.members() if n.id in self.voters()]

        def done():
            answer = self.random.choice(through).ctl(*words, timeout="10s")
            if answer.code and answer.error not in ("change_pending", "not_ready", "no_leader",
                                                    "no_quorum", "would_lose_quorum", *UNSURE):
                raise Violation(f"the next change, {words}, is refused: {answer}")
            return answer.code == 0
        wait_until(done, 20, f"the next change works: {words}")

    def empty_the_removed(self):
        """Who was removed says so; its operator empties it, for another day."""
        for node in self.cluster:
            if node.id in self.roles or node.status()["state"] == "unconfigured":
                continue
            wait_until(lambda n=node: n.status()["state"] == "removed", 10,
                       f"node {node.id} knows that it was removed")
            node.kill()
            shutil.rmtree(node.data)
            node.options["cluster.member"] = []
            node.start()

    # ---- A round ----

    def one_round(self, number):
        leader = self.cluster.leader(among=self.members())
        term = leader.status()["term"]
        words, steps = self.choose()
        before = dict(self.roles)
        asked = Asked(self.random.choice(self.members()), words)
        delay = self.random.choice([0.008, 0.02, 0.2]) * self.random.random()
        asked.start()
        time.sleep(delay)
        leader.kill()
        killed = time.monotonic()
        at = self.history.wait_for_term_above(term, 10 * SLOWDOWN)
        if at is None:
            raise Violation(f"no write was acknowledged after node {leader.id} was killed")
        self.gaps.append(max(0.0, at - killed))
        time.sleep(self.random.uniform(0, 0.3))
        leader.start()
        asked.join(60 * SLOWDOWN)
        found = self.agreed()
        self.judge(asked, before, steps, found)
        self.roles = found
        self.again(words)
        self.roles = self.agreed()
        if self.roles != steps[-1]:
            raise Violation(f"{words} was done at last, and the members are {self.roles}")
        self.empty_the_removed()
        self.check_states(n.status() for n in self.members())
        self.check_data(self.random.choice(self.members()))
        self.check_writers()
        came = "nothing" if found == before else "all" if found == steps[-1] else "half"
        self.outcomes[words[0], came] += 1
        self.say(f"round {number}: {' '.join(map(str, words))}, node {leader.id} killed after "
                 f"{1000 * delay:.0f} ms: {asked.outcome}, {came} of it had happened")

    def summary(self):
        lines = [f"  {kind:15} {came:8} {count}" for (kind, came), count in
                 sorted(self.outcomes.items())]
        return "\n".join([super().summary(), "what had happened after the kill:", *lines])


def run_change_kills(rounds, seed, cluster, say):
    """On five new nodes: three form, two are spare; returns the ChangeKills."""
    cluster.formed()
    for _ in range(NODES - len(cluster.nodes)):
        cluster.add_node()
    run = ChangeKills(cluster, seed, NODES, say)
    run.roles = cluster.roles(cluster[1])
    try:
        run.run(rounds)
    finally:
        for writer in run.writers:
            writer.batch.__exit__()
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="of the choices (default: random)")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"change_kills: {options.rounds} rounds, seed {seed}", flush=True)
    cluster = Cluster(3, name="change-kills")
    return run_campaign("change_kills", cluster,
                        lambda: run_change_kills(options.rounds, seed, cluster, say),
                        f"--rounds {options.rounds} --seed {seed}")


if __name__ == "__main__":
    sys.exit(main())
