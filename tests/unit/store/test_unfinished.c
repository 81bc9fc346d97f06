/* Tests of unfinished.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"
#include "store/unfinished.h"

static struct store_dir dir;

static int setup(void **state)
{
    return fixture_setup(state) || store_dir_open(*state, &dir);
}

static int teardown(void **state)
{
    store_dir_close(&dir);
    return fixture_teardown(state);
}

static void begins_and_ends(void **state)
{
    (void)state;
    assert_int_equal(store_unfinished_node(&dir, "reset"), 0);
    assert_int_equal(store_unfinished_begin(&dir, "reset", 4294967295U), 0);
    assert_int_equal(store_unfinished_node(&dir, "reset"), 4294967295U);
    assert_int_equal(store_unfinished_node(&dir, "restore"), 0);
    assert_int_equal(store_unfinished_node(&dir, "res"), 0);
    assert_int_equal(store_unfinished_begin(&dir, "reset", 5), 0); /* again */
    assert_int_equal(store_unfinished_node(&dir, "reset"), 5);
    assert_int_equal(store_unfinished_end(&dir), 0);
    assert_int_equal(store_unfinished_node(&dir, "reset"), 0);
}

static void what_makes_no_sense_names_no_node(void **state)
{
    static const char *const texts[] = {"reset", "reset ", "reset 0", "reset x",
                                        "reset 4294967296"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(symlinkat(texts[i], dir.fd, STORE_UNFINISHED_NAME), 0);
        assert_int_equal(store_unfinished_node(&dir, "reset"), 0);
        assert_int_equal(unlinkat(dir.fd, STORE_UNFINISHED_NAME, 0), 0);
    }
}

static void environments_go_with_all_that_is_in_them(void **state)
{
    (void)state;
    assert_int_equal(store_unfinished_remove_env(&dir, "log"), 0); /* none there */
    assert_int_equal(store_dir_make_env(&dir, "log"), 0);
    int fd = openat(dir.fd, "log/data.mdb", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(store_unfinished_remove_env(&dir, "log"), 0);
    assert_int_not_equal(faccessat(dir.fd, "log", F_OK, 0), 0);
}

static void what_cannot_be_removed_is_told(void **state)
{
    (void)state;
    assert_int_equal(store_dir_make_env(&dir, "log"), 0);
    assert_int_equal(mkdirat(dir.fd, "log/more", 0700), 0);
    fixture_capture_begin();
    assert_int_not_equal(store_unfinished_remove_env(&dir, "log"), 0);
    assert_non_null(strstr(fixture_capture_end(), "the data directory cannot be changed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(begins_and_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_names_no_node, setup, teardown),
        cmocka_unit_test_setup_teardown(environments_go_with_all_that_is_in_them, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_removed_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
