/* Who belongs to the cluster: every membership that ever stood in a log, and the committed ones. */
#include "sim.h"

#include <string.h>

#include "base/err.h"
#include "raft/membership.h"

typedef unsigned long long ull;

static const struct sim_store *store_by_id(struct sim *s, raft_id id, const struct uuid *store)
{
    if (id == 0 || id > s->knobs.hosts || store->bytes[0] != id || store->bytes[1] == 0 ||
        store->bytes[1] > s->hosts[id - 1].stores_count) {
        sim_violation(s, NULL, "invariant 13: a membership binds node %u to a store nobody has",
                      id);
    }
    return &s->hosts[id - 1].stores[store->bytes[1] - 1];
}

void members_read(struct sim *s, const struct raft_membership *m, struct sim_members *out)
{
    *out = (struct sim_members){.index = m->index, .over_at = SIM_NEVER};
    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct raft_member *member = &m->members[i];
        const struct sim_store *store = store_by_id(s, member->id, &member->store);

        out->of[member->id - 1].role = member->role;
        out->of[member->id - 1].auto_promote = member->auto_promote;
        out->of[member->id - 1].session = member->session;
        out->of[member->id - 1].store = store;
        out->voters += member->role == RAFT_VOTER;
    }
}

const struct sim_members *members_now(const struct sim *s)
{
    return s->committed_count ? &s->committed[s->committed_count - 1] : NULL;
}

bool members_has(const struct sim_members *m, const struct sim_host *h)
{
    return m->of[h->id - 1].role != 0 && m->of[h->id - 1].store == h->store;
}

/* ---- 9, 13: counted by data directory ---- */

uint32_t members_durable(const struct sim_members *m, raft_index index, raft_term term,
                         const struct raft_entry **out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < SIM_HOSTS_MAX; i++) {
        const struct raft_entry *e =
            m->of[i].role == RAFT_VOTER ? vdisk_entry(&m->of[i].store->disk, index) : NULL;

        if (e && e->term == term) {
            *out = e;
            n++;
        }
    }
    return n;
}

uint32_t members_votes(const struct sim_members *m, raft_term term, raft_id candidate)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < SIM_HOSTS_MAX; i++) {
        const struct sim_store *store = m->of[i].store;
        bool own = i == candidate - 1;

        if (m->of[i].role == RAFT_VOTER) {
            n += own ? store->disk.term == term && store->disk.vote == candidate
                     : store->votes[term] == candidate;
        }
    }
    return n;
}

/* ---- 12: one at a time ---- */

static const struct raft_entry *entry_of(const struct sim_host *h, const struct raft_save *save,
                                         raft_index index)
{
    return index >= save->first ? &save->entries[index - save->first]
                                : vdisk_entry(&h->store->disk, index);
}

static bool membership_before(const struct sim *s, const struct sim_host *h,
                              const struct raft_save *save, raft_index index,
                              struct raft_entry *out)
{
    const struct raft_point *base = save->base_set ? &save->base : &h->store->disk.base;

    while (--index > base->index) {
        const struct raft_entry *e = entry_of(h, save, index);
        if (e->type == RAFT_ENTRY_MEMBERSHIP) {
            *out = *e;
            return true;
        }
    }
    *out = (struct raft_entry){.index = base->membership_index, .data = base->membership};
    if (base->membership) {
        out->term = s->commits[out->index - 1].term;
    }
    return base->membership;
}

static void decode(struct sim *s, const struct sim_host *h, const struct raft_entry *e,
                   struct raft_membership *raw, struct sim_members *out)
{
    if (!e->data || membership_decode(e->data->data, e->data->size, e->index, raw)) {
        sim_violation(s, h, "index %llu holds a membership that cannot be decoded", (ull)e->index);
    }
    members_read(s, raw, out);
    out->term = e->term;
}

static uint32_t voters_that_differ(const struct sim_members *a, const struct sim_members *b)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < SIM_HOSTS_MAX; i++) {
        bool in_a = a->of[i].role == RAFT_VOTER, in_b = b->of[i].role == RAFT_VOTER;
        n += in_a != in_b || (in_a && a->of[i].store != b->of[i].store);
    }
    return n;
}

