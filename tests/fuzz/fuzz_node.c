/* A node between its peers and its clients: what comes in is frames of peers, as they are or made to fit (this
 * cluster, this sender, the term of now), answers to what the node sent, requests, time, the disk. The input is
 * a list of such events, each a turn of its own. Asserted:
 *   - the node ends only with -RD_ECORRUPT, which says that histories differ, or -RD_EFORMAT, for an entry
 *     of a later version, and says why;
 *   - each request is answered once for the last time, and, when time passes, by its deadline;
 *   - what it sends is for others, and the wire takes it;
 *   - it never wants another turn at once for ever;
 *   - the core's terms and commit index never fall, and the state is applied as far as is committed, no further. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "base/units.h"
#include "msgs.h"
#include "node/node.h"
#include "raft/membership.h"
#include "target.h"
#include "vdisk.h"
#include "wire/peer.h"

enum {
    SELF = 1,
    VOTERS = 3,
    PEERS = 5, /* two of them are no members */
    STEPS_MAX = 400,
    TOKENS_MAX = 128,
    SENT_MAX = 32,
    PATIENCE_MS = 1500, /* of clients, at most */
    TURNS_AT_ONCE_MAX = 1000,
};
enum { MEMBER, EMPTY, FOUNDER, BEGINNINGS };

struct world {
    struct node *node;
    struct vdisk disk;
    const struct node_batch *batch; /* on its way to the disk */
    const struct node_flush *flush;
    mono_ms now;
    struct raft_view view;
    bool answered[TOKENS_MAX + 1], cancelled[TOKENS_MAX + 1];
    uint32_t tokens;
    struct raft_msg sent[SENT_MAX]; /* without what they own */
    uint32_t sent_count;
    uint64_t asked_progress;         /* the last question, request and wish that were sent */
    struct peer_forward asked_write; /* without what it owns */
    struct peer_change asked_change;
    struct state_rows rows; /* on disk, as of the mark */
    struct node_mark mark;
    bool stopped;
};

static const struct uuid cluster = {.bytes = {0xc1}};

static struct uuid store_of(raft_id id)
{
    return (struct uuid){.bytes = {0x50, (uint8_t)id}};
}

/* ---- Turns ---- */

static void remember_sent(struct world *w, const struct peer_msg *msg)
{
    if (msg->type == PEER_RAFT) {
        struct raft_msg *kept = &w->sent[w->sent_count++ % SENT_MAX];
        *kept = msg->raft;
        kept->entries = NULL;
        kept->data = NULL;
    } else if (msg->type == PEER_PROGRESS_ASK) {
        w->asked_progress = msg->progress_ask.seq;
    } else if (msg->type == PEER_FORWARD) {
        w->asked_write = msg->forward;
    } else if (msg->type == PEER_CHANGE) {
        w->asked_change = *msg->change;
    }
}

static void check_sends(struct world *w, const struct node_out *out)
{
    for (uint32_t i = 0; i < out->sends_count; i++) {
        const struct node_send *send = &out->sends[i];
        struct buf bytes = BUF_INIT;
        struct peer_msg msg;
        struct frame f;
        rd_assert(send->to != SELF && send->to != 0);
        peer_encode(&send->msg, &bytes);
        rd_assert(frame_parse(bytes.data, bytes.size, FRAME_PEER_MAX, &f, NULL) == 1);
        rd_assert(peer_decode(&f, &msg) == 0);
        remember_sent(w, &msg);
        peer_msg_done(&msg);
        buf_done(&bytes);
    }
}

static void check_answers(struct world *w, const struct node_out *out)
{
    for (uint32_t i = 0; i < out->answers_count; i++) {
        const struct node_answer *a = &out->answers[i];
        rd_assert(a->token > 0 && a->token <= w->tokens && !w->answered[a->token] &&
                  !w->cancelled[a->token]);
        rd_assert(a->code <= 0 && units_is_utf8(a->message, strlen(a->message)));
        w->answered[a->token] = !a->more;
    }
}

