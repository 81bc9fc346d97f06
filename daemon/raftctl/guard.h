/* guard.h - the guardian: a small process between raftctl and the command it runs, which sees to it
 * that nothing of the command outlives its deadline, whatever happens to raftctl.
 *
 *      raftctl ──(orders, reports)── guardian ── the command, leader of its own process group
 *
 * It ends the command by SIGTERM and then SIGKILL at the times it was told last; at once by SIGKILL
 * when raftctl is gone. It is the subreaper of all that the command starts, so that it finds what
 * has left the group, too, and says GONE only when nothing of it is left. It never buries the
 * command itself: that comes to raftctl when the guardian has ended, so the group's number means no
 * other group for as long as raftctl has not done so, and either may kill the group at any time.
 *
 * What has left the group *and* ignores SIGTERM comes to it one generation at a time, about a
 * millisecond each: of such, the margin of the deadline is enough for some forty. What runs under
 * another user by then (sudo) it may not kill.
 *
 * Threads: one. Ownership: as said below. Times are on mono_now_ms()'s clock. */
#ifndef RAFTD_RAFTCTL_GUARD_H
#define RAFTD_RAFTCTL_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "raftctl/spawn.h"

struct guard_times {
    uint64_t term_at; /* unless told otherwise by then */
    uint64_t kill_at;
};

enum guard_news {
    GUARD_FAILED,  /* value: errno. The command was not started; the guardian has ended */
    GUARD_STARTED, /* value: the command's process and group; it may not have got to its exec yet */
    GUARD_LATE,    /* the deadline passed before the exec: it was not run */
    GUARD_NOT_RUN, /* value: errno of the exec */
    GUARD_HALTED,  /* the command was stopped, by a signal that means so */
    GUARD_SILENCE, /* term_at passed: it ends the command */
    GUARD_KILLING, /* SIGKILL was sent */
    GUARD_GONE,    /* value: exit status, 128 + signal. Nothing is left; the guardian has ended */
};

struct guard_report {
    enum guard_news news;
    int value;
};

struct guard {
    pid_t pid; /* of the guardian; a child of ours */
    int fd;    /* readable: guard_next() has something */
};

/* Start the guardian, and it the command. 0; -errno. */
int guard_start(const struct spawn *command, const struct guard_times *times, uint64_t grace_ms,
                struct guard *out);

/* Orders. Who does not take them has ended, or is past helping. */
void guard_renew(const struct guard *g, const struct guard_times *times);
void guard_stop(const struct guard *g); /* SIGTERM now, SIGKILL after the grace, by kill_at */
void guard_signal(const struct guard *g, int number); /* to the command's group */

/* 1: a report; 0: none at the moment; -EPIPE: the guardian has ended, and no report is left. */
int guard_next(const struct guard *g, struct guard_report *out);

#endif
