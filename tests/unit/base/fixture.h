/* fixture.h - cmocka with what it needs, and a look at what a child process prints as it ends. */
#ifndef RAFTD_TESTS_BASE_FIXTURE_H
#define RAFTD_TESTS_BASE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    int status; /* exit status; -1: it did not exit by itself */
    char text[65536];
    size_t size;
};

/* Run `body` in a child process with its stderr on a pipe. */
static inline void child_run(struct child *child, void (*body)(void *arg), void *arg)
{
    int ends[2];
    int status;

    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL); /* or the child prints it again */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        body(arg);
        exit(0);
    }
    (void)close(ends[1]);
    child->size = 0;
    ssize_t n;
    while ((n = read(ends[0], child->text + child->size, sizeof child->text - 1 - child->size)) >
           0) {
        child->size += (size_t)n;
    }
    child->text[child->size] = 0;
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    child->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
