/* holder.h - the conversation with raftd of somebody who acts as leader: it asks for claims by
 * `hold`, is woken by `watch` when something changes, and says by `release` that nobody acts any
 * more.
 *
 * Every decision rests on an answer to `hold`; `watch` only says when to ask. Threads: one. */
#ifndef RAFTD_RAFTCTL_HOLDER_H
#define RAFTD_RAFTCTL_HOLDER_H

#include <jansson.h>

#include "raftctl/ctl.h"
#include "raftctl/lease.h"

struct command;

struct holder {
    struct ctl *ctl;               /* ctl->client is the connection; borrowed */
    const struct command *command; /* borrowed */
    struct lease lease;
    uint64_t hold_id, watch_id; /* of the requests that are open */
    uint64_t term;              /* as last answered */
    uint32_t node;              /* 0: not answered yet */
    char cluster_id[64];
    char where[1024]; /* what this node said last, in words; "": nothing yet */
};

void holder_init(struct holder *h, struct ctl *ctl, const struct command *command,
                 uint64_t grace_ms);

/* Connect. 0, or what client_open() and client_send() return. */
int holder_open(struct holder *h, struct ctl_error *e);
void holder_close(struct holder *h); /* nothing happens when it is closed */

/* Descriptor to wait for, and when to call holder_turn() at the latest. */
int holder_fd(const struct holder *h);
uint64_t holder_due(const struct holder *h);

/* Ask what is to be asked, take what has come. 0, and *out says more than LEASE_NONE if there was
 * an answer; or what the connection ended of, or was refused with. */
int holder_turn(struct holder *h, enum lease_verdict *out, struct ctl_error *e);

/* Nobody acts on the claims any more. Waits for the answers that are open, at most until they have
 * lapsed: then nobody waits for us either. */
void holder_release(struct holder *h);

#endif
