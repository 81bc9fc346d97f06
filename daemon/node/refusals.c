/* Who refused this node, and why: what a node outside its cluster has to tell its operator. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/internal.h"

static struct node_refusal *find(const struct node *n, raft_id peer)
{
    for (uint32_t i = 0; i < n->refusals_count; i++) {
        if (n->refusals[i].peer == peer) {
            return &n->refusals[i];
        }
    }
    return NULL;
}

/* Who knows our cluster and says that we left it: it is one of those we would believe anything. */
static bool proves_removal(const struct node *n, const struct peer_refusal *refusal)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    return refusal->code == -RD_EREMOVED && uuid_is_set(&view.cluster) &&
           uuid_equal(&refusal->cluster, &view.cluster);
}

void node_refused(struct node *n, raft_id peer, const struct peer_refusal *refusal)
{
    struct node_refusal *r = find(n, peer);
    int code = refusal->code;

    if (proves_removal(n, refusal)) {
        n->removed_at = refusal->index;
        node_step(n, &(struct raft_event){.type = RAFT_EV_REMOVED});
        writes_removed(n, false);
        reads_removed(n);
    }
    if (r && r->code == code) {
        return; /* both sides say it in their words, in turn: who reads it wants one text */
    }
    if (!n->refusals) {
        n->refusals = mem_zalloc(NODE_REFUSALS_MAX * sizeof *n->refusals);
    }
    if (!r && n->refusals_count == NODE_REFUSALS_MAX) { /* the oldest makes room */
        memmove(n->refusals, n->refusals + 1, (NODE_REFUSALS_MAX - 1) * sizeof *n->refusals);
        n->refusals_count--;
    }
    if (!r) {
        r = &n->refusals[n->refusals_count++];
    }
    *r = (struct node_refusal){.peer = peer, .code = code};
    (void)snprintf(r->why, sizeof r->why, "%s", refusal->why[0] ? refusal->why : err_text(code));
}

void node_unreachable(struct node *n, raft_id peer, int code, const char *why)
{
    tasks_unreachable(n, peer, code, why);
}

void refusals_forget(struct node *n, raft_id peer)
{
    struct node_refusal *r = find(n, peer);

    if (r) {
        n->refusals_count--;
        memmove(r, r + 1, (size_t)(n->refusals + n->refusals_count - r) * sizeof *r);
    }
}

void refusals_free(struct node *n)
{
    mem_free(n->refusals);
}

static const char *address_of(const struct node *n, raft_id id)
{
    const struct raft_member *member = membership_find(raft_membership(n->raft), id);
    const struct node_peer *peer = hello_peer(n, id);

    if (member) {
        return member->address;
    }
    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        if (n->config.founders[i].id == id) {
            return n->config.founders[i].address;
        }
    }
    return peer ? peer->hello.address : "";
}

/* A member has nothing to hear from those who are none. */
static const struct node_refusal *oldest(const struct node *n)
{
    const struct raft_membership *m = raft_membership(n->raft);

    for (uint32_t i = 0; i < n->refusals_count; i++) {
        if (!node_self(n) || membership_find(m, n->refusals[i].peer)) {
            return &n->refusals[i];
        }
    }
    return NULL;
}

bool refusals_reason(const struct node *n, const char *before, char *text, size_t size)
{
    const struct node_refusal *r = oldest(n);

    if (!r) {
        return false;
    }
    const char *address = address_of(n, r->peer);
    (void)snprintf(text, size, "%snode %" PRIu32 "%s%s refused this node: %s", before, r->peer,
                   address[0] ? " at " : "", address, r->why);
    return true;
}
