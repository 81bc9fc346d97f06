/* Clients' writes: proposed here or forwarded, repeated until answered, applied once (thesis 6.3).
 *
 * Whoever the client talks to owns its request. It hands the request to the leader of the day, as
 * often as it takes; the request id in the entry makes repetition harmless. The answer is the first
 * to come of: the leader's reply, or the entry applied here. */
#include <inttypes.h>
#include <stdio.h>

#include "base/units.h"
#include "node/internal.h"

enum { DELETE_BYTES = 1024 }; /* no delete of one key is as large */

void writes_init(struct node *n)
{
    n->next_seq = 1;
    n->floor = 1;
    n->writes_alarm = UINT64_MAX;
}

void writes_done(struct node *n)
{
    for (uint32_t i = 0; n->writes && i < STATE_WINDOW_MAX; i++) {
        blob_unref(n->writes[i].txn);
    }
    mem_free(n->writes);
}

static struct node_write_slot *slot_of(struct node *n, uint64_t seq)
{
    return &n->writes[seq % STATE_WINDOW_MAX];
}

static struct node_write_slot *find_open(struct node *n, uint64_t seq)
{
    if (seq < n->floor || seq >= n->next_seq) {
        return NULL;
    }
    struct node_write_slot *w = slot_of(n, seq);
    return w->open && w->seq == seq ? w : NULL;
}

static void alarm_by(struct node *n, mono_ms when)
{
    n->writes_alarm = when < n->writes_alarm ? when : n->writes_alarm;
}

static void close_slot(struct node *n, struct node_write_slot *w)
{
    n->held_bytes -= w->txn->size;
    blob_unref(w->txn);
    w->txn = NULL;
    w->open = false;
    n->writes_open--;
    while (n->floor < n->next_seq && !slot_of(n, n->floor)->open) {
        n->floor++;
    }
}

static struct request_id request_id_of(const struct node *n, uint64_t seq)
{
    return (struct request_id){.node = n->config.raft.id,
                               .incarnation = n->config.incarnation,
                               .seq = seq,
                               .floor = n->floor};
}

/* ---- The leader's side ---- */

void node_set_log_use(struct node *n, uint64_t used, uint64_t limit)
{
    rd_assert(limit == 0 || limit >= 100); /* percents are told */
    n->log_used = used;
    n->log_limit = limit;
}

/* What the log would take with one more entry: what is on disk, what is on its way there (counted a
 * little too long, until it is applied), and the entry. */
static uint64_t log_use_with(const struct node *n, size_t size)
{
    return n->log_used + n->open_bytes + size;
}

static bool log_is_full(const struct node *n, size_t size)
{
    return n->log_limit > 0 && log_use_with(n, size) > n->log_limit / 100 * NODE_LOG_FULL_PERCENT;
}

void node_set_room(struct node *n, const struct node_room *room)
{
    n->room = *room;
}

/* Can it make the state larger? */
static bool grows(const struct blob *txn)
{
    struct state_txn *t = mem_alloc(sizeof *t); /* 14 KiB */
    bool puts = state_txn_decode(txn->data, txn->size, t) != 0;

    for (uint32_t i = 0; !puts && i < t->ops_count; i++) {
        puts = t->ops[i].type == STATE_OP_PUT;
    }
    for (uint32_t i = 0; !puts && i < t->else_count; i++) {
        puts = t->else_ops[i].type == STATE_OP_PUT;
    }
    mem_free(t);
    return puts;
}

/* What is left of the reserve is not for clients. */
static bool is_reserve_used_up(const struct node *n, size_t size)
{
    return n->room.log_reserve_bytes < n->open_bytes + size + NODE_ROOM_KEPT_BYTES;
}

/* Deletes go on, as long as what is reserved does not come to its end. */
static bool disk_refuses(const struct node *n, const struct blob *txn)
{
    return n->room.low && (is_reserve_used_up(n, txn->size) || grows(txn));
}

