/* Snapshots that go out: one reader of the rows on disk per member that needs one, and a window of
 * pieces that are not acknowledged yet. Pieces that got lost are sent again, one at a time: a link that
 * is just slow must not be filled with them. A receiver that is too slow, or whose link goes down, gets
 * a newer snapshot from the beginning. */
#include <string.h>

#include "node/internal.h"

enum {
    WINDOW_BYTES = 1024 * 1024, /* not acknowledged */
    READERS_MAX = 4,            /* more members wait for their turn */
    SILENCE_MS = 10000,         /* without progress of a receiver */
    READ_MS = 120000,           /* all of it is read by then: a reader keeps old pages in use; */
    READ_BYTES_PER_MS = 256,    /* or by as much later as so slow a link needs */
    WRITE_MS = 120000,          /* and durable there so long after */
    PATIENCE_BEATS = 2,         /* heartbeat intervals without an answer: then a piece got lost, */
    PATIENCE_BEATS_MAX = 16,    /* unless the link is slow: so many at most */
    AGAIN_TIMEOUTS = 2,         /* election timeouts until one that failed is begun again, */
    AGAIN_DOUBLED_MAX =
        6, /* twice as many each time one was refused as a whole, so often at most */
};

static struct node_outgoing *outgoing_find(struct node *n, raft_id to)
{
    for (uint32_t i = 0; i < n->outgoing_count; i++) {
        if (n->outgoing[i].to == to) {
            return &n->outgoing[i];
        }
    }
    return NULL;
}

static void close_reader(struct node *n, struct node_outgoing *o)
{
    if (o->snapshot) {
        n->source.close(n->source.arg, o->snapshot);
        o->snapshot = NULL;
    }
}

static void clear(struct node *n, struct node_outgoing *o)
{
    close_reader(n, o);
    for (uint32_t i = 0; i < o->count; i++) {
        blob_unref(o->pieces[i].data);
    }
    raft_point_done(&o->mark.at);
    o->count = 0;
    o->begun = false;
}

/* It has that one; perhaps it still wants one: what comes after may be forgotten here, too. */
static bool is_done(const struct node *n, const struct node_outgoing *o)
{
    struct raft_peer_view peer;

    return o->begun && raft_peer_view(n->raft, o->to, &peer) && peer.match >= o->mark.at.index;
}

static void end(struct node *n, struct node_outgoing *o, enum node_snapshot_end how)
{
    if (o->begun) {
        n->out.snapshot.how = how;
        n->out.snapshot.to = o->to;
        n->out.snapshot.index = o->mark.at.index;
        n->out.snapshot.bytes = o->sent;
        n->out.snapshot.took_ms = n->now - o->began;
    }
    clear(n, o);
}

static void outgoing_remove(struct node *n, struct node_outgoing *o)
{
    end(n, o, is_done(n, o) ? NODE_SNAPSHOT_INSTALLED : NODE_SNAPSHOT_GIVEN_UP);
    *o = n->outgoing[--n->outgoing_count];
}

static void fail(struct node *n, struct node_outgoing *o, enum node_snapshot_end how)
{
    mono_ms wait = AGAIN_TIMEOUTS * (mono_ms)n->config.raft.election_timeout_ms;

    end(n, o, how);
    /* It had all of it, and cannot use it: its disk has no room, or our rows are not what they should
     * be. Neither is better soon. */
    o->refused += how == NODE_SNAPSHOT_REFUSED;
    o->again_at =
        n->now + (wait << (o->refused < AGAIN_DOUBLED_MAX ? o->refused : AGAIN_DOUBLED_MAX));
}

/* ---- Pieces ---- */

static void send_piece(struct node *n, const struct node_outgoing *o, const struct node_piece *p)
{
    const struct raft_piece piece = {.to = o->to,
                                     .index = o->mark.at.index,
                                     .term = o->mark.at.term,
                                     .chain = o->mark.at.chain,
                                     .offset = p->offset,
                                     .done = p->done,
                                     .data = p->data};

    node_step(n, &(struct raft_event){.type = RAFT_EV_SNAPSHOT_SEND, .piece = &piece});
}

/* The oldest that is not acknowledged. */
static void send_again(struct node *n, struct node_outgoing *o)
{
    if (o->count > 0) {
        o->pieces[0].sent_at = n->now;
        send_piece(n, o, &o->pieces[0]);
    }
}

