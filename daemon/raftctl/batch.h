/* batch.h - commands from standard input, one per line; one JSON line each, in order, flushed. */
#ifndef RAFTD_RAFTCTL_BATCH_H
#define RAFTD_RAFTCTL_BATCH_H

#include "raftctl/options.h"

int batch_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

#endif
