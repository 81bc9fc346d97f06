/* rows.h - the rows of the replicated state in their database, and the state thread's job: one flush,
 * durable as a whole together with the mark that says how far it goes.
 *
 * What a row means is the state's business. The mark carries the state's digest, so rows that are not
 * those of the mark are found out when they are read.
 * Threads: loop thread. Ownership: as store.h says for flushes. */
#ifndef RAFTD_STORE_ROWS_H
#define RAFTD_STORE_ROWS_H

#include "store/env.h"
#include "store/reserve.h"
#include "store/store.h"
#include "store/worker.h"

struct store_rows {
    const struct store_env *env; /* state/ */
    MDB_dbi dbi;
    struct store_worker worker;
    struct store_reserve reserve;
    struct store_flush flush; /* in hand */
};

/* 0; -RD_ECORRUPT, -RD_EDISK, -RD_EDISK_FULL after one log line; -errno. Makes the database. */
int store_rows_init(struct store_rows *r, const struct store_env *env);

/* To look only. 0; 1: there is no such database, nothing was ever flushed; or a code. */
int store_rows_look(struct store_rows *r, const struct store_env *env);

/* Here and now, where no raftd runs. 0, or a code after one log line. */
int store_rows_now(const struct store_rows *r, const struct store_flush *flush);

/* Of the rows in this transaction; index 0: there is none. With a reference for the caller. 0, or a code
 * after one log line. */
int store_rows_mark(const struct store_rows *r, MDB_txn *txn, struct store_mark *out);

/* store_state_load() of store.h. */
int store_rows_load(const struct store_rows *r, store_row_cb *cb, void *arg,
                    struct store_mark *out);

void store_rows_submit(struct store_rows *r, const struct store_flush *flush);
/* false: nothing has completed. */
bool store_rows_take(struct store_rows *r, int *code);
uint64_t store_rows_bytes(const struct store_rows *r); /* pages in use; 0 when LMDB does not say */

#endif
