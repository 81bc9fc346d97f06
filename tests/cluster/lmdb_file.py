"""What stands where in a data.mdb of LMDB 0.9 (64 bit, little endian): for tests that damage it."""
import struct
from typing import NamedTuple

META_END = 152
HEADER = 16
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG_DATA, SUB_DATABASE = 1, 2
NO_PAGE = (1 << 64) - 1


class Span(NamedTuple):
    """Bytes start..end-1 are `region`."""
    region: str
    start: int
    end: int
    what: str


class Root(NamedTuple):
    page: int
    depth: int

    @classmethod
    def parse(cls, raw):
        _, _, depth, _, _, _, _, page = struct.unpack("<IHHQQQQQ", raw)
        return cls(page, depth)


class DataFile:
    def __init__(self, data):
        self.data = data
        self.size = struct.unpack_from("<I", data, 40)[0]  # of a page: md_pad of the first database
        self.spans = []
        metas = [struct.unpack_from("<Q", data, page * self.size + 144)[0] for page in (0, 1)]
        newest = 1 if metas[1] > metas[0] else 0
        for page in (0, 1):
            name = "meta in force" if page == newest else "meta before it"
            self.add(name, page * self.size, page * self.size + META_END, f"page {page}")
        self.free = set()
        at = newest * self.size + HEADER + 24
        self.tree(Root.parse(data[at:at + 48]), "free list")
        self.tree(Root.parse(data[at + 48:at + 96]), "named")
        for page in sorted(self.free):
            self.add("free page", page * self.size, (page + 1) * self.size, f"page {page}")

    def add(self, region, start, end, what):
        end = min(end, len(self.data))
        if end > start:
            self.spans.append(Span(region, start, end, what))

    def tree(self, root, database):
        if root.page != NO_PAGE:
            self.page(root.page, database)

    def page(self, number, database):
        at = number * self.size
        flags, lower, upper = struct.unpack_from("<HHH", self.data, at + 10)
        count = (lower - HEADER) // 2
        kind = "branch page" if flags & BRANCH else "leaf page"
        where = f"page {number} of {database}"
        self.add(kind, at, at + lower, where)
        self.add("unused", at + lower, at + upper, where)
        for (offset,) in struct.iter_unpack("<H", self.data[at + HEADER:at + HEADER + 2 * count]):
            self.node(at + offset, flags, kind, database)

    def node(self, at, page_flags, kind, database):
        low, high, flags, key_size = struct.unpack_from("<HHHH", self.data, at)
        value = at + 8 + key_size
        key = self.data[at + 8:value]
        if page_flags & BRANCH:
            self.add(kind, at, value, f"separator of {database}")
            self.page(low | high << 16 | flags << 32, database)
            return
        size = low | high << 16
        if flags & SUB_DATABASE:
            self.add("database record", at, value + size, key.decode())
            self.tree(Root.parse(self.data[value:value + 48]), key.decode())
        elif flags & BIG_DATA:
            self.add(kind, at, value + 8, f"node of {database}")
            self.overflow(struct.unpack_from("<Q", self.data, value)[0], size, database)
        else:
            self.leaf(at, value, size, key, database, kind)

    def leaf(self, at, value, size, key, database, kind):
        if database == "free list":
            count, *pages = struct.unpack(f"<{size // 8}Q", self.data[value:value + size])
            self.free.update(pages[:count])
            self.add("free list", at, value + size, "pages that are free")
        elif database == "named":
            self.add("named record", at, value + size, key.decode())
        else:
            self.add(kind, at, at + 8, f"node of {database}")
            self.add("entry" if database == "log" else "row", at + 8, value + size, key.hex())

    def overflow(self, number, size, database):
        at = number * self.size
        self.add("overflow page", at, at + HEADER, f"page {number} of {database}")
        self.add("entry" if database == "log" else "row", at + HEADER, at + HEADER + size,
                 f"overflow {number}")

    def regions(self):
        return sorted({span.region for span in self.spans})

    def pick(self, region, random):
        """A random byte of a region, and what it is part of."""
        spans = [span for span in self.spans if span.region == region]
        span = random.choices(spans, [s.end - s.start for s in spans])[0]
        return random.randrange(span.start, span.end), span.what
