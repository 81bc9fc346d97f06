/* The world: one seed's knobs, the loop of events, the end. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sim *current; /* for the line a failed assertion prints */

void sim_where(char *text, unsigned text_size)
{
    if (current) {
        (void)snprintf(text, text_size, "(seed %llu at %.3f s; repeat: sim --seed %llu --verbose)",
                       (unsigned long long)current->seed, (double)current->now / 1e6,
                       (unsigned long long)current->seed);
    }
}

__attribute__((format(printf, 4, 0))) static void
print_line(FILE *f, const struct sim *s, const struct sim_host *h, const char *format, va_list args)
{
    char text[1024];

    (void)vsnprintf(text, sizeof text, format, args);
    if (h) {
        (void)fprintf(f, "%10.3f ms  node %u %s\n", (double)s->now / 1e3, h->id, text);
    } else {
        (void)fprintf(f, "%10.3f ms  %s\n", (double)s->now / 1e3, text);
    }
}

void sim_violation(struct sim *s, const struct sim_host *h, const char *format, ...)
{
    va_list args;

    (void)fflush(stdout);
    (void)fprintf(stderr, "VIOLATION seed %llu (repeat: sim --seed %llu --verbose)\n",
                  (unsigned long long)s->seed, (unsigned long long)s->seed);
    va_start(args, format);
    print_line(stderr, s, h, format, args);
    va_end(args);
    _Exit(1);
}

void sim_trace(struct sim *s, const struct sim_host *h, const char *format, ...)
{
    va_list args;

    if (!s->verbose) {
        return;
    }
    va_start(args, format);
    print_line(stdout, s, h, format, args);
    va_end(args);
}

struct sim_event *sim_push(struct sim *s, enum sim_event_type type, sim_us at, uint8_t host)
{
    struct sim_event e = {.at = at, .type = type, .host = host};

    return heap_push(&s->heap, &e);
}

bool sim_chance(struct sim *s, uint32_t per_million)
{
    return prng_chance(&s->prng, per_million);
}

uint64_t sim_range(struct sim *s, uint64_t low, uint64_t high)
{
    return low >= high ? low : prng_range(&s->prng, low, high);
}

sim_us sim_timeouts(const struct sim *s, double n)
{
    return (sim_us)(n * (double)s->knobs.timeout_ms * 1000.0);
}

/* ---- What the seed decides ---- */

/* The usual value, or one from low to high; the latter makes `tiny` true. */
static uint32_t mostly(struct sim *s, uint32_t usual, uint32_t low, uint32_t high, bool *tiny)
{
    if (sim_chance(s, 500000)) {
        return usual;
    }
    *tiny = true;
    return (uint32_t)sim_range(s, low, high);
}

static void setup_limits(struct sim *s)
{
    struct node_config *c = &s->config;
    struct sim_knobs *k = &s->knobs;
    bool tiny = false, ignored = false;

    c->raft.election_timeout_ms = k->timeout_ms;
    c->raft.heartbeat_ms = k->timeout_ms / (uint32_t)sim_range(s, 3, 8);
    c->raft.append_bytes_max = mostly(s, 64 * 1024, 1, 2000, &tiny);
    c->raft.append_entries_max = mostly(s, 256, 1, 8, &tiny);
    c->raft.inflight_bytes_max = mostly(s, 1024 * 1024, 1, 2000, &tiny);
    c->raft.inflight_msgs_max = mostly(s, 64, 1, 6, &tiny);
    c->raft.cache_bytes_max = mostly(s, 1024 * 1024, 0, 1000, &ignored);
    c->state_bytes_max = 1U << 30;
    c->apply_max = mostly(s, 256, 1, 5, &ignored);
    c->batch_bytes_max = mostly(s, 1024 * 1024, 1, 1000, &tiny);
    /* One entry per round trip and a slow world: a queue that never empties proves nothing. */
    double slow = tiny ? 0.02 : 0.2;
    k->delay_min = sim_range(s, 50, 2000);
    k->delay_max =
        k->delay_min + sim_range(s, 50, sim_timeouts(s, sim_chance(s, 200000) ? slow : 0.02));
    k->disk_min = sim_range(s, 20, 2000);
    k->disk_max =
        k->disk_min + sim_range(s, 20, sim_timeouts(s, sim_chance(s, 200000) ? slow * 2 : 0.01));
}

