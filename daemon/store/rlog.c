#include "store/rlog.h"

#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "raft/types.h"
#include "store/fault.h"
#include "store/record.h"

_Static_assert(sizeof(size_t) == sizeof(raft_index), "MDB_INTEGERKEY takes keys of size_t");

enum {
    PROGRESS_EVERY_MS = 1000,
    PROGRESS_LOOK_ENTRIES = 256, /* the clock is read once per so many entries */
};

static raft_index index_of(const MDB_val *key)
{
    raft_index index = 0;

    if (key->mv_size == sizeof index) {
        memcpy(&index, key->mv_data, sizeof index);
    }
    return index; /* 0 is no index: every reader compares with the one it expects */
}

static MDB_val key_of(raft_index *index)
{
    return (MDB_val){sizeof *index, index};
}

/* The index at one end of the log; 0 when it is empty. */
static int index_at(MDB_cursor *cursor, MDB_cursor_op end, raft_index *out)
{
    MDB_val key;
    MDB_val value;
    int rc = mdb_cursor_get(cursor, &key, &value, end);

    if (rc == 0) {
        *out = index_of(&key);
    } else if (rc == MDB_NOTFOUND) {
        *out = 0;
        rc = 0;
    }
    return rc;
}

int store_rlog_bounds(MDB_txn *txn, MDB_dbi dbi, raft_index *first, raft_index *last)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, dbi, &cursor);

    if (rc != 0) {
        return rc;
    }
    rc = index_at(cursor, MDB_FIRST, first);
    if (rc == 0) {
        rc = index_at(cursor, MDB_LAST, last);
    }
    mdb_cursor_close(cursor);
    return rc;
}

/* ---- Writing ---- */

/* Delete records up to `last`, from the one that `first` finds on. After a deletion the cursor stands
 * before the next record: NEXT skips none. */
static int delete_records(MDB_cursor *cursor, MDB_val *key, MDB_cursor_op first, raft_index last)
{
    MDB_val value;
    int rc = mdb_cursor_get(cursor, key, &value, first);

    while (rc == 0 && index_of(key) <= last) {
        rc = mdb_cursor_del(cursor, 0);
        if (rc == 0) {
            rc = mdb_cursor_get(cursor, key, &value, MDB_NEXT);
        }
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int cut_from(MDB_cursor *cursor, raft_index first, raft_index base)
{
    raft_index last;
    MDB_val key = key_of(&first);
    int rc = index_at(cursor, MDB_LAST, &last);

    if (rc != 0) {
        return rc;
    }
    last = last ? last : base;
    rd_assert(first > base && first <= last + 1); /* a gap would be a lost entry */
    return first > last ? 0 : delete_records(cursor, &key, MDB_SET_RANGE, UINT64_MAX);
}

static int append(MDB_cursor *cursor, const struct raft_entry *entry)
{
    raft_index index = entry->index;
    MDB_val key = key_of(&index);
    MDB_val value = {store_record_entry_size(entry), NULL};
    int rc = mdb_cursor_put(cursor, &key, &value, MDB_APPEND | MDB_RESERVE);

    if (rc == 0) {
        store_record_put_entry(entry, value.mv_data);
    }
    return rc;
}

int store_rlog_base(const struct store_env *env, MDB_txn *txn, struct raft_point *out)
{
    MDB_val value;
    int rc = store_env_get(env, txn, STORE_NAME_BASE, &value);

    *out = (struct raft_point){0};
    if (rc == MDB_NOTFOUND) {
        return 0;
    }
    if (rc != 0) {
        return store_fault_report("the beginning of the log cannot be read", env->path, rc);
    }
    const char *why = store_record_get_base(value.mv_data, value.mv_size, out);
    if (why) {
        log_error("store", "the record of where the log begins cannot be trusted",
                  LOG_STR("path", env->path), LOG_STR("reason", why),
                  LOG_STR("do", STORE_FAULT_DAMAGED));
    }
    return why ? -RD_ECORRUPT : 0;
}

static int put_base(const struct store_env *env, MDB_txn *txn, const struct raft_point *base)
{
    struct buf record = BUF_INIT;

    store_record_put_base(base, &record);
    int rc = store_env_put(env, txn, STORE_NAME_BASE, record.data, record.size);
    buf_done(&record);
    return rc;
}

static int forget(const struct store_env *env, MDB_txn *txn, MDB_dbi dbi, MDB_cursor *cursor,
                  const struct store_batch *batch)
{
    MDB_val key;
    int rc = batch->reset ? mdb_drop(txn, dbi, 0)
                          : delete_records(cursor, &key, MDB_FIRST, batch->base->index);

    return rc ? rc : put_base(env, txn, batch->base);
}

static int replace(const struct store_env *env, MDB_txn *txn, MDB_cursor *cursor,
                   const struct store_batch *batch)
{
    struct raft_point base;

    if (store_rlog_base(env, txn, &base)) {
        return MDB_CORRUPTED;
    }
    int rc = cut_from(cursor, batch->first, base.index);
    raft_point_done(&base);
    for (uint32_t i = 0; rc == 0 && i < batch->entries_count; i++) {
        rd_assert(batch->entries[i].index == batch->first + i);
        rc = append(cursor, &batch->entries[i]);
    }
    return rc;
}

int store_rlog_write(const struct store_env *env, MDB_txn *txn, MDB_dbi dbi,
                     const struct store_batch *batch)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, dbi, &cursor);

    if (rc != 0) {
        return rc;
    }
    if (batch->base) {
        rc = forget(env, txn, dbi, cursor, batch);
    }
    if (rc == 0 && batch->first != 0) {
        rc = replace(env, txn, cursor, batch);
    }
    mdb_cursor_close(cursor);
    return rc;
}

