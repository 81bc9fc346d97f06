/* The operator: asks random hosts for random changes, so that the cluster keeps between one and
 * seven voters, and (by what the model knows of lost data directories) can always go on. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "raft/membership.h"

typedef unsigned long long ull;

static const char *const kind_names[] = {
    [PEER_CHANGE_ADD] = "add",           [PEER_CHANGE_PROMOTE] = "promote",
    [PEER_CHANGE_DEMOTE] = "demote",     [PEER_CHANGE_REMOVE] = "remove",
    [PEER_CHANGE_TRANSFER] = "transfer",
};

/* ---- What is under way ---- */

static bool may_shrink(const struct sim *s, const struct sim_change *c)
{
    bool shrinks = c->want.kind == PEER_CHANGE_DEMOTE || c->want.kind == PEER_CHANGE_REMOVE ||
                   c->want.replaces != 0;
    /* A task outlives the request that nobody repeats any more. */
    bool over = c->over_at != SIM_NEVER && s->now > c->over_at + sim_timeouts(s, 12);

    return shrinks && c->may_act && !over;
}

uint32_t operator_shrinks(const struct sim *s)
{
    uint32_t n = 0;

    for (uint32_t i = s->changes_count; i > 0 && s->changes_count - i < 64; i--) {
        n += may_shrink(s, &s->changes[i - 1]);
    }
    return n;
}

/* May one more be asked for, that takes a voter away? Half of those left must never depend on a
 * data directory that is gone. */
static bool shrink_is_safe(const struct sim *s, raft_id id)
{
    const struct sim_members *now = members_now(s);
    uint32_t voters, dead = 0;

    if (!now) {
        return false;
    }
    voters = now->voters;
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        dead += now->of[i].role != 0 && now->of[i].store->gone && i != id - 1;
    }
    return dead == 0 || voters >= operator_shrinks(s) + 1 + 2 * dead + 1;
}

static bool any_is_gone(const struct sim *s)
{
    const struct sim_members *now = members_now(s);

    for (uint32_t i = 0; now && i < s->knobs.hosts; i++) {
        if (now->of[i].role != 0 && now->of[i].store->gone) {
            return true;
        }
    }
    return false;
}

/* ---- Whom ---- */

static raft_id pick(struct sim *s, enum raft_role role)
{
    const struct sim_members *now = members_now(s);
    uint32_t start = (uint32_t)sim_range(s, 0, s->knobs.hosts);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        uint32_t at = (start + i) % s->knobs.hosts;
        if (now && now->of[at].role == role) {
            return at + 1;
        }
    }
    return start + 1;
}

static raft_id leader_id(const struct sim *s)
{
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        if (host_is_up(&s->hosts[i]) && s->hosts[i].view.state == RAFT_LEADER) {
            return i + 1;
        }
    }
    return 1;
}

static raft_id pick_any(struct sim *s)
{
    return (raft_id)sim_range(s, 1, s->knobs.hosts + 1);
}

static void address_of(struct peer_change *c, raft_id id)
{
    (void)snprintf(c->address, sizeof c->address, "10.0.0.%u:7400", id);
}

/* ---- What ---- */

static bool want_add(struct sim *s, struct peer_change *c)
{
    c->id = sim_chance(s, 850000) ? pick(s, (enum raft_role)0) : pick_any(s);
    struct sim_host *h = &s->hosts[c->id - 1];

    address_of(c, sim_chance(s, 950000) ? c->id : pick_any(s));
    c->learner = sim_chance(s, 250000);
    c->no_wait = sim_chance(s, 200000);
    if (!vdisk_is_pristine(&h->store->disk) && sim_chance(s, 800000) && disk_can_go(s, h)) {
        disk_wipe(s, h, sim_chance(s, 500000)); /* as its operator has to */
    }
    if (sim_chance(s, 150000)) {
        c->replaces = sim_chance(s, 800000) ? pick(s, RAFT_VOTER) : pick_any(s);
    }
    if (c->replaces && !shrink_is_safe(s, c->replaces)) {
        c->replaces = 0;
    }
    return true;
}

static bool want_role(struct sim *s, struct peer_change *c)
{
    bool up = c->kind == PEER_CHANGE_PROMOTE;

    c->id = sim_chance(s, 850000) ? pick(s, up ? RAFT_LEARNER : RAFT_VOTER) : pick_any(s);
    if (!up && sim_chance(s, 200000)) {
        c->id = leader_id(s);
    }
    c->force = sim_chance(s, 250000) && !any_is_gone(s);
    return up || shrink_is_safe(s, c->id);
}