static void setup_knobs(struct sim *s)
{
    static const uint32_t timeouts[] = {150, 300, 500, 1000};
    struct sim_knobs *k = &s->knobs;
    bool is_long = sim_chance(s, 30000);

    k->hosts = sim_chance(s, 650000) ? (sim_chance(s, 500000) ? 3 : 5)
                                     : (uint32_t)sim_range(s, 1, SIM_HOSTS_MAX + 1);
    k->timeout_ms = timeouts[sim_range(s, 0, 4)];
    k->bounded_clocks = !sim_chance(s, 100000);
    k->notice = sim_chance(s, 600000);
    k->wire = sim_chance(s, 250000);
    k->batch_turns = sim_chance(s, 500000);
    k->faults_early = sim_chance(s, 200000);
    k->loss = sim_chance(s, 400000) ? 0 : (uint32_t)sim_range(s, 0, 100000);
    k->dup = sim_chance(s, 500000) ? 0 : (uint32_t)sim_range(s, 0, 100000);
    k->hold = sim_chance(s, 500000) ? 0 : (uint32_t)sim_range(s, 0, 30000);
    k->stall_after = sim_range(s, sim_timeouts(s, 0.6), sim_timeouts(s, 4));
    k->nemesis_every = sim_timeouts(s, 0.3 + (double)sim_range(s, 0, 20) / 10.0);
    k->faults_until = sim_timeouts(s, is_long ? 300.0 : (double)sim_range(s, 15, 80));
    k->clients = (uint32_t)sim_range(s, 1, SIM_CLIENTS_MAX + 1);
    k->think_max = sim_timeouts(s, 0.1 + (double)sim_range(s, 0, 20) / 10.0);
    k->churn = sim_chance(s, 600000);
    k->flush_chance = sim_chance(s, 800000) ? (uint32_t)sim_range(s, 5000, 300000) : 0;
    k->keep_entries = sim_chance(s, 700000) ? sim_range(s, 0, 40) : 1000;
    k->keep_entries = sim_chance(s, 150000) ? 0 : k->keep_entries;
    k->keep_apart = sim_chance(s, 500000) ? 300000 : 0;
    k->install_slow = sim_chance(s, 500000) ? 400000 : 0;
    k->install_crash = sim_chance(s, 500000) ? 150000 : 0;
    k->shorter = sim_chance(s, 250000) ? 500000 : 0;
    k->keep_bytes = sim_chance(s, 500000) ? sim_range(s, 100, 4000) : 1 << 20;
    k->hold_bytes = sim_chance(s, 500000) ? k->keep_bytes * 2 : 1 << 20;
    k->piece_bytes = sim_chance(s, 700000) ? (uint32_t)sim_range(s, 300, 3000) : 256 * 1024;
    k->operator_every = sim_timeouts(s, 1.0 + (double)sim_range(s, 0, 30) / 10.0);
    k->sidecar_every = sim_timeouts(s, 0.05 + (double)sim_range(s, 0, 10) / 20.0);
    setup_limits(s);
    nemesis_setup(s);
}

static double clock_rate(struct sim *s)
{
    if (!s->knobs.bounded_clocks) {
        return 0.5 + (double)sim_range(s, 0, 1500) / 1000.0;
    }
    if (s->hunt) {
        return sim_chance(s, 500000) ? 0.9 : 1.1;
    }
    return sim_chance(s, 300000) ? 1.0 : 0.9 + (double)sim_range(s, 0, 201) / 1000.0;
}

/* With churn: spare hosts, and some of all to found the cluster. */
static void setup_founders(struct sim *s)
{
    struct sim_knobs *k = &s->knobs;

    k->founders = (1U << k->hosts) - 1;
    if (!k->churn) {
        return;
    }
    k->hosts = sim_chance(s, 600000) ? (uint32_t)sim_range(s, 4, 6)
                                     : (uint32_t)sim_range(s, 2, SIM_HOSTS_MAX + 1);
    k->founders = (uint32_t)sim_range(s, 1, 1U << k->hosts);
    if (sim_chance(s, 500000)) { /* three are a good beginning */
        k->founders |= (uint32_t)sim_range(s, 1, 1U << k->hosts);
    }
    s->final_steps = 2;
}

static void add_founder(struct sim *s, raft_id id)
{
    uint32_t at = s->config.founders_count++;

    s->config.founders[at].id = id;
    (void)snprintf(s->config.founders[at].address, sizeof s->config.founders[at].address,
                   "10.0.0.%u:7400", id);
}

static void setup_hosts(struct sim *s)
{
    bool alone = (s->knobs.founders & (s->knobs.founders - 1)) == 0;
    bool bootstraps = alone && sim_chance(s, 500000);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        struct sim_host *h = &s->hosts[i];

        bool founds = s->knobs.founders & (1U << i);

        h->sim = s;
        h->id = i + 1;
        h->store = disk_new(h);
        h->rate = clock_rate(s);
        h->offset = sim_range(s, 0, 4) ? sim_range(s, 0, 4000000000U) : 0;
        h->founder_listed = founds && !bootstraps;
        h->bootstraps = founds && bootstraps;
        if (founds) {
            add_founder(s, h->id);
        }
        sim_push(s, SIM_EV_RESTART, 1 + sim_range(s, 0, sim_timeouts(s, 1)), (uint8_t)i);
    }
}

