#!/usr/bin/python3
"""sidecar.py - an application that acts only while its node leads. Standard library only.

    sidecar = Sidecar(on_gain=start, on_lose=stop)
    sidecar.start()
    ...
    fence = sidecar.fence()         # before each act: None means: do not
    if fence is not None:
        storage.write(data, fence)  # which refuses a fence below the highest it has seen

Two connections to raftd. One is the stream /v1/watch: it tells *when to ask*, nothing more. On the other
the claim is asked for, because only who asked knows since when it counts: it is good until the moment
the question was *sent* plus lease_remaining_ms, on CLOCK_BOOTTIME, which nobody sets and which goes on
while the machine sleeps. A third thread watches that moment, so that a raftd that hangs, or a question
that is lost, cannot delay on_lose.

on_gain(fence) and on_lose() are called one at a time, in turn, from threads of their own. They should be
short: the deadline does not wait for them. on_lose comes MARGIN_S before the claim lapses, or when
raftd says so. Run as a program it prints what it is told.

With [http] https the address is https://HOST:7480, and SSL_CERT_FILE is a copy of [tls] ca.
"""
import http.client
import json
import os
import ssl
import threading
import time

MARGIN_S = 0.02  # what on_lose has until the claim lapses
ASK_TIMEOUT_S = 2
SILENCE_S = 5    # a stream on which not even a heartbeat comes is opened anew


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Sidecar:
    """Asks the raftd at `address`: its [http] listen, with https:// before it if it speaks that."""

    def __init__(self, address="127.0.0.1:7480", on_gain=None, on_lose=None):
        self.address = address
        self.on_gain = on_gain or (lambda fence: None)
        self.on_lose = on_lose or (lambda: None)
        self._claim = (None, 0)  # fence, until when; always replaced as a whole
        self._told = None        # the fence of the last on_gain that no on_lose followed
        self._changed = threading.Condition()
        self._news = threading.Event()  # the stream says: ask

    def start(self):
        for work in (self._ask_always, self._listen_always, self._guard):
            threading.Thread(target=work, daemon=True).start()

    def fence(self):
        """The fence to act under, or None: this node does not lead, or nobody knows."""
        fence, until = self._claim
        return fence if now() < until else None

    # ---- Asking ----

    def _connection(self, timeout):
        if self.address.startswith("https://"):
            return http.client.HTTPSConnection(self.address.removeprefix("https://"), timeout=timeout,
                                               context=ssl.create_default_context())
        return http.client.HTTPConnection(self.address, timeout=timeout)

    def _ask(self, connection):
        """One question: for how many seconds from now on the answer entitles, None: not at all."""
        sent = now()  # before anything of it is sent
        connection.request("GET", "/v1/leader")
        told = json.loads(connection.getresponse().read())  # 503 has the same body
        if not told["is_leader"]:
            self._set_claim(None, 0)
            return None
        until = sent + told["lease_remaining_ms"] / 1000 - MARGIN_S
        self._set_claim(told["fence"], until)
        return until - now()

    def _ask_always(self):
        connection = self._connection(ASK_TIMEOUT_S)
        while True:
            self._news.clear()
            try:
                left = self._ask(connection)
                wait = 30 if left is None else max(left / 3, 0.01)  # renewed long before it lapses
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()  # the next request opens it; the claim lapses by itself
                wait = 0.1
            self._news.wait(wait)

    # ---- Being told when to ask ----

    def _listen(self):
        connection = self._connection(SILENCE_S)
        try:
            connection.request("GET", "/v1/watch", headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            while answer.status == 200:
                line = answer.readline()
                if not line:
                    break
                if line.strip() == b"event: state":
                    self._news.set()
        finally:
            connection.close()
            self._news.set()  # without a stream: better ask

    def _listen_always(self):
        while True:
            try:
                self._listen()
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(1)

    # ---- Telling ----

    def _set_claim(self, fence, until):
        with self._changed:
            self._claim = (fence, until)
            self._changed.notify()

    def _guard(self):
        """Calls on_gain and on_lose as the claim comes and goes, or its moment passes."""
        while True:
            with self._changed:
                fence = self.fence()
                if fence == self._told:
                    self._changed.wait(self._claim[1] - now() if fence is not None else None)
                    continue
            if self._told is not None:  # lost, or regained under another fence
                self._told = None
                self.on_lose()
            else:
                self._told = fence
                self.on_gain(fence)


def main():
    sidecar = Sidecar(os.environ.get("RAFTD_HTTP", "127.0.0.1:7480"),
                      on_gain=lambda fence: print(f"gain {fence}", flush=True),
                      on_lose=lambda: print("lose", flush=True))
    sidecar.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
