#include "store/store.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/files.h"
#include "store/rlog.h"
#include "store/rows.h"
#include "store/snapshot.h"
#include "store/stats.h"
#include "store/writer.h"

struct store {
    struct store_files files;
    uint64_t stall_timeout_ms;
    struct store_hard hard; /* as of the last batch handed over */
    struct raft_point base; /* as opened, or made good: where the log begins */
    raft_index last;
    struct store_writer writer;
    struct store_rows rows;
    struct store_reader reader;
    struct store_latency latency;
    uint64_t commits;
    uint64_t entries;
};

/* ---- Life ---- */

static int open_access(struct store *s)
{
    const struct store_env *log = &s->files.log;
    int rc = store_reader_open(log, s->files.dbi, &s->reader);

    if (rc != 0) {
        return store_fault_report("the log cannot be read", log->path, rc);
    }
    int code = store_writer_init(&s->writer, log, s->files.dbi);
    if (code != 0) {
        log_error("store", "the log thread cannot be prepared", LOG_ERR(code));
        store_reader_close(&s->reader);
        return code;
    }
    code = store_rows_init(&s->rows, &s->files.state);
    if (code != 0) {
        store_worker_done(&s->writer.worker);
        store_reader_close(&s->reader);
    }
    return code;
}

static void log_opened(const struct store *s, const struct store_contents *c, const char *version)
{
    char store_text[UUID_TEXT_SIZE];

    uuid_text(&c->identity.store, store_text);
    if (c->fresh) {
        log_notice("store", "made a new store", LOG_STR("path", s->files.dir.path),
                   LOG_U64("node", c->identity.id), LOG_STR("store", store_text));
    } else {
        log_info("store", "opened", LOG_STR("path", s->files.dir.path),
                 LOG_STR("store", store_text), LOG_U64("incarnation", c->incarnation),
                 LOG_U64("term", c->hard.term), LOG_U64("first", c->first),
                 LOG_U64("last", c->last));
    }
    if (c->used_by[0] && strcmp(c->used_by, version) != 0) {
        log_notice("store", "another version of raftd used this data directory before",
                   LOG_STR("before", c->used_by), LOG_STR("now", version),
                   LOG_U64("format", c->identity.format));
    }
}

static void describe_log(const struct store *s, struct store_info *info)
{
    info->base = s->base;
    info->last = s->last > s->base.index ? s->last : s->base.index;
    info->first = s->last > s->base.index ? s->base.index + 1 : 0;
}

int store_open(const struct store_config *config, struct store **out, struct store_info *info)
{
    struct store_contents c;
    struct store *s = mem_zalloc(sizeof *s);

    rd_assert(config->id != 0 && config->data_dir && config->version);
    store_fault_guard(config->data_dir);
    int code = store_files_open(config, &s->files, &c);
    if (code != 0) {
        mem_free(s);
        return code;
    }
    code = open_access(s);
    if (code != 0) {
        store_files_close(&s->files);
        mem_free(s);
        return code;
    }
    s->stall_timeout_ms = config->stall_timeout_ms;
    s->hard = c.hard;
    log_opened(s, &c, config->version);
    *info = (struct store_info){.store = c.identity.store,
                                .incarnation = c.incarnation,
                                .cluster = c.hard.cluster,
                                .term = c.hard.term,
                                .vote = c.hard.vote,
                                .loyal_ms = c.hard.loyal_ms,
                                .created = c.fresh,
                                .format = c.identity.format};
    (void)snprintf(info->used_by, sizeof info->used_by, "%s", c.used_by);
    s->base = c.base;
    s->last = c.last;
    describe_log(s, info);
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    store_worker_done(&s->rows.worker);
    store_worker_done(&s->writer.worker);
    store_reader_close(&s->reader);
    store_files_close(&s->files);
    raft_point_done(&s->base);
    mem_free(s);
}

/* ---- Use ---- */

/* Nothing before the point is needed any more: whatever is wrong with it, the log begins there. */
static int begin_after(struct store *s, const struct raft_point *at, struct store_info *info)
{
    const struct store_batch batch = {.seq = 1, .base = at};
    int code = store_writer_now(&s->writer, &batch);

    if (code != 0) {
        return code;
    }
    raft_point_done(&s->base);
    s->base = *at;
    (void)blob_ref(s->base.membership);
    describe_log(s, info);
    return 1;
}

int store_verify(struct store *s, const struct raft_point *applied, store_entry_cb *cb,
                 store_progress_cb *progress, void *arg, struct store_info *info)
{
    bool needless = applied->index > s->base.index && applied->term <= s->hard.term;
    const struct store_trust trust = {
        .base = &s->base, .term_max = s->hard.term, .applied = needless ? applied : NULL};
    int code = store_rlog_verify(&s->reader, &trust, cb, progress, arg);

    return code == 1 ? begin_after(s, applied, info) : code;
}

