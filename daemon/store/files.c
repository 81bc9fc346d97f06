#include "store/files.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/rlog.h"

#define ADVICE_MIXED "put back the whole directory as it was; without it, " RD_MAKE_ANEW
#define ADVICE_AMNESIA                                                                             \
    "this node may have promised votes it no longer knows: it must not take part again on this "   \
    "data; " RD_MAKE_ANEW

static int refuse_data(const struct store_env *env, const char *what, const char *why,
                       const char *advice)
{
    log_error("store", what, LOG_STR("path", env->path), LOG_STR("reason", why),
              LOG_STR("do", advice));
    return -RD_ECORRUPT;
}

static int refuse_half(const struct store_files *f, const char *what)
{
    log_error("store", what, LOG_STR("path", f->dir.path), LOG_STR("do", ADVICE_MIXED));
    return -RD_ECORRUPT;
}

/* ---- Reading the named records ---- */

/* For people; what cannot be read is not known. */
static void read_used(const struct store_env *env, MDB_txn *txn, char out[STORE_VERSION_SIZE])
{
    MDB_val value;

    if (store_env_get(env, txn, STORE_NAME_USED, &value) != 0 ||
        store_record_get_used(value.mv_data, value.mv_size, out)) {
        out[0] = 0;
    }
}

/* Nothing is wrong with it: it is only not for this raftd. */
static int refuse_format(const struct store_env *env, MDB_txn *txn, uint32_t format)
{
    char used_by[STORE_VERSION_SIZE];

    read_used(env, txn, used_by);
    log_error("store", "the data directory has a format that this raftd does not read",
              LOG_STR("path", env->path), LOG_U64("format", format),
              LOG_U64("reads_from", STORE_FORMAT_MIN), LOG_U64("reads_to", STORE_FORMAT),
              LOG_STR("used_by", used_by[0] ? used_by : "unknown"),
              LOG_STR("do", "use the version of raftd that used it last, or a later one; "
                            "nothing was changed"));
    return -RD_EFORMAT;
}

static bool is_empty(const struct store_env *env, MDB_txn *txn)
{
    MDB_stat stat;

    return mdb_stat(txn, env->named, &stat) == 0 && stat.ms_entries == 0;
}

/* `found` says whether there is an identity: an environment that was never finished has nothing. */
static int read_identity(const struct store_env *env, MDB_txn *txn, bool *found,
                         struct store_identity *out)
{
    MDB_val value;
    const char *why = "the record is missing";
    int rc = store_env_get(env, txn, STORE_NAME_FMT, &value);

    if (rc == MDB_NOTFOUND && is_empty(env, txn)) {
        *found = false;
        return 0;
    }
    if (rc == 0) {
        uint32_t format = store_record_format(value.mv_data, value.mv_size);
        if (format != 0 && !store_record_reads(format)) {
            return refuse_format(env, txn, format);
        }
        why = store_record_get_identity(value.mv_data, value.mv_size, out);
    } else if (rc != MDB_NOTFOUND) {
        return store_fault_report("the identity cannot be read", env->path, rc);
    }
    if (why) {
        return refuse_data(env, "the identity of the data directory cannot be read", why,
                           ADVICE_MIXED);
    }
    *found = true;
    return 0;
}

/* Written together with the identity, so an identity without it has lost it. */
static int read_hard(const struct store_env *env, MDB_txn *txn, struct store_hard *out)
{
    MDB_val value;
    const char *why = "the record is missing";
    int rc = store_env_get(env, txn, STORE_NAME_HARD, &value);

    if (rc == 0) {
        why = store_record_get_hard(value.mv_data, value.mv_size, out);
    } else if (rc != MDB_NOTFOUND) {
        return store_fault_report("term and vote cannot be read", env->path, rc);
    }
    return why ? refuse_data(env, "term and vote cannot be read", why, ADVICE_AMNESIA) : 0;
}

static int read_boot(const struct store_env *env, MDB_txn *txn, uint64_t *out)
{
    MDB_val value;
    const char *why = "the record is missing";
    int rc = store_env_get(env, txn, STORE_NAME_BOOT, &value);

    if (rc == 0) {
        why = store_record_get_boot(value.mv_data, value.mv_size, out);
    } else if (rc != MDB_NOTFOUND) {
        return store_fault_report("the start counter cannot be read", env->path, rc);
    }
    return why ? refuse_data(env, "the start counter cannot be read", why, ADVICE_AMNESIA) : 0;
}

