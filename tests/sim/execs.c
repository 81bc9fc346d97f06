/* Programs that run a child while their host leads, as `raftctl exec` does: the child is gone when the
 * claim ends, at the latest, and its host hears when it was gone earlier. */
#include "sim.h"

typedef unsigned long long ull;

static bool answers(const struct sim *s, const struct sim_host *h)
{
    return host_is_up(h) && h->paused_until <= s->now;
}

static void connect_anew(struct sim_host *h, struct sim_exec *x)
{
    *x = (struct sim_exec){.phase = SIM_EXEC_ASKS, .client = ++h->clients};
}

/* Nobody will say that its child is gone: what it was told counts to its end. */
static void lose(struct sim_host *h, struct sim_exec *x)
{
    h->claim_until = x->until > h->claim_until ? x->until : h->claim_until;
    connect_anew(h, x);
}

void execs_host_down(struct sim_host *h)
{
    for (uint32_t i = 0; i < SIM_EXECS; i++) {
        lose(h, &h->execs[i]);
    }
    holders_done(&h->holders);
}

/* As the server does it. true: the host claims to lead. */
static bool hold(struct sim *s, struct sim_host *h, struct sim_exec *x)
{
    mono_ms now = host_clock(s, h);
    struct node_public p;

    host_begin(s, h);
    node_public_get(h->node, now, &p);
    if (p.is_leader) {
        if (!holders_hold(&h->holders, x->client, now, now + p.lease_remaining_ms)) {
            sim_violation(s, h, "%u holders are too many", h->holders.count);
        }
        node_claim_held(h->node);
        sim_us until = claims_tell(s, h, &p);
        x->until = until > x->until ? until : x->until;
        sim_trace(s, h, "tells holder %llu that it leads, fence %llu, for %u ms", (ull)x->client,
                  (ull)p.fence, p.lease_remaining_ms);
    }
    host_end(s, h);
    return p.is_leader;
}

static bool somebody_acts(const struct sim *s, const struct sim_host *h)
{
    for (uint32_t i = 0; i < SIM_EXECS; i++) {
        if (h->execs[i].until > s->now) {
            return true;
        }
    }
    return false;
}

static void release(struct sim *s, struct sim_host *h, struct sim_exec *x)
{
    s->stats.releases += x->until > s->now;
    sim_trace(s, h, "hears that holder %llu has stopped", (ull)x->client);
    x->until = 0;
    x->phase = SIM_EXEC_ASKS;
    host_begin(s, h);
    if (holders_release(&h->holders, x->client, host_clock(s, h))) {
        if (somebody_acts(s, h)) {
            sim_violation(s, h, "counts no holders, and there are some");
        }
        node_claims_released(h->node);
    }
    host_end(s, h);
}

/* Some are quick to stop, others take all the time they have. */
static sim_us time_to_stop(struct sim *s, const struct sim_exec *x)
{
    sim_us left = x->until > s->now ? x->until - s->now : 0;

    return sim_range(s, 0, sim_chance(s, 600000) ? left / 8 : left);
}

/* Each returns how long it waits until it acts again. */

static sim_us asks(struct sim *s, struct sim_host *h, struct sim_exec *x)
{
    if (!answers(s, h)) {
        return sim_timeouts(s, 0.5);
    }
    if (sim_chance(s, 20000)) { /* it has nothing to tell of, and does */
        release(s, h, x);
    } else if (hold(s, h, x) && x->until > 0) { /* the host may have gone down since */
        x->phase = SIM_EXEC_RUNS;
    }
    return sim_range(s, 1000, sim_timeouts(s, 0.4));
}

static sim_us runs(struct sim *s, struct sim_host *h, struct sim_exec *x)
{
    uint64_t dice = sim_range(s, 0, 100);

    if (dice < 2) {
        sim_trace(s, h, "loses holder %llu without a word", (ull)x->client);
        lose(h, x);
        return sim_range(s, 1000, sim_timeouts(s, 1));
    }
    bool ends = dice < 6; /* by itself */
    if (!ends && answers(s, h) && hold(s, h, x)) {
        return sim_range(s, 1000, sim_timeouts(s, 0.2));
    }
    if (x->phase != SIM_EXEC_RUNS) { /* the host went down in that turn */
        return sim_range(s, 1000, sim_timeouts(s, 1));
    }
    x->phase = SIM_EXEC_STOPS;
    return ends ? 1 : time_to_stop(s, x);
}

static sim_us stops(struct sim *s, struct sim_host *h, struct sim_exec *x)
{
    if (!answers(s, h)) {
        return h->paused_until - s->now + 1; /* its host reads it when it goes on */
    }
    release(s, h, x);
    return sim_range(s, 1000, sim_timeouts(s, 1));
}

void exec_act(struct sim *s, struct sim_host *h, uint64_t number)
{
    struct sim_exec *x = &h->execs[number];
    sim_us wait = x->phase == SIM_EXEC_ASKS   ? asks(s, h, x)
                  : x->phase == SIM_EXEC_RUNS ? runs(s, h, x)
                                              : stops(s, h, x);

    sim_push(s, SIM_EV_EXEC, s->now + wait, (uint8_t)(h->id - 1))->number = number;
}

void execs_setup(struct sim *s)
{
    s->knobs.sidecars = sim_chance(s, 500000) ? 0 : (uint32_t)sim_range(s, 0, 1000000);
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        for (uint64_t k = 0; k < SIM_EXECS; k++) {
            connect_anew(&s->hosts[i], &s->hosts[i].execs[k]);
            sim_us at = sim_timeouts(s, 2) + sim_range(s, 0, sim_timeouts(s, 1));
            sim_push(s, SIM_EV_EXEC, at, (uint8_t)i)->number = k;
        }
    }
}