static void check_node(struct world *w)
{
    struct node_target targets[NODE_TARGETS_MAX];
    struct node_public shown;
    struct raft_view v;

    raft_view_get(node_raft(w->node), &v);
    rd_assert(v.term >= w->view.term && v.commit >= w->view.commit);
    rd_assert(state_index(node_state(w->node)) <= v.commit);
    node_public_get(w->node, w->now, &shown);
    rd_assert(shown.is_leader == (shown.lease_remaining_ms > 0));
    rd_assert(node_targets(w->node, targets) <= NODE_TARGETS_MAX);
    w->view = v;
}

static void end_turn(struct world *w)
{
    struct node_out *out = node_end(w->node);

    check_answers(w, out);
    if (out->fatal) {
        rd_assert((out->fatal == -RD_ECORRUPT || out->fatal == -RD_EFORMAT) && out->fatal_why[0]);
        w->stopped = true;
    }
    check_sends(w, out);
    rd_assert(!out->batch || !w->batch);
    w->batch = out->batch ? out->batch : w->batch;
    node_out_clear(w->node);
    check_node(w);
}

static void begin_turn(struct world *w)
{
    node_begin(w->node, w->now, 1700000000000 + w->now);
}

/* Whatever is left to do at once. */
static void settle(struct world *w)
{
    for (int i = 0; !w->stopped && node_deadline(w->node) <= w->now; i++) {
        rd_assert(i < TURNS_AT_ONCE_MAX);
        begin_turn(w);
        end_turn(w);
    }
}

/* ---- Peers ---- */

static void make_hello_fit(const struct world *w, raft_id from, uint8_t how,
                           struct peer_hello *hello)
{
    static const char founders[] = "1@h1:7400 2@h2:7400 3@h3:7400";

    hello->id = from;
    hello->cluster = how & 1 ? w->view.cluster : hello->cluster;
    hello->store = how & 2 ? store_of(from) : hello->store;
    hello->protocol_min = PEER_PROTOCOL_MIN;
    hello->protocol_max = PEER_PROTOCOL_MAX;
    if (how & 4) { /* it would found the cluster, too */
        hello->cluster = (struct uuid){.bytes = {0}};
        hello->empty = true;
        hello->bindings_count = 0;
        memcpy(hello->member_list, founders, sizeof founders);
        (void)snprintf(hello->address, sizeof hello->address, "h%u:7400", from);
    }
}

static void make_raft_fit(const struct world *w, raft_id from, uint8_t how, struct raft_msg *m)
{
    bool fits = how & 1 && m->entries_count == 0;

    m->cluster = w->view.cluster;
    m->from = from;
    m->to = SELF;
    m->term = fits ? w->view.term + (how >> 1 & 1) : m->term;
    m->index = fits && how & 4 ? w->view.last : m->index;
    m->log_term = fits && how & 4 ? w->view.last_term : m->log_term;
    m->chain = fits && how & 4 ? w->view.last_chain : m->chain;
    m->session = how & 8 ? 1 : m->session;
}

/* An answer to what was asked. */
static void make_fit(const struct world *w, raft_id from, uint8_t how, struct peer_msg *msg)
{
    if (msg->type == PEER_HELLO) {
        make_hello_fit(w, from, how, msg->hello);
    } else if (msg->type == PEER_RAFT) {
        make_raft_fit(w, from, how, &msg->raft);
    } else if (msg->type == PEER_PROGRESS && how & 1) {
        msg->progress->seq = w->asked_progress;
        msg->progress->term = w->view.term;
    } else if (msg->type == PEER_FORWARD_REPLY && how & 1) {
        msg->forward_reply.incarnation = w->asked_write.request.incarnation;
        msg->forward_reply.seq = w->asked_write.request.seq;
    } else if (msg->type == PEER_CHANGE_REPLY && how & 1) {
        msg->change_reply->incarnation = w->asked_change.incarnation;
        msg->change_reply->seq = w->asked_change.seq;
        msg->change_reply->term = how & 2 ? w->view.term : msg->change_reply->term;
    } else if (msg->type == PEER_FORWARD && how & 1) {
        msg->forward.request.node = from;
        msg->forward.session = 1;
    } else if (msg->type == PEER_CHANGE && how & 1) {
        msg->change->term = w->view.term;
    }
}

