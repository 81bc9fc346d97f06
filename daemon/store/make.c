/* Whole data directories: made with what is in them, and made anew. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "store/fault.h"
#include "store/files.h"
#include "store/offline.h"
#include "store/rows.h"
#include "store/unfinished.h"
#include "store/writer.h"

#define RESTORE "restore"
#define RESET "reset"

#define MAP_SIZE (UINT64_C(16) << 30) /* raftd takes the one of its own configuration */

/* ---- Both ---- */

/* What is left of an earlier attempt, or is to be forgotten. The state first: the log is what says
 * whether its node may go. */
static int remove_store(const struct store_dir *dir)
{
    int code = store_unfinished_remove_env(dir, STORE_ENV_STATE);

    return code ? code : store_unfinished_remove_env(dir, STORE_ENV_LOG);
}

static int make_store(struct store_dir *dir, raft_id id, struct store_files *files,
                      struct uuid *store)
{
    const struct store_config config = {
        .data_dir = dir->path, .id = id, .map_size = MAP_SIZE, .version = RAFTD_VERSION};
    struct store_contents contents;
    int code = store_files_open_in(&config, dir, files, &contents);

    if (code == 0) {
        *store = contents.identity.store;
    }
    return code;
}

/* The files have to be closed before what was done is finished, and the directory be locked until then. */
static void close_envs(struct store_files *files)
{
    store_env_close(&files->state);
    store_env_close(&files->log);
}

/* ---- Make ---- */

static bool is_expected(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           strcmp(name, STORE_LOCK_NAME) == 0 || strcmp(name, "lost+found") == 0;
}

static int refuse_name(const struct store_dir *dir, const char *name)
{
    if (is_expected(name)) {
        return 0;
    }
    log_error("store", "the data directory is not empty", LOG_STR("path", dir->path),
              LOG_STR("found", name),
              LOG_STR("do", "name a directory that does not exist yet, or is empty"));
    return -RD_ENOT_EMPTY;
}

static int write_rows(const struct store_files *files, const struct store_beginning *b,
                      const struct store_mark *mark)
{
    struct store_rows rows;
    const struct store_flush flush = {
        .anew = true, .rows = b->rows, .rows_count = b->rows_count, .mark = *mark};
    int code = store_rows_init(&rows, &files->state);

    if (code == 0) {
        code = store_rows_now(&rows, &flush);
        store_worker_done(&rows.worker);
    }
    return code;
}

static int write_log(const struct store_files *files, const struct store_beginning *b,
                     const struct raft_point *base)
{
    const struct store_batch batch = {.seq = 1,
                                      .hard_set = true,
                                      .cluster = b->cluster,
                                      .term = base->term,
                                      .vote = b->id,
                                      .base = base,
                                      .reset = true};

    return store_writer_offline(&files->log, files->dbi, &batch);
}

/* The log last: with it the store is complete. */
static int write_all(const struct store_files *files, const struct store_beginning *b,
                     const struct uuid *store)
{
    struct store_mark mark = b->mark;

    mark.at.membership = b->membership(b->arg, store);
    int code = write_rows(files, b, &mark);
    if (code == 0) {
        code = write_log(files, b, &mark.at);
    }
    blob_unref(mark.at.membership);
    return code;
}

static int fill(struct store_dir *dir, const struct store_beginning *b)
{
    struct store_files files;
    struct uuid store;
    int code = remove_store(dir);

    if (code == 0) {
        code = make_store(dir, b->id, &files, &store);
        if (code != 0) {
            *dir = (struct store_dir){NULL, -1, -1}; /* closed, as all of it */
            return code;
        }
        code = write_all(&files, b, &store);
        close_envs(&files);
        *dir = files.dir;
    }
    return code ? code : store_unfinished_end(dir);
}

/* Nobody can have put anything of worth there. */
static void undo(const char *data_dir, bool was_there)
{
    struct store_dir dir;

    if (store_dir_open_unfinished(data_dir, &dir) != 0) {
        return;
    }
    if (remove_store(&dir) == 0) {
        (void)unlinkat(dir.fd, STORE_UNFINISHED_NAME, 0);
        (void)unlinkat(dir.fd, STORE_LOCK_NAME, 0);
    }
    store_dir_close(&dir);
    if (!was_there) {
        (void)rmdir(data_dir);
    }
}

int store_offline_make(const char *data_dir, const struct store_beginning *b)
{
    struct store_dir dir;
    bool was_there = access(data_dir, F_OK) == 0;

    store_fault_guard(data_dir);
    int code = store_dir_open_unfinished(data_dir, &dir);
    if (code != 0) {
        return code;
    }
    if (store_unfinished_node(&dir, RESTORE) == 0) {
        code = store_dir_each_name(&dir, refuse_name);
    }
    if (code != 0) {
        store_dir_close(&dir);
        return code;
    }
    code = store_unfinished_begin(&dir, RESTORE, b->id);
    if (code == 0) {
        code = fill(&dir, b);
    }
    store_dir_close(&dir);
    if (code != 0) {
        undo(data_dir, was_there);
    }
    return code;
}

/* ---- Reset ---- */

/* Asked before the directory is opened, which would make it. */
static int check_store(const char *data_dir)
{
    const struct store_dir dir = {NULL, open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1};

    if (dir.fd < 0) {
        return store_fault_report("the data directory cannot be opened", data_dir, errno);
    }
    bool is_store = store_dir_has_env(&dir, STORE_ENV_LOG) ||
                    store_dir_has_env(&dir, STORE_ENV_STATE) ||
                    store_unfinished_node(&dir, RESET) != 0;
    (void)close(dir.fd);
    if (!is_store) {
        log_error("store", "there is no raftd store here", LOG_STR("path", data_dir),
                  LOG_STR("do", "name the data_dir of a raftd.conf"));
    }
    return is_store ? 0 : -RD_ECONFIG;
}

/* Whose it is has to be known before it is forgotten. */
static int begin_reset(const struct store_dir *dir, raft_id *id)
{
    struct store_identity identity;

    *id = store_unfinished_node(dir, RESET);
    if (*id != 0) {
        return 0;
    }
    int code = store_files_identity(dir, &identity);
    if (code != 0) {
        return code;
    }
    *id = identity.id;
    return store_unfinished_begin(dir, RESET, *id);
}

int store_offline_reset(const char *data_dir, raft_id *id)
{
    struct store_files files;
    struct store_dir dir;
    struct uuid store;
    int code = check_store(data_dir);

    if (code != 0) {
        return code;
    }
    store_fault_guard(data_dir);
    code = store_dir_open_unfinished(data_dir, &dir);
    if (code != 0) {
        return code;
    }
    code = begin_reset(&dir, id);
    if (code == 0) {
        code = remove_store(&dir);
    }
    if (code != 0) {
        store_dir_close(&dir);
        return code;
    }
    code = make_store(&dir, *id, &files, &store);
    if (code != 0) {
        return code;
    }
    close_envs(&files);
    code = store_unfinished_end(&files.dir);
    store_dir_close(&files.dir);
    return code;
}

bool store_offline_is_half_reset(const char *data_dir)
{
    const struct store_dir dir = {NULL, open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1};
    bool half = dir.fd >= 0 && store_unfinished_node(&dir, RESET) != 0;

    if (dir.fd >= 0) {
        (void)close(dir.fd);
    }
    return half;
}
