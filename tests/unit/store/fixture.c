#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "raft/raft.h"

#define WAIT_MS 20000

/* ---- Directories ---- */

int fixture_setup(void **state)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    fixture_path(path, sizeof path, base ? base : "/tmp", "raftd-store-XXXXXX");
    log_set_level(LOG_WARNING); /* else every start of a store has its line */
    if (!mkdtemp(path)) {
        return -1;
    }
    *state = mem_strdup(path);
    return 0;
}

void fixture_path(char *out, size_t out_size, const char *dir, const char *name)
{
    int size = snprintf(out, out_size, "%s/%s", dir, name);

    assert_true(size > 0 && (size_t)size < out_size);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

void fixture_remove(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int fixture_teardown(void **state)
{
    fixture_remove(*state);
    mem_free(*state);
    return 0;
}

static void copy_file(const char *from, const char *to)
{
    char bytes[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t size;

    assert_true(in >= 0 && out >= 0);
    while ((size = read(in, bytes, sizeof bytes)) > 0) {
        assert_int_equal(write(out, bytes, (size_t)size), size);
    }
    assert_int_equal(size, 0);
    (void)close(in);
    (void)close(out);
}

void fixture_copy(const char *from, const char *to)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};

    (void)mkdir(to, 0700);
    for (size_t i = 0; i < 2; i++) {
        char source[PATH_MAX];
        char target[PATH_MAX];
        fixture_path(source, sizeof source, from, files[i]);
        fixture_path(target, sizeof target, to, files[i]);
        copy_file(source, target);
    }
}

/* ---- stderr ---- */

static int capture_saved = -1;
static int capture_memory = -1;
static char capture_text[16384];

void fixture_capture_begin(void)
{
    capture_saved = dup(STDERR_FILENO);
    capture_memory = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(capture_saved >= 0 && capture_memory >= 0);
    assert_true(dup2(capture_memory, STDERR_FILENO) >= 0);
}

const char *fixture_capture_end(void)
{
    assert_true(dup2(capture_saved, STDERR_FILENO) >= 0);
    ssize_t size = pread(capture_memory, capture_text, sizeof capture_text - 1, 0);
    assert_true(size >= 0);
    capture_text[size] = 0;
    (void)close(capture_saved);
    (void)close(capture_memory);
    return capture_text;
}

/* ---- Logs ---- */

void fixture_log_add(struct fixture_log *log, raft_term term, size_t payload_size, uint64_t seed)
{
    struct prng prng;
    struct blob *data = payload_size ? blob_new(payload_size) : NULL;

    prng_seed(&prng, seed);
    for (size_t i = 0; i < payload_size; i++) {
        data->data[i] = (uint8_t)prng_next(&prng);
    }
    if (log->count == log->capacity) {
        log->capacity = log->capacity ? log->capacity * 2 : 64;
        log->entries = mem_realloc(log->entries, log->capacity * sizeof log->entries[0]);
    }
    struct raft_entry entry = {.index = log->count + 1,
                               .term = term,
                               .type = data ? RAFT_ENTRY_COMMAND : RAFT_ENTRY_NOOP,
                               .data = data};
    entry.chain = raft_chain_after(log->count ? log->entries[log->count - 1].chain : 0, &entry);
    log->entries[log->count++] = entry;
}

void fixture_log_cut(struct fixture_log *log, raft_index first)
{
    while (log->count >= first) {
        blob_unref(log->entries[--log->count].data);
    }
}

void fixture_log_done(struct fixture_log *log)
{
    fixture_log_cut(log, 1);
    mem_free(log->entries);
}

struct store_batch fixture_batch(const struct fixture_log *log, uint64_t seq, raft_index first)
{
    return (struct store_batch){.seq = seq,
                                .hard_set = true,
                                .cluster = {.bytes = {0xc1}},
                                .term = log->entries[log->count - 1].term,
                                .vote = 1,
                                .first = first,
                                .entries = &log->entries[first - 1],
                                .entries_count = log->count - (uint32_t)first + 1};
}

/* ---- Stores ---- */

struct store_config fixture_config(const char *dir)
{
    return (struct store_config){.data_dir = dir,
                                 .id = FIXTURE_NODE,
                                 .map_size = FIXTURE_MAP_SIZE,
                                 .stall_timeout_ms = 2000,
                                 .version = "0.0.1"};
}

struct store *fixture_open(const char *dir, struct store_info *info)
{
    struct store_config config = fixture_config(dir);
    struct store *s = NULL;

    assert_int_equal(store_open(&config, &s, info), 0);
    return s;
}

int fixture_open_code(const struct store_config *config)
{
    struct store_info info;
    struct store *s = NULL;
    int code = store_open(config, &s, &info);

    if (code == 0) {
        store_close(s);
    } else {
        assert_null(s);
    }
    return code;
}

int fixture_wait(struct store *s, uint64_t *seq)
{
    struct pollfd wait = {.fd = store_event_fd(s), .events = POLLIN};
    int code;

    do { /* it may be readable for other news */
        assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
        code = store_completed(s, seq);
    } while (code == 0 && *seq == 0);
    return code;
}

void fixture_write(struct store *s, const struct store_batch *batch)
{
    uint64_t seq = 0;

    store_submit(s, batch);
    assert_int_equal(fixture_wait(s, &seq), 0);
    assert_int_equal(seq, batch->seq);
}

void fixture_fill(const char *dir)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    fixture_log_add(&log, 1, 10, 1);
    assert_int_equal(store_start(s), 0);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    fixture_write(s, &batch);
    store_close(s);
    fixture_log_done(&log);
}

