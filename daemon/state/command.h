/* command.h - what a command entry holds: a request id and one transaction.
 *
 * Encoding (version 1, little-endian) is the project's own and stands in the log for ever, so it
 * may only grow by new versions. Every put, delete and compare-and-set is a transaction: compares,
 * then one of two lists of operations (as etcd's Txn). Threads: plain functions. Errors:
 * -RD_EINVALID (bytes make no sense), -RD_ETOO_LARGE. */
#ifndef RAFTD_STATE_COMMAND_H
#define RAFTD_STATE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    STATE_KEY_MAX = 480,             /* bytes; at least 1 */
    STATE_VALUE_MAX = 1024 * 1024,   /* bytes */
    STATE_REQUEST_MAX = 1536 * 1024, /* bytes of one encoded transaction */
    STATE_OPS_MAX = 128,             /* compares, and operations per branch */
    STATE_WINDOW_MAX = 4096,         /* requests one origin may have open */
    STATE_COMMAND_HEADER_SIZE = 46,  /* bytes the leader adds before the transaction */
};

/* Who asked, so that a repeated request is applied once (thesis 6.3). */
struct request_id {
    uint32_t node;        /* the member the client is connected to; 0: no id, applied each time */
    uint64_t incarnation; /* counts that node's process starts (durable); higher is younger */
    uint64_t seq;         /* counts that process's requests, from 1 */
    uint64_t floor;       /* lowest seq it still waits for: results below may be forgotten, and a
                           * late duplicate below is dropped unapplied. seq - floor < STATE_WINDOW_MAX */
};

enum state_compare_type {
    STATE_COMPARE_MOD_REVISION = 1, /* of `key` equals number; 0: key must not exist */
    STATE_COMPARE_VERSION = 2,      /* of `key` equals number */
    STATE_COMPARE_TERM = 3,         /* the entry's term equals number (fence); key unused */
};

struct state_compare {
    enum state_compare_type type;
    const uint8_t *key; /* borrowed */
    uint16_t key_size;
    uint64_t number;
};

enum state_op_type { STATE_OP_PUT = 1, STATE_OP_DELETE = 2 };

struct state_op {
    enum state_op_type type;
    const uint8_t *key; /* borrowed */
    uint16_t key_size;
    const uint8_t *value; /* borrowed; PUT */
    uint32_t value_size;
};

struct state_txn {
    uint32_t compares_count, ops_count, else_count;
    struct state_compare compares[STATE_OPS_MAX];
    struct state_op ops[STATE_OPS_MAX];      /* when every compare holds */
    struct state_op else_ops[STATE_OPS_MAX]; /* when one does not */
};

/* Append the transaction's bytes. -RD_EINVALID (empty key, unknown type), -RD_ETOO_LARGE (a limit
 * above): nothing appended. Several operations may name one key; they apply in order. */
int state_txn_encode(const struct state_txn *txn, struct buf *out);

/* Pointers in `txn` borrow from `data`. Only what the counts cover is written: `txn` needs no
 * clearing, and is big enough not to. -RD_EINVALID (also for bytes left over), -RD_ETOO_LARGE: the
 * counts are untouched, the arrays hold nothing to use. */
int state_txn_decode(const void *data, size_t size, struct state_txn *txn);
/* Is it of a version that this raftd knows, sound or not? */
bool state_txn_is_known(const void *data, size_t size);

/* The whole entry payload: what the leader adds, then the transaction's bytes. */
struct state_command {
    struct request_id request;
    uint64_t time_ms; /* leader's wall clock, for people; never compared */
    uint64_t quota; /* leader's state_max_bytes: growth beyond it is refused, alike on all nodes */
    const uint8_t *txn; /* borrowed */
    size_t txn_size;
};
void state_command_encode(const struct state_command *c, struct buf *out);
int state_command_decode(const void *data, size_t size, struct state_command *c); /* header only */

#endif
