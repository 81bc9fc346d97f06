/* Handing leadership over (thesis 3.10): the target catches up while writes flow, new writes wait
 * for a moment, the lease is given up, the target is told to stand. What was told cannot be taken
 * back: it may elect the target around everybody's stickiness. So if nothing comes of it, not the
 * old lease goes on but a new term begins (trap 50). */

#include "base/err.h"
#include "raft/internal.h"

static const char *const decline_texts[RAFT_DECLINE_COUNT] = {
    [RAFT_DECLINE_NO_VOTER] = "node # declined: it does not know itself as a voter",
    [RAFT_DECLINE_SHORT_LOG] = "node # declined: its log is shorter",
    [RAFT_DECLINE_DISK] = "node # declined: its log disk is stalled",
    [RAFT_DECLINE_RETIRING] = "node # declined: it is about to stop",
};

/* ---- Choosing ---- */

static mono_ms heard_window(const struct raft *r)
{
    return TRANSFER_HEARD_BEATS * (mono_ms)r->config.heartbeat_ms;
}

static bool was_heard(const struct raft *r, const struct progress *p)
{
    return progress_answers(p) && r->now <= p->contact + heard_window(r);
}

/* Has everybody had the time to answer this leader? */
static bool is_young(const struct raft *r)
{
    return r->now < r->leader_since + heard_window(r);
}

/* Time that passed while this leader was stopped, or had no processor, is nobody's silence: nothing was
 * asked, and what was answered was not heard. So silent is only who was asked in vain, too, and often
 * enough. That has an end however late the beats come. */
static bool may_answer_yet(const struct raft *r, const struct progress *p)
{
    return is_young(r) || p->beats < TRANSFER_HEARD_BEATS;
}

static int check_silence(const struct raft *r, const struct progress *p, struct raft_reason *why)
{
    if (was_heard(r, p)) {
        return 0;
    }
    if (p->contact == 0) {
        return may_answer_yet(r, p)
                   ? raft_refuse(why, -RD_ENOT_READY, "node # has not been heard yet in term #",
                                 p->id, r->term, 0)
                   : raft_refuse(why, -RD_EUNREACHABLE, "node # has not been heard in this term",
                                 p->id, 0, 0);
    }
    if (!progress_answers(p)) {
        return raft_refuse(why, -RD_EUNREACHABLE,
                           "the link to node # is down, it was last heard # ms ago", p->id,
                           r->now - p->contact, 0);
    }
    if (may_answer_yet(r, p)) {
        return raft_refuse(why, -RD_ENOT_READY,
                           "node # was last heard # ms ago, but only # heartbeats were sent since: "
                           "try again",
                           p->id, r->now - p->contact, p->beats);
    }
    return raft_refuse(why, -RD_EUNREACHABLE,
                       "node # was last heard # ms ago, more than the # ms that count as reachable",
                       p->id, r->now - p->contact, heard_window(r));
}

static int check_target(const struct raft *r, raft_id id, struct raft_reason *why)
{
    const struct raft_member *member = membership_find(raft_in_force(r), id);

    if (!member) {
        return raft_refuse(why, -RD_ENOT_FOUND, "node # is no member", id, 0, 0);
    }
    if (id == r->config.id) {
        return raft_refuse(why, -RD_ENO_TARGET, "node # leads already", id, 0, 0);
    }
    if (member->role != RAFT_VOTER) {
        return raft_refuse(why, -RD_ENO_TARGET, "node # is a learner: only voters can lead", id, 0,
                           0);
    }
    return check_silence(r, leader_peer(r, id), why);
}

/* One that just did not take over may be chosen last: it could be on its way out, too. */
static bool has_failed(const struct raft *r, raft_id id)
{
    return id == r->transfer_failed &&
           r->now < r->transfer_failed_at +
                        TRANSFER_FAILED_TIMEOUTS * (mono_ms)r->config.election_timeout_ms;
}

/* The reachable voter with the highest match index. */
static bool is_better(const struct raft *r, const struct progress *p, const struct progress *than)
{
    if (!than) {
        return true;
    }
    if (has_failed(r, p->id) != has_failed(r, than->id)) {
        return has_failed(r, than->id);
    }
    return p->match > than->match;
}

