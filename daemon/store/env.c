#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/fault.h"
#include "store/pages.h"

#define NAME_SIZE 32

enum { DATABASES_MAX = 4 };

/* LMDB found its own structures broken. Going on could damage them further. */
static void env_assert(MDB_env *mdb, const char *message)
{
    const char *path = NULL;

    (void)mdb_env_get_path(mdb, &path);
    log_error("store", "the data is damaged: LMDB failed an assertion", LOG_STR("path", path),
              LOG_STR("assertion", message), LOG_STR("do", STORE_FAULT_DAMAGED));
    _exit(RD_EXIT_DATA); /* its pages make no sense: nothing it says can be believed */
}

/* LMDB leaves its data file open across exec(2). */
static int close_on_exec(MDB_env *mdb)
{
    int fd;
    int rc = mdb_env_get_fd(mdb, &fd);

    if (rc == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        rc = errno;
    }
    return rc;
}

/* A handle outlives the transaction that opened it only when that one commits. */
static int open_named(MDB_env *mdb, MDB_dbi *named)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(mdb, NULL, MDB_RDONLY, &txn);

    if (rc != 0) {
        return rc;
    }
    rc = mdb_dbi_open(txn, NULL, 0, named);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return store_env_commit(&txn);
}

static int configure_and_open(struct store_env *env, uint64_t map_size, unsigned flags)
{
    MDB_env *mdb = env->mdb;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int rc = mdb_env_set_assert(mdb, env_assert);

    if (rc == 0) {
        rc = mdb_env_set_maxdbs(mdb, DATABASES_MAX);
    }
    if (rc == 0) {
        rc = mdb_env_set_mapsize(mdb, map_size / page * page);
    }
    if (rc == 0) {
        rc = mdb_env_open(mdb, env->path, MDB_NOTLS | flags, 0600);
    }
    if (rc == 0) {
        rc = close_on_exec(mdb);
    }
    if (rc == 0 && !(flags & MDB_NOLOCK)) {
        int dead; /* slots of readers that were killed would pin pages for ever */
        rc = mdb_reader_check(mdb, &dead);
    }
    if (rc == 0) {
        rc = open_named(mdb, &env->named);
    }
    return rc;
}

static int open_env(const char *dir, const char *name, uint64_t map_size, unsigned flags,
                    struct store_env *out)
{
    size_t path_size = strlen(dir) + strlen(name) + 2;
    struct store_env env = {NULL, 0, mem_alloc(path_size)};

    (void)snprintf(env.path, path_size, "%s/%s", dir, name);
    int code = store_pages_check(env.path);
    if (code != 0) {
        store_env_close(&env);
        return code;
    }
    int rc = mdb_env_create(&env.mdb);
    if (rc == 0) {
        rc = configure_and_open(&env, map_size, flags);
    }
    if (rc != 0) {
        code = store_fault_report("an environment of the data directory cannot be opened", env.path,
                                  rc);
        store_env_close(&env);
        return code;
    }
    *out = env;
    return 0;
}

int store_env_open(const char *dir, const char *name, uint64_t map_size, struct store_env *out)
{
    return open_env(dir, name, map_size, 0, out);
}

int store_env_inspect(const char *dir, const char *name, struct store_env *out)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE); /* LMDB makes it what the pages in use need */

    return open_env(dir, name, page, MDB_RDONLY | MDB_NOLOCK, out);
}

void store_env_close(struct store_env *env)
{
    if (env->mdb) {
        mdb_env_close(env->mdb);
    }
    mem_free(env->path);
    *env = (struct store_env){NULL, 0, NULL};
}

int store_env_commit(MDB_txn **txn)
{
    MDB_txn *taken = *txn;

    *txn = NULL;
    return mdb_txn_commit(taken);
}

/* LMDB wants keys it could write to. */
static MDB_val name_key(const char *name, char copy[NAME_SIZE])
{
    size_t size = strlen(name);

    rd_assert(size < NAME_SIZE);
    memcpy(copy, name, size); /* NOLINT(bugprone-not-null-terminated-result): a key has a size */
    return (MDB_val){size, copy};
}

int store_env_get(const struct store_env *env, MDB_txn *txn, const char *name, MDB_val *value)
{
    char copy[NAME_SIZE];
    MDB_val key = name_key(name, copy);

    return mdb_get(txn, env->named, &key, value);
}

int store_env_put(const struct store_env *env, MDB_txn *txn, const char *name, const void *data,
                  size_t size)
{
    char copy[NAME_SIZE];
    MDB_val key = name_key(name, copy);
    MDB_val value = {size, NULL};
    int rc = mdb_put(txn, env->named, &key, &value, MDB_RESERVE);

    if (rc == 0) {
        memcpy(value.mv_data, data, size);
    }
    return rc;
}

uint64_t store_env_bytes(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_stat stat;

    if (mdb_stat(txn, dbi, &stat) != 0) {
        return 0;
    }
    return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
           (uint64_t)stat.ms_psize;
}
