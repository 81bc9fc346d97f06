/* env.h - one LMDB environment, opened the only way raftd opens them, and its named records.
 *
 * Errors:  functions that return `rc` return LMDB's code as it is (it stays inside this room);
 * store_env_open() returns a negative code from base/err.h after one log line. Threads: write
 * transactions of an environment on one thread at a time, read transactions on the loop thread. */
#ifndef RAFTD_STORE_ENV_H
#define RAFTD_STORE_ENV_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

struct store_env {
    MDB_env *mdb;  /* NULL: closed */
    MDB_dbi named; /* the unnamed database, home of the named records */
    char *path;    /* for messages; owned */
};

/* dir/name must exist. Every commit is synced: no flag that weakens it is ever set. */
int store_env_open(const char *dir, const char *name, uint64_t map_size, struct store_env *out);
/* The same to look only: nothing is made or changed. The caller has excluded every other process. */
int store_env_inspect(const char *dir, const char *name, struct store_env *out);
void store_env_close(struct store_env *env); /* no transaction may be open */

/* rc. LMDB frees the transaction even when the commit fails: *txn is NULL after it. */
int store_env_commit(MDB_txn **txn);

/* rc. A named record of the unnamed database; the value is LMDB's, for the transaction. */
int store_env_get(const struct store_env *env, MDB_txn *txn, const char *name, MDB_val *value);
int store_env_put(const struct store_env *env, MDB_txn *txn, const char *name, const void *data,
                  size_t size);

/* Bytes of the pages of a database in a transaction, 0 when LMDB does not say. */
uint64_t store_env_bytes(MDB_txn *txn, MDB_dbi dbi);

#endif
