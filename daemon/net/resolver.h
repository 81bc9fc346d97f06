/* resolver.h - names to addresses without ever blocking the loop.
 *
 * Numeric addresses at once; names from /etc/hosts, then from the name servers of resolv.conf
 * (libevent's evdns). Both files are read again when they have changed.
 * Threads:   loop thread only.
 * Ownership: the list given to the callback is borrowed for the call. */
#ifndef RAFTD_NET_RESOLVER_H
#define RAFTD_NET_RESOLVER_H

#include <event2/event.h>
#include <event2/util.h>

#include "base/units.h"

struct resolver;
struct resolver_request;

/* why: NULL and a list, or what went wrong (static text) and no list. */
typedef void resolver_cb(void *arg, const struct evutil_addrinfo *list, const char *why);

/* The paths are borrowed for the resolver's life. */
struct resolver *resolver_new(struct event_base *base, const char *resolv_conf, const char *hosts);
/* Requests under way are cancelled. libevent finishes those in the loop's next turn; what belongs
 * to them is freed then. */
void resolver_free(struct resolver *r);

/* The answer may come before this returns; it returns NULL then. The request belongs to the
 * resolver and ends with its callback. */
struct resolver_request *resolver_ask(struct resolver *r, const struct host_port *name,
                                      resolver_cb *cb, void *arg);
/* The callback will not be called. */
void resolver_cancel(struct resolver_request *request);

#endif
