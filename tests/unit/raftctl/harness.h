/* harness.h - runs the real raftctl against the fake raftd, and looks at what it says.
 *
 * The test's arguments are the paths of both. One fake at a time; everything lives in a temporary
 * directory. */
#ifndef RAFTD_TESTS_RAFTCTL_HARNESS_H
#define RAFTD_TESTS_RAFTCTL_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "base/buf.h"

struct run {
    int status; /* exit status, or 128 + signal */
    struct buf out, err;
    uint64_t took_ms; /* from before it was started */
};

void harness_init(int argc, char **argv);
int harness_done(void **state); /* group teardown */

void fake_start(const char *mode); /* ends the one before */
void fake_kill(void);
const char *fake_socket(void);

/* Run raftctl with the words of `line` (as a shell would split them) on the fake's socket. */
void ctl_run(struct run *r, const char *line);
void ctl_run_input(struct run *r, const char *line, const void *in, size_t in_size);
/* With its stderr on a terminal. */
void ctl_run_terminal(struct run *r, const char *line);
/* With one of its standard descriptors closed. */
void ctl_run_closed(struct run *r, const char *line, int fd);
void run_done(struct run *r);

/* Run it: status, whole stdout (NULL: any), a piece of stderr (NULL: stderr has to be empty). */
void expect(const char *line, int status, const char *out, const char *err_piece);

/* With its stderr on a terminal, and `in` on stdin: status, and how stderr begins ("": it is empty). */
void expect_terminal(const char *line, const char *in, int status, const char *err_begins);

/* A raftctl that goes on running. */
struct child {
    pid_t pid;
    int in, out, err; /* our ends */
    uint64_t started_ms;
};
void child_start(struct child *c, const char *line);
/* The next line from its stdout, without the newline; fails the test after 10 s. */
void child_read_line(struct child *c, char *line, size_t line_size);
/* Close what it reads and wait for its end. */
void child_wait(struct child *c, struct run *r);

#endif