static void check_neighbours(struct sim *s, const struct sim_host *h, const struct sim_members *a,
                             const struct sim_members *b)
{
    uint32_t changed = 0;

    if (voters_that_differ(a, b) > 1) {
        sim_violation(s, h, "invariant 12: the memberships at %llu and %llu differ by %u voters",
                      (ull)a->index, (ull)b->index, voters_that_differ(a, b));
    }
    for (uint32_t i = 0; i < SIM_HOSTS_MAX; i++) {
        changed += a->of[i].role != b->of[i].role || a->of[i].store != b->of[i].store ||
                   a->of[i].session != b->of[i].session ||
                   a->of[i].auto_promote != b->of[i].auto_promote;
    }
    if (changed != 1 || b->voters == 0) {
        sim_violation(s, h, "invariant 12: the membership at %llu changes %u members, %u voters",
                      (ull)b->index, changed, b->voters);
    }
    if (a->index > s->commits_count) {
        sim_violation(s, h,
                      "invariant 12: memberships at %llu and %llu in one log, committed is %llu",
                      (ull)a->index, (ull)b->index, (ull)s->commits_count);
    }
}

static void check_tombstones(struct sim *s, const struct sim_host *h,
                             const struct raft_membership *raw)
{
    for (uint32_t i = 0; i < raw->members_count; i++) {
        const struct raft_member *m = &raw->members[i];
        if (membership_tombstone(raw, m->id, &m->store)) {
            sim_violation(s, h,
                          "invariant 13: the store of node %u was removed and is back at %llu",
                          m->id, (ull)raw->index);
        }
    }
}

static struct sim_members *list_add(struct sim_members **list, uint32_t *count, uint32_t *capacity)
{
    if (*count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 16;
        *list = mem_realloc(*list, *capacity * sizeof **list);
    }
    return &(*list)[(*count)++];
}

void members_proposed(struct sim *s, struct sim_host *h, const struct raft_entry *e,
                      const struct raft_save *save)
{
    static struct raft_membership raw;
    struct raft_entry before;
    bool has_before = membership_before(s, h, save, e->index, &before);
    struct sim_members old;
    struct sim_members *m = list_add(&s->proposed, &s->proposed_count, &s->proposed_capacity);

    if (has_before) {
        decode(s, h, &before, &raw, &old);
    }
    decode(s, h, e, &raw, m);
    check_tombstones(s, h, &raw);
    if (has_before) {
        check_neighbours(s, h, &old, m);
    }
}

/* ---- What is committed ---- */

static void trace_members(struct sim *s, const struct sim_host *h, const struct sim_members *m)
{
    struct buf text = BUF_INIT;

    for (uint32_t i = 0; s->verbose && i < s->knobs.hosts; i++) {
        if (m->of[i].role != 0) {
            buf_printf(&text, " %u%s/%u", i + 1,
                       m->of[i].role == RAFT_VOTER ? ""
                       : m->of[i].auto_promote     ? "(learner, to be promoted)"
                                                   : "(learner)",
                       m->of[i].store->id.bytes[1]);
        }
    }
    if (s->verbose) {
        sim_trace(s, h, "commits the membership at %llu:%s", (ull)m->index, buf_str(&text));
    }
    buf_done(&text);
}

/* What a removed member asked is forgotten: who comes back under its id counts from 1 again. */
static void forget_origins(struct sim *s, const struct raft_membership *raw)
{
    for (uint32_t i = 0; i < raw->tombstones_count; i++) {
        if (raw->tombstones[i].index == raw->index) {
            mem_free(s->origins[raw->tombstones[i].id].applied);
            s->origins[raw->tombstones[i].id] = (struct sim_origin){0};
        }
    }
}

void members_committed(struct sim *s, const struct sim_host *h, const struct raft_entry *e)
{
    static struct raft_membership raw;
    struct sim_members *m = list_add(&s->committed, &s->committed_count, &s->committed_capacity);

    decode(s, h, e, &raw, m);
    forget_origins(s, &raw);
    trace_members(s, h, m);
    for (uint32_t i = 0; i < s->proposed_count; i++) {
        struct sim_members *p = &s->proposed[i];
        if (p->over_at == SIM_NEVER && p->index < m->index) {
            p->over_at = s->now;
        }
    }
    if (s->committed_count > 1) {
        m[-1].over_at = s->now;
        outcome_committed(s, h, &m[-1], m);
    }
}
