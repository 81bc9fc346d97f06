/* The invariants, by their numbers in the design's testing chapter, after every turn, at every
 * message that leaves and at every save. */
#include "sim.h"

#include <string.h>

#include "base/err.h"
#include "raft/membership.h"

typedef unsigned long long ull;

/* ---- History of all entries ever seen: 6, log matching ---- */

static void slot_remember(struct sim *s, struct sim_host *h, const struct raft_entry *e,
                          const struct raft_save *save)
{
    while (e->index >= s->slots_count) {
        uint64_t count = s->slots_count ? s->slots_count * 2 : 256;

        s->slots = mem_realloc(s->slots, count * sizeof *s->slots);
        memset(s->slots + s->slots_count, 0, (count - s->slots_count) * sizeof *s->slots);
        s->slots_count = count;
    }
    struct sim_slot *slot = &s->slots[e->index];
    for (uint32_t i = 0; i < slot->count; i++) {
        if (slot->seen[i].term == e->term) {
            if (slot->seen[i].chain != e->chain) {
                sim_violation(s, h,
                              "invariant 6: two logs differ at or before index %llu term %llu",
                              (ull)e->index, (ull)e->term);
            }
            return;
        }
    }
    slot->seen = mem_realloc(slot->seen, (slot->count + 1) * sizeof *slot->seen);
    slot->seen[slot->count].term = e->term;
    slot->seen[slot->count].chain = e->chain;
    slot->count++;
    if (e->type == RAFT_ENTRY_MEMBERSHIP) {
        members_proposed(s, h, e, save);
    }
}

/* ---- Start ---- */

static void view_get(const struct sim_host *h, struct raft_view *v)
{
    raft_view_get(node_raft(h->node), v);
}

void check_started(struct sim *s, struct sim_host *h)
{
    view_get(h, &h->view);
    if (h->view.term < h->store->disk.term ||
        (h->view.term == h->store->disk.term && h->view.vote != h->store->disk.vote) ||
        h->view.last != states_durable(h->store)) {
        sim_violation(s, h,
                      "invariant 4: restarted with term %llu vote %u last %llu, its disk has %llu "
                      "%u %llu",
                      (ull)h->view.term, h->view.vote, (ull)h->view.last, (ull)h->store->disk.term,
                      h->store->disk.vote, (ull)states_durable(h->store));
    }
}

/* ---- 1, 5, 7: leaders ---- */

static void check_leader(struct sim *s, struct sim_host *h, const struct raft_view *v)
{
    const struct raft *r = node_raft(h->node);

    if (h->view.state == RAFT_LEADER && h->view.term == v->term) {
        if (v->last < h->view.last) {
            sim_violation(s, h, "invariant 5: a leader's log went from %llu back to %llu",
                          (ull)h->view.last, (ull)v->last);
        }
        return;
    }
    s->stats.elections++;
    sim_trace(s, h, "leads term %llu", (ull)v->term);
    if (s->leader_of[v->term] != 0) {
        sim_violation(s, h, "invariant 1: leads term %llu, which node %u has led", (ull)v->term,
                      s->leader_of[v->term]);
    }
    s->leader_of[v->term] = h->id;
    uint32_t votes = members_votes(&h->force, v->term, h->id);
    if (!membership_is_voter(raft_membership(r), h->id) || votes < h->force.voters / 2 + 1) {
        sim_violation(s, h, "invariant 13: leads term %llu by %u votes of %u voters", (ull)v->term,
                      votes, h->force.voters);
    }
    /* What later terms committed does not concern it: it was elected earlier than it knows. */
    uint64_t last = s->commits_count;
    while (last > 0 && s->commits[last - 1].committed_in >= v->term) {
        last--;
    }
    if (last > 0 && (v->last < last || raft_term_at(r, last) != s->commits[last - 1].term)) {
        sim_violation(s, h,
                      "invariant 7: leads term %llu without the committed entry %llu of term %llu",
                      (ull)v->term, (ull)last, (ull)s->commits[last - 1].term);
    }
}

static void check_terms(struct sim *s, struct sim_host *h, const struct raft_view *v)
{
    if (v->term >= SIM_TERMS_MAX) {
        sim_violation(s, h, "term %llu: elections without bound", (ull)v->term);
    }
    if (v->term < h->view.term ||
        (v->term == h->view.term && h->view.vote != 0 && v->vote != h->view.vote)) {
        sim_violation(s, h, "invariant 4: term %llu vote %u became term %llu vote %u",
                      (ull)h->view.term, h->view.vote, (ull)v->term, v->vote);
    }
    if (v->state == RAFT_LEADER) {
        check_leader(s, h, v);
    }
    if (v->leader != 0 && s->leader_of[v->term] != v->leader) {
        sim_violation(s, h, "trap 32: takes node %u for the leader of term %llu", v->leader,
                      (ull)v->term);
    }
}

