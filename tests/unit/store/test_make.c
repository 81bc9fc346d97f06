/* Tests of make.c, through offline.h: directories made with what is in them, and made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"
#include "store/offline.h"
#include "store/unfinished.h"

static bool exists(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    fixture_path(path, sizeof path, dir, name);
    return lstat(path, &st) == 0;
}

/* ---- Make ---- */

static struct blob *membership_of(const void *arg, const struct uuid *store)
{
    (void)arg;
    return blob_copy(store->bytes, sizeof store->bytes);
}

static int make(const char *dir)
{
    static const struct store_row rows[] = {
        {.key = "a", .key_size = 1, .value = "1", .value_size = 1},
        {.key = "b", .key_size = 1, .value = "2", .value_size = 1}};
    const struct store_beginning b = {
        .id = FIXTURE_NODE,
        .cluster = {{1, 2, 3}},
        .mark = {.at = {.index = 40, .term = 6, .chain = 5, .membership_index = 40},
                 .revision = 30,
                 .digest = 4},
        .membership = membership_of,
        .rows = rows,
        .rows_count = 2};

    return store_offline_make(dir, &b);
}

static int count_row(void *arg, const void *key, size_t key_size, const void *value,
                     size_t value_size)
{
    (void)key;
    (void)key_size;
    (void)value;
    (void)value_size;
    ++*(uint32_t *)arg;
    return 0;
}

static void assert_made(const char *dir)
{
    struct store_offline *o;
    uint32_t rows = 0;

    assert_false(exists(dir, "UNFINISHED"));
    assert_int_equal(store_offline_open(dir, false, &o), 0);
    const struct store_found *f = store_offline_found(o);
    assert_int_equal(f->id, FIXTURE_NODE);
    assert_int_equal(f->cluster.bytes[1], 2);
    assert_int_equal(f->term, 6);
    assert_int_equal(f->vote, FIXTURE_NODE);
    assert_int_equal(f->base.index, 40);
    assert_int_equal(f->base.term, 6);
    assert_int_equal(f->base.chain, 5);
    assert_int_equal(f->last, 40);
    assert_int_equal(f->first, 0);
    assert_int_equal(f->membership_index, 40);
    assert_memory_equal(f->membership->data, f->store.bytes, sizeof f->store.bytes);
    assert_int_equal(f->state_code, 0);
    assert_int_equal(f->mark.revision, 30);
    assert_int_equal(f->mark.digest, 4);
    assert_int_equal(store_offline_rows(o, count_row, &rows), 0);
    assert_int_equal(rows, 2);
    store_offline_close(o);
    struct store_info info;
    struct store *s = fixture_open(dir, &info); /* and raftd takes it */
    assert_int_equal(info.base.index, 40);
    store_close(s);
}

static void a_missing_directory_is_made(void **state)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, *state, "new");
    assert_int_equal(make(path), 0);
    assert_made(path);
}

static void an_empty_directory_is_taken(void **state)
{
    assert_int_equal(make(*state), 0);
    assert_made(*state);
}

static void assert_not_empty(const char *dir, const char *found)
{
    fixture_capture_begin();
    assert_int_equal(make(dir), -RD_ENOT_EMPTY);
    const char *text = fixture_capture_end();
    assert_non_null(strstr(text, "the data directory is not empty"));
    assert_non_null(strstr(text, found));
}

static void what_is_not_empty_is_refused_and_left(void **state)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, *state, "diary");
    assert_int_equal(mkdir(path, 0700), 0);
    fixture_capture_begin();
    assert_int_equal(make(*state), -RD_ECONFIG); /* somebody else's files */
    assert_non_null(strstr(fixture_capture_end(), "diary"));
    assert_true(exists(*state, "diary"));
    assert_false(exists(*state, "log"));
    assert_int_equal(rmdir(path), 0);
    fixture_fill(*state);
    assert_not_empty(*state, "found=");
    struct store_info info;
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(info.last, 1);
    store_close(s);
}

/* As it is left when it is cut short. */
static void leave_unfinished(const char *dir, const char *what)
{
    struct store_dir d;

    assert_int_equal(store_dir_open(dir, &d), 0);
    assert_int_equal(store_unfinished_begin(&d, what, FIXTURE_NODE), 0);
    store_dir_close(&d);
}

static void assert_raftd_refuses(const char *dir, const char *what)
{
    const struct store_config config = fixture_config(dir);

    fixture_capture_begin();
    assert_int_equal(fixture_open_code(&config), -RD_ECONFIG);
    const char *text = fixture_capture_end();
    assert_non_null(strstr(text, "is not finished"));
    assert_non_null(strstr(text, what));
}

static void one_cut_short_is_made_again(void **state)
{
    fixture_fill(*state); /* as far as it came */
    leave_unfinished(*state, "restore");
    assert_raftd_refuses(*state, "unfinished=restore");
    assert_int_equal(make(*state), 0);
    assert_made(*state);
}

