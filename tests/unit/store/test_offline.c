/* Tests of offline.h: looks, finds, and leaves everything as it was; adds one entry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"
#include "store/offline.h"

static struct store_offline *open_sound(const char *dir, bool to_change)
{
    struct store_offline *o;

    assert_int_equal(store_offline_open(dir, to_change, &o), 0);
    return o;
}

static void assert_refused(const char *dir, int code, const char *why)
{
    struct store_offline *o;

    fixture_capture_begin();
    assert_int_equal(store_offline_open(dir, false, &o), code);
    assert_non_null(strstr(fixture_capture_end(), why));
}

static void a_sound_store_is_described(void **state)
{
    const char *dir = *state;

    fixture_fill(dir);
    struct store_offline *o = open_sound(dir, false);
    const struct store_found *f = store_offline_found(o);
    assert_int_equal(f->id, fixture_config(dir).id);
    assert_int_equal(f->first, 1);
    assert_int_equal(f->last, 1);
    assert_int_equal(f->last_term, 1);
    assert_int_equal(f->term, 1);
    assert_int_equal(f->base.index, 0);
    assert_int_equal(f->mark.at.index, 0);
    assert_int_equal(f->state_code, 0);
    assert_true(uuid_is_set(&f->store));
    assert_true(f->last_chain != 0);
    uint64_t incarnation = f->incarnation;
    store_offline_close(o);
    /* Looking is not a start: nothing was counted. */
    o = open_sound(dir, false);
    assert_int_equal(store_offline_found(o)->incarnation, incarnation);
    store_offline_close(o);
}

static void stat_of(const char *dir, const char *name, struct stat *out)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, dir, name);
    assert_int_equal(stat(path, out), 0);
}

static void looking_changes_no_file(void **state)
{
    static const char *const names[] = {".",     "LOCK",           "log",  "log/data.mdb",
                                        "state", "state/data.mdb", "log/."};
    enum { COUNT = sizeof names / sizeof names[0] };
    const char *dir = *state;
    struct stat before[COUNT];
    struct stat after;

    fixture_fill(dir);
    for (size_t i = 0; i < COUNT; i++) {
        stat_of(dir, names[i], &before[i]);
    }
    store_offline_close(open_sound(dir, false));
    for (size_t i = 0; i < COUNT; i++) {
        stat_of(dir, names[i], &after);
        assert_int_equal(after.st_mtim.tv_sec, before[i].st_mtim.tv_sec);
        assert_int_equal(after.st_mtim.tv_nsec, before[i].st_mtim.tv_nsec);
        assert_int_equal(after.st_size, before[i].st_size);
    }
}

static void no_store_is_made(void **state)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, *state, "nothing");
    assert_refused(path, -RD_ECONFIG, "there is no raftd store here");
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_store_in_use_is_left_alone(void **state)
{
    struct store_info info;
    struct store *s = fixture_open(*state, &info);

    assert_refused(*state, -RD_ECONFIG, "another process holds the data directory");
    store_close(s);
}

static void drop_hard_state(MDB_txn *txn, MDB_dbi named, void *arg)
{
    char name[] = "hs";
    MDB_val key = {2, name};

    (void)arg;
    assert_int_equal(mdb_del(txn, named, &key, NULL), 0);
}

static void what_is_missing_is_found(void **state)
{
    fixture_fill(*state);
    fixture_edit(*state, "log", drop_hard_state, NULL);
    assert_refused(*state, -RD_ECORRUPT, "term and vote cannot be read");
}

/* ---- The state beside the log ---- */

static void flush(struct store *s, const struct store_mark *mark)
{
    const struct store_row row = {.key = "k", .key_size = 1, .value = "v", .value_size = 1};
    struct pollfd ready = {.fd = store_state_event_fd(s), .events = POLLIN};
    const struct store_flush f = {.anew = true, .rows = &row, .rows_count = 1, .mark = *mark};
    int code;

    store_state_submit(s, &f);
    assert_int_equal(poll(&ready, 1, 10000), 1);
    assert_true(store_state_completed(s, &code));
    assert_int_equal(code, 0);
}

/* Three entries of term 1, the first a membership, and a state as `change` says of entry 2. */
static uint64_t fill(const char *dir, struct store_mark mark, bool right_chain)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    assert_int_equal(store_start(s), 0);
    fixture_log_add(&log, 1, 0, 1);
    log.entries[0].type = RAFT_ENTRY_MEMBERSHIP;
    log.entries[0].data = blob_copy("who", 3);
    log.entries[0].chain = raft_chain_after(0, &log.entries[0]);
    fixture_log_add(&log, 1, 10, 2);
    fixture_log_add(&log, 1, 10, 3);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    fixture_write(s, &batch);
    mark.at.chain = mark.at.index == 2 && right_chain ? log.entries[1].chain : 77;
    flush(s, &mark);
    uint64_t chain = log.entries[2].chain;
    store_close(s);
    fixture_log_done(&log);
    return chain;
}