static void setup(struct sim *s)
{
    setup_knobs(s);
    setup_founders(s);
    setup_hosts(s);
    for (uint32_t i = 0; i < s->knobs.clients; i++) {
        sim_push(s, SIM_EV_CLIENT, sim_range(s, 0, s->knobs.think_max), 0)->number = i;
    }
    sim_push(s, SIM_EV_LINKS, 1000, 0);
    if (s->knobs.churn) {
        sim_push(s, SIM_EV_OPERATOR, sim_timeouts(s, 3), 0);
        sim_push(s, SIM_EV_SIDECAR, sim_timeouts(s, 2), 0);
        execs_setup(s);
    }
    sim_push(s, SIM_EV_NEMESIS, s->knobs.faults_early ? 1000 : sim_timeouts(s, 4), 0);
    sim_trace(s, NULL,
              "%u nodes, founders %x, T %u ms, clocks %s, %s, faults %x, loss %u dup %u hold %u, "
              "delay %llu "
              "to %llu us",
              s->knobs.hosts, s->knobs.founders, s->knobs.timeout_ms,
              s->knobs.bounded_clocks ? "bounded" : "wild", s->knobs.churn ? "churn" : "no churn",
              s->knobs.faults, s->knobs.loss, s->knobs.dup, s->knobs.hold,
              (unsigned long long)s->knobs.delay_min, (unsigned long long)s->knobs.delay_max);
}

/* ---- Events ---- */

static void look_after(struct sim *s)
{
    network_links(s);
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        struct sim_host *h = &s->hosts[i];

        if (host_is_up(h) && h->paused_until <= s->now && h->bootstraps) {
            (void)client_bootstrap(s, h);
        }
        bool member = members_now(s) && members_has(members_now(s), h);
        if (s->recovering && host_is_up(h) && member && !h->recovered && !h->probing) {
            client_probe(s, h);
        }
    }
    if (s->recovering && s->knobs.churn) {
        operator_recover(s);
    }
    sim_push(s, SIM_EV_LINKS, s->now + sim_timeouts(s, 0.25), 0);
}

/* Events that belong to a host wait while it is paused, and end with the life they belong to. */
static void host_dispatch(struct sim *s, struct sim_event *e)
{
    struct sim_host *h = &s->hosts[e->host];

    if (!host_is_up(h) || (e->life != 0 && e->life != h->life) ||
        (e->store && e->store != h->store)) {
        sim_event_done(e);
        return;
    }
    if (h->paused_until > s->now && e->type != SIM_EV_WRITTEN) {
        if (e->type == SIM_EV_WAKE) {
            h->wake_at = e->at == h->wake_at ? h->paused_until : h->wake_at;
        }
        e->at = h->paused_until;
        heap_push(&s->heap, e);
        return;
    }
    if (e->type == SIM_EV_HELLO) {
        network_hello_arrives(s, e);
    } else {
        host_event(s, e);
    }
    sim_event_done(e);
}

static void sidecar(struct sim *s)
{
    struct sim_host *h = &s->hosts[sim_range(s, 0, s->knobs.hosts)];

    if (host_is_up(h) && h->paused_until <= s->now && sim_chance(s, s->knobs.sidecars)) {
        claims_ask(s, h);
    }
    sim_push(s, SIM_EV_SIDECAR, s->now + sim_range(s, 100, s->knobs.sidecar_every * 2), 0);
}

static void dispatch_churn(struct sim *s, struct sim_event *e)
{
    if (e->type == SIM_EV_SIDECAR) {
        sidecar(s);
    } else if (e->type == SIM_EV_EXEC) {
        exec_act(s, &s->hosts[e->host], e->number);
    } else if (s->recovering) {
        return;
    } else if (e->type == SIM_EV_AIM) {
        nemesis_aim(s, &s->hosts[e->host]);
    } else {
        operator_act(s);
        if (sim_chance(s, 150000)) {
            operator_act(s);
        }
        sim_push(s, SIM_EV_OPERATOR, s->now + sim_range(s, 1000, s->knobs.operator_every * 2), 0);
    }
}