/* Is there room for it? 0, -RD_ENO_SPACE; -RD_ETRANSFER: not here, and soon somebody else leads. */
static int check_room(const struct node *n, const struct blob *txn)
{
    if (log_is_full(n, txn->size)) {
        return -RD_ENO_SPACE;
    }
    if (disk_refuses(n, txn)) {
        return handover_finds_room(n) ? -RD_ETRANSFER : -RD_ENO_SPACE;
    }
    return 0;
}

static int propose(struct node *n, const struct request_id *id, const struct blob *txn,
                   raft_term term)
{
    if (n->open_term != term) {
        n->open_term = term;
        n->open_bytes = 0;
    }
    if (n->open_bytes > NODE_OPEN_BYTES_MAX) {
        return -RD_ENOT_READY;
    }
    int code = check_room(n, txn);
    if (code) {
        return code;
    }
    struct state_command command = {.request = *id,
                                    .time_ms = n->wall_ms,
                                    .quota = n->config.state_bytes_max,
                                    .txn = txn->data,
                                    .txn_size = txn->size};
    n->scratch.size = 0;
    state_command_encode(&command, &n->scratch);
    struct blob *data = blob_copy(n->scratch.data, n->scratch.size);
    node_step(n, &(struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {.data = data}});
    n->open_bytes += n->fx.propose_code ? 0 : data->size;
    blob_unref(data);
    return n->fx.propose_code;
}

static struct peer_forward_reply *reply_to(struct node *n, raft_id origin,
                                           const struct request_id *id,
                                           const struct state_result *result)
{
    struct peer_msg *msg = node_send_new(n, origin);

    *msg = (struct peer_msg){
        .type = PEER_FORWARD_REPLY,
        .forward_reply = {.incarnation = id->incarnation, .seq = id->seq, .result = *result}};
    return &msg->forward_reply;
}

/* With the numbers of what there is no room in. */
static void reply_no_space(struct node *n, raft_id origin, const struct peer_forward *f)
{
    struct state_result result = {.code = -RD_ENO_SPACE};
    bool by_log = log_is_full(n, f->txn->size);

    result.actual = by_log ? log_use_with(n, f->txn->size) : 0;
    struct peer_forward_reply *reply = reply_to(n, origin, &f->request, &result);
    reply->disk_low = !by_log;
    reply->free_bytes = by_log ? 0 : n->room.free_bytes;
    reply->reserve_bytes = by_log ? 0 : n->room.reserve_bytes;
}

void writes_on_forward(struct node *n, raft_id from, struct peer_forward *f)
{
    struct raft_view view;
    struct state_result result = {0};

    const struct raft_member *origin = membership_find(raft_membership(n->raft), from);
    if (f->request.node != from || (origin && origin->session != f->session)) {
        return; /* of an earlier life of this id (trap 12) */
    }
    raft_view_get(n->raft, &view);
    if (view.state != RAFT_LEADER) {
        result.code = -RD_ENOT_LEADER;
    } else if (!origin) {
        /* What it asks now would stand after its removal, which may come to nothing. */
        result.code = view.change_pending ? -RD_ENOT_READY : -RD_EREMOVED;
    } else if (!state_txn_is_known(f->txn->data, f->txn->size)) {
        result.code = -RD_EINVALID; /* what stands in the log has to be known to all */
    } else if (!state_recall(n->state, &f->request, &result)) {
        result.code = propose(n, &f->request, f->txn, view.term);
        if (result.code == 0) {
            return; /* answered when applied */
        }
        if (result.code == -RD_ENO_SPACE) {
            reply_no_space(n, from, f);
            return;
        }
    }
    (void)reply_to(n, from, &f->request, &result);
}

/* ---- The origin's side ---- */

/* Is there a leader, and a link to it: else a forward would be lost and its outcome called unknown.
 * Who is no member yet is no origin either. */
bool node_leader_is_reachable(const struct node *n, const struct raft_view *view)
{
    const struct node_peer *peer = hello_peer(n, view->leader);

    return view->state == RAFT_LEADER || (view->leader && peer && peer->up && node_self(n));
}

