/* Claims to lead: "you may act as leader", told to somebody outside. Under a lease no two nodes have
 * one; a hand-over sets leases aside, so the claims of who gives leadership up are told to who takes it
 * over, and waited for (trap 51). Some of them can be taken back: those whose holders have said that
 * nobody acts on them any more. */
#include "raft/internal.h"

static mono_ms later(mono_ms a, mono_ms b)
{
    return a > b ? a : b;
}

/* ---- Who leads ---- */

uint32_t raft_claim_remaining(const struct raft *r, mono_ms now)
{
    bool may_claim = r->commit >= r->term_start && now >= claims_after(r);

    return may_claim ? raft_lease_remaining(r, now) : 0;
}

void raft_claim_told(struct raft *r, mono_ms until)
{
    r->claim_told = later(r->claim_told, until);
}

void raft_claim_held(struct raft *r, mono_ms until)
{
    r->claim_held = later(r->claim_held, until);
}

/* ---- Who hands over ---- */

/* How long claims may still live that we told, or who handed over to us, on another node's clock. That
 * may run faster than ours by what leases allow for. What was handed to us has that allowance already:
 * whichever clocks count it down, in turn, none is faster than that. */
static uint32_t claims_left(const struct raft *r)
{
    mono_ms youngest = later(r->claim_told, r->claim_held);
    mono_ms ours = left_until(r, youngest) * 10 / 8 + (youngest > r->now);
    mono_ms handed = left_until(r, claims_after(r));

    return (uint32_t)later(ours, handed);
}

uint32_t claims_live(const struct raft *r)
{
    mono_ms ours = later(r->claim_told, r->claim_held);

    return (uint32_t)left_until(r, later(ours, claims_after(r)));
}

void claims_hand_over(struct raft *r, struct raft_msg *m)
{
    m->hold_ms = claims_left(r);
    r->claims_given = (struct claims_handed){
        .peer = m->to, .term = m->term, .seq = m->seq, .until = r->now + m->hold_ms};
}

/* Said once and not repeated: when it is lost, these claims lapse. We may have heard of a later term by
 * now, or lead one; what is said is of the leadership that was given up, and binds only its receiver. */
void claims_released(struct raft *r)
{
    struct claims_handed *given = &r->claims_given;
    bool were_held = r->claim_held > 0;

    r->claim_held = 0;
    uint32_t left = claims_left(r);
    if (!were_held || r->now + left >= given->until) {
        return; /* no news */
    }
    struct raft_msg *m = effects_message(r, RAFT_MSG_CLAIMS_LEFT, given->peer);
    m->term = given->term;
    m->seq = given->seq;
    m->hold_ms = left;
    given->until = r->now + left;
    effects_send(r, false);
}

/* ---- Who takes over ---- */

mono_ms claims_after(const struct raft *r)
{
    return later(r->claims_received.until, r->claims_before);
}

static bool is_received(const struct raft *r, const struct raft_msg *m)
{
    const struct claims_handed *last = &r->claims_received;

    return m->from == last->peer && m->term == last->term && m->seq == last->seq;
}

void claims_receive(struct raft *r, const struct raft_msg *m)
{
    if (is_received(r, m)) {
        return; /* twice: the first one was true already */
    }
    r->claims_before = claims_after(r);
    r->claims_received = (struct claims_handed){
        .peer = m->from, .term = m->term, .seq = m->seq, .until = r->now + m->hold_ms};
}

/* Only who told of claims can take them back, and no others than it told of. It led then, so neither its
 * term nor the membership of today has a say. */
void claims_on_left(struct raft *r, const struct raft_msg *m)
{
    mono_ms until = r->now + m->hold_ms;

    if (is_received(r, m) && until < r->claims_received.until) {
        r->claims_received.until = until;
    }
}
