/* writer.h - the log thread: takes one batch, makes it durable, says so.
 *
 * The hand-over is a slot under a mutex; the eventfd tells the loop that the slot has a result.
 * Threads: everything here on the loop thread. Ownership: as store.h says for batches. */
#ifndef RAFTD_STORE_WRITER_H
#define RAFTD_STORE_WRITER_H

#include <pthread.h>

#include "store/env.h"
#include "store/store.h"

enum store_phase {
    STORE_IDLE, /* the slot is free */
    STORE_BUSY, /* the batch is the log thread's */
    STORE_DONE, /* the result waits for the loop thread */
};

struct store_writer {
    const struct store_env *env;
    MDB_dbi dbi;
    int event_fd;
    bool started;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;
    bool stopping;
    enum store_phase phase;
    struct store_batch batch;
    mono_ms submitted;
    uint64_t commit_us;
    int code; /* 0 or -RD_EMAP_FULL: any other failure ends the process */
};

struct store_result {
    uint64_t seq;
    uint32_t entries_count;
    uint64_t commit_us; /* begin to durable */
    int code;
};

int store_writer_init(struct store_writer *w, const struct store_env *env,
                      MDB_dbi dbi);             /* 0, -errno */
void store_writer_done(struct store_writer *w); /* as store_close() says */
int store_writer_start(struct store_writer *w); /* 0, -errno */

void store_writer_submit(struct store_writer *w, const struct store_batch *batch);
/* false: nothing has completed. Clears the eventfd, frees the slot. */
bool store_writer_take(struct store_writer *w, struct store_result *out);
uint64_t store_writer_outstanding_ms(struct store_writer *w);

#endif
