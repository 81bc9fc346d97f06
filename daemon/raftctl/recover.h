/* recover.h - `raftctl recover` and `raftctl reset`: data directories changed offline. Threads: one. */
#ifndef RAFTD_RAFTCTL_RECOVER_H
#define RAFTD_RAFTCTL_RECOVER_H

#include "raftctl/options.h"

enum { RECOVER_TERMS = 1000000 }; /* the fences of what was lost are never reached */

int recover_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);
int reset_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

#endif
