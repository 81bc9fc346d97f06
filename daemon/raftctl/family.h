/* family.h - the children of this process, and the orphans that came to it because it is a
 * subreaper (PR_SET_CHILD_SUBREAPER): all of them are found, whatever group or session they moved
 * to.
 *
 * A child that ended keeps its number until it is buried, so none of these signals meets a
 * stranger. Threads: one, the process's only one. Allocates nothing; fit for a process that was
 * just forked. */
#ifndef RAFTD_RAFTCTL_FAMILY_H
#define RAFTD_RAFTCTL_FAMILY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { FAMILY_MAX = 1024 }; /* looked at in one go */

struct family {
    int fd;
    pid_t pids[FAMILY_MAX];
    uint32_t count;
    bool more; /* than fit in */
    pid_t spared[FAMILY_MAX];
    uint32_t spared_count;
};

/* Become the subreaper of this process's descendants. 0, or -errno: -ENOENT when /proc does not
 * tell of children (CONFIG_PROC_CHILDREN). Not inherited: a fork that wants it calls it again. */
int family_open(struct family *f);
void family_close(struct family *f);

/* Whoever is there now is somebody else's business, from now on. */
void family_spare(struct family *f);

/* Signal all of them except who is in group `except` (0: no exception). */
void family_signal(struct family *f, int number, pid_t except);

/* Bury those that have ended except `kept` (0: no exception); how many, without it, are left. */
uint32_t family_bury(struct family *f, pid_t kept);

#endif
