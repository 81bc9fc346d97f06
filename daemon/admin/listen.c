#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/internal.h"
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

static int refuse(const char *path, const char *why)
{
    log_error("admin", "cannot listen on the admin socket", LOG_STR("socket", path),
              LOG_STR("why", why));
    return -RD_ECONFIG;
}

static int refuse_errno(const char *path, const char *what, int error)
{
    char why[256];

    (void)snprintf(why, sizeof why, "%s: %s", what, err_text(-error));
    return refuse(path, why);
}

/* ---- The file ---- */

static int check_directory(const char *path)
{
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    struct stat st;

    (void)snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (!slash) {
        return 0; /* the working directory */
    }
    slash[slash == directory ? 1 : 0] = 0;
    if (stat(directory, &st) == 0 && S_ISDIR(st.st_mode)) {
        return 0;
    }
    return refuse(path, "its directory does not exist: systemd makes it from RuntimeDirectory=; "
                        "without systemd create it, or set [admin] socket elsewhere");
}

/* What stands at the path may be left over from a raftd that was killed, or be in use. */
static int clear_path(const struct sockaddr_un *address)
{
    const char *path = address->sun_path;
    struct stat st;

    if (lstat(path, &st)) {
        return errno == ENOENT ? 0 : refuse_errno(path, "cannot look at it", errno);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return refuse(path, "a file that is no socket stands there: move it away, or set [admin] "
                            "socket elsewhere");
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return refuse_errno(path, "no socket", errno);
    }
    int error =
        connect(fd, (const struct sockaddr *)(const void *)address, sizeof *address) ? errno : 0;
    (void)close(fd);
    if (error == 0 || error == EAGAIN) {
        return refuse(path, "another raftd answers there: stop it, or give this one its own "
                            "[admin] socket");
    }
    if (error != ECONNREFUSED) {
        return refuse_errno(path, "cannot tell whether another raftd uses it", error);
    }
    if (unlink(path) && errno != ENOENT) {
        return refuse_errno(path, "cannot remove the left-over socket file", errno);
    }
    return 0;
}

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

/* Before anybody can connect: the kernel refuses until listen(). */
static int set_access(const struct admin *a, const char *path, uint32_t mode)
{
    if (a->policy.group_set && chown(path, (uid_t)-1, a->policy.group)) {
        log_warning("admin", "cannot give the admin socket to its group", LOG_STR("socket", path),
                    LOG_STR("why", err_text(-errno)));
    }
    if (chmod(path, (mode_t)mode)) {
        return refuse_errno(path, "cannot set its mode", errno);
    }
    return 0;
}

static int bind_path(struct admin *a, int fd, const struct sockaddr_un *address, uint32_t mode)
{
    const char *path = address->sun_path;
    struct stat st;

    if (bind(fd, (const struct sockaddr *)(const void *)address, sizeof *address)) {
        return refuse_errno(path, "cannot create it", errno);
    }
    if (lstat(path, &st)) {
        return refuse_errno(path, "cannot look at it", errno);
    }
    a->path = mem_strdup(path);
    a->path_dev = st.st_dev;
    a->path_ino = st.st_ino;
    return set_access(a, path, mode);
}

/* ---- The listener ---- */

static void accept_cb(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int size, void *arg)
{
    (void)listener;
    (void)address;
    (void)size;
    struct admin *a = arg;

    if (a->starved) {
        a->starved = false;
        log_notice("admin", "accepting connections again");
    }
    admin_conn_accept(a, fd);
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
    const struct timeval later = {.tv_sec = 0, .tv_usec = 250000};

    if (!a->starved) {
        a->starved = true;
        log_warning("admin", "cannot accept connections, trying again every 250 ms",
                    LOG_STR("why", err_text(-errno)));
    }
    (void)evconnlistener_disable(listener);
    (void)event_add(a->listener_retry, &later);
}

static int open_listener(struct admin *a, const struct sockaddr_un *address, uint32_t mode)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return refuse_errno(address->sun_path, "no socket", errno);
    }
    int code = bind_path(a, fd, address, mode);
    if (code) {
        (void)close(fd);
        return code;
    }
    a->listener = evconnlistener_new(a->base, accept_cb, a,
                                     LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 128, fd);
    if (!a->listener) {
        code = refuse_errno(address->sun_path, "cannot listen", errno);
        (void)close(fd);
        return code;
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
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(config->socket_path);

    if (size == 0 || size >= sizeof address.sun_path) {
        return refuse(config->socket_path, "a socket path has 1 to 107 bytes");
    }
    memcpy(address.sun_path, config->socket_path, size);
    int code = check_directory(address.sun_path);
    if (code == 0) {
        code = clear_path(&address);
    }
    if (code) {
        return code;
    }
    struct admin *a = mem_zalloc(sizeof *a);
    a->base = base;
    a->ops = ops;
    LIST_INIT(&a->conns);
    LIST_INIT(&a->calls_free);
    TAILQ_INIT(&a->dirty);
    a->read_buffer = mem_alloc(ADMIN_READ_SIZE);
    a->listener_retry = evtimer_new(base, retry_cb, a);
    rd_assert(a->listener_retry);
    set_policy(a, config->group);
    code = open_listener(a, &address, config->mode);
    if (code) {
        admin_close(a);
        return code;
    }
    *out = a;
    return 0;
}

static void remove_path(const struct admin *a)
{
    struct stat st;

    if (lstat(a->path, &st) == 0 && st.st_dev == a->path_dev && st.st_ino == a->path_ino) {
        (void)unlink(a->path);
    }
}

void admin_drain(struct admin *a)
{
    a->draining = true;
    remove_path(a); /* those who are connecting are still taken in */
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
    if (a->path) {
        remove_path(a);
    }
    if (a->listener) {
        evconnlistener_free(a->listener);
    }
    admin_conns_free(a);
    event_free(a->listener_retry);
    buf_done(&a->scratch);
    mem_free(a->read_buffer);
    mem_free(a->path);
    mem_free(a);
}
