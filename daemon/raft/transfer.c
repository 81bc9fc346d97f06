/* Handing leadership over (thesis 3.10): the target catches up while writes flow, new writes wait
 * for a moment, the lease is given up, the target is told to stand. What was told cannot be taken
 * back: it may elect the target around everybody's stickiness. So if nothing comes of it, not the
 * old lease goes on but a new term begins (trap 50). */
#include <string.h>

#include "base/err.h"
#include "raft/internal.h"

static const char *const decline_texts[RAFT_DECLINE_COUNT] = {
    [RAFT_DECLINE_NO_VOTER] = "node # declined: it does not know itself as a voter",
    [RAFT_DECLINE_SHORT_LOG] = "node # declined: its log is shorter",
    [RAFT_DECLINE_DISK] = "node # declined: its log disk is stalled",
    [RAFT_DECLINE_RETIRING] = "node # declined: it is about to stop",
};

/* ---- Choosing ---- */

static bool was_heard(const struct raft *r, const struct progress *p)
{
    mono_ms window = TRANSFER_HEARD_BEATS * (mono_ms)r->config.heartbeat_ms;

    return p->contact && r->now <= p->contact + window;
}

/* Has everybody had the time to answer this leader? */
static bool is_young(const struct raft *r)
{
    return r->now < r->leader_since + TRANSFER_HEARD_BEATS * (mono_ms)r->config.heartbeat_ms;
}

static int check_silence(const struct raft *r, const struct progress *p, struct raft_reason *why)
{
    if (was_heard(r, p)) {
        return 0;
    }
    if (p->contact == 0 && is_young(r)) {
        *why = (struct raft_reason){.text = "node # has not been heard yet in term #",
                                    .numbers = {p->id, r->term}};
        return -RD_ENOT_READY;
    }
    *why = p->contact
               ? (struct raft_reason){.text = "node # was last heard # ms ago, more than the # ms "
                                              "that count as reachable",
                                      .numbers = {p->id, r->now - p->contact,
                                                  (uint64_t)TRANSFER_HEARD_BEATS *
                                                      r->config.heartbeat_ms}}
               : (struct raft_reason){.text = "node # has not been heard in this term",
                                      .numbers = {p->id}};
    return -RD_EUNREACHABLE;
}

static int check_target(const struct raft *r, raft_id id, struct raft_reason *why)
{
    const struct raft_member *member = membership_find(raft_in_force(r), id);

    if (!member) {
        *why = (struct raft_reason){.text = "node # is no member", .numbers = {id}};
        return -RD_ENOT_FOUND;
    }
    if (id == r->config.id) {
        *why = (struct raft_reason){.text = "node # leads already", .numbers = {id}};
        return -RD_ENO_TARGET;
    }
    if (member->role != RAFT_VOTER) {
        *why = (struct raft_reason){.text = "node # is a learner: only voters can lead",
                                    .numbers = {id}};
        return -RD_ENO_TARGET;
    }
    return check_silence(r, leader_peer(r, id), why);
}

/* The reachable voter with the highest match index. */
static int choose_target(const struct raft *r, raft_id *out, struct raft_reason *why)
{
    const struct raft_membership *m = raft_in_force(r);
    const struct progress *best = NULL;

    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct progress *p = leader_peer(r, m->members[i].id);
        if (p && m->members[i].role == RAFT_VOTER && was_heard(r, p) &&
            (!best || p->match > best->match)) {
            best = p;
        }
    }
    if (!best) {
        *why = (struct raft_reason){
            .text = "0 of # other voters were heard within # ms",
            .numbers = {membership_voters(m) - 1,
                        (uint64_t)TRANSFER_HEARD_BEATS * r->config.heartbeat_ms}};
        return is_young(r) && membership_voters(m) > 1 ? -RD_ENOT_READY : -RD_ENO_TARGET;
    }
    *out = best->id;
    return 0;
}

void transfer_request(struct raft *r, raft_id target)
{
    struct raft_reason why = {0};
    bool joins = r->transfer.phase && (target == 0 || target == r->transfer.target);

    int code = joins ? 0 : change_gate(r, &why);
    if (code == 0 && !joins) {
        code = target ? check_target(r, target, &why) : choose_target(r, &target, &why);
    }
    if (code == 0 && !joins) {
        r->transfer = (struct transfer){.phase = TRANSFER_CATCH_UP,
                                        .target = target,
                                        .deadline = r->now + r->config.election_timeout_ms};
    }
    r->fx->transfer_target = code ? 0 : r->transfer.target;
    effects_refuse(r, code, &why);
}

/* ---- Going on ---- */

/* How long claims that we, or who handed over to us, told may still live, on another node's clock:
 * that may run faster than ours by what leases allow for. */
static uint32_t claims_left(const struct raft *r)
{
    mono_ms until = r->claim_told > r->claims_after ? r->claim_told : r->claims_after;
    mono_ms left = until > r->now ? until - r->now : 0;

    return left ? (uint32_t)(left * 10 / 8 + 1) : 0;
}

