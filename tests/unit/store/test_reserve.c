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

static void large_records_take_whole_pages(void **state)
{
    (void)state;
    assert_in_range(store_reserve_record(0), 1, 256);
    assert_in_range(store_reserve_record(1000), 1000, 1256);
    for (uint64_t size = 1400; size < 20000; size += 7) {
        uint64_t bytes = store_reserve_record(size);
        assert_in_range(bytes, size + 16, size + 2 * 4096);
    }
    /* An overflow page holds its header and the record, and the leaf a reference to it. */
    assert_true(store_reserve_record(4096 - 16) >= 4096);
    assert_true(store_reserve_record(4096) >= 2 * 4096);
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
    assert_true(store_reserve_covers(&r, now.wanted_bytes + MIB, &news));
    store_reserve_get(&r, &now);
    assert_int_equal(now.ahead_bytes, now.wanted_bytes + MIB);
    /* What the map does not hold is not the file system's business. */
    assert_true(store_reserve_covers(&r, 10 * (uint64_t)FIXTURE_MAP_SIZE, &news));
    assert_false(news);
    store_env_close(&env);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
