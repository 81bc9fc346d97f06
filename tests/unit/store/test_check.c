/* store_check(): looks, finds, and leaves everything as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

static void a_sound_store_is_described(void **state)
{
    const char *dir = *state;
    struct store_check check;
    struct store_check again;

    fixture_fill(dir);
    assert_int_equal(store_check(dir, &check), 0);
    assert_int_equal(check.id, fixture_config(dir).id);
    assert_int_equal(check.first, 1);
    assert_int_equal(check.last, 1);
    assert_int_equal(check.last_term, 1);
    assert_int_equal(check.term, 1);
    assert_true(uuid_is_set(&check.store));
    assert_true(check.last_chain != 0);
    /* Looking is not a start: nothing was counted. */
    assert_int_equal(store_check(dir, &again), 0);
    assert_int_equal(again.incarnation, check.incarnation);
    assert_true(again.last_chain == check.last_chain);
}

static void no_store_is_made(void **state)
{
    const char *dir = *state;
    struct store_check check;
    char path[512];

    (void)snprintf(path, sizeof path, "%s/nothing", dir);
    fixture_capture_begin();
    assert_int_equal(store_check(path, &check), -RD_ECONFIG);
    assert_non_null(strstr(fixture_capture_end(), "there is no raftd store here"));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_store_in_use_is_left_alone(void **state)
{
    const char *dir = *state;
    struct store_check check;
    struct store_info info;

    struct store *s = fixture_open(dir, &info);
    fixture_capture_begin();
    assert_int_equal(store_check(dir, &check), -RD_ECONFIG);
    assert_non_null(strstr(fixture_capture_end(), "another process holds the data directory"));
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
    const char *dir = *state;
    struct store_check check;

    fixture_fill(dir);
    fixture_edit(dir, "log", drop_hard_state, NULL);
    fixture_capture_begin();
    assert_int_equal(store_check(dir, &check), -RD_ECORRUPT);
    assert_non_null(strstr(fixture_capture_end(), "term and vote cannot be read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_store_is_described, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(no_store_is_made, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_store_in_use_is_left_alone, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_is_found, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
