/* A snapshot of the rows, through store.h: one moment, whatever is flushed later, and not for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>

#include "base/err.h"
#include "base/mem.h"
#include "fixture.h"

enum { ROWS = 300, VALUE_SIZE = 3000 };

static char keys[ROWS][16];
static char values[ROWS][VALUE_SIZE];
static struct store_row rows[ROWS];

/* Every value says in which flush it came. */
static void flush(struct store *s, raft_index index, uint32_t from, uint32_t count, bool anew)
{
    struct pollfd ready = {.fd = store_state_event_fd(s), .events = POLLIN};
    struct store_flush f = {.anew = anew, .rows = rows + from, .rows_count = count};
    int code;

    f.mark.at = (struct raft_point){.index = index, .term = 2, .chain = 7, .membership_index = 1};
    f.mark.at.membership = blob_copy("members", 7);
    f.mark.revision = index;
    f.mark.installed = index % 2;
    for (uint32_t i = 0; i < ROWS; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "key%05u", i);
        memset(values[i], 0, VALUE_SIZE);
        memcpy(values[i], &index, sizeof index);
        rows[i] = (struct store_row){keys[i], strlen(keys[i]), values[i], VALUE_SIZE, false};
    }
    store_state_submit(s, &f);
    assert_int_equal(poll(&ready, 1, 10000), 1);
    assert_true(store_state_completed(s, &code));
    assert_int_equal(code, 0);
    raft_point_done(&f.mark.at);
}

static struct store *start(const char *dir)
{
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    assert_int_equal(store_start(s), 0);
    return s;
}

static void nothing_flushed_is_no_snapshot(void **state)
{
    struct store *s = start(*state);
    struct store_mark mark;

    assert_null(store_snapshot_open(s, &mark));
    assert_int_equal(mark.at.index, 0);
    store_close(s);
}

static void it_is_as_of_one_moment(void **state)
{
    struct store *s = start(*state);
    struct store_snapshot *snapshots[3];
    struct store_mark mark;
    struct store_row row;

    flush(s, 10, 0, ROWS, true);
    for (uint32_t i = 0; i < 3; i++) { /* several at once, of different moments */
        snapshots[i] = store_snapshot_open(s, &mark);
        assert_non_null(snapshots[i]);
        assert_int_equal(mark.at.index, 10 + i);
        assert_int_equal(mark.at.term, 2);
        assert_true(mark.at.chain == 7);
        assert_int_equal(mark.at.membership_index, 1);
        assert_memory_equal(mark.at.membership->data, "members", 7);
        assert_int_equal(mark.revision, 10 + i);
        assert_int_equal(mark.installed, (10 + i) % 2);
        raft_point_done(&mark.at);
        flush(s, 11 + i, 0, ROWS, false);
    }
    flush(s, 20, 0, 5, true); /* nearly all are gone */
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t count = 0;
        int code;
        while ((code = store_snapshot_next(snapshots[i], &row)) == 1) {
            raft_index flushed_in;
            assert_int_equal(row.key_size, strlen(keys[count]));
            assert_memory_equal(row.key, keys[count], row.key_size); /* in order, none missing */
            assert_int_equal(row.value_size, VALUE_SIZE);
            memcpy(&flushed_in, row.value, sizeof flushed_in);
            assert_int_equal(flushed_in, 10 + i);
            count++;
            if (count == ROWS / 2) {
                flush(s, 21 + i, 0, 7, false); /* in the middle of it */
            }
        }
        assert_int_equal(code, 0);
        assert_int_equal(count, ROWS);
        assert_int_equal(store_snapshot_next(snapshots[i], &row), 0); /* and again */
        store_snapshot_close(snapshots[i]);
    }
    store_close(s);
}

/* While it is open no page that it needs is used again: the file grows, and it has to go. */
static void it_is_not_kept_open_for_ever(void **state)
{
    struct store *s = start(*state);
    struct store_mark mark;
    struct store_row row;
    raft_index index = 2;
    int code = 1;

    flush(s, 1, 0, ROWS, true);
    struct store_snapshot *snapshot = store_snapshot_open(s, &mark);
    assert_non_null(snapshot);
    raft_point_done(&mark.at);
    while (code == 1 && index < 250) {
        code = store_snapshot_next(snapshot, &row);
        flush(s, index++, 0, ROWS, false);
    }
    assert_int_equal(code, -RD_ENOT_READY);
    assert_int_equal(store_snapshot_next(snapshot, &row), -RD_ENOT_READY);
    assert_in_range(index * ROWS * VALUE_SIZE, 40U << 20, 150U << 20); /* 64 MiB, about */
    store_snapshot_close(snapshot);
    snapshot = store_snapshot_open(s, &mark); /* another can begin at once */
    assert_int_equal(mark.at.index, index - 1);
    raft_point_done(&mark.at);
    assert_int_equal(store_snapshot_next(snapshot, &row), 1);
    store_snapshot_close(snapshot);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_flushed_is_no_snapshot, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(it_is_as_of_one_moment, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(it_is_not_kept_open_for_ever, fixture_setup,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
