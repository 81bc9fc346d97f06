"""What `meson install` leaves, and what the unit promises."""
import configparser
import os
import re
import subprocess

import pytest

from harness import BUILD, EXIT_CONFIG, EXIT_DATA, EXIT_USAGE, RAFTD, ROOT

UNIT = BUILD / "conf/raftd.service"


def run(*words, **options):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=120, **options)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    install(root)
    return root


def install(root):
    done = run("meson", "install", "-C", BUILD, "--no-rebuild", env={**os.environ, "DESTDIR": str(root)})
    assert done.returncode == 0, done.stdout + done.stderr


def prefix_of(root):
    return next(root.rglob("sbin")).parent


def test_everything_is_there(installed):
    prefix = prefix_of(installed)
    for path in ("sbin/raftd", "bin/raftctl", "lib/systemd/system/raftd.service",
                 "lib/systemd/system/raftd-wait-online.service", "lib/systemd/system/raftd-follow.service",
                 "lib/sysusers.d/raftd.conf", "share/raftd/raftd.conf", "share/man/man8/raftd.8",
                 "share/man/man1/raftctl.1", "share/man/man5/raftd.conf.5", "share/man/man7/raftd-http.7",
                 "share/man/man7/raftd-recovery.7", "share/bash-completion/completions/raftctl",
                 "share/zsh/site-functions/_raftctl", "share/fish/vendor_completions.d/raftctl.fish",
                 *(f"share/doc/raftd/{page.name}" for page in (ROOT / "docs").glob("*.md")),
                 "share/doc/raftd/prometheus/raftd.rules.yml", "share/doc/raftd/grafana/raftd.json"):
        assert (prefix / path).is_file(), path
    for example in (x for x in (ROOT / "conf/examples").rglob("*") if x.is_file()):
        copy = prefix / "share/doc/raftd/examples" / example.relative_to(ROOT / "conf/examples")
        assert os.access(copy, os.X_OK) == os.access(example, os.X_OK), copy
    # No program of the build, no test.
    assert {x.name for x in [*(prefix / "bin").iterdir(), *(prefix / "sbin").iterdir()]} == {"raftctl", "raftd"}


def test_the_configuration_is_never_replaced(tmp_path):
    conf = tmp_path / "etc/raftd/raftd.conf"
    install(tmp_path)
    assert conf.read_text() == (ROOT / "conf/raftd.conf").read_text() and conf.stat().st_mode & 0o777 == 0o644
    conf.write_text("[node]\nid = 7\n")
    install(tmp_path)
    assert conf.read_text() == "[node]\nid = 7\n"


@pytest.mark.parametrize("name", ["raftd", "raftd-follow", "raftd-wait-online"])
def test_units_name_what_is_installed(installed, name):
    text = (prefix_of(installed) / f"lib/systemd/system/{name}.service").read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.M).group(1)
    assert (installed / program[1:]).is_file(), program
    for page, section in re.findall(r"man:([\w.-]+)\((\d)\)", text):
        assert (prefix_of(installed) / f"share/man/man{section}/{page}.{section}").is_file()


def unit():
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def seconds(text):
    return float(re.fullmatch(r"(\d+)s", text).group(1))


def test_exposure():
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_service_promises(tmp_path):
    service = unit()
    assert service["Type"] == "notify" and service["Restart"] == "on-failure"
    assert {int(x) for x in service["RestartPreventExitStatus"].split()} == {EXIT_USAGE, EXIT_CONFIG, EXIT_DATA}
    conf = tmp_path / "raftd.conf"
    conf.write_text("[node]\nid = 1\n")
    dumped = run(RAFTD, "-c", conf, "--dump-config").stdout
    transfer = seconds(re.search(r"^shutdown_transfer_timeout = (\S+)", dumped, re.M).group(1))
    assert seconds(service["TimeoutStopSec"]) >= 2 * transfer
    # The paths of the configuration are those of the unit.
    assert f"data_dir = /var/lib/{service['StateDirectory']}\n" in dumped
    assert f"socket = /run/{service['RuntimeDirectory']}/raftd.sock\n" in dumped
    # Each of these would break it: who asks is told by uid, and map_size is address space.
    for key in ("DynamicUser", "PrivateUsers", "LimitAS"):
        assert key not in service
    # Memory holds the values and the key of [tls].
    assert service["LimitCORE"] == "0"
    # It may be mounted where the sidecars are.
    assert service["RuntimeDirectoryPreserve"] == "restart"


def test_the_package_asks_for_what_the_build_needs():
    """A clean build host has nothing but what debian/control names."""
    lists = run("bash", "-c", '. "$1"; printf "%s\\n" "${packages_build[@]}"', "bash", ROOT / "scripts/packages").stdout
    control = (ROOT / "debian/control").read_text().partition("\n\n")[0]
    named = set(re.findall(r"^ ([a-z0-9+-]+),", control, re.M))
    essential = {"gcc", "libc6-dev", "ninja-build"}  # of build-essential and meson
    assert set(lists.split()) - essential - {"libcmocka-dev"} <= named