int store_start(struct store *s)
{
    int code = store_worker_start(&s->writer.worker);

    if (code == 0) {
        code = store_worker_start(&s->rows.worker);
    }
    if (code != 0) {
        log_error("store", "a thread cannot be started", LOG_ERR(code));
    }
    return code;
}

int store_event_fd(const struct store *s)
{
    return s->writer.worker.event_fd;
}

/* What must never reach the disk, whoever asks: it would break a promise of this node. */
static void check_batch(const struct store_hard *saved, const struct store_batch *batch)
{
    rd_assert(batch->seq != 0);
    if (batch->hard_set) {
        rd_assert(batch->term >= saved->term);
        rd_assert(batch->term > saved->term || saved->vote == 0 || batch->vote == saved->vote);
    }
    if (batch->first == 0) {
        rd_assert(batch->entries_count == 0);
    } else {
        rd_assert(batch->entries_count > 0);
        rd_assert(batch->entries[batch->entries_count - 1].term <=
                  (batch->hard_set ? batch->term : saved->term));
    }
}

void store_submit(struct store *s, const struct store_batch *batch)
{
    check_batch(&s->hard, batch);
    if (batch->hard_set) {
        s->hard = (struct store_hard){batch->cluster, batch->term, batch->vote, batch->loyal_ms};
    }
    store_writer_submit(&s->writer, batch);
}

int store_completed(struct store *s, uint64_t *seq)
{
    struct store_result result;

    if (!store_writer_take(&s->writer, &result)) {
        *seq = 0;
        return 0;
    }
    if (result.code != 0) {
        return result.code;
    }
    store_latency_add(&s->latency, result.commit_us);
    s->commits++;
    s->entries += result.entries_count;
    *seq = result.seq;
    return 0;
}

int store_state_load(struct store *s, store_row_cb *cb, void *arg, struct store_mark *out)
{
    return store_rows_load(&s->rows, cb, arg, out);
}

void store_state_submit(struct store *s, const struct store_flush *flush)
{
    rd_assert(flush->mark.at.index != 0);
    store_rows_submit(&s->rows, flush);
}

bool store_state_is_idle(struct store *s)
{
    return store_worker_is_idle(&s->rows.worker);
}

int store_state_event_fd(const struct store *s)
{
    return s->rows.worker.event_fd;
}

bool store_state_completed(struct store *s, int *code)
{
    return store_rows_take(&s->rows, code);
}

struct store_snapshot *store_snapshot_open(struct store *s, struct store_mark *mark)
{
    return store_snapshot_of(&s->rows, mark);
}

uint32_t store_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                    struct raft_entry *out)
{
    struct store *s = arg;

    rd_assert(first != 0 && count_max != 0);
    return store_rlog_load(&s->reader, first, count_max, bytes_max, out);
}

uint64_t store_log_bytes(struct store *s)
{
    uint64_t bytes = 0;

    if (store_reader_begin(&s->reader) == 0) {
        bytes = store_env_bytes(s->reader.txn, s->files.log.named) +
                store_env_bytes(s->reader.txn, s->files.dbi);
        store_reader_end(&s->reader);
    }
    return bytes;
}

void store_room_get(const struct store *s, struct store_room *out)
{
    struct store_reserve_state log;
    struct store_reserve_state state;

    store_reserve_get(&s->writer.reserve, &log);
    store_reserve_get(&s->rows.reserve, &state);
    bool by_state = state.low && !log.low;
    *out = (struct store_room){.low = log.low || state.low,
                               .path = by_state ? s->files.state.path : s->files.log.path,
                               .free_bytes = by_state ? state.free_bytes : log.free_bytes,
                               .log_bytes = log.ahead_bytes,
                               .state_bytes = state.ahead_bytes,
                               .wanted_bytes = log.wanted_bytes};
}

void store_set_stall_timeout(struct store *s, uint64_t ms)
{
    s->stall_timeout_ms = ms;
}

void store_stats_get(struct store *s, struct store_stats *out)
{
    uint64_t outstanding_ms = store_worker_outstanding_ms(&s->writer.worker);

    *out = (struct store_stats){
        .outstanding_ms = outstanding_ms,
        .stalled = store_is_stalled(outstanding_ms, s->stall_timeout_ms),
        .commit_p50_us = store_latency_percentile(&s->latency, 50),
        .commit_p99_us = store_latency_percentile(&s->latency, 99),
        .log_bytes = store_log_bytes(s),
        .state_bytes = store_rows_bytes(&s->rows),
        .free_bytes = store_free_bytes(s->files.log.path),
        .commits = s->commits,
        .entries = s->entries,
    };
}