static int read_bounds(const struct store_files *f, MDB_txn *txn, struct store_contents *c)
{
    int code = store_rlog_base(&f->log, txn, &c->base);
    int rc = code ? 0 : store_rlog_bounds(txn, f->dbi, &c->first, &c->last);

    if (code) {
        return code;
    }
    c->last = c->last ? c->last : c->base.index;
    return rc ? store_fault_report("the log cannot be read", f->log.path, rc) : 0;
}

/* ---- log/ ---- */

static int put_boot(const struct store_env *env, MDB_txn *txn, uint64_t incarnation)
{
    uint8_t record[STORE_BOOT_SIZE];

    store_record_put_boot(incarnation, record);
    return store_env_put(env, txn, STORE_NAME_BOOT, record, sizeof record);
}

static int put_identity(const struct store_env *env, MDB_txn *txn,
                        const struct store_identity *identity)
{
    uint8_t record[STORE_IDENTITY_SIZE];

    store_record_put_identity(identity, record);
    return store_env_put(env, txn, STORE_NAME_FMT, record, sizeof record);
}

static int put_fresh(struct store_files *f, MDB_txn *txn, const struct store_contents *c)
{
    uint8_t record[STORE_HARD_SIZE];
    int rc = put_identity(&f->log, txn, &c->identity);

    store_record_put_hard(&c->hard, record);
    if (rc == 0) {
        rc = store_env_put(&f->log, txn, STORE_NAME_HARD, record, sizeof record);
    }
    if (rc == 0) {
        rc = put_boot(&f->log, txn, c->incarnation);
    }
    if (rc == 0) {
        rc = mdb_dbi_open(txn, STORE_NAME_LOG, MDB_INTEGERKEY | MDB_CREATE, &f->dbi);
    }
    return rc ? store_fault_report("a new store cannot be written", f->log.path, rc) : 0;
}

static int make_fresh(struct store_files *f, MDB_txn *txn, raft_id id, struct store_contents *c)
{
    struct store_identity identity = {
        .format = STORE_FORMAT, .id = id, .created_ms = mono_wall_ms()};

    /* state/ gets its identity after log/: with one there, log/ once had its own. */
    if (store_dir_has_env(&f->dir, STORE_ENV_STATE)) {
        return refuse_half(f, "log/ is empty but state/ is there: the log was lost");
    }
    ssize_t size = getrandom(identity.store.bytes, sizeof identity.store.bytes, 0);
    rd_assert(size == (ssize_t)sizeof identity.store.bytes);
    *c = (struct store_contents){.fresh = true, .identity = identity};
    return put_fresh(f, txn, c);
}

/* What stands beside the identity. */
static int read_rest(struct store_files *f, MDB_txn *txn, struct store_contents *c)
{
    int code = read_hard(&f->log, txn, &c->hard);

    if (code == 0) {
        read_used(&f->log, txn, c->used_by);
        code = read_boot(&f->log, txn, &c->incarnation);
    }
    if (code == 0) {
        int rc = mdb_dbi_open(txn, STORE_NAME_LOG, MDB_INTEGERKEY, &f->dbi);
        code = rc ? store_fault_report("the log cannot be opened", f->log.path, rc)
                  : read_bounds(f, txn, c);
    }
    return code;
}

static int read_contents(struct store_files *f, MDB_txn *txn, const struct store_config *config,
                         struct store_contents *c)
{
    bool found = false;
    int code = read_identity(&f->log, txn, &found, &c->identity);

    if (code != 0) {
        return code;
    }
    if (!found) {
        return make_fresh(f, txn, config->id, c);
    }
    if (c->identity.id != config->id) {
        log_error("store", "the data directory belongs to another node",
                  LOG_STR("path", f->dir.path), LOG_U64("directory_id", c->identity.id),
                  LOG_U64("config_id", config->id),
                  LOG_STR("do", "correct id or data_dir in [node]"));
        return -RD_ECONFIG;
    }
    return read_rest(f, txn, c);
}

/* Runs `fill` in a write transaction. A transaction that changed nothing writes nothing, but the
 * handles it opened stay valid only when it commits. */
typedef int fill_cb(struct store_files *f, MDB_txn *txn, const struct store_config *config,
                    struct store_contents *c);

static int in_transaction(struct store_files *f, const struct store_env *env,
                          const struct store_config *config, struct store_contents *c,
                          fill_cb *fill)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);

    if (rc == 0) {
        int code = fill(f, txn, config, c);
        if (code != 0) {
            mdb_txn_abort(txn);
            return code;
        }
        rc = store_env_commit(&txn);
    }
    return rc ? store_fault_report("a transaction at the start failed", env->path, rc) : 0;
}