static void hear(struct world *w, raft_id from, struct peer_msg *msg)
{
    struct peer_refusal refusal;

    if (msg->type == PEER_HELLO) {
        if (node_hello_check(w->node, msg->hello, &refusal) == 0) {
            (void)node_hello_standing(w->node, msg->hello);
            node_hello(w->node, msg->hello);
        } else {
            rd_assert(refusal.code < 0 && refusal.why[0]);
        }
        peer_msg_done(msg);
    } else if (msg->type == PEER_REFUSAL) {
        node_refused(w->node, from, msg->refusal);
        peer_msg_done(msg);
    } else {
        node_message(w->node, from, msg);
    }
}

static void hear_frame(struct world *w, struct cursor *in)
{
    raft_id from = 2 + cursor_u8(in) % PEERS;
    uint8_t how = cursor_u8(in);
    size_t size = cursor_u16(in);
    struct peer_msg msg;
    struct frame f;

    size = size < in->left ? size : in->left;
    const uint8_t *bytes = cursor_bytes(in, size);
    if (!bytes || frame_parse(bytes, size, FRAME_PEER_MAX, &f, NULL) != 1 ||
        peer_decode(&f, &msg) != 0) {
        return;
    }
    make_fit(w, from, how, &msg);
    hear(w, from, &msg);
}

static void hear_answer(struct world *w, struct cursor *in)
{
    uint32_t have = w->sent_count < SENT_MAX ? w->sent_count : SENT_MAX;
    uint8_t back = cursor_u8(in);

    if (have == 0) {
        return;
    }
    struct raft_msg asked = w->sent[(w->sent_count - 1 - (back & 63) % have) % SENT_MAX];
    struct peer_msg msg = {.type = PEER_RAFT, .raft = asked};
    msg.raft.type = msgs_reply_of(asked.type);
    msg.raft.from = asked.to;
    msg.raft.to = SELF;
    msg.raft.index = asked.index + asked.entries_count;
    msg.raft.entries_count = 0;
    msg.raft.reject = back & 64;
    msg.raft.commit = msg.raft.hint = msg.raft.hold_ms = 0;
    bool is_away = back & 128 && asked.to != 2; /* only one of them answers */
    if (msg.raft.type && !is_away) {
        node_message(w->node, asked.to, &msg);
    }
}

/* An entry that puts one key. */
static void put_entry(struct buf *out)
{
    struct state_txn *txn = mem_zalloc(sizeof *txn);
    struct state_command command = {.quota = UINT64_MAX};
    struct buf bytes = BUF_INIT;

    txn->ops_count = 1;
    txn->ops[0] = (struct state_op){STATE_OP_PUT, (const uint8_t *)"k", 1, (const uint8_t *)"v", 1};
    rd_assert(state_txn_encode(txn, &bytes) == 0);
    command.txn = bytes.data;
    command.txn_size = bytes.size;
    state_command_encode(&command, out);
    buf_done(&bytes);
    mem_free(txn);
}

/* The number-th of the three pieces of a snapshot of a state with one key, behind its offset. */
static void put_piece(const struct world *w, unsigned number, raft_index index, struct buf *out)
{
    struct state *s = state_new();
    struct state_rows rows = {0};
    struct state_result result;
    struct buf entry = BUF_INIT, pieces[3] = {BUF_INIT, BUF_INIT, BUF_INIT};

    put_entry(&entry);
    state_apply(s, index, w->view.term, entry.data, entry.size, &result, &rows);
    buf_done(&entry);
    struct blob *members = membership_encode(raft_membership(node_raft(w->node)));
    const struct stream_head head = {.index = index,
                                     .term = w->view.term,
                                     .chain = 5,
                                     .revision = state_revision(s),
                                     .digest = state_digest(s),
                                     .membership_index = 1,
                                     .membership = members->data,
                                     .membership_size = members->size};
    stream_put_head(&pieces[0], &head);
    for (uint32_t i = 0; i < rows.count; i++) {
        stream_put_row(&pieces[1], rows.bytes.data + rows.rows[i].key_at, rows.rows[i].key_size,
                       rows.bytes.data + rows.rows[i].value_at, rows.rows[i].value_size);
    }
    stream_put_tail(&pieces[2], pieces[0].size + pieces[1].size);
    uint64_t offset = 0;
    for (unsigned i = 0; i < number; i++) {
        offset += pieces[i].size;
    }
    buf_put_u64(out, offset);
    buf_put(out, pieces[number].data, pieces[number].size);
    for (unsigned i = 0; i < 3; i++) {
        buf_done(&pieces[i]);
    }
    blob_unref(members);
    state_rows_done(&rows);
    state_free(s);
}