static void add_piece(struct node *n, struct node_outgoing *o, bool done)
{
    struct node_piece *p = &o->pieces[o->count++];

    *p = (struct node_piece){.offset = o->sent,
                             .done = done,
                             .sent_at = n->now,
                             .data = blob_copy(n->scratch.data, (uint32_t)n->scratch.size)};
    o->sent += n->scratch.size;
    send_piece(n, o, p);
}

void node_mark_head(const struct node_mark *mark, struct stream_head *out)
{
    const struct blob *membership = mark->at.membership;

    *out = (struct stream_head){
        .index = mark->at.index,
        .term = mark->at.term,
        .chain = mark->at.chain,
        .revision = mark->revision,
        .digest = mark->digest,
        .membership_index = mark->at.membership_index,
        .membership = membership ? membership->data : NULL,
        .membership_size = membership ? membership->size : 0,
    };
}

static void add_head(struct node *n, struct node_outgoing *o)
{
    struct stream_head head;

    node_mark_head(&o->mark, &head);
    n->scratch.size = 0;
    stream_put_head(&n->scratch, &head);
    add_piece(n, o, false);
}

/* false: it cannot be read any more. */
static bool read_piece(struct node *n, struct node_outgoing *o)
{
    n->scratch.size = 0;
    int more = n->source.read(n->source.arg, o->snapshot, n->config.piece_bytes_max, &n->scratch);

    if (more < 0) {
        return false;
    }
    if (n->scratch.size > 0) {
        add_piece(n, o, false);
    }
    if (more == 0) {
        close_reader(n, o);
    }
    return true;
}

static void add_tail(struct node *n, struct node_outgoing *o)
{
    n->scratch.size = 0;
    stream_put_tail(&n->scratch, o->sent);
    add_piece(n, o, true);
    o->all_sent = true;
    o->moved = n->now;
}

static void fill_window(struct node *n, struct node_outgoing *o)
{
    while (!o->all_sent && o->count < NODE_PIECES_MAX && o->sent - o->acked < WINDOW_BYTES) {
        if (!o->snapshot) {
            add_tail(n, o);
        } else if (!read_piece(n, o)) {
            fail(n, o, NODE_SNAPSHOT_GIVEN_UP);
            return;
        }
    }
}

static void set_patience(const struct node *n, struct node_outgoing *o, mono_ms ms)
{
    mono_ms beat = n->config.raft.heartbeat_ms;

    ms = ms > PATIENCE_BEATS * beat ? ms : PATIENCE_BEATS * beat;
    o->patience_ms = ms < PATIENCE_BEATS_MAX * beat ? ms : PATIENCE_BEATS_MAX * beat;
}

static void begin(struct node *n, struct node_outgoing *o)
{
    if (n->now < o->again_at) {
        return;
    }
    if (node_snapshots_read(n) < READERS_MAX) {
        o->snapshot = n->source.open(n->source.arg, o->to, &o->mark);
    }
    if (!o->snapshot) {
        o->again_at = n->now + n->config.raft.heartbeat_ms;
        return;
    }
    o->begun = true;
    o->all_sent = false;
    o->sent = o->acked = o->suspect = 0;
    set_patience(n, o, 0);
    o->began = o->moved = o->repeated = n->now;
    add_head(n, o);
}

/* ---- The turn ---- */

static mono_ms repeat_at(const struct node_outgoing *o)
{
    return o->repeated + o->patience_ms;
}

static bool is_overdue(const struct node *n, const struct node_outgoing *o)
{
    return o->all_sent ? n->now >= o->moved + WRITE_MS
                       : n->now >= o->moved + SILENCE_MS ||
                             n->now >= o->began + READ_MS + o->acked / READ_BYTES_PER_MS;
}

/* Something may have got lost: then those after it were not taken either. Of what is whole there the
 * last piece asks how it is. */
static void repeat(struct node *n, struct node_outgoing *o)
{
    if (n->now < repeat_at(o)) {
        return;
    }
    o->repeated = n->now;
    set_patience(n, o, 2 * o->patience_ms);
    o->suspect = o->sent;
    send_again(n, o);
}

static void go_on(struct node *n, struct node_outgoing *o)
{
    if (is_done(n, o)) {
        end(n, o, NODE_SNAPSHOT_INSTALLED);
    }
    if (!o->begun) {
        begin(n, o);
    }
    if (!o->begun) {
        return;
    }
    if (is_overdue(n, o)) {
        fail(n, o, NODE_SNAPSHOT_GIVEN_UP);
        return;
    }
    fill_window(n, o);
    if (o->begun) {
        repeat(n, o);
    }
}

