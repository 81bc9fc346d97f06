/* Backups: what was acknowledged is applied and flushed, then the rows on disk go to the client, a piece
 * per turn and only as fast as it takes them. So a slow client costs neither memory nor heartbeats; a
 * reader keeps old pages of the file in use, so its time is bounded. */
#include <stdio.h>

#include "base/err.h"
#include "raftd/internal.h"

enum {
    UNSENT_BYTES = 256 * 1024, /* no more pieces while the client has so many to take */
    STALLED_MS = 30000,        /* it took nothing for so long: it is not waited for any more */
    READ_MS = 120000,          /* all of it is read by then */
};

struct backup {
    mono_ms until;     /* of what comes before the first piece */
    raft_index wanted; /* the rows on disk have to be as of it; 0: not known yet */
    void *snapshot;    /* they are read; NULL: not yet */
    struct node_mark mark;
    mono_ms began, moved;
    uint64_t sent; /* bytes of the stream */
    bool all_read;
};

struct backup *server_backup_new(struct server *s, uint32_t timeout_ms)
{
    struct backup *b = mem_zalloc(sizeof *b);

    b->until = s->now + timeout_ms;
    return b;
}

void server_backup_free(struct server *s, struct backup *b)
{
    if (!b) {
        return;
    }
    if (b->snapshot) {
        server_snapshot_close(s, b->snapshot);
    }
    raft_point_done(&b->mark.at);
    mem_free(b);
}

void server_backup_begin(struct server *s, struct slot *slot)
{
    slot->at_node = false;
    slot->backup->wanted = state_index(node_state(s->node));
}

/* ---- Those that are under way ---- */

/* The next slot of one that has passed its barrier, from `*at` on; NULL: there are no more. */
static struct slot *next_backup(const struct server *s, uint32_t *at)
{
    while (s->backups > 0 && *at < s->slots_count) {
        struct slot *slot = &s->slots[(*at)++];
        if (slot->kind == SLOT_BACKUP && slot->backup->wanted > 0) {
            return slot;
        }
    }
    return NULL;
}

static bool has_room(const struct slot *slot)
{
    return admin_call_unsent(slot->call) < UNSENT_BYTES;
}

static mono_ms overdue_at(const struct backup *b)
{
    if (!b->snapshot) {
        return b->until;
    }
    return b->moved + STALLED_MS < b->began + READ_MS ? b->moved + STALLED_MS : b->began + READ_MS;
}

mono_ms server_backups_due(const struct server *s)
{
    mono_ms due = UINT64_MAX;
    uint32_t at = 0;

    for (const struct slot *slot = next_backup(s, &at); slot; slot = next_backup(s, &at)) {
        mono_ms own = slot->backup->snapshot && has_room(slot) ? s->now : overdue_at(slot->backup);
        due = own < due ? own : due;
    }
    return due;
}

bool server_backups_want_flush(const struct server *s)
{
    raft_index flushed = node_flushed_to(s->node);
    uint32_t at = 0;

    for (const struct slot *slot = next_backup(s, &at); slot; slot = next_backup(s, &at)) {
        if (!slot->backup->snapshot && slot->backup->wanted > flushed) {
            return true;
        }
    }
    return false;
}

uint32_t server_backups_read(const struct server *s)
{
    uint32_t count = 0;
    uint32_t at = 0;

    for (const struct slot *slot = next_backup(s, &at); slot; slot = next_backup(s, &at)) {
        count += slot->backup->snapshot != NULL;
    }
    return count;
}

/* ---- Ends ---- */

static void fail(struct server *s, struct slot *slot, int code, const char *why)
{
    admin_answer(slot->call, code, 0, why, NULL, 0);
    server_slot_close(s, slot);
}

void server_backups_flush_failed(struct server *s)
{
    uint32_t at = 0;

    for (struct slot *slot = next_backup(s, &at); slot; slot = next_backup(s, &at)) {
        if (!slot->backup->snapshot) {
            fail(
                s, slot, -RD_ENO_SPACE,
                "this node cannot write its state to disk (its log says why): back up from another "
                "member");
        }
    }
}

