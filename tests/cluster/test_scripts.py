"""What people run from the repository: how it configures a build directory, and what it tells them to type."""
import json
import shutil
import subprocess

import pytest

from harness import ROOT

PROJECT = """project('sample', default_options: ['buildtype=debug'])
custom_target('made', output: 'made', command: ['touch', '@OUTPUT@'], build_by_default: true)
"""
OPTIONS = "option('mine', type: 'string', value: 'default')\noption('wanted', type: 'string', value: 'no')\n"


@pytest.fixture
def project(tmp_path):
    """A repository with scripts/common and little to build."""
    (tmp_path / "scripts").mkdir()
    for name in ("common", "packages"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "meson.build").write_text(PROJECT)
    (tmp_path / "meson_options.txt").write_text(OPTIONS)
    return tmp_path


def build_in(project, *options):
    """By the scripts, with what they said; what meson said is in the directory itself."""
    (project / "build").mkdir(exist_ok=True)
    script = '. scripts/common; build_in build build/dev-cluster.log "$@"'
    done = subprocess.run(["bash", "-c", script, "bash", *options], cwd=project, check=False, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, (done, (project / "build/dev-cluster.log").read_text())
    assert (project / "build/made").exists()
    return done.stdout


def options_of(project):
    done = subprocess.run(["meson", "introspect", "--buildoptions", project / "build"], check=True,
                          capture_output=True, text=True)
    return {x["name"]: x["value"] for x in json.loads(done.stdout)}


def log_of(project):
    return (project / "build/dev-cluster.log").read_text()


def test_a_build_directory_of_ones_own_is_kept(project):
    subprocess.run(["meson", "setup", "build", "-Dmine=mine", "-Dbuildtype=release"], cwd=project, check=True,
                   capture_output=True)
    (project / "build/precious").write_text("of the user")
    for said in ("was made by hand", ""):
        assert said in build_in(project, "-Dwanted=yes")
        found = options_of(project)
        assert (found["mine"], found["wanted"], found["buildtype"]) == ("mine", "yes", "release")
    assert build_in(project, "-Dwanted=yes") == "", "it is configured once"
    assert "by hand" in build_in(project, "-Dwanted=again"), "whatever was wanted of it before"
    assert options_of(project)["mine"] == "mine" and (project / "build/precious").exists()


def test_one_of_the_scripts_is_made_anew_with_other_options(project):
    assert build_in(project, "-Dmine=theirs", "-Dwanted=yes") == ""
    (project / "build/test-logs").mkdir()
    (project / "build/test-logs/earlier.log").write_text("earlier")
    (project / "build/left-over").write_text("")
    before = log_of(project)
    assert "is made anew: other options" in build_in(project, "-Dwanted=again")
    found = options_of(project)
    assert (found["mine"], found["wanted"]) == ("default", "again")
    assert not (project / "build/left-over").exists()
    assert (project / "build/test-logs/earlier.log").exists(), "no log goes"
    assert log_of(project).startswith(before) and len(log_of(project)) > len(before)


def test_one_that_cannot_be_configured_again_is_made_anew(project):
    subprocess.run(["meson", "setup", "build"], cwd=project, check=True, capture_output=True)
    (project / "build/meson-private/coredata.dat").write_bytes(b"damaged")
    (project / "build/meson-private/cmd_line.txt").unlink()
    said = build_in(project, "-Dwanted=yes")
    assert "is made anew: meson cannot go on" in said and options_of(project)["wanted"] == "yes"


def dev_cluster(*words):
    return subprocess.run([ROOT / "scripts/dev-cluster", *words], check=False, capture_output=True, text=True,
                          timeout=60)


def test_what_dev_cluster_says_to_type_is_for_its_directory(make_cluster, tmp_path):
    for action in ("status", "add"):
        assert f"scripts/dev-cluster --dir {tmp_path} starts one" in dev_cluster(action, "--dir", tmp_path).stderr
    cluster = make_cluster(1).formed()
    (cluster.dir / "n1/raftd.pid").write_text(f"{cluster[1].pid}\n")
    done = dev_cluster("start", "--dir", cluster.dir)
    assert done.returncode == 1 and "runs in" in done.stdout
    for action in ("status", "stop"):
        assert f"scripts/dev-cluster {action} --dir {cluster.dir} " in done.stdout.replace("\n", " \n")
