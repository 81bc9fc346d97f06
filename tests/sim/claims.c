/* 15: leases, and the claims to lead that were told to sidecars. A lease counts while it is looked
 * at; a claim that was told lives on, whatever becomes of who told it. */
#include "sim.h"

#include <string.h>

typedef unsigned long long ull;

static uint32_t lease_of(const struct sim *s, const struct sim_host *h)
{
    return host_is_up(h) ? raft_lease_remaining(node_raft(h->node), host_clock(s, h)) : 0;
}

static void check_leases(struct sim *s, struct sim_host *h, const struct raft_view *v)
{
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        const struct sim_host *other = &s->hosts[i];

        if (other != h && lease_of(s, other) > 0) {
            sim_violation(s, h, "invariant 15: has a lease of term %llu, and node %u one of %llu",
                          (ull)v->term, other->id, (ull)other->view.term);
        }
    }
}

/* Until when somebody may act on what this host told: a holder until it has stopped. */
static sim_us alive_until(const struct sim_host *h)
{
    sim_us until = h->claim_until;

    for (uint32_t i = 0; i < SIM_EXECS; i++) {
        until = h->execs[i].until > until ? h->execs[i].until : until;
    }
    return until;
}

static void check_claim(struct sim *s, struct sim_host *h, raft_term fence)
{
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        const struct sim_host *other = &s->hosts[i];

        if (other != h && alive_until(other) > s->now) {
            sim_violation(s, h,
                          "invariant 15: claims to lead term %llu while a claim of node %u lives "
                          "for another %llu us",
                          (ull)fence, other->id, (ull)(alive_until(other) - s->now));
        }
    }
    if (fence < s->fence_told) {
        sim_violation(s, h, "invariant 15: a claim with fence %llu after one with %llu", (ull)fence,
                      (ull)s->fence_told);
    }
}

sim_us claims_tell(struct sim *s, struct sim_host *h, const struct node_public *p)
{
    if (s->knobs.bounded_clocks) {
        check_claim(s, h, p->fence);
        s->fence_told = p->fence;
        s->stats.claims++;
    }
    return s->now + (sim_us)((double)p->lease_remaining_ms * 1000.0 / h->rate);
}

static void tell(struct sim *s, struct sim_host *h, const struct node_public *p)
{
    sim_us until = claims_tell(s, h, p);

    node_claim_told(h->node);
    h->claim_until = until > h->claim_until ? until : h->claim_until;
}

/* A sidecar, or haproxy, asks. */
void claims_ask(struct sim *s, struct sim_host *h)
{
    struct node_public p;

    host_begin(s, h);
    node_public_get(h->node, host_clock(s, h), &p);
    if (p.is_leader) {
        sim_trace(s, h, "tells that it leads, fence %llu, for %u ms", (ull)p.fence,
                  p.lease_remaining_ms);
        tell(s, h, &p);
    }
    host_end(s, h);
}

static void check_numbers(struct sim *s, struct sim_host *h, const struct raft_view *v,
                          uint32_t claim, uint32_t lease)
{
    if (claim > lease || (lease > 0 && v->state != RAFT_LEADER) ||
        lease > s->knobs.timeout_ms * 8 / 10) {
        sim_violation(s, h, "invariant 15: claim %u ms, lease %u ms, as %s", claim, lease,
                      msgs_state_name(v->state));
    }
    if (claim > 0 && raft_term_at(node_raft(h->node), v->commit) != v->term) {
        sim_violation(
            s, h, "invariant 15: claims to lead term %llu, commit index %llu is of term %llu",
            (ull)v->term, (ull)v->commit, (ull)raft_term_at(node_raft(h->node), v->commit));
    }
    /* A claim lasts 0.8 T, on a slower clock 10/8 of that, however often it was handed on. */
    mono_ms now = host_clock(s, h);
    if (v->claims_after > now + s->knobs.timeout_ms + 1) {
        sim_violation(s, h, "trap 51: may not claim for %llu ms", (ull)(v->claims_after - now));
    }
    if (lease > 0 && h->stalled) {
        sim_violation(s, h, "trap 44: a lease of %u ms while its disk hangs", lease);
    }
    if (lease > 0 && (v->transfer_sent || s->handed_over[v->term])) {
        sim_violation(s, h, "trap 50: a lease of %u ms in term %llu, which was handed over", lease,
                      (ull)v->term);
    }
}

void claims_check(struct sim *s, struct sim_host *h, const struct raft_view *v)
{
    mono_ms now = host_clock(s, h);

    if (v->state != RAFT_LEADER) {
        return;
    }
    uint32_t claim = raft_claim_remaining(node_raft(h->node), now);
    uint32_t lease = raft_lease_remaining(node_raft(h->node), now);
    check_numbers(s, h, v, claim, lease);
    if (lease > 0 && s->knobs.bounded_clocks) {
        check_leases(s, h, v);
    }
    /* Where only disks that hang make leaders hand over, all that could be told is told. */
    if (claim > 0 && s->knobs.bounded_clocks && !s->knobs.churn) {
        const struct node_public p = {.fence = v->term, .lease_remaining_ms = claim};
        tell(s, h, &p);
    }
}

void claims_sent(struct sim *s, struct sim_host *h, const struct raft_msg *m)
{
    sim_trace(s, h, "tells node %u to stand", m->to);
    s->handed_over[m->term] = true;
    s->stats.handovers++;
}

void claims_left_sent(struct sim *s, struct sim_host *h, const struct raft_msg *m)
{
    if (s->leader_of[m->term] != h->id || !s->handed_over[m->term]) {
        sim_violation(s, h,
                      "trap 51: tells node %u of claims in term %llu, which it did not give up",
                      m->to, (ull)m->term);
    }
}

void claims_left_heard(struct sim *s, struct sim_host *h, const struct raft_view *before)
{
    struct raft_view v;

    raft_view_get(node_raft(h->node), &v);
    if (v.claims_after > before->claims_after || v.term != before->term ||
        v.state != before->state) {
        sim_violation(s, h, "trap 51: hears that claims are gone, and does more than wait less");
    }
    bool waits = before->claims_after > host_clock(s, h);
    s->stats.shortened += waits && v.claims_after < before->claims_after;
}
