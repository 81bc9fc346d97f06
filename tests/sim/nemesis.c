/* The one who breaks things. Each seed allows a random subset of the faults, so that rare
 * combinations are not drowned by the others. */
#include "sim.h"

enum fault {
    FAULT_SPLIT,   /* two halves */
    FAULT_ISOLATE, /* one host alone, the leader by preference */
    FAULT_ONE_WAY, /* one host is deaf, or mute */
    FAULT_BRIDGE,  /* two halves that share one host */
    FAULT_RING,    /* each host reaches only its two neighbours */
    FAULT_PAIR,    /* one direction between two hosts */
    FAULT_PAUSE,
    FAULT_CRASH,
    FAULT_CRASH_ALL,
    FAULT_STALL, /* a disk hangs for a while, or somebody else fills it */
    FAULT_BURST,
    FAULT_WIPE,      /* a data directory is lost */
    FAULT_OLD_DISK,  /* one that was there before comes back */
    FAULT_RETIRE,    /* a host is asked to stop, and is started again */
    FAULT_AIM,       /* those whom a change or a hand-over concerns are hit */
    FAULT_NEAR_MISS, /* the leader is cut off for about T, and comes back with its lease */
    FAULT_LURE,      /* one host misses the leader while those who hear it restart */
    FAULT_RESTORED,  /* a data directory is put back to an earlier state */
    FAULT_COUNT,
};

void nemesis_setup(struct sim *s)
{
    s->knobs.faults = (uint32_t)sim_range(s, 0, 1U << FAULT_COUNT);
    if (sim_chance(s, 100000)) {
        s->knobs.faults = (1U << FAULT_COUNT) - 1;
    }
    if (sim_chance(s, 150000)) { /* nothing but what leases fear, between quiet spells */
        s->knobs.faults = 1U << FAULT_NEAR_MISS | 1U << FAULT_LURE;
        s->knobs.nemesis_every = sim_timeouts(s, 3);
        s->knobs.hosts = sim_chance(s, 700000) ? 3 : 5;
        s->knobs.bounded_clocks = true;
        s->hunt = true;
    }
}

/* The leader, or anybody when there is none. */
static uint32_t leader_or_any(struct sim *s)
{
    uint32_t start = (uint32_t)sim_range(s, 0, s->knobs.hosts);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        uint32_t at = (start + i) % s->knobs.hosts;

        if (host_is_up(&s->hosts[at]) && s->hosts[at].view.state == RAFT_LEADER) {
            return at;
        }
    }
    return start;
}

/* Somebody, the leader more often than chance would have it. */
static uint32_t victim(struct sim *s)
{
    return sim_chance(s, 500000) ? (uint32_t)sim_range(s, 0, s->knobs.hosts) : leader_or_any(s);
}

static void block(struct sim *s, uint32_t from, uint32_t to)
{
    if (from != to) {
        s->links[from][to].blocked = true;
    }
}

static void block_both(struct sim *s, uint32_t a, uint32_t b)
{
    block(s, a, b);
    block(s, b, a);
}

/* Cut between the hosts in `mask` and the others, except at `bridge`. */
static void split(struct sim *s, uint32_t mask, uint32_t bridge)
{
    uint32_t n = s->knobs.hosts;

    for (uint32_t a = 0; a < n; a++) {
        for (uint32_t b = a + 1; b < n; b++) {
            if (a != bridge && b != bridge && ((mask >> a) & 1) != ((mask >> b) & 1)) {
                block_both(s, a, b);
            }
        }
    }
    sim_trace(s, NULL, "partition: mask %x, bridge %u", mask, bridge + 1);
}

static void one_way(struct sim *s)
{
    uint32_t at = victim(s);
    bool deaf = sim_chance(s, 500000);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        if (deaf) {
            block(s, i, at);
        } else {
            block(s, at, i);
        }
    }
    sim_trace(s, &s->hosts[at], "is %s", deaf ? "deaf" : "mute");
}

static void ring(struct sim *s)
{
    uint32_t n = s->knobs.hosts;

    for (uint32_t a = 0; a < n; a++) {
        for (uint32_t b = a + 1; b < n; b++) {
            if (b - a != 1 && b - a != n - 1) {
                block_both(s, a, b);
            }
        }
    }
    sim_trace(s, NULL, "partition: a ring");
}

static void pair(struct sim *s)
{
    uint32_t a = victim(s), b = (uint32_t)sim_range(s, 0, s->knobs.hosts);

    block(s, a, b);
    sim_trace(s, &s->hosts[a], "does not reach %u", b + 1);
}

