"""The peer protocol, for tests that speak it themselves (proto/PROTOCOL.md, proto/peer.proto)."""
import socket
import struct
import time

from harness import SLOWDOWN

HELLO_S = 3  # a stranger has this long to say hello
PROTOCOL = 2  # with sums
SUM = 15      # the last field of the Envelope: its tag, four bytes
HELLO, RAFT, FORWARD, REFUSAL, PROGRESS_ASK, PROGRESS, CHANGE = 1, 2, 3, 5, 6, 7, 8  # fields of the Envelope
CLUSTER, ID, STORE, INCARNATION, EMPTY, URI, CLUSTER_NAME, MEMBER_LIST, BINDINGS = 1, 2, 3, 4, 7, 9, 12, 13, 14


def _crc_table():
    rows = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        rows.append(n)
    return rows


_CRC = _crc_table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def connect(node, tls=None):
    """tls: an ssl.SSLContext to do it with (certs.py)."""
    host, port = node.address.split(":")
    s = socket.create_connection((host, int(port)), timeout=10 * SLOWDOWN)
    s.settimeout(10 * SLOWDOWN)
    return tls.wrap_socket(s) if tls else s


def is_closed(s):
    """Reads what raftd says (its hello, a refusal) up to the end of the stream."""
    try:
        while s.recv(65536):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass
    return True


def send(s, data):
    try:
        s.sendall(data)
    except OSError:
        pass  # closed already


def closed_at_once(s, data):
    """Because of these bytes, not because of what may not come any more."""
    with s:
        began = time.monotonic()
        send(s, data)
        assert is_closed(s), data[:20]
        assert time.monotonic() - began < HELLO_S / 2 * SLOWDOWN, data[:20]


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def message(fields):
    """Protobuf: pairs of a number and an int or bytes, as in the .proto."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def frame_head(length, header=0, version=1, flags=0):
    """The first eight bytes of a frame."""
    return struct.pack("<IBBH", length, version, flags, header)


def raw_frame(envelope, payload=b""):
    """As it is: without a sum."""
    return frame_head(4 + len(envelope) + len(payload), len(envelope)) + envelope + payload


def summed_frame(envelope, payload=b""):
    envelope += bytes([SUM << 3 | 5])
    head = frame_head(8 + len(envelope) + len(payload), len(envelope) + 4)
    return head + envelope + struct.pack("<I", crc32c(head + envelope + payload)) + payload


def unsummed(data):
    """This frame, as from somebody who knows of no sums: his hello would say so."""
    header = struct.unpack_from("<H", data, 6)[0]
    return raw_frame(data[8:8 + header - 5], data[8 + header:])


def frame(kind, fields, payload=b""):
    return summed_frame(message([(kind, message(fields))]), payload)


def hello(node_id, store=b"\xab" * 16, cluster=b"", incarnation=1, empty=True, bindings=()):
    """bindings: an id and a store, and perhaps pairs of more fields."""
    fields = [(CLUSTER, cluster)] if cluster else []
    fields += [(ID, node_id), (STORE, store), (INCARNATION, incarnation), (5, 1), (6, PROTOCOL), (EMPTY, int(empty)),
               (8, b"stranger"), (10, b"127.0.0.1:1"), (11, b"0.1.0")]
    return frame(HELLO, fields + [(BINDINGS, message([(1, i), (2, s), *more])) for i, s, *more in bindings])


def parse(data):
    """A protobuf message as a dict: number -> list of values."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            value = number()
        else:
            size = number() if tag & 7 == 2 else 4 if tag & 7 == 5 else 8
            value = data[at:at + size]
            at += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def receive(s):
    """The next frame: which message of the Envelope it holds, and its fields. None: the stream ended."""
    data = b""
    while len(data) < 4 or len(data) < struct.unpack_from("<I", data)[0] + 4:
        try:
            piece = s.recv(4 if len(data) < 4 else struct.unpack_from("<I", data)[0] + 4 - len(data))
        except ConnectionResetError:
            return None
        if not piece:
            return None
        data += piece
    header = struct.unpack_from("<H", data, 6)[0]
    at = 8 + header - 4  # of the sum
    summed = data[:5] + b"\0" + data[6:at] + data[at + 4:]  # the flags check the head, and may be put later
    assert data[at:at + 4] == struct.pack("<I", crc32c(summed)), "its sum is wrong"
    (kind, bodies), = (field for field in parse(data[8:8 + header]).items() if field[0] != SUM)
    return kind, parse(bodies[0])


def greeted(node, said, tls=None):
    """Says hello; the connection, and what the answer holds."""
    s = connect(node, tls)
    send(s, said)
    answer = receive(s)
    assert answer, "closed without a word"
    return s, *answer


def store_of(node):
    return bytes.fromhex(node.status()["node"]["store_id"])


def cluster_id(node):
    return bytes.fromhex(node.status()["cluster"]["id"])
