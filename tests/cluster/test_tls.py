"""Mutual TLS between members: what is refused and in which words, and changing every certificate."""
import os
import re
import shutil
import ssl
import subprocess
import time

import pytest
from certs import Certs, without
from harness import EXIT_CONFIG, RAFTD, SLOWDOWN, wait_until
from load import Load
from peer import HELLO, RAFT, REFUSAL, cluster_id, connect, frame, hello, receive, store_of

SHORT = {"storage.log_keep_entries": "100"}


@pytest.fixture(name="certs")
def _certs(tmp_path):
    return Certs(tmp_path / "certs")


@pytest.fixture(name="secure")
def _secure(make_cluster, certs):
    """Three nodes that formed a cluster within TLS."""
    cluster = make_cluster(3)
    certs.use(cluster)
    return cluster.formed()


def all_linked(nodes):
    return all(m["connected"] for n in nodes for m in n.status()["members"])


def wait_linked(nodes, seconds=15):
    wait_until(lambda: all_linked(nodes), seconds, "all links are up")


def said(node, mark, pattern, seconds=10):
    """The line of the log that says it; exactly one does."""
    def lines():
        return [x for x in node.logged_since(mark).splitlines() if re.search(pattern, x)]
    found = wait_until(lines, seconds, f"n{node.id} says {pattern!r}; it says:\n{node.logged_since(mark)}")
    assert len(found) == 1, found
    print(f"n{node.id}: {found[0]}")
    return found[0]


# ---- What works as without ----

def test_form_write_hand_over_restart(secure):
    leader = secure.leader()
    secure[1].ok("put", "k", "v")
    for node in secure:
        status = node.status()["tls"]
        assert 88 * 86400 < status["cert_expires_in_s"] <= 90 * 86400
        assert status["ca_expires_in_s"] > 3600 * 86400
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", status["cert_not_after"])
        assert "raftd_tls_certificate_expiry_timestamp_seconds 1" in node.get("/metrics").text
    assert re.search("tls       on, certificate expires in (89|90) days, auth", leader.run("status", text=True).stdout)
    assert leader.ok("step-down")["gap_ms"] < 500 * SLOWDOWN
    for node in secure:
        node.restart()
    secure.settled()
    assert secure[2].ok("get", "k")["value"] == "v"
    wait_linked(secure)


def test_a_new_node_gets_a_snapshot(make_cluster, certs):
    cluster = make_cluster(3, options=SHORT)
    certs.use(cluster)
    cluster.formed()
    cluster[1].run("bench", "--clients", "8", "--size", "16384", "--duration", "2s", "--keep")
    wait_until(lambda: cluster.leader().status()["first_index"] > 100, 15, "the log is trimmed")
    node = cluster.add_node(start=False)
    certs.use([node])
    node.start()
    assert cluster[1].ok("add-server", 4, node.address, timeout="60s")["role"] == "voter"
    assert "installed a snapshot" in node.log_text()
    cluster.settled()


def test_large_values_through_every_member(secure):
    value = b"x" * (1 << 20)
    for i in range(12):
        secure[1 + i % 3].ok("put", f"k{i}", "-", stdin=value)
    secure.settled()
    assert len(secure[2].ok("get", "k7")["value"]) == 1 << 20


# ---- Who dials a member ----

def shake(node, context):
    """A handshake and whatever the other side says after it: bytes, or the error."""
    with connect(node) as plain:
        try:
            with context.wrap_socket(plain) as s:
                return s.recv(65536)
        except (ssl.SSLError, ConnectionResetError) as error:
            return error


def foreign(tmp_path):
    """Another authority with the same names; it may be told apart by its signatures only."""
    other = Certs(tmp_path / "other", ids="1")
    shutil.copy(other.path("ca.crt"), other.path("own.crt"))
    return other


def with_ours(other, certs):
    """What shows a certificate of theirs and believes our authority."""
    shutil.copy(certs.path("ca.crt"), other.path("ca.crt"))
    return other.client(1)


def expired(certs):
    certs.make("4", "--days", "-1")
    return certs.client(4)


