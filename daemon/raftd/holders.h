/* holders.h - clients that were told "you may act as leader" and will say when they have stopped.
 *
 * A holder is a connection. What it was told counts until it says that nobody acts on it any more, or
 * until it has lapsed; that the connection ended says nothing of what runs behind it.
 *
 * Threads: loop thread only. Ownership: plain data; holders_done() frees it. */
#ifndef RAFTD_RAFTD_HOLDERS_H
#define RAFTD_RAFTD_HOLDERS_H

#include <stdbool.h>

#include "base/mono.h"

enum { HOLDERS_MAX = 1024 }; /* whose claims have not lapsed */

struct holders {
    struct holder {
        uint64_t client;
        mono_ms until;
    } * rows;
    uint32_t count;
};

/* A claim that lasts `until` was told to this client. false: there are too many holders, so nobody can
 * take it back. */
bool holders_hold(struct holders *h, uint64_t client, mono_ms now, mono_ms until);

/* The client acts on none of its claims any more. true: and so does no other holder. */
bool holders_release(struct holders *h, uint64_t client, mono_ms now);

/* Has the client not released what it was told, and has that not lapsed? */
bool holders_is_holding(const struct holders *h, uint64_t client, mono_ms now);
/* How many are. */
uint32_t holders_alive(const struct holders *h, mono_ms now);
/* When the next claim lapses; UINT64_MAX: there is none. */
mono_ms holders_due(const struct holders *h, mono_ms now);

void holders_done(struct holders *h);

#endif