static raft_id pick_gone(const struct sim *s)
{
    const struct sim_members *now = members_now(s);

    for (uint32_t i = 0; now && i < s->knobs.hosts; i++) {
        if (now->of[i].role != 0 && now->of[i].store->gone) {
            return i + 1;
        }
    }
    return 0;
}

static bool want_remove(struct sim *s, struct peer_change *c)
{
    uint64_t dice = sim_range(s, 0, 10);
    raft_id gone = pick_gone(s);

    c->id = dice < 5 ? pick(s, RAFT_VOTER) : dice < 8 ? leader_id(s) : pick_any(s);
    c->id = gone && sim_chance(s, 700000) ? gone : c->id;
    c->force = sim_chance(s, 200000) && !any_is_gone(s);
    return shrink_is_safe(s, c->id);
}

static bool want_transfer(struct sim *s, struct peer_change *c)
{
    uint64_t dice = sim_range(s, 0, 10);

    c->id = dice < 4 ? 0 : dice < 8 ? pick(s, RAFT_VOTER) : pick_any(s);
    c->no_wait = sim_chance(s, 200000);
    return true;
}

static bool want_something(struct sim *s, struct peer_change *c)
{
    const struct sim_members *now = members_now(s);
    uint32_t voters = now ? now->voters : 0;
    uint64_t dice = sim_range(s, 0, 100);
    uint64_t add = voters < 3 ? 45 : voters < 6 ? 30 : 15;
    uint64_t remove = voters < 3 ? 8 : voters < 5 ? 18 : 30;

    if (dice < add) {
        c->kind = PEER_CHANGE_ADD;
        return want_add(s, c);
    }
    if (dice < add + remove) {
        c->kind = PEER_CHANGE_REMOVE;
        return want_remove(s, c);
    }
    if (dice < add + remove + 16) {
        c->kind = sim_chance(s, 550000) ? PEER_CHANGE_PROMOTE : PEER_CHANGE_DEMOTE;
        return want_role(s, c);
    }
    c->kind = PEER_CHANGE_TRANSFER;
    return want_transfer(s, c);
}

/* ---- Asking ---- */

static struct sim_host *pick_host(struct sim *s)
{
    struct sim_host *h = &s->hosts[sim_range(s, 0, s->knobs.hosts)];

    if (sim_chance(s, 300000)) {
        h = &s->hosts[leader_id(s) - 1];
    } else if (sim_chance(s, 500000)) {
        h = &s->hosts[pick(s, RAFT_VOTER) - 1];
    }
    return host_is_up(h) && h->paused_until <= s->now && !h->retiring ? h : NULL;
}

/* Keep the request before it is asked: what it does may come before its answer. */
static struct sim_change *change_new(struct sim *s, const struct peer_change *want, uint64_t op)
{
    if (s->changes_count == s->changes_capacity) {
        s->changes_capacity = s->changes_capacity ? s->changes_capacity * 2 : 32;
        s->changes = mem_realloc(s->changes, s->changes_capacity * sizeof *s->changes);
    }
    struct sim_change *c = &s->changes[s->changes_count++];
    *c = (struct sim_change){.want = *want,
                             .op = op,
                             .asked_at = s->now,
                             .committed_before = s->committed_count,
                             .over_at = SIM_NEVER,
                             .may_act = true};
    return c;
}

static void ask(struct sim *s, struct sim_host *h, const struct peer_change *want,
                uint64_t patience_ms, int client)
{
    uint64_t op = client_change(s, h, client);

    (void)change_new(s, want, op);
    s->ops[op].change = s->changes_count - 1;
    sim_trace(s, h, "is asked: operation %llu, %s %u%s%s%s, replaces %u", (ull)op,
              kind_names[want->kind], want->id, want->force ? " by force" : "",
              want->learner ? " as a learner" : "", want->no_wait ? " without waiting" : "",
              want->replaces);
    client_change_start(s, h, op, want, patience_ms);
}

