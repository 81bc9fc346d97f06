/* What a node shows of itself. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/internal.h"

const struct state *node_state(const struct node *n)
{
    return n->state;
}

const struct raft *node_raft(const struct node *n)
{
    return n->raft;
}

const char *node_state_text(enum node_state_name s)
{
    static const char *const names[] = {
        [NODE_UNCONFIGURED] = "unconfigured", [NODE_FORMING] = "forming",
        [NODE_JOINING] = "joining",           [NODE_FOLLOWER] = "follower",
        [NODE_CANDIDATE] = "candidate",       [NODE_LEADER] = "leader",
        [NODE_HANDING_OVER] = "handing_over", [NODE_REMOVED] = "removed",
    };

    return names[s];
}

/* A leader counts as known when it has committed in its term and is fresh: a leader by its lease, a
 * follower by having heard it within T. */
raft_id node_known_leader(const struct node *n, mono_ms now)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (!view.leader_committed) {
        return 0;
    }
    if (view.state == RAFT_LEADER) {
        return raft_claim_remaining(n->raft, now) ? view.leader : 0;
    }
    return now < view.leader_contact + n->config.raft.election_timeout_ms ? view.leader : 0;
}

static enum node_state_name state_name(const struct node *n, const struct raft_view *view)
{
    const struct raft_membership *m = raft_membership(n->raft);

    if (view->state == RAFT_LEADER) {
        return NODE_LEADER;
    }
    if (!uuid_is_set(&view->cluster)) {
        return n->config.founders_count ? NODE_FORMING : NODE_UNCONFIGURED;
    }
    if (!membership_find(m, n->config.raft.id)) {
        return membership_tombstone(m, n->config.raft.id) ? NODE_REMOVED : NODE_JOINING;
    }
    return view->state == RAFT_FOLLOWER ? NODE_FOLLOWER : NODE_CANDIDATE;
}

static void silence_reason(const struct raft_view *view, mono_ms now, char *text, size_t size)
{
    if (view->leader_contact) {
        (void)snprintf(text, size, "electing: no leader heard for %" PRIu64 " ms",
                       now - view->leader_contact);
    } else {
        (void)snprintf(text, size, "electing: no leader known");
    }
}

static void reason_text(const struct node *n, const struct raft_view *view,
                        const struct node_public *p, mono_ms now, char *text, size_t size)
{
    switch (p->state) {
    case NODE_UNCONFIGURED:
        if (!refusals_reason(n, "in no cluster: ", text, size)) {
            (void)snprintf(text, size, "in no cluster: bootstrap it, or add it from a member");
        }
        break;
    case NODE_FORMING:
        if (!refusals_reason(n, "forming: ", text, size)) {
            formation_reason(n, text, size);
        }
        break;
    case NODE_JOINING:
        if (!refusals_reason(n, "joining: ", text, size)) {
            (void)snprintf(text, size, "joining: waiting for the leader's log");
        }
        break;
    case NODE_REMOVED:
        (void)snprintf(text, size, "removed from the cluster: stop it, or reset and add it again");
        break;
    case NODE_LEADER:
    case NODE_HANDING_OVER:
        if (!p->is_leader) {
            (void)snprintf(text, size, "%s",
                           view->leader_committed ? "leads, but has not heard a majority lately"
                                                  : "leads, but has not committed in its term yet");
        }
        break;
    case NODE_FOLLOWER:
    case NODE_CANDIDATE:
        if (view->disk_stalled) {
            (void)snprintf(text, size, "disk: a log commit is overdue");
        } else if (!p->leader) {
            silence_reason(view, now, text, size);
            size_t used = strlen(text);
            (void)refusals_reason(n, "; ", text + used, size - used);
        }
        break;
    }
}

void node_public_get(const struct node *n, mono_ms now, struct node_public *out)
{
    const struct raft_member *self = membership_find(raft_membership(n->raft), n->config.raft.id);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    *out = (struct node_public){
        .state = state_name(n, &view),
        .role = self ? self->role : 0,
        .leader = node_known_leader(n, now),
        .term = view.term,
        .lease_remaining_ms = raft_claim_remaining(n->raft, now),
        .contact_ms = view.state == RAFT_LEADER ? 0
                      : view.leader_contact     ? now - view.leader_contact
                                                : UINT64_MAX,
    };
    out->is_leader = out->lease_remaining_ms > 0;
    out->fence = out->leader ? view.term : 0;
    reason_text(n, &view, out, now, out->reason, sizeof out->reason);
}

void node_stats_get(const struct node *n, struct node_stats *out)
{
    *out = (struct node_stats){
        .writes_open = n->writes_open,
        .reads_open = n->reads_count,
        .applied = state_index(n->state),
        .batch_in_flight = n->batch_in_flight,
    };
}
