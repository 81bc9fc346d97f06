/* state.h - the replicated key-value state, in memory, with etcd's data model.
 *
 * One global revision counts successful writes that changed something; a key knows the revision
 * that created it, the last that modified it, and its version (1 at creation). Deterministic: the
 * same entries give the same state, results, rows and digest on every node, every time. No clock,
 * no randomness, results in key order.
 *
 * Threads: one state, one thread. Ownership: stated per function. */
#ifndef RAFTD_STATE_STATE_H
#define RAFTD_STATE_STATE_H

#include "base/buf.h"
#include "state/command.h"

struct state;

enum {
    STATE_KEY_COST = 128, /* bytes each key counts for beside itself and its value: about what it
                           * takes in memory. Part of the protocol: equal on all nodes. */
};

struct state *state_new(void);
void state_free(struct state *s);

/* ---- Writing ---- */

struct state_result {
    int code;          /* 0; -RD_ECONFLICT, -RD_ESTALE_FENCE (a compare failed and there is no else
                        * branch), -RD_ENO_SPACE (beyond the quota), -RD_EINVALID (unknown bytes,
                        * or an id with seq 0 or too far above its floor), -RD_EUNKNOWN_OUTCOME (a
                        * duplicate below the origin's floor, or of an earlier incarnation:
                        * dropped). With any of them nothing was changed. */
    bool repeated;     /* the request was applied before; this is its first result */
    bool succeeded;    /* the compares held, and code is 0 */
    uint64_t revision; /* global revision after it */
    uint64_t index, term; /* of the entry that applied it (first) */
    uint64_t actual;  /* CONFLICT: mod_revision (or version) found; STALE_FENCE: the entry's term;
                       * NO_SPACE: state_bytes() it would have taken */
    uint32_t deleted; /* keys deleted */
};

/* What the store has to keep, in this order: key -> bytes, or a deletion. Keys <= 480 + 1 bytes. A
 * later row with the same key takes the place of the earlier. */
struct state_row {
    size_t key_at, key_size;     /* into rows->bytes */
    size_t value_at, value_size; /* ignored when deleted */
    bool deleted;
};
struct state_rows {
    struct buf bytes;
    struct state_row *rows;
    uint32_t count, capacity;
};
void state_rows_clear(struct state_rows *rows);
void state_rows_put(struct state_rows *rows, const void *key, size_t key_size, const void *value,
                    size_t value_size);
void state_rows_append(struct state_rows *rows, const struct state_rows *later);
/* Leave only the last row of each key: what is kept means the same. */
void state_rows_compact(struct state_rows *rows);
void state_rows_done(struct state_rows *rows);

/* Apply one committed command entry. `index` is above every index applied before, `term` not below
 * (asserted). Rows are appended to `rows` when it is not NULL. */
void state_apply(struct state *s, uint64_t index, uint64_t term, const void *data, size_t size,
                 struct state_result *result, struct state_rows *rows);

/* An entry without a command (no-op, membership): only the index moves on. */
void state_skip(struct state *s, uint64_t index, uint64_t term);

/* The origin is no member any more, as of the entry applied last: what it asked is forgotten, and
 * who is added under its id begins afresh. Part of what the entry means: called on every node. The
 * rows deleted may not all exist. */
void state_forget(struct state *s, uint32_t node, struct state_rows *rows);

/* The first result of a request still in its origin's window; false: unknown. */
bool state_recall(const struct state *s, const struct request_id *id, struct state_result *result);

/* ---- Reading; results borrow from the state until its next change ---- */

struct state_kv {
    const uint8_t *key;
    uint16_t key_size;
    const uint8_t *value;
    uint32_t value_size;
    uint64_t create_revision, mod_revision, version;
};

bool state_get(const struct state *s, const void *key, size_t key_size, struct state_kv *out);

/* Keys that start with `prefix` (size 0: all keys), in byte order, until cb returns false. The
 * state must not change meanwhile. */
typedef bool state_kv_cb(void *arg, const struct state_kv *kv);
void state_each(const struct state *s, const void *prefix, size_t prefix_size, state_kv_cb *cb,
                void *arg);

uint64_t state_revision(const struct state *s);
uint64_t state_index(const struct state *s); /* last applied */
uint64_t state_bytes(
    const struct state *s); /* keys + values + a fixed cost per key: what the quota limits */
uint64_t state_keys(const struct state *s);
uint64_t state_digest(const struct state *s); /* of everything replicated: keys, revision, windows;
                                               * kept incrementally; equal at equal indexes */

/* ---- In another cluster ---- */

/* The state goes on where nobody has asked anything yet: every origin is forgotten, and the revision
 * moves on by so many, past all that was handed out since this state was the newest. */
void state_move_on(struct state *s, uint64_t revisions);

/* The rows of all keys, appended in key order; with no origin remembered these are all rows there are. */
void state_key_rows(const struct state *s, struct state_rows *rows);

/* ---- Rebuilding from rows (each once, any order) into a new state, then state_load_done ---- */

/* Copies what it needs. -RD_ECORRUPT: not a row of this state, or the second of its key. */
int state_load_row(struct state *s, const void *key, size_t key_size, const void *value,
                   size_t value_size);
/* 0, or -RD_ECORRUPT when the digest of what was loaded is not the one given; state_digest() then
 * says what it is, and the state is good for state_free() only. */
int state_load_done(struct state *s, uint64_t index, uint64_t term, uint64_t revision,
                    uint64_t digest);

#endif
