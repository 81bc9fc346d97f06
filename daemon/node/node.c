/* The turn: feed the core, park what the disk must confirm first, apply, answer. */
#include "node/node.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/internal.h"

struct node *node_new(const struct node_config *config, raft_load_cb *load, void *load_arg)
{
    struct node *n = mem_zalloc(sizeof *n);

    rd_assert(config->apply_max > 0);
    n->config = *config;
    n->raft = raft_new(&config->raft, load, load_arg);
    n->state = state_new();
    n->wake_by = UINT64_MAX;
    n->reads_alarm = UINT64_MAX;
    writes_init(n);
    formation_init(n);
    return n;
}

static void sends_clear(struct node_sends *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        peer_msg_done(&s->items[i].msg);
    }
    s->count = 0;
}

static void sends_done(struct node_sends *s)
{
    sends_clear(s);
    mem_free(s->items);
}

void node_free(struct node *n)
{
    if (!n) {
        return;
    }
    node_out_clear(n);
    mem_free(n->out.sends);
    mem_free(n->out.answers);
    sends_done(&n->parked);
    sends_done(&n->gathering);
    if (n->batch_in_flight) {
        raft_save_done(&n->batch.save);
    }
    effects_done(&n->fx);
    writes_done(n);
    mem_free(n->reads);
    changes_done(n);
    tasks_done(n);
    progress_free(n);
    refusals_free(n);
    mem_free(n->peers);
    buf_done(&n->scratch);
    state_free(n->state);
    behind_free(n);
    trim_free(n);
    outgoing_free(n);
    incoming_free(n);
    raft_free(n->raft);
    mem_free(n);
}

void node_restore_hard(struct node *n, const struct uuid *cluster, raft_term term, raft_id vote,
                       uint32_t loyal_ms)
{
    raft_restore_hard(n->raft, cluster, term, vote, loyal_ms);
}

int node_restore_base(struct node *n, const struct raft_point *base)
{
    return raft_restore_base(n->raft, base);
}

int node_restore_entry(struct node *n, const struct raft_entry *entry)
{
    trim_count(n, entry);
    return raft_restore_entry(n->raft, entry);
}

void node_set_source(struct node *n, const struct node_source *source)
{
    n->source = *source;
}

void node_start(struct node *n, mono_ms now, const struct uuid *fresh_cluster)
{
    n->now = now;
    n->fresh_cluster = *fresh_cluster;
    trim_forget_after(n, n->flushed);
    raft_view_get(n->raft, &n->found);
    raft_start(n->raft, now);
    n->hello_mark = hello_mark(n);
    node_public_get(n, now, &n->seen);
}

/* ---- Output ---- */

static struct node_send *sends_add(struct node_sends *s)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 16;
        s->items = mem_realloc(s->items, s->capacity * sizeof *s->items);
    }
    return &s->items[s->count++];
}

/* A newer acknowledgement says all that an older one of the same term says: while a disk hangs, one
 * per leader waits, not one per heartbeat. */
static bool replaces(const struct node_send *old, raft_id to, const struct peer_msg *msg)
{
    const struct raft_msg *was = &old->msg.raft;
    const struct raft_msg *is = &msg->raft;

    return old->to == to && was->type == RAFT_MSG_APPEND_REPLY &&
           is->type == RAFT_MSG_APPEND_REPLY && was->term == is->term && !was->reject &&
           !is->reject && is->index >= was->index && is->session == was->session;
}

/* What does not fit is lost; every message that waits for the disk is one that will be repeated. */
static void park(struct node_sends *s, raft_id to, const struct peer_msg *msg)
{
    for (uint32_t i = s->count; i > 0 && s->count - i < 8; i--) {
        if (replaces(&s->items[i - 1], to, msg)) {
            s->items[i - 1].msg = *msg;
            return;
        }
    }
    if (s->count < NODE_PARKED_MAX) {
        *sends_add(s) = (struct node_send){.to = to, .msg = *msg};
    }
}

struct peer_msg *node_send_new(struct node *n, raft_id to)
{
    struct node_out *out = &n->out;

    if (out->sends_count == out->sends_capacity) {
        out->sends_capacity = out->sends_capacity ? out->sends_capacity * 2 : 16;
        out->sends = mem_realloc(out->sends, out->sends_capacity * sizeof *out->sends);
    }
    struct node_send *send = &out->sends[out->sends_count++];
    *send = (struct node_send){.to = to};
    return &send->msg;
}

