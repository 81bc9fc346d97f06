/* hush.h - the same line at most once a minute.
 *
 * A peer that is refused comes back every few seconds; its log line need not. A key names the line
 * (who, and why). The table is fixed: with more keys than rows the quietest row is forgotten, which
 * costs a line too many, never one too few. Threads: loop thread only. */
#ifndef RAFTD_NET_HUSH_H
#define RAFTD_NET_HUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum { HUSH_ROWS = 64, HUSH_INTERVAL_MS = 60000 };

struct hush {
    struct hush_row {
        uint64_t key;   /* 0: row is free */
        mono_ms logged; /* when this key was let through */
        mono_ms seen;
        uint32_t suppressed; /* since then */
    } rows[HUSH_ROWS];
};

/* A key for who (an id, or 0 and an address) and why (a code). */
uint64_t hush_key(uint32_t id, const char *address, int code);
/* The same; of TLS (-RD_ETLS) each of the reasons is a kind of its own. */
uint64_t hush_key_why(uint32_t id, const char *address, int code, const char *why);

/* May the line be logged now? If so, *suppressed is how many were not since the last. */
bool hush_allows(struct hush *h, uint64_t key, mono_ms now, uint32_t *suppressed);

#endif