static void send_timeout_now(struct raft *r)
{
    const struct progress *p = leader_peer(r, r->transfer.target);

    r->transfer.phase = TRANSFER_SENT; /* before it leaves: no lease and no claim from here on */
    r->transfer.deadline = r->now + r->config.election_timeout_ms;
    struct raft_msg *m = effects_message(r, RAFT_MSG_TIMEOUT_NOW, p->id);
    m->seq = r->transfer.seq = ++r->seq;
    m->stamp = r->now;
    m->session = p->session;
    m->index = r->log.last;
    m->log_term = rlog_last_term(&r->log);
    m->hold_ms = claims_left(r);
    effects_send(r, false);
}

void transfer_advance(struct raft *r)
{
    const struct progress *p = r->transfer.phase ? leader_peer(r, r->transfer.target) : NULL;

    if (!p) {
        return;
    }
    if (r->transfer.phase == TRANSFER_CATCH_UP && p->state == PROGRESS_REPLICATE &&
        p->next > r->log.last) {
        r->transfer.phase = TRANSFER_HOLD; /* one round trip is left */
    }
    if (r->transfer.phase == TRANSFER_HOLD && p->match == r->log.last) {
        send_timeout_now(r);
    }
}

/* ---- Coming to nothing ---- */

static void fail(struct raft *r, int code, const struct raft_reason *why)
{
    bool sent = r->transfer.phase == TRANSFER_SENT;

    r->transfer.phase = TRANSFER_NONE;
    effects_transfer_ended(r, code, why);
    if (sent) {
        election_stand(r, "a hand-over failed, stands for a new term after term #", r->term);
    }
}

mono_ms transfer_deadline(const struct raft *r)
{
    return r->transfer.phase ? r->transfer.deadline : UINT64_MAX;
}

void transfer_tick(struct raft *r)
{
    struct raft_reason why;

    if (!r->transfer.phase) {
        return;
    }
    const struct progress *p = leader_peer(r, r->transfer.target);
    if (r->transfer.phase != TRANSFER_SENT && check_silence(r, p, &why)) {
        fail(r, -RD_EUNREACHABLE, &why);
    } else if (r->now < r->transfer.deadline) {
        return;
    } else if (r->transfer.phase == TRANSFER_SENT) {
        why = (struct raft_reason){.text = "node # did not take over within # ms",
                                   .numbers = {p->id, r->config.election_timeout_ms}};
        fail(r, -RD_ETRANSFER_FAILED, &why);
    } else {
        why = (struct raft_reason){.text = "node # has # of # entries, and did not catch up within "
                                           "one election timeout",
                                   .numbers = {p->id, p->match, r->log.last}};
        fail(r, -RD_ENOT_CAUGHT_UP, &why);
    }
}

void transfer_on_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_reason why = {.text = "node # declined", .numbers = {m->from}};

    if (r->state != RAFT_LEADER || r->transfer.phase != TRANSFER_SENT ||
        m->from != r->transfer.target || m->seq != r->transfer.seq || !m->reject) {
        return;
    }
    if (m->hint < RAFT_DECLINE_COUNT && decline_texts[m->hint]) {
        why.text = decline_texts[m->hint];
    }
    fail(r, -RD_ETRANSFER_FAILED, &why);
}

void transfer_leader_stops(struct raft *r)
{
    static const struct raft_reason none;
    struct raft_reason why = {.text = "leadership was lost before node # was told",
                              .numbers = {r->transfer.target}};

    if (r->transfer.phase == TRANSFER_SENT) {
        effects_transfer_ended(r, 0, &none);
    } else if (r->transfer.phase) {
        effects_transfer_ended(r, -RD_ETRANSFER_FAILED, &why);
    }
    r->transfer.phase = TRANSFER_NONE;
}

/* ---- The target ---- */

static enum raft_decline declines(const struct raft *r, const struct raft_msg *m)
{
    if (!raft_is_voter(r) || r->removed) {
        return RAFT_DECLINE_NO_VOTER;
    }
    if (r->disk_stalled) {
        return RAFT_DECLINE_DISK;
    }
    if (r->retiring) {
        return RAFT_DECLINE_RETIRING;
    }
    bool complete = r->log.last >= m->index && rlog_last_term(&r->log) == m->log_term;
    return complete ? RAFT_DECLINE_NONE : RAFT_DECLINE_SHORT_LOG;
}

void transfer_on_timeout_now(struct raft *r, const struct raft_msg *m)
{
    if (r->state == RAFT_LEADER || (r->leader != 0 && r->leader != m->from)) {
        return; /* not from the leader of this term */
    }
    mono_ms claims_after = r->now + m->hold_ms;
    r->claims_after = r->claims_after > claims_after ? r->claims_after : claims_after;
    enum raft_decline decline = declines(r, m);
    struct raft_msg *reply = effects_message(r, RAFT_MSG_TIMEOUT_NOW_REPLY, m->from);
    reply->seq = m->seq;
    reply->stamp = m->stamp;
    reply->session = m->session;
    reply->index = r->log.last;
    reply->log_term = rlog_last_term(&r->log);
    reply->reject = decline != RAFT_DECLINE_NONE;
    reply->hint = decline;
    effects_send(r, !save_hard_is_durable(r));
    if (decline == RAFT_DECLINE_NONE) {
        election_stand(r, "node # hands over to this node", m->from);
    }
}
