/* Tests of fault.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"
#include "store/fault.h"

#define PLENTY (1024ULL * 1024 * 1024)

static void codes_of_system_calls(void **state)
{
    (void)state;
    assert_int_equal(store_fault_code(ENOSPC, PLENTY), -RD_EDISK_FULL);
    assert_int_equal(store_fault_code(EDQUOT, PLENTY), -RD_EDISK_FULL);
    assert_int_equal(store_fault_code(EFBIG, PLENTY), -RD_EDISK);
    assert_int_equal(store_fault_code(EINVAL, PLENTY), -RD_EDISK);
    assert_int_equal(store_fault_code(EACCES, PLENTY), -RD_ECONFIG);
    assert_int_equal(store_fault_code(EROFS, PLENTY), -RD_ECONFIG);
    assert_int_equal(store_fault_code(ENOTDIR, PLENTY), -RD_ECONFIG);
    assert_int_equal(store_fault_code(ENOMEM, PLENTY), -RD_ECONFIG);
}

/* Once it is open, nothing is a matter of its configuration any more. */
static void codes_of_a_store_that_runs(void **state)
{
    static const int config[] = {EACCES, EPERM,  EROFS, ENOENT,       ENOTDIR,
                                 EISDIR, ENOMEM, ELOOP, ENAMETOOLONG, EIO};

    (void)state;
    for (size_t i = 0; i < sizeof config / sizeof config[0]; i++) {
        assert_int_equal(store_fault_code_running(config[i], PLENTY), -RD_EDISK);
    }
    assert_int_equal(store_fault_code_running(ENOSPC, PLENTY), -RD_EDISK_FULL);
    assert_int_equal(store_fault_code_running(MDB_MAP_FULL, PLENTY), -RD_EMAP_FULL);
    assert_int_equal(store_fault_code_running(MDB_CORRUPTED, PLENTY), -RD_ECORRUPT);
}

/* A write cut short by a full file system comes out of LMDB as EIO. */
static void eio_means_full_only_without_space(void **state)
{
    (void)state;
    assert_int_equal(store_fault_code(EIO, 0), -RD_EDISK_FULL);
    assert_int_equal(store_fault_code(EIO, 1024 * 1024 - 1), -RD_EDISK_FULL);
    assert_int_equal(store_fault_code(EIO, 1024 * 1024), -RD_EDISK);
    assert_int_equal(store_fault_code(EIO, UINT64_MAX), -RD_EDISK);
}

static void codes_of_lmdb(void **state)
{
    static const int corrupt[] = {MDB_CORRUPTED,        MDB_PAGE_NOTFOUND, MDB_INVALID,
                                  MDB_VERSION_MISMATCH, MDB_INCOMPATIBLE,  MDB_NOTFOUND,
                                  MDB_KEYEXIST};
    (void)state;
    for (size_t i = 0; i < sizeof corrupt / sizeof corrupt[0]; i++) {
        assert_int_equal(store_fault_code(corrupt[i], PLENTY), -RD_ECORRUPT);
    }
    assert_int_equal(store_fault_code(MDB_MAP_FULL, 0), -RD_EMAP_FULL);
    assert_int_equal(store_fault_code(MDB_PANIC, PLENTY), -RD_EDISK);
    assert_int_equal(store_fault_code(MDB_TXN_FULL, PLENTY), -RD_EDISK);
}

static void report_says_what_where_why_and_what_to_do(void **state)
{
    static const struct {
        int rc;
        int code;
        const char *advice;
    } cases[] = {{ENOSPC, -RD_EDISK_FULL, "free space"},
                 {MDB_MAP_FULL, -RD_EMAP_FULL, "raise storage.map_size"},
                 {MDB_CORRUPTED, -RD_ECORRUPT, "remove-server, reset --force, add-server"},
                 {EACCES, -RD_ECONFIG, "data_dir in [node], map_size in [storage]"},
                 {EFBIG, -RD_EDISK, "kernel log"}};
    const char *dir = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture_capture_begin();
        int code = store_fault_report("the thing broke", dir, cases[i].rc);
        const char *text = fixture_capture_end();
        assert_int_equal(code, cases[i].code);
        assert_non_null(strstr(text, "the thing broke"));
        assert_non_null(strstr(text, dir));
        assert_non_null(strstr(text, mdb_strerror(cases[i].rc)));
        assert_non_null(strstr(text, cases[i].advice));
        assert_non_null(strstr(text, "free_bytes="));
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    }
}

static void what_is_not_known_is_not_said(void **state)
{
    (void)state;
    fixture_capture_begin();
    (void)store_fault_report("the thing broke", "/nowhere/at/all", EIO);
    int code = store_fault_report_running("and again", "/nowhere/at/all", EROFS);
    const char *text = fixture_capture_end();
    assert_int_equal(code, -RD_EDISK);
    assert_non_null(strstr(text, "the thing broke"));
    assert_non_null(strstr(text, "and again"));
    assert_null(strstr(text, "free_bytes"));
}

static void die(void *arg)
{
    const int *rc = arg;

    store_fault_die("the end", "/nowhere", *rc);
}

static void die_ends_with_the_contract_status(void **state)
{
    int rcs[] = {ENOSPC, MDB_MAP_FULL, EFBIG, EROFS, MDB_CORRUPTED};
    int statuses[] = {RD_EXIT_DISK_FULL, RD_EXIT_DISK_FULL, RD_EXIT_IO, RD_EXIT_IO, RD_EXIT_DATA};

    (void)state;
    for (size_t i = 0; i < sizeof rcs / sizeof rcs[0]; i++) {
        fixture_capture_begin();
        int status = fixture_child(die, &rcs[i]);
        const char *text = fixture_capture_end();
        assert_int_equal(status, statuses[i]);
        assert_non_null(strstr(text, "the end"));
    }
}

static void read_past_the_end(void *arg)
{
    const char *path = arg;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    store_fault_guard("/the/data_dir");
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    (void)page[0]; /* the file has no such page: SIGBUS */
}

static void a_page_that_cannot_be_read_is_said_so(void **state)
{
    char path[] = "/tmp/raftd-fault-XXXXXX";

    (void)state;
    assert_true(mkdtemp(path) != NULL);
    char file[sizeof path + 8];
    (void)snprintf(file, sizeof file, "%s/cut", path);
    fixture_capture_begin();
    int status = fixture_child(read_past_the_end, file);
    const char *text = fixture_capture_end();
    assert_int_equal(status, RD_EXIT_IO);
    assert_non_null(strstr(text, "/the/data_dir"));
    assert_non_null(strstr(text, "a file was cut short"));
    (void)unlink(file);
    (void)rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_of_system_calls),
        cmocka_unit_test(codes_of_a_store_that_runs),
        cmocka_unit_test(eio_means_full_only_without_space),
        cmocka_unit_test(codes_of_lmdb),
        cmocka_unit_test_setup_teardown(report_says_what_where_why_and_what_to_do, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(what_is_not_known_is_not_said),
        cmocka_unit_test(die_ends_with_the_contract_status),
        cmocka_unit_test(a_page_that_cannot_be_read_is_said_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