DIALLERS = {
    "no_certificate": (lambda certs, path: certs.client(), "shows no certificate"),
    "wrong_ca": (lambda certs, path: with_ours(foreign(path), certs),
                 "shows a certificate that is not signed by an authority in tls.ca"),
    "expired": (lambda certs, path: expired(certs), "shows a certificate that has expired"),
    "tls_1_2": (lambda certs, path: certs.client(2, newest=ssl.TLSVersion.TLSv1_2), "speaks no TLS 1.3"),
    "no_alpn": (lambda certs, path: certs.client(2, alpn=None), "speaks TLS, but not raftd/1"),
    "other_alpn": (lambda certs, path: certs.client(2, alpn="h2"), "speaks TLS, but not raftd/1"),
    "they_refuse_us": (lambda certs, path: foreign(path).client(1),
                       "refuses our certificate: the authority that signed it is not in tls.ca there"),
}


@pytest.mark.parametrize("name", DIALLERS)
def test_a_dialler_is_refused(secure, certs, tmp_path, name):
    make, words = DIALLERS[name]
    context = make(certs, tmp_path)
    leader = secure.leader()
    before, mark = leader.status(), leader.log_mark()
    for _ in range(5):
        assert isinstance(shake(leader, context), ssl.SSLError) or name == "no_alpn"
    said(leader, mark, f'net: inbound connection refused .*why="{words}"')
    assert leader.status()["term"] == before["term"]
    assert leader.status()["commit_index"] == before["commit_index"]


def test_plain_frames_are_refused(secure):
    """Told so in a plain frame; a heartbeat of a far term behind the hello does nothing."""
    leader = secure.leader()
    before, mark = leader.status(), leader.log_mark()
    other = secure.others(leader)[0]
    with connect(leader) as s:
        s.sendall(hello(other.id, store_of(other), cluster_id(leader), incarnation=1 << 40, empty=False) +
                  far_heartbeat(leader, other))
        kind, answer = receive(s)
        assert kind == REFUSAL and b"this node takes TLS only" in answer[2][0]
    said(leader, mark, 'net: inbound connection refused .*why="speaks no TLS; set .tls. there, or take it away here"')
    assert leader.status()["term"] == before["term"]


def far_heartbeat(to, from_node):
    return frame(RAFT, [(1, 3), (2, cluster_id(to)), (3, from_node.id), (4, to.id), (5, to.status()["term"] + 50),
                        (6, 1), (9, 1 << 40), (10, 1), (15, 1)])


def test_a_certificate_is_good_for_one_id(secure, certs):
    """Node 2's certificate with a perfect hello of node 3, and the certificate of another cluster."""
    leader = secure.leader()
    me, other = [n for n in secure if n is not leader]
    certs.make("5", cluster="elsewhere")
    for shown, words in ((me.id, f"not of raftd://test/{other.id}"), (5, "of raftd://elsewhere/5, not of raftd://test/")):
        before, mark = leader.status(), leader.log_mark()
        greeting = hello(other.id, store_of(other), cluster_id(leader), incarnation=1 << 40, empty=False)
        with connect(leader) as plain, certs.client(shown).wrap_socket(plain) as s:
            s.sendall(greeting + far_heartbeat(leader, other))
            kind, answer = receive(s)
            assert kind == REFUSAL and words.encode() in answer[2][0], answer
        said(leader, mark, f"hello refused .*{words}")
        assert leader.status()["term"] == before["term"]
    with connect(leader) as plain, certs.client(me.id).wrap_socket(plain) as s:
        s.sendall(far_heartbeat(leader, me))  # before any hello
        assert receive(s) is None
    assert leader.status()["term"] == before["term"]
    with connect(leader) as plain, certs.client(4).wrap_socket(plain) as s:
        s.sendall(hello(4, b"\x44" * 16))  # and one that fits is answered
        assert receive(s)[0] == HELLO