/* ---- Reading ---- */

int store_reader_open(const struct store_env *env, MDB_dbi dbi, struct store_reader *out)
{
    struct store_reader r = {.env = env, .dbi = dbi};
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &r.txn);

    if (rc != 0) {
        return rc;
    }
    rc = mdb_cursor_open(r.txn, dbi, &r.cursor);
    if (rc != 0) {
        mdb_txn_abort(r.txn);
        return rc;
    }
    mdb_txn_reset(r.txn);
    *out = r;
    return 0;
}

void store_reader_close(struct store_reader *r)
{
    if (r->txn) {
        mdb_cursor_close(r->cursor);
        mdb_txn_abort(r->txn);
    }
    *r = (struct store_reader){0};
}

int store_reader_begin(struct store_reader *r)
{
    int rc = mdb_txn_renew(r->txn);

    if (rc == 0) {
        rc = mdb_cursor_renew(r->txn, r->cursor);
        if (rc != 0) {
            mdb_txn_reset(r->txn);
        }
    }
    return rc;
}

void store_reader_end(struct store_reader *r)
{
    mdb_txn_reset(r->txn);
}

static int report_bad_entry(const struct store_reader *r, raft_index index, const char *why)
{
    log_error("store", "a log entry cannot be trusted", LOG_STR("path", r->env->path),
              LOG_U64("index", index), LOG_STR("reason", why), LOG_STR("do", STORE_FAULT_DAMAGED));
    return -RD_ECORRUPT;
}

static struct raft_entry entry_of(raft_index index, const struct store_entry_view *view)
{
    return (struct raft_entry){
        .index = index,
        .term = view->term,
        .chain = view->chain,
        .type = view->type,
        .data = view->payload_size ? blob_copy(view->payload, view->payload_size) : NULL};
}

struct walk { /* over the whole log */
    raft_index next;
    raft_term term; /* of the entry before */
    uint64_t chain; /* of the entry before */
    raft_term term_max;
};

/* NULL, or why the record at the cursor is not the next entry of this log. */
static const char *walk_take(struct walk *w, const MDB_val *key, const MDB_val *value,
                             struct raft_entry *out)
{
    struct store_entry_view view;
    const char *why = NULL;

    if (index_of(key) != w->next) {
        return "the entry is missing";
    }
    why = store_record_get_entry(w->next, value->mv_data, value->mv_size, &view);
    if (why) {
        return why;
    }
    if (view.term < w->term) {
        return "its term is below the term of the entry before";
    }
    if (view.term > w->term_max) {
        return "its term is above the saved term";
    }
    struct raft_entry entry = entry_of(w->next, &view);
    if (raft_chain_after(w->chain, &entry) != entry.chain) {
        blob_unref(entry.data);
        return "its chain does not continue the entry before";
    }
    w->next++;
    w->term = entry.term;
    w->chain = entry.chain;
    *out = entry;
    return NULL;
}

struct progress {
    store_progress_cb *cb;
    void *arg;
    raft_index last;
    mono_ms due;
};

static void progress_tick(struct progress *p, raft_index at)
{
    if (!p->cb || at % PROGRESS_LOOK_ENTRIES != 0) {
        return;
    }
    mono_ms now = mono_now_ms();
    if (now >= p->due) {
        p->due = now + PROGRESS_EVERY_MS;
        p->cb(p->arg, at, p->last);
    }
}

