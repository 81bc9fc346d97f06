"""[http] https = yes: what HTTP gives is given by HTTPS, and what is no client costs nothing."""
import http.client
import json
import random
import re
import socket
import ssl
import struct
import subprocess
import time

import pytest
from certs import Certs
from harness import EXIT_CONFIG, RAFTD, SLOWDOWN, wait_until
from load import Load
from test_http_limits import anonymous_bytes, descriptors, metrics
from test_sidecars import Shell, load_sidecar

SHAKE_S = 5     # a handshake is done by then,
REQUEST_S = 10  # and the request that follows; who takes no answer is cut off after as long
IDLE = 300
SILENT = 100
PATHS = ("/livez", "/readyz", "/readyz?verbose", "/health/leader", "/leader", "/primary", "/health/follower",
         "/replica", "/v1/leader", "/v1/status", "/v1/members", "/metrics", "/nothing")


def secured(cluster, path):
    certs = Certs(path / "certs", ids="1,2,3")
    certs.hosts = ("--host", cluster.address)
    certs.make("1,2,3", *certs.hosts)
    certs.use(cluster)
    for node in cluster:
        node.options["http.https"] = "yes"
    return certs


def claiming(cluster, path):
    """It formed, and its leader claims."""
    cluster.certs = secured(cluster, path)
    cluster.formed()
    leader = cluster.leader()
    wait_until(lambda: leader.get("/health/leader").status == 200, 10, "the leader claims")
    return cluster


@pytest.fixture(name="secure")
def _secure(make_cluster, tmp_path):
    return claiming(make_cluster(3), tmp_path)


@pytest.fixture(name="one")
def _one(make_cluster, tmp_path):
    return claiming(make_cluster(1), tmp_path)[1]


# ---- Clients ----

def trusting(node, ca="ca.crt"):
    return ssl.create_default_context(cafile=node.cluster.certs.path(ca))


def shaken(node, context=None):
    return (context or trusting(node)).wrap_socket(node.connect_http(), server_hostname=node.http.rsplit(":", 1)[0])


def ask(node, path, headers=None, context=None):
    """One request over a connection of its own: status, headers, body as text."""
    host, port = node.http.rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), timeout=20 * SLOWDOWN,
                                             context=context or trusting(node))
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def curl(node, path, *words, scheme="https", ca="ca.crt", host=None):
    address, port = node.http.rsplit(":", 1)
    done = subprocess.run(["curl", "-sS", "--max-time", str(int(20 * SLOWDOWN)), "--cacert", node.cluster.certs.path(ca),
                           "--connect-to", f"::{address}:{port}", "-w", "\n%{http_code}", *words,
                           f"{scheme}://{host or address}:{port}{path}"],
                          capture_output=True, text=True, check=False)
    body, _, status = done.stdout.rpartition("\n")
    return done.returncode, int(status or 0), body


class Stream:
    """Server-Sent Events of /v1/watch within TLS."""

    def __init__(self, node, context=None):
        self.sock = shaken(node, context)
        self.sock.sendall(b"GET /v1/watch HTTP/1.0\r\n\r\n")  # so no chunks
        self.lines = self.sock.makefile("rb")

    def event(self):
        """The next one: its name, and its data."""
        name = None
        while True:
            line = self.lines.readline()
            assert line, "the stream has ended"
            key, _, value = line.decode().strip().partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                return name, json.loads(value)

    def state(self):
        while (event := self.event())[0] != "state":
            pass
        return event[1]

    def close(self):
        self.lines.close()
        self.sock.close()


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def watchers(node):
    return metrics(node)["raftd_http_watchers"]


# ---- What works as by HTTP ----

def test_every_path_as_by_the_unix_socket(one):
    for path in PATHS:
        code, status, body = curl(one, path)
        plain = one.get(path)
        assert (code, status) == (0, plain.status), path
        if path not in ("/metrics", "/v1/leader", "/v1/status", "/v1/members"):
            assert body == plain.text or "may act for" in body, path
    assert {*json.loads(curl(one, "/v1/status")[2])} == {*one.status()}
    status = one.status()
    assert status["tls"]["https"] is True
    assert status["node"]["http"] == [one.http, f"unix:{one.http_sock}"]
    assert f"http      https://{one.http}, unix:" in one.run("status", text=True).stdout
    assert re.search(r"raftd: ready .*\btls=on https=yes\b", one.log_text())
    assert curl(one, "/livez", host="localhost")[:2] == (0, 200)
    status, headers, _ = ask(one, "/v1/leader")
    assert status == 200 and headers["Cache-Control"] == "no-store"


