/* child.h - work on a data directory, done by a child: what a damaged file does to LMDB (a signal, an
 * assertion) ends the child and becomes an answer here. What the store logs about it is the reason shown.
 * Threads: one. */
#ifndef RAFTD_RAFTCTL_CHILD_H
#define RAFTD_RAFTCTL_CHILD_H

#include "raftctl/ctl.h"

/* In the child: `answer` is plain data, all that the caller will see. A negative code is explained by the
 * store's log, or in the answer. */
typedef int child_job(const void *arg, void *answer);

/* Run it; 0 or its code. `reason` gets what the store logged first, "" when it logged nothing.
 * -RD_ECORRUPT also when the child died. As root it becomes who owns the directory, so that raftd can open
 * what is made there. */
int child_run(const char *data_dir, child_job *job, const void *arg, void *answer,
              size_t answer_size, struct buf *reason);

/* Such a code as an error: always one of the names that scripts know. Returns it. */
int child_fail(struct ctl_error *e, int code, struct buf *reason);

#endif
