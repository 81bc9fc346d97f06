/* How far each member is, as the leader knows it: what status shows on every node.
 *
 * A follower asks the leader, once for all that want to know in a turn. A question or its answer
 * may be lost with a link: it is repeated until the deadline, and any answer to a question asked
 * since then will do. What was told counts until the leader or its term is another, or a question
 * stays without an answer: better no numbers than old ones. */
#include <stdio.h>

#include "node/internal.h"

void node_ask_progress(struct node *n, uint64_t token, mono_ms deadline)
{
    if (n->asks_count == n->asks_capacity) {
        n->asks_capacity = n->asks_capacity ? n->asks_capacity * 2 : 16;
        n->asks = mem_realloc(n->asks, n->asks_capacity * sizeof *n->asks);
    }
    n->asks[n->asks_count++] = (struct node_ask_slot){.token = token, .deadline = deadline};
}

bool progress_cancel(struct node *n, uint64_t token)
{
    for (uint32_t i = 0; i < n->asks_count; i++) {
        if (n->asks[i].token == token) {
            n->asks[i] = n->asks[--n->asks_count];
            return true;
        }
    }
    return false;
}

void progress_free(struct node *n)
{
    mem_free(n->asks);
}

/* ---- The leader's side ---- */

static void fill_row(const struct node *n, const struct raft_view *view, raft_id id,
                     struct peer_progress *out)
{
    uint32_t at = out->members_count;
    struct raft_peer_view peer;

    if (id == n->config.raft.id) {
        out->members[at].match = view->saved;
        out->members[at].contact_ms = 0;
    } else if (raft_peer_view(n->raft, id, &peer)) {
        out->members[at].match = peer.match;
        out->members[at].contact_ms =
            peer.contact ? n->now - (peer.contact < n->now ? peer.contact : n->now) : UINT64_MAX;
    } else {
        return;
    }
    out->members[at].id = id;
    out->members_count++;
}

void progress_on_ask(struct node *n, raft_id from, const struct peer_progress_ask *ask)
{
    const struct raft_membership *m = raft_membership(n->raft);
    struct raft_view view;

    if (!membership_find(m, from)) {
        return;
    }
    raft_view_get(n->raft, &view);
    struct peer_progress *p = mem_zalloc(sizeof *p);
    p->seq = ask->seq;
    p->term = view.term;
    p->last = view.last;
    for (uint32_t i = 0; i < m->members_count && view.state == RAFT_LEADER; i++) {
        fill_row(n, &view, m->members[i].id, p);
    }
    *node_send_new(n, from) = (struct peer_msg){.type = PEER_PROGRESS, .progress = p};
}

/* ---- The asker's side ---- */

static void answer(struct node *n, uint64_t token, int code)
{
    struct node_answer *a = node_answer_add(n, token, code);

    if (code) {
        (void)snprintf(a->message, sizeof a->message, "%s",
                       code == -RD_ENO_LEADER ? "no leader to ask for the members' progress"
                                              : "the leader did not answer by the deadline");
    }
}

/* Whom to ask: 0 when nobody is known to lead. */
static raft_id leader_now(const struct node *n, const struct raft_view *view)
{
    return view->state == RAFT_LEADER ? n->config.raft.id : node_known_leader(n, n->now);
}

void progress_on_answer(struct node *n, raft_id from, const struct peer_progress *p)
{
    struct raft_view view;
    uint32_t kept = 0;

    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER || from != leader_now(n, &view)) {
        return; /* of an earlier leader: the present one is asked */
    }
    bool leads = p->term == view.term && p->members_count > 0;
    if (leads) {
        n->told = *p;
        n->told_by = from;
        n->told_at = n->now;
    }
    for (uint32_t i = 0; i < n->asks_count; i++) {
        const struct node_ask_slot *s = &n->asks[i];
        bool answered = s->round && s->round <= p->seq && s->asked == from;
        if (answered) {
            answer(n, s->token, leads ? 0 : -RD_ENO_LEADER);
        } else {
            n->asks[kept++] = *s;
        }
    }
    n->asks_count = kept;
}

