/* check.h - `raftctl check`: verify a data directory offline. Threads: one. */
#ifndef RAFTD_RAFTCTL_CHECK_H
#define RAFTD_RAFTCTL_CHECK_H

#include "raftctl/ctl.h"
#include "raftctl/options.h"

int check_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

#endif
