/* hook.h - one program that is told a state: started, limited in time, and how it ended.
 *
 * Nothing here waits. SIGCHLD must not be ignored; it, or hook_deadline(), says when to call
 * hook_step(). Times are on mono_now_ms()'s clock. Threads: one. */
#ifndef RAFTD_RAFTCTL_HOOK_H
#define RAFTD_RAFTCTL_HOOK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { HOOK_KILL_AFTER_MS = 2000 }; /* between SIGTERM and SIGKILL */

struct hook { /* zeroed: none runs */
    pid_t pid;
    bool runs;
    bool told_to_end; /* its time was up: it got SIGTERM */
    uint64_t began;
    uint64_t due; /* when the next signal goes out; UINT64_MAX: never */
};

struct hook_end {
    int status; /* exit status; -1: it was ended by `signal` */
    int signal;
    bool told_to_end;
    uint64_t took_ms;
};

/* Start it without arguments, in a process group of its own, with the object and a newline on
 * standard input and RAFTD_... of it in the environment. timeout_ms 0: as long as it likes.
 * 0, or -errno: it cannot be run, and none runs. */
int hook_start(struct hook *h, const char *path, const char *event, const json_t *state,
               uint64_t timeout_ms);

/* Do what is due. true: it has ended, how stands in `end`. */
bool hook_step(struct hook *h, struct hook_end *end);

/* It has at most so much longer. */
void hook_limit(struct hook *h, uint64_t ms);

/* When hook_step() is due; UINT64_MAX: only when it ends. */
uint64_t hook_deadline(const struct hook *h);

#endif