def test_a_thousand_idle_handshakes(secure, certs):
    """Who begins a handshake and stops costs little, and takes no place of a member."""
    leader = secure.leader()
    rss = leader.status()["process"]["rss_bytes"]
    idle = [connect(leader) for _ in range(1000)]
    for s in idle[::2]:
        try:
            s.sendall(bytes.fromhex("160301"))
        except OSError:
            pass  # made room already
    follower = secure.others(leader)[0]
    follower.restart()
    secure.settled()
    status = leader.status()["process"]
    assert status["fds"] < 300 and status["rss_bytes"] < rss + (64 << 20) * SLOWDOWN
    for s in idle:
        s.close()
    assert secure.leader() is leader


# ---- A member that does not fit ----

def wrong_ca(node, certs, tmp_path):
    other = Certs(tmp_path / "other")
    other.use([node])
    return "not signed by an authority in tls.ca", "authority that signed it is not in tls.ca there"


def has_expired(node, certs, tmp_path):
    certs.make(str(node.id), "--days", "-1")
    return "shows a certificate that has expired", "refuses our certificate: it has expired"


def other_node(node, certs, tmp_path):
    """Node 9 listens where node 3 is expected."""
    certs.make("9")
    node.options.update({**certs.options(9), "node.id": 9, "cluster.member": []})
    shutil.move(node.data, node.dir / "data-of-3")
    return "shows the certificate of raftd://test/9, not of raftd://test/3", "shows the certificate of .*/9, not of"


def other_cluster(node, certs, tmp_path):
    certs.make(str(node.id), cluster="elsewhere")
    node.options["cluster.name"] = "elsewhere"
    return "shows the certificate of raftd://elsewhere/3, not of raftd://test/3", "shows the certificate of raftd://"


def plain(node, certs, tmp_path):
    without(node)
    return "speaks no TLS; set .tls. there, or take it away here", \
        "this node takes TLS only|speaks TLS; set .tls. here, or take it away there"


@pytest.mark.parametrize("spoil", [wrong_ca, has_expired, other_node, other_cluster, plain])
def test_a_member_that_does_not_fit(secure, certs, tmp_path, spoil):
    if secure.leader() is secure[3]:
        secure[3].ok("step-down")
    leader = secure.leader()
    node, rest = secure[3], [secure[1], secure[2]]
    secure.settled()
    node.stop()
    words, theirs = spoil(node, certs, tmp_path)
    marks = {n: n.log_mark() for n in secure}
    before = leader.status()
    node.start()
    for other in rest:
        wait_until(lambda n=other: re.search(words, n.logged_since(marks[n])), 10, f"n{other.id} says {words}")
        trouble = wait_until(lambda n=other: {m["id"]: m for m in n.status()["members"]}[3]["trouble"], 5, "trouble")
        print(f"n{other.id} status: {trouble}")
    wait_until(lambda: re.search(theirs, node.logged_since(marks[node])), 10, f"n3 says {theirs}")
    for i in range(20):
        leader.ok("put", f"k{i}", "v")
    time.sleep(1)
    for n in secure:
        print("\n".join(f"n{n.id}: {x}" for x in n.logged_since(marks[n]).splitlines() if " net: " in x))
        assert len([x for x in n.logged_since(marks[n]).splitlines() if " net: " in x]) < 12
    after = leader.status()
    assert (after["term"], after["membership"]) == (before["term"], before["membership"])
    assert not any(m["connected"] for m in after["members"] if m["id"] == 3)
    assert node.status()["commit_index"] <= before["commit_index"], "it was told of a write"
    assert node.status()["term"] in (0, before["term"])


def test_a_tls_node_among_plain_ones(trio, certs):
    node = trio[3]
    if trio.leader() is node:
        node.ok("step-down")
    trio.settled()
    node.stop()
    certs.use([node])
    marks = {n: n.log_mark() for n in trio}
    before = trio[1].status()
    node.start()
    for other in (trio[1], trio[2]):
        said(other, marks[other], 'net: inbound connection refused .*why="speaks TLS; set .tls. here, or take it away there"')
        said(other, marks[other], 'net: no link .*why="refused: .*this node takes TLS only')
        wait_until(lambda n=other: re.search(f'no link peer={n.id} .*speaks no TLS; set .tls. there, or take it away',
                                             node.logged_since(marks[node])), 5, "the line on the other side")
    trio[1].ok("put", "k", "v")
    assert trio[1].status()["term"] == before["term"]
    node.stop()
    without(node)
    node.start()
    trio.settled()
    wait_linked(trio)


