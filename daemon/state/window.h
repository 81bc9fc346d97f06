/* window.h - each origin's recent results, so that a repeated request is applied once (thesis 6.3).
 *
 * An origin is a node id. Its window holds the results of one incarnation from the floor up, and
 * never spans more than STATE_WINDOW_MAX sequence numbers:
 *
 *   a higher incarnation      the window starts afresh: nobody waits for the old process's results
 *   a lower incarnation       dropped unapplied
 *   seq below the floor       dropped unapplied: whether it was applied is no longer known
 *   seq in the window         its first result again, no second effect
 *   seq 0, or STATE_WINDOW_MAX or more above its own floor    refused, no effect
 *
 * The floor moves only with a request that is applied, so one row per request (rows.h) is enough
 * to rebuild it. Private to the room.
 *
 * Threads: one set, one thread. Ownership: results are copied in and out. */
#ifndef RAFTD_STATE_WINDOW_H
#define RAFTD_STATE_WINDOW_H

#include "state/state.h"

struct window;

struct window_set {
    struct window **windows; /* by ascending node id */
    uint32_t count, capacity;
    uint64_t digest; /* sum over windows and results: independent of their order */
};

void window_set_init(struct window_set *set);
void window_set_done(struct window_set *set);

enum window_verdict {
    WINDOW_NEW,      /* apply it, then window_add() */
    WINDOW_REPEATED, /* `first` is filled; `repeated` is set in it */
    WINDOW_DROPPED,  /* answer -RD_EUNKNOWN_OUTCOME */
    WINDOW_INVALID,  /* answer -RD_EINVALID */
};

/* What to do with a request. Changes nothing; `first` only when REPEATED. */
enum window_verdict window_check(const struct window_set *set, const struct request_id *id,
                                 struct state_result *first);

/* Remember the result of a request that window_check() called NEW (asserted). Forgets what is below
 * the new floor, and returns that. */
uint64_t window_add(struct window_set *set, const struct request_id *id,
                    const struct state_result *result);

/* Forget an origin. False: there was nothing to forget. */
bool window_forget(struct window_set *set, uint32_t node);

/* A remembered result comes back, in any order; `id->floor` is what window_add() returned then.
 * Outdated ones (below the floor, earlier incarnation) are passed over. -RD_ECORRUPT: it makes no
 * sense, or is there already. */
int window_restore(struct window_set *set, const struct request_id *id,
                   const struct state_result *result);

#endif