static void log_refusal(const struct node *n, const struct blob *txn, char *text, size_t size)
{
    uint64_t percent = n->log_limit / 100;
    char limit[32];

    units_size_text(n->log_limit, limit, sizeof limit);
    (void)snprintf(text, size,
                   "the log fills %" PRIu64 "%% of storage.map_size (%s), with this write %" PRIu64
                   "%%, and at most %d%% are for writes: raise it",
                   n->log_used / percent, limit, log_use_with(n, txn->size) / percent,
                   NODE_LOG_FULL_PERCENT);
}

static const char *what_still_works(bool deletes)
{
    return deletes ? "deletes still work" : "the rest is kept for elections";
}

static void disk_refusal(const struct node *n, const struct blob *txn, char *text, size_t size)
{
    bool deletes = grows(txn) && !is_reserve_used_up(n, DELETE_BYTES);

    (void)snprintf(text, size,
                   "the disk is low, and no voter in reach has room: %" PRIu64
                   " bytes are free at %.80s, %" PRIu64 " in reserve: free space there; %s",
                   n->room.free_bytes, n->room.path, n->room.reserve_bytes,
                   what_still_works(deletes));
}

/* This node leads, and has no room for this write. */
static void refuse_here(struct node *n, struct node_write_slot *w)
{
    struct node_answer *a = node_answer_add(n, w->token, -RD_ENO_SPACE);

    if (log_is_full(n, w->txn->size)) {
        log_refusal(n, w->txn, a->message, sizeof a->message);
    } else {
        disk_refusal(n, w->txn, a->message, sizeof a->message);
    }
    close_slot(n, w);
}

/* The leader has no room for this write. */
static void refuse_there(struct node *n, struct node_write_slot *w, raft_id leader,
                         const struct peer_forward_reply *reply)
{
    struct node_answer *a = node_answer_add(n, w->token, -RD_ENO_SPACE);

    if (reply->disk_low) {
        (void)snprintf(
            a->message, sizeof a->message,
            "node %" PRIu32 " leads, its disk is low, and no voter in its reach has "
            "room: %" PRIu64 " bytes are free there, %" PRIu64 " in reserve: free space there; %s",
            leader, reply->free_bytes, reply->reserve_bytes, what_still_works(grows(w->txn)));
    } else {
        (void)snprintf(a->message, sizeof a->message,
                       "node %" PRIu32 " leads and its log with this write, %" PRIu64
                       " bytes, fills more than %d%% of storage.map_size: raise it there",
                       leader, reply->result.actual, NODE_LOG_FULL_PERCENT);
    }
    close_slot(n, w);
}

static void hand_over(struct node *n, struct node_write_slot *w, const struct raft_view *view)
{
    struct request_id id = request_id_of(n, w->seq);

    n->session = node_self(n) ? node_self(n)->session : n->session;
    /* Each repetition to one leader may become one more entry: wait longer every time. */
    uint32_t timeout = n->config.raft.election_timeout_ms;
    bool again = w->sent_term == view->term && w->resend_after > 0;
    w->resend_after = again ? 2 * w->resend_after : timeout;
    w->resend_after = w->resend_after < 16 * timeout ? w->resend_after : 16 * timeout;
    w->resend_at = n->now + w->resend_after;
    w->sent_term = view->term;
    if (view->state == RAFT_LEADER) {
        int code = propose(n, &id, w->txn, view->term);
        w->sent_to = code ? 0 : view->leader;
        w->handed += code == 0;
        if (code == -RD_ENO_SPACE && w->handed == 0) {
            refuse_here(n, w);
        } else if (code) {
            w->resend_at = n->now + n->config.raft.heartbeat_ms;
            alarm_by(n, w->resend_at);
        }
        return;
    }
    w->sent_to = view->leader;
    w->handed++;
    alarm_by(n, w->resend_at);
    *node_send_new(n, view->leader) = (struct peer_msg){
        .type = PEER_FORWARD,
        .forward = {.request = id, .session = n->session, .txn = blob_ref(w->txn)}};
}

