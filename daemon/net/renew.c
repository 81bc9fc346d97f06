/* After a reload of certificates: no connection outlives for long what it was trusted by.
 *
 * New connections begin with the new ones at once. Those that are up are replaced one by one, so
 * that a node is never without all its links: first the links we dialled, which say what they have
 * to say, each when the one before is up again; then those of who dialled us and has not dialled
 * again by then. So certificates that the others refuse cost one link, for NET_RENEWED_MS each: time
 * to put the old ones back. A peer whose certificate is not accepted any more does not come back. */
#include <inttypes.h>

#include "base/log.h"
#include "net/internal.h"

static void renew_later(struct net *n)
{
    const struct timeval wait = {.tv_usec = (suseconds_t)NET_RENEW_MS * 1000};

    (void)event_add(&n->renewal, &wait);
}

/* Of those begun anew, is there one that is not up again, and may yet be? */
static bool is_waited_for(struct link *l)
{
    if (l->renewed == 0) {
        return false;
    }
    if (l->state == LINK_UP) {
        l->renewed = 0;
        return false;
    }
    if (mono_now_ms() - l->renewed < NET_RENEWED_MS) {
        return true;
    }
    l->renewed = 0;
    log_error(
        "net", "a link does not come back with the certificates now in force",
        LOG_U64("peer", l->id), LOG_STR("why", l->why),
        LOG_STR("do", "put back those of before, raftctl reload, and look at the other node"));
    return false;
}

static bool waits(struct net *n)
{
    struct link *l;

    TAILQ_FOREACH (l, &n->links, entry) {
        if (is_waited_for(l)) {
            return true;
        }
    }
    return false;
}

/* One that is under way is looked at again when it is up. */
static bool renew_link(struct net *n)
{
    bool found = false;
    struct link *l;

    TAILQ_FOREACH (l, &n->links, entry) {
        if (!l->conn || !conn_is_outdated(l->conn)) {
            continue;
        }
        found = true;
        if (l->state == LINK_UP) {
            log_info("net", "link dialled anew: certificates were reloaded", LOG_U64("peer", l->id),
                     LOG_STR("address", l->conn->peer));
            link_renew(l);
            break;
        }
    }
    return found;
}

static bool renew_inbound(struct inbound_list *list)
{
    struct inbound *in;

    TAILQ_FOREACH (in, list, entry) {
        if (conn_is_outdated(in->conn)) {
            log_info("net", "connection closed: certificates were reloaded",
                     LOG_U64("peer", in->id), LOG_STR("address", in->conn->peer));
            inbound_close(in);
            return true;
        }
    }
    return false;
}

void net_renew(evutil_socket_t fd, short what, void *arg)
{
    struct net *n = arg;

    (void)fd;
    (void)what;
    if (waits(n) || renew_link(n) || renew_inbound(&n->accepted) || renew_inbound(&n->strangers)) {
        renew_later(n);
    } else {
        log_notice("net", "all connections use the certificates in force");
    }
}

void net_set_tls(struct net *n, struct tls_context *tls)
{
    tls_context_unref(n->conns.tls);
    n->conns.tls = tls_context_ref(tls);
    renew_later(n);
}
