#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/internal.h"
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

static bool find_group(const char *name, gid_t *out)
{
    char room[16384];
    struct group entry;
    struct group *found = NULL;

    if (getgrnam_r(name, &entry, room, sizeof room, &found) || !found) {
        return false;
    }
    *out = entry.gr_gid;
    return true;
}

/* ---- The listener ---- */

static void accept_cb(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int size, void *arg)
{
    (void)address;
    (void)size;
    struct admin *a = arg;

    shortage_over(&a->shortage, "admin");
    admin_conn_accept(a, fd);
    if (++a->accepted == ADMIN_ACCEPTS_MAX) {
        (void)evconnlistener_disable(listener); /* libevent goes on as long as there is somebody */
    }
}

/* Nobody is accepted while the listener rests for want of descriptors, so the count says which of the two
 * has disabled it. */
void admin_listen_turn(struct admin *a)
{
    if (a->accepted == ADMIN_ACCEPTS_MAX) {
        (void)evconnlistener_enable(a->listener);
    }
    a->accepted = 0;
}

static void retry_cb(evutil_socket_t fd, short what, void *arg)
{
    struct admin *a = arg;

    (void)fd;
    (void)what;
    (void)evconnlistener_enable(a->listener);
}

/* Out of descriptors: the listener stays readable and would spin. */
static void accept_error_cb(struct evconnlistener *listener, void *arg)
{
    struct admin *a = arg;
    const struct timeval later = {.tv_usec = (suseconds_t)SHORTAGE_REST_MS * 1000};

    shortage_note(&a->shortage, "admin", errno);
    (void)evconnlistener_disable(listener);
    (void)event_add(a->listener_retry, &later);
}

static int open_listener(struct admin *a, const struct admin_config *config)
{
    const struct local_config local = {.option = "[admin] socket",
                                       .path = config->socket_path,
                                       .mode = config->mode,
                                       .group_set = a->policy.group_set,
                                       .group = a->policy.group};
    int fd = -1;
    int code = local_bind(&local, &a->file, &fd);

    if (code) {
        return code;
    }
    a->listener = evconnlistener_new(a->base, accept_cb, a,
                                     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 128, fd);
    if (!a->listener) {
        log_error("admin", "cannot listen on the admin socket",
                  LOG_STR("socket", config->socket_path), LOG_STR("why", err_text(-errno)));
        (void)close(fd);
        return -RD_ECONFIG;
    }
    evconnlistener_set_error_cb(a->listener, accept_error_cb);
    return 0;
}

static void set_policy(struct admin *a, const char *group)
{
    a->policy.daemon_uid = geteuid();
    if (!*group) {
        return;
    }
    a->policy.group_set = find_group(group, &a->policy.group);
    if (!a->policy.group_set) {
        log_warning("admin",
                    "the group of [admin] does not exist: only root and raftd's own user may "
                    "change things",
                    LOG_STR("group", group));
    }
}

int admin_open(struct event_base *base, const struct admin_config *config,
               const struct server_ops *ops, struct admin **out)
{
    struct admin *a = mem_zalloc(sizeof *a);
    a->base = base;
    a->ops = ops;
    LIST_INIT(&a->conns);
    LIST_INIT(&a->calls_free);
    TAILQ_INIT(&a->dirty);
    TAILQ_INIT(&a->queue);
    a->read_buffer = mem_alloc(ADMIN_READ_SIZE);
    a->listener_retry = evtimer_new(base, retry_cb, a);
    rd_assert(a->listener_retry);
    set_policy(a, config->group);
    int code = open_listener(a, config);
    if (code) {
        admin_close(a);
        return code;
    }
    *out = a;
    return 0;
}

void admin_drain(struct admin *a)
{
    a->draining = true;
    local_remove(&a->file); /* those who are connecting are still taken in */
    admin_conns_drain(a);
}

bool admin_is_drained(const struct admin *a)
{
    struct pollfd waiting = {.fd = evconnlistener_get_fd(a->listener), .events = POLLIN};

    return poll(&waiting, 1, 0) == 0 && admin_conns_are_drained(a);
}

void admin_close(struct admin *a)
{
    if (!a) {
        return;
    }
    local_remove(&a->file);
    if (a->listener) {
        evconnlistener_free(a->listener);
    }
    admin_conns_free(a);
    event_free(a->listener_retry);
    buf_done(&a->scratch);
    mem_free(a->read_buffer);
    mem_free(a);
}
