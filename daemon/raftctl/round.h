/* round.h - the hooks of --hook run once for one state, one after the other; those that failed run
 * again later.
 *
 * Nothing here waits. What goes wrong with a hook is said on stderr. Threads: one. */
#ifndef RAFTD_RAFTCTL_ROUND_H
#define RAFTD_RAFTCTL_ROUND_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"
#include "raftctl/hook.h"
#include "raftctl/hook_list.h"

struct round {
    const char *path;    /* --hook, borrowed */
    uint64_t timeout_ms; /* of each hook; 0: none */
    bool json;           /* a line on stdout for each hook that has run */
    json_t *state;       /* NULL: none was told yet */
    const char *event;
    bool open;             /* hooks run, or are about to */
    bool stops;            /* no further hook begins */
    struct hook_list list; /* to run; list.paths[at] is next, or runs */
    uint32_t at;
    struct hook hook;
    struct hook_list failed; /* of the list */
    bool unlisted;           /* there was no list to run */
    uint64_t again;          /* when those run again; UINT64_MAX: never */
    uint64_t again_ms;       /* how long they wait for it */
};

/* timeout_ms and json are the caller's to set. */
void round_init(struct round *r, const char *path);
void round_done(struct round *r); /* no hook runs */

/* Tell them this state (shared), as the event it is after those before. Only while it is not open. */
void round_begin(struct round *r, json_t *state);

/* Do what is due. 0, or a negative code: standard output is gone. */
int round_step(struct round *r, struct ctl_error *e);

/* No further hook; the one that runs has at most so much longer. */
void round_stop(struct round *r, uint64_t ms);

/* When round_step() is due, besides when a child ends. */
uint64_t round_deadline(const struct round *r);

#endif
