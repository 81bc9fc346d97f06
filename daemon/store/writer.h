/* writer.h - the log thread's job: one batch, durable as a whole.
 *
 * Threads: everything here on the loop thread. Ownership: as store.h says for batches. */
#ifndef RAFTD_STORE_WRITER_H
#define RAFTD_STORE_WRITER_H

#include "store/env.h"
#include "store/reserve.h"
#include "store/store.h"
#include "store/worker.h"

struct store_writer {
    const struct store_env *env;
    MDB_dbi dbi;
    struct store_worker worker;
    struct store_reserve reserve;
    struct store_batch batch; /* in hand */
};

struct store_result {
    uint64_t seq;
    uint32_t entries_count;
    uint64_t commit_us; /* begin to durable */
    int code;           /* 0 or -RD_EMAP_FULL: any other failure ends the process */
    /* (Told to stop while it waits for room, it writes nothing, and nobody takes the result.) */
};

int store_writer_init(struct store_writer *w, const struct store_env *env,
                      MDB_dbi dbi); /* 0, -errno */

/* Before its thread runs: do it here and now. 0, or the code. */
int store_writer_now(struct store_writer *w, const struct store_batch *batch);

/* Where no raftd runs: do it, and say so when it fails. 0, or a code after one log line. */
int store_writer_offline(const struct store_env *env, MDB_dbi dbi, const struct store_batch *batch);

void store_writer_submit(struct store_writer *w, const struct store_batch *batch);
/* false: nothing has completed. Clears the eventfd, frees the slot. */
bool store_writer_take(struct store_writer *w, struct store_result *out);

#endif
