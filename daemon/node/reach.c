/* How many voters can be reached, as this node sees it, and what that means for who waits. */
#include <inttypes.h>
#include <stdio.h>

#include "node/internal.h"

void reach_heard(struct node *n, raft_id from)
{
    struct node_peer *peer = hello_peer(n, from);

    if (peer) {
        peer->heard = n->now;
    }
}

/* Followers do not speak to each other: only when a leader has been missing for so long that we asked
 * for votes does silence mean something. (A link to a process that was stopped stays up for long.) */
static bool silence_counts(const struct node *n, const struct raft_view *view, mono_ms now)
{
    mono_ms patience = 3 * (mono_ms)n->config.raft.election_timeout_ms;

    return view->leader_contact == 0 || now >= view->leader_contact + patience;
}

static bool is_reachable(const struct node *n, raft_id id, bool silent_is_gone, mono_ms now)
{
    const struct node_peer *peer = hello_peer(n, id);
    mono_ms silence_max = 2 * (mono_ms)n->config.raft.election_timeout_ms;

    if (id == n->config.raft.id) {
        return true;
    }
    return peer && peer->up &&
           (!silent_is_gone || (peer->heard && now < peer->heard + silence_max));
}

uint32_t node_voters_reachable(const struct node *n, mono_ms now)
{
    const struct raft_membership *m = raft_membership(n->raft);
    struct raft_view view;
    uint32_t reachable = 0;

    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER) {
        return raft_voters_reachable(n->raft, now);
    }
    bool silent_is_gone = silence_counts(n, &view, now);
    for (uint32_t i = 0; i < m->members_count; i++) {
        reachable += m->members[i].role == RAFT_VOTER &&
                     is_reachable(n, m->members[i].id, silent_is_gone, now);
    }
    return reachable;
}

void reach_refuse(struct node *n, uint64_t token, const char *consequence)
{
    uint32_t need = membership_quorum(raft_membership(n->raft));
    uint32_t reachable = node_voters_reachable(n, n->now);

    if (need == 0) {
        char text[NODE_MESSAGE_SIZE];
        (void)snprintf(text, sizeof text,
                       "this node is joining and has not got the cluster's log yet: %s",
                       consequence);
        node_refuse(n, token, -RD_ENO_LEADER, text);
        return;
    }
    struct node_answer *a =
        node_answer_add(n, token, reachable < need ? -RD_ENO_QUORUM : -RD_ENO_LEADER);

    (void)snprintf(a->message, sizeof a->message,
                   "no leader by the deadline, %" PRIu32 " of %" PRIu32
                   " voters reachable, %" PRIu32 " needed: %s",
                   reachable, membership_voters(raft_membership(n->raft)), need, consequence);
}
