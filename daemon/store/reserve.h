/* reserve.h - room on the file system that an environment has before it needs it.
 *
 * Blocks are allocated beyond what LMDB uses (fallocate, the file's size stays), so its writes there
 * cannot meet a full file system. When no more can be had the reservation is `low`, with about half of
 * it left for what has to go on; it is tried again and recovers by itself. Where a file system cannot
 * allocate ahead, its free space is looked at instead. (One that copies on write, like btrfs, may still
 * run full: then the commit fails and the process ends, as after any failed write.)
 * Threads: the environment's worker, or its opener before there is one; store_reserve_get() any. */
#ifndef RAFTD_STORE_RESERVE_H
#define RAFTD_STORE_RESERVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/env.h"

enum { STORE_RESERVE_AGAIN_MS = 1000 }; /* while it is low */

struct store_reserve {
    const struct store_env *env;
    uint64_t end;  /* of the file's blocks that are allocated; 0: not known yet */
    uint64_t step; /* to be had ahead; 0: not known yet */
    bool looks;    /* nothing can be allocated ahead: `end` is as far as what is free would reach */
    _Atomic uint64_t ahead, wanted, free; /* of what is used; see store_reserve_state */
    _Atomic bool low;
};

struct store_reserve_state {
    bool low;
    uint64_t ahead_bytes;  /* beyond what LMDB uses */
    uint64_t wanted_bytes; /* that is to be */
    uint64_t free_bytes;   /* of the file system, when it was asked for more last */
};

void store_reserve_init(struct store_reserve *r, const struct store_env *env);
/* After a commit: extend it when half is used up; mostly there is nothing to do. Returns after how many
 * milliseconds it wants to be called again, 0: after the next commit. `news`: low has changed. */
uint32_t store_reserve_keep(struct store_reserve *r, bool *news);
struct store_need {       /* what a commit takes at most */
    uint64_t bytes;       /* beyond the end: large records are put where pages follow each other */
    uint64_t pages_bytes; /* in single pages, which may be ones that are free again */
};
/* Before a commit: is there room? Tries to make it. */
bool store_reserve_covers(struct store_reserve *r, const struct store_need *need, bool *news);
void store_reserve_get(const struct store_reserve *r, struct store_reserve_state *out);

/* What this process could still write there; UINT64_MAX: the file system does not say. */
uint64_t store_free_bytes(const char *path);

/* ---- Arithmetic. Pure. ---- */

/* To be kept ahead on a file system of that size. */
uint64_t store_reserve_step(uint64_t file_system_bytes);
/* Where the reservation has to end, 0: as it is it will do. It is extended when less than half of the
 * step is ahead; all of the step has to be for one that is low to be well again. `limit`: LMDB writes
 * nothing beyond. */
uint64_t store_reserve_target(uint64_t used, uint64_t end, uint64_t step, uint64_t limit, bool low);
/* Add what a record of this size takes: large ones have pages of their own. */
void store_reserve_record(uint64_t key_and_value, struct store_need *need);

enum {
    STORE_RESERVE_PAGE = 4096,
    STORE_RESERVE_COMMIT = 64 * 1024, /* pages a commit writes besides its records */
};

#endif
