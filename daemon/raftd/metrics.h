/* metrics.h - /metrics: one table of all of them, as text of Prometheus 0.0.4.
 *
 * Base units (seconds, bytes); what this node does not know has no sample. Threads: any. Ownership:
 * everything is borrowed for the call; output is appended. */
#ifndef RAFTD_RAFTD_METRICS_H
#define RAFTD_RAFTD_METRICS_H

#include "http/http.h"
#include "raftd/report.h"

enum metrics_request {                /* what clients of the admin socket ask for */
                       METRICS_OTHER, /* not counted */
                       METRICS_WRITE,
                       METRICS_READ,
                       METRICS_CHANGE,
                       METRICS_REQUESTS,
};

struct metrics_counts { /* since the process began */
    uint64_t answered[METRICS_REQUESTS], failed[METRICS_REQUESTS];
    uint64_t leader_changes; /* another leader than the last one that was known, or another term */
    uint64_t leaderships;    /* of this node */
    uint64_t handovers, handovers_failed;
    uint64_t snapshots_sent, snapshots_received;
    uint64_t disk_stalls;
};

struct metrics_view {
    const struct report_status *status;
    const struct metrics_counts *counts;
    struct http_stats http;
    uint32_t watches, holders; /* of the admin socket */
    double started_s, cpu_s;   /* wall clock of the start; time used */
};

void metrics_put(struct buf *out, const struct metrics_view *view);

/* The table, for manuals and tests: calls cb for each metric in order. */
typedef void metrics_cb(void *arg, const char *name, const char *type, const char *help);
void metrics_each(metrics_cb *cb, void *arg);

#endif
