#include "raftctl/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"

enum { READ_SIZE = 64 * 1024, BACKLOG_RETRY_MS = 10 };

struct client {
    int fd;
    int reader_fd; /* whoever reads from it is waited for as well; -1: nobody */
    uint64_t next_id;
    struct buf in, out;
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* ---- Connecting ---- */

static bool is_other_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

static int connect_failed(struct ctl_error *e, const char *socket, int error)
{
    if (error == ECONNREFUSED && is_other_file(socket)) {
        return ctl_fail(
            e, -RD_EDAEMON,
            "no raftd at %s: that is no socket. [admin] socket in raftd.conf says where "
            "it is",
            socket);
    }
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ctl_fail(e, -RD_EDAEMON,
                        "no raftd at %s: the socket does not exist. Is raftd running (systemctl "
                        "status raftd)? Another path: --socket PATH or RAFTCTL_SOCKET, as [admin] "
                        "socket in raftd.conf says",
                        socket);
    case ECONNREFUSED:
        return ctl_fail(e, -RD_EDAEMON,
                        "no raftd at %s: nobody listens on it. raftd has stopped; see its log "
                        "(journalctl -u raftd)",
                        socket);
    case EACCES:
    case EPERM:
        return ctl_fail(e, -RD_EPERMISSION,
                        "no permission to connect to %s: run as root or as a user whom the "
                        "directory and [admin] mode in raftd.conf let in",
                        socket);
    case EAGAIN:
        return ctl_fail(e, -RD_EDAEMON,
                        "raftd at %s accepted no connection in time: it is overloaded or hangs",
                        socket);
    default:
        return ctl_fail(e, -RD_EDAEMON, "cannot connect to %s: %s", socket, err_text(-error));
    }
}

/* A Unix socket connects at once, or says EAGAIN while the backlog is full: there is no event for
 * when it no longer is. */
static int connect_until(int fd, const struct sockaddr_un *address, uint64_t deadline)
{
    for (;;) {
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0) {
            return 0;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return errno;
        }
        if (mono_now_ms() >= deadline) {
            return EAGAIN;
        }
        (void)poll(NULL, 0, BACKLOG_RETRY_MS);
    }
}

int client_connect(const char *socket_path, uint64_t deadline, int *fd, struct ctl_error *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(socket_path);

    if (size >= sizeof address.sun_path) {
        return ctl_fail(e, -RD_EUSAGE, "the socket path has %zu bytes, the limit is %zu: %s", size,
                        sizeof address.sun_path - 1, socket_path);
    }
    memcpy(address.sun_path, socket_path, size);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0) {
        return connect_failed(e, socket_path, errno);
    }
    int error = connect_until(s, &address, deadline);
    if (error) {
        (void)close(s);
        return connect_failed(e, socket_path, error);
    }
    *fd = s;
    return 0;
}

int client_open(const char *socket_path, uint64_t deadline, struct client **out,
                struct ctl_error *e)
{
    int fd = -1;
    int code = client_connect(socket_path, deadline, &fd, e);

    if (code) {
        return code;
    }
    struct client *c = mem_zalloc(sizeof *c);
    c->fd = fd;
    c->reader_fd = -1;
    c->next_id = 1;
    memcpy(c->socket, socket_path, strlen(socket_path) + 1);
    *out = c;
    return 0;
}

void client_close(struct client *c)
{
    if (!c) {
        return;
    }
    (void)close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out);
    mem_free(c);
}

/* ---- Talking ---- */

static int connection_lost(struct client *c, struct ctl_error *e, int error)
{
    bool closed = error == 0 || error == EPIPE || error == ECONNRESET;

    return ctl_fail(e, -RD_EDAEMON,
                    "lost raftd at %s: %s. It stopped or refused more connections; "
                    "see its log (journalctl -u raftd)",
                    c->socket, closed ? "it closed the connection" : err_text(-error));
}

int client_fd(const struct client *c)
{
    return c->fd;
}

void client_mind_reader(struct client *c, int fd)
{
    c->reader_fd = fd;
}