static int choose_target(const struct raft *r, raft_id *out, struct raft_reason *why)
{
    const struct raft_membership *m = raft_in_force(r);
    const struct progress *best = NULL;
    uint32_t others = membership_voters(m) - 1;
    bool soon = is_young(r) && others > 0;
    struct raft_reason silent;

    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct progress *p = leader_peer(r, m->members[i].id);
        if (!p || m->members[i].role != RAFT_VOTER) {
            continue;
        }
        int silence = check_silence(r, p, &silent);
        soon = soon || silence == -RD_ENOT_READY;
        if (silence == 0 && is_better(r, p, best)) {
            best = p;
        }
    }
    if (!best) {
        return raft_refuse(why, soon ? -RD_ENOT_READY : -RD_ENO_TARGET,
                           others ? "0 of # other voters were heard within # ms"
                                  : "there is no other voter to hand over to",
                           others, heard_window(r), 0);
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

/* It can write nothing, but what it has sent is on other disks. Who has all of that, or says so soon,
 * can go on without an election timeout: nobody has to miss this leader first. No new entries meanwhile,
 * and no gate: a change that is not committed yet is in the target's log, too, or it is not told. */
bool transfer_from_stalled_disk(struct raft *r)
{
    mono_ms deadline = r->now + heard_window(r);
    struct raft_reason why;
    raft_id target;

    if (!r->transfer.phase) {
        if (choose_target(r, &target, &why)) {
            return false;
        }
        r->transfer = (struct transfer){.target = target, .deadline = deadline};
    }
    if (r->transfer.phase != TRANSFER_SENT) {
        r->transfer.phase = TRANSFER_HOLD;
        r->transfer.deadline = r->transfer.deadline < deadline ? r->transfer.deadline : deadline;
    }
    effects_reason(r, "disk: a log commit is overdue, # entries wait for it",
                   r->log.last - r->saved);
    return true;
}

/* ---- Going on ---- */

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
    claims_hand_over(r, m);
    effects_send(r, false);
}

/* With more under way than the window holds there is always something left to send, however well the
 * target keeps up. So it is enough that without new entries it would have the rest well in time: at the
 * pace of the last round, if that brought any and the one under way is not much slower. */
static bool keeps_up(const struct raft *r, const struct progress *p)
{
    mono_ms left = left_until(r, r->transfer.deadline) * 3 / 4;
    uint64_t rest = r->log.last - p->match;

    return p->round_size > 0 && r->now - p->round_began <= left &&
           rest * (p->round_took + 1) / p->round_size <= left;
}

void transfer_advance(struct raft *r)
{
    const struct progress *p = r->transfer.phase ? leader_peer(r, r->transfer.target) : NULL;

    if (!p) {
        return;
    }
    if (r->transfer.phase == TRANSFER_CATCH_UP && p->state == PROGRESS_REPLICATE &&
        (p->next > r->log.last || keeps_up(r, p))) {
        r->transfer.phase = TRANSFER_HOLD; /* about one round trip is left */
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
    r->transfer_failed = sent ? r->transfer.target : r->transfer_failed;
    r->transfer_failed_at = sent ? r->now : r->transfer_failed_at;
    effects_transfer_ended(r, code, why);
    if (r->disk_stalled) { /* it could not save a new term: others have to miss it */
        election_follow(r, r->term, 0,
                        "disk: a log commit is overdue, nobody took over from term #", r->term);
        return;
    }
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
    if (r->transfer.phase != TRANSFER_SENT && check_silence(r, p, &why) == -RD_EUNREACHABLE) {
        fail(r, -RD_EUNREACHABLE, &why);
    } else if (r->now < r->transfer.deadline) {
        return;
    } else if (r->transfer.phase == TRANSFER_SENT) {
        why = (struct raft_reason){.text = "node # did not take over within # ms",
                                   .numbers = {p->id, r->config.election_timeout_ms}};
        fail(r, -RD_ETRANSFER_FAILED, &why);
    } else {
        why = (struct raft_reason){.text = r->disk_stalled
                                               ? "node # has # of # entries, and time was short"
                                               : "node # has # of # entries, and did not catch up "
                                                 "within one election timeout",
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
    claims_receive(r, m); /* whether we stand or not */
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
