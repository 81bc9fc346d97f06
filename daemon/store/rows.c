#include "store/rows.h"

#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/record.h"

/* ---- On its thread ---- */

/* LMDB only reads what it is given to put, and its types do not say so. */
static MDB_val val(const void *data, size_t size)
{
    union {
        const void *read_only;
        void *data;
    } as = {.read_only = data};

    return (MDB_val){size, as.data};
}

static int put_row(MDB_txn *txn, MDB_dbi dbi, const struct store_row *row)
{
    MDB_val key = val(row->key, row->key_size);
    MDB_val value = val(row->value, row->value_size);

    if (!row->deleted) {
        return mdb_put(txn, dbi, &key, &value, 0);
    }
    int rc = mdb_del(txn, dbi, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc; /* it came and went between two flushes */
}

static int put_mark(const struct store_env *env, MDB_txn *txn, const struct store_mark *mark)
{
    struct buf record = BUF_INIT;

    store_record_put_mark(mark, &record);
    int rc = store_env_put(env, txn, STORE_NAME_MARK, record.data, record.size);
    buf_done(&record);
    return rc;
}

/* rc. All of the flush is durable, or nothing of it. */
static int write_flush(const struct store_rows *r, const struct store_flush *flush)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(r->env->mdb, NULL, 0, &txn);

    if (rc != 0) {
        return rc;
    }
    if (flush->anew) {
        rc = mdb_drop(txn, r->dbi, 0);
    }
    for (uint32_t i = 0; rc == 0 && i < flush->rows_count; i++) {
        rc = put_row(txn, r->dbi, &flush->rows[i]);
    }
    if (rc == 0) {
        rc = put_mark(r->env, txn, &flush->mark);
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return store_env_commit(&txn);
}

/* Its rows, and the pages in which they are changed: those are copied, at worst all there are. */
static struct store_need need_of_flush(const struct store_rows *r, const struct store_flush *flush)
{
    uint64_t pages = (uint64_t)flush->rows_count * STORE_RESERVE_PAGE;
    uint64_t bytes = store_rows_bytes(r);
    uint64_t copied = pages < bytes ? pages : bytes;
    /* Which pages are free is written down, eight bytes each. */
    struct store_need need = {.bytes = STORE_RESERVE_COMMIT + copied / STORE_RESERVE_PAGE * 8,
                              .pages_bytes = copied};

    for (uint32_t i = 0; i < flush->rows_count; i++) {
        const struct store_row *row = &flush->rows[i];
        if (!row->deleted) {
            store_reserve_record(row->key_size + row->value_size, &need);
        }
    }
    return need;
}

/* As for the log: after a failed write nobody knows what the disk holds. A full map changed nothing,
 * and the log still has what these rows are made of. */
static int run(void *arg, const void *job)
{
    struct store_rows *r = arg;
    const struct store_need need = need_of_flush(r, job);
    bool news = false;

    if (!store_reserve_covers(&r->reserve, &need, &news)) {
        return -RD_EDISK_FULL; /* the chore, which follows, says so */
    }
    int rc = write_flush(r, job);
    if (rc == 0) {
        return 0;
    }
    const char *what = rc == MDB_MAP_FULL ? "the state does not fit into map_size, the log keeps it"
                                          : "the state cannot be written, raftd ends";
    int code = store_fault_report_running(what, r->env->path, rc);
    if (code != -RD_EMAP_FULL) {
        _exit(err_exit_daemon(code));
    }
    return code;
}

static uint32_t keep_room(void *arg, bool *news)
{
    struct store_rows *r = arg;

    return store_reserve_keep(&r->reserve, news);
}

/* ---- Loop thread ---- */

int store_rows_init(struct store_rows *r, const struct store_env *env)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);

    *r = (struct store_rows){.env = env};
    store_reserve_init(&r->reserve, env);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, STORE_NAME_ROWS, MDB_CREATE, &r->dbi);
        if (rc == 0) {
            rc = store_env_commit(&txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    if (rc != 0) {
        return store_fault_report("the state cannot be opened", env->path, rc);
    }
    int code = store_worker_init(&r->worker, "raftd-state", env->path, run, keep_room, r);
    if (code != 0) {
        log_error("store", "the state thread cannot be prepared", LOG_ERR(code));
    }
    return code;
}

int store_rows_look(struct store_rows *r, const struct store_env *env)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);

    *r = (struct store_rows){.env = env};
    if (rc == 0) {
        rc = mdb_dbi_open(txn, STORE_NAME_ROWS, 0, &r->dbi);
        if (rc == 0) {
            rc = store_env_commit(&txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    if (rc == MDB_NOTFOUND) {
        return 1;
    }
    return rc ? store_fault_report("the state cannot be opened", env->path, rc) : 0;
}

int store_rows_now(const struct store_rows *r, const struct store_flush *flush)
{
    int rc = write_flush(r, flush);

    return rc ? store_fault_report("the state cannot be written", r->env->path, rc) : 0;
}

static int refuse(const struct store_rows *r, const char *why)
{
    log_error("store", "the state cannot be read", LOG_STR("path", r->env->path),
              LOG_STR("reason", why));
    return -RD_ECORRUPT;
}

int store_rows_mark(const struct store_rows *r, MDB_txn *txn, struct store_mark *out)
{
    MDB_val value;
    int rc = store_env_get(r->env, txn, STORE_NAME_MARK, &value);

    *out = (struct store_mark){0};
    if (rc == MDB_NOTFOUND) {
        return 0; /* nothing was flushed yet */
    }
    if (rc != 0) {
        return store_fault_report("the state cannot be read", r->env->path, rc);
    }
    const char *why = store_record_get_mark(value.mv_data, value.mv_size, out);
    return why ? refuse(r, why) : 0;
}

static int load_rows(const struct store_rows *r, MDB_txn *txn, store_row_cb *cb, void *arg)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    int code = 0;
    int rc = mdb_cursor_open(txn, r->dbi, &cursor);

    if (rc != 0) {
        return store_fault_report("the state cannot be read", r->env->path, rc);
    }
    while (code == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        code = cb(arg, key.mv_data, key.mv_size, value.mv_data, value.mv_size);
    }
    mdb_cursor_close(cursor);
    if (code == 0 && rc != MDB_NOTFOUND) {
        code = store_fault_report("the state cannot be read", r->env->path, rc);
    }
    return code;
}

/* Rows and mark are written together: rows without one have lost it. */
static int check_empty(const struct store_rows *r, MDB_txn *txn)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, r->dbi, &stat);

    if (rc != 0) {
        return store_fault_report("the state cannot be read", r->env->path, rc);
    }
    return stat.ms_entries ? refuse(r, "there are rows, and the mark is missing") : 0;
}