/* ---- 9, 10: commit ---- */

/* `before`: the membership in force when the turn began, which may have counted. */
static void check_new_commits(struct sim *s, struct sim_host *h, const struct raft_view *v,
                              const struct sim_members *before)
{
    const struct raft *r = node_raft(h->node);
    raft_term leading = v->state == RAFT_LEADER ? v->term : 0;

    if (!leading && h->view.state == RAFT_LEADER) {
        leading = h->view.term; /* committed, then stepped down, in one turn */
    }
    if (!leading || raft_term_at(r, v->commit) != leading) {
        sim_violation(
            s, h,
            "invariant 9: commits index %llu of term %llu as the first, not as the leader "
            "of that term",
            (ull)v->commit, (ull)raft_term_at(r, v->commit));
    }
    while (s->commits_count < v->commit) {
        raft_index index = s->commits_count + 1;
        const struct raft_entry *e = NULL;
        raft_term term = raft_term_at(r, index);
        uint32_t n = members_durable(&h->force, index, term, &e);
        uint32_t n_before = members_durable(before, index, term, &e);
        bool counts = n > h->force.voters / 2 || n_before > before->voters / 2;

        if (!counts || !e) {
            sim_violation(
                s, h, "invariant 9: commits index %llu of term %llu, durable on %u of %u voters",
                (ull)index, (ull)term, n, h->force.voters);
        }
        model_commit(s, h, e, leading);
    }
}

static void check_commit(struct sim *s, struct sim_host *h, const struct raft_view *v,
                         const struct sim_members *before)
{
    const struct raft *r = node_raft(h->node);

    if (v->commit < h->view.commit || v->commit > v->last) {
        sim_violation(s, h, "invariant 10: commit went from %llu to %llu, last is %llu",
                      (ull)h->view.commit, (ull)v->commit, (ull)v->last);
    }
    if (v->commit > s->commits_count) {
        check_new_commits(s, h, v, before);
    }
    for (raft_index i = h->view.commit + 1; i <= v->commit; i++) {
        if (i < v->base) {
            continue; /* it came with a snapshot */
        }
        if (raft_term_at(r, i) != s->commits[i - 1].term) {
            sim_violation(s, h, "invariant 10: commits index %llu with term %llu, not %llu", (ull)i,
                          (ull)raft_term_at(r, i), (ull)s->commits[i - 1].term);
        }
    }
}

/* ---- 8, 11: the state ---- */

static void check_state(struct sim *s, struct sim_host *h, const struct raft_view *v)
{
    const struct state *state = node_state(h->node);
    raft_index applied = state_index(state);

    if (applied < h->applied || applied > v->commit) {
        sim_violation(s, h, "invariant 11: applied went from %llu to %llu, commit is %llu",
                      (ull)h->applied, (ull)applied, (ull)v->commit);
    }
    if (applied == h->applied || applied == 0) {
        return;
    }
    h->applied = applied;
    struct sim_commit *c = &s->commits[applied - 1];
    if (state_revision(state) != c->revision) {
        sim_violation(s, h, "invariant 11: revision %llu at index %llu, the model has %llu",
                      (ull)state_revision(state), (ull)applied, (ull)c->revision);
    }
    if (!c->digest_known) {
        c->digest = state_digest(state);
        c->digest_known = true;
    } else if (c->digest != state_digest(state)) {
        sim_violation(s, h, "invariant 8: the digest at index %llu differs from another node's",
                      (ull)applied);
    }
}

/* ---- What is shown ---- */

/* What users are told must agree with the core. */
static void check_public(struct sim *s, struct sim_host *h, const struct raft_view *v)
{
    struct node_public p;
    struct node_stats stats;

    node_public_get(h->node, host_clock(s, h), &p);
    uint32_t claim = raft_claim_remaining(node_raft(h->node), host_clock(s, h));
    if (p.is_leader != (claim > 0) || p.lease_remaining_ms > claim) {
        sim_violation(s, h, "says is_leader %d with %u ms left, the claim is %u ms", p.is_leader,
                      p.lease_remaining_ms, claim);
    }
    if (p.leader != 0 && (p.leader != v->leader || p.fence != v->term)) {
        sim_violation(s, h, "says that node %u leads with fence %llu in term %llu of node %u",
                      p.leader, (ull)p.fence, (ull)v->term, v->leader);
    }
    node_stats_get(h->node, &stats);
    if (stats.writes_open + stats.reads_open > SIM_OPEN_MAX * s->knobs.hosts) {
        sim_violation(s, h, "invariant 17: %u writes and %u reads open, %u were asked for",
                      stats.writes_open, stats.reads_open, s->open_count);
    }
}

