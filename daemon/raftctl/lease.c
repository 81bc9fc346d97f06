#include "raftctl/lease.h"

void lease_init(struct lease *l, uint64_t grace_ms)
{
    *l = (struct lease){.grace_ms = grace_ms, .ask_at = UINT64_MAX};
}

uint64_t lease_due(const struct lease *l)
{
    return l->open || l->lost ? UINT64_MAX : l->ask_at;
}

void lease_wake(struct lease *l)
{
    l->ask_at = 0;
}

void lease_asked(struct lease *l, uint64_t now)
{
    l->open = true;
    l->asked_at = now;
    l->ask_at = UINT64_MAX; /* who wakes us now asks for an answer later than this one */
}

void lease_lose(struct lease *l)
{
    l->lost = true;
}

static void ask_again(struct lease *l, uint64_t at, uint64_t now)
{
    uint64_t earliest = now + LEASE_PACE_MS;

    at = at > earliest ? at : earliest;
    l->ask_at = at < l->ask_at ? at : l->ask_at;
}

/* A claim that was told stays good when the next one ends earlier. */
static void extend(struct lease *l, uint64_t remaining_ms)
{
    uint64_t ends_at = l->asked_at + remaining_ms;

    l->longest_ms = remaining_ms > l->longest_ms ? remaining_ms : l->longest_ms;
    l->ends_at = ends_at > l->ends_at ? ends_at : l->ends_at;
}

static enum lease_verdict begin(struct lease *l, const struct lease_answer *a, uint64_t now)
{
    l->longest_ms = l->ends_at = 0;
    extend(l, a->remaining_ms);
    ask_again(l, l->asked_at + a->remaining_ms / 4, now);
    if (now >= lease_term_at(l)) { /* it would be told to end as soon as it runs */
        return LEASE_NONE;
    }
    l->fence = a->fence;
    return LEASE_BEGINS;
}

enum lease_verdict lease_answered(struct lease *l, const struct lease_answer *a, uint64_t now)
{
    bool leads = a->is_leader && a->fence != 0;

    l->open = false;
    if (l->lost) {
        return LEASE_LOST;
    }
    if (l->fence == 0) {
        return leads ? begin(l, a, now) : LEASE_NONE;
    }
    if (!leads || a->fence != l->fence) {
        l->lost = true;
        return LEASE_LOST;
    }
    extend(l, a->remaining_ms);
    ask_again(l, l->asked_at + a->remaining_ms / 4, now);
    return LEASE_GOES_ON;
}

static uint64_t before(uint64_t at, uint64_t ms)
{
    return at > ms ? at - ms : 0;
}

uint64_t lease_margin_ms(const struct lease *l)
{
    uint64_t tenth = l->longest_ms / 10;

    return tenth > LEASE_MARGIN_MIN_MS ? tenth : LEASE_MARGIN_MIN_MS;
}

uint64_t lease_kill_at(const struct lease *l)
{
    return before(l->ends_at, lease_margin_ms(l));
}

/* A quarter, although many take longer to stop: each more of it is time in which raftd has to
 * answer. */
uint64_t lease_term_at(const struct lease *l)
{
    uint64_t quarter = l->longest_ms / 4;

    return before(lease_kill_at(l), quarter < l->grace_ms ? quarter : l->grace_ms);
}
