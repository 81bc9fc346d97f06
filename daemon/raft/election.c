/* Elections: pre-vote, votes, stickiness (thesis 3.4, 4.2.3, 9.6). */
#include <string.h>

#include "raft/internal.h"

/* By the data directory, not by the id alone: a log that is not complete yet may begin with what an
 * earlier one was (trap 12). */
bool raft_is_voter(const struct raft *r)
{
    const struct raft_member *self = membership_find(raft_in_force(r), r->config.id);

    return self && self->role == RAFT_VOTER && uuid_equal(&self->store, &r->config.store);
}

static mono_ms draw(struct raft *r, uint32_t low, uint32_t high)
{
    return r->now + prng_range(&r->prng, low, high);
}

void election_timer_reset(struct raft *r)
{
    uint32_t timeout = r->config.election_timeout_ms;

    r->election_deadline = draw(r, timeout, 2 * timeout);
    /* A promise to an earlier leader binds the own vote too (trap 52). */
    if (r->refuse_until > r->now + timeout) {
        r->election_deadline += r->refuse_until - (r->now + timeout);
    }
}

/* A lost pre-vote is tried again sooner than silence is believed: what protects a living leader is
 * the voters' stickiness, not the patience of candidates. */
static void pre_vote_timer_set(struct raft *r)
{
    uint32_t timeout = r->config.election_timeout_ms;

    r->election_deadline = draw(r, timeout / 4, timeout);
}

/* A vote takes two disks in a row, the candidate's and the voters': it gets at least T. */
static void vote_timer_set(struct raft *r)
{
    uint32_t timeout = r->config.election_timeout_ms;

    r->election_deadline = draw(r, timeout, timeout + timeout / 2);
}

void election_follow(struct raft *r, raft_term term, raft_id leader, const char *reason,
                     uint64_t number)
{
    rd_assert(term >= r->term);
    bool was_active = r->state != RAFT_FOLLOWER;

    if (r->state == RAFT_LEADER) {
        leader_stop(r);
        r->led_until = r->now;
    }
    if (term > r->term) {
        r->term = term;
        r->vote = 0; /* only a new term frees the vote (trap 26) */
        save_mark_hard(r);
    }
    if (was_active || r->leader != leader) {
        effects_reason(r, was_active ? reason : NULL, number);
    }
    read_fail_all(r, -RD_ENOT_LEADER);
    r->state = RAFT_FOLLOWER;
    r->leader = leader;
    r->votes_count = 0;
    if (was_active) {
        election_timer_reset(r);
    }
}

/* ---- Voters ---- */

/* Would a vote now endanger the lease of a leader this voter helped to? Measured by the base
 * timeout, not by the random draw (trap 24). Only the leader's own wish (transfer) sets it aside.
 */
bool election_is_sticky(const struct raft *r, const struct raft_msg *m)
{
    if (m->transfer) {
        return false;
    }
    bool heard = r->heard && r->now < r->heard + r->config.election_timeout_ms;

    return r->state == RAFT_LEADER || heard || r->now < r->refuse_until;
}

static bool candidate_is_up_to_date(const struct raft *r, const struct raft_msg *m)
{
    raft_term last_term = rlog_last_term(&r->log);

    return m->log_term > last_term || (m->log_term == last_term && m->index >= r->log.last);
}

static void reply_vote(struct raft *r, const struct raft_msg *m, enum raft_msg_type type,
                       bool granted)
{
    struct raft_msg *reply = effects_message(r, type, m->from);

    reply->seq = m->seq;
    reply->stamp = m->stamp;
    reply->session = m->session;
    reply->transfer = m->transfer;
    reply->reject = !granted;
    if (granted) {
        reply->term = m->term;
    }
    effects_send(r, !save_hard_is_durable(r));
}

void election_on_pre_vote(struct raft *r, const struct raft_msg *m)
{
    bool granted = m->term > r->term && !election_is_sticky(r, m) && candidate_is_up_to_date(r, m);

    if (granted && r->state == RAFT_FOLLOWER) {
        /* It is about to ask in earnest: standing against it now would only split the vote. */
        mono_ms wait = r->now + r->config.election_timeout_ms / 4;
        r->election_deadline = r->election_deadline > wait ? r->election_deadline : wait;
    }
    reply_vote(r, m, RAFT_MSG_PRE_VOTE_REPLY, granted);
}

void election_on_vote(struct raft *r, const struct raft_msg *m)
{
    if (m->term > r->term) {
        if (election_is_sticky(r, m)) {
            reply_vote(r, m, RAFT_MSG_VOTE_REPLY, false);
            return;
        }
        election_follow(r, m->term, 0, "a candidate is in term #", m->term);
    }
    /* A new vote may endanger a lease even in a term this voter already has: it may have learned
     * the term from anybody. A vote given before is only said again. */
    bool promised = r->vote == m->from;
    bool free_to_vote = r->vote == 0 && !election_is_sticky(r, m);
    bool granted = m->term == r->term && (promised || free_to_vote) && r->leader == 0 &&
                   candidate_is_up_to_date(r, m);

    if (granted) {
        if (r->state == RAFT_PRE_CANDIDATE) { /* not against whom it votes for */
            election_follow(r, r->term, 0, "voted for node #", m->from);
        }
        if (r->vote != m->from) {
            r->vote = m->from;
            save_mark_hard(r);
        }
        election_timer_reset(r); /* denied votes do not (trap 25) */
    }
    reply_vote(r, m, RAFT_MSG_VOTE_REPLY, granted);
}

