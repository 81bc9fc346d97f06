/* From what a client sends to the requests in it. A callback only reads; the requests are taken once per
 * turn, so many over all connections and each connection its share of them. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "admin/internal.h"
#include "base/err.h"

/* ---- Pauses ---- */

static bool must_pause(const struct admin_conn *c)
{
    return c->calls_open >= ADMIN_CALLS_MAX || c->admin->calls_open >= ADMIN_OPEN_MAX ||
           c->out.size - c->out_sent > ADMIN_OUTPUT_PAUSE;
}

static void conn_set_paused(struct admin_conn *c, bool paused)
{
    if (c->paused == paused) {
        return;
    }
    c->paused = paused;
    if (paused) {
        c->admin->conns_paused++;
        (void)event_del(c->read_event);
    } else {
        c->admin->conns_paused--;
        (void)event_add(c->read_event, NULL);
    }
}

/* ---- Requests ---- */

static void conn_bad_frame(struct admin_conn *c, int code)
{
    char why[160];

    if (code != -RD_ETOO_LARGE) {
        admin_conn_end(c, -RD_EINVALID,
                       "the bytes are no frame of raftd's admin protocol, version 1");
        return;
    }
    (void)snprintf(why, sizeof why, "a request frame has at most %d bytes%s",
                   c->may_change ? FRAME_ADMIN_MAX : ADMIN_ASK_FRAME_MAX,
                   c->may_change ? "" : " from a user who may only ask who leads");
    admin_conn_end(c, c->may_change ? code : -RD_EPERMISSION, why);
}

static void conn_request(struct admin_conn *c, const struct frame *frame)
{
    struct admin_request request;

    request.id = 0;
    int code = admin_request_decode(frame, &request);
    if (code == -RD_ETOO_LARGE) {
        admin_conn_reply(c, request.id, code,
                         "above a limit: key <= 480 bytes, value <= 1 MiB, request <= 1.5 MiB");
        return;
    }
    if (code) {
        admin_conn_end(c, -RD_EINVALID, "the request cannot be decoded");
        return;
    }
    admin_command_run(c, &request);
    admin_request_done(&request);
}

/* Give back what a large frame took, once it is not needed any more. */
static void conn_trim_input(struct admin_conn *c)
{
    if (c->in.size == 0 && c->in.capacity > ADMIN_READ_SIZE) {
        buf_done(&c->in);
    } else if (c->in.size <= ADMIN_READ_SIZE && c->in.capacity / 4 > ADMIN_READ_SIZE) {
        struct buf small = BUF_INIT;
        buf_put(&small, c->in.data, c->in.size);
        buf_done(&c->in);
        c->in = small;
    }
}

/* At most `most` complete frames, as far as the limits allow. How many were taken. */
static uint32_t conn_take(struct admin_conn *c, uint32_t most)
{
    size_t max = c->may_change ? FRAME_ADMIN_MAX : ADMIN_ASK_FRAME_MAX;
    uint32_t taken = 0;
    size_t at = 0;

    while (!c->doomed && !c->ending && !must_pause(c) && taken < most && at < c->in.size) {
        struct frame frame;
        int found = frame_parse(c->in.data + at, c->in.size - at, max, &frame, NULL);
        if (found < 0) {
            conn_bad_frame(c, found);
        }
        if (found <= 0) {
            break;
        }
        conn_request(c, &frame);
        at += frame.total;
        taken++;
    }
    buf_drop(&c->in, at);
    conn_trim_input(c);
    return taken;
}

/* ---- Turns ---- */

static void conn_enqueue(struct admin_conn *c)
{
    struct admin *a = c->admin;

    c->queued = true;
    TAILQ_INSERT_TAIL(&a->queue, c, queue_link);
    a->conns_queued++;
}

void requests_dequeue(struct admin_conn *c)
{
    struct admin *a = c->admin;

    if (c->queued) {
        c->queued = false;
        TAILQ_REMOVE(&a->queue, c, queue_link);
        a->conns_queued--;
    }
}

/* One visit. How many were taken. */
static uint32_t conn_visit(struct admin_conn *c, uint32_t most)
{
    requests_dequeue(c);
    uint32_t taken = conn_take(c, most);
    if (c->doomed || c->ending) {
        return taken;
    }
    if (taken == most && c->in.size) {
        conn_enqueue(c); /* there may be more */
    } else {
        conn_set_paused(c, must_pause(c));
    }
    return taken;
}

void admin_take(struct admin *a)
{
    uint32_t left = ADMIN_REQUESTS_MAX;
    struct admin_conn *c = TAILQ_FIRST(&a->queue);

    if (!c) {
        return;
    }
    uint32_t share = left / a->conns_queued;
    for (; c && left > 0; c = TAILQ_FIRST(&a->queue)) {
        left -= conn_visit(c, share < left ? share : left);
    }
    TAILQ_FOREACH (c, &a->queue, queue_link) {
        conn_set_paused(c, true);
    }
}

bool admin_has_work(const struct admin *a)
{
    return !TAILQ_EMPTY(&a->queue);
}

/* What is held from before the pause comes first. */
void requests_go_on(struct admin_conn *c)
{
    if (!c->paused || c->queued || must_pause(c)) {
        return;
    }
    if (c->in.size) {
        conn_enqueue(c);
    } else {
        conn_set_paused(c, false);
    }
}

/* ---- Reading ---- */

/* The client sends nothing more. Who shut down only that side still reads: it gets its answers, and
 * admin_flush() ends the connection after the last one. */
static void conn_input_ended(struct admin_conn *c)
{
    struct pollfd p = {.fd = c->fd};

    if (poll(&p, 1, 0) < 0 || p.revents & (POLLHUP | POLLERR)) {
        admin_conn_doom(c);
        return;
    }
    c->input_ended = true;
    c->admin->conns_input_ended++;
    (void)event_del(c->read_event);
    buf_done(&c->in); /* half a frame */
}

/* Read on only when all that is held is taken, so that never more than one incomplete frame and what one
 * recv() adds to it are held. */
void requests_read_cb(evutil_socket_t fd, short what, void *arg)
{
    struct admin_conn *c = arg;
    struct admin *a = c->admin;

    (void)what;
    if (c->doomed || c->ending || c->queued) {
        return;
    }
    ssize_t n = recv(fd, a->read_buffer, ADMIN_READ_SIZE, 0);
    if (n == 0) {
        conn_input_ended(c);
        return;
    }
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            admin_conn_doom(c);
        }
        return;
    }
    buf_put(&c->in, a->read_buffer, (size_t)n);
    conn_enqueue(c);
}
