#include "net/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/conn_internal.h"
#include "wire/peer.h"

/* ---- Ends ---- */

void conn_env_init(struct conn_env *env, struct event_base *base, struct net_stats *stats)
{
    *env = (struct conn_env){.base = base, .stats = stats, .frame_ms = CONN_FRAME_MS};
    TAILQ_INIT(&env->waiting);
    TAILQ_INIT(&env->draining);
    TAILQ_INIT(&env->dead);
}

void conn_env_reap(struct conn_env *env)
{
    while (!TAILQ_EMPTY(&env->dead)) {
        struct conn *c = TAILQ_FIRST(&env->dead);
        TAILQ_REMOVE(&env->dead, c, entry);
        buf_done(&c->in);
        buf_done(&c->record);
        queue_done(&c->out);
        tls_free(c->tls);
        mem_free(c);
    }
}

void conn_env_done(struct conn_env *env)
{
    while (!TAILQ_EMPTY(&env->draining)) {
        conn_close(TAILQ_FIRST(&env->draining));
    }
    conn_env_reap(env);
}

void conn_close(struct conn *c)
{
    struct conn_env *env = c->env;

    rd_assert(c->state != CONN_CLOSED);
    if (c->state == CONN_DRAINING) {
        TAILQ_REMOVE(&env->draining, c, entry);
        env->draining_count--;
    }
    conn_tls_wait_no_more(c);
    (void)event_del(&c->readable);
    (void)event_del(&c->writable);
    (void)event_del(&c->deadline);
    (void)close(c->fd);
    c->fd = -1;
    c->state = CONN_CLOSED;
    TAILQ_INSERT_TAIL(&env->dead, c, entry);
}

void conn_fail(struct conn *c, int code, const char *why)
{
    bool owned = c->state != CONN_DRAINING;

    conn_close(c);
    if (owned) {
        c->ops->failed(c->arg, code, why);
    }
}

void conn_fail_code(struct conn *c, int code)
{
    if (code == -RD_ETLS) {
        conn_fail(c, code, tls_why(c->tls));
    } else if (code != -EAGAIN && code != -EINTR) {
        conn_fail(c, code, code == -ECONNRESET ? "connection reset by the peer" : err_text(code));
    }
}

bool conn_has_unsent(const struct conn *c)
{
    return queue_bytes(&c->out) != 0 || c->record.size != 0;
}

/* Everything is said: tell the peer that no more comes, and wait for its end. */
static void conn_drained(struct conn *c)
{
    if (c->state == CONN_DRAINING && !conn_has_unsent(c)) {
        if (c->tls) {
            tls_finish(c->tls);
        }
        (void)shutdown(c->fd, SHUT_WR);
    }
}

void conn_drain(struct conn *c)
{
    struct conn_env *env = c->env;

    rd_assert(c->state == CONN_OPEN);
    c->state = CONN_DRAINING;
    TAILQ_INSERT_TAIL(&env->draining, c, entry);
    env->draining_count++;
    conn_set_deadline(c, CONN_DRAIN_MS, "");
    conn_flush(c);
    if (env->draining_count > CONN_DRAINING_MAX) {
        conn_close(TAILQ_FIRST(&env->draining));
    }
}

/* ---- Writing ---- */

void conn_set_blocked(struct conn *c, bool blocked)
{
    if (blocked && !c->blocked) {
        (void)event_add(&c->writable, NULL);
    } else if (!blocked && c->blocked) {
        (void)event_del(&c->writable);
    }
    c->blocked = blocked;
}

/* 0, or a negative code. */
static int conn_write_plain(struct conn *c)
{
    struct iovec iov[QUEUE_IOV_MAX];
    int count = queue_iov(&c->out, iov);

    if (count > 0) {
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        if (n < 0) {
            return -errno;
        }
        c->env->stats->bytes_out += (uint64_t)n;
        c->env->stats->frames_out += queue_written(&c->out, (size_t)n);
    }
    return 0;
}

static void conn_write(struct conn *c)
{
    int code = c->tls ? conn_tls_write(c) : conn_write_plain(c);

    if (code) {
        conn_fail_code(c, code);
    }
    if (c->state != CONN_CLOSED) {
        conn_set_blocked(c, conn_has_unsent(c));
        conn_drained(c);
    }
}

void conn_flush(struct conn *c)
{
    if ((c->state == CONN_OPEN || c->state == CONN_DRAINING) && !c->blocked) {
        conn_write(c);
    }
}

/* ---- Coming to be open ---- */

void conn_open(struct conn *c)
{
    c->state = CONN_OPEN;
    if (c->is_dialled) {
        c->ops->connected(c->arg);
    }
}

