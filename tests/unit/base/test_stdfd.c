#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stdfd.h"

/* Runs `body` in a process of its own, where the test's descriptors can be closed. */
static void assert_child(int (*body)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static bool is_null(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static int all_closed(void)
{
    char c = 'x';

    for (int fd = 0; fd <= 2; fd++) {
        (void)close(fd);
    }
    if (stdfd_ensure()) {
        return 1;
    }
    for (int fd = 0; fd <= 2; fd++) {
        if (!is_null(fd)) {
            return 2;
        }
    }
    /* Nobody takes the missing ones for empty input and for output that arrived. */
    if (read(0, &c, 1) != -1 || errno != EBADF) {
        return 3;
    }
    if (write(1, &c, 1) != -1 || errno != EBADF || write(2, &c, 1) != -1 || errno != EBADF) {
        return 4;
    }
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return next > 2 ? 0 : 5;
}

static int the_middle_closed(void)
{
    int ends[2];
    char c = 'x';

    (void)close(1);
    if (pipe2(ends, O_CLOEXEC) || dup2(ends[1], 2) != 2) { /* ends[0] is 1 now */
        return 1;
    }
    (void)close(1);
    if (stdfd_ensure() || !is_null(1) || is_null(2)) {
        return 2;
    }
    return write(2, &c, 1) == -1 && errno == EPIPE ? 0 : 3;
}

static int no_descriptors_left(void)
{
    const struct rlimit none = {0, 0};

    (void)close(0);
    return setrlimit(RLIMIT_NOFILE, &none) == 0 && stdfd_ensure() == -EMFILE ? 0 : 1;
}

static void open_ones_stay(void **state)
{
    struct stat before[3], after[3];

    (void)state;
    for (int fd = 0; fd <= 2; fd++) {
        assert_int_equal(fstat(fd, &before[fd]), 0);
    }
    assert_int_equal(stdfd_ensure(), 0);
    for (int fd = 0; fd <= 2; fd++) {
        assert_int_equal(fstat(fd, &after[fd]), 0);
        assert_int_equal(after[fd].st_ino, before[fd].st_ino);
    }
}

static void closed_ones_become_null(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    assert_child(all_closed);
    assert_child(the_middle_closed);
}

static void failure_is_told(void **state)
{
    (void)state;
    assert_child(no_descriptors_left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_ones_stay),
        cmocka_unit_test(closed_ones_become_null),
        cmocka_unit_test(failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
