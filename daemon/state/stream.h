/* stream.h - a whole state as a stream of bytes: a snapshot on its way to a member, a backup.
 *
 * The stream comes in pieces. The first is the head, the last the tail, the others are whole rows:
 *   head   u8 format, u64 index, u64 term, u64 chain, u64 revision, u64 digest, u64 membership index,
 *          u32 size, membership
 *   row    u16 key size, u32 value size, key, value
 *   tail   u64 bytes of all pieces before it
 * All numbers little-endian. Rows and digest are those of state.h; what the membership holds is the
 * caller's business. The layout travels between versions and lies in backups: it may only change by
 * a new format number.
 *
 * In a backup another piece comes first, the origin, and each begins with a byte that says what it is:
 *   origin u8 format, u32 node id, 16 bytes cluster id, u64 created (ms since 1970), version of raftd
 *
 * Threads: any. Errors: -RD_ECORRUPT: not such a piece. */
#ifndef RAFTD_STATE_STREAM_H
#define RAFTD_STATE_STREAM_H

#include "base/buf.h"
#include "base/uuid.h"

enum stream_kind { /* of a piece in a backup, in their order */
                   STREAM_ORIGIN = 1,
                   STREAM_HEAD,
                   STREAM_ROWS,
                   STREAM_TAIL,
};

enum { STREAM_VERSION_SIZE = 32 };

struct stream_origin { /* where a backup comes from; all for people but the node */
    uint32_t node;
    struct uuid cluster;
    uint64_t created_ms; /* wall clock */
    char version[STREAM_VERSION_SIZE];
};

void stream_put_origin(struct buf *out, const struct stream_origin *origin);
int stream_get_origin(const void *data, size_t size, struct stream_origin *out);

struct stream_head { /* as of which point, and what comes of the rows */
    uint64_t index, term, chain;
    uint64_t revision, digest;
    uint64_t membership_index;
    const void *membership; /* borrowed */
    size_t membership_size;
};

void stream_put_head(struct buf *out, const struct stream_head *head);
int stream_get_head(const void *data, size_t size, struct stream_head *out); /* borrows */

void stream_put_row(struct buf *out, const void *key, size_t key_size, const void *value,
                    size_t value_size);

/* Every row of a piece, in order. cb's own negative code ends it. */
typedef int stream_row_cb(void *arg, const void *key, size_t key_size, const void *value,
                          size_t value_size);
int stream_each_row(const void *data, size_t size, stream_row_cb *cb, void *arg);

void stream_put_tail(struct buf *out, uint64_t bytes);
int stream_check_tail(const void *data, size_t size, uint64_t bytes);

#endif