void node_refuse(struct node *n, uint64_t token, int code, const char *message)
{
    struct node_answer *a = node_answer_add(n, token, code);

    (void)snprintf(a->message, sizeof a->message, "%s", message);
}

struct node_answer *node_answer_add(struct node *n, uint64_t token, int code)
{
    struct node_out *out = &n->out;

    if (out->answers_count == out->answers_capacity) {
        out->answers_capacity = out->answers_capacity ? out->answers_capacity * 2 : 16;
        out->answers = mem_realloc(out->answers, out->answers_capacity * sizeof *out->answers);
    }
    struct node_answer *answer = &out->answers[out->answers_count++];
    *answer =
        (struct node_answer){.token = token, .code = code, .leader = node_known_leader(n, n->now)};
    return answer;
}

void node_out_clear(struct node *n)
{
    struct node_out *out = &n->out;

    for (uint32_t i = 0; i < out->sends_count; i++) {
        peer_msg_done(&out->sends[i].msg);
    }
    for (uint32_t i = 0; i < out->answers_count; i++) {
        mem_free(out->answers[i].change);
    }
    out->sends_count = 0;
    out->answers_count = 0;
    out->batch = NULL;
    out->changed = false;
    out->hello_changed = false;
    out->hello_first = false;
    out->targets_changed = false;
    out->reason[0] = 0;
    out->handover.over = false;
    out->snapshot.how = 0;
}

/* ---- Stepping the core ---- */

/* It is said in a version that the other does not speak: as good as lost, which any message may be. */
static bool is_unknown_there(const struct node *n, const struct raft_msg *m)
{
    const struct node_peer *peer = hello_peer(n, m->to);

    return !peer_protocol_has(peer ? peer_protocol(&peer->hello) : PEER_PROTOCOL_MIN, m->type);
}

/* A message may leave now, or with the batch that makes it true: the next one when something waits
 * to be handed over, else the one on its way (trap 43). */
static void route_message(struct node *n, struct raft_out *o)
{
    struct peer_msg msg = {.type = PEER_RAFT, .raft = o->msg};

    if (is_unknown_there(n, &o->msg)) {
        peer_msg_done(&msg);
    } else if (!o->after_save) {
        *node_send_new(n, o->msg.to) = msg;
    } else if (raft_save_promises(n->raft)) {
        park(&n->gathering, o->msg.to, &msg);
    } else {
        rd_assert(n->batch_in_flight);
        park(&n->parked, o->msg.to, &msg);
    }
}

void node_fail(struct node *n, int code, const char *why)
{
    n->out.fatal = code;
    (void)snprintf(n->out.fatal_why, sizeof n->out.fatal_why, "%s", why);
}

void node_reason_text(struct node *n, const struct raft_reason *reason, char *text, size_t size)
{
    n->scratch.size = 0;
    raft_reason_put(reason, &n->scratch);
    (void)snprintf(text, size, "%s", buf_str(&n->scratch));
}

void node_step(struct node *n, const struct raft_event *event)
{
    struct raft_effects *fx = &n->fx;

    rd_assert(raft_step(n->raft, n->now, event, fx) == 0);
    for (uint32_t i = 0; i < fx->msgs_count; i++) {
        route_message(n, &fx->msgs[i]);
    }
    fx->msgs_count = 0; /* the messages went on */
    for (uint32_t i = 0; i < fx->reads_count; i++) {
        reads_on_index(n, &fx->reads[i]);
    }
    fx->reads_count = 0;
    if (fx->diverged) {
        node_fail(
            n, -RD_ECORRUPT,
            "another leader in this term, or two logs that differ below an entry both call the "
            "same: this node's data or the sender's cannot be right");
    }
    if (fx->reason.text) {
        node_reason_text(n, &fx->reason, n->out.reason, sizeof n->out.reason);
    }
    fx->reason.text = NULL;
    fx->diverged = false;
    if (fx->transfer_ended) {
        fx->transfer_ended = false;
        handover_ended(n, fx->transfer_code, &fx->transfer_why);
    }
    const struct raft_msg *snapshot = fx->snapshot;
    fx->snapshot = NULL;
    if (snapshot) {
        (snapshot->type == RAFT_MSG_SNAPSHOT ? incoming_take : outgoing_answered)(n, snapshot);
    }
}

