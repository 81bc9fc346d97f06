/* admin.h - the Unix socket: frames in, one command table, frames out.
 *
 * A command without a permission in the table is refused. Who asks is known from the kernel
 * (SO_PEERCRED, SO_PEERGROUPS): root, the daemon's own uid, and members of [admin] group may change
 * things and see data; every local user may ask who leads.
 *
 * Threads:   loop thread only.
 * Limits:    256 connections, 32 of them kept for those who may change things, at most 64 for each
 *            user who may not; frames as
 *            wire/frame.h; ADMIN_CALLS_MAX open requests per connection and 4,000 in all, then
 *            connections are not read until some are answered; 4 watches per connection; a client
 *            that does not read its replies is disconnected at 8 MiB. Of what a client sends, less
 *            than one frame and 64 KiB is held. A turn accepts at most 64 connections, and takes at most
 *            256 requests over all of them: each that waits gets an equal share, what it leaves goes to
 *            the others.
 * The end:   a client that shut down its sending side gets its answers, then the connection is
 *            closed; its watches end with it. One that broke the protocol has 3 s to read why.
 * Ownership: a call lives from submit to its last reply, or to cancel. */
#ifndef RAFTD_ADMIN_ADMIN_H
#define RAFTD_ADMIN_ADMIN_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "node/types.h"
#include "state/command.h"
#include "wire/admin.h"

struct admin;
struct admin_call; /* one open request */

enum { ADMIN_CONNECTIONS_MAX = 256, ADMIN_CALLS_MAX = 256 };

/* What the daemon can do for a command. Each answers the call with admin_answer() now or later,
 * once, except `watch`, which goes on with admin_answer_more() until cancelled. */
struct server_ops {
    void *server;
    void (*status)(void *server, struct admin_call *call, uint32_t timeout_ms);
    void (*members)(void *server, struct admin_call *call, uint32_t timeout_ms);
    void (*leader)(void *server, struct admin_call *call);
    void (*is_leader)(void *server, struct admin_call *call);
    /* The same, for a client that says when nobody acts on the claim any more: by `release`, on the
     * same connection. */
    void (*hold)(void *server, struct admin_call *call);
    void (*release)(void *server, struct admin_call *call);
    /* Does this client (admin_call_client()) hold a claim that it has yet to release? */
    bool (*holds)(void *server, uint64_t client);
    void (*watch)(void *server, struct admin_call *call);
    void (*bootstrap)(void *server, struct admin_call *call, uint32_t timeout_ms);
    /* A change of the membership or of the leader: incarnation, seq and term are the server's to
     * fill in. Progress comes by admin_answer_more(). Borrowed. */
    void (*change)(void *server, struct admin_call *call, const struct peer_change *change,
                   uint32_t timeout_ms);
    /* An encoded transaction (moved). `deletes`: the result is that of `del`. */
    void (*write)(void *server, struct admin_call *call, struct blob *txn, bool deletes,
                  uint32_t timeout_ms);
    void (*get)(void *server, struct admin_call *call, struct blob *key, bool stale,
                uint32_t timeout_ms);
    void (*list)(void *server, struct admin_call *call, struct blob *prefix, uint64_t limit,
                 bool stale, uint32_t timeout_ms); /* prefix may be NULL */
    /* A backup: its pieces come by admin_answer_more(), as bytes. */
    void (*backup)(void *server, struct admin_call *call, uint32_t timeout_ms);
    void (*log_level)(void *server, struct admin_call *call, const char *level);
    void (*reload)(void *server, struct admin_call *call);
    /* The client is gone: never answer this call (it is freed). Called from admin_reap() only. */
    void (*cancel)(void *server, struct admin_call *call);
};

struct admin_config {
    const char *socket_path;
    uint32_t mode;
    const char *group; /* "": none. One that does not exist is a warning: only root and our uid */
};

/* 0; -RD_ECONFIG after one log line (path too long, directory missing, another raftd answers on
 * it). A socket file that nobody answers on is replaced. */
int admin_open(struct event_base *base, const struct admin_config *config,
               const struct server_ops *ops, struct admin **out);
void admin_close(struct admin *a); /* removes the socket file */

/* The process is about to stop: the socket file goes, and no client can send any more, so each knows
 * of each request whether it was taken. What was sent before is still answered, then its connection
 * is closed; watches go on until admin_close(). Who holds a claim can still send `release`, and nothing
 * else. */
void admin_drain(struct admin *a);
/* Everything that was sent is answered, and the answers are with the kernel. */
bool admin_is_drained(const struct admin *a);

/* Last reply to a call; frees it. */
void admin_answer(struct admin_call *call, int code, uint32_t leader, const char *message,
                  const void *json, size_t json_size);
/* A reply with more to come. false: the client is gone or too slow and is being disconnected
 * (cancel follows). */
bool admin_answer_more(struct admin_call *call, const void *json, size_t json_size);

/* Bytes of replies that the client's connection has not taken yet: who sends much waits while these are
 * many. */
size_t admin_call_unsent(const struct admin_call *call);

/* A number of the connection that the call came on, never used for another one. */
uint64_t admin_call_client(const struct admin_call *call);

/* Has this client ever asked to `hold`? Then it says of all that it was told since when nobody acts on it. */
bool admin_call_is_holders(const struct admin_call *call);

/* Where the server keeps its own number for a call (and finds it at cancel). */
void admin_call_set(struct admin_call *call, uint64_t token);
uint64_t admin_call_get(const struct admin_call *call);

/* Once per turn, outside callbacks, before the turn: take requests of what was read; the server_ops are
 * called from here. */
void admin_take(struct admin *a);
/* Requests wait for the next turn: it is due at once. */
bool admin_has_work(const struct admin *a);
/* Once per turn, outside callbacks: send what was answered, one write per connection, and go on
 * reading and accepting where a limit had stopped it. */
void admin_flush(struct admin *a);
/* Once per turn, outside callbacks: free what was closed; cancels the calls that were open on it.
 */
void admin_reap(struct admin *a);

#endif
