/* Tests of rows.h, through store.h: the state's rows and the mark are there together, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

struct seen { /* "key=value " for each row */
    char text[4096];
    size_t size;
};

static int see(void *arg, const void *key, size_t key_size, const void *value, size_t value_size)
{
    struct seen *s = arg;

    s->size +=
        (size_t)snprintf(s->text + s->size, sizeof s->text - s->size, "%.*s=%.*s ", (int)key_size,
                         (const char *)key, (int)value_size, (const char *)value);
    return 0;
}

static struct store_row row(const char *key, const char *value)
{
    return (struct store_row){.key = key,
                              .key_size = strlen(key),
                              .value = value,
                              .value_size = value ? strlen(value) : 0,
                              .deleted = !value};
}

static void wait_flush(struct store *s)
{
    struct pollfd ready = {.fd = store_state_event_fd(s), .events = POLLIN};
    int code;

    assert_int_equal(poll(&ready, 1, 10000), 1);
    assert_true(store_state_completed(s, &code));
    assert_int_equal(code, 0);
    assert_false(store_state_completed(s, &code));
}

static void flush(struct store *s, bool anew, const struct store_row *rows, uint32_t count,
                  raft_index index)
{
    const struct store_flush f = {
        .anew = anew,
        .rows = rows,
        .rows_count = count,
        .mark = {.at = {.index = index, .term = 3}, .revision = 4, .digest = 5}};

    assert_true(store_state_is_idle(s));
    store_state_submit(s, &f);
    wait_flush(s);
}

static raft_index load(const char *dir, struct seen *seen)
{
    struct store_info info;
    struct store_mark mark;
    struct store *s = fixture_open(dir, &info);

    *seen = (struct seen){0};
    assert_int_equal(store_state_load(s, see, seen, &mark), 0);
    store_close(s);
    if (mark.at.index) {
        assert_int_equal(mark.at.term, 3);
        assert_int_equal(mark.revision, 4);
        assert_int_equal(mark.digest, 5);
    }
    raft_index index = mark.at.index;
    raft_point_done(&mark.at);
    return index;
}

static void rows_are_kept_changed_and_deleted(void **state)
{
    struct store_info info;
    struct seen seen;
    const struct store_row first[] = {row("b", "1"), row("a", "2"), row("c", "3")};
    const struct store_row second[] = {row("a", NULL), row("b", "4"), row("b", "5"),
                                       row("gone", NULL)};

    assert_int_equal(load(*state, &seen), 0);
    assert_string_equal(seen.text, "");
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    flush(s, true, first, 3, 7);
    flush(s, false, second, 4, 9);
    store_close(s);
    assert_int_equal(load(*state, &seen), 9);
    assert_string_equal(seen.text, "b=5 c=3 ");
}

static void anew_is_all_there_is(void **state)
{
    struct store_info info;
    struct seen seen;
    const struct store_row rows[] = {row("a", "1"), row("b", "2")};

    struct store *s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    flush(s, true, rows, 2, 7);
    flush(s, true, rows + 1, 1, 8);
    flush(s, false, NULL, 0, 9); /* only the mark moves on */
    store_close(s);
    assert_int_equal(load(*state, &seen), 9);
    assert_string_equal(seen.text, "b=2 ");
}

static void a_flush_in_hand_is_finished_at_the_end(void **state)
{
    struct store_info info;
    struct seen seen;
    const struct store_row rows[] = {row("a", "1")};
    const struct store_flush f = {
        .anew = true,
        .rows = rows,
        .rows_count = 1,
        .mark = {.at = {.index = 7, .term = 3}, .revision = 4, .digest = 5}};

    struct store *s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    store_state_submit(s, &f);
    assert_false(store_state_is_idle(s)); /* done or not, it was not taken */
    store_close(s);
    assert_int_equal(load(*state, &seen), 7);
    assert_string_equal(seen.text, "a=1 ");
}