void operator_act(struct sim *s)
{
    struct peer_change want = {0};
    uint64_t patience = sim_range(s, 1, sim_timeouts(s, sim_chance(s, 200000) ? 30 : 6) / 1000);

    if (s->open_count + 8 > SIM_OPEN_MAX || !want_something(s, &want)) {
        return;
    }
    struct sim_host *h = pick_host(s);
    if (!h) {
        return;
    }
    if (sim_chance(s, 60000)) {
        sim_push(s, SIM_EV_CANCEL, s->now + sim_range(s, 100, sim_timeouts(s, 3)), 0)->number =
            s->ops_count;
    }
    if (nemesis_aims(s) && sim_chance(s, 400000)) {
        raft_id at = want.id && sim_chance(s, 500000) ? want.id : leader_id(s);
        sim_push(s, SIM_EV_AIM, s->now + sim_range(s, 0, sim_timeouts(s, 0.7)), (uint8_t)(at - 1));
    }
    s->stats.changes++;
    ask(s, h, &want, patience, SIM_BY_OPERATOR);
}

/* ---- After the faults ---- */

static struct sim_host *pick_member(struct sim *s)
{
    const struct sim_members *now = members_now(s);
    uint32_t start = (uint32_t)sim_range(s, 0, s->knobs.hosts);

    for (uint32_t i = 0; now && i < s->knobs.hosts; i++) {
        struct sim_host *h = &s->hosts[(start + i) % s->knobs.hosts];
        if (host_is_up(h) && members_has(now, h) && h->view.state != RAFT_UNCONFIGURED) {
            return h;
        }
    }
    return NULL;
}

/* Its data directory is lost: it is removed. */
static bool want_repair(struct sim *s, struct peer_change *want)
{
    const struct sim_members *now = members_now(s);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        if (now->of[i].role != 0 && now->of[i].store != s->hosts[i].store) {
            *want = (struct peer_change){.kind = PEER_CHANGE_REMOVE, .id = i + 1};
            return true;
        }
    }
    return false;
}

/* A voter leaves, or a learner when there is but one voter. */
static bool want_final_remove(struct sim *s, struct peer_change *want)
{
    const struct sim_members *now = members_now(s);
    raft_id id = pick(s, now->voters > 1 ? RAFT_VOTER : RAFT_LEARNER);
    bool can = now->voters > 1 || now->of[id - 1].role == RAFT_LEARNER;

    if (!can) {
        s->final_steps = 0; /* one member, and nobody else in this world */
    }
    *want = (struct peer_change){.kind = PEER_CHANGE_REMOVE, .id = id};
    return can;
}

/* Nobody may be added with what this host has: it has data, or was removed before it got any. */
static bool has_to_be_emptied(const struct sim_host *by, const struct sim_host *h)
{
    return !vdisk_is_pristine(&h->store->disk) ||
           membership_tombstone(raft_membership_committed(node_raft(by->node)), h->id,
                                &h->store->id);
}

/* One that needs no data: a spare is added, or a member leaves. */
static bool want_final(struct sim *s, const struct sim_host *by, struct peer_change *want)
{
    const struct sim_members *now = members_now(s);
    raft_id spare = pick(s, (enum raft_role)0);
    struct sim_host *h = &s->hosts[spare - 1];

    if (s->final_steps == 1) {
        *want = (struct peer_change){.kind = PEER_CHANGE_TRANSFER};
        return true;
    }
    if (now->of[spare - 1].role != 0 || (now->voters > 1 && sim_chance(s, 300000))) {
        return want_final_remove(s, want);
    }
    if (!host_is_up(h)) {
        return false;
    }
    if (has_to_be_emptied(by, h)) {
        if (h->stores_count < SIM_STORES_MAX) {
            disk_wipe(s, h, false);
        } else {
            s->final_steps = 0;
        }
        return false;
    }
    *want = (struct peer_change){.kind = PEER_CHANGE_ADD, .id = spare};
    address_of(want, spare);
    return true;
}

void operator_recover(struct sim *s)
{
    struct sim_host *h = pick_member(s);
    struct peer_change want = {0};

    if (s->final_open || !h) {
        return;
    }
    bool repairs = want_repair(s, &want);
    if (!repairs) {
        if (s->final_steps == 0) {
            return;
        }
        if (!recovery_agreed(s, false)) {
            return;
        }
        if (s->final_steps == 1 && members_now(s)->voters == 1) {
            s->final_steps = 0;
            return;
        }
        if (!want_final(s, h, &want)) {
            return;
        }
    }
    s->final_open = true;
    ask(s, h, &want, sim_timeouts(s, 6) / 1000, repairs ? SIM_BY_REPAIR : SIM_BY_FINAL);
}
