/* Tests of env.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"
#include "store/env.h"

static void make(const char *dir, const char *name)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static struct store_env open_in(const char *dir)
{
    struct store_env env;

    assert_int_equal(store_env_open(dir, "log", FIXTURE_MAP_SIZE, &env), 0);
    return env;
}

static MDB_txn *begin(const struct store_env *env, unsigned flags)
{
    MDB_txn *txn;

    assert_int_equal(mdb_txn_begin(env->mdb, NULL, flags, &txn), 0);
    return txn;
}

static void named_records_survive(void **state)
{
    MDB_val value;

    make(*state, "log");
    struct store_env env = open_in(*state);
    MDB_txn *txn = begin(&env, 0);
    assert_int_equal(store_env_get(&env, txn, "hs", &value), MDB_NOTFOUND);
    assert_int_equal(store_env_put(&env, txn, "hs", "one", 3), 0);
    assert_int_equal(store_env_put(&env, txn, "hs", "three", 5), 0);
    assert_int_equal(store_env_commit(&txn), 0);
    assert_null(txn);
    store_env_close(&env);

    env = open_in(*state);
    txn = begin(&env, MDB_RDONLY);
    assert_int_equal(store_env_get(&env, txn, "hs", &value), 0);
    assert_int_equal(value.mv_size, 5);
    assert_memory_equal(value.mv_data, "three", 5);
    assert_true(store_env_bytes(txn, env.named) > 0);
    mdb_txn_abort(txn);
    store_env_close(&env);
}

/* A program that the process starts must not hold the data files or their locks. */
static void descriptors_do_not_survive_exec(void **state)
{
    struct dirent *entry;
    unsigned seen = 0;

    make(*state, "log");
    struct store_env env = open_in(*state);
    DIR *fds = opendir("/proc/self/fd");
    assert_non_null(fds);
    while ((entry = readdir(fds)) != NULL) {
        char target[PATH_MAX];
        ssize_t size = readlinkat(dirfd(fds), entry->d_name, target, sizeof target - 1);
        if (size <= 0) {
            continue;
        }
        target[size] = 0;
        if (strncmp(target, *state, strlen(*state)) == 0) {
            int flags = fcntl((int)strtol(entry->d_name, NULL, 10), F_GETFD);
            assert_true(flags >= 0 && (flags & FD_CLOEXEC));
            seen++;
        }
    }
    (void)closedir(fds);
    assert_true(seen >= 2); /* data and lock file at least */
    store_env_close(&env);
}

static void no_flag_weakens_a_commit(void **state)
{
    unsigned flags;

    make(*state, "log");
    struct store_env env = open_in(*state);
    assert_int_equal(mdb_env_get_flags(env.mdb, &flags), 0);
    assert_int_equal(flags & (MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP | MDB_MAPASYNC), 0);
    assert_true(flags & MDB_NOTLS);
    store_env_close(&env);
}

static void map_size_need_not_be_whole_pages(void **state)
{
    struct store_env env;
    MDB_envinfo info;

    make(*state, "log");
    assert_int_equal(store_env_open(*state, "log", FIXTURE_MAP_SIZE + 123, &env), 0);
    assert_int_equal(mdb_env_info(env.mdb, &info), 0);
    assert_int_equal(info.me_mapsize, FIXTURE_MAP_SIZE);
    store_env_close(&env);
}

static void assert_open_fails(const char *dir, uint64_t map_size, int want, const char *words)
{
    struct store_env env;

    fixture_capture_begin();
    int code = store_env_open(dir, "log", map_size, &env);
    assert_non_null(strstr(fixture_capture_end(), words));
    assert_int_equal(code, want);
}

static void what_is_no_environment_is_refused(void **state)
{
    char path[PATH_MAX];
    char junk[8192];

    assert_open_fails(*state, FIXTURE_MAP_SIZE, -RD_ECONFIG, "cannot be opened"); /* no directory */
    make(*state, "log");
    fixture_path(path, sizeof path, *state, "log/data.mdb");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    memset(junk, 0x5a, sizeof junk);
    assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
    (void)close(fd);
    assert_open_fails(*state, FIXTURE_MAP_SIZE, -RD_ECORRUPT, "no meta page");
    assert_int_equal(truncate(path, 100), 0); /* not even a meta page */
    assert_open_fails(*state, FIXTURE_MAP_SIZE, -RD_ECORRUPT, "file ends");
}

static void too_large_a_map_is_a_matter_of_configuration(void **state)
{
    make(*state, "log");
    assert_open_fails(*state, UINT64_C(1) << 60, -RD_ECONFIG, "cannot be opened");
}

static void a_long_name_is_a_bug(void *arg)
{
    struct store_env *env = arg;
    MDB_val value;

    (void)store_env_get(env, NULL, "a name that is longer than any record of the store", &value);
}

static void long_names_are_refused(void **state)
{
    struct store_env env = {NULL, 0, NULL};

    (void)state;
    fixture_capture_begin();
    int status = fixture_child(a_long_name_is_a_bug, &env);
    (void)fixture_capture_end();
    assert_int_equal(status, RD_EXIT_BUG);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(named_records_survive),
        WITH_DIR(descriptors_do_not_survive_exec),
        WITH_DIR(no_flag_weakens_a_commit),
        WITH_DIR(map_size_need_not_be_whole_pages),
        WITH_DIR(what_is_no_environment_is_refused),
        WITH_DIR(too_large_a_map_is_a_matter_of_configuration),
        cmocka_unit_test(long_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