/* Does it know that it was removed? */
static bool is_removed(const struct sim_host *h)
{
    struct raft_view v;

    view_get(h, &v);
    return v.removed ||
           (h->force.index != 0 && v.state == RAFT_FOLLOWER && h->force.of[h->id - 1].role == 0 &&
            membership_tombstone(raft_membership(node_raft(h->node)), h->id, &h->store->id));
}

/* The membership in force, translated when it is another. */
static void take_membership(struct sim *s, struct sim_host *h)
{
    const struct raft_membership *m = raft_membership(node_raft(h->node));
    raft_term term = raft_term_at(node_raft(h->node), m->index);

    if (m->index != h->force.index || term != h->force.term) {
        members_read(s, m, &h->force);
        h->force.term = term;
    }
}

void check_turn(struct sim *s, struct sim_host *h)
{
    const struct sim_members before = h->force;
    struct raft_view v;

    view_get(h, &v);
    take_membership(s, h);
    check_terms(s, h, &v);
    check_commit(s, h, &v, &before);
    check_state(s, h, &v);
    claims_check(s, h, &v);
    if (v.state != h->view.state) {
        sim_trace(s, h, "is %s in term %llu", msgs_state_name(v.state), (ull)v.term);
        check_public(s, h, &v);
    } else if (s->stats.turns % 16 == 0) {
        check_public(s, h, &v);
    }
    h->view = v;
    h->knew_removed = is_removed(h);
}

/* ---- 2, 3: what leaves ---- */

static void check_vote(struct sim *s, struct sim_host *h, raft_term term, raft_id candidate)
{
    raft_id *vote = &h->store->votes[term];

    /* A later term that is durable protects an earlier vote as well: that term is over here. */
    if (h->told_term < term || (h->told_term == term && h->told_vote != candidate)) {
        sim_violation(
            s, h, "invariant 3: a vote for %u in term %llu leaves, durable is term %llu vote %u",
            candidate, (ull)term, (ull)h->told_term, h->told_vote);
    }
    if (*vote != 0 && *vote != candidate) {
        sim_violation(s, h, "invariant 2: votes for %u in term %llu after it voted for %u",
                      candidate, (ull)term, *vote);
    }
    *vote = candidate;
}

static void check_append(struct sim *s, struct sim_host *h, const struct raft_msg *m)
{
    const struct raft_config *c = &s->config.raft;
    uint64_t bytes = 0;

    if (s->leader_of[m->term] == 0) {
        s->leader_of[m->term] = h->id; /* it led and gave up within one turn */
    }
    if (s->leader_of[m->term] != h->id) {
        sim_violation(s, h, "invariant 1: an append of term %llu by a node that does not lead it",
                      (ull)m->term);
    }
    for (uint32_t i = 0; i < m->entries_count; i++) {
        bytes += m->entries[i].data ? m->entries[i].data->size : 0;
    }
    if (m->hint > host_durable(h)) {
        sim_violation(s, h, "invariant 3: says that index %llu is durable, %llu is", (ull)m->hint,
                      (ull)host_durable(h));
    }
    if (m->entries_count > c->append_entries_max ||
        (m->entries_count > 1 && bytes > c->append_bytes_max)) {
        sim_violation(s, h, "invariant 17: an append with %u entries and %llu bytes",
                      m->entries_count, (ull)bytes);
    }
}

void check_send(struct sim *s, struct sim_host *h, const struct node_send *send)
{
    const struct raft_msg *m = &send->msg.raft;

    h->spoke_at = s->now;
    if (send->msg.type != PEER_RAFT) {
        return;
    }
    if (m->from != h->id || m->to != send->to || m->term >= SIM_TERMS_MAX) {
        sim_violation(s, h, "sends a message from %u to %u of term %llu to %u", m->from, m->to,
                      (ull)m->term, send->to);
    }
    bool asks = m->type == RAFT_MSG_PRE_VOTE || (m->type == RAFT_MSG_PRE_VOTE_REPLY && !m->reject);
    if (!asks && m->term > h->told_term) {
        sim_violation(s, h, "invariant 3: %s of term %llu leaves, durable is term %llu",
                      msgs_type_name(m->type), (ull)m->term, (ull)h->told_term);
    }
    /* A vote it asked for before may still wait for the disk. */
    if (m->type == RAFT_MSG_PRE_VOTE && h->knew_removed && is_removed(h)) {
        sim_violation(s, h, "trap 46: campaigns in term %llu and knows that it was removed",
                      (ull)m->term);
    }
    switch (m->type) {
    case RAFT_MSG_TIMEOUT_NOW:
        claims_sent(s, h, m);
        break;
    case RAFT_MSG_VOTE:
        check_vote(s, h, m->term, h->id);
        break;
    case RAFT_MSG_VOTE_REPLY:
        if (!m->reject) {
            check_vote(s, h, m->term, m->to);
        }
        break;
    case RAFT_MSG_APPEND:
        check_append(s, h, m);
        break;
    case RAFT_MSG_APPEND_REPLY:
        /* Of an earlier term: nobody who could count it can still make a quorum with it, for those
         * who elected the later term held the entries or refused. */
        if (!m->reject && m->term == h->told_term && m->index > host_durable(h)) {
            sim_violation(s, h, "invariant 3: acknowledges index %llu, durable is %llu",
                          (ull)m->index, (ull)host_durable(h));
        }
        break;
    case RAFT_MSG_SNAPSHOT_REPLY:
        if (m->done && m->term == h->told_term && m->index > host_durable(h)) {
            sim_violation(s, h, "invariant 3: has a snapshot as of %llu, durable is %llu",
                          (ull)m->index, (ull)host_durable(h));
        }
        break;
    case RAFT_MSG_CLAIMS_LEFT:
        claims_left_sent(s, h, m);
        break;
    case RAFT_MSG_SNAPSHOT:
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_PRE_VOTE_REPLY:
    case RAFT_MSG_READ_INDEX:
    case RAFT_MSG_READ_INDEX_REPLY:
    case RAFT_MSG_TIMEOUT_NOW_REPLY:
    case RAFT_MSG_TYPE_COUNT:
    default:
        break;
    }
}

