/* Changing the membership: one server at a time, by a leader whose word is settled (thesis 4). */

#include "base/err.h"
#include "raft/internal.h"

int change_gate(const struct raft *r, struct raft_reason *why)
{
    const struct raft_membership *m = raft_in_force(r);

    if (r->state != RAFT_LEADER) {
        return raft_refuse(why, -RD_ENOT_LEADER, "this node does not lead", 0, 0, 0);
    }
    /* Before that an entry of a predecessor may still replace ours, and two changes from one parent
     * could both count (Ongaro's correction of 2015, trap 1). */
    if (r->commit < r->term_start) {
        return raft_refuse(why, -RD_ENOT_READY, "the leader has not committed in its term # yet",
                           r->term, 0, 0);
    }
    if (m->index > r->commit) {
        return raft_refuse(
            why, -RD_ECHANGE_PENDING,
            "the change at index # is not committed yet, the commit index is #: try again",
            m->index, r->commit, 0);
    }
    if (r->transfer.phase) {
        return raft_refuse(why, -RD_ETRANSFER,
                           "leadership is being handed over to node #: try again",
                           r->transfer.target, 0, 0);
    }
    return 0;
}

/* Does it have all that this leader had one election timeout ago (thesis 4.2.1)? */
static bool has_caught_up(const struct raft *r, const struct progress *p)
{
    return p && p->had_all_at && r->now < p->had_all_at + r->config.election_timeout_ms;
}

/* Of a round as young as this nobody can say yet that it was too long: not of one who was added just
 * now, not after a snapshot, not in a new term. Its end is near, whatever it is. */
static bool round_is_open(const struct raft *r, const struct progress *p)
{
    bool is_down = p->contact && !progress_answers(p);

    return !is_down && r->now < p->round_began + r->config.election_timeout_ms;
}

static int check_caught_up(const struct raft *r, const struct raft_change *c,
                           struct raft_reason *why)
{
    const struct progress *p = leader_peer(r, c->id);

    if (c->kind != RAFT_CHANGE_PROMOTE || c->force || has_caught_up(r, p)) {
        return 0;
    }
    if (p && round_is_open(r, p)) {
        return raft_refuse(why, -RD_ENOT_READY,
                           "node # has # of # entries, and may catch up within this round", c->id,
                           p->match, r->log.last);
    }
    return raft_refuse(
        why, -RD_ENOT_CAUGHT_UP,
        "node # has # of # entries, and has not caught up within one election timeout", c->id,
        p ? p->match : 0, r->log.last);
}

/* A claim that was told before its leader knew this member, and how soon that one forgets a leader, would
 * outlive what it remembers: two new voters could elect another leader meanwhile (trap 53). */
static int check_claims(const struct raft *r, const struct raft_change *c, struct raft_reason *why)
{
    uint32_t live = claims_live(r), lease = leader_lease_ms(r);

    if (c->kind != RAFT_CHANGE_PROMOTE || live <= lease) {
        return 0;
    }
    return raft_refuse(why, -RD_ENOT_READY,
                       "claims to lead that were told live for # ms, and a lease by the shortest "
                       "election timeout of a member for # ms: try again",
                       live, lease, 0);
}

/* One that does not answer is never made a voter, forced or not: it could only be in the way. */
static int check_answers(const struct raft *r, const struct raft_change *c, struct raft_reason *why)
{
    const struct progress *p = leader_peer(r, c->id);

    if (c->kind != RAFT_CHANGE_PROMOTE || !p ||
        progress_heard_within(p, r->config.election_timeout_ms, r->now)) {
        return 0;
    }
    if (p->contact == 0 && round_is_open(r, p)) {
        return raft_refuse(why, -RD_ENOT_READY, "node # has not been heard yet in term #", c->id,
                           r->term, 0);
    }
    if (p->contact && !progress_answers(p)) {
        return raft_refuse(why, -RD_EUNREACHABLE,
                           "the link to node # is down, it was last heard # ms ago", c->id,
                           r->now - p->contact, 0);
    }
    return p->contact ? raft_refuse(why, -RD_EUNREACHABLE, "node # has not been heard for # ms",
                                    c->id, r->now - p->contact, 0)
                      : raft_refuse(why, -RD_EUNREACHABLE, "node # has not been heard in this term",
                                    c->id, 0, 0);
}

