/* rlog.h - the replicated log in its database: write a batch, verify all of it, read a range.
 *
 * Errors: functions that return `rc` return LMDB's code as it is (it stays inside this room). */
#ifndef RAFTD_STORE_RLOG_H
#define RAFTD_STORE_RLOG_H

#include "store/env.h"
#include "store/store.h"

/* rc. First and last index, 0 and 0 when the log is empty. */
int store_rlog_bounds(MDB_txn *txn, MDB_dbi dbi, raft_index *first, raft_index *last);

/* rc. Forget what the batch says, cut what it replaces, append its entries. Log thread. */
int store_rlog_write(const struct store_env *env, MDB_txn *txn, MDB_dbi dbi,
                     const struct store_batch *batch);

/* Where the log begins; index 0: with its first entry. With a reference for the caller. 0,
 * -RD_ECORRUPT or another code after one log line. */
int store_rlog_base(const struct store_env *env, MDB_txn *txn, struct raft_point *out);

/* One read transaction and cursor, taken up anew for each use: no allocation, and no page is pinned
 * between two uses. Loop thread. */
struct store_reader {
    const struct store_env *env;
    MDB_dbi dbi;
    MDB_txn *txn; /* NULL: not open */
    MDB_cursor *cursor;
};

int store_reader_open(const struct store_env *env, MDB_dbi dbi, struct store_reader *out); /* rc */
void store_reader_close(struct store_reader *r);
int store_reader_begin(struct store_reader *r); /* rc: sees everything committed so far */
void store_reader_end(struct store_reader *r);

struct store_trust { /* what a log is verified against */
    const struct raft_point *base;
    raft_term term_max; /* the saved term: no entry may be of a later one */
    const struct raft_point
        *applied; /* damage up to it is harmless: the state has it. NULL: none is */
};

/* store_verify() and store_load() of store.h. 1: an entry up to trust->applied is damaged. */
int store_rlog_verify(struct store_reader *r, const struct store_trust *trust, store_entry_cb *cb,
                      store_progress_cb *progress, void *arg);
uint32_t store_rlog_load(struct store_reader *r, raft_index first, uint32_t count_max,
                         uint64_t bytes_max, struct raft_entry *out);

#endif