static void dispatch(struct sim *s, struct sim_event *e)
{
    switch (e->type) {
    case SIM_EV_RESTART:
        if (!host_is_up(&s->hosts[e->host])) {
            host_start(s, &s->hosts[e->host]);
            if (sim_chance(s, 500000)) {
                network_links(s); /* dialled at once, not after a back-off */
            }
        }
        return;
    case SIM_EV_CLIENT:
        client_act(s, e->number);
        return;
    case SIM_EV_CANCEL:
        client_cancel(s, e->number);
        return;
    case SIM_EV_LINKS:
        look_after(s);
        return;
    case SIM_EV_NEMESIS:
        if (!s->recovering) {
            nemesis_act(s);
            sim_push(s, SIM_EV_NEMESIS, s->now + sim_range(s, 1000, s->knobs.nemesis_every * 2), 0);
        }
        return;
    case SIM_EV_STRIKE:
        if (!s->recovering && host_is_up(&s->hosts[e->host])) {
            nemesis_strike(s, &s->hosts[e->host]);
        }
        return;
    case SIM_EV_HEAL:
        network_heal(s);
        return;
    case SIM_EV_CALM:
        s->burst = false;
        return;
    case SIM_EV_OPERATOR:
    case SIM_EV_SIDECAR:
    case SIM_EV_EXEC:
    case SIM_EV_AIM:
        dispatch_churn(s, e);
        return;
    case SIM_EV_WAKE:
    case SIM_EV_MESSAGE:
    case SIM_EV_HELLO:
    case SIM_EV_LINK_DOWN:
    case SIM_EV_REFUSAL:
    case SIM_EV_FAILED:
    case SIM_EV_WRITTEN:
    case SIM_EV_PERSISTED:
    case SIM_EV_FLUSHED:
    case SIM_EV_STALL:
    default:
        host_dispatch(s, e);
        return;
    }
}

/* Run until `until`; with `may_end` also until the cluster has come together again. */
static bool run_until(struct sim *s, sim_us until, bool may_end)
{
    struct sim_event e;
    sim_us next_look = s->now;

    while (heap_pop(&s->heap, &e)) {
        if (e.at > until) {
            heap_push(&s->heap, &e);
            s->now = until;
            return false;
        }
        s->now = e.at > s->now ? e.at : s->now;
        s->stats.events++;
        dispatch(s, &e);
        if (may_end && s->now >= next_look) {
            if (recovery_is_done(s, false)) {
                return true;
            }
            next_look = s->now + sim_timeouts(s, 0.1);
        }
    }
    return false;
}

static void finish(struct sim *s)
{
    struct sim_event e;

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        if (s->hosts[i].node) {
            node_free(s->hosts[i].node);
        }
        disks_done(&s->hosts[i]);
        execs_host_down(&s->hosts[i]);
    }
    while (heap_pop(&s->heap, &e)) {
        sim_event_done(&e);
    }
    for (uint64_t i = 0; i < s->slots_count; i++) {
        mem_free(s->slots[i].seen);
    }
    mem_free(s->slots);
    mem_free(s->heap.events);
    mem_free(s->ops);
    model_done(s);
}

static void add_stats(struct sim_stats *to, const struct sim_stats *from)
{
    to->events += from->events;
    to->turns += from->turns;
    to->messages += from->messages;
    to->crashes += from->crashes;
    to->elections += from->elections;
    to->entries += from->entries;
    to->ops_done += from->ops_done;
    to->reads_done += from->reads_done;
    to->changes += from->changes;
    to->handovers += from->handovers;
    to->claims += from->claims;
    to->releases += from->releases;
    to->shortened += from->shortened;
    to->wipes += from->wipes;
    to->restored += from->restored;
    to->trims += from->trims;
    to->snapshots += from->snapshots;
}

void sim_run(uint64_t seed, bool verbose, struct sim_stats *total)
{
    struct sim *s = mem_zalloc(sizeof *s);

    s->seed = seed;
    s->verbose = verbose;
    prng_seed(&s->prng, seed);
    current = s;
    setup(s);
    (void)run_until(s, s->knobs.faults_until, false);

    sim_trace(s, NULL, "the faults stop");
    s->recovering = true;
    nemesis_stop(s);
    /* 20 election timeouts by the slowest clock, once those who are down are back. */
    sim_us grace = sim_timeouts(s, 3.0 + 40.0 / (s->knobs.bounded_clocks ? 0.9 : 0.5));
    grace += s->knobs.churn ? sim_timeouts(s, 40) : 0; /* the last changes, one after the other */
    if (!run_until(s, s->now + grace, true)) {
        (void)recovery_is_done(s, true);
    }
    sim_trace(s, NULL, "all nodes agree at index %llu", (unsigned long long)s->commits_count);
    add_stats(total, &s->stats);
    finish(s);
    current = NULL;
    mem_free(s);
}
