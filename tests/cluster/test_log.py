"""Whoever reads the log of raftd may stop reading: raftd goes on."""
import fcntl
import os
import re
import socket
import time

import pytest

from harness import ELECTION_TIMEOUT_S, SLOWDOWN, wait_until


class Reader:
    """The other end of a raftd's stderr, which reads when it is asked to."""

    def __init__(self, kind):
        if kind == "pipe":
            self.fd, self.write_fd = os.pipe()
            fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, 4096)
        else:
            ends = socket.socketpair()
            ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.fd, self.write_fd = (x.detach() for x in ends)
        os.set_blocking(self.fd, False)

    def fill(self):
        """Until no line fits. O_NONBLOCK belongs to the open file: raftd has no part in that of a pipe
        opened anew, nor in a flag of one send."""
        line = b"another program beside it\n"
        try:
            if os.readlink(f"/proc/self/fd/{self.write_fd}").startswith("pipe:"):
                with open(f"/proc/self/fd/{self.write_fd}", "wb", buffering=0,
                          opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as pipe:
                    while pipe.write(line):
                        pass
            else:
                with socket.socket(fileno=os.dup(self.write_fd)) as sender:
                    while sender.send(line, socket.MSG_DONTWAIT):
                        pass
        except BlockingIOError:
            pass

    def read(self):
        text = b""
        while True:
            try:
                text += os.read(self.fd, 65536)
            except BlockingIOError:
                return text.decode()

    def close(self):
        os.close(self.fd)
        os.close(self.write_fd)


@pytest.fixture(params=["pipe", "socket"])
def reader(request):
    made = Reader(request.param)
    yield made
    made.close()


def answers(node):
    return node.get("/livez").status == 200


def test_a_log_reader_that_stops(trio, reader):
    node = trio[1]
    node.stop()
    trio.leader(trio.others(node))
    node.stderr = reader.write_fd
    node.start()
    trio.settled()
    reader.read()
    node.ok("transfer", node.id)
    assert trio.leader() is node
    term = node.status()["term"]
    reader.fill()
    for level in ("debug", "notice") * 5:  # each is a line, and those of debug are many
        node.ok("log-level", level)
    end = time.monotonic() + 4 * ELECTION_TIMEOUT_S * SLOWDOWN
    while time.monotonic() < end:
        assert answers(node)
        node.ok("put", "k", "v")
    assert trio.leader() is node and node.status()["term"] == term, "it was not heard for a while"

    reader.read()
    text = ""

    def told():
        nonlocal text
        node.ok("log-level", "info")
        text += reader.read()
        return re.search(r" warning log: lines are missing here: .* dropped=(\d+)$", text, re.M)

    assert int(wait_until(told, 5, "it says how many lines are missing").group(1)) >= 10
    assert "level" in text.splitlines()[-1], "and the line itself got out"

    reader.fill()
    node.stop()
    trio.leader(trio.others(node))
