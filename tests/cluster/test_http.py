"""The HTTP side of contract section 4, over real sockets."""
import json
import socket
import time

import pytest
from harness import EXIT_CONFIG, UnixHTTPConnection, wait_until

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
LEADER_FIELDS = {"schema", "cluster_id", "node", "state", "is_leader", "leader", "term", "fence",
                 "lease_remaining_ms", "leader_contact_ms", "etag", "reason"}


@pytest.fixture(name="three")
def _three(trio):
    cluster, leader = trio, trio.leader()
    for node in cluster:
        wait_until(lambda n=node: n.get("/readyz").status == 200, 10, f"n{node.id} is ready")
    wait_until(lambda: leader.get("/health/leader").status == 200, 10, "the leader claims")
    return cluster


class Stream:
    """A stream of /v1/watch: events as (name, id, data)."""

    def __init__(self, node, accept=None, timeout=5):
        self.connection = UnixHTTPConnection(node.http_sock, timeout)
        self.connection.request("GET", "/v1/watch", headers={"Accept": accept} if accept else {})
        self.response = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def line(self):
        return self.response.readline().decode()

    def event(self):
        fields = {}
        while (line := self.line().rstrip("\n")):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields["event"], fields.get("id"), json.loads(fields["data"])

    def state(self):
        """The next state; signs of life are skipped."""
        while True:
            name, etag, data = self.event()
            if name == "state":
                assert etag == data["etag"]
                return data

    def close(self):
        self.response.close()
        self.connection.close()


def test_every_path_says_the_same_as_raftctl(three):
    leader = three.leader()
    for node in three:
        leads = node is leader
        assert node.get("/livez").text == "ok\n"
        for path in ("/health/leader", "/leader", "/primary"):
            assert node.get(path).status == (200 if leads else 503), path
        for path in ("/health/follower", "/replica"):
            assert node.get(path).status == (503 if leads else 200), path
        answer = node.get("/v1/leader")
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == JSON
        assert LEADER_FIELDS <= set(answer.obj)
        assert answer.obj["leader"]["id"] == leader.id
        assert answer.obj["is_leader"] is leads
        assert answer.obj["node"] == node.id
        assert answer.headers["ETag"] == f'"{answer.obj["etag"]}"'
        assert (answer.obj["lease_remaining_ms"] > 0) is leads
        status = node.get("/v1/status").obj
        told = node.ok("status")
        assert set(status) == set(told)
        assert status["node"] == told["node"]
        assert status["node"]["http"] == [node.http, f"unix:{node.http_sock}"]
        assert all(m["match_index"] for m in status["members"]), "asked of the leader"
        assert set(node.get("/v1/members").obj) == set(node.ok("members"))


def test_without_a_cluster(make_cluster):
    node = make_cluster(1, founding=False)[1].start()
    answer = node.get("/v1/leader")
    assert answer.status == 503
    assert (answer.obj["leader"], answer.obj["reason"]) == (None, "unconfigured")
    assert node.get("/readyz").text.startswith("not ready: member: in no cluster")
    assert node.get("/livez").status == 200
    node.ok("bootstrap")
    wait_until(lambda: node.get("/health/leader").status == 200, 10, "it leads")


def test_without_a_quorum(three):
    leader = three.leader()
    for node in three:
        if node is not leader:
            node.kill()
    wait_until(lambda: leader.get("/v1/leader").obj["reason"] == "no_quorum", 10, "it notices")
    answer = leader.get("/v1/leader")
    assert answer.status == 503 and answer.obj["leader"] is None and not answer.obj["is_leader"]
    assert leader.get("/health/leader").status == 503
    ready = leader.get("/readyz?verbose")
    assert ready.status == 503
    assert ready.text.startswith("not ready: leader: ")
    assert "\n[+] member ok\n[-] leader: " in ready.text