/* 0 when ready, -RD_ETIMEOUT at the deadline, -EPIPE (the error is the caller's to word). */
static int wait_ready(struct client *c, short events, uint64_t deadline)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = c->fd, .events = events}, {.fd = c->reader_fd}};
        uint64_t now = mono_now_ms();
        uint64_t left = deadline > now ? deadline - now : 0;
        int n = poll(p, 2, left > 60000 ? 60000 : (int)left);
        if (n > 0) {
            return p[0].revents ? 0 : -EPIPE;
        }
        if (n == 0 && left <= 60000) {
            return -RD_ETIMEOUT;
        }
    }
}

static int send_all(struct client *c, uint64_t deadline, struct ctl_error *e)
{
    while (c->out.size) {
        ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL);
        if (n > 0) {
            buf_drop(&c->out, (size_t)n);
        } else if (errno == EAGAIN) {
            if (wait_ready(c, POLLOUT, deadline)) {
                return ctl_fail(e, -RD_ETIMEOUT,
                                "raftd at %s did not take the request in time: it is overloaded "
                                "or hangs. Nothing was changed",
                                c->socket);
            }
        } else if (errno != EINTR) {
            return connection_lost(c, e, errno);
        }
    }
    return 0;
}

bool client_is_refusal(const struct admin_reply *reply)
{
    return reply->id == 0 && reply->code;
}

static int read_more(struct client *c, uint64_t deadline, struct ctl_error *e)
{
    for (;;) {
        buf_reserve(&c->in, READ_SIZE);
        ssize_t n = recv(c->fd, c->in.data + c->in.size, READ_SIZE, 0);
        if (n > 0) {
            c->in.size += (size_t)n;
            return 0;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            return connection_lost(c, e, n == 0 ? 0 : errno);
        }
        int code = errno == EAGAIN ? wait_ready(c, POLLIN, deadline) : 0;
        if (code == -EPIPE) {
            return ctl_fail(e, code, "nobody reads standard output any more");
        }
        if (code) {
            return ctl_fail(e, code, "raftd at %s did not answer in time", c->socket);
        }
    }
}

static int not_raftd(struct client *c, struct ctl_error *e)
{
    return ctl_fail(e, -RD_EDAEMON,
                    "what answers at %s does not speak this raftctl's protocol: is it raftd's "
                    "[admin] socket, and of the same version?",
                    c->socket);
}

int client_receive(struct client *c, uint64_t deadline, struct admin_reply *out,
                   struct ctl_error *e)
{
    for (;;) {
        struct frame frame;
        int code = frame_parse(c->in.data, c->in.size, FRAME_ADMIN_REPLY_MAX, &frame, NULL);
        if (code < 0) {
            return not_raftd(c, e);
        }
        if (code > 0) {
            struct admin_reply reply;
            if (admin_reply_decode(&frame, &reply)) {
                return not_raftd(c, e);
            }
            buf_drop(&c->in, frame.total);
            *out = reply;
            return 0;
        }
        code = read_more(c, deadline, e);
        if (code) {
            return code;
        }
    }
}

/* raftd hung up before it had the whole request. It may have said why: take that for the error. */
static int find_refusal(struct client *c, int lost, struct ctl_error *e)
{
    struct ctl_error nothing_more = {0};
    struct admin_reply reply = {0};

    while (client_receive(c, 0, &reply, &nothing_more) == 0) { /* what has arrived already */
        const struct blob *m = reply.message;
        int code = client_is_refusal(&reply) ? reply.code : 0;
        if (code) {
            (void)ctl_fail(e, code, "%.*s", m ? (int)m->size : 0, m ? (const char *)m->data : "");
        }
        admin_reply_done(&reply);
        if (code) {
            return code;
        }
    }
    return lost;
}

int client_send(struct client *c, struct admin_request *req, uint64_t deadline, struct ctl_error *e)
{
    req->id = c->next_id++;
    int code = admin_request_encode(req, &c->out);
    if (code) {
        return ctl_fail(e, code, "the request cannot be sent: %s", err_text(code));
    }
    code = send_all(c, deadline, e);
    return code == -RD_EDAEMON ? find_refusal(c, code, e) : code;
}
