"""/metrics, and what is made of it: promtool's word on all of it."""
import json
import re
import subprocess

import pytest
from harness import ROOT, wait_until

PROMETHEUS = ROOT / "conf/prometheus"
NAME = re.compile(r"\b(?:raftd|process)_[a-z0-9_]+\b")


def promtool(*words, stdin=None):
    done = subprocess.run(["promtool", *map(str, words)], input=stdin, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def names_served(node):
    return set(re.findall(r"^# TYPE (\S+)", node.get("/metrics").text, re.MULTILINE))


@pytest.mark.parametrize("state", ["unconfigured", "leading"])
def test_metrics_pass_the_check(make_cluster, state):
    node = make_cluster(1, founding=state == "leading")[1].start()
    if state == "leading":
        wait_until(lambda: node.get("/health/leader").status == 200, 10, "it leads")
    assert promtool("check", "metrics", stdin=node.get("/metrics").text) == ""


def test_rules_pass_the_check():
    assert "SUCCESS" in promtool("check", "rules", PROMETHEUS / "raftd.rules.yml")


def test_alerts_fire_when_they_should():
    assert "SUCCESS" in promtool("test", "rules", PROMETHEUS / "raftd.rules.test.yml")


def test_rules_and_dashboard_name_metrics_that_exist(make_cluster):
    served = names_served(make_cluster(1)[1].start())
    rules = (PROMETHEUS / "raftd.rules.yml").read_text()
    board = json.loads((ROOT / "conf/grafana/raftd.json").read_text())
    asked = [t["expr"] for p in board["panels"] for t in p["targets"]]
    for expression in [*re.findall(r"expr: (.*)", rules), *asked]:
        names = set(NAME.findall(expression))
        assert names <= served | {"raftd"}, f"{names - served} in {expression}"
    assert len(asked) > 20