static bool is_wanted(const struct node *n, raft_id to)
{
    raft_id id;

    for (uint32_t i = 0; raft_snapshot_wanted(n->raft, i, &id); i++) {
        if (id == to) {
            return true;
        }
    }
    return false;
}

static struct node_outgoing *outgoing_add(struct node *n, raft_id to)
{
    if (n->outgoing_count == n->outgoing_capacity) {
        n->outgoing_capacity = n->outgoing_capacity ? n->outgoing_capacity * 2 : 2;
        n->outgoing = mem_realloc(n->outgoing, n->outgoing_capacity * sizeof *n->outgoing);
    }
    struct node_outgoing *o = &n->outgoing[n->outgoing_count++];
    *o = (struct node_outgoing){.to = to};
    return o;
}

void outgoing_turn(struct node *n)
{
    raft_id id;

    for (uint32_t i = n->outgoing_count; i > 0; i--) {
        if (!is_wanted(n, n->outgoing[i - 1].to)) {
            outgoing_remove(n, &n->outgoing[i - 1]);
        }
    }
    for (uint32_t i = 0; n->source.open && raft_snapshot_wanted(n->raft, i, &id); i++) {
        struct node_outgoing *o = outgoing_find(n, id);
        go_on(n, o ? o : outgoing_add(n, id));
    }
}

/* Something came there that is not the next piece. What was sent before the next one says nothing, it
 * is one that was sent twice; what was sent after it was not taken without it. */
static void no_progress(struct node *n, struct node_outgoing *o, const struct raft_msg *m)
{
    if (o->count == 0 || m->stamp < o->pieces[0].sent_at) {
        return;
    }
    o->suspect = o->sent;
    if (m->stamp > o->pieces[0].sent_at) {
        send_again(n, o);
    }
}

void outgoing_answered(struct node *n, const struct raft_msg *m)
{
    struct node_outgoing *o = outgoing_find(n, m->from);
    uint32_t gone = 0;

    if (!o || !o->begun || m->index != o->mark.at.index) {
        return;
    }
    if (m->reject) {
        bool whole = o->all_sent && m->offset >= o->sent;
        fail(n, o, whole ? NODE_SNAPSHOT_REFUSED : NODE_SNAPSHOT_GIVEN_UP);
        return;
    }
    /* It may have more of it than we sent, from an attempt before this one. */
    uint64_t acked = m->offset < o->sent ? m->offset : o->sent;
    if (acked <= o->acked) {
        no_progress(n, o, m);
        return;
    }
    o->acked = acked;
    o->moved = o->repeated = n->now;
    set_patience(n, o, 2 * (n->now - m->stamp)); /* a slow link is no reason to send it more */
    /* The very last one stays: with it is asked whether it is durable. No other may: it would be sent
     * again in place of one behind it that got lost. */
    uint32_t kept = o->all_sent ? 1 : 0;
    while (gone + kept < o->count &&
           o->pieces[gone].offset + o->pieces[gone].data->size <= o->acked) {
        blob_unref(o->pieces[gone++].data);
    }
    o->count -= gone;
    memmove(o->pieces, o->pieces + gone, o->count * sizeof *o->pieces);
    if (o->count > 0 && o->pieces[0].offset < o->suspect) {
        send_again(n, o);
    }
}

void outgoing_lost(struct node *n, raft_id peer)
{
    struct node_outgoing *o = outgoing_find(n, peer);

    if (o) {
        end(n, o, NODE_SNAPSHOT_GIVEN_UP);
    }
}

uint32_t node_snapshots_read(const struct node *n)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < n->outgoing_count; i++) {
        count += n->outgoing[i].snapshot != NULL;
    }
    return count;
}

mono_ms outgoing_deadline(const struct node *n)
{
    mono_ms deadline = UINT64_MAX;

    for (uint32_t i = 0; i < n->outgoing_count; i++) {
        const struct node_outgoing *o = &n->outgoing[i];
        mono_ms at = o->begun ? repeat_at(o) : o->again_at;
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}

void node_close_source(struct node *n)
{
    while (n->outgoing_count > 0) {
        outgoing_remove(n, &n->outgoing[0]);
    }
    n->source = (struct node_source){0};
}

void outgoing_free(struct node *n)
{
    node_close_source(n);
    mem_free(n->outgoing);
}
