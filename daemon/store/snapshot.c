#include "store/snapshot.h"

#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"

#define GROWTH_MIN_BYTES (UINT64_C(64) << 20) /* so much may the file always grow */

struct store_snapshot {
    const struct store_rows *rows;
    MDB_txn *txn;
    MDB_cursor *cursor;
    uint64_t pages_at_open; /* of the file */
    uint64_t pages_more;    /* it may grow by */
};

static uint64_t file_pages(const struct store_snapshot *s)
{
    MDB_envinfo info;

    return mdb_env_info(s->rows->env->mdb, &info) == 0 ? info.me_last_pgno : 0;
}

/* As much again as is read, at least. */
static uint64_t growth_allowed(const struct store_snapshot *s)
{
    MDB_stat stat;
    uint64_t bytes = store_env_bytes(s->txn, s->rows->dbi);

    if (mdb_stat(s->txn, s->rows->dbi, &stat) != 0) {
        return 0;
    }
    return (bytes > GROWTH_MIN_BYTES ? bytes : GROWTH_MIN_BYTES) / stat.ms_psize;
}

static int begin(struct store_snapshot *s)
{
    int rc = mdb_txn_begin(s->rows->env->mdb, NULL, MDB_RDONLY, &s->txn);

    if (rc == 0) {
        rc = mdb_cursor_open(s->txn, s->rows->dbi, &s->cursor);
    }
    return rc;
}

struct store_snapshot *store_snapshot_of(const struct store_rows *rows, struct store_mark *mark)
{
    struct store_snapshot *s = mem_zalloc(sizeof *s);

    *mark = (struct store_mark){0};
    s->rows = rows;
    int rc = begin(s);
    if (rc != 0) {
        (void)store_fault_report_running("the state cannot be read", rows->env->path, rc);
    } else if (store_rows_mark(rows, s->txn, mark) == 0 && mark->at.index != 0) {
        s->pages_at_open = file_pages(s);
        s->pages_more = growth_allowed(s);
        return s;
    }
    store_snapshot_close(s);
    return NULL;
}

int store_snapshot_next(struct store_snapshot *s, struct store_row *out)
{
    MDB_val key;
    MDB_val value;

    if (file_pages(s) > s->pages_at_open + s->pages_more) {
        return -RD_ENOT_READY;
    }
    int rc = mdb_cursor_get(s->cursor, &key, &value, MDB_NEXT);
    if (rc == MDB_NOTFOUND) {
        return 0;
    }
    if (rc != 0) {
        return store_fault_report_running("the state cannot be read", s->rows->env->path, rc);
    }
    *out = (struct store_row){key.mv_data, key.mv_size, value.mv_data, value.mv_size, false};
    return 1;
}

void store_snapshot_close(struct store_snapshot *s)
{
    if (s->cursor) {
        mdb_cursor_close(s->cursor);
    }
    if (s->txn) {
        mdb_txn_abort(s->txn);
    }
    mem_free(s);
}
