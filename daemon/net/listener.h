/* listener.h - listening TCP sockets, and the one that members connect to.
 *
 * Threads:   loop thread only. Ownership: accepted descriptors (non-blocking, close-on-exec, tuned)
 * are the callback's. Without descriptors left in the process it rests (shortage.h), instead of
 * spinning on a connection it cannot take. */
#ifndef RAFTD_NET_LISTENER_H
#define RAFTD_NET_LISTENER_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/units.h"

struct listener;

/* A listening TCP socket (non-blocking, close-on-exec, tuned); or, after one log line, which names the
 * option of the configuration: -RD_ENO_ADDRESS when the address may be there at another time,
 * -RD_ECONFIG. */
int listener_bind(const struct host_port *address, const char *option, uint32_t user_timeout_ms);

/* False: no more in this pass of the loop. */
typedef bool listener_cb(void *arg, int fd, const struct sockaddr *from);

/* Bound and listening, but accepting nothing before listener_start(). Port 0: any free one.
 * 0; or as listener_bind(). */
int listener_new(struct event_base *base, const struct host_port *address, uint32_t user_timeout_ms,
                 listener_cb *cb, void *arg, struct listener **out);
void listener_start(struct listener *l);
/* Once started: who connects waits in the backlog while it is held. */
void listener_hold(struct listener *l, bool is_held);
void listener_free(struct listener *l); /* NULL is fine */

uint16_t listener_port(const struct listener *l);

#endif
