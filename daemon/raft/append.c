/* The follower's side of replication (thesis 3.5). */
#include "base/err.h"
#include "raft/internal.h"

static struct raft_msg *append_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg *reply = effects_message(r, RAFT_MSG_APPEND_REPLY, m->from);

    reply->seq = m->seq;
    reply->stamp = m->stamp;
    reply->session = m->session;
    return reply;
}

/* Not accepted: a stale leader learns the term, a current one where to try next. */
void follower_refuse_append(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg *reply = append_reply(r, m);

    reply->reject = true;
    reply->index = m->index;
    reply->hint = rlog_agree(&r->log, m->index, m->log_term);
    reply->hint = reply->hint > r->log.base.index ? reply->hint : r->log.base.index;
    reply->log_term = rlog_term(&r->log, reply->hint);
    effects_send(r, !save_hard_is_durable(r));
}

/* Add what is new; cut what contradicts it first. False: two logs with one history that differ. */
static bool take_entries(struct raft *r, const struct raft_msg *m)
{
    const struct raft_point *base = &r->log.base;
    uint64_t chain = m->chain;

    for (uint32_t i = 0; i < m->entries_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index <= base->index) { /* committed, applied and forgotten, but for where it led */
            chain = raft_chain_after(chain, e);
            if (e->index == base->index && chain != base->chain) {
                return false;
            }
            continue;
        }
        if (e->index <= r->log.last) {
            if (rlog_term(&r->log, e->index) == e->term) {
                continue; /* a repetition */
            }
            if (e->index <= r->commit) {
                return false;
            }
            raft_log_truncate(r, e->index);
        }
        if (raft_log_append(r, e)) {
            return false;
        }
    }
    return true;
}

static bool entries_are_sound(const struct raft_msg *m)
{
    raft_term term = m->log_term;

    for (uint32_t i = 0; i < m->entries_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != m->index + 1 + i || e->term < term || e->term > m->term) {
            return false;
        }
        term = e->term;
    }
    return true;
}

bool follower_hears(struct raft *r, const struct raft_msg *m)
{
    if (r->state == RAFT_LEADER) { /* two leaders in one term */
        r->fx->diverged = true;
        return false;
    }
    if (r->state != RAFT_FOLLOWER || r->leader != m->from) {
        election_follow(r, r->term, m->from, "node # leads this term", m->from);
    }
    r->heard = r->now;
    r->removed = false; /* who is called on takes part again (trap 9) */
    election_timer_reset(r);
    return true;
}

void follower_on_append(struct raft *r, const struct raft_msg *m)
{
    if (!entries_are_sound(m) || !follower_hears(r, m)) {
        return;
    }
    /* What this log has forgotten was committed: every leader's log agrees with it there. */
    bool forgotten = m->index < r->log.base.index;
    if (!forgotten && !rlog_holds(&r->log, m->index, m->log_term)) {
        follower_refuse_append(r, m);
        return;
    }
    if ((!forgotten && rlog_chain(&r->log, m->index) != m->chain) || !take_entries(r, m)) {
        r->fx->diverged = true; /* nothing is acknowledged, the caller stops */
        return;
    }
    raft_index acked = m->index + m->entries_count; /* what was compared, no more (trap 14) */
    raft_index commit = m->commit < acked ? m->commit : acked; /* (trap 15) */
    if (commit > r->commit) { /* then all of it is in this log, or was */
        raft_set_commit(r, commit);
    }
    struct raft_msg *reply = append_reply(r, m);
    reply->index = acked;
    effects_send(r, acked > r->saved || !save_hard_is_durable(r));
}