def test_what_is_no_client_of_ours(one):
    stranger = Certs(one.dir / "other", ids="1")
    one.cluster.certs.path("wrong.crt").write_bytes(stranger.path("ca.crt").read_bytes())
    mark = one.log_mark()
    assert curl(one, "/livez", ca="wrong.crt")[0] == 60
    assert curl(one, "/livez", "--tls-max", "1.2")[0] == 35
    assert curl(one, "/livez", host="elsewhere.example")[0] == 60, "no name of the certificate"
    for _ in range(5):
        code, status, body = curl(one, "/livez", scheme="http")
        assert (code, status) == (0, 400) and body.startswith("this port speaks HTTPS")
    lines = [x for x in one.logged_since(mark).splitlines() if "HTTPS connection refused" in x]
    assert [re.search('why="([^";]*)', x)[1] for x in lines] == [
        "refuses our certificate: it does not know the authority", "speaks no TLS 1.3", "speaks no TLS"], lines
    assert "write https:// there, or take [http] https away here" in lines[2]
    assert metrics(one)["raftd_http_tls_refused_total"] == 7
    assert curl(one, "/livez")[:2] == (0, 200)


def test_waiting_for_another_leader(secure):
    leader = secure.leader()
    stream = Stream(leader)
    first = stream.state()
    assert first["is_leader"] and stream.event() == ("hb", {})
    etag = json.loads(ask(leader, "/v1/leader")[2])["etag"]
    began = time.monotonic()
    assert ask(leader, f"/v1/leader?wait=300ms&after={etag}")[0] == 304
    assert time.monotonic() - began >= 0.299, "raftd counts whole milliseconds"
    with shaken(leader) as s:
        s.sendall(f"GET /v1/leader?wait=60s&after={etag} HTTP/1.0\r\n\r\n".encode())
        wait_until(lambda: watchers(leader) == 2, 10, "it waits")
        to = leader.ok("step-down")["to"]
        told = s.makefile("rb").read().decode()
    assert told.startswith("HTTP/1.") and etag not in told
    states = [stream.state()]
    while (states[-1]["leader"] or {}).get("id") != to:
        states.append(stream.state())
    assert not states[-1]["is_leader"] and states[-1]["fence"] > first["fence"]
    secure[to].ok("transfer", leader.id)
    while not states[-1]["is_leader"]:
        states.append(stream.state())
    stream.close()


def test_clients_that_leave(one):
    etag = one.get("/v1/leader").obj["etag"]
    for request in (b"GET /v1/watch HTTP/1.1\r\n\r\n", f"GET /v1/leader?wait=10m&after={etag} HTTP/1.1\r\n\r\n".encode()):
        for leave in (socket.socket.close, reset, lambda s: s.shutdown(socket.SHUT_WR)):
            s = shaken(one)
            s.sendall(request)
            wait_until(lambda: watchers(one) == 1, 10, "it waits")
            leave(s)
            wait_until(lambda: watchers(one) == 0, 5, "it has left")
            s.close()
    wait_until(lambda: metrics(one)["raftd_http_connections"] == 1, 5, "they have left")


def test_sidecars(one, monkeypatch):
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(one.cluster.certs.path("ca.crt")))
    told = []
    sidecar = load_sidecar()(f"https://{one.http}", told.append)
    sidecar.start()
    shell = Shell(one, "https")
    try:
        wait_until(sidecar.fence, 5, "the one in Python acts")
        wait_until(shell.runs, 5, "so does the one of the shell")
        assert told == [sidecar.fence()]
    finally:
        shell.close()


# ---- Certificates ----

def shown(node, context=None):
    """The certificate that a new connection is shown."""
    with shaken(node, context) as s:
        return s.getpeercert(binary_form=True)