/* What was applied, and is in the state on disk, is needed here no more. */
static int bad_entry(const struct store_reader *r, const struct store_trust *trust,
                     raft_index index, const char *why)
{
    if (!trust->applied || index > trust->applied->index) {
        return report_bad_entry(r, index, why);
    }
    log_warning("store",
                "a log entry cannot be trusted, but the state on disk has it: the log begins after "
                "that from now on",
                LOG_STR("path", r->env->path), LOG_U64("index", index), LOG_STR("reason", why),
                LOG_U64("first", trust->applied->index + 1), LOG_STR("do", "check the disk"));
    return 1;
}

static int verify_all(struct store_reader *r, const struct store_trust *trust, struct walk *w,
                      struct progress *p, store_entry_cb *cb, void *arg)
{
    MDB_val key;
    MDB_val value;
    int rc = index_at(r->cursor, MDB_LAST, &p->last);

    if (rc == 0) {
        rc = mdb_cursor_get(r->cursor, &key, &value, MDB_FIRST);
    }
    for (; rc == 0; rc = mdb_cursor_get(r->cursor, &key, &value, MDB_NEXT)) {
        struct raft_entry entry;
        const char *why = walk_take(w, &key, &value, &entry);
        if (why) {
            return bad_entry(r, trust, w->next, why);
        }
        int code = cb(arg, &entry);
        blob_unref(entry.data);
        if (code != 0) {
            return code;
        }
        progress_tick(p, entry.index);
    }
    return rc == MDB_NOTFOUND
               ? 0
               : store_fault_report_running("the log cannot be read", r->env->path, rc);
}

int store_rlog_verify(struct store_reader *r, const struct store_trust *trust, store_entry_cb *cb,
                      store_progress_cb *progress, void *arg)
{
    struct walk walk = {.next = trust->base->index + 1,
                        .term = trust->base->term,
                        .chain = trust->base->chain,
                        .term_max = trust->term_max};
    struct progress p = {.cb = progress, .arg = arg, .due = mono_now_ms() + PROGRESS_EVERY_MS};
    int rc = store_reader_begin(r);

    if (rc != 0) {
        return store_fault_report("the log cannot be read", r->env->path, rc);
    }
    int code = verify_all(r, trust, &walk, &p, cb, arg);
    store_reader_end(r);
    return code;
}

/* What the core was promised is not there, or not what was written: no answer is right. The service
 * manager may try again: the next start knows whether the entry is needed. */
_Noreturn static void die_of_bad_entry(const struct store_reader *r, raft_index index,
                                       const char *why)
{
    log_error("store", "a log entry cannot be trusted, raftd ends", LOG_STR("path", r->env->path),
              LOG_U64("index", index), LOG_STR("reason", why),
              LOG_STR("do",
                      "check the disk, start raftd again: an entry that the state on disk has is "
                      "given up, any other is refused"));
    _exit(RD_EXIT_IO);
}

static struct store_entry_view view_or_die(const struct store_reader *r, raft_index index,
                                           const MDB_val *key, const MDB_val *value)
{
    struct store_entry_view view = {0};
    const char *why = "the entry is missing";

    if (index_of(key) == index) {
        why = store_record_get_entry(index, value->mv_data, value->mv_size, &view);
    }
    if (why) {
        die_of_bad_entry(r, index, why);
    }
    return view;
}

uint32_t store_rlog_load(struct store_reader *r, raft_index first, uint32_t count_max,
                         uint64_t bytes_max, struct raft_entry *out)
{
    MDB_val key = key_of(&first);
    MDB_val value;
    uint32_t count = 0;
    uint64_t bytes = 0;
    int rc = store_reader_begin(r);

    if (rc == 0) {
        rc = mdb_cursor_get(r->cursor, &key, &value, MDB_SET_KEY);
    }
    for (; rc == 0; rc = mdb_cursor_get(r->cursor, &key, &value, MDB_NEXT)) {
        struct store_entry_view view = view_or_die(r, first + count, &key, &value);
        bytes += view.payload_size;
        if (count > 0 && bytes > bytes_max) {
            break;
        }
        out[count] = entry_of(first + count, &view);
        if (++count == count_max) {
            break;
        }
    }
    if (rc != 0 && rc != MDB_NOTFOUND) {
        store_fault_die("the log cannot be read, raftd ends", r->env->path, rc);
    }
    if (count == 0) {
        die_of_bad_entry(r, first, "the entry is missing");
    }
    store_reader_end(r);
    return count;
}
