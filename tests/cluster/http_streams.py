#!/usr/bin/python3
"""Many clients of /v1/watch in one process, for the tests.

    http_streams.py HOST:PORT COUNT

Prints lines of JSON: {"open": N} when all are streams, then at each change {"states": {ETAG: HOW_MANY
SAW_IT_LAST}, "closed": N, "beats": N}, at most every 50 ms. Ends with its input.
"""
import json
import resource
import selectors
import socket
import sys
import time

PRINT_S = 0.05


class Stream:
    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
        self.sock.setblocking(False)
        self.pending = b""
        self.etag = None
        self.beats = 0

    def read(self):
        """False: it has ended."""
        try:
            piece = self.sock.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        *lines, self.pending = (self.pending + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                self.etag = line[4:].decode()
            self.beats += line == b"event: hb"
        return bool(piece)


class Crowd:
    def __init__(self, address, count):
        self.selector = selectors.DefaultSelector()
        self.streams = []
        for _ in range(count):
            stream = Stream(address)
            self.streams.append(stream)
            self.selector.register(stream.sock, selectors.EVENT_READ, stream)
        self.closed = 0
        self.said = None
        self.said_at = 0.0

    def say(self, what):
        print(json.dumps(what), flush=True)

    def tell(self):
        states = {}
        for stream in self.streams:
            states[stream.etag] = states.get(stream.etag, 0) + 1
        if (states, self.closed) != self.said and time.monotonic() - self.said_at >= PRINT_S:
            if self.said is None and None in states:
                return
            if self.said is None:
                self.say({"open": len(self.streams)})
            self.said, self.said_at = (states, self.closed), time.monotonic()
            self.say({"states": states, "closed": self.closed,
                      "beats": sum(s.beats for s in self.streams)})

    def run(self):
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _ in self.selector.select(PRINT_S):
                if key.data is None:
                    return
                if not key.data.read():
                    self.selector.unregister(key.fileobj)
                    self.closed += 1
            self.tell()


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, port = sys.argv[1].rsplit(":", 1)
    Crowd((host, int(port)), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
