/* Room ahead of what LMDB uses: the arithmetic, and a reservation on a real file system. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "fixture.h"
#include "store/reserve.h"

#define MIB (UINT64_C(1) << 20)

static void the_step_is_a_part_of_a_small_file_system(void **state)
{
    (void)state;
    assert_int_equal(store_reserve_step(UINT64_MAX), 64 * MIB);
    assert_int_equal(store_reserve_step(1024 * MIB), 64 * MIB);
    assert_int_equal(store_reserve_step(512 * MIB), 32 * MIB);
    assert_int_equal(store_reserve_step(32 * MIB), 2 * MIB);
    assert_int_equal(store_reserve_step(100000), 4096);
    assert_int_equal(store_reserve_step(0), 0);
}

static void it_is_extended_when_half_is_used_up(void **state)
{
    (void)state;
    const uint64_t step = 64 * MIB, limit = 1024 * MIB;

    assert_int_equal(store_reserve_target(0, 0, step, limit, false), step);
    assert_int_equal(store_reserve_target(1 * MIB, 65 * MIB, step, limit, false), 0);
    assert_int_equal(store_reserve_target(33 * MIB, 65 * MIB, step, limit, false), 0);
    assert_int_equal(store_reserve_target(33 * MIB + 1, 65 * MIB, step, limit, false),
                     97 * MIB + 1);
    /* What is low is well again with all of it. */
    assert_int_equal(store_reserve_target(33 * MIB, 65 * MIB, step, limit, true), 97 * MIB);
    assert_int_equal(store_reserve_target(33 * MIB, 97 * MIB, step, limit, true), 0);
}

static void nothing_is_reserved_beyond_the_map(void **state)
{
    (void)state;
    const uint64_t step = 64 * MIB;

    assert_int_equal(store_reserve_target(0, 0, step, 16 * MIB, false), 16 * MIB);
    assert_int_equal(store_reserve_target(10 * MIB, 16 * MIB, step, 16 * MIB, false), 0);
    assert_int_equal(store_reserve_target(10 * MIB, 16 * MIB, step, 16 * MIB, true), 0);
    assert_int_equal(store_reserve_target(16 * MIB, 16 * MIB, step, 16 * MIB, true), 0);
}

static struct store_need need_of(uint64_t size)
{
    struct store_need need = {0};

    store_reserve_record(size, &need);
    return need;
}

static void large_records_take_whole_pages(void **state)
{
    (void)state;
    assert_in_range(need_of(0).pages_bytes, 1, 512);
    assert_in_range(need_of(900).pages_bytes, 900, 2 * 1100);
    assert_int_equal(need_of(900).bytes, 0);
    for (uint64_t size = 1000; size < 20000; size += 7) {
        assert_in_range(need_of(size).bytes, size + 16, size + 2 * 4096);
        assert_in_range(need_of(size).pages_bytes, 1, 256);
    }
    /* An overflow page holds its header, too. */
    assert_true(need_of(4096 - 16).bytes >= 4096);
    assert_true(need_of(4096).bytes >= 2 * 4096);
}

static uint64_t allocated(const char *dir)
{
    struct stat file;
    char path[4096];

    fixture_path(path, sizeof path, dir, "log/data.mdb");
    assert_int_equal(stat(path, &file), 0);
    assert_true(file.st_size < 1024 * 1024); /* what a reader maps does not grow by it */
    return (uint64_t)file.st_blocks * 512;
}

static void blocks_are_allocated_ahead_of_the_file(void **state)
{
    struct store_reserve r;
    struct store_reserve_state now;
    struct store_env env;
    bool news = false;

    fixture_fill(*state);
    assert_int_equal(store_env_open(*state, "log", FIXTURE_MAP_SIZE, &env), 0);
    store_reserve_init(&r, &env);
    store_reserve_get(&r, &now);
    assert_false(now.low);
    assert_int_equal(store_reserve_keep(&r, &news), 0);
    store_reserve_get(&r, &now);
    assert_false(now.low || news);
    assert_true(now.wanted_bytes > 0 && now.wanted_bytes <= 64 * MIB);
    assert_true(now.ahead_bytes == now.wanted_bytes && now.free_bytes > 0);
    if (!r.looks) {
        assert_true(allocated(*state) >= now.wanted_bytes);
    }
    /* Much at once. */
    const struct store_need much = {.bytes = now.wanted_bytes, .pages_bytes = MIB};
    assert_true(store_reserve_covers(&r, &much, &news));
    store_reserve_get(&r, &now);
    assert_in_range(now.ahead_bytes, now.wanted_bytes + MIB / 2, now.wanted_bytes + MIB);
    /* What the map does not hold is not the file system's business. */
    const struct store_need too_much = {.bytes = 10 * (uint64_t)FIXTURE_MAP_SIZE};
    assert_true(store_reserve_covers(&r, &too_much, &news));
    assert_false(news);
    store_env_close(&env);
}

static void rewrite(MDB_txn *txn, MDB_dbi named, void *arg)
{
    static char bytes[900];
    MDB_val value = {sizeof bytes, bytes};
    const uint32_t *rows = arg;

    for (uint32_t i = 0; i < *rows; i++) {
        MDB_val key = {sizeof i, &i};
        assert_int_equal(mdb_put(txn, named, &key, &value, 0), 0);
    }
}

static void use_free_pages(void *arg)
{
    const char *dir = arg;
    const struct store_need pages = {.pages_bytes = MIB / 2};
    const struct store_need row = {.bytes = 3 * MIB};
    struct store_reserve r;
    struct store_reserve_state now;
    struct store_env env;
    bool news = false;

    fixture_small_disk(dir, "size=16m");
    fixture_fill(dir);
    uint32_t rows = 1000;
    for (int i = 0; i < 6; i++) {
        fixture_edit(dir, "state", rewrite, &rows);
    }
    for (rows = 1; rows < 4; rows++) { /* what was freed just now is not used at once */
        fixture_edit(dir, "state", rewrite, &rows);
    }
    fixture_fill_disk(dir);
    assert_int_equal(store_env_open(dir, "state", FIXTURE_MAP_SIZE, &env), 0);
    store_reserve_init(&r, &env);
    assert_int_equal(store_reserve_keep(&r, &news), STORE_RESERVE_AGAIN_MS);
    assert_true(news);
    store_reserve_get(&r, &now);
    assert_true(now.low && now.ahead_bytes < MIB / 2 && now.wanted_bytes == MIB);
    assert_true(store_reserve_covers(&r, &pages, &news));
    assert_false(store_reserve_covers(&r, &row, &news));
    store_env_close(&env);
}

/* What earlier commits have freed counts, for what fits into single pages. */
static void pages_that_are_free_again_count(void **state)
{
    int status = fixture_child(use_free_pages, *state);

    if (status == FIXTURE_NO_NAMESPACE) {
        skip(); /* no user namespaces here */
    }
    assert_int_equal(status, 0);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_step_is_a_part_of_a_small_file_system),
        cmocka_unit_test(it_is_extended_when_half_is_used_up),
        cmocka_unit_test(nothing_is_reserved_beyond_the_map),
        cmocka_unit_test(large_records_take_whole_pages),
        WITH_DIR(blocks_are_allocated_ahead_of_the_file),
        WITH_DIR(pages_that_are_free_again_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