/* There is a connection. */
static void conn_begin(struct conn *c)
{
    if (c->tls) {
        c->state = CONN_SHAKING;
        conn_tls_wait(c);
    } else {
        (void)event_add(&c->readable, NULL);
        conn_open(c);
    }
}

static void conn_connect_done(struct conn *c)
{
    int error = 0;
    socklen_t size = sizeof error;

    conn_set_blocked(c, false);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size)) {
        error = errno;
    }
    if (error) {
        conn_fail_code(c, -error);
        return;
    }
    conn_begin(c);
}

/* ---- Reading ---- */

/* Room for more bytes. A stranger gets room for a hello; a large frame gets room as it arrives. */
static void conn_make_room(struct conn *c)
{
    size_t least = c->frame_max < CONN_BUFFER_SIZE ? c->frame_max : CONN_BUFFER_SIZE;
    size_t target = c->in.capacity;

    if (c->in.size == target) {
        target = c->in_need && c->in_need < 2 * target ? c->in_need : 2 * target;
    }
    if (target < least) {
        target = least;
    }
    if (target > c->in.capacity) {
        c->in.data = mem_realloc(c->in.data, target);
        c->in.capacity = target;
    }
}

/* Give back what a large frame took. */
static void conn_trim_room(struct conn *c)
{
    if (c->in.size == 0 && c->in.capacity > CONN_BUFFER_SIZE) {
        buf_done(&c->in);
    }
}

static void conn_bad_frame(struct conn *c, int code)
{
    c->env->stats->bad_frames++;
    if (conn_tls_refuse(c, code)) {
        return;
    }
    static const char changed[] = "a sum is wrong: its bytes were changed on their way";
    const char *why = code == -RD_ETOO_LARGE ? "frame longer than allowed"
                      : code == -RD_ECORRUPT ? changed
                                             : "bytes break the protocol";
    conn_fail(c, code == -RD_ECORRUPT ? -RD_EPROTOCOL : code, why);
}

static int conn_decode(struct conn *c, const struct frame *frame, struct peer_msg *out)
{
    int code = peer_decode(frame, out);

    if (code) {
        return code;
    }
    if (out->type == PEER_HELLO && out->hello->protocol_max >= PEER_PROTOCOL_SUMS) {
        c->wants_sums = c->out.checks_heads = true;
    }
    if (c->wants_sums && !out->is_summed) {
        peer_msg_done(out);
        return -RD_ECORRUPT;
    }
    return 0;
}

/* `ended`: one did. */
static void conn_watch_frame(struct conn *c, bool ended)
{
    const struct timeval wait = {.tv_sec = (time_t)(c->env->frame_ms / 1000),
                                 .tv_usec = (suseconds_t)(c->env->frame_ms % 1000) * 1000};
    bool was_begun = c->is_begun && !ended;

    if (c->has_deadline || c->state != CONN_OPEN) {
        return;
    }
    if (c->in.size > 0 && !was_begun) {
        c->deadline_why = "a frame was begun and not ended in time";
        (void)event_add(&c->deadline, &wait);
    } else if (c->in.size == 0 && c->is_begun) {
        (void)event_del(&c->deadline);
    }
    c->is_begun = c->in.size > 0;
}

/* All complete frames in the buffer. */
static void conn_parse(struct conn *c)
{
    size_t at = 0;

    while (c->state == CONN_OPEN) {
        struct frame frame;
        struct peer_msg msg;
        size_t need = 0;
        int found = frame_parse(c->in.data + at, c->in.size - at, c->frame_max, &frame, &need);
        if (found == 0) {
            c->in_need = need;
            break;
        }
        int err = found < 0 ? found : conn_decode(c, &frame, &msg);
        if (err) {
            buf_drop(&c->in, at);
            conn_bad_frame(c, err);
            return;
        }
        c->env->stats->frames_in++;
        at += frame.total;
        c->ops->message(c->arg, &msg);
    }
    buf_drop(&c->in, at);
    conn_watch_frame(c, at > 0);
}

/* As tls_read(). */
static ssize_t conn_recv(struct conn *c, void *data, size_t size)
{
    if (c->tls && c->state != CONN_DRAINING) {
        return tls_read(c->tls, data, size);
    }
    ssize_t n = recv(c->fd, data, size, 0);
    return n < 0 ? -errno : n;
}

static void conn_read_end(struct conn *c, ssize_t n)
{
    if (n == 0) {
        conn_fail(c, -ECONNRESET, "closed by the peer");
    } else if (n == -EAGAIN && c->tls && tls_wants_write(c->tls)) {
        conn_set_blocked(c, true);
    } else {
        conn_fail_code(c, (int)n);
    }
}