/* Voters of whom a leader this young cannot tell yet whether they answer. */
static uint32_t unheard_voters(const struct raft *r, const struct raft_membership *m)
{
    bool young = r->now < r->leader_since + r->config.election_timeout_ms;
    uint32_t unheard = 0;

    for (uint32_t i = 0; i < m->members_count && young; i++) {
        const struct progress *p = leader_peer(r, m->members[i].id);
        unheard += p && p->contact == 0 && m->members[i].role == RAFT_VOTER;
    }
    return unheard;
}

/* Enough voters that answer have to be left. */
static int check_quorum(const struct raft *r, const struct raft_change *c,
                        const struct raft_membership *next, struct raft_reason *why)
{
    uint32_t live = leader_live_voters(r, next, r->now);
    uint32_t need = membership_quorum(next);
    bool shrinks = c->kind != RAFT_CHANGE_PROMOTE;

    if (c->kind == RAFT_CHANGE_ADD || live >= need || (shrinks && c->force)) {
        return 0;
    }
    if (live + unheard_voters(r, next) >= need) {
        return raft_refuse(why, -RD_ENOT_READY, "only # of # voters have been heard yet in term #",
                           live, membership_voters(next), r->term);
    }
    return raft_refuse(
        why, -RD_EWOULD_LOSE_QUORUM,
        shrinks ? "# of the # voters left would answer, # are needed: --force does it all "
                  "the same"
                : "# of then # voters would answer, # are needed",
        live, membership_voters(next), need);
}

/* A leader does not remove or demote itself: its successor does (trap 10). */
static int check_self(const struct raft *r, const struct raft_change *c, struct raft_reason *why)
{
    if (c->id != r->config.id) {
        return 0;
    }
    return raft_refuse(why, -RD_EHAND_OVER, "node # leads: it has to hand over first", c->id, 0, 0);
}

static void append_membership(struct raft *r, const struct raft_membership *next)
{
    struct blob *data = membership_encode(next);

    rd_assert(r->log.last + 1 == next->index);
    leader_append(r, RAFT_ENTRY_MEMBERSHIP, data);
    blob_unref(data);
}

static int change(struct raft *r, const struct raft_change *c, struct raft_reason *why)
{
    struct raft_membership *next = mem_dup(raft_in_force(r), sizeof *next);
    int code = membership_refuses(next, c, why);

    if (code == 0) {
        membership_apply(next, c, r->log.last + 1);
        code = check_caught_up(r, c, why);
        code = code ? code : check_answers(r, c, why);
        code = code ? code : check_quorum(r, c, next, why);
        code = code ? code : check_self(r, c, why);
        code = code ? code : check_claims(r, c, why);
    }
    if (code == 0) {
        append_membership(r, next);
        r->fx->change_index = next->index;
    }
    mem_free(next);
    return code;
}

void change_request(struct raft *r, const struct raft_change *c)
{
    struct raft_reason why = {0};
    int code = change_gate(r, &why);

    code = code ? code : change(r, c, &why);
    effects_refuse(r, code, &why);
}

/* The flag stands in the entry, so whoever leads keeps the promise. */
void change_auto_promote(struct raft *r)
{
    const struct raft_membership *m = raft_in_force(r);
    struct raft_reason why;

    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct raft_member *member = &m->members[i];
        if (member->auto_promote && has_caught_up(r, leader_peer(r, member->id)) &&
            change_gate(r, &why) == 0) {
            const struct raft_change promote = {.kind = RAFT_CHANGE_PROMOTE, .id = member->id};
            if (change(r, &promote, &why) == 0) {
                return; /* one at a time; and `m` is another now */
            }
        }
    }
}
