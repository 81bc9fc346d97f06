#include "store/worker.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "store/stats.h"

enum { CLOSE_WAIT_MS = 5000 }; /* for a disk that may never answer */

/* ---- The thread ---- */

static void signal_loop(const struct store_worker *w)
{
    uint64_t one = 1;

    rd_assert(write(w->event_fd, &one, sizeof one) == (ssize_t)sizeof one);
}

static void poke(struct store_worker *w, bool news)
{
    if (news && !w->poked) {
        w->poked = true;
        signal_loop(w);
    }
}

/* The mutex is held here, but not while it works; as below. */
static void run_chore(struct store_worker *w)
{
    bool news = false;

    (void)pthread_mutex_unlock(&w->mutex);
    uint32_t chore_in_ms = w->chore(w->arg, &news);
    (void)pthread_mutex_lock(&w->mutex);
    w->chore_in_ms = chore_in_ms;
    poke(w, news);
}

static void run_job(struct store_worker *w)
{
    const void *job = w->job;

    (void)pthread_mutex_unlock(&w->mutex);
    uint64_t begun_us = mono_now_us();
    int code = w->run(w->arg, job);
    uint64_t took_us = mono_now_us() - begun_us;

    (void)pthread_mutex_lock(&w->mutex);
    w->code = code;
    w->took_us = took_us;
    w->phase = STORE_DONE;
    signal_loop(w);
}

/* false: so much time has passed. */
static bool wait_for_wake(struct store_worker *w, uint32_t ms)
{
    const struct timespec until = mono_wait_until(ms);

    return pthread_cond_timedwait(&w->wake, &w->mutex, &until) != ETIMEDOUT;
}

/* false: told to stop, and there is none. */
static bool wait_for_job(struct store_worker *w)
{
    while (w->phase != STORE_BUSY && !w->stopping) {
        if (w->chore_in_ms == 0) {
            (void)pthread_cond_wait(&w->wake, &w->mutex);
        } else if (!wait_for_wake(w, w->chore_in_ms)) {
            run_chore(w);
        }
    }
    return w->phase == STORE_BUSY;
}

static void *worker_main(void *arg)
{
    struct store_worker *w = arg;

    (void)pthread_mutex_lock(&w->mutex);
    run_chore(w);
    while (wait_for_job(w)) {
        run_job(w);
        run_chore(w);
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return NULL;
}

bool store_worker_pause(struct store_worker *w, uint32_t ms, bool news)
{
    (void)pthread_mutex_lock(&w->mutex);
    poke(w, news);
    if (!w->stopping) {
        (void)wait_for_wake(w, ms);
    }
    bool stopping = w->stopping;
    (void)pthread_mutex_unlock(&w->mutex);
    return !stopping;
}

/* ---- Loop thread ---- */

int store_worker_init(struct store_worker *w, const char *name, const char *path, store_job *run,
                      store_chore *chore, void *arg)
{
    pthread_condattr_t clock;
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (event_fd < 0) {
        return -errno;
    }
    *w = (struct store_worker){.name = name,
                               .path = path,
                               .run = run,
                               .chore = chore,
                               .arg = arg,
                               .event_fd = event_fd,
                               .phase = STORE_IDLE};
    rd_assert(pthread_mutex_init(&w->mutex, NULL) == 0);
    rd_assert(pthread_condattr_init(&clock) == 0);
    rd_assert(pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    rd_assert(pthread_cond_init(&w->wake, &clock) == 0);
    (void)pthread_condattr_destroy(&clock);
    return 0;
}

int store_worker_start(struct store_worker *w)
{
    sigset_t blocked;
    sigset_t before;

    /* Signals are the loop's business, but a fault must reach its handler in the thread it hits:
     * the kernel kills a process that blocks it. */
    (void)sigfillset(&blocked);
    (void)sigdelset(&blocked, SIGBUS);
    (void)sigdelset(&blocked, SIGSEGV);
    (void)sigdelset(&blocked, SIGFPE);
    (void)sigdelset(&blocked, SIGILL);
    (void)sigdelset(&blocked, SIGABRT);
    rd_assert(pthread_sigmask(SIG_SETMASK, &blocked, &before) == 0);
    int error = pthread_create(&w->thread, NULL, worker_main, w);
    rd_assert(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (error) {
        return -error;
    }
    (void)pthread_setname_np(w->thread, w->name);
    w->started = true;
    return 0;
}

/* Nobody waits for the job any more, and the file is whole without it: a disk that hangs must not
 * keep the process from ending. */
static void join_or_end(const struct store_worker *w)
{
    uint64_t until_ms = mono_wall_ms() + CLOSE_WAIT_MS; /* the clock of pthread_timedjoin_np() */
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                   .tv_nsec = (long)(until_ms % 1000 * 1000000)};

    int error = pthread_timedjoin_np(w->thread, NULL, &until);
    if (error == ETIMEDOUT) {
        log_error("store", "the disk hangs: a commit is outstanding, raftd ends without it",
                  LOG_STR("path", w->path), LOG_U64("waited_ms", CLOSE_WAIT_MS),
                  LOG_STR("do", "check the disk and the kernel log"));
        _exit(RD_EXIT_IO);
    }
    rd_assert(error == 0);
}

void store_worker_done(struct store_worker *w)
{
    if (w->started) {
        (void)pthread_mutex_lock(&w->mutex);
        w->stopping = true;
        (void)pthread_cond_signal(&w->wake);
        (void)pthread_mutex_unlock(&w->mutex);
        join_or_end(w);
    }
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->mutex);
    (void)close(w->event_fd);
}

void store_worker_check_free(struct store_worker *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    rd_assert(w->started && w->phase == STORE_IDLE);
    (void)pthread_mutex_unlock(&w->mutex);
}

void store_worker_submit(struct store_worker *w, const void *job)
{
    mono_ms now = mono_now_ms();

    store_worker_check_free(w); /* and only this thread takes it */
    (void)pthread_mutex_lock(&w->mutex);
    w->job = job;
    w->submitted = now;
    w->phase = STORE_BUSY;
    (void)pthread_mutex_unlock(&w->mutex);
    (void)pthread_cond_signal(&w->wake);
}

bool store_worker_take(struct store_worker *w, int *code, uint64_t *took_us)
{
    uint64_t ignored;
    bool taken = false;

    (void)pthread_mutex_lock(&w->mutex);
    if (w->phase == STORE_DONE || w->poked) {
        rd_assert(read(w->event_fd, &ignored, sizeof ignored) == (ssize_t)sizeof ignored);
        w->poked = false;
    }
    if (w->phase == STORE_DONE) {
        *code = w->code;
        *took_us = w->took_us;
        w->phase = STORE_IDLE;
        taken = true;
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return taken;
}

bool store_worker_is_idle(struct store_worker *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    bool idle = w->phase == STORE_IDLE;
    (void)pthread_mutex_unlock(&w->mutex);
    return idle;
}

uint64_t store_worker_outstanding_ms(struct store_worker *w)
{
    mono_ms now = mono_now_ms();

    (void)pthread_mutex_lock(&w->mutex);
    uint64_t outstanding_ms = store_outstanding_ms(w->phase == STORE_BUSY, w->submitted, now);
    (void)pthread_mutex_unlock(&w->mutex);
    return outstanding_ms;
}
