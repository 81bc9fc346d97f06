/* spawn.h - what a freshly forked process does until it is the command: execve() with descriptors
 * 0, 1 and 2, and with signals as raftctl found them. Allocates nothing. */
#ifndef RAFTD_RAFTCTL_SPAWN_H
#define RAFTD_RAFTCTL_SPAWN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn {
    char *const *argv; /* borrowed; ends with NULL */
    sigset_t mask;     /* as raftctl was started with: who asked for signals to be ignored or
                        * blocked (nohup, a shell's &) meant the command */
    struct sigaction child_action; /* of SIGCHLD, the one that is changed meanwhile */
    bool terminal;                 /* standard input is one, and ours to give */
    char *title;                   /* raftctl's own command line in memory: the guardian puts its
                                    * name there, so that pkill -f means one of the two; or NULL */
    size_t title_size;
};

/* Become the command, in a group of its own, which dies with `parent`; not after `deadline`.
 * Returns the errno of what failed, ETIME when it was too late. */
int spawn_exec(const struct spawn *s, pid_t parent, uint64_t deadline);

/* The exit status for such an errno, as of env, nice and timeout. */
enum { SPAWN_NOT_RUNNABLE = 126, SPAWN_NOT_FOUND = 127 };
int spawn_status(int error);

#endif
