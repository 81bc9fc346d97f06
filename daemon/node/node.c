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

void node_free(struct node *n)
{
    if (!n) {
        return;
    }
    output_free(n);
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

/* ---- Stepping the core ---- */

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
        output_message(n, &fx->msgs[i]);
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

void node_persisted(struct node *n, uint64_t batch_seq)
{
    const struct raft_save *save = &n->batch.save;

    rd_assert(n->batch_in_flight && batch_seq == n->batch.seq);
    struct raft_event event = {.type = RAFT_EV_PERSISTED,
                               .persisted = {.index = save->last, .entry_term = save->last_term}};
    n->batch_in_flight = false;
    output_release(n);
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
    (void)(bootstrap_cancel(n, token) || writes_cancel(n, token) || reads_cancel(n, token) ||
           changes_cancel(n, token) || progress_cancel(n, token));
}

/* ---- End of a turn ---- */

static void take_batch(struct node *n)
{
    if (n->batch_in_flight || !raft_save_take(n->raft, n->config.batch_bytes_max, &n->batch.save)) {
        return;
    }
    n->batch.seq = ++n->batch_seq;
    n->batch_in_flight = true;
    n->out.batch = &n->batch;
    if (!raft_save_promises(n->raft)) { /* else only a part: what gathered waits for the rest */
        output_batch_left(n);
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
    hello_update_lease_base(n); /* who is a member may have changed */
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
    apply_turn(n);
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
    deadline = earlier(deadline, bootstrap_deadline(n));
    deadline = earlier(deadline, public_deadline(n));
    return deadline > n->now ? deadline : n->now;
}