/* The span from the oldest open write is what the state can remember; the bytes are ours to bound.
 */
static bool window_is_full(const struct node *n, const struct blob *txn)
{
    return n->next_seq - n->floor >= STATE_WINDOW_MAX ||
           n->held_bytes + txn->size > NODE_HELD_BYTES_MAX;
}

static void refuse_full(struct node *n, uint64_t token)
{
    struct node_answer *a = node_answer_add(n, token, -RD_ENOT_READY);

    (void)snprintf(a->message, sizeof a->message,
                   "%" PRIu32 " writes of %" PRIu64 " bytes wait on this node, the oldest %" PRIu64
                   " writes ago (at most %d and %d bytes): try again",
                   n->writes_open, n->held_bytes, n->next_seq - n->floor, STATE_WINDOW_MAX,
                   NODE_HELD_BYTES_MAX);
}

void node_write(struct node *n, uint64_t token, struct blob *txn, mono_ms deadline)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (!uuid_is_set(&view.cluster)) {
        formation_refuse(n, token);
        blob_unref(txn);
        return;
    }
    if (node_is_removed(n)) {
        node_refuse(n, token, -RD_EREMOVED, node_removed_text);
        blob_unref(txn);
        return;
    }
    if (window_is_full(n, txn)) {
        refuse_full(n, token);
        blob_unref(txn);
        return;
    }
    if (!n->writes) {
        n->writes = mem_zalloc(STATE_WINDOW_MAX * sizeof *n->writes);
    }
    uint64_t seq = n->next_seq++;
    struct node_write_slot *w = slot_of(n, seq);
    *w = (struct node_write_slot){
        .open = true, .token = token, .seq = seq, .txn = txn, .deadline = deadline};
    n->writes_open++;
    n->held_bytes += txn->size;
    alarm_by(n, deadline);
    if (node_leader_is_reachable(n, &view)) {
        hand_over(n, w, &view);
    }
}

/* quota: under which it was applied; 0: not known. */
static void complete(struct node *n, uint64_t seq, const struct state_result *result,
                     uint64_t quota)
{
    struct node_write_slot *w = find_open(n, seq);

    if (!w) {
        return;
    }
    struct node_answer *a = node_answer_add(n, w->token, result->code);
    a->result = *result;
    a->quota = quota;
    close_slot(n, w);
}

/* Does this reply say that the attempt surely came to nothing? What the state refused stands in the
 * log, and has an index. */
static bool is_refused(const struct state_result *result)
{
    return result->code == -RD_ENOT_LEADER || result->code == -RD_ENOT_READY ||
           result->code == -RD_ETRANSFER || result->code == -RD_EREMOVED ||
           (result->code == -RD_ENO_SPACE && result->index == 0);
}

void writes_on_reply(struct node *n, raft_id from, const struct peer_forward_reply *reply)
{
    struct node_write_slot *w = find_open(n, reply->seq);

    if (reply->incarnation != n->config.incarnation || !w) {
        return;
    }
    if (!is_refused(&reply->result)) {
        complete(n, reply->seq, &reply->result, 0);
        return;
    }
    w->handed -= w->handed > 0; /* another attempt may be on its way */
    if (reply->result.code == -RD_ENO_SPACE && w->handed == 0) {
        refuse_there(n, w, from, reply);
        return;
    }
    bool removed = reply->result.code == -RD_EREMOVED || node_is_removed(n);
    if (removed && w->handed == 0) { /* nobody will take it any more */
        node_refuse(n, w->token, -RD_EREMOVED, node_removed_text);
        close_slot(n, w);
        return;
    }
    if (w->sent_to == from) {
        w->sent_to = 0;
        w->resend_at = n->now + n->config.raft.heartbeat_ms;
        alarm_by(n, w->resend_at);
    }
}