static void hear_piece(struct world *w, struct cursor *in)
{
    uint8_t how = cursor_u8(in), flip = cursor_u8(in);
    unsigned number = how % 3;
    raft_index index = w->view.last + 2 + (how >> 6);
    struct buf piece = BUF_INIT;

    put_piece(w, number, index, &piece);
    struct cursor c = cursor_over(piece.data, piece.size);
    struct peer_msg msg = {.type = PEER_RAFT,
                           .raft = {.type = RAFT_MSG_SNAPSHOT,
                                    .cluster = w->view.cluster,
                                    .from = 2 + (how >> 3 & 1),
                                    .to = SELF,
                                    .term = w->view.term,
                                    .seq = how,
                                    .stamp = w->now,
                                    .session = 1,
                                    .index = index,
                                    .log_term = w->view.term,
                                    .chain = 5,
                                    .commit = index,
                                    .done = number == 2}};
    msg.raft.offset = cursor_u64(&c);
    msg.raft.data = blob_copy(c.data, c.left);
    if (how & 16) { /* damaged on the way */
        msg.raft.data->data[flip % c.left] ^= 1;
    }
    node_message(w->node, msg.raft.from, &msg);
    buf_done(&piece);
}

static void link_changes(struct world *w, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    raft_id peer = 2 + how % PEERS;

    switch (how >> 6) {
    case 0:
        node_link_up(w->node, peer);
        break;
    case 1:
        node_link_down(w->node, peer);
        break;
    case 2:
        node_messages_lost(w->node, peer);
        break;
    default:
        node_unreachable(w->node, peer, -RD_EUNREACHABLE, "it was not there");
    }
}

/* ---- Clients ---- */

static bool new_token(struct world *w, uint64_t *token)
{
    *token = w->tokens + 1; /* 0 is none */
    w->tokens += w->tokens < TOKENS_MAX;
    return *token == w->tokens;
}

static mono_ms patience(const struct world *w, struct cursor *in)
{
    return w->now + (mono_ms)cursor_u8(in) * PATIENCE_MS / UINT8_MAX;
}

static void ask_write(struct world *w, struct cursor *in)
{
    mono_ms deadline = patience(w, in);
    size_t size = 1 + cursor_u8(in) % 64U;
    const uint8_t *bytes = cursor_bytes(in, size);
    uint64_t token;

    if (bytes && new_token(w, &token)) { /* what it holds is not looked at before it is applied */
        node_write(w->node, token, blob_copy(bytes, size), deadline);
    }
}

static void ask(struct world *w, struct cursor *in)
{
    mono_ms deadline = patience(w, in);
    uint8_t what = cursor_u8(in);
    uint64_t token;

    if (!new_token(w, &token)) {
        return;
    }
    if (what % 3 == 0) {
        node_read(w->node, token, deadline);
    } else if (what % 3 == 1) {
        node_ask_progress(w->node, token, deadline);
    } else {
        node_bootstrap(w->node, token, deadline);
    }
}

static void ask_change(struct world *w, struct cursor *in)
{
    mono_ms deadline = patience(w, in);
    uint8_t how = cursor_u8(in), more = cursor_u8(in);
    struct peer_change change = {.kind = (enum peer_change_kind)(1 + how % 5),
                                 .id = 1 + (how >> 3) % (PEERS + 1),
                                 .learner = more & 1,
                                 .no_wait = more & 2,
                                 .force = more & 4,
                                 .replaces = more & 8 ? 1 + (more >> 4) % PEERS : 0};
    uint64_t token;

    if (change.kind == PEER_CHANGE_ADD) {
        (void)snprintf(change.address, sizeof change.address, "h%u:7400", change.id);
    } else {
        change.replaces = 0;
    }
    if (new_token(w, &token)) {
        node_change(w->node, token, &change, deadline);
    }
}

