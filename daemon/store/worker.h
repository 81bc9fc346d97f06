/* worker.h - a thread with one slot: takes one job, does it, says so, and tidies up after it.
 *
 * The slot is guarded by a mutex; the eventfd tells the loop that it has a result, or that the chore has
 * news. Each environment has one worker, which alone writes to it.
 * Threads: everything here on the loop thread; `run` and `chore` on the worker's. Ownership: a job stays
 * the caller's, unchanged until it is taken back. */
#ifndef RAFTD_STORE_WORKER_H
#define RAFTD_STORE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum store_phase {
    STORE_IDLE, /* the slot is free */
    STORE_BUSY, /* the job is the thread's */
    STORE_DONE, /* the result waits for the loop thread */
};

/* 0, or the code that store_worker_take() hands on. What nobody may go on after ends the process. */
typedef int store_job(void *arg, const void *job);
/* At the start and after each job, once that is reported, so that nobody waits for it. Returns after how
 * many milliseconds it wants to be run again if no job comes before; 0: only then. `news`: the loop has
 * to look at what it did. */
typedef uint32_t store_chore(void *arg, bool *news);

struct store_worker {
    const char *name; /* of the thread */
    const char *path; /* what it writes to, for messages */
    store_job *run;
    store_chore *chore;
    void *arg;
    int event_fd;
    bool started;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;
    bool stopping;
    bool poked; /* the eventfd is readable, without a result */
    uint32_t chore_in_ms;
    enum store_phase phase;
    const void *job;
    mono_ms submitted;
    uint64_t took_us;
    int code;
};

int store_worker_init(struct store_worker *w, const char *name, const char *path, store_job *run,
                      store_chore *chore, void *arg); /* 0, -errno */
/* Finishes the job in hand. A disk that hangs is waited for 5 s: then one log line and _exit 81. */
void store_worker_done(struct store_worker *w);
int store_worker_start(struct store_worker *w); /* 0, -errno */

/* The slot is free (asserted): nobody reads the last job any more. */
void store_worker_check_free(struct store_worker *w);
void store_worker_submit(struct store_worker *w, const void *job); /* likewise */
/* On the worker's thread, within a job that cannot go on yet: wait. `news` as a chore's. false: told to
 * stop meanwhile. */
bool store_worker_pause(struct store_worker *w, uint32_t ms, bool news);
/* false: nothing is done yet. Clears the eventfd, frees the slot. */
bool store_worker_take(struct store_worker *w, int *code, uint64_t *took_us);
bool store_worker_is_idle(struct store_worker *w);
uint64_t store_worker_outstanding_ms(struct store_worker *w);

#endif
