"""Something on the way between members that changes what passes: every connection to a node goes through
its proxy, as if that were the node's address."""
import socket
import threading
import time

BUSY_S = 0.3  # heartbeats, and the answers to them, come more often
BUSY_PIECES = 10


class Pair:
    """One connection, and its continuation to the node."""

    def __init__(self, outer, inner):
        self.outer, self.inner = outer, inner
        self.closed = threading.Event()

    def close(self):
        for s in (self.outer, self.inner):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.closed.set()


class Proxy:
    """Listens on a new port of the cluster's address, and hands on to the node."""

    def __init__(self, node):
        self.target = (node.cluster.address, int(node.address.rsplit(":", 1)[1]))
        self.port = node.cluster.new_ports(1)[0]
        self.address = f"{node.cluster.address}:{self.port}"
        self.lock = threading.Lock()
        self.change = None  # bytes -> other bytes, or None when it has to be another piece
        self.struck = None  # the Pair in which that happened
        self.hit = threading.Event()
        self.pairs = []
        self.listener = socket.create_server((node.cluster.address, self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def strike(self, change):
        """Change one piece of what passes, the next one for which change() has an idea, where more will follow: the
        beginning of something is not wrong before it goes on."""
        with self.lock:
            self.struck = None
            self.hit.clear()
            self.change = change

    def accept(self):
        while True:
            try:
                outer, _ = self.listener.accept()
            except OSError:
                return
            try:
                inner = socket.create_connection(self.target)
            except OSError:
                outer.close()
                continue
            pair = Pair(outer, inner)
            self.pairs.append(pair)
            for a, b in ((outer, inner), (inner, outer)):
                a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(a, b, pair), daemon=True).start()

    def pass_on(self, data, pair, busy):
        with self.lock:
            changed = self.change(data) if self.change and busy else None
            if changed is None:
                return data
            self.change = None
            self.struck = pair
            self.hit.set()
            return changed

    def pump(self, a, b, pair):
        pieces, last = 0, time.monotonic()
        try:
            while data := a.recv(65536):
                now = time.monotonic()
                pieces, last = pieces + 1 if now - last < BUSY_S else 0, now
                b.sendall(self.pass_on(data, pair, pieces > BUSY_PIECES))
        except OSError:
            pass
        pair.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # a close alone would leave accept() waiting, and the port taken
        self.listener.close()
        for pair in self.pairs:
            pair.close()
            pair.outer.close()
            pair.inner.close()


def behind_proxies(cluster):
    """Gives each node of a cluster that has not started yet a proxy, under whose address it is known."""
    proxies = {}
    for node in cluster:
        proxies[node.id] = Proxy(node)
        node.options["node.listen"] = node.address
        node.options["node.advertise"] = proxies[node.id].address
    cluster.member_list[:] = [f"{i}@{p.address}" for i, p in proxies.items()]
    return proxies
