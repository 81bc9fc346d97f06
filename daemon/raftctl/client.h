/* client.h - one connection to raftd: blocking, with deadlines, requests may be pipelined.
 *
 * Deadlines are on mono_now_ms()'s clock. Errors come with a sentence that names the socket and
 * says what to check; after -RD_EDAEMON the client is only good for client_close(). Threads: one.
 * Ownership: replies are the caller's (admin_reply_done). */
#ifndef RAFTD_RAFTCTL_CLIENT_H
#define RAFTD_RAFTCTL_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"
#include "wire/admin.h"

struct client;

/* 0; -RD_EDAEMON: nobody there, or no room by the deadline; -RD_EPERMISSION; -RD_EUSAGE: the path
 * is too long for a socket. */
int client_open(const char *socket, uint64_t deadline, struct client **out, struct ctl_error *e);
void client_close(struct client *c); /* NULL is fine */

/* Send a request under a fresh id, 1 or more, left in req->id. 0; -RD_EDAEMON: it was not handed
 * over whole, so it was not executed; -RD_ETIMEOUT likewise, and the stream is broken;
 * -RD_ETOO_LARGE, -RD_EINVALID: not sent (as admin_request_encode()); else what raftd refused the
 * connection with, its own sentence in the error: not executed either, and the stream is over. */
int client_send(struct client *c, struct admin_request *req, uint64_t deadline,
                struct ctl_error *e);

/* The next reply, to whichever request (id says). 0; -RD_ETIMEOUT: none by the deadline, ask again;
 * -RD_EDAEMON: raftd closed the connection or sent what makes no sense. */
int client_receive(struct client *c, uint64_t deadline, struct admin_reply *out,
                   struct ctl_error *e);

/* Is this reply about the connection instead of a request? raftd closes it then. */
bool client_is_refusal(const struct admin_reply *reply);

/* From now on client_receive() also ends, with -EPIPE, when nobody reads what is written to `fd`
 * any more: a stream that rarely says something would notice only with its next line. */
void client_mind_reader(struct client *c, int fd);

/* For who waits for more than one thing: readable, client_receive() may have something at once.
 * May have something already: call it until -RD_ETIMEOUT first. */
int client_fd(const struct client *c);

/* Connect without a client: a non-blocking, close-on-exec descriptor. Errors as client_open(). */
int client_connect(const char *socket, uint64_t deadline, int *fd, struct ctl_error *e);

#endif
