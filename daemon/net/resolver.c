#include "net/resolver.h"

#include <event2/dns.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/mem.h"

struct resolver_request {
    LIST_ENTRY(resolver_request) entry;
    struct resolver *resolver;
    struct evdns_getaddrinfo_request *dns; /* NULL until libevent took it */
    bool starting;                         /* inside resolver_ask() */
    bool answered;
    resolver_cb *cb; /* NULL: cancelled */
    void *arg;
};

struct resolver_stamp { /* tells one content of a file from another */
    struct timespec changed;
    ino_t inode;
    off_t size;
};

struct resolver {
    struct event_base *base;
    struct evdns_base *dns; /* made at the first name */
    const char *paths[2];   /* resolv.conf, hosts */
    struct resolver_stamp stamps[2];
    LIST_HEAD(resolver_requests, resolver_request) requests;
    bool orphaned; /* resolver_free() was called */
};

struct resolver *resolver_new(struct event_base *base, const char *resolv_conf, const char *hosts)
{
    struct resolver *r = mem_zalloc(sizeof *r);

    r->base = base;
    r->paths[0] = resolv_conf;
    r->paths[1] = hosts;
    LIST_INIT(&r->requests);
    return r;
}

static void resolver_destroy(struct resolver *r)
{
    if (r->dns) {
        evdns_base_free(r->dns, 0);
    }
    mem_free(r);
}

static void resolver_destroy_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    resolver_destroy(arg);
}

void resolver_free(struct resolver *r)
{
    struct resolver_request *request;
    struct resolver_request *next;

    if (LIST_EMPTY(&r->requests)) {
        resolver_destroy(r);
        return;
    }
    r->orphaned = true;
    for (request = LIST_FIRST(&r->requests); request; request = next) {
        next = LIST_NEXT(request, entry);
        if (request->cb) {
            resolver_cancel(request);
        }
    }
}

void resolver_cancel(struct resolver_request *request)
{
    request->cb = NULL;
    evdns_getaddrinfo_cancel(request->dns);
}

static const char *resolver_why(int code)
{
    switch (code) {
    case EVUTIL_EAI_NONAME:
    case EVUTIL_EAI_NODATA:
        return "no such name";
    case EVUTIL_EAI_AGAIN:
        return "no name server answers";
    default:
        return evutil_gai_strerror(code);
    }
}

static void resolver_request_free(struct resolver_request *request)
{
    const struct timeval at_once = {0};
    struct resolver *r = request->resolver;

    LIST_REMOVE(request, entry);
    mem_free(request);
    /* Not from inside evdns' own callback. */
    if (r->orphaned && LIST_EMPTY(&r->requests)) {
        (void)event_base_once(r->base, -1, EV_TIMEOUT, resolver_destroy_later, r, &at_once);
    }
}

static void resolver_answered(int code, struct evutil_addrinfo *list, void *arg)
{
    struct resolver_request *request = arg;

    if (request->cb) {
        request->cb(request->arg, code ? NULL : list, code ? resolver_why(code) : NULL);
    }
    if (list) {
        evutil_freeaddrinfo(list);
    }
    request->answered = true;
    if (!request->starting) {
        resolver_request_free(request);
    }
}

static bool resolver_files_changed(struct resolver *r)
{
    bool changed = false;

    for (int i = 0; i < 2; i++) {
        struct stat st;
        struct resolver_stamp now = {0};
        const struct resolver_stamp *was = &r->stamps[i];
        if (stat(r->paths[i], &st) == 0) {
            now = (struct resolver_stamp){st.st_mtim, st.st_ino, st.st_size};
        }
        changed |= now.inode != was->inode || now.size != was->size ||
                   now.changed.tv_sec != was->changed.tv_sec ||
                   now.changed.tv_nsec != was->changed.tv_nsec;
        r->stamps[i] = now;
    }
    return changed;
}

/* Make the evdns base, or make it anew when the files it was made from have changed. */
static void resolver_refresh(struct resolver *r)
{
    if (r->dns && (!LIST_EMPTY(&r->requests) || !resolver_files_changed(r))) {
        return;
    }
    if (r->dns) {
        evdns_base_free(r->dns, 0);
    } else {
        (void)resolver_files_changed(r);
    }
    r->dns = evdns_base_new(r->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    rd_assert(r->dns);
    /* Without a readable resolv.conf a local name server is asked, as resolv.conf(5) says. */
    (void)evdns_base_resolv_conf_parse(r->dns, DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE,
                                       r->paths[0]);
    (void)evdns_base_load_hosts(r->dns, r->paths[1]);
    (void)evdns_base_set_option(r->dns, "timeout:", "1");
    (void)evdns_base_set_option(r->dns, "attempts:", "3");
}

struct resolver_request *resolver_ask(struct resolver *r, const struct host_port *name,
                                      resolver_cb *cb, void *arg)
{
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_flags = EVUTIL_AI_NUMERICHOST};
    struct evutil_addrinfo *list = NULL;
    char port[8];

    (void)snprintf(port, sizeof port, "%u", name->port);
    if (evutil_getaddrinfo(name->host, port, &hints, &list) == 0) {
        cb(arg, list, NULL);
        evutil_freeaddrinfo(list);
        return NULL;
    }
    resolver_refresh(r);
    struct resolver_request *request = mem_zalloc(sizeof *request);
    *request = (struct resolver_request){.resolver = r, .starting = true, .cb = cb, .arg = arg};
    LIST_INSERT_HEAD(&r->requests, request, entry);
    hints.ai_flags = 0;
    request->dns = evdns_getaddrinfo(r->dns, name->host, port, &hints, resolver_answered, request);
    request->starting = false;
    if (request->answered) {
        resolver_request_free(request);
        return NULL;
    }
    return request;
}
