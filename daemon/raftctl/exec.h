/* exec.h - `raftctl exec`: run a command only while this node leads. */
#ifndef RAFTD_RAFTCTL_EXEC_H
#define RAFTD_RAFTCTL_EXEC_H

#include "raftctl/options.h"

enum { /* exit statuses (contract section 3); 126 and 127 are spawn_status()'s */
       EXEC_LOST = 75,
       EXEC_WAITED = 124,
       EXEC_FAILED = 125,
};

int exec_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

#endif
