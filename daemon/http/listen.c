#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/shortage.h"
#include "base/units.h"
#include "http/internal.h"
#include "net/listener.h"

#define UNIX_PREFIX "unix:"
#define OPTION "[http] listen"

enum {
    BACKLOG = 128,
    USER_TIMEOUT_MS = HTTP_STALL_MS,
    SOCKET_MODE = 0666, /* who leads is for every local user */
};

static struct shortage shortage;

static void retry_cb(evutil_socket_t fd, short what, void *listener)
{
    (void)fd;
    (void)what;
    (void)evconnlistener_enable(listener);
}

/* Out of descriptors: the listener stays readable and would spin. The callback's argument is libevent's,
 * so all listeners of the process share what is said. Whoever closes the room runs the loop no more, so
 * the timer does not outlive the listener. */
static void accept_error_cb(struct evconnlistener *listener, void *arg)
{
    const struct timeval rest = {.tv_usec = (suseconds_t)SHORTAGE_REST_MS * 1000};

    (void)arg;
    shortage_note(&shortage, "http", errno);
    (void)evconnlistener_disable(listener);
    (void)event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT, retry_cb, listener,
                          &rest);
}

/* The accepting goes on as long as there is somebody, and the turn with it. */
void listen_accepted(struct http *h)
{
    shortage_over(&shortage, "http");
    if (++h->accepted < HTTP_ACCEPTS_MAX) {
        return;
    }
    for (uint32_t i = 0; i < h->config.listen_count; i++) {
        (void)evconnlistener_disable(h->listeners[i]);
    }
}

/* Who is enabled first is asked first: another one each time, or a flood on one would be all there is. */
void listen_turn(struct http *h)
{
    uint32_t count = h->config.listen_count;

    if (h->accepted >= HTTP_ACCEPTS_MAX) {
        h->first_listener++;
        for (uint32_t i = 0; i < count; i++) {
            (void)evconnlistener_enable(h->listeners[(h->first_listener + i) % count]);
        }
    }
    h->accepted = 0;
}

/* A bound socket, -RD_ENO_ADDRESS or -RD_ECONFIG. */
static int open_socket(const char *address, struct local_file *file)
{
    struct host_port where;
    int fd = -1;

    if (strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) != 0) {
        rd_assert(units_parse_host_port(address, &where) == 0); /* the configuration is checked */
        return listener_bind(&where, OPTION, USER_TIMEOUT_MS);
    }
    const struct local_config local = {
        .option = OPTION, .path = address + strlen(UNIX_PREFIX), .mode = SOCKET_MODE};
    int code = local_bind(&local, file, &fd);
    return code ? code : fd;
}

static int listen_on(struct http *h, const char *address, uint32_t position)
{
    int fd = open_socket(address, &h->files[position]);

    if (fd < 0) {
        return fd;
    }
    struct evconnlistener *listener = evconnlistener_new(
        h->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, fd);
    if (!listener) {
        log_error("http", "cannot listen", LOG_STR("address", address), LOG_ERR(-errno));
        (void)close(fd);
        return -RD_ECONFIG;
    }
    evconnlistener_set_error_cb(listener, accept_error_cb);
    rd_assert(evhttp_bind_listener(h->evhttp, listener));
    h->listeners[position] = listener;
    return 0;
}

int listen_open(struct http *h, const struct http_config *config)
{
    int code = 0;

    for (uint32_t i = 0; i < config->listen_count && code == 0; i++) {
        code = listen_on(h, config->listen[i], i);
    }
    return code;
}