/* ---- Saves ---- */

void check_save_taken(struct sim *s, struct sim_host *h, const struct raft_save *save)
{
    bool leading = h->view.state == RAFT_LEADER;

    if (save->first == 0) {
        return;
    }
    if (save->entries_count == 0) {
        sim_violation(s, h, "a save cuts at %llu and brings nothing", (ull)save->first);
    }
    if (leading && h->taken_term == h->view.term && save->first != h->taken_last + 1) {
        sim_violation(s, h, "invariant 5: the leader of term %llu saves from %llu after %llu",
                      (ull)h->view.term, (ull)save->first, (ull)h->taken_last);
    }
    h->taken_term = leading ? h->view.term : 0;
    h->taken_last = save->first + save->entries_count - 1;
    for (uint32_t i = 0; i < save->entries_count; i++) {
        slot_remember(s, h, &save->entries[i], save);
    }
}

/* What is forgotten was committed, and the state on disk has it (trap 45). */
static void check_base(struct sim *s, struct sim_host *h, const struct raft_save *save)
{
    const struct vdisk *d = &h->store->disk;
    const struct raft_point *base = &save->base;
    raft_index kept = base->index + 1;

    if (base->index > s->commits_count || base->term != s->commits[base->index - 1].term ||
        base->chain != s->commits[base->index - 1].chain) {
        sim_violation(s, h,
                      "invariant 10: the log begins after %llu of term %llu, not committed so",
                      (ull)base->index, (ull)base->term);
    }
    if (h->store->rows.mark.at.index < base->index) {
        sim_violation(s, h, "invariant 11: forgets entries up to %llu, its state is as of %llu",
                      (ull)base->index, (ull)h->store->rows.mark.at.index);
    }
    for (raft_index i = kept; save->reset && i <= vdisk_last(d) && i <= s->commits_count; i++) {
        const struct raft_entry *e = vdisk_entry(d, i);

        if (e && e->chain == s->commits[i - 1].chain) {
            sim_violation(s, h, "trap 39: a snapshot as of %llu drops the committed entry %llu",
                          (ull)base->index, (ull)i);
        }
    }
}

void check_before_write(struct sim *s, struct sim_host *h, const struct raft_save *save)
{
    const struct vdisk *d = &h->store->disk;

    if (save->hard_set && (save->term < d->term ||
                           (save->term == d->term && d->vote != 0 && save->vote != d->vote))) {
        sim_violation(s, h, "invariant 4: term %llu vote %u is written over term %llu vote %u",
                      (ull)save->term, save->vote, (ull)d->term, d->vote);
    }
    raft_index last = vdisk_last(d);
    if (save->base_set) {
        check_base(s, h, save);
        last = save->reset || save->base.index > last ? save->base.index : last;
    }
    if (save->first == 0) {
        return;
    }
    if (save->first > last + 1) {
        sim_violation(s, h, "a save from %llu leaves a gap after %llu", (ull)save->first,
                      (ull)last);
    }
    for (raft_index i = save->first; i <= vdisk_last(d) && i <= s->commits_count; i++) {
        const struct raft_entry *old = vdisk_entry(d, i);
        raft_index at = i - save->first;

        if (old && old->term == s->commits[i - 1].term &&
            (at >= save->entries_count || save->entries[at].term != s->commits[i - 1].term)) {
            sim_violation(s, h, "invariant 10: the committed entry %llu of term %llu is cut",
                          (ull)i, (ull)s->commits[i - 1].term);
        }
    }
}
