#include "store/writer.h"

#include <unistd.h>

#include "base/err.h"
#include "store/fault.h"
#include "store/record.h"
#include "store/rlog.h"

/* ---- On its thread ---- */

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
    if (batch->first != 0 || batch->base) {
        rc = store_rlog_write(env, txn, dbi, batch);
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

static int run(void *arg, const void *job)
{
    const struct store_writer *w = arg;

    return code_of_write(w->env, write_batch(w->env, w->dbi, job));
}

/* ---- Loop thread ---- */

int store_writer_init(struct store_writer *w, const struct store_env *env, MDB_dbi dbi)
{
    *w = (struct store_writer){.env = env, .dbi = dbi};
    return store_worker_init(&w->worker, "raftd-log", env->path, run, w);
}

int store_writer_now(struct store_writer *w, const struct store_batch *batch)
{
    return run(w, batch);
}

void store_writer_submit(struct store_writer *w, const struct store_batch *batch)
{
    w->batch = *batch;
    store_worker_submit(&w->worker, &w->batch);
}

bool store_writer_take(struct store_writer *w, struct store_result *out)
{
    int code;
    uint64_t commit_us;

    if (!store_worker_take(&w->worker, &code, &commit_us)) {
        return false;
    }
    *out = (struct store_result){w->batch.seq, w->batch.entries_count, commit_us, code};
    return true;
}