/* Is there more to be read, now that `size` bytes filled the space or did not? What TLS has taken
 * from the socket makes no event; it is at most the rest of a record, beyond the budget, too. */
static bool conn_has_more(const struct conn *c, size_t size, size_t space, size_t budget)
{
    if (c->tls && tls_pending(c->tls)) {
        return true;
    }
    return size < budget && (c->tls || size == space);
}

static void conn_read(struct conn *c)
{
    size_t budget = CONN_READ_BUDGET;
    bool more = true;

    while (more && c->state == CONN_OPEN) {
        conn_make_room(c);
        size_t space = c->in.capacity - c->in.size;
        ssize_t n = conn_recv(c, c->in.data + c->in.size, space);
        if (n <= 0) {
            conn_read_end(c, n);
            break;
        }
        c->in.size += (size_t)n;
        c->env->stats->bytes_in += (uint64_t)n;
        more = conn_has_more(c, (size_t)n, space, budget);
        budget -= (size_t)n < budget ? (size_t)n : budget;
        conn_parse(c);
    }
    conn_trim_room(c);
}

/* What comes after our last words is not for us. */
static void conn_discard(struct conn *c)
{
    uint8_t waste[4096];

    for (int i = 0; i < 16; i++) {
        ssize_t n = conn_recv(c, waste, sizeof waste);
        if (n <= 0) {
            conn_read_end(c, n);
            return;
        }
    }
}

static void conn_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    if (c->state == CONN_SHAKING) {
        conn_tls_wait(c);
    } else if (c->state == CONN_DRAINING) {
        conn_discard(c);
    } else {
        conn_read(c);
    }
}

static void conn_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    if (c->state == CONN_CONNECTING) {
        conn_connect_done(c);
    } else if (c->state == CONN_SHAKING) {
        conn_tls_wait(c);
    } else {
        bool reading_waits = c->tls && tls_wants_write(c->tls);
        conn_write(c);
        if (reading_waits && c->state == CONN_OPEN) {
            conn_read(c);
        }
    }
}

/* ---- Beginnings ---- */

static void conn_deadline_passed(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    conn_fail(c, -ETIMEDOUT, c->deadline_why);
}

void conn_set_deadline(struct conn *c, uint32_t ms, const char *why)
{
    const struct timeval wait = {.tv_sec = (time_t)(ms / 1000),
                                 .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    c->deadline_why = why;
    c->has_deadline = ms > 0;
    c->is_begun = false;
    if (ms) {
        (void)event_add(&c->deadline, &wait);
    } else {
        (void)event_del(&c->deadline);
    }
}

void conn_trust(struct conn *c)
{
    c->frame_max = FRAME_PEER_MAX;
}

void conn_distrust(struct conn *c)
{
    c->frame_max = FRAME_HELLO_MAX;
}

static struct conn *conn_new(struct conn_env *env, int fd, const struct sockaddr *peer,
                             const struct conn_ops *ops, void *arg)
{
    struct conn *c = mem_zalloc(sizeof *c);

    c->env = env;
    c->fd = fd;
    c->ops = ops;
    c->arg = arg;
    c->frame_max = FRAME_HELLO_MAX;
    queue_init(&c->out);
    socket_text(peer, c->peer, c->host);
    rd_assert(!event_assign(&c->readable, env->base, fd, EV_READ | EV_PERSIST, conn_readable, c));
    rd_assert(!event_assign(&c->writable, env->base, fd, EV_WRITE | EV_PERSIST, conn_writable, c));
    rd_assert(!event_assign(&c->deadline, env->base, -1, 0, conn_deadline_passed, c));
    return c;
}

struct conn *conn_accepted(struct conn_env *env, int fd, const struct sockaddr *from,
                           const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_new(env, fd, from, ops, arg);

    c->tls = env->tls ? tls_new(env->tls, fd, TLS_ACCEPTS) : NULL;
    conn_begin(c);
    return c;
}

int conn_dial(struct conn_env *env, const struct sockaddr *to, socklen_t to_size,
              uint32_t user_timeout_ms, const struct conn_ops *ops, void *arg, struct conn **out)
{
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

    if (fd < 0) {
        return -errno;
    }
    int err = socket_tune(fd, user_timeout_ms);
    if (!err && connect(fd, to, to_size) && errno != EINPROGRESS) {
        err = -errno;
    }
    if (err) {
        (void)close(fd);
        return err;
    }
    struct conn *c = conn_new(env, fd, to, ops, arg);
    c->state = CONN_CONNECTING;
    c->is_dialled = true;
    c->tls = env->tls ? tls_new(env->tls, fd, TLS_DIALS) : NULL;
    conn_set_blocked(c, true);
    *out = c;
    return 0;
}