int store_rows_load(const struct store_rows *r, store_row_cb *cb, void *arg, struct store_mark *out)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(r->env->mdb, NULL, MDB_RDONLY, &txn);

    *out = (struct store_mark){0};
    if (rc != 0) {
        return store_fault_report("the state cannot be read", r->env->path, rc);
    }
    int code = store_rows_mark(r, txn, out);
    if (code == 0) {
        code = out->at.index ? load_rows(r, txn, cb, arg) : check_empty(r, txn);
    }
    mdb_txn_abort(txn);
    return code;
}

void store_rows_submit(struct store_rows *r, const struct store_flush *flush)
{
    store_worker_check_free(&r->worker);
    r->flush = *flush;
    store_worker_submit(&r->worker, &r->flush);
}

bool store_rows_take(struct store_rows *r, int *code)
{
    uint64_t took_us;

    return store_worker_take(&r->worker, code, &took_us);
}

uint64_t store_rows_bytes(const struct store_rows *r)
{
    MDB_txn *txn;
    uint64_t bytes = 0;

    if (mdb_txn_begin(r->env->mdb, NULL, MDB_RDONLY, &txn) == 0) {
        bytes = store_env_bytes(txn, r->env->named) + store_env_bytes(txn, r->dbi);
        mdb_txn_abort(txn);
    }
    return bytes;
}