static int open_log(struct store_files *f, const struct store_config *config,
                    struct store_contents *c)
{
    /* Asked before LMDB would make an empty file where one was lost. */
    if (!store_dir_has_env(&f->dir, STORE_ENV_LOG) && store_dir_has_env(&f->dir, STORE_ENV_STATE)) {
        return refuse_half(f, "state/ is there but log/ is not: the log was lost");
    }
    int code = store_dir_make_env(&f->dir, STORE_ENV_LOG);
    if (code == 0) {
        code = store_env_open(f->dir.path, STORE_ENV_LOG, config->map_size, &f->log);
    }
    if (code == 0) {
        code = in_transaction(f, &f->log, config, c, read_contents);
    }
    if (code == 0) {
        code = store_dir_sync_env(&f->dir, STORE_ENV_LOG); /* a crash may have come before this */
    }
    return code;
}

/* ---- state/ ---- */

static bool has_raft_data(const struct store_contents *c)
{
    return c->hard.term != 0 || c->hard.vote != 0 || uuid_is_set(&c->hard.cluster) || c->last != 0;
}

/* Agree with log/, or finish what a crash between the two identities left undone. */
static int match_state(struct store_files *f, MDB_txn *txn, const struct store_config *config,
                       struct store_contents *c)
{
    struct store_identity identity;
    bool found = false;
    int code = read_identity(&f->state, txn, &found, &identity);

    (void)config;
    if (code != 0) {
        return code;
    }
    if (found) {
        return store_record_same_identity(&identity, &c->identity)
                   ? 0
                   : refuse_half(f, "log/ and state/ are not of the same store");
    }
    if (has_raft_data(c)) {
        return refuse_half(f, "log/ has data but state/ is empty: the state was lost");
    }
    c->fresh = true;
    int rc = put_identity(&f->state, txn, &c->identity);
    return rc ? store_fault_report("a new store cannot be written", f->state.path, rc) : 0;
}

static int open_state(struct store_files *f, const struct store_config *config,
                      struct store_contents *c)
{
    if (!store_dir_has_env(&f->dir, STORE_ENV_STATE) && has_raft_data(c)) {
        return refuse_half(f, "log/ has data but state/ is not there: the state was lost");
    }
    int code = store_dir_make_env(&f->dir, STORE_ENV_STATE);
    if (code == 0) {
        code = store_env_open(f->dir.path, STORE_ENV_STATE, config->map_size, &f->state);
    }
    if (code == 0) {
        code = in_transaction(f, &f->state, config, c, match_state);
    }
    if (code == 0) {
        code = store_dir_sync_env(&f->dir, STORE_ENV_STATE);
    }
    return code;
}

/* ---- All of it ---- */

static int count_start(struct store_files *f, MDB_txn *txn, const struct store_config *config,
                       struct store_contents *c)
{
    struct buf used = BUF_INIT;

    c->incarnation++;
    store_record_put_used(config->version, &used);
    int rc = put_boot(&f->log, txn, c->incarnation);
    if (rc == 0) {
        rc = store_env_put(&f->log, txn, STORE_NAME_USED, used.data, used.size);
    }
    buf_done(&used);
    return rc ? store_fault_report("the start cannot be recorded", f->log.path, rc) : 0;
}

int store_files_open(const struct store_config *config, struct store_files *out,
                     struct store_contents *contents)
{
    struct store_dir dir;
    int code = store_dir_open(config->data_dir, &dir);

    return code ? code : store_files_open_in(config, &dir, out, contents);
}

int store_files_open_in(const struct store_config *config, struct store_dir *dir,
                        struct store_files *out, struct store_contents *contents)
{
    struct store_files files = {.dir = *dir};
    struct store_contents c = {0};
    int code = open_log(&files, config, &c);

    if (code == 0) {
        code = open_state(&files, config, &c);
    }
    if (code == 0) {
        code = in_transaction(&files, &files.log, config, &c, count_start);
    }
    if (code != 0) {
        store_files_close(&files);
        return code;
    }
    *out = files;
    *contents = c;
    return 0;
}

static int read_log(struct store_files *f, MDB_txn *txn, struct store_contents *c)
{
    bool found = false;
    int code = read_identity(&f->log, txn, &found, &c->identity);

    if (code == 0 && !found) {
        code = refuse_half(f, "log/ has no identity: the making of the store was cut short");
    }
    return code ? code : read_rest(f, txn, c);
}