struct compare {
    const struct fixture_log *log;
    uint32_t seen;
};

static int compare_entry(void *arg, const struct raft_entry *entry)
{
    struct compare *c = arg;

    assert_true(c->seen < c->log->count);
    const struct raft_entry *want = &c->log->entries[c->seen++];
    assert_int_equal(entry->index, want->index);
    assert_int_equal(entry->term, want->term);
    assert_int_equal(entry->chain, want->chain);
    assert_int_equal(entry->type, want->type);
    assert_int_equal(entry->data != NULL, want->data != NULL);
    if (want->data) {
        assert_int_equal(entry->data->size, want->data->size);
        assert_memory_equal(entry->data->data, want->data->data, want->data->size);
    }
    return 0;
}

int fixture_verify(struct store *s, const struct fixture_log *log)
{
    struct compare c = {log, 0};
    const struct raft_point nothing = {0};
    struct store_info info;
    int code = store_verify(s, &nothing, compare_entry, NULL, &c, &info);

    if (code == 0) {
        assert_int_equal(c.seen, log->count);
    }
    return code;
}

void fixture_edit(const char *dir, const char *name, fixture_edit_cb *edit, void *arg)
{
    char path[PATH_MAX];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi named;

    fixture_path(path, sizeof path, dir, name);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 4), 0);
    assert_int_equal(mdb_env_set_mapsize(env, FIXTURE_MAP_SIZE), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOTLS, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &named), 0);
    edit(txn, named, arg);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

int fixture_child(fixture_child_cb *body, void *arg)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        /* Else a failed assertion would go on with the parent's next test. */
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
        body(arg);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- A small file system ---- */

static bool put_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    (void)close(fd);
    return done;
}

/* Root of nothing but this child's own mounts, whoever runs the test. */
static bool enter_namespace(void)
{
    char users[32];
    char groups[32];

    (void)snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    (void)snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put_file("/proc/self/setgroups", "deny") &&
           put_file("/proc/self/uid_map", users) && put_file("/proc/self/gid_map", groups);
}

void fixture_small_disk(const char *dir, const char *options)
{
    if (!enter_namespace() || mount("none", dir, "tmpfs", 0, options) != 0) {
        _exit(FIXTURE_NO_NAMESPACE);
    }
}

void fixture_put_filler(const char *path, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)size), 0);
    (void)close(fd);
}

void fixture_fill_disk(const char *dir)
{
    struct statvfs fs;
    char path[PATH_MAX];

    fixture_path(path, sizeof path, dir, "filler");
    assert_int_equal(statvfs(dir, &fs), 0);
    fixture_put_filler(path, (size_t)(fs.f_bfree * fs.f_frsize));
}