static void cancel(struct world *w, struct cursor *in)
{
    uint32_t token = 1 + cursor_u8(in) % TOKENS_MAX;

    if (token <= w->tokens && !w->answered[token]) {
        node_cancel(w->node, token);
        w->cancelled[token] = true;
    }
}

/* ---- The rest of the process ---- */

static void disk_works(struct world *w, struct cursor *in)
{
    (void)in;
    if (w->batch) {
        uint64_t seq = w->batch->seq;
        vdisk_write(&w->disk, &w->batch->save);
        w->batch = NULL;
        node_persisted(w->node, seq);
    }
}

/* What was in the writer's hands is on disk. */
static void rows_are_written(struct world *w)
{
    if (w->flush->anew) {
        state_rows_clear(&w->rows);
    }
    state_rows_append(&w->rows, &w->flush->rows);
    state_rows_compact(&w->rows);
    raft_point_done(&w->mark.at);
    w->mark = w->flush->mark;
    (void)blob_ref(w->mark.at.membership);
}

static void flush(struct world *w, struct cursor *in)
{
    uint8_t how = cursor_u8(in);

    if (!w->flush && node_flush_wanted(w->node)) {
        w->flush = node_flush_take(w->node);
    } else if (w->flush && how & 1) {
        w->flush = NULL;
        node_flush_failed(w->node);
    } else if (w->flush) {
        rows_are_written(w);
        w->flush = NULL;
        node_flushed(w->node);
    }
}

static void happen(struct world *w, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    const struct node_room room = {.low = how & 16, .path = "/d", .free_bytes = 1000};

    switch (how & 7) {
    case 0:
        node_disk(w->node, how & 16);
        break;
    case 1:
        node_set_room(w->node, &room);
        break;
    case 2:
        node_set_log_use(w->node, how & 16 ? 95 : 5, 100);
        break;
    case 3:
        node_retire(w->node, w->now + PATIENCE_MS);
        break;
    case 4:
        node_claim_told(w->node);
        break;
    case 5:
        node_claim_held(w->node);
        break;
    case 6:
        node_claims_released(w->node);
        break;
    default:
        node_set_uri(w->node, how & 16 ? "u" : "");
    }
}

static void wait(struct world *w, struct cursor *in)
{
    (void)w;
    (void)cursor_u8(in); /* time has passed already */
}

typedef void operation(struct world *w, struct cursor *in);
static operation *const operations[] = {hear_frame, hear_answer,  wait,       disk_works,
                                        ask_write,  ask,          ask_change, cancel,
                                        flush,      link_changes, happen,     hear_piece};

static void operate(struct world *w, struct cursor *in)
{
    operation *op = operations[cursor_u8(in) % (sizeof operations / sizeof operations[0])];

    if (op == wait) {
        uint8_t how = in->left > 0 ? *in->data : 0;
        mono_ms due = node_deadline(w->node);
        w->now = how & 1 && due != UINT64_MAX && due > w->now ? due : w->now + how / 2;
    }
    begin_turn(w);
    op(w, in);
    end_turn(w);
    settle(w);
}

/* ---- Life ---- */

struct snapshot {
    struct state_rows rows;
    uint32_t next;
};

static void *open_snapshot(void *arg, raft_id to, struct node_mark *mark)
{
    const struct world *w = arg;
    struct snapshot *snapshot;

    rd_assert(to != SELF);
    if (w->mark.at.index == 0) {
        return NULL; /* not now */
    }
    *mark = w->mark;
    (void)blob_ref(mark->at.membership);
    snapshot = mem_zalloc(sizeof *snapshot);
    state_rows_append(&snapshot->rows, &w->rows);
    return snapshot;
}

static int read_snapshot(void *arg, void *snapshot, size_t bytes_max, struct buf *out)
{
    struct snapshot *s = snapshot;
    const struct state_rows *rows = &s->rows;
    size_t before = out->size;

    (void)arg;
    while (s->next < rows->count && (out->size == before || out->size - before < bytes_max)) {
        const struct state_row *row = &rows->rows[s->next++];
        if (!row->deleted) {
            stream_put_row(out, rows->bytes.data + row->key_at, row->key_size,
                           rows->bytes.data + row->value_at, row->value_size);
        }
    }
    return s->next < rows->count;
}