/* ---- Input of a turn ---- */

void node_begin(struct node *n, mono_ms now, uint64_t wall_ms)
{
    n->now = now > n->now ? now : n->now;
    n->wall_ms = wall_ms;
    /* Much later than we wanted to be woken: the process was stopped (trap 33). */
    if (n->wake_by != UINT64_MAX && n->now > n->wake_by + n->config.raft.election_timeout_ms) {
        node_step(n, &(struct raft_event){.type = RAFT_EV_PAUSED});
    }
}

bool node_message(struct node *n, raft_id from, struct peer_msg *msg)
{
    bool believed = msg->type != PEER_RAFT || raft_believes(n->raft, &msg->raft);

    switch (msg->type) {
    case PEER_RAFT:
        if (believed && msg->raft.from == from && !memory_is_late(n, from, msg)) {
            memory_note(n, &msg->raft);
            reach_heard(n, from);
            node_step(n, &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &msg->raft});
        }
        break;
    case PEER_FORWARD:
        writes_on_forward(n, from, &msg->forward);
        break;
    case PEER_FORWARD_REPLY:
        writes_on_reply(n, from, &msg->forward_reply);
        break;
    case PEER_PROGRESS_ASK:
        progress_on_ask(n, from, &msg->progress_ask);
        break;
    case PEER_PROGRESS:
        progress_on_answer(n, from, msg->progress);
        break;
    case PEER_CHANGE:
        tasks_on_ask(n, from, msg->change);
        break;
    case PEER_CHANGE_REPLY:
        changes_on_reply(n, from, msg->change_reply);
        break;
    case PEER_HELLO:
    case PEER_REFUSAL:
        break; /* the links' business */
    }
    peer_msg_done(msg);
    return believed;
}

void node_link_down(struct node *n, raft_id peer)
{
    hello_link_down(n, peer);
    node_messages_lost(n, peer);
}

void node_messages_lost(struct node *n, raft_id peer)
{
    writes_lost(n, peer);
    progress_lost(n, peer);
    changes_lost(n, peer);
    outgoing_lost(n, peer);
    node_step(n, &(struct raft_event){.type = RAFT_EV_LINK_DOWN, .peer = peer});
}

/* What waited for the disk leaves, unless a new term came meanwhile: entries it acknowledges may
 * have been replaced before they were written. */
static void release_parked(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    for (uint32_t i = 0; i < n->parked.count; i++) {
        struct node_send *s = &n->parked.items[i];
        if (s->msg.type == PEER_RAFT && s->msg.raft.term < view.term) {
            peer_msg_done(&s->msg);
        } else {
            *node_send_new(n, s->to) = s->msg;
        }
    }
    n->parked.count = 0;
}

void node_persisted(struct node *n, uint64_t batch_seq)
{
    const struct raft_save *save = &n->batch.save;

    rd_assert(n->batch_in_flight && batch_seq == n->batch.seq);
    struct raft_event event = {.type = RAFT_EV_PERSISTED,
                               .persisted = {.index = save->last, .entry_term = save->last_term}};
    n->batch_in_flight = false;
    release_parked(n);
    raft_save_done(&n->batch.save);
    node_step(n, &event);
}

void node_disk(struct node *n, bool stalled)
{
    node_step(n, &(struct raft_event){.type = RAFT_EV_DISK, .disk = {.stalled = stalled}});
    handover_disk_stalled(n);
}

void node_cancel(struct node *n, uint64_t token)
{
    if (n->bootstrap_token == token) {
        n->bootstrap_token = 0;
    } else if (!writes_cancel(n, token) && !reads_cancel(n, token) && !changes_cancel(n, token)) {
        (void)progress_cancel(n, token);
    }
}

/* ---- End of a turn ---- */

/* Who leaves by this entry is forgotten as an origin of requests: an id that comes back belongs to
 * another data directory, which counts its processes from 1 again. */
static void apply_membership(struct node *n, const struct raft_entry *e)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);

    rd_assert(e->data && membership_decode(e->data->data, e->data->size, e->index, m) == 0);
    for (uint32_t i = 0; i < m->tombstones_count; i++) {
        const struct raft_tombstone *gone = &m->tombstones[i];
        if (gone->index != e->index) {
            continue;
        }
        state_forget(n->state, gone->id, behind_rows(n));
        if (gone->id == n->config.raft.id && uuid_equal(&gone->store, &n->config.raft.store)) {
            writes_removed(n, true);
            reads_removed(n);
        }
    }
    mem_free(m);
}

