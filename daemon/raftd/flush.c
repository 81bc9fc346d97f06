/* The state on disk: read at the start, written behind while the node runs, and at a clean stop. What
 * is missing in it stands in the log. */
#include <poll.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"

enum {
    FLUSH_EVERY_MS = 1000,
    FLUSH_AGAIN_MS = 60000,        /* after one that did not fit */
    FLUSH_BYTES = 8 * 1024 * 1024, /* sooner, when so much has gathered */
    FLUSH_LAST_MS = 5000,          /* a clean stop waits so long for a flush in hand */
};

/* ---- Start ---- */

static int row_cb(void *arg, const void *key, size_t key_size, const void *value, size_t value_size)
{
    const struct server *s = arg;

    return node_restore_row(s->node, key, key_size, value, value_size);
}

/* Nothing is lost while the log still holds all entries: they say what the rows were. */
static int rebuild(struct server *s, const char *why)
{
    if (s->info.first > 1) {
        log_error("raftd",
                  "the state on disk cannot be used, and the log does not hold all entries",
                  LOG_STR("why", why), LOG_U64("first_index", s->info.first),
                  LOG_STR("do", "give the cluster a fresh member instead of this one (raftctl "
                                "replace-server)"));
        return -RD_ECORRUPT;
    }
    log_warning("raftd", "the state on disk cannot be used: it is built anew from the log",
                LOG_STR("why", why), LOG_U64("last_index", s->info.last));
    node_restore_anew(s->node);
    s->mark = (struct store_mark){0};
    return 0;
}

int server_state_load(struct server *s)
{
    int code = store_state_load(s->store, row_cb, s, &s->mark);

    return code == -RD_ECORRUPT ? rebuild(s, "a row or the mark is damaged") : code;
}

int server_state_restore(struct server *s)
{
    const struct node_mark mark = {s->mark.index, s->mark.term, s->mark.revision, s->mark.digest};

    if (mark.index == 0) {
        return 0;
    }
    return node_restore_applied(s->node, &mark)
               ? rebuild(s, "it is not of an entry of this log, or its digest is another")
               : 0;
}

/* ---- While it runs ---- */

static void rows_reserve(struct server *s, uint32_t count)
{
    if (count > s->flush_capacity) {
        s->flush_capacity = count;
        s->flush_rows = mem_realloc(s->flush_rows, count * sizeof *s->flush_rows);
    }
}

static void submit(struct server *s)
{
    const struct node_flush *f = node_flush_take(s->node);

    rows_reserve(s, f->rows.count);
    for (uint32_t i = 0; i < f->rows.count; i++) {
        const struct state_row *row = &f->rows.rows[i];
        s->flush_rows[i] = (struct store_row){.key = f->rows.bytes.data + row->key_at,
                                              .key_size = row->key_size,
                                              .value = f->rows.bytes.data + row->value_at,
                                              .value_size = row->value_size,
                                              .deleted = row->deleted};
    }
    const struct store_flush flush = {
        .anew = f->anew,
        .rows = s->flush_rows,
        .rows_count = f->rows.count,
        .mark = {f->mark.index, f->mark.term, f->mark.revision, f->mark.digest}};
    store_state_submit(s->store, &flush);
    s->flush_at = s->now + FLUSH_EVERY_MS;
}

static void take_completion(struct server *s)
{
    int code;

    if (!store_state_completed(s->store, &code)) {
        return;
    }
    s->flush_failed = code != 0;
    if (code) {
        node_flush_failed(s->node);
        s->flush_at = s->now + FLUSH_AGAIN_MS;
    } else {
        node_flushed(s->node);
    }
}

mono_ms server_flush_due(const struct server *s)
{
    bool much = node_flush_bytes(s->node) >= FLUSH_BYTES && !s->flush_failed;

    return !node_flush_wanted(s->node) ? UINT64_MAX : much ? s->now : s->flush_at;
}

void server_flush_turn(struct server *s)
{
    take_completion(s);
    if (server_flush_due(s) <= s->now) {
        submit(s);
    }
}

/* ---- A clean stop: the next start has nothing to replay ---- */

void server_flush_last(struct server *s)
{
    struct pollfd ready = {.fd = store_state_event_fd(s->store), .events = POLLIN};

    if (!store_state_is_idle(s->store)) {
        (void)poll(&ready, 1, FLUSH_LAST_MS);
    }
    take_completion(s);
    if (store_state_is_idle(s->store) && node_flush_wanted(s->node)) {
        submit(s); /* store_close() waits for it */
    }
}
