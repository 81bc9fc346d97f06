/* bench.h - load on a cluster, measured: closed-loop clients over a few connections. */
#ifndef RAFTD_RAFTCTL_BENCH_H
#define RAFTD_RAFTCTL_BENCH_H

#include "raftctl/options.h"

int bench_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

#endif