static void what_does_not_fit_changes_nothing(void **state)
{
    struct store_info info;
    struct seen seen;
    static char big[3 * 1024 * 1024];
    const struct store_row small[] = {row("a", "1")};
    struct store_row large[] = {
        {.key = "a", .key_size = 1, .deleted = true},
        {.key = "b", .key_size = 1, .value = big, .value_size = sizeof big}};
    const struct store_flush f = {.rows = large, .rows_count = 2, .mark = {.at = {.index = 9}}};
    struct store_config config = fixture_config(*state);
    struct store *s;
    int code = 0;

    config.map_size = 1024 * 1024;
    assert_int_equal(store_open(&config, &s, &info), 0);
    assert_int_equal(store_start(s), 0);
    flush(s, true, small, 1, 7);
    fixture_capture_begin();
    store_state_submit(s, &f);
    struct pollfd ready = {.fd = store_state_event_fd(s), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 10000), 1);
    assert_true(store_state_completed(s, &code));
    assert_int_equal(code, -RD_EMAP_FULL);
    assert_non_null(strstr(fixture_capture_end(), "the state does not fit into map_size"));
    flush(s, false, NULL, 0, 8); /* it goes on */
    store_close(s);
    assert_int_equal(load(*state, &seen), 8);
    assert_string_equal(seen.text, "a=1 ");
}

/* ---- Damage ---- */

static void flip_mark(MDB_txn *txn, MDB_dbi named, void *arg)
{
    char name[] = "applied";
    MDB_val key = {strlen(name), name};
    MDB_val value;
    uint8_t copy[256];

    (void)arg;
    assert_int_equal(mdb_get(txn, named, &key, &value), 0);
    assert_true(value.mv_size < sizeof copy);
    memcpy(copy, value.mv_data, value.mv_size);
    copy[20] ^= 1;
    value.mv_data = copy;
    assert_int_equal(mdb_put(txn, named, &key, &value, 0), 0);
}

static void drop_mark(MDB_txn *txn, MDB_dbi named, void *arg)
{
    char name[] = "applied";
    MDB_val key = {strlen(name), name};

    (void)arg;
    assert_int_equal(mdb_del(txn, named, &key, NULL), 0);
}

static void damage_is_found_out(const char *dir, fixture_edit_cb *damage)
{
    struct store_info info;
    struct store_mark mark;
    struct seen seen = {0};
    const struct store_row rows[] = {row("a", "1")};

    struct store *s = fixture_open(dir, &info);
    assert_int_equal(store_start(s), 0);
    flush(s, true, rows, 1, 7);
    store_close(s);
    fixture_edit(dir, "state", damage, NULL);
    s = fixture_open(dir, &info);
    fixture_capture_begin();
    assert_int_equal(store_state_load(s, see, &seen, &mark), -RD_ECORRUPT);
    assert_non_null(strstr(fixture_capture_end(), "the state cannot be read"));
    store_close(s);
}

static void a_damaged_mark_is_found_out(void **state)
{
    damage_is_found_out(*state, flip_mark);
}

static void a_lost_mark_is_found_out(void **state)
{
    damage_is_found_out(*state, drop_mark);
}

/* ---- A kill at any moment ---- */

static void write_until_killed(void *arg)
{
    struct store_info info;
    char a[24];
    char b[24];
    struct store *s = fixture_open(arg, &info);

    assert_int_equal(store_start(s), 0);
    for (raft_index i = 1;; i++) { /* both rows say the index of the mark */
        (void)snprintf(a, sizeof a, "%llu", (unsigned long long)i);
        (void)snprintf(b, sizeof b, "%llu", (unsigned long long)i);
        const struct store_row rows[] = {row("x", a), row("y", b)};
        flush(s, i == 1, rows, 2, i);
        if (i == 20) {
            (void)raise(SIGKILL);
        }
    }
}

static void rows_and_mark_survive_a_kill_together(void **state)
{
    struct seen seen;
    char want[64];

    assert_int_equal(fixture_child(write_until_killed, *state), 1000 + SIGKILL);
    raft_index index = load(*state, &seen);
    assert_int_equal(index, 20);
    (void)snprintf(want, sizeof want, "x=%llu y=%llu ", (unsigned long long)index,
                   (unsigned long long)index);
    assert_string_equal(seen.text, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_kept_changed_and_deleted, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(anew_is_all_there_is, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_flush_in_hand_is_finished_at_the_end, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_changes_nothing, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_lost_mark_is_found_out, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_damaged_mark_is_found_out, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(rows_and_mark_survive_a_kill_together, fixture_setup,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
