/* Clients' changes of the membership and of the leader, on the node the client talks to.
 *
 * A change is a state that is wanted, so it is handed to the leader of the day again and again until
 * one says that it is so, or why it cannot be. Only a hand-over is not: it wants one leadership to
 * end, goes to that leader alone, and is over when another leads. */
#include <inttypes.h>
#include <stdio.h>

#include "node/internal.h"

/* Tells this process from all others of this id: a new data directory counts its incarnations like the
 * one before. */
static uint64_t asker(const struct node *n)
{
    return n->config.process >> 1; /* numbers on the wire end at 2^63 */
}

static struct node_change_slot *slot_add(struct node *n)
{
    if (n->changes_count == n->changes_capacity) {
        n->changes_capacity = n->changes_capacity ? n->changes_capacity * 2 : 4;
        n->changes = mem_realloc(n->changes, n->changes_capacity * sizeof *n->changes);
    }
    return &n->changes[n->changes_count++];
}

static void slot_close(struct node *n, struct node_change_slot *s)
{
    *s = n->changes[--n->changes_count];
}

void changes_done(struct node *n)
{
    mem_free(n->changes);
}

bool change_is_sound(const struct peer_change *c)
{
    switch (c->kind) {
    case PEER_CHANGE_ADD:
        return c->id != 0 && c->address[0] && c->replaces != c->id;
    case PEER_CHANGE_PROMOTE:
    case PEER_CHANGE_DEMOTE:
    case PEER_CHANGE_REMOVE:
        return c->id != 0;
    case PEER_CHANGE_TRANSFER:
        return true;
    }
    return false;
}

void node_change(struct node *n, uint64_t token, const struct peer_change *change, mono_ms deadline)
{
    struct raft_view view;

    if (!change_is_sound(change)) {
        node_refuse(n, token, -RD_EINVALID,
                    "a change names a node, one that is added an address, and no node replaces "
                    "itself");
        return;
    }
    raft_view_get(n->raft, &view);
    if (!uuid_is_set(&view.cluster)) {
        formation_refuse(n, token);
        return;
    }
    if (node_is_removed(n)) {
        node_refuse(n, token, -RD_EREMOVED, node_removed_text);
        return;
    }
    if (n->changes_count == NODE_CHANGES_MAX) {
        struct node_answer *a = node_answer_add(n, token, -RD_ENOT_READY);
        (void)snprintf(a->message, sizeof a->message,
                       "%d changes are open on this node, the most: try again", NODE_CHANGES_MAX);
        return;
    }
    struct node_change_slot *s = slot_add(n);
    *s = (struct node_change_slot){.token = token, .deadline = deadline, .change = *change};
    s->change.incarnation = asker(n);
    s->change.seq = ++n->change_seq;
    s->change.term = 0; /* a hand-over gets the leadership it ends when it is first asked */
    s->change.no_wait = change->no_wait && change->replaces == 0;
}

/* ---- Answers ---- */

static struct node_answer *answer(struct node *n, const struct node_change_slot *s, int code,
                                  const struct peer_change_reply *reply)
{
    struct node_answer *a = node_answer_add(n, s->token, code);

    a->change = mem_dup(reply, sizeof *reply);
    return a;
}

static void refuse(struct node *n, const struct node_change_slot *s, int code, const char *why)
{
    struct node_answer *a = node_answer_add(n, s->token, code);

    if (s->replaced_by) {
        (void)snprintf(a->message, sizeof a->message,
                       "node %" PRIu32 " was added; the removal of node %" PRIu32 ": %s",
                       s->replaced_by, s->change.id, why);
    } else {
        (void)snprintf(a->message, sizeof a->message, "%s", why);
    }
}

/* The first half of a replacement is done: the other server leaves. */
static void begin_second_half(struct node *n, struct node_change_slot *s)
{
    s->replaced_by = s->change.id;
    s->change = (struct peer_change){.incarnation = asker(n),
                                     .seq = ++n->change_seq,
                                     .kind = PEER_CHANGE_REMOVE,
                                     .id = s->change.replaces,
                                     .force = s->change.force};
    s->begun = s->was_asked = s->asked_others = false;
    s->asked = 0;
    s->retry_at = n->now;
}

static void on_done(struct node *n, struct node_change_slot *s,
                    const struct peer_change_reply *reply)
{
    if (s->change.replaces) {
        begin_second_half(n, s);
        return;
    }
    (void)answer(n, s, 0, reply);
    slot_close(n, s);
}

static void on_refused(struct node *n, struct node_change_slot *s,
                       const struct peer_change_reply *reply)
{
    if (reply->code == -RD_ENOT_LEADER || reply->code == -RD_ENOT_READY) {
        s->asked = 0; /* whoever leads next is asked */
        s->retry_at = n->now + n->config.raft.heartbeat_ms;
        return;
    }
    int code = reply->code == -RD_EREMOVED && s->asked_others ? -RD_EUNKNOWN_OUTCOME : reply->code;
    /* A refusal undoes nothing: somebody has changed the same server since, or no majority had it. */
    bool begun = s->begun && s->change.kind != PEER_CHANGE_TRANSFER;
    static const char changed[] = "it was begun, and undone or changed since: ";
    char why[PEER_WHY_SIZE + sizeof changed];
    (void)snprintf(why, sizeof why, "%s%s", begun ? changed : "", reply->why);
    refuse(n, s, begun ? -RD_ECONFLICT : code, why);
    slot_close(n, s);
}