static void partition(struct sim *s, enum fault f)
{
    uint32_t n = s->knobs.hosts;

    switch (f) {
    case FAULT_SPLIT:
        split(s, (uint32_t)sim_range(s, 1, 1U << n), SIM_HOSTS_MAX);
        break;
    case FAULT_ISOLATE:
        split(s, 1U << victim(s), SIM_HOSTS_MAX);
        break;
    case FAULT_BRIDGE:
        split(s, (uint32_t)sim_range(s, 1, 1U << n), (uint32_t)sim_range(s, 0, n));
        break;
    case FAULT_ONE_WAY:
        one_way(s);
        break;
    case FAULT_RING:
        ring(s);
        break;
    case FAULT_PAIR:
        pair(s);
        break;
    case FAULT_PAUSE:
    case FAULT_CRASH:
    case FAULT_CRASH_ALL:
    case FAULT_STALL:
    case FAULT_BURST:
    case FAULT_WIPE:
    case FAULT_OLD_DISK:
    case FAULT_RETIRE:
    case FAULT_AIM:
    case FAULT_NEAR_MISS:
    case FAULT_LURE:
    case FAULT_RESTORED:
    case FAULT_COUNT:
    default:
        return;
    }
    sim_push(s, SIM_EV_HEAL, s->now + sim_range(s, 1000, sim_timeouts(s, 8)), 0);
}

/* Just about when voters stop being loyal and the leader would notice its loneliness, and with
 * messages that take unequal time: some hear it again before they vote, some after. */
static void near_miss(struct sim *s)
{
    sim_us back = s->now + sim_range(s, sim_timeouts(s, 0.75), sim_timeouts(s, 1.1));

    split(s, 1U << leader_or_any(s), SIM_HOSTS_MAX);
    sim_push(s, SIM_EV_HEAL, back, 0);
    s->jitter_until = back + sim_timeouts(s, 1);
}

static void lure(struct sim *s)
{
    uint32_t leader = leader_or_any(s), n = s->knobs.hosts;
    uint32_t lured = (leader + (uint32_t)sim_range(s, 1, n)) % n;
    sim_us until = s->now + sim_range(s, sim_timeouts(s, 2), sim_timeouts(s, 8));

    block_both(s, leader, lured);
    sim_trace(s, &s->hosts[lured], "is lured: it misses node %u", leader + 1);
    sim_push(s, SIM_EV_HEAL, until, 0);
    for (uint32_t i = 0; i < n; i++) {
        if (i != leader && i != lured && sim_chance(s, 700000)) {
            sim_push(s, SIM_EV_STRIKE, sim_range(s, s->now + sim_timeouts(s, 1), until),
                     (uint8_t)i);
        }
    }
}

void nemesis_strike(struct sim *s, struct sim_host *h)
{
    h->restart_in = sim_range(s, 100, sim_timeouts(s, 0.3));
    host_crash(s, h, "struck");
}

static void pause_host(struct sim *s)
{
    struct sim_host *h = &s->hosts[victim(s)];
    sim_us length = sim_range(s, 1000, sim_timeouts(s, sim_chance(s, 200000) ? 12 : 3));

    h->paused_until = s->now + length;
    sim_trace(s, h, "is paused for %llu ms", (unsigned long long)length / 1000);
}

static void crash_host(struct sim *s)
{
    struct sim_host *h = &s->hosts[victim(s)];

    if (!host_is_up(h)) {
        return;
    }
    if (sim_chance(s, 400000)) { /* back before a lease it granted has lapsed */
        h->restart_in = sim_range(s, 1000, sim_timeouts(s, 0.5));
    }
    if (sim_chance(s, 200000)) {
        host_crash(s, h, "killed");
        return;
    }
    h->crash = (enum sim_crash)sim_range(s, SIM_CRASH_AT_OUTPUT, SIM_CRASH_AT_PERSISTED + 1);
}

static void crash_all(struct sim *s)
{
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        s->hosts[i].restart_in = sim_range(s, 1000, sim_timeouts(s, 1));
        host_crash(s, &s->hosts[i], "all at once");
    }
}

/* Somebody else fills its file system, or makes room on it. */
static void crowd(struct sim *s, struct sim_host *h)
{
    h->low = !h->low;
    sim_trace(s, h, "its disk %s", h->low ? "is low" : "has room");
    host_room(h);
}

static void stall(struct sim *s)
{
    struct sim_host *h = &s->hosts[victim(s)];

    if (sim_chance(s, 400000)) {
        crowd(s, h);
        return;
    }
    h->stall_until = s->now + sim_range(s, 1000, sim_timeouts(s, 10));
    sim_trace(s, h, "its disk is slow");
}

/* ---- Churn ---- */

static void wipe(struct sim *s)
{
    struct sim_host *h = &s->hosts[victim(s)];

    if (s->knobs.churn && sim_chance(s, 400000) && disk_can_go(s, h)) {
        disk_wipe(s, h, sim_chance(s, 400000));
    }
}

static void old_disk(struct sim *s)
{
    struct sim_host *h = &s->hosts[sim_range(s, 0, s->knobs.hosts)];

    if (h->stores_count > 1) {
        (void)disk_swap(s, h);
    }
}