static void another_change_cut_short_is_not_empty(void **state)
{
    fixture_fill(*state);
    leave_unfinished(*state, "reset");
    assert_not_empty(*state, "found=");
    assert_raftd_refuses(*state, "unfinished=reset");
}

static void block_rows(const char *dir)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, dir, "state");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* where a directory has to be */
    assert_true(fd >= 0);
    (void)close(fd);
}

static void a_failure_leaves_what_was_there(void **state)
{
    leave_unfinished(*state, "restore");
    block_rows(*state);
    fixture_capture_begin();
    assert_int_not_equal(make(*state), 0);
    assert_non_null(strstr(fixture_capture_end(), "cannot be changed"));
    assert_false(exists(*state, "log"));
}

/* ---- Reset ---- */

static struct uuid store_of(const char *dir)
{
    struct store_offline *o;

    assert_int_equal(store_offline_open(dir, false, &o), 0);
    const struct store_found *f = store_offline_found(o);
    struct uuid store = f->store;
    assert_int_equal(f->id, FIXTURE_NODE);
    store_offline_close(o);
    return store;
}

static void assert_reset(const char *dir, const struct uuid *before)
{
    raft_id id = 0;

    assert_int_equal(store_offline_reset(dir, &id), 0);
    assert_int_equal(id, FIXTURE_NODE);
    assert_false(exists(dir, "UNFINISHED"));
    struct uuid after = store_of(dir);
    assert_false(uuid_equal(&after, before));
    struct store_info info;
    struct store *s = fixture_open(dir, &info);
    assert_int_equal(info.term, 0);
    assert_int_equal(info.last, 0);
    store_close(s);
}

static void a_reset_keeps_the_node_only(void **state)
{
    fixture_fill(*state);
    const struct uuid before = store_of(*state);

    assert_false(store_offline_is_half_reset(*state));
    assert_reset(*state, &before);
}

/* At each step it may be cut short. */
static void a_reset_cut_short_is_finished(void **state)
{
    static const char *const gone[] = {
        "", "state/data.mdb", "state/lock.mdb", "state", "log/data.mdb", "log/lock.mdb", "log"};
    const char *dir = *state;
    char path[PATH_MAX];

    for (size_t steps = 0; steps < sizeof gone / sizeof gone[0]; steps++) {
        fixture_fill(dir);
        const struct uuid before = store_of(dir);
        leave_unfinished(dir, "reset");
        for (size_t i = 1; i <= steps; i++) {
            fixture_path(path, sizeof path, dir, gone[i]);
            assert_true(unlink(path) == 0 || rmdir(path) == 0 || errno == ENOENT);
        }
        assert_true(store_offline_is_half_reset(dir));
        assert_raftd_refuses(dir, "unfinished=reset");
        assert_reset(dir, &before);
    }
}

static void half_a_store_still_tells_whose_it_is(void **state)
{
    char path[PATH_MAX];

    fixture_fill(*state);
    const struct uuid before = store_of(*state);
    fixture_path(path, sizeof path, *state, "log/data.mdb");
    assert_int_equal(unlink(path), 0);
    fixture_capture_begin();
    assert_reset(*state, &before);
    (void)fixture_capture_end();
}

static void nothing_is_reset_where_no_store_is(void **state)
{
    char path[PATH_MAX];
    raft_id id;

    fixture_capture_begin();
    assert_int_equal(store_offline_reset(*state, &id), -RD_ECONFIG);
    assert_non_null(strstr(fixture_capture_end(), "there is no raftd store here"));
    fixture_path(path, sizeof path, *state, "nothing");
    fixture_capture_begin();
    assert_int_equal(store_offline_reset(path, &id), -RD_ECONFIG);
    (void)fixture_capture_end();
    assert_false(exists(*state, "nothing"));
}

static void a_store_in_use_is_not_reset(void **state)
{
    struct store_info info;
    struct store *s = fixture_open(*state, &info);
    raft_id id;

    fixture_capture_begin();
    assert_int_equal(store_offline_reset(*state, &id), -RD_ECONFIG);
    assert_non_null(strstr(fixture_capture_end(), "another process holds the data directory"));
    store_close(s);
}

#define MAKE_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MAKE_TEST(a_missing_directory_is_made),
        MAKE_TEST(an_empty_directory_is_taken),
        MAKE_TEST(what_is_not_empty_is_refused_and_left),
        MAKE_TEST(one_cut_short_is_made_again),
        MAKE_TEST(another_change_cut_short_is_not_empty),
        MAKE_TEST(a_failure_leaves_what_was_there),
        MAKE_TEST(a_reset_keeps_the_node_only),
        MAKE_TEST(a_reset_cut_short_is_finished),
        MAKE_TEST(half_a_store_still_tells_whose_it_is),
        MAKE_TEST(nothing_is_reset_where_no_store_is),
        MAKE_TEST(a_store_in_use_is_not_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