static void close_snapshot(void *arg, void *snapshot)
{
    struct snapshot *s = snapshot;

    (void)arg;
    state_rows_done(&s->rows);
    mem_free(s);
}

/* A member since the first entry, of three voters. */
static void join(struct world *w)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_entry first = {.index = 1, .term = 1, .type = RAFT_ENTRY_MEMBERSHIP};

    for (raft_id id = 1; id <= VOTERS; id++) {
        struct raft_member one = {
            .id = id, .role = RAFT_VOTER, .store = store_of(id), .session = 1};
        (void)snprintf(one.address, sizeof one.address, "h%u:7400", id);
        membership_insert(m, &one);
    }
    first.data = membership_encode(m);
    mem_free(m);
    first.chain = raft_chain_after(0, &first);
    struct raft_save save = {.cluster = cluster,
                             .hard_set = true,
                             .term = 1,
                             .vote = SELF,
                             .loyal_ms = 500,
                             .first = 1,
                             .entries = &first,
                             .entries_count = 1,
                             .last = 1,
                             .last_term = 1};
    vdisk_write(&w->disk, &save);
    node_restore_hard(w->node, &cluster, 1, SELF, 500);
    rd_assert(node_restore_entry(w->node, &first) == 0);
    blob_unref(first.data);
}

static void start(struct world *w, uint8_t how)
{
    const struct node_source source = {
        .arg = w, .open = open_snapshot, .read = read_snapshot, .close = close_snapshot};
    const struct uuid fresh = {.bytes = {0xfc}};
    struct node_config c = {.raft = {.id = SELF,
                                     .store = store_of(SELF),
                                     .seed = 7,
                                     .heartbeat_ms = 100,
                                     .election_timeout_ms = 500,
                                     .append_bytes_max = 400,
                                     .append_entries_max = 4,
                                     .inflight_bytes_max = 4000,
                                     .inflight_msgs_max = 4,
                                     .cache_bytes_max = 1000},
                            .incarnation = 1,
                            .process = 77,
                            .state_bytes_max = 1 << 16,
                            .apply_max = 10,
                            .batch_bytes_max = 4000,
                            .keeps_rows = true,
                            .log_keep_entries = 5,
                            .log_keep_bytes = 1000,
                            .log_hold_bytes = 2000,
                            .piece_bytes_max = 1000,
                            .name = "n1",
                            .address = "h1:7400",
                            .version = "test"};

    c.founders_count = how == FOUNDER ? VOTERS : 0;
    for (raft_id id = 1; id <= c.founders_count; id++) {
        c.founders[id - 1].id = id;
        (void)snprintf(c.founders[id - 1].address, sizeof c.founders[0].address, "h%u:7400", id);
    }
    w->now = 1000;
    w->node = node_new(&c, vdisk_load, &w->disk);
    node_set_source(w->node, &source);
    if (how == MEMBER) {
        join(w);
    }
    node_start(w->node, w->now, &fresh);
    raft_view_get(node_raft(w->node), &w->view);
    settle(w);
}

/* All patience is at an end: everybody has been answered. */
static void wait_for_all(struct world *w)
{
    mono_ms end = w->now + PATIENCE_MS + 1;

    for (int i = 0; !w->stopped && w->now < end; i++) {
        mono_ms due = node_deadline(w->node);
        rd_assert(due > w->now && i < 10 * TURNS_AT_ONCE_MAX);
        w->now = due < end ? due : end;
        begin_turn(w);
        end_turn(w);
        settle(w);
    }
    for (uint32_t i = 1; !w->stopped && i <= w->tokens; i++) {
        rd_assert(w->answered[i] || w->cancelled[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = mem_zalloc(sizeof *w);
    struct cursor in = cursor_over(data, size);

    start(w, cursor_u8(&in) % BEGINNINGS);
    for (int i = 0; i < STEPS_MAX && in.left > 0 && !in.bad && !w->stopped; i++) {
        operate(w, &in);
    }
    wait_for_all(w);
    node_free(w->node);
    vdisk_done(&w->disk);
    state_rows_done(&w->rows);
    raft_point_done(&w->mark.at);
    mem_free(w);
    return 0;
}