def test_methods_and_paths(three):
    node = three[1]
    assert node.get("/nothing").status == 404
    assert node.get("/nothing").obj["error"]["code"] == "not_found"
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = node.get("/v1/leader", method=method)
        assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD, OPTIONS", method
    assert node.get("/v1/leader", method="OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"
    for path in ("/livez", "/v1/leader", "/v1/status", "/metrics"):
        head = node.get(path, method="HEAD")
        assert (head.status, head.text) == (200, ""), path
        assert int(head.headers["Content-Length"]) > 0
    assert node.get("/v1/watch", method="HEAD").headers["Content-Type"] == "text/event-stream"
    for query in ("wait=5", "wait=-1s", "wait=11m", "wait="):
        assert node.get(f"/v1/leader?after=0000000000000000&{query}").status == 400, query


def test_long_poll(three):
    leader = three.leader()
    node = next(n for n in three if n is not leader)
    etag = node.get("/v1/leader").obj["etag"]
    assert node.get(f"/v1/leader?after={etag}").status == 304
    began = time.monotonic()
    answer = node.get(f"/v1/leader?wait=300ms&after={etag}")
    assert (answer.status, answer.text) == (304, "")
    assert answer.headers["ETag"] == f'"{etag}"'
    assert time.monotonic() - began >= 0.299, "raftd counts whole milliseconds"
    assert node.get("/v1/leader?wait=60s&after=ffff").status == 200, "another state, at once"
    connection = UnixHTTPConnection(node.http_sock, 20)
    connection.request("GET", f"/v1/leader?wait=60s&after=%22{etag}%22")
    leader.ok("step-down")
    response = connection.getresponse()
    told = json.loads(response.read())
    assert response.status in (200, 503) and told["etag"] != etag
    connection.close()


def test_stream(three):
    leader = three.leader()
    with Stream(leader) as stream:
        assert stream.response.headers["Content-Type"] == "text/event-stream"
        first = stream.state()
        assert first["is_leader"] and first["leader"]["id"] == leader.id
        assert stream.event() == ("hb", None, {})
        to = leader.ok("step-down")["to"]
        states = []
        while not states or (states[-1]["leader"] or {}).get("id") != to:
            states.append(stream.state())
        assert not states[-1]["is_leader"]
        assert states[-1]["fence"] > first["fence"]


def test_a_hand_over_is_no_loss_of_a_quorum(three):
    """Who was just elected has not been answered yet."""
    leader = three.leader()
    target = three.others(leader)[0]
    with Stream(target) as stream:
        states = [stream.state()]
        leader.ok("transfer", target.id)
        while not states[-1]["is_leader"]:
            states.append(stream.state())
    assert {s["reason"] for s in states} <= {None, "electing"}


def test_stream_of_lines(three):
    leader = three.leader()
    with Stream(leader, "application/x-ndjson") as stream:
        assert stream.response.headers["Content-Type"] == "application/x-ndjson"
        assert json.loads(stream.line())["is_leader"]
        assert json.loads(stream.line()) == {"event": "hb"}


def test_watchers_have_a_limit_and_leave_nothing(make_cluster):
    cluster = make_cluster(1, options={"http.max_watchers": 2})
    node = cluster[1].start()
    wait_until(lambda: node.get("/health/leader").status == 200, 10, "it leads")
    streams = [Stream(node), Stream(node)]
    answer = node.get("/v1/watch")
    assert answer.status == 503
    assert "2 clients wait or stream" in answer.obj["error"]["message"]
    etag = node.get("/v1/leader").obj["etag"]
    assert node.get(f"/v1/leader?wait=1s&after={etag}").status == 503
    for stream in streams:
        stream.close()
    wait_until(lambda: metrics(node)["raftd_http_watchers"] == 0, 10, "they have left")
    assert node.get("/metrics").status == 200
    Stream(node).close()
    before = metrics(node)["process_cpu_seconds_total"]
    end = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > end, 10, "half a second has passed")
    assert metrics(node)["process_cpu_seconds_total"] - before < 0.25, "it spins"


def metrics(node):
    samples = (line.rsplit(" ", 1) for line in node.get("/metrics").text.splitlines()
               if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def test_metrics(three):
    leader = three.leader()
    leader.ok("put", "k", "v")
    seen = metrics(leader)
    assert seen["raftd_is_leader"] == 1
    assert seen['raftd_state{state="leader"}'] == 1
    assert seen['raftd_requests_total{kind="write",result="ok"}'] == 1
    assert seen["raftd_voters_reachable"] == 3
    assert {f'raftd_member_match_index{{id="{n.id}"}}' for n in three} <= set(seen)


def test_a_left_over_socket_is_replaced_and_removed(make_cluster):
    node = make_cluster(1)[1].start()
    wait_until(lambda: node.get("/health/leader").status == 200, 10, "it leads")
    node.kill()
    assert node.http_sock.is_socket()
    node.start()
    assert node.get("/livez").status == 200
    node.stop()
    assert not node.http_sock.exists()


def test_an_address_that_is_taken(make_cluster):
    node = make_cluster(1)[1]
    host, port = node.http.rsplit(":", 1)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, int(port)))
        taken.listen()
        node.start(wait=False)
        node.wait_exit(expect=EXIT_CONFIG)
    assert 'another process has this address, stop it or change the option option="[http] listen"' \
        in node.log_tail()