static void on_progress(struct node *n, struct node_change_slot *s,
                        const struct peer_change_reply *reply)
{
    bool same =
        reply->step == s->told.step && reply->match == s->told.match && reply->last == s->told.last;

    s->told = *reply;
    s->begun =
        s->begun || reply->step == PEER_CHANGE_COMMITTING || reply->step == PEER_CHANGE_CATCHING_UP;
    if (!same) {
        answer(n, s, 0, reply)->more = true;
    }
}

void changes_on_reply(struct node *n, raft_id from, const struct peer_change_reply *reply)
{
    struct node_change_slot *s = NULL;

    for (uint32_t i = 0; i < n->changes_count && !s; i++) {
        s = n->changes[i].change.seq == reply->seq ? &n->changes[i] : NULL;
    }
    if (!s || reply->incarnation != asker(n) || s->asked != from ||
        (s->change.kind != PEER_CHANGE_TRANSFER && reply->term != s->asked_term)) {
        return; /* an answer to what is not asked any more */
    }
    switch (reply->step) {
    case PEER_CHANGE_DONE:
        on_done(n, s, reply);
        break;
    case PEER_CHANGE_REFUSED:
        on_refused(n, s, reply);
        break;
    case PEER_CHANGE_DIALLING:
    case PEER_CHANGE_COMMITTING:
    case PEER_CHANGE_CATCHING_UP:
    case PEER_CHANGE_HANDING_OVER:
        on_progress(n, s, reply);
        break;
    }
}

/* ---- Asking ---- */

static void ask(struct node *n, struct node_change_slot *s, const struct raft_view *view)
{
    if (s->change.kind == PEER_CHANGE_TRANSFER && s->change.term == 0) {
        s->change.term = view->term;
        s->ends = view->leader;
    }
    s->asked_others = s->asked_others || (s->was_asked && s->asked_term != view->term);
    s->asked = view->leader;
    s->asked_term = view->term;
    s->was_asked = true;
    s->retry_at = n->now + n->config.raft.election_timeout_ms;
    struct peer_change change = s->change;
    change.term = view->term; /* not for a later leadership: it is asked anew */
    if (view->state == RAFT_LEADER) {
        tasks_on_ask(n, n->config.raft.id, &change);
    } else {
        *node_send_new(n, view->leader) =
            (struct peer_msg){.type = PEER_CHANGE, .change = mem_dup(&change, sizeof change)};
    }
}

/* A hand-over concerns one leadership: no later leader is asked to step down as well. */
static bool may_ask(const struct node_change_slot *s, const struct raft_view *view)
{
    return s->change.term == 0 || s->change.term == view->term;
}

static bool is_due(const struct node *n, const struct node_change_slot *s,
                   const struct raft_view *view)
{
    bool again = s->asked == view->leader && s->asked_term == view->term;

    return (s->asked != 0 && !again) || n->now >= s->retry_at;
}

/* ---- What this node sees itself ---- */

static void answer_handed_over(struct node *n, const struct node_change_slot *s, raft_id leader,
                               raft_term term)
{
    const struct peer_change_reply reply = {.step = PEER_CHANGE_DONE,
                                            .from = s->ends,
                                            .to = leader,
                                            .term = term,
                                            .gap_ms = PEER_GAP_UNKNOWN};
    char why[PEER_WHY_SIZE];

    bool again = leader == s->ends;
    if (s->change.id == leader || (s->change.id == 0 && !again)) {
        (void)answer(n, s, 0, &reply);
        return;
    }
    (void)snprintf(why, sizeof why, "node %" PRIu32 " leads %s, in term %" PRIu64, leader,
                   again ? "again" : "now", term);
    refuse(n, s, -RD_ETRANSFER_FAILED, why);
}

/* Another leads: the leadership that was to end has ended, whatever became of the old leader's
 * answer. It has the better numbers, so it is waited for a little. */
static bool handed_over(struct node *n, struct node_change_slot *s, const struct raft_view *view)
{
    raft_id leader = node_known_leader(n, n->now);

    if (s->change.term == 0 || view->term <= s->change.term || leader == 0) {
        return false;
    }
    if (s->over_at == 0) {
        s->over_at = s->asked ? n->now + n->config.raft.heartbeat_ms : n->now;
    }
    if (n->now < s->over_at && n->now < s->deadline) {
        return true;
    }
    answer_handed_over(n, s, leader, view->term);
    slot_close(n, s);
    return true;
}

/* A node that is removed may hear of it from its log, or a member's proof, alone: nobody talks to it
 * any more. */