static void answer_all(struct node *n, int code)
{
    for (uint32_t i = 0; i < n->asks_count; i++) {
        answer(n, n->asks[i].token, code);
    }
    n->asks_count = 0;
}

static void expire(struct node *n)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n->asks_count; i++) {
        if (n->now >= n->asks[i].deadline) {
            answer(n, n->asks[i].token, -RD_ETIMEOUT);
            n->told_by = 0;
        } else {
            n->asks[kept++] = n->asks[i];
        }
    }
    n->asks_count = kept;
}

/* One question for all that have none under way to this leader, or an old one. */
static void ask(struct node *n, raft_id leader)
{
    bool wanted = false;

    for (uint32_t i = 0; i < n->asks_count; i++) {
        struct node_ask_slot *s = &n->asks[i];
        if (s->asked == leader && n->now < s->retry_at) {
            continue;
        }
        if (!wanted) {
            wanted = true;
            n->ask_round++;
        }
        s->round = s->asked == leader ? s->round : n->ask_round;
        s->asked = leader;
        s->retry_at = n->now + n->config.raft.heartbeat_ms;
    }
    if (wanted) {
        *node_send_new(n, leader) =
            (struct peer_msg){.type = PEER_PROGRESS_ASK, .progress_ask = {.seq = n->ask_round}};
    }
}

void progress_turn(struct node *n)
{
    struct raft_view view;

    if (n->asks_count == 0) {
        return;
    }
    raft_view_get(n->raft, &view);
    raft_id leader = leader_now(n, &view);
    if (leader == 0 || leader == n->config.raft.id) {
        answer_all(n, leader ? 0 : -RD_ENO_LEADER);
        return;
    }
    expire(n);
    const struct node_peer *peer = hello_peer(n, leader);
    if (peer && peer->up) {
        ask(n, leader);
    }
}

void progress_lost(struct node *n, raft_id peer)
{
    for (uint32_t i = 0; i < n->asks_count; i++) {
        if (n->asks[i].asked == peer) {
            n->asks[i].retry_at = n->now;
        }
    }
}

mono_ms progress_deadline(const struct node *n)
{
    const struct node_peer *peer = NULL;
    mono_ms deadline = UINT64_MAX;

    for (uint32_t i = 0; i < n->asks_count; i++) {
        const struct node_ask_slot *s = &n->asks[i];
        deadline = s->deadline < deadline ? s->deadline : deadline;
        peer = s->asked ? hello_peer(n, s->asked) : NULL;
        if (peer && peer->up && s->retry_at < deadline) {
            deadline = s->retry_at;
        }
    }
    return deadline;
}

/* ---- View ---- */

/* Is what we were told still the word of who leads? */
static bool told_is_good(const struct node *n, const struct raft_view *view)
{
    return n->told_by && n->told.term == view->term && n->told_by == node_known_leader(n, n->now);
}

bool node_member_progress(const struct node *n, raft_id id, struct raft_peer_view *out)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER) {
        if (id == n->config.raft.id) {
            *out = (struct raft_peer_view){.match = view.saved, .contact = n->now};
            return true;
        }
        return raft_peer_view(n->raft, id, out);
    }
    for (uint32_t i = 0; told_is_good(n, &view) && i < n->told.members_count; i++) {
        if (n->told.members[i].id == id) {
            uint64_t ago = n->told.members[i].contact_ms;
            *out = (struct raft_peer_view){.match = n->told.members[i].match};
            if (ago != UINT64_MAX) { /* 0 would say never */
                out->contact = ago < n->told_at ? n->told_at - ago : 1;
            }
            return true;
        }
    }
    return false;
}

raft_index node_progress_last(const struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER) {
        return view.last;
    }
    return told_is_good(n, &view) ? n->told.last : 0;
}
