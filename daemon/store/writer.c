#include "store/writer.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/record.h"
#include "store/rlog.h"
#include "store/stats.h"

enum { CLOSE_WAIT_MS = 5000 }; /* for a disk that may never answer */

/* ---- Log thread ---- */

static int put_hard(const struct store_env *env, MDB_txn *txn, const struct store_batch *batch)
{
    struct store_hard hard = {batch->cluster, batch->term, batch->vote, batch->loyal_ms};
    uint8_t record[STORE_HARD_SIZE];

    store_record_put_hard(&hard, record);
    return store_env_put(env, txn, STORE_NAME_HARD, record, sizeof record);
}

/* rc. All of the batch is durable, or nothing of it. */
static int write_batch(const struct store_env *env, MDB_dbi dbi, const struct store_batch *batch)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);

    if (rc != 0) {
        return rc;
    }
    if (batch->first != 0) {
        rc = store_rlog_write(txn, dbi, batch);
    }
    if (rc == 0 && batch->hard_set) {
        rc = put_hard(env, txn, batch);
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return store_env_commit(&txn);
}

/* After a failed write or sync nobody knows what the disk holds, and the next sync would claim
 * success for pages that were dropped: the process ends here, before anybody can try again. Only a
 * full map is known to have changed nothing. */
static int code_of_write(const struct store_env *env, int rc)
{
    if (rc == 0) {
        return 0;
    }
    int code = store_fault_report_running("the log cannot be written, raftd ends", env->path, rc);
    if (code != -RD_EMAP_FULL) {
        _exit(err_exit_daemon(code));
    }
    return code;
}

static void signal_loop(const struct store_writer *w)
{
    uint64_t one = 1;

    rd_assert(write(w->event_fd, &one, sizeof one) == (ssize_t)sizeof one);
}

static void *writer_main(void *arg)
{
    struct store_writer *w = arg;

    (void)pthread_mutex_lock(&w->mutex);
    for (;;) {
        while (w->phase != STORE_BUSY && !w->stopping) {
            (void)pthread_cond_wait(&w->wake, &w->mutex);
        }
        if (w->phase != STORE_BUSY) {
            break;
        }
        struct store_batch batch = w->batch;
        (void)pthread_mutex_unlock(&w->mutex);

        uint64_t begun_us = mono_now_us();
        int code = code_of_write(w->env, write_batch(w->env, w->dbi, &batch));
        uint64_t commit_us = mono_now_us() - begun_us;

        (void)pthread_mutex_lock(&w->mutex);
        w->code = code;
        w->commit_us = commit_us;
        w->phase = STORE_DONE;
        signal_loop(w);
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* ---- Loop thread ---- */

int store_writer_init(struct store_writer *w, const struct store_env *env, MDB_dbi dbi)
{
    int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (event_fd < 0) {
        return -errno;
    }
    *w = (struct store_writer){.env = env, .dbi = dbi, .event_fd = event_fd, .phase = STORE_IDLE};
    rd_assert(pthread_mutex_init(&w->mutex, NULL) == 0);
    rd_assert(pthread_cond_init(&w->wake, NULL) == 0);
    return 0;
}

int store_writer_start(struct store_writer *w)
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
    int error = pthread_create(&w->thread, NULL, writer_main, w);
    rd_assert(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (error) {
        return -error;
    }
    (void)pthread_setname_np(w->thread, "raftd-log");
    w->started = true;
    return 0;
}

/* Nobody waits for the batch any more, and the file is whole without it: a disk that hangs must not
 * keep the process from ending. */
static void join_or_end(const struct store_writer *w)
{
    uint64_t until_ms = mono_wall_ms() + CLOSE_WAIT_MS; /* the clock of pthread_timedjoin_np() */
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                                   .tv_nsec = (long)(until_ms % 1000 * 1000000)};

    int error = pthread_timedjoin_np(w->thread, NULL, &until);
    if (error == ETIMEDOUT) {
        log_error("store", "the disk hangs: a commit is outstanding, raftd ends without it",
                  LOG_STR("path", w->env->path), LOG_U64("waited_ms", CLOSE_WAIT_MS),
                  LOG_STR("do", "check the disk and the kernel log"));
        _exit(RD_EXIT_IO);
    }
    rd_assert(error == 0);
}

void store_writer_done(struct store_writer *w)
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

void store_writer_submit(struct store_writer *w, const struct store_batch *batch)
{
    mono_ms now = mono_now_ms();

    (void)pthread_mutex_lock(&w->mutex);
    rd_assert(w->started && w->phase == STORE_IDLE);
    w->batch = *batch;
    w->submitted = now;
    w->phase = STORE_BUSY;
    (void)pthread_mutex_unlock(&w->mutex);
    (void)pthread_cond_signal(&w->wake);
}

bool store_writer_take(struct store_writer *w, struct store_result *out)
{
    uint64_t ignored;
    bool taken = false;

    (void)pthread_mutex_lock(&w->mutex);
    if (w->phase == STORE_DONE) {
        rd_assert(read(w->event_fd, &ignored, sizeof ignored) == (ssize_t)sizeof ignored);
        *out = (struct store_result){w->batch.seq, w->batch.entries_count, w->commit_us, w->code};
        w->phase = STORE_IDLE;
        taken = true;
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return taken;
}

uint64_t store_writer_outstanding_ms(struct store_writer *w)
{
    mono_ms now = mono_now_ms();

    (void)pthread_mutex_lock(&w->mutex);
    uint64_t outstanding_ms = store_outstanding_ms(w->phase == STORE_BUSY, w->submitted, now);
    (void)pthread_mutex_unlock(&w->mutex);
    return outstanding_ms;
}
