/* Tests of dir.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"
#include "store/dir.h"

static void touch(const char *dir, const char *name)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static bool exists(const char *dir, const char *name)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, dir, name);
    return access(path, F_OK) == 0;
}

/* Refused with one line that has `word`; nothing appears in the directory. */
static void assert_refused(const char *path, const char *word)
{
    struct store_dir dir;

    fixture_capture_begin();
    int code = store_dir_open(path, &dir);
    const char *text = fixture_capture_end();
    assert_int_equal(code, -RD_ECONFIG);
    assert_non_null(strstr(text, path));
    assert_non_null(strstr(text, word));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void a_missing_directory_is_made_private(void **state)
{
    char path[PATH_MAX];
    struct store_dir dir;
    struct stat st;

    fixture_path(path, sizeof path, *state, "data");
    assert_int_equal(store_dir_open(path, &dir), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(exists(path, "LOCK"));
    assert_false(store_dir_has_env(&dir, "log"));
    assert_int_equal(store_dir_make_env(&dir, "log"), 0);
    assert_int_equal(store_dir_make_env(&dir, "log"), 0); /* there already */
    assert_false(store_dir_has_env(&dir, "log"));
    touch(path, "log/data.mdb");
    assert_true(store_dir_has_env(&dir, "log"));
    assert_int_equal(store_dir_sync_env(&dir, "log"), 0);
    store_dir_close(&dir);
}

static void a_missing_parent_is_refused(void **state)
{
    char path[PATH_MAX];

    fixture_path(path, sizeof path, *state, "no/data");
    assert_refused(path, "cannot be made");
}

static void a_file_is_refused(void **state)
{
    char path[PATH_MAX];

    touch(*state, "file");
    fixture_path(path, sizeof path, *state, "file");
    assert_refused(path, "cannot be opened");
}

static void foreign_files_are_refused(void **state)
{
    touch(*state, "passwd");
    assert_refused(*state, "found=passwd");
    assert_false(exists(*state, "LOCK"));
}

static void leftovers_of_a_start_and_lost_found_are_fine(void **state)
{
    char path[PATH_MAX];
    struct store_dir dir;

    touch(*state, "LOCK");
    static const char *const names[] = {"log", "state", "lost+found"};
    for (size_t i = 0; i < 3; i++) {
        fixture_path(path, sizeof path, *state, names[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(store_dir_open(*state, &dir), 0);
    store_dir_close(&dir);
}

/* An operator's note beside a store does no harm. */
static void foreign_files_beside_a_store_are_fine(void **state)
{
    char path[PATH_MAX];
    struct store_dir dir;

    touch(*state, "NOTES");
    fixture_path(path, sizeof path, *state, "state");
    assert_int_equal(mkdir(path, 0700), 0);
    touch(*state, "state/data.mdb");
    assert_int_equal(store_dir_open(*state, &dir), 0);
    store_dir_close(&dir);
}

static void without_permission_it_is_refused(void **state)
{
    struct store_dir dir;
    int code = 0;

    if (geteuid() == 0) {
        skip(); /* root may do everything */
    }
    assert_int_equal(chmod(*state, 0500), 0);
    fixture_capture_begin();
    code = store_dir_open(*state, &dir);
    const char *text = fixture_capture_end();
    assert_int_equal(chmod(*state, 0700), 0);
    assert_int_equal(code, -RD_ECONFIG);
    assert_non_null(strstr(text, "lock file"));
}

static void names_cannot_be_made_over_a_file(void **state)
{
    struct store_dir dir;

    assert_int_equal(store_dir_open(*state, &dir), 0);
    fixture_capture_begin();
    int code = store_dir_sync_env(&dir, "log"); /* is not there */
    assert_non_null(strstr(fixture_capture_end(), "cannot be synced"));
    assert_int_equal(code, -RD_ECONFIG);
    fixture_capture_begin();
    code = store_dir_make_env(&dir, "no/log");
    assert_non_null(strstr(fixture_capture_end(), "cannot be made"));
    assert_int_equal(code, -RD_ECONFIG);
    store_dir_close(&dir);
}

/* ---- Lock ---- */

struct holder {
    const char *path;
    int ready;
    int wait;
};

static void hold(const struct holder *h)
{
    struct store_dir dir;
    char byte = 0;
    int code = store_dir_open(h->path, &dir);

    (void)!write(h->ready, &byte, 1);
    (void)!read(h->wait, &byte, 1);
    _exit(code == 0 ? 0 : 1);
}

static void a_second_process_is_told_the_pid(void **state)
{
    int ready[2];
    int wait[2];
    char byte;
    char pid_text[32];
    int status;
    struct store_dir dir;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(wait), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(wait[1]); /* the parent's end closes when it fails: no orphan */
        hold(&(struct holder){*state, ready[1], wait[0]});
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)snprintf(pid_text, sizeof pid_text, "pid=%d", (int)pid);
    assert_refused(*state, pid_text);

    /* A lock file without a pid (its writing raced or failed): the same refusal, without. */
    char path[PATH_MAX];
    fixture_path(path, sizeof path, *state, "LOCK");
    assert_int_equal(truncate(path, 0), 0);
    assert_refused(*state, "another process holds");

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(store_dir_open(*state, &dir), 0); /* a dead holder holds nothing */
    store_dir_close(&dir);
    assert_int_equal(store_dir_open(*state, &dir), 0); /* nor does one that closed */
    store_dir_close(&dir);
    for (int i = 0; i < 2; i++) {
        (void)close(ready[i]);
        (void)close(wait[i]);
    }
}

static void network_file_systems_are_known(void **state)
{
    (void)state;
    assert_string_equal(store_dir_network_name(NFS_SUPER_MAGIC), "nfs");
    assert_string_equal(store_dir_network_name(CIFS_SUPER_MAGIC), "cifs");
    /* The kernel hands f_type out as a signed long. */
    assert_string_equal(store_dir_network_name((unsigned long)(int)0xFF534D42), "cifs");
    assert_string_equal(store_dir_network_name(SMB2_SUPER_MAGIC), "smb2");
    assert_string_equal(store_dir_network_name(V9FS_MAGIC), "9p");
    assert_string_equal(store_dir_network_name(CEPH_SUPER_MAGIC), "ceph");
    assert_string_equal(store_dir_network_name(AFS_SUPER_MAGIC), "afs");
    assert_string_equal(store_dir_network_name(0x0bd00bd0), "lustre");
    assert_null(store_dir_network_name(EXT4_SUPER_MAGIC));
    assert_null(store_dir_network_name(TMPFS_MAGIC));
    assert_null(store_dir_network_name(XFS_SUPER_MAGIC));
    assert_null(store_dir_network_name(BTRFS_SUPER_MAGIC));
    assert_null(store_dir_network_name(FUSE_SUPER_MAGIC));
    assert_null(store_dir_network_name(0));
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(a_missing_directory_is_made_private),
        WITH_DIR(a_missing_parent_is_refused),
        WITH_DIR(a_file_is_refused),
        WITH_DIR(foreign_files_are_refused),
        WITH_DIR(leftovers_of_a_start_and_lost_found_are_fine),
        WITH_DIR(foreign_files_beside_a_store_are_fine),
        WITH_DIR(without_permission_it_is_refused),
        WITH_DIR(names_cannot_be_made_over_a_file),
        WITH_DIR(a_second_process_is_told_the_pid),
        cmocka_unit_test(network_file_systems_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
