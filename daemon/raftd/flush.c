/* The state on disk: read at the start, written behind while the node runs, and at a clean stop. What
 * is missing in it stands in the log. */
#include <poll.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"
#include "state/stream.h"

enum {
    FLUSH_EVERY_MS = 1000,
    FLUSH_AGAIN_MS = 60000,        /* after one that did not fit into the map */
    FLUSH_ROOM_MS = 5000,          /* or for which the file system had no room */
    FLUSH_BYTES = 8 * 1024 * 1024, /* sooner, when so much has gathered */
    FLUSH_READERS_MS = 30000,      /* later, when somebody reads the rows */
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
    if (s->info.base.index > 0) {
        log_error("raftd",
                  "the state on disk cannot be used, and the log does not hold all entries",
                  LOG_STR("why", why), LOG_U64("first_index", s->info.base.index + 1),
                  LOG_STR("do", RD_MAKE_ANEW));
        return -RD_ECORRUPT;
    }
    log_warning("raftd", "the state on disk cannot be used: it is built anew from the log",
                LOG_STR("why", why), LOG_U64("last_index", s->info.last));
    node_restore_anew(s->node);
    raft_point_done(&s->mark.at);
    s->mark = (struct store_mark){0};
    return 0;
}

int server_state_load(struct server *s)
{
    int code = store_state_load(s->store, row_cb, s, &s->mark);

    return code == -RD_ECORRUPT ? rebuild(s, "a row or the mark is damaged") : code;
}

/* Only what the log holds durably was ever written to the state, except a snapshot: this node may have
 * acknowledged what is missing, and voted where nothing tells of it any more. */
static int refuse_short_log(const struct server *s)
{
    log_error("raftd", "the log ends before the state that was made of it: entries are lost",
              LOG_STR("path", s->config->data_dir), LOG_U64("index", s->info.last),
              LOG_U64("applied_index", s->mark.at.index),
              LOG_STR("do", "put back the whole directory as it was; without it, " RD_MAKE_ANEW));
    return -RD_ECORRUPT;
}

int server_state_restore(struct server *s)
{
    const struct node_mark mark = {s->mark.at, s->mark.revision, s->mark.digest, s->mark.installed};

    if (mark.at.index == 0) {
        return s->info.base.index ? rebuild(s, "nothing was flushed to it") : 0;
    }
    if (!mark.installed && mark.at.index > s->info.last) {
        return refuse_short_log(s);
    }
    return node_restore_applied(s->node, &mark)
               ? rebuild(s, "it is not of an entry of this log, or its digest is another")
               : 0;
}

/* ---- Snapshots for members ---- */

struct snapshot { /* one row is read ahead: the last piece has to say that it is the last */
    struct store_snapshot *rows;
    struct store_row next;
    int more; /* as store_snapshot_next() said: of `next` */
};

void *server_snapshot_open(struct server *s, struct node_mark *mark)
{
    struct store_mark found;
    struct store_snapshot *rows = store_snapshot_open(s->store, &found);

    if (!rows) {
        return NULL;
    }
    struct snapshot *snapshot = mem_zalloc(sizeof *snapshot);
    snapshot->rows = rows;
    snapshot->more = store_snapshot_next(rows, &snapshot->next);
    *mark = (struct node_mark){found.at, found.revision, found.digest, false};
    return snapshot;
}

static void *open_snapshot(void *arg, raft_id to, struct node_mark *mark)
{
    void *snapshot = server_snapshot_open(arg, mark);

    if (snapshot) {
        log_notice("raftd", "sends a snapshot: the log begins after what that node needs",
                   LOG_U64("to", to), LOG_U64("index", mark->at.index),
                   LOG_U64("revision", mark->revision));
    }
    return snapshot;
}

int server_snapshot_read(void *arg, void *snapshot, size_t bytes_max, struct buf *out)
{
    struct snapshot *s = snapshot;
    size_t until = out->size + bytes_max;

    (void)arg;
    while (s->more > 0 && out->size < until) {
        const struct store_row *row = &s->next;
        stream_put_row(out, row->key, row->key_size, row->value, row->value_size);
        s->more = store_snapshot_next(s->rows, &s->next);
    }
    return s->more;
}

void server_snapshot_close(void *arg, void *snapshot)
{
    struct snapshot *s = snapshot;

    (void)arg;
    store_snapshot_close(s->rows);
    mem_free(s);
}

void server_set_source(struct server *s)
{
    const struct node_source source = {s, open_snapshot, server_snapshot_read,
                                       server_snapshot_close};

    node_set_source(s->node, &source);
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

    s->flush_snapshot = f->mark.installed ? f->mark.at.index : 0;
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
        .mark = {f->mark.at, f->mark.revision, f->mark.digest, f->mark.installed}};
    store_state_submit(s->store, &flush);
    s->flush_at = s->now + FLUSH_EVERY_MS;
}

void server_flush_take(struct server *s)
{
    int code;

    if (!store_state_completed(s->store, &code)) {
        return;
    }
    s->flush_failed = code != 0;
    if (code) {
        node_flush_failed(s->node); /* what did not fit was said */
        s->flush_at = s->now + (code == -RD_EDISK_FULL ? FLUSH_ROOM_MS : FLUSH_AGAIN_MS);
        server_backups_flush_failed(s);
    } else {
        node_flushed(s->node);
    }
    if (s->flush_snapshot && code == 0) {
        s->counts.snapshots_received++;
        log_notice("raftd", "installed a snapshot: the log begins after it",
                   LOG_U64("index", s->flush_snapshot),
                   LOG_U64("revision", state_revision(node_state(s->node))));
    }
}

/* While the rows are read a flush costs the disk twice: it waits, but not for ever, and not when the log
 * gets long because of it; unless there is no room on the disk for twice: then until they are read. */
static bool waits_for_readers(const struct server *s)
{
    uint32_t readers = node_snapshots_read(s->node) + server_backups_read(s);
    bool soon = s->now < s->flush_at + FLUSH_READERS_MS && !node_log_is_long(s->node);

    return readers > 0 && (soon || s->disk_low);
}

mono_ms server_flush_due(const struct server *s)
{
    bool much = node_flush_bytes(s->node) >= FLUSH_BYTES && !s->flush_failed;

    if (!node_flush_wanted(s->node)) {
        return UINT64_MAX;
    }
    if (node_flush_is_urgent(s->node)) {
        return s->flush_failed ? s->flush_at : s->now;
    }
    if (server_backups_want_flush(s)) {
        return s->now;
    }
    if (waits_for_readers(s)) { /* or when they are done, which makes a turn */
        return s->disk_low ? s->now + FLUSH_EVERY_MS : s->flush_at + FLUSH_READERS_MS;
    }
    return much ? s->now : s->flush_at;
}

void server_flush_turn(struct server *s)
{
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
    server_flush_take(s);
    if (store_state_is_idle(s->store) && node_flush_wanted(s->node)) {
        submit(s); /* store_close() waits for it */
    }
}