static void fail_overdue(struct server *s, struct slot *slot)
{
    const struct backup *b = slot->backup;
    char why[192];

    if (b->snapshot) {
        (void)snprintf(why, sizeof why,
                       "the backup is not taken fast enough: %llu bytes in %llu ms; write it to a "
                       "faster disk",
                       (unsigned long long)b->sent, (unsigned long long)(s->now - b->began));
    } else {
        (void)snprintf(why, sizeof why,
                       "entry %llu is not in the state on disk yet, only up to %llu: the disk is "
                       "slow; try again with a longer --timeout",
                       (unsigned long long)b->wanted, (unsigned long long)node_flushed_to(s->node));
    }
    fail(s, slot, -RD_ETIMEOUT, why);
}

/* ---- Pieces ---- */

static void piece_begin(struct server *s, enum stream_kind kind)
{
    s->json.size = 0; /* the reply being written, whatever it holds */
    buf_put_u8(&s->json, (uint8_t)kind);
}

static void piece_end(struct server *s, struct slot *slot)
{
    (void)admin_answer_more(slot->call, s->json.data, s->json.size);
}

/* Where it comes from is not part of the stream: it is not counted. */
static void send_origin(struct server *s, struct slot *slot)
{
    struct stream_origin origin = {.node = s->config->node_id, .created_ms = mono_wall_ms()};
    struct raft_view view;

    raft_view_get(node_raft(s->node), &view);
    origin.cluster = view.cluster;
    (void)snprintf(origin.version, sizeof origin.version, "%s", RAFTD_VERSION);
    piece_begin(s, STREAM_ORIGIN);
    stream_put_origin(&s->json, &origin);
    piece_end(s, slot);
}

static void send_counted(struct server *s, struct slot *slot)
{
    slot->backup->sent += s->json.size - 1;
    piece_end(s, slot);
}

static void send_head(struct server *s, struct slot *slot)
{
    struct stream_head head;

    node_mark_head(&slot->backup->mark, &head);
    piece_begin(s, STREAM_HEAD);
    stream_put_head(&s->json, &head);
    send_counted(s, slot);
}

static void open_rows(struct server *s, struct slot *slot)
{
    struct backup *b = slot->backup;

    b->snapshot = server_snapshot_open(s, &b->mark);
    if (!b->snapshot) {
        fail(s, slot, -RD_ENOT_READY,
             "this node cannot read its state on disk (its log says why): back up from another "
             "member");
        return;
    }
    b->began = b->moved = s->now;
    send_origin(s, slot);
    send_head(s, slot);
}

static void finish(struct server *s, struct slot *slot)
{
    const struct backup *b = slot->backup;

    piece_begin(s, STREAM_TAIL);
    stream_put_tail(&s->json, b->sent);
    piece_end(s, slot);
    s->json.size = 0;
    report_backup(&s->json, b->mark.at.index, b->mark.revision, b->sent);
    admin_answer(slot->call, 0, 0, NULL, s->json.data, s->json.size);
    server_slot_close(s, slot);
}

static void send_rows(struct server *s, struct slot *slot)
{
    struct backup *b = slot->backup;

    piece_begin(s, STREAM_ROWS);
    int more = server_snapshot_read(s, b->snapshot, SERVER_PIECE_BYTES, &s->json);
    if (more < 0) {
        fail(s, slot, more == -RD_ENOT_READY ? -RD_ENOT_READY : -RD_EINVALID,
             more == -RD_ENOT_READY
                 ? "too much is written meanwhile for a backup that is taken so slowly: try again"
                 : "this node cannot read its state on disk (its log says why): back up from "
                   "another "
                   "member");
        return;
    }
    b->moved = s->now;
    if (s->json.size > 1) {
        send_counted(s, slot);
    }
    b->all_read = more == 0;
}

static void go_on(struct server *s, struct slot *slot)
{
    const struct backup *b = slot->backup;

    if (b->snapshot && has_room(slot)) {
        (b->all_read ? finish : send_rows)(s, slot);
    } else if (!b->snapshot && node_flushed_to(s->node) >= b->wanted) {
        open_rows(s, slot); /* late or not: nothing is waited for any more */
    } else if (s->now >= overdue_at(b)) {
        fail_overdue(s, slot);
    }
}

void server_backups_turn(struct server *s)
{
    uint32_t at = 0;

    for (struct slot *slot = next_backup(s, &at); slot; slot = next_backup(s, &at)) {
        go_on(s, slot);
    }
}