static int count_row(void *arg, const void *key, size_t key_size, const void *value,
                     size_t value_size)
{
    uint32_t *count = arg;

    assert_memory_equal(key, "k", key_size);
    assert_memory_equal(value, "v", value_size);
    (*count)++;
    return 0;
}

static void mark_membership_and_rows_are_found(void **state)
{
    const struct store_mark mark = {.at = {.index = 2, .term = 1}, .revision = 9, .digest = 8};
    uint32_t rows = 0;

    uint64_t chain = fill(*state, mark, true);
    struct store_offline *o = open_sound(*state, false);
    const struct store_found *f = store_offline_found(o);
    assert_int_equal(f->state_code, 0);
    assert_int_equal(f->mark.at.index, 2);
    assert_int_equal(f->mark.revision, 9);
    assert_int_equal(f->mark.digest, 8);
    assert_int_equal(f->membership_index, 1);
    assert_memory_equal(f->membership->data, "who", 3);
    assert_true(f->last_chain == chain);
    assert_int_equal(store_offline_rows(o, count_row, &rows), 0);
    assert_int_equal(rows, 1);
    store_offline_close(o);
}

static void assert_misfit(const char *dir, const char *why)
{
    fixture_capture_begin();
    struct store_offline *o = open_sound(dir, false);
    assert_non_null(strstr(fixture_capture_end(), why));
    assert_int_equal(store_offline_found(o)->state_code, -RD_ECORRUPT);
    store_offline_close(o);
}

static void a_mark_of_another_chain_is_found(void **state)
{
    fill(*state, (struct store_mark){.at = {.index = 2, .term = 1}}, false);
    assert_misfit(*state, "the entry there has another chain");
}

static void a_mark_ahead_of_the_log_is_found(void **state)
{
    fill(*state, (struct store_mark){.at = {.index = 9, .term = 1}}, false);
    assert_misfit(*state, "the log holds no such entry");
}

static void a_mark_of_another_term_is_found(void **state)
{
    fill(*state, (struct store_mark){.at = {.index = 2, .term = 3}}, false);
    assert_misfit(*state, "the log holds no such entry");
}

/* ---- Adding ---- */

static void assert_appended(const char *dir, raft_index first, raft_index last)
{
    struct store_offline *o = open_sound(dir, false);
    const struct store_found *f = store_offline_found(o);

    assert_int_equal(f->term, 1001);
    assert_int_equal(f->vote, FIXTURE_NODE);
    assert_int_equal(f->first, first);
    assert_int_equal(f->last, last);
    assert_int_equal(f->last_term, 1001);
    assert_int_equal(f->membership_index, last);
    assert_memory_equal(f->membership->data, "new", 3);
    assert_int_equal(f->state_code, 0);
    store_offline_close(o);
    struct store_info info;
    struct store *s = fixture_open(dir, &info); /* and raftd takes it */
    assert_int_equal(info.last, last);
    assert_int_equal(info.term, 1001);
    store_close(s);
}

static void append(const char *dir)
{
    struct store_offline *o = open_sound(dir, true);
    struct blob *membership = blob_copy("new", 3);

    assert_int_equal(store_offline_append(o, 1001, membership), 0);
    blob_unref(membership);
    store_offline_close(o);
}

static void a_membership_is_added(void **state)
{
    fill(*state, (struct store_mark){.at = {.index = 2, .term = 1}}, true);
    append(*state);
    assert_appended(*state, 1, 4);
}

/* The process ended between the rows of a snapshot and the log that begins after it. */
static void after_a_snapshot_the_log_begins_there(void **state)
{
    struct blob *membership = blob_copy("who2", 4);

    fill(*state,
         (struct store_mark){
             .at = {.index = 9, .term = 1, .membership_index = 8, .membership = membership},
             .installed = true},
         false);
    blob_unref(membership);
    struct store_offline *o = open_sound(*state, false);
    const struct store_found *f = store_offline_found(o);
    assert_int_equal(f->state_code, 0);
    assert_int_equal(f->first, 0);
    assert_int_equal(f->last, 9);
    assert_int_equal(f->base.index, 9);
    assert_int_equal(f->last_chain, 77);
    assert_int_equal(f->membership_index, 8);
    assert_memory_equal(f->membership->data, "who2", 4);
    store_offline_close(o);
    append(*state);
    assert_appended(*state, 10, 10);
}

#define OFFLINE_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFLINE_TEST(a_sound_store_is_described),
        OFFLINE_TEST(looking_changes_no_file),
        OFFLINE_TEST(no_store_is_made),
        OFFLINE_TEST(a_store_in_use_is_left_alone),
        OFFLINE_TEST(what_is_missing_is_found),
        OFFLINE_TEST(mark_membership_and_rows_are_found),
        OFFLINE_TEST(a_mark_of_another_chain_is_found),
        OFFLINE_TEST(a_mark_ahead_of_the_log_is_found),
        OFFLINE_TEST(a_mark_of_another_term_is_found),
        OFFLINE_TEST(a_membership_is_added),
        OFFLINE_TEST(after_a_snapshot_the_log_begins_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
