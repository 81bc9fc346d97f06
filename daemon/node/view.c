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
        [NODE_UNCONFIGURED] = "unconfigured",
        [NODE_FORMING] = "forming",
        [NODE_JOINING] = "joining",
        [NODE_FOLLOWER] = "follower",
        [NODE_LEARNER] = "learner",
        [NODE_CANDIDATE] = "candidate",
        [NODE_LEADER] = "leader",
        [NODE_HANDING_OVER] = "handing_over",
        [NODE_REMOVED] = "removed",
    };

    return names[s];
}

/* A leader counts as known when it has committed in its term and is fresh: a leader by its lease, a
 * follower by having heard it within T. */
raft_id node_known_leader(const struct node *n, mono_ms now)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (!view.leader_committed || node_is_removed(n)) {
        return 0;
    }
    if (view.state == RAFT_LEADER) { /* to lead is not yet to claim it */
        return raft_lease_remaining(n->raft, now) ? view.leader : 0;
    }
    return now < view.leader_contact + n->config.raft.election_timeout_ms ? view.leader : 0;
}

const struct raft_member *node_self(const struct node *n)
{
    const struct raft_member *self = membership_find(raft_membership(n->raft), n->config.raft.id);

    return self && uuid_equal(&self->store, &n->config.raft.store) ? self : NULL;
}

const char node_removed_text[] = "this node was removed from the cluster: ask another member";

static bool is_removed_in(const struct node *n, const struct raft_membership *m)
{
    return !membership_find(m, n->config.raft.id) &&
           membership_tombstone(m, n->config.raft.id, &n->config.raft.store) != NULL;
}

bool node_is_removed(const struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    return view.removed || is_removed_in(n, raft_membership_committed(n->raft));
}

static enum node_state_name state_name(const struct node *n, const struct raft_view *view)
{
    if (view->state == RAFT_LEADER) {
        return view->transfer ? NODE_HANDING_OVER : NODE_LEADER;
    }
    if (!uuid_is_set(&view->cluster)) {
        return n->config.founders_count ? NODE_FORMING : NODE_UNCONFIGURED;
    }
    if (node_is_removed(n)) {
        return NODE_REMOVED;
    }
    const struct raft_member *self = node_self(n);
    if (!self && !is_removed_in(n, raft_membership(n->raft))) {
        return NODE_JOINING;
    }
    if (view->state != RAFT_FOLLOWER) {
        return NODE_CANDIDATE;
    }
    return self && self->role == RAFT_LEARNER ? NODE_LEARNER : NODE_FOLLOWER;
}

/* When there was a leader last, as known here; 0: never. */
static mono_ms led_last(const struct node *n, const struct raft_view *view)
{
    return view->leader_contact > n->led_at ? view->leader_contact : n->led_at;
}

static void silence_reason(const struct node *n, const struct raft_view *view, mono_ms now,
                           char *text, size_t size)
{
    mono_ms last = led_last(n, view);

    if (is_removed_in(n, raft_membership(n->raft))) { /* as after a restart */
        (void)snprintf(text, size,
                       "its log ends with its removal, at index %" PRIu64
                       ", which no member has confirmed yet",
                       raft_membership(n->raft)->index);
    } else if (last) {
        (void)snprintf(text, size, "electing: no leader%s for %" PRIu64 " ms",
                       last == n->led_at ? "" : " heard", now - last);
    } else {
        (void)snprintf(text, size, "electing: no leader known");
    }
}

static void removed_reason(const struct node *n, char *text, size_t size)
{
    const struct raft_tombstone *gone =
        membership_tombstone(raft_membership(n->raft), n->config.raft.id, &n->config.raft.store);

    (void)snprintf(
        text, size,
        "removed from the cluster at index %" PRIu64
        ": stop it; to bring it back, empty its data directory (raftctl reset), start it, and "
        "add-server it on a member",
        gone ? gone->index : n->removed_at);
}

static void leader_reason(const struct node *n, const struct raft_view *view, mono_ms now,
                          char *text, size_t size)
{
    if (view->transfer) {
        (void)snprintf(text, size, "%shands over to node %" PRIu32,
                       view->disk_stalled ? "disk: a log commit is overdue, "
                       : n->room.low      ? "disk: low on space, "
                                          : "",
                       view->transfer);
    } else if (!view->leader_committed) {
        (void)snprintf(text, size, "leads, but has not committed in its term yet");
    } else if (raft_lease_remaining(n->raft, now) == 0) {
        (void)snprintf(text, size, "leads, but has not heard a majority lately");
    } else if (now < view->claims_after) {
        (void)snprintf(
            text, size,
            "leads, and may not claim it yet: what its predecessor told lapses in %" PRIu64 " ms",
            view->claims_after - now);
    }
}

static void reason_text(const struct node *n, const struct raft_view *view,
                        const struct node_public *p, mono_ms now, char *text, size_t size)
{
    switch (p->state) {
    case NODE_UNCONFIGURED:
    case NODE_FORMING:
        formation_reason(n, text, size);
        break;
    case NODE_JOINING:
        if (!refusals_reason(n, "joining: ", text, size)) {
            (void)snprintf(text, size, "joining: waiting for the leader's log");
        }
        break;
    case NODE_REMOVED:
        removed_reason(n, text, size);
        break;
    case NODE_LEADER:
    case NODE_HANDING_OVER:
        leader_reason(n, view, now, text, size);
        break;
    case NODE_FOLLOWER:
    case NODE_CANDIDATE:
    case NODE_LEARNER:
        if (view->disk_stalled) {
            (void)snprintf(text, size, "disk: a log commit is overdue");
        } else if (!p->leader) {
            silence_reason(n, view, now, text, size);
            size_t used = strlen(text);
            (void)refusals_reason(n, "; ", text + used, size - used);
        }
        break;
    }
}

void node_public_get(const struct node *n, mono_ms now, struct node_public *out)
{
    const struct raft_member *self = node_self(n);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    enum node_state_name state = state_name(n, &view);
    *out = (struct node_public){
        .state = state,
        .role =
            self && state != NODE_REMOVED ? self->role : 0, /* its own log may not know it yet */
        .leader = node_known_leader(n, now),
        .term = view.term,
        .lease_remaining_ms = raft_claim_remaining(n->raft, now),
        .contact_ms = view.state == RAFT_LEADER ? 0
                      : led_last(n, &view)      ? now - led_last(n, &view)
                                                : UINT64_MAX,
    };
    out->is_leader = out->lease_remaining_ms > 0;
    out->fence = out->leader ? view.term : 0;
    reason_text(n, &view, out, now, out->reason, sizeof out->reason);
}

void node_claim_told(struct node *n)
{
    uint32_t remaining = raft_claim_remaining(n->raft, n->now);

    if (remaining) {
        raft_claim_told(n->raft, n->now + remaining);
    }
}

void node_claim_held(struct node *n)
{
    uint32_t remaining = raft_claim_remaining(n->raft, n->now);

    if (remaining) {
        raft_claim_held(n->raft, n->now + remaining);
    }
}

void node_claims_released(struct node *n)
{
    node_step(n, &(struct raft_event){.type = RAFT_EV_CLAIMS_RELEASED});
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
