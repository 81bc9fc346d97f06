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

static struct store_need need_of_batch(const struct store_batch *batch)
{
    struct store_need need = {.bytes = STORE_RESERVE_COMMIT};

    for (uint32_t i = 0; i < batch->entries_count; i++) {
        const struct raft_entry *e = &batch->entries[i];
        store_reserve_record(STORE_ENTRY_HEADER_SIZE + (e->data ? e->data->size : 0), &need);
    }
    return need;
}

/* Entries for which there is no room wait for it, for as long as it takes: to the loop the commit is
 * outstanding, like that of a disk that hangs. A term and a vote need none: they go where earlier ones
 * were. false: told to stop. */
static bool wait_for_room(struct store_writer *w, const struct store_batch *batch)
{
    const struct store_need need = need_of_batch(batch);
    bool news = false;

    while (batch->entries_count && !store_reserve_covers(&w->reserve, &need, &news)) {
        if (!store_worker_pause(&w->worker, STORE_RESERVE_AGAIN_MS, news)) {
            return false;
        }
        news = false;
    }
    return true;
}

static int run(void *arg, const void *job)
{
    struct store_writer *w = arg;

    if (!wait_for_room(w, job)) {
        return -RD_EDISK_FULL;
    }
    return code_of_write(w->env, write_batch(w->env, w->dbi, job));
}

static uint32_t keep_room(void *arg, bool *news)
{
    struct store_writer *w = arg;

    return store_reserve_keep(&w->reserve, news);
}

/* ---- Loop thread ---- */

int store_writer_init(struct store_writer *w, const struct store_env *env, MDB_dbi dbi)
{
    *w = (struct store_writer){.env = env, .dbi = dbi};
    store_reserve_init(&w->reserve, env);
    return store_worker_init(&w->worker, "raftd-log", env->path, run, keep_room, w);
}

int store_writer_now(struct store_writer *w, const struct store_batch *batch)
{
    return run(w, batch);
}

int store_writer_offline(const struct store_env *env, MDB_dbi dbi, const struct store_batch *batch)
{
    int rc = write_batch(env, dbi, batch);

    return rc ? store_fault_report("the log cannot be written", env->path, rc) : 0;
}

void store_writer_submit(struct store_writer *w, const struct store_batch *batch)
{
    store_worker_check_free(&w->worker);
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