/* ---- Candidates ---- */

static void ask_votes(struct raft *r, enum raft_msg_type type, raft_term term, bool transfer)
{
    const struct raft_membership *m = raft_in_force(r);

    r->asked_after = r->seq;
    for (uint32_t i = 0; i < m->members_count; i++) {
        if (m->members[i].role != RAFT_VOTER || m->members[i].id == r->config.id) {
            continue;
        }
        struct raft_msg *ask = effects_message(r, type, m->members[i].id);
        ask->term = term;
        ask->seq = ++r->seq;
        ask->stamp = r->now;
        ask->session = m->members[i].session;
        ask->index = r->log.last;
        ask->log_term = rlog_last_term(&r->log);
        ask->transfer = transfer;
        /* A new term must not be seen before it is durable; a pre-vote promises nothing. */
        effects_send(r, type == RAFT_MSG_VOTE);
    }
}

static void become_candidate(struct raft *r, bool transfer)
{
    r->state = RAFT_CANDIDATE;
    r->leader = 0; /* a candidate is loyal to nobody (trap 23) */
    r->term++;
    r->vote = r->config.id;
    r->votes_count = 0; /* our own vote counts when it is durable */
    save_mark_hard(r);
    vote_timer_set(r);
    ask_votes(r, RAFT_MSG_VOTE, r->term, transfer);
}

void election_stand(struct raft *r, const char *reason, uint64_t number)
{
    election_follow(r, r->term, 0, reason, number);
    become_candidate(r, true); /* the flag is for this one campaign (traps 35, 50) */
    effects_reason(r, reason, number);
}

static void become_leader(struct raft *r)
{
    r->state = RAFT_LEADER;
    r->leader = r->config.id;
    effects_reason(r, "elected by # votes", r->votes_count);
    leader_start(r);
}

static void count_votes(struct raft *r)
{
    const struct raft_membership *m = raft_in_force(r);
    uint32_t granted = 0;

    for (uint32_t i = 0; i < r->votes_count; i++) {
        granted += r->votes[i].granted && membership_is_voter(m, r->votes[i].id);
    }
    if (granted < membership_quorum(m)) {
        return;
    }
    if (r->state == RAFT_PRE_CANDIDATE) {
        become_candidate(r, false);
        effects_reason(r, "won the pre-vote, stands in term #", r->term);
    } else {
        become_leader(r);
    }
}

/* Each voter counts once per phase (trap 27). */
static void record_vote(struct raft *r, raft_id from, bool granted)
{
    for (uint32_t i = 0; i < r->votes_count; i++) {
        if (r->votes[i].id == from) {
            return;
        }
    }
    if (r->votes_count < RAFT_MEMBERS_MAX) {
        r->votes[r->votes_count++] = (struct vote_record){.id = from, .granted = granted};
        count_votes(r);
    }
}

void election_own_vote_saved(struct raft *r)
{
    record_vote(r, r->config.id, true);
}

void election_on_reply(struct raft *r, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_MSG_PRE_VOTE_REPLY;

    if (!membership_find(raft_in_force(r), m->from)) {
        return;
    }
    if (pre && m->reject && m->term > r->term) {
        /* The loser adopts the voter's term, else a higher term with a shorter log and a lower term
         * with a longer one would refuse each other for ever (trap 22). */
        election_follow(r, m->term, 0, "a voter is in term #", m->term);
        return;
    }
    if (pre ? (r->state != RAFT_PRE_CANDIDATE || (!m->reject && m->term != r->term + 1) ||
               (m->reject && m->term > r->term))
            : (r->state != RAFT_CANDIDATE || m->term != r->term)) {
        return;
    }
    /* An answer to an earlier round (trap 27), or to a question that has not left yet. */
    bool asked = m->seq > r->asked_after && m->seq <= r->seq;
    if (!asked || (!pre && !save_hard_is_durable(r)) ||
        !membership_is_voter(raft_in_force(r), m->from)) {
        return;
    }
    record_vote(r, m->from, !m->reject);
}

static void campaign(struct raft *r)
{
    mono_ms last = r->led_until > r->heard ? r->led_until : r->heard;
    const char *why = last == 0          ? "no leader heard yet"
                      : last == r->heard ? "no leader heard for # ms"
                                         : "no leader for # ms";

    read_fail_all(r, -RD_ENO_LEADER);
    r->state = RAFT_PRE_CANDIDATE;
    r->leader = 0;
    r->votes_count = 0;
    effects_reason(r, why, r->now - last);
    pre_vote_timer_set(r);
    ask_votes(r, RAFT_MSG_PRE_VOTE, r->term + 1, false);
    record_vote(r, r->config.id, true);
}

/* Learners and strangers never campaign (trap 8), nor does who was removed (trap 46) or is about to
 * stop. */
bool election_may_stand(const struct raft *r)
{
    return raft_is_voter(r) && !r->disk_stalled && !r->removed && !r->retiring;
}

void election_tick(struct raft *r)
{
    if (r->now < r->election_deadline || r->state == RAFT_UNCONFIGURED) {
        return;
    }
    if (!election_may_stand(r)) {
        election_timer_reset(r);
        return;
    }
    campaign(r);
}