static bool removed_itself(struct node *n, struct node_change_slot *s)
{
    const struct raft_tombstone *gone = membership_tombstone(
        raft_membership_committed(n->raft), n->config.raft.id, &n->config.raft.store);

    if (!s->was_asked || s->change.kind != PEER_CHANGE_REMOVE ||
        s->change.id != n->config.raft.id || !node_is_removed(n)) {
        return false;
    }
    struct peer_change_reply reply = {.step = PEER_CHANGE_DONE,
                                      .index = gone ? gone->index : n->removed_at};
    (void)answer(n, s, 0, &reply);
    slot_close(n, s);
    return true;
}

/* ---- Time ---- */

static void expire_catching_up(struct node *n, const struct node_change_slot *s)
{
    struct node_answer *a = node_answer_add(n, s->token, -RD_ETIMEOUT);

    if (s->told.match >= s->told.last) { /* not the log is in the way */
        (void)snprintf(a->message, sizeof a->message,
                       "node %" PRIu32 " is a learner, has all %" PRIu64
                       " entries, and was not promoted: raftctl promote %" PRIu32
                       " says what is in the way",
                       s->change.id, s->told.last, s->change.id);
        return;
    }
    (void)snprintf(
        a->message, sizeof a->message,
        "node %" PRIu32 " is a learner and has %" PRIu64 " of %" PRIu64
        " entries: it becomes a voter once it has caught up; the same command waits for it",
        s->change.id, s->told.match, s->told.last);
}

/* It was not even asked for. An earlier request for the same may have left its entry. */
static void expire_unasked(struct node *n, const struct node_change_slot *s)
{
    const struct raft_membership *committed = raft_membership_committed(n->raft);
    raft_index index = raft_membership(n->raft)->index;
    char text[NODE_MESSAGE_SIZE] = "nothing was changed";

    if (committed->members_count && committed->index < index) { /* after a restart nobody knows */
        (void)snprintf(text, sizeof text,
                       "nothing was changed, but an earlier change, at index %" PRIu64
                       ", waits to be committed",
                       index);
    }
    reach_refuse(n, s->token, text);
}

/* What to do when nobody knows whether it happens. */
static const char *advice(const struct node_change_slot *s)
{
    return s->change.kind == PEER_CHANGE_TRANSFER && s->change.id == 0
               ? "no answer by the deadline: it may still happen; see who leads before it is "
                 "repeated"
               : "no answer by the deadline: it may still happen; repeat the command to see";
}

static void expire(struct node *n, struct node_change_slot *s)
{
    if (s->told.step == PEER_CHANGE_CATCHING_UP && !s->replaced_by) {
        expire_catching_up(n, s);
    } else if (s->was_asked || s->replaced_by) {
        refuse(n, s, -RD_EUNKNOWN_OUTCOME, advice(s));
    } else {
        expire_unasked(n, s);
    }
    slot_close(n, s);
}

static void turn_slot(struct node *n, struct node_change_slot *s, const struct raft_view *view)
{
    if (removed_itself(n, s) || handed_over(n, s, view)) {
        return;
    }
    if (n->now >= s->deadline) {
        expire(n, s);
    } else if (node_is_removed(n)) {
        refuse(n, s, s->was_asked ? -RD_EUNKNOWN_OUTCOME : -RD_EREMOVED, node_removed_text);
        slot_close(n, s);
    } else if (node_leader_is_reachable(n, view) && may_ask(s, view) && is_due(n, s, view)) {
        ask(n, s, view); /* may answer at once: the slot is not to be used any more */
    }
}

void changes_turn(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    for (uint32_t i = n->changes_count; i > 0; i--) { /* downwards: closing moves the last */
        if (i <= n->changes_count) {
            turn_slot(n, &n->changes[i - 1], &view);
        }
    }
}

void changes_lost(struct node *n, raft_id peer)
{
    for (uint32_t i = 0; i < n->changes_count; i++) {
        if (n->changes[i].asked == peer) {
            n->changes[i].retry_at = n->now;
        }
    }
}

bool changes_cancel(struct node *n, uint64_t token)
{
    for (uint32_t i = 0; i < n->changes_count; i++) {
        if (n->changes[i].token == token) {
            slot_close(n, &n->changes[i]);
            return true;
        }
    }
    return false;
}

mono_ms changes_deadline(const struct node *n)
{
    mono_ms deadline = UINT64_MAX;
    struct raft_view view;

    raft_view_get(n->raft, &view);
    for (uint32_t i = 0; i < n->changes_count; i++) {
        const struct node_change_slot *s = &n->changes[i];
        bool waits =
            s->retry_at > n->now || (node_leader_is_reachable(n, &view) && may_ask(s, &view));
        mono_ms at = waits && s->retry_at < s->deadline ? s->retry_at : s->deadline;
        /* Past: that leader is gone again, and whoever is next will wake us. */
        at = s->over_at > n->now && s->over_at < at ? s->over_at : at;
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}