void writes_applied(struct node *n, const struct raft_entry *e, const struct state_command *c,
                    const struct state_result *result)
{
    struct raft_view view;

    if (e->term == n->open_term) {
        n->open_bytes -= e->data->size < n->open_bytes ? e->data->size : n->open_bytes;
    }
    if (c->request.node == n->config.raft.id) {
        /* What stands before the entry that added us was asked by an earlier data directory, which
         * counted its processes and requests like this one. */
        if (c->request.incarnation == n->config.incarnation && n->session &&
            e->index > n->session) {
            complete(n, c->request.seq, result, result->repeated ? 0 : c->quota);
        }
        return;
    }
    raft_view_get(n->raft, &view);
    /* Entries of earlier terms: their origins ask again when they see the new leader. */
    if (view.state == RAFT_LEADER && e->term == view.term) {
        (void)reply_to(n, c->request.node, &c->request, result);
    }
}

void writes_removed(struct node *n, bool applied)
{
    for (uint64_t seq = n->floor; seq < n->next_seq; seq++) {
        struct node_write_slot *w = slot_of(n, seq);
        /* The answer to one that was handed over, or the log, may be on its way still. */
        if (w->open && (applied || w->handed == 0)) {
            node_refuse(n, w->token, -RD_EREMOVED, node_removed_text);
            close_slot(n, w);
        }
    }
}

void writes_lost(struct node *n, raft_id peer)
{
    for (uint64_t seq = n->floor; seq < n->next_seq; seq++) {
        struct node_write_slot *w = slot_of(n, seq);
        if (w->open && w->sent_to == peer) {
            w->sent_to = 0;
            w->resend_at = n->now;
            alarm_by(n, n->now);
        }
    }
}

bool writes_cancel(struct node *n, uint64_t token)
{
    for (uint64_t seq = n->floor; seq < n->next_seq; seq++) {
        struct node_write_slot *w = slot_of(n, seq);
        if (w->open && w->token == token) {
            close_slot(n, w);
            return true;
        }
    }
    return false;
}

/* ---- Time ---- */

static void expire(struct node *n, struct node_write_slot *w)
{
    uint64_t token = w->token;
    bool handed = w->handed > 0;

    close_slot(n, w);
    if (handed) {
        node_refuse(n, token, -RD_EUNKNOWN_OUTCOME,
                    "no answer by the deadline: the write may still be applied");
    } else {
        reach_refuse(n, token, "the write was not applied");
    }
}

/* Has this write to be handed to the leader now? It waits when it stands in our own log, while a
 * forward may still be answered, and a moment after a refusal. */
static bool is_due(const struct node *n, const struct node_write_slot *w,
                   const struct raft_view *view)
{
    bool same_term = w->sent_term == view->term;

    if (same_term && w->sent_to == view->leader && view->state == RAFT_LEADER) {
        return false;
    }
    bool waits = same_term && (w->sent_to == view->leader || w->sent_to == 0);
    return !waits || n->now >= w->resend_at;
}

static void turn_slot(struct node *n, struct node_write_slot *w, const struct raft_view *view,
                      bool reachable)
{
    if (n->now >= w->deadline) {
        expire(n, w);
        return;
    }
    alarm_by(n, w->deadline);
    if (!reachable) {
        return;
    }
    if (is_due(n, w, view)) {
        hand_over(n, w, view);
    } else if (view->state != RAFT_LEADER || w->sent_to == 0) {
        alarm_by(n, w->resend_at);
    }
}

void writes_turn(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    raft_index session = node_self(n) ? node_self(n)->session : 0;
    bool moved = view.leader != n->dispatch_leader || view.term != n->dispatch_term ||
                 session != n->dispatch_session;
    if (!moved && n->now < n->writes_alarm) {
        return;
    }
    n->dispatch_leader = view.leader;
    n->dispatch_term = view.term;
    n->dispatch_session = session;
    n->writes_alarm = UINT64_MAX;
    bool reachable = node_leader_is_reachable(n, &view);
    for (uint64_t seq = n->floor; seq < n->next_seq; seq++) {
        struct node_write_slot *w = slot_of(n, seq);
        if (w->open) {
            turn_slot(n, w, &view, reachable);
        }
    }
}

mono_ms writes_deadline(const struct node *n)
{
    return n->writes_alarm;
}