def test_adding_a_node_without_tls(secure):
    node = secure.add_node()
    answer = secure[1].ctl("add-server", 4, node.address, timeout="5s")
    assert answer.code == 1 and "speaks no TLS" in answer.message, answer
    assert secure.roles(secure[1]) == {1: "voter", 2: "voter", 3: "voter"}


# ---- Files ----

def broken(certs, what):
    """-> which option is to blame, and the words."""
    key, cert, ca = certs.path("1.key"), certs.path("1.crt"), certs.path("ca.crt")
    if what == "no_file":
        cert.unlink()
        return "tls.cert", "cannot be read: No such file"
    if what == "no_pem":
        ca.write_text("nothing")
        return "tls.ca", "holds no certificate of an authority"
    if what == "directory":
        key.unlink()
        key.mkdir()
        return "tls.key", "cannot be read: it is no file"
    if what == "other_key":
        shutil.copy(certs.path("2.key"), key)
        return "tls.key", "is not the key of the certificate"
    if what == "readable":
        key.chmod(0o644)
        return "tls.key", "may be read or written by every user; take that away: chmod o-rwx"
    if what == "other_name":
        shutil.copy(certs.path("2.key"), key)
        shutil.copy(certs.path("2.crt"), cert)
        return "tls.cert", "shows the certificate of raftd://test/2, not of raftd://test/1"
    certs.make("2", "--new-ca")
    return "tls.cert", "is not signed by an authority"


@pytest.mark.parametrize("what", ["no_file", "no_pem", "directory", "other_key", "readable", "other_name", "other_ca"])
def test_files_that_do_not_fit(make_cluster, certs, what):
    """Exit 78 with file:line at the start; a reload keeps what was."""
    node = make_cluster(1)[1]
    certs.use([node])
    node.start()
    option, words = broken(certs, what)
    answer = node.ctl("reload")
    assert answer.code == 1 and words in answer.message and option in answer.message, answer
    assert re.search(rf"raftd.conf:\d+: {option}: ", answer.message)
    assert node.status()["tls"]["cert_expires_in_s"] > 0
    node.stop()
    mark = node.log_mark()
    node.start(wait=False)
    node.wait_exit(expect=EXIT_CONFIG)
    assert re.search(rf"raftd.conf:\d+: {option}: .*{words}", node.logged_since(mark))
    done = subprocess.run([RAFTD, "-c", node.conf, "--check-config"], capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CONFIG and words in done.stderr, done


def test_an_expired_certificate_replaces_none(secure, certs):
    certs.make("1", "--days", "-1")
    assert "it has expired" in secure[1].ctl("reload").message
    certs.make("1", "--days", "3")
    mark = secure[1].log_mark()
    secure[1].ok("reload")
    said(secure[1], mark, "a certificate expires soon .*tls.cert .*days_left=[23]")
    wait_linked(secure)


def test_an_expired_authority_replaces_none(secure, certs):
    """Its certificates would be refused by everybody, and every link with them."""
    old = certs.path("ca.crt").read_bytes()
    subprocess.run(["openssl", "x509", "-in", certs.path("ca.crt"), "-signkey", certs.path("ca.key"), "-days", "-1",
                    "-out", certs.path("old.crt")], check=True, capture_output=True)
    os.replace(certs.path("old.crt"), certs.path("ca.crt"))
    assert "tls.ca: certificate has expired" in secure[1].ctl("reload").message
    assert secure[1].ctl("reload").code != 0
    certs.path("ca.crt").write_bytes(old)
    assert secure[1].ok("reload") == {"changed": [], "needs_restart": []}


def test_certificates_that_the_others_refuse_cost_one_link(secure, certs, tmp_path):
    """So the leader goes on leading, and there is time to put the old ones back."""
    leader = secure.leader()
    term, mark = leader.status()["term"], leader.log_mark()
    other = Certs(tmp_path / "other")
    old = {name: certs.path(name).read_bytes() for name in (f"{leader.id}.crt", f"{leader.id}.key", "ca.crt")}
    for name in old:
        os.replace(other.path(name), certs.path(name))
    leader.ok("reload")
    said(leader, mark, "net: no link .*is not signed by an authority")
    end = time.monotonic() + 3 * SLOWDOWN
    wait_until(lambda: time.monotonic() > end, 10, "several renewals' time has passed")
    assert leader.logged_since(mark).count("link dialled anew") == 1
    status = leader.status()
    assert (status["is_leader"], status["term"], status["quorum"]["reachable"]) == (True, term, 2)
    for name, content in old.items():
        certs.path(name).write_bytes(content)
    leader.ok("reload")
    wait_linked(secure)
    assert leader.status()["term"] == term


def test_no_group_that_costs_much(secure):
    """A stranger's ClientHello is answered before anything is known of it."""
    host, port = secure[1].address.rsplit(":", 1)
    done = subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-groups", "ffdhe8192",
                           "-alpn", "raftd/1"], input="", capture_output=True, text=True, timeout=20, check=False)
    assert "Cipher is (NONE)" in done.stdout, done.stdout + done.stderr


