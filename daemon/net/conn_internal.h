/* conn_internal.h - what conn.c and conn_tls.c share. Not for others. */
#ifndef RAFTD_NET_CONN_INTERNAL_H
#define RAFTD_NET_CONN_INTERNAL_H

#include "net/conn.h"

/* ---- conn.c ---- */

void conn_open(struct conn *c); /* what was to be done before frames is done */
void conn_fail(struct conn *c, int code, const char *why);
void conn_fail_code(struct conn *c, int code); /* nothing for -EAGAIN and -EINTR */
bool conn_has_unsent(const struct conn *c);
void conn_set_blocked(struct conn *c, bool blocked);

/* ---- conn_tls.c ---- */

/* The handshake can go on: when the turn has a step for it. */
void conn_tls_wait(struct conn *c);
void conn_tls_wait_no_more(struct conn *c);
/* Write what waits. 0, or a negative code. */
int conn_tls_write(struct conn *c);
/* What is first in c->in is no frame, by that code. If it is TLS, which this node does not speak, the peer is
 * told, and the connection is the owner's no more: true. */
bool conn_tls_refuse(struct conn *c, int code);

#endif