def test_a_reload_under_open_streams(one):
    certs = one.cluster.certs
    old, stream = shown(one), Stream(one)
    stream.state()
    certs.make("1", *certs.hosts)
    assert shown(one) == old, "nobody has said so yet"
    one.ok("reload")
    fresh = shown(one)
    assert fresh != old
    assert stream.event()[0] == "hb"
    certs.path("1.key").rename(certs.path("kept.key"))
    certs.path("1.key").write_text("nonsense\n")
    certs.path("1.key").chmod(0o600)
    assert one.ctl("reload").code != 0
    assert shown(one) == fresh, "what does not fit changes nothing"
    certs.path("kept.key").rename(certs.path("1.key"))
    certs.make("1", *certs.hosts, "--new-ca")
    one.options.update(certs.options(1, "bundle.crt"))
    one.write_conf()
    one.ok("reload")
    assert shown(one, trusting(one, "ca.crt")) not in (old, fresh)
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(one, trusting(one, "ca-old.crt"))
    assert stream.event()[0] == "hb", "who is there goes on"
    stream.close()


def test_without_tls_it_is_refused(make_cluster, tmp_path):
    node = make_cluster(1)[1]
    node.options["http.https"] = "yes"
    node.write_conf()
    line = node.conf.read_text().splitlines().index("https = yes") + 1
    done = subprocess.run([RAFTD, "-c", node.conf, "--check-config"], capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CONFIG
    assert f"{node.conf}:{line}: http.https is yes and [tls] is not set" in done.stderr
    secured(node.cluster, tmp_path)
    node.options["http.https"] = "maybe"
    node.start(wait=False)
    node.wait_exit(expect=EXIT_CONFIG)
    assert '"maybe" is neither; write yes or no' in node.log_tail()


# ---- What clients can do to a node that leads ----

def say_nonsense(node):
    seed = random.randrange(1 << 32)
    print(f"\nseed {seed}")
    source, hello = random.Random(seed), client_hello()
    for i in range(300):
        data = bytearray(hello if i % 3 else source.randbytes(source.randrange(4000)))
        if i % 3:
            for _ in range(source.randrange(1, 5)):
                data[source.randrange(len(data))] = source.randrange(256)
        s = node.connect_http()
        try:
            s.sendall(data)
            if i % 2:
                s.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        if i % 5:
            reset(s)
        else:
            s.close()


def stalled_reader(node):
    """Asks for more than all buffers on the way hold, and takes none of it."""
    s = shaken(node)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * 300)
    return s


def test_who_is_slow_costs_little(secure):
    """300 that have shaken hands and say no more, 100 that say nothing or half a hello, one that reads nothing,
    and nonsense; somebody writes, and somebody asks. The leader goes on leading, and all of them are cut off."""
    leader = secure.leader()
    term, fds, memory = leader.status()["term"], descriptors(leader), anonymous_bytes(leader)
    context, half, took = trusting(leader), client_hello()[:100], []
    with Load(lambda: [leader], 1) as load:
        crowd = [shaken(leader, context) for _ in range(IDLE)]
        each = (anonymous_bytes(leader) - memory) // IDLE
        began = time.monotonic()
        silent = [leader.connect_http() for _ in range(SILENT)]
        for s in silent[::2]:
            s.sendall(half)
        stalled = stalled_reader(leader)
        wait_until(lambda: metrics(leader)["raftd_http_connections"] >= IDLE + SILENT, SHAKE_S - 1, "all are accepted")

        def counted(name):
            asked = time.monotonic()
            assert json.loads(ask(leader, "/v1/leader", context=context)[2])["is_leader"]
            took.append(time.monotonic() - asked)
            return metrics(leader)[name]
        wait_until(lambda: counted("raftd_http_tls_refused_total") == SILENT, SHAKE_S + 3, "no handshake is too slow")
        assert time.monotonic() - began >= SHAKE_S - 0.1, "too early"
        say_nonsense(leader)
        wait_until(lambda: counted("raftd_http_slow_readers_total") == 1, REQUEST_S + 5, "who reads nothing is cut off")
        wait_until(lambda: metrics(leader)["raftd_http_connections"] == 1, REQUEST_S + 3, "so is who asks nothing")
    load.check([leader])
    status = leader.status()
    assert status["is_leader"] and status["term"] == term, "an election was forced"
    for s in (*crowd, *silent, stalled):
        s.close()
    wait_until(lambda: descriptors(leader) <= fds, 15, "their descriptors are given back")
    print(f"\n{IDLE} idle: {each} bytes each; /v1/leader by HTTPS {len(took)} times, max {1000 * max(took):.0f} ms; "
          f"anonymous memory {(anonymous_bytes(leader) - memory) // 1024:+d} KiB after")
    assert each < 64 * 1024 or SLOWDOWN > 1