bool nemesis_restores(const struct sim *s)
{
    return s->knobs.churn && s->knobs.faults & (1U << FAULT_RESTORED);
}

static void restored(struct sim *s)
{
    uint32_t start = victim(s);
    bool done = !nemesis_restores(s);

    for (uint32_t i = 0; !done && i < s->knobs.hosts; i++) {
        struct sim_host *h = &s->hosts[(start + i) % s->knobs.hosts];
        done = disk_can_go(s, h) && promises_break(s, h);
    }
}

static void retire(struct sim *s)
{
    struct sim_host *h = &s->hosts[victim(s)];

    if (!s->knobs.churn || !host_is_up(h) || h->paused_until > s->now || h->retiring) {
        return;
    }
    h->retiring = true;
    h->retire_deadline = host_clock(s, h) + sim_range(s, 1, sim_timeouts(s, 6) / 1000);
    sim_trace(s, h, "is asked to stop");
    host_begin(s, h);
    node_retire(h->node, h->retire_deadline);
    host_end(s, h);
}

bool nemesis_aims(const struct sim *s)
{
    return s->knobs.faults & (1U << FAULT_AIM);
}

void nemesis_told_to_stand(struct sim *s, struct sim_host *h)
{
    if (!s->recovering && nemesis_aims(s) && sim_chance(s, 250000)) {
        h->paused_until = s->now + sim_range(s, 1000, sim_timeouts(s, 4));
        sim_trace(s, h, "is paused before it stands");
    }
}

void nemesis_aim(struct sim *s, struct sim_host *h)
{
    uint64_t dice = sim_range(s, 0, 10);

    if (!host_is_up(h)) {
        return;
    }
    if (dice < 4) {
        h->crash = (enum sim_crash)sim_range(s, SIM_CRASH_AT_OUTPUT, SIM_CRASH_AT_PERSISTED + 1);
        return;
    }
    if (dice < 5) {
        host_crash(s, h, "aimed at");
    } else if (dice < 7) {
        h->paused_until = s->now + sim_range(s, 1000, sim_timeouts(s, 4));
        sim_trace(s, h, "is paused, aimed at");
    } else {
        split(s, 1U << (h->id - 1), SIM_HOSTS_MAX);
        sim_push(s, SIM_EV_HEAL, s->now + sim_range(s, 1000, sim_timeouts(s, 4)), 0);
    }
}

void nemesis_act(struct sim *s)
{
    enum fault f = (enum fault)sim_range(s, s->hunt ? FAULT_NEAR_MISS : 0, FAULT_COUNT);

    if (!(s->knobs.faults & (1U << f))) {
        return;
    }
    switch (f) {
    case FAULT_PAUSE:
        pause_host(s);
        return;
    case FAULT_CRASH:
        crash_host(s);
        return;
    case FAULT_CRASH_ALL:
        if (sim_chance(s, 300000)) {
            crash_all(s);
        }
        return;
    case FAULT_STALL:
        stall(s);
        return;
    case FAULT_BURST:
        s->burst = true;
        sim_push(s, SIM_EV_CALM, s->now + sim_range(s, 1000, sim_timeouts(s, 3)), 0);
        return;
    case FAULT_WIPE:
        wipe(s);
        return;
    case FAULT_OLD_DISK:
        old_disk(s);
        return;
    case FAULT_RETIRE:
        retire(s);
        return;
    case FAULT_AIM:
        return; /* the operator's requests bring it */
    case FAULT_NEAR_MISS:
        near_miss(s);
        return;
    case FAULT_LURE:
        lure(s);
        return;
    case FAULT_RESTORED:
        restored(s);
        return;
    case FAULT_SPLIT:
    case FAULT_ISOLATE:
    case FAULT_ONE_WAY:
    case FAULT_BRIDGE:
    case FAULT_RING:
    case FAULT_PAIR:
    case FAULT_COUNT:
    default:
        partition(s, f);
        return;
    }
}

/* A member gets the data directory back that the membership means. */
static void bring_disk_back(struct sim *s, struct sim_host *h)
{
    const struct sim_members *now = members_now(s);
    const struct sim_store *meant = now ? now->of[h->id - 1].store : NULL;

    for (uint32_t i = 0; i < h->stores_count; i++) {
        if (&h->stores[i] == meant && h->store != meant && !meant->gone) {
            disk_use(s, h, &h->stores[i]);
            return;
        }
    }
}

void nemesis_stop(struct sim *s)
{
    network_heal(s);
    s->burst = false;
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        s->hosts[i].crash = SIM_CRASH_NONE;
        s->hosts[i].stall_until = 0;
        s->hosts[i].low = false;
        host_room(&s->hosts[i]);
        if (s->hosts[i].paused_until > s->now) {
            s->hosts[i].paused_until = s->now;
        }
        bring_disk_back(s, &s->hosts[i]);
    }
}