# ---- Rotation ----

def reload_all(cluster):
    """One node after the other; then every connection is a new one, and up."""
    for node in cluster:
        mark = node.log_mark()
        node.ok("reload")
        said(node, mark, "reloaded .*tls=changed")
        said(node, mark, "all connections use the certificates in force")
        wait_linked(cluster)


def test_everything_is_changed_under_load(secure, certs):
    old = certs.client(1)
    with Load(lambda: list(secure), 6) as load:
        time.sleep(1)
        certs.make("1,2,3")                    # new certificates and keys of the same authority
        reload_all(secure)
        shutil.copy(certs.path("ca.crt"), certs.path("trusted.crt"))
        certs.use(secure, ca="trusted.crt")    # its own file, as on a real host
        for node in secure:
            node.write_conf()
            assert node.ctl("reload").code == 0
        certs.make("4", "--new-ca")            # the old authority and the new one
        shutil.copy(certs.path("bundle.crt"), certs.path("trusted.crt"))
        reload_all(secure)
        certs.make("1,2,3")                    # certificates of the new one
        reload_all(secure)
        shutil.copy(certs.path("ca.crt"), certs.path("trusted.crt"))
        reload_all(secure)                     # and the old one is forgotten
        time.sleep(1)
    count = load.check(secure)
    print(f"{count} writes, the longest silence {load.longest_silence():.0f} ms")
    mark = secure[1].log_mark()
    old.load_verify_locations(certs.path("ca.crt"))
    assert isinstance(shake(secure[1], old), ssl.SSLError)
    said(secure[1], mark, "not signed by an authority in tls.ca")


def test_who_is_not_trusted_any_more_loses_its_links(secure, certs):
    """A node that nobody gave a certificate of the new authority is out, without any restart: once the others have
    waited for it for 30 s."""
    shutil.copy(certs.path("ca.crt"), certs.path("trusted.crt"))
    if secure.leader() is secure[3]:
        secure[3].ok("step-down")
        secure.settled()
    certs.use(secure, ca="trusted.crt")
    for node in secure:
        node.write_conf()
        node.ok("reload")
    certs.make("1,2", "--new-ca")
    shutil.copy(certs.path("ca.crt"), certs.path("trusted.crt"))
    for node in (secure[1], secure[2]):
        node.ok("reload")
    for node in (secure[1], secure[2]):
        wait_until(lambda n=node: not {m["id"]: m for m in n.status()["members"]}[3]["connected"], 20, "no link to n3")
    wait_until(lambda: not any(m["connected"] for m in secure[3].status()["members"] if m["id"] != 3), 90, "n3 is out")
    assert secure[1].ok("put", "k", "v", timeout="20s")["revision"]
