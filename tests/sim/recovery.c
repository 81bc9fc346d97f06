/* After the faults: the cluster has to come together again, whoever belongs to it by then. */
#include "sim.h"

#include "base/err.h"
#include "raft/membership.h"

typedef unsigned long long ull;

static const struct sim_host *leader(const struct sim *s)
{
    const struct sim_host *found = NULL;

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        const struct sim_host *h = &s->hosts[i];

        if (host_is_up(h) && h->view.state == RAFT_LEADER) {
            found = !found || h->view.term > found->view.term ? h : found;
        }
    }
    return found;
}

/* NULL when this member is as it should be, else what is wrong. */
static const char *member_trouble(const struct sim *s, const struct sim_members *now,
                                  const struct sim_host *h)
{
    if (!host_is_up(h)) {
        return "it is down";
    }
    if (h->applied != s->commits_count || h->force.index != now->index) {
        return "it has not applied everything";
    }
    if (now->of[h->id - 1].auto_promote) {
        return "it is still to be promoted";
    }
    return h->recovered ? NULL : "writes fail";
}

static bool all_follow(const struct sim *s, const struct sim_members *now)
{
    const struct sim_host *first = leader(s);

    for (uint32_t i = 0; first && i < s->knobs.hosts; i++) {
        const struct sim_host *h = &s->hosts[i];

        if (members_has(now, h) &&
            (h->view.leader != first->id || h->view.term != first->view.term ||
             state_digest(node_state(h->node)) != state_digest(node_state(first->node)))) {
            return false;
        }
    }
    return first;
}

bool recovery_agreed(struct sim *s, bool complain)
{
    const struct sim_members *now = members_now(s);

    if (!now) {
        if (complain) {
            sim_violation(s, NULL, "no recovery: no cluster was founded");
        }
        return false;
    }
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        const struct sim_host *h = &s->hosts[i];
        const char *trouble = members_has(now, h) ? member_trouble(s, now, h) : NULL;

        if (trouble && complain) {
            sim_violation(s, h,
                          "no recovery: %s; applied %llu of %llu, state %s, term %llu, leader %u",
                          trouble, (ull)h->applied, (ull)s->commits_count,
                          msgs_state_name(h->view.state), (ull)h->view.term, h->view.leader);
        }
        if (trouble) {
            return false;
        }
    }
    if (!all_follow(s, now)) {
        if (complain) {
            sim_violation(s, NULL, "no recovery: no leader that all follow, or states differ");
        }
        return false;
    }
    return true;
}

/* ---- Who was removed ---- */

static bool reaches_a_member(const struct sim *s, const struct sim_host *h)
{
    struct node_target targets[NODE_TARGETS_MAX];
    const struct sim_members *now = members_now(s);
    uint32_t n = node_targets(h->node, targets);

    for (uint32_t i = 0; i < n; i++) {
        if (targets[i].id <= s->knobs.hosts && members_has(now, &s->hosts[targets[i].id - 1])) {
            return true;
        }
    }
    return false;
}

static bool removed_know(struct sim *s, bool complain)
{
    const struct sim_members *now = members_now(s);
    const struct sim_host *first = leader(s);
    struct node_public p;

    for (uint32_t i = 0; first && i < s->knobs.hosts; i++) {
        const struct sim_host *h = &s->hosts[i];
        const struct raft_membership *m = raft_membership_committed(node_raft(first->node));

        if (!host_is_up(h) || members_has(now, h) || !uuid_is_set(&h->view.cluster) ||
            !membership_tombstone(m, h->id, &h->store->id)) {
            continue;
        }
        node_public_get(h->node, host_clock(s, h), &p);
        if (p.state == NODE_REMOVED || !reaches_a_member(s, h)) {
            continue;
        }
        if (complain) {
            sim_violation(s, h, "was removed, reaches a member, and says: %s, %s",
                          node_state_text(p.state), p.reason);
        }
        return false;
    }
    return true;
}

static bool none_is_lost(struct sim *s, bool complain)
{
    const struct sim_members *now = members_now(s);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        if (now->of[i].role != 0 && !members_has(now, &s->hosts[i])) {
            if (complain) {
                sim_violation(s, &s->hosts[i], "no recovery: lost its data and is still a member");
            }
            return false;
        }
    }
    return true;
}

bool recovery_is_done(struct sim *s, bool complain)
{
    if (!recovery_agreed(s, complain) || !none_is_lost(s, complain)) {
        return false;
    }
    if (s->final_steps > 0) {
        if (complain) {
            sim_violation(s, NULL, "no recovery: %u last changes did not succeed", s->final_steps);
        }
        return false;
    }
    return removed_know(s, complain);
}