/* Written by a later version, whose nodes know what it does: to pass over it is to have another state. */
static void refuse_command(struct node *n, raft_index index)
{
    char why[NODE_FATAL_SIZE];

    (void)snprintf(why, sizeof why,
                   "entry %" PRIu64 " is a command that this raftd does not know: use the version "
                   "that wrote it, or a later one",
                   index);
    node_fail(n, -RD_EFORMAT, why);
}

static void apply_entry(struct node *n, const struct raft_entry *e)
{
    struct state_command command;
    struct state_result result = {0};

    if (e->type != RAFT_ENTRY_COMMAND) {
        state_skip(n->state, e->index, e->term);
        if (e->type == RAFT_ENTRY_MEMBERSHIP) {
            apply_membership(n, e);
        }
        return;
    }
    rd_assert(e->data);
    if (state_command_decode(e->data->data, e->data->size, &command) ||
        !state_txn_is_known(command.txn, command.txn_size)) {
        refuse_command(n, e->index);
        return;
    }
    state_apply(n->state, e->index, e->term, e->data->data, e->data->size, &result, behind_rows(n));
    writes_applied(n, e, &command, &result);
}

/* Not while a snapshot takes the state's place: what it is as of goes before. */
static bool apply_is_behind(const struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    return state_index(n->state) < view.commit && !incoming_is_written(n);
}

static void apply_committed(struct node *n)
{
    enum { APPLY_ENTRIES = 64, APPLY_BYTES = 8 * 1024 * 1024 }; /* read at once */
    struct raft_entry entries[APPLY_ENTRIES];
    struct raft_view view;
    uint32_t left = n->config.apply_max;

    raft_view_get(n->raft, &view);
    while (left > 0 && n->out.fatal == 0 && apply_is_behind(n)) {
        raft_index behind = view.commit - state_index(n->state);
        uint32_t count = behind < APPLY_ENTRIES ? (uint32_t)behind : APPLY_ENTRIES;
        count = count < left ? count : left;
        count = raft_entries(n->raft, state_index(n->state) + 1, count, APPLY_BYTES, entries);
        for (uint32_t i = 0; i < count; i++) {
            if (n->out.fatal == 0) {
                apply_entry(n, &entries[i]);
                trim_count(n, &entries[i]);
            }
            blob_unref(entries[i].data);
        }
        left -= count;
    }
}

static void take_batch(struct node *n)
{
    if (n->batch_in_flight || !raft_save_take(n->raft, n->config.batch_bytes_max, &n->batch.save)) {
        return;
    }
    rd_assert(n->parked.count == 0);
    n->batch.seq = ++n->batch_seq;
    n->batch_in_flight = true;
    n->out.batch = &n->batch;
    if (raft_save_promises(n->raft)) {
        return; /* only a part: what gathered waits for the rest */
    }
    struct node_sends empty = n->parked;
    n->parked = n->gathering;
    n->gathering = empty;
}

static void bootstrap_turn(struct node *n)
{
    struct raft_view view;

    if (!n->bootstrap_token) {
        return;
    }
    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER && view.leader_committed) {
        node_answer_add(n, n->bootstrap_token, 0);
        n->bootstrap_token = 0;
    } else if (n->now >= n->bootstrap_deadline) {
        node_answer_add(n, n->bootstrap_token, -RD_EUNKNOWN_OUTCOME);
        n->bootstrap_token = 0;
    }
}

static bool public_differs(const struct node_public *a, const struct node_public *b)
{
    return a->state != b->state || a->role != b->role || a->is_leader != b->is_leader ||
           a->leader != b->leader || a->term != b->term || a->fence != b->fence;
}

static void note_changes(struct node *n)
{
    struct node_public now_public;
    uint64_t mark = hello_mark(n);

    if (n->seen.state == NODE_LEADER || n->seen.state == NODE_HANDING_OVER) {
        n->led_at = n->now;
    }
    node_public_get(n, n->now, &now_public);
    n->out.changed = public_differs(&n->seen, &now_public);
    n->seen = now_public;
    n->out.hello_changed = mark != n->hello_mark;
    n->hello_mark = mark;
    n->out.targets_changed = hello_review_targets(n);
}

