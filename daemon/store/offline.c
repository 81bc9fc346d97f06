/* Looking at a data directory that no raftd uses, and adding to its log. */
#include "store/offline.h"

#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/files.h"
#include "store/rlog.h"
#include "store/rows.h"
#include "store/writer.h"

struct store_offline {
    struct store_files files;
    struct store_rows rows;
    bool has_rows;
    struct blob *membership; /* the newest */
    raft_term mark_term;     /* of the entry that the mark is of; 0: not met in the log */
    uint64_t mark_chain;
    bool is_new_base; /* the log does not begin where it says it does: a snapshot is newer */
    struct store_found found;
};

/* ---- The log ---- */

static void meet_mark(struct store_offline *o, raft_index index, raft_term term, uint64_t chain)
{
    if (index == o->found.mark.at.index) {
        o->mark_term = term;
        o->mark_chain = chain;
    }
}

static void take_membership(struct store_offline *o, raft_index index, struct blob *membership)
{
    blob_unref(o->membership);
    o->membership = blob_ref(membership);
    o->found.membership_index = index;
}

static int add_entry(void *arg, const struct raft_entry *entry)
{
    struct store_offline *o = arg;
    struct store_found *f = &o->found;

    f->last_term = entry->term;
    f->last_chain = entry->chain;
    f->entries_bytes += entry->data ? entry->data->size : 0;
    meet_mark(o, entry->index, entry->term, entry->chain);
    if (entry->type == RAFT_ENTRY_MEMBERSHIP) {
        take_membership(o, entry->index, entry->data);
    }
    return 0;
}

/* As far as an empty log after this point. */
static void begin_after(struct store_offline *o, const struct raft_point *p)
{
    o->found.last_term = p->term;
    o->found.last_chain = p->chain;
    meet_mark(o, p->index, p->term, p->chain);
    take_membership(o, p->membership_index, p->membership);
}

static int verify_log(struct store_offline *o)
{
    const struct store_files *files = &o->files;
    struct store_reader reader;
    int rc = store_reader_open(&files->log, files->dbi, &reader);

    if (rc != 0) {
        return store_fault_report("the log cannot be read", files->log.path, rc);
    }
    begin_after(o, &o->found.base);
    const struct store_trust trust = {.base = &o->found.base, .term_max = o->found.term};
    int code = store_rlog_verify(&reader, &trust, add_entry, NULL, o);
    store_reader_close(&reader);
    return code;
}

/* ---- The state ---- */

static int read_mark(struct store_offline *o)
{
    MDB_txn *txn;
    int code = store_rows_look(&o->rows, &o->files.state);

    if (code != 0) {
        return code < 0 ? code : 0;
    }
    o->has_rows = true;
    int rc = mdb_txn_begin(o->files.state.mdb, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return store_fault_report("the state cannot be read", o->files.state.path, rc);
    }
    code = store_rows_mark(&o->rows, txn, &o->found.mark);
    mdb_txn_abort(txn);
    return code;
}

static int misfit(const struct store_offline *o, const char *why)
{
    const struct store_found *f = &o->found;

    log_error("store", "the state and the log do not fit", LOG_STR("path", o->files.dir.path),
              LOG_STR("reason", why), LOG_U64("applied_index", f->mark.at.index),
              LOG_U64("base_index", f->base.index), LOG_U64("last_index", f->last));
    return -RD_ECORRUPT;
}

/* The rows of a snapshot became durable, and the process ended before the log was cut. */
static bool is_ahead(const struct store_found *f)
{
    const struct store_mark *m = &f->mark;

    return m->installed && m->at.term <= f->term && m->at.index > f->base.index;
}

static int match_mark(struct store_offline *o)
{
    struct store_found *f = &o->found;
    const struct raft_point *at = &f->mark.at;

    if (at->index == 0) {
        return f->base.index ? misfit(o, "the log begins later, and nothing was flushed") : 0;
    }
    if (o->mark_term == at->term) {
        return o->mark_chain == at->chain ? 0 : misfit(o, "the entry there has another chain");
    }
    if (!is_ahead(f)) {
        return misfit(o, "the log holds no such entry");
    }
    begin_after(o, at);
    raft_point_done(&f->base);
    f->base = *at;
    (void)blob_ref(f->base.membership);
    f->first = 0;
    f->last = at->index;
    f->entries_bytes = 0;
    o->is_new_base = true;
    return 0;
}

/* ---- Use ---- */

static void describe(struct store_offline *o, const struct store_contents *c)
{
    o->found = (struct store_found){.format = c->identity.format,
                                    .id = c->identity.id,
                                    .store = c->identity.store,
                                    .cluster = c->hard.cluster,
                                    .incarnation = c->incarnation,
                                    .term = c->hard.term,
                                    .vote = c->hard.vote,
                                    .loyal_ms = c->hard.loyal_ms,
                                    .base = c->base,
                                    .first = c->first,
                                    .last = c->last};
    (void)snprintf(o->found.used_by, sizeof o->found.used_by, "%s", c->used_by);
}

void store_offline_begin(void)
{
    store_fault_offline();
}

int store_offline_open(const char *data_dir, bool to_change, struct store_offline **out)
{
    struct store_contents contents;
    struct store_offline *o = mem_zalloc(sizeof *o);

    store_fault_guard(data_dir);
    int code = store_files_inspect(data_dir, to_change, &o->files, &contents);
    if (code != 0) {
        mem_free(o);
        return code;
    }
    describe(o, &contents);
    int state_code = read_mark(o);
    code = verify_log(o);
    if (code == 0 && state_code == 0) {
        state_code = match_mark(o);
    }
    if (code == 0 && state_code != -RD_ECORRUPT) {
        code = state_code;
    }
    if (code != 0) {
        store_offline_close(o);
        return code;
    }
    o->found.state_code = state_code;
    o->found.membership = o->membership;
    *out = o;
    return 0;
}

const struct store_found *store_offline_found(const struct store_offline *o)
{
    return &o->found;
}

int store_offline_rows(struct store_offline *o, store_row_cb *cb, void *arg)
{
    struct store_mark mark;

    if (!o->has_rows) {
        return 0;
    }
    int code = store_rows_load(&o->rows, cb, arg, &mark);
    raft_point_done(&mark.at);
    return code;
}

int store_offline_append(struct store_offline *o, raft_term term, struct blob *membership)
{
    const struct store_found *f = &o->found;
    struct raft_entry entry = {
        .index = f->last + 1, .term = term, .type = RAFT_ENTRY_MEMBERSHIP, .data = membership};
    const struct store_batch batch = {.seq = 1,
                                      .hard_set = true,
                                      .cluster = f->cluster,
                                      .term = term,
                                      .vote = f->id,
                                      .loyal_ms = f->loyal_ms,
                                      .base = o->is_new_base ? &f->base : NULL,
                                      .reset = o->is_new_base,
                                      .first = entry.index,
                                      .entries = &entry,
                                      .entries_count = 1};

    rd_assert(term > f->term && f->id != 0);
    entry.chain = raft_chain_after(f->last_chain, &entry);
    return store_writer_offline(&o->files.log, o->files.dbi, &batch);
}

void store_offline_close(struct store_offline *o)
{
    raft_point_done(&o->found.base);
    raft_point_done(&o->found.mark.at);
    blob_unref(o->membership);
    store_files_close(&o->files);
    mem_free(o);
}
