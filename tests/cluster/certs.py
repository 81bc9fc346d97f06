"""Certificates for tests: scripts/dev-certs, and what it makes as options of a node."""
import ssl
import subprocess

from harness import ROOT

ALPN = "raftd/1"


class Certs:
    """A directory with an authority and certificates of nodes, for one cluster name."""

    def __init__(self, directory, cluster="test", ids="1,2,3,4"):
        self.dir = directory
        self.cluster = cluster
        self.make(ids)

    def make(self, ids, *words, cluster=None):
        done = subprocess.run([ROOT / "scripts/dev-certs", self.dir, "--cluster", cluster or self.cluster,
                               "--ids", ids, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def path(self, name):
        return self.dir / name

    def options(self, node_id, ca="ca.crt"):
        return {"tls.cert": self.path(f"{node_id}.crt"), "tls.key": self.path(f"{node_id}.key"),
                "tls.ca": self.path(ca)}

    def use(self, nodes, ca="ca.crt"):
        for node in nodes:
            node.options.update(self.options(node.id, ca))

    def client(self, node_id=None, ca="ca.crt", alpn=ALPN, newest=ssl.TLSVersion.TLSv1_3):
        """What dials with the certificate of this node, and believes whom it finds."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.path(ca))
        context.maximum_version = newest
        if alpn:
            context.set_alpn_protocols([alpn])
        if node_id:
            context.load_cert_chain(self.path(f"{node_id}.crt"), self.path(f"{node_id}.key"))
        return context


def without(node):
    """No [tls] from the next start on."""
    for key in ("tls.cert", "tls.key", "tls.ca"):
        node.options.pop(key, None)