static int read_state(struct store_files *f, MDB_txn *txn, struct store_contents *c)
{
    struct store_identity identity;
    bool found = false;
    int code = read_identity(&f->state, txn, &found, &identity);

    if (code == 0 && (!found || !store_record_same_identity(&identity, &c->identity))) {
        code = refuse_half(f, "log/ and state/ are not of the same store");
    }
    return code;
}

typedef int read_cb(struct store_files *f, MDB_txn *txn, struct store_contents *c);

static int in_reading(struct store_files *f, const struct store_env *env, struct store_contents *c,
                      read_cb *read)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);

    if (rc == 0) {
        int code = read(f, txn, c);
        if (code != 0) {
            mdb_txn_abort(txn);
            return code;
        }
        rc = store_env_commit(&txn); /* handles opened in it stay valid only so */
    }
    return rc ? store_fault_report("a transaction failed", env->path, rc) : 0;
}

/* Of an environment that is there: 0 as map_size leaves it as large as it was made. */
static int open_env(const struct store_files *f, const char *name, bool to_change,
                    struct store_env *out)
{
    return to_change ? store_env_open(f->dir.path, name, 0, out)
                     : store_env_inspect(f->dir.path, name, out);
}

static bool is_missing(const char *data_dir, const char *name, char path[4096])
{
    struct stat st;

    (void)snprintf(path, 4096, "%s/%s", data_dir, name);
    return lstat(path, &st) != 0 && errno == ENOENT;
}

/* Asked first: opening might make it. */
static int open_there(const char *data_dir, bool to_change, struct store_dir *out)
{
    char path[4096];

    if (is_missing(data_dir, STORE_UNFINISHED_NAME, path) &&
        is_missing(data_dir, STORE_ENV_STATE "/data.mdb", path) &&
        is_missing(data_dir, STORE_ENV_LOG "/data.mdb", path)) {
        log_error("store", "there is no raftd store here", LOG_STR("path", data_dir),
                  LOG_STR("missing", path), LOG_STR("do", "name the data_dir of a raftd.conf"));
        return -RD_ECONFIG;
    }
    return (to_change ? store_dir_open : store_dir_open_to_look)(data_dir, out);
}

/* LMDB would make an empty file anew, or say nothing that helps. */
static int refuse_lost(const struct store_files *f)
{
    if (!store_dir_has_data(&f->dir, STORE_ENV_LOG)) {
        return refuse_half(f, "log/ has no data: the log was lost");
    }
    if (!store_dir_has_data(&f->dir, STORE_ENV_STATE)) {
        return refuse_half(f, "state/ has no data: the state was lost");
    }
    return 0;
}

int store_files_inspect(const char *data_dir, bool to_change, struct store_files *out,
                        struct store_contents *contents)
{
    struct store_files files = {.dir = {NULL, -1, -1}};
    struct store_contents c = {0};
    int code = open_there(data_dir, to_change, &files.dir);

    if (code == 0) {
        code = refuse_lost(&files);
    }
    if (code == 0) {
        code = open_env(&files, STORE_ENV_LOG, to_change, &files.log);
    }
    if (code == 0) {
        code = in_reading(&files, &files.log, &c, read_log);
    }
    if (code == 0) {
        code = open_env(&files, STORE_ENV_STATE, to_change, &files.state);
    }
    if (code == 0) {
        code = in_reading(&files, &files.state, &c, read_state);
    }
    if (code != 0) {
        store_files_close(&files);
        return code;
    }
    *out = files;
    *contents = c;
    return 0;
}

static int identity_in(const struct store_dir *dir, const char *name, struct store_identity *out)
{
    struct store_env env;
    MDB_txn *txn;
    bool found = false;
    int code = store_env_inspect(dir->path, name, &env);

    if (code != 0) {
        return code;
    }
    int rc = mdb_txn_begin(env.mdb, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        code = read_identity(&env, txn, &found, out);
        mdb_txn_abort(txn);
    } else {
        code = store_fault_report("the identity cannot be read", env.path, rc);
    }
    if (code == 0 && !found) {
        code = refuse_data(&env, "the identity of the data directory cannot be read",
                           "the record is missing", ADVICE_MIXED);
    }
    store_env_close(&env);
    return code;
}

int store_files_identity(const struct store_dir *dir, struct store_identity *out)
{
    int code = identity_in(dir, STORE_ENV_LOG, out);
    bool may_differ = code != 0 && code != -RD_EFORMAT; /* damage in one of them */

    return may_differ ? identity_in(dir, STORE_ENV_STATE, out) : code;
}

void store_files_close(struct store_files *files)
{
    store_env_close(&files->state);
    store_env_close(&files->log);
    store_dir_close(&files->dir);
}
