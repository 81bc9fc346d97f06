/* record.h - the bytes of the store's records. Pure: bytes in, structs out, and back.
 *
 * Named records (unnamed database), little-endian, CRC over name and the rest:
 *   fmt   u32 crc, u32 format, u32 node id, u64 created (ms since 1970), 16 bytes store id
 *   hs    u32 crc, u32 vote, u64 term, 16 bytes cluster id
 *   boot  u32 crc, u32 zero, u64 incarnation
 *   used  u32 crc, u32 zero, the version of the raftd that started last
 *   base  u32 crc, u32 zero, a point: the log begins after it
 *   applied (state/)  u32 crc, u32 flags (1: came as a snapshot), u64 revision, u64 digest, a point
 * A point: u64 index, u64 term, u64 chain, u64 membership index, the membership
 * Log records (database `log`, key u64 index in the machine's order), CRC over index and the rest:
 *   u32 crc, u8 version, u8 type, u16 flags, u64 term, u64 chain, payload
 *
 * Errors: a reader returns NULL, or why the record cannot be used (static text), then `out` is
 * untouched. Threads: any. */
#ifndef RAFTD_STORE_RECORD_H
#define RAFTD_STORE_RECORD_H

#include "base/buf.h"
#include "store/store.h"

#define STORE_NAME_FMT "fmt"
#define STORE_NAME_HARD "hs"
#define STORE_NAME_BOOT "boot"
#define STORE_NAME_USED "used"
#define STORE_NAME_BASE "base"
#define STORE_NAME_MARK "applied"
#define STORE_NAME_LOG "log"   /* the database of entries, in log/ */
#define STORE_NAME_ROWS "rows" /* the database of the state's rows, in state/ */

enum {
    STORE_FORMAT_MIN = 1, /* of the directory: what this raftd reads, */
    STORE_FORMAT = 1, /* and what it makes. Records of other names may be added without a new one */
    STORE_IDENTITY_SIZE = 36,
    STORE_HARD_SIZE = 36,
    STORE_BOOT_SIZE = 16,
    STORE_ENTRY_VERSION = 1,
    STORE_ENTRY_HEADER_SIZE = 24,
};

struct store_identity { /* the same in log/ and state/ */
    uint32_t format;    /* of the directory */
    raft_id id;
    uint64_t created_ms; /* wall clock; for people */
    struct uuid store;
};

struct store_hard {
    struct uuid cluster;
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms;
};

void store_record_put_identity(const struct store_identity *identity,
                               uint8_t out[STORE_IDENTITY_SIZE]);
const char *store_record_get_identity(const void *data, size_t size, struct store_identity *out);
/* Of an identity, of whatever format; 0: it cannot be told. */
uint32_t store_record_format(const void *data, size_t size);
bool store_record_reads(uint32_t format); /* does this raftd? */
bool store_record_same_identity(const struct store_identity *a, const struct store_identity *b);

void store_record_put_hard(const struct store_hard *hard, uint8_t out[STORE_HARD_SIZE]);
const char *store_record_get_hard(const void *data, size_t size, struct store_hard *out);

void store_record_put_boot(uint64_t incarnation, uint8_t out[STORE_BOOT_SIZE]);
const char *store_record_get_boot(const void *data, size_t size, uint64_t *incarnation);

void store_record_put_used(const char *version, struct buf *out);
const char *store_record_get_used(const void *data, size_t size, char out[STORE_VERSION_SIZE]);

/* Points come with a reference for the caller. */
void store_record_put_base(const struct raft_point *base, struct buf *out);
const char *store_record_get_base(const void *data, size_t size, struct raft_point *out);

void store_record_put_mark(const struct store_mark *mark, struct buf *out);
const char *store_record_get_mark(const void *data, size_t size, struct store_mark *out);

struct store_entry_view { /* a log record, decoded in place */
    raft_term term;
    uint64_t chain;
    enum raft_entry_type type;
    const uint8_t *payload; /* borrowed from the record */
    size_t payload_size;
};

size_t store_record_entry_size(const struct raft_entry *entry);
/* `out` has store_record_entry_size() bytes, of any alignment. */
void store_record_put_entry(const struct raft_entry *entry, uint8_t *out);
const char *store_record_get_entry(raft_index index, const void *data, size_t size,
                                   struct store_entry_view *out);

#endif