struct node_out *node_end(struct node *n)
{
    hello_update_lease_base(n); /* who votes may have changed */
    formation_turn(n);
    if (n->now >= raft_deadline(n->raft)) {
        node_step(n, &(struct raft_event){.type = RAFT_EV_TICK});
    }
    changes_turn(n);
    tasks_turn(n);
    handover_retire_turn(n);
    handover_room_turn(n);
    writes_turn(n);
    reads_ask(n);
    node_step(n, &(struct raft_event){.type = RAFT_EV_FLUSH});
    outgoing_turn(n);
    incoming_turn(n);
    trim_turn(n);
    take_batch(n);
    apply_committed(n);
    handover_turn(n);
    reads_serve(n);
    progress_turn(n);
    bootstrap_turn(n);
    note_changes(n);
    n->wake_by = node_deadline(n);
    return &n->out;
}

static mono_ms earlier(mono_ms a, mono_ms b)
{
    return a < b ? a : b;
}

/* When what node_public() shows changes by time alone: a lease or a leader's freshness runs out. */
static mono_ms public_deadline(const struct node *n)
{
    struct raft_view view;

    if (n->seen.is_leader) {
        return n->now + n->seen.lease_remaining_ms;
    }
    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER && view.claims_after > n->now) {
        return view.claims_after;
    }
    return n->seen.leader ? view.leader_contact + n->config.raft.election_timeout_ms : UINT64_MAX;
}

mono_ms node_deadline(const struct node *n)
{
    if (apply_is_behind(n) || (!n->batch_in_flight && raft_save_wanted(n->raft))) {
        return n->now;
    }
    mono_ms deadline = raft_deadline(n->raft);
    deadline = earlier(deadline, writes_deadline(n));
    deadline = earlier(deadline, reads_deadline(n));
    deadline = earlier(deadline, progress_deadline(n));
    deadline = earlier(deadline, changes_deadline(n));
    deadline = earlier(deadline, tasks_deadline(n));
    deadline = earlier(deadline, handover_deadline(n));
    deadline = earlier(deadline, outgoing_deadline(n));
    deadline = earlier(deadline, n->bootstrap_token ? n->bootstrap_deadline : UINT64_MAX);
    deadline = earlier(deadline, public_deadline(n));
    return deadline > n->now ? deadline : n->now;
}

void node_bootstrap(struct node *n, uint64_t token, mono_ms deadline)
{
    const struct raft_membership *m = raft_membership(n->raft);
    struct raft_membership *alone;
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (n->bootstrap_token) {
        struct node_answer *a = node_answer_add(n, token, -RD_ENOT_READY);
        (void)snprintf(a->message, sizeof a->message, "another bootstrap is under way");
        return;
    }
    if (m->members_count > 0 || view.last > 0 || uuid_is_set(&view.cluster)) {
        bool alone_already = m->members_count == 1 && membership_is_voter(m, n->config.raft.id);
        struct node_answer *a = node_answer_add(n, token, alone_already ? 0 : -RD_EALREADY_MEMBER);
        (void)snprintf(a->message, sizeof a->message,
                       "this node is in a cluster of %" PRIu32 " members already",
                       m->members_count);
        return;
    }
    if (n->config.founders_count > 0 || n->config.address[0] == 0) {
        bool founders = n->config.founders_count > 0;
        struct node_answer *a = node_answer_add(n, token, founders ? -RD_ENOT_READY : -RD_EINVALID);
        (void)snprintf(a->message, sizeof a->message, "%s",
                       founders
                           ? "a cluster forms here from the member list of the configuration"
                           : "node.advertise is needed: listen is a wildcard that nobody can dial");
        return;
    }
    alone = mem_zalloc(sizeof *alone);
    alone->members_count = 1;
    alone->members[0] = (struct raft_member){
        .id = n->config.raft.id, .role = RAFT_VOTER, .store = n->config.raft.store, .session = 1};
    memcpy(alone->members[0].address, n->config.address, sizeof alone->members[0].address);
    node_step(n,
              &(struct raft_event){.type = RAFT_EV_FOUND,
                                   .found = {.cluster = &n->fresh_cluster, .membership = alone}});
    mem_free(alone);
    n->bootstrap_token = token;
    n->bootstrap_deadline = deadline;
}
