#include "raftctl/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "base/prng.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"
#include "wire/admin.h"

enum { READ_SIZE = 256 * 1024, EVENTS_MAX = 64, SECOND_US = 1000000 };

struct load_client {
    uint64_t started_us;
    uint32_t key; /* of its request */
    bool open;    /* a request is out */
};

struct load_conn {
    int fd;
    struct buf in, out;
    bool wants_write; /* the socket is full: epoll tells when it is not */
};

/* Clients that pause: they all pause equally long, so first in is first out. */
struct pause_queue {
    uint32_t *client;
    uint64_t *due_us;
    uint32_t size, head, count;
};

struct load {
    struct load_config config;
    int epoll;
    struct load_conn *conns;
    struct load_client *clients;
    struct pause_queue paused;
    struct prng prng;
    struct blob *keys[LOAD_KEYS_MAX];
    struct blob *value;
    bool touched[LOAD_KEYS_MAX];
    struct admin_request request; /* what all have in common */

    /* The phase at hand. */
    const struct load_phase *phase;
    struct load_stats *stats;
    uint32_t next_key; /* phases that go through the keys */
    uint32_t open;     /* requests out */
    uint64_t started_us, end_us, last_reply_us, tick_us;
};

/* ---- Set-up ---- */

static struct blob *make_value(struct prng *prng, size_t size)
{
    struct blob *value = blob_new(size);

    for (size_t i = 0; i < size; i++) {
        value->data[i] = (uint8_t)('a' + prng_range(prng, 0, 26));
    }
    return value;
}

static int open_conns(struct load *l, struct ctl_error *e)
{
    for (uint32_t i = 0; i < l->config.connections; i++) {
        struct load_conn *c = &l->conns[i];
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        int fd;
        int code = client_connect(l->config.socket, ctl_deadline(l->config.timeout_ms), &fd, e);
        if (code) {
            return code;
        }
        c->fd = fd;
        if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            return ctl_fail(e, -errno, "cannot watch a connection: %s", err_text(-errno));
        }
    }
    return 0;
}

int load_open(const struct load_config *config, struct load **out, struct ctl_error *e)
{
    struct load *l = mem_zalloc(sizeof *l);

    l->config = *config;
    l->conns = mem_zalloc(config->connections * sizeof *l->conns);
    l->clients = mem_zalloc(config->clients_max * sizeof *l->clients);
    l->paused.size = config->clients_max;
    l->paused.client = mem_zalloc(config->clients_max * sizeof *l->paused.client);
    l->paused.due_us = mem_zalloc(config->clients_max * sizeof *l->paused.due_us);
    prng_seed(&l->prng, config->seed);
    l->value = make_value(&l->prng, config->value_size);
    l->request.timeout_ms = (uint32_t)config->timeout_ms;
    for (uint32_t i = 0; i < config->connections; i++) {
        l->conns[i].fd = -1;
    }
    for (uint32_t i = 0; i < config->keys; i++) {
        char key[128];
        int size = snprintf(key, sizeof key, "%s%04" PRIu32, config->prefix, i);
        l->keys[i] = blob_copy(key, (size_t)size);
    }
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    int code = l->epoll < 0 ? ctl_fail(e, -errno, "cannot make an epoll: %s", err_text(-errno))
                            : open_conns(l, e);
    if (code) {
        load_close(l);
        return code;
    }
    *out = l;
    return 0;
}

void load_close(struct load *l)
{
    if (!l) {
        return;
    }
    for (uint32_t i = 0; i < l->config.connections; i++) {
        if (l->conns[i].fd >= 0) {
            (void)close(l->conns[i].fd);
        }
        buf_done(&l->conns[i].in);
        buf_done(&l->conns[i].out);
    }
    if (l->epoll >= 0) {
        (void)close(l->epoll);
    }
    for (uint32_t i = 0; i < l->config.keys; i++) {
        blob_unref(l->keys[i]);
    }
    blob_unref(l->value);
    mem_free(l->conns);
    mem_free(l->clients);
    mem_free(l->paused.client);
    mem_free(l->paused.due_us);
    mem_free(l);
}

/* ---- Requests ---- */

static bool phase_over(const struct load *l, uint64_t now_us)
{
    if ((l->phase->stop && *l->phase->stop) || (l->phase->stop_at_error && l->stats->errors)) {
        return true;
    }
    return l->phase->duration_ms ? now_us >= l->end_us : l->next_key == l->config.keys;
}

/* false: no key is left for this phase. */
static bool next_key(struct load *l, uint32_t *key)
{
    if (l->phase->duration_ms) {
        *key = (uint32_t)prng_range(&l->prng, 0, l->config.keys);
        return true;
    }
    while (l->next_key < l->config.keys) {
        uint32_t k = l->next_key++;
        if (!l->phase->only_touched || l->touched[k]) {
            *key = k;
            return true;
        }
    }
    return false;
}

static void issue(struct load *l, uint32_t client, uint64_t now_us)
{
    static const char *const commands[] = {"put", "get", "del"};
    struct admin_request *req = &l->request;
    struct load_conn *conn = &l->conns[client % l->config.connections];
    uint32_t key;

    if (phase_over(l, now_us) || !next_key(l, &key)) {
        return;
    }
    memcpy(req->command, commands[l->phase->op], sizeof "put");
    req->id = client + 1U;
    req->key = l->keys[key];
    req->value = l->phase->op == LOAD_PUT ? l->value : NULL;
    (void)admin_request_encode(req, &conn->out); /* key and value are within the limits */
    l->clients[client] = (struct load_client){.started_us = now_us, .key = key, .open = true};
    l->open++;
}

static void pause_client(struct load *l, uint32_t client, uint64_t now_us)
{
    struct pause_queue *q = &l->paused;
    uint32_t at = (q->head + q->count) % q->size;

    q->client[at] = client;
    q->due_us[at] = now_us + (uint64_t)LOAD_PAUSE_MS * 1000;
    q->count++;
}

static void resume_clients(struct load *l, uint64_t now_us)
{
    struct pause_queue *q = &l->paused;
    bool over = phase_over(l, now_us);

    while (q->count && (over || q->due_us[q->head] <= now_us)) {
        uint32_t client = q->client[q->head];
        q->head = (q->head + 1) % q->size;
        q->count--;
        issue(l, client, now_us);
    }
}

static void count_error(struct load_stats *s, const struct admin_reply *reply)
{
    uint32_t i = 0;

    s->errors++;
    while (i < s->codes_count && s->codes[i].code != reply->code) {
        i++;
    }
    if (i < LOAD_CODES_MAX) {
        s->codes[i].code = reply->code;
        s->codes[i].count++;
        s->codes_count = i < s->codes_count ? s->codes_count : i + 1;
    }
    if (s->first_error.code == 0) {
        (void)command_refused(command_find("bench"), reply, &s->first_error);
    }
}

/* A put that was refused for good has left nothing to delete. */
static bool may_be_done(int code)
{
    return code == 0 || code == -RD_EUNKNOWN_OUTCOME || code == -RD_ETIMEOUT;
}

static void take_reply(struct load *l, const struct admin_reply *reply, uint64_t now_us)
{
    uint32_t client = (uint32_t)(reply->id - 1);

    if (reply->id - 1 >= l->config.clients_max || !l->clients[client].open) {
        return;
    }
    l->clients[client].open = false;
    l->open--;
    l->last_reply_us = now_us;
    if (l->phase->op == LOAD_PUT && may_be_done(reply->code)) {
        l->touched[l->clients[client].key] = true;
    }
    if (reply->code) {
        count_error(l->stats, reply);
        pause_client(l, client, now_us);
        return;
    }
    l->stats->ops++;
    histogram_add(&l->stats->latency_us, now_us - l->clients[client].started_us);
    issue(l, client, now_us);
}

/* ---- Sockets ---- */

static int conn_lost(struct load *l, struct ctl_error *e, const char *what)
{
    return ctl_fail(e, -RD_EDAEMON,
                    "lost raftd at %s after %" PRIu64 " operations: %s; see its log (journalctl -u "
                    "raftd)",
                    l->config.socket, l->stats->ops, what);
}

static int want_write(struct load *l, uint32_t i, bool wanted, struct ctl_error *e)
{
    struct load_conn *c = &l->conns[i];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

    if (c->wants_write == wanted) {
        return 0;
    }
    c->wants_write = wanted;
    if (wanted) {
        event.events |= EPOLLOUT;
    }
    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &event) != 0) {
        return ctl_fail(e, -errno, "cannot watch a connection: %s", err_text(-errno));
    }
    return 0;
}

static int take_replies(struct load *l, struct load_conn *c, uint64_t now_us, struct ctl_error *e)
{
    size_t done = 0;

    for (;;) {
        struct frame frame;
        struct admin_reply reply;
        int code =
            frame_parse(c->in.data + done, c->in.size - done, FRAME_ADMIN_REPLY_MAX, &frame, NULL);
        if (code == 0) {
            buf_drop(&c->in, done);
            return 0;
        }
        if (code < 0 || admin_reply_decode(&frame, &reply)) {
            return conn_lost(l, e, "it does not speak this raftctl's protocol");
        }
        code = 0;
        if (client_is_refusal(&reply)) {
            code = command_refused(command_find("bench"), &reply, e);
        } else {
            take_reply(l, &reply, now_us);
        }
        admin_reply_done(&reply);
        if (code) {
            return code;
        }
        done += frame.total;
    }
}

static int conn_read(struct load *l, uint32_t i, struct ctl_error *e)
{
    struct load_conn *c = &l->conns[i];

    buf_reserve(&c->in, READ_SIZE);
    ssize_t n = recv(c->fd, c->in.data + c->in.size, READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (n <= 0) {
        return conn_lost(l, e, n == 0 ? "it closed a connection" : err_text(-errno));
    }
    c->in.size += (size_t)n;
    return take_replies(l, c, mono_now_us(), e);
}

static int conn_flush(struct load *l, uint32_t i, struct ctl_error *e)
{
    struct load_conn *c = &l->conns[i];

    while (c->out.size) {
        ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL);
        if (n >= 0) {
            buf_drop(&c->out, (size_t)n);
        } else if (errno == EAGAIN) {
            return want_write(l, i, true, e);
        } else if (errno != EINTR) {
            int error = errno;
            int code = conn_read(l, i, e); /* raftd may have said why it hung up */
            return code ? code : conn_lost(l, e, err_text(-error));
        }
    }
    return want_write(l, i, false, e);
}

/* ---- The loop ---- */

static int wait_ms(const struct load *l, uint64_t now_us)
{
    uint64_t until = l->tick_us;

    if (l->phase->duration_ms && now_us < l->end_us && l->end_us < until) {
        until = l->end_us;
    }
    if (l->paused.count && l->paused.due_us[l->paused.head] < until) {
        until = l->paused.due_us[l->paused.head];
    }
    return until > now_us ? (int)((until - now_us + 999) / 1000) : 0;
}

static int flush_all(struct load *l, struct ctl_error *e)
{
    for (uint32_t i = 0; i < l->config.connections; i++) {
        int code = l->conns[i].wants_write ? 0 : conn_flush(l, i, e);
        if (code) {
            return code;
        }
    }
    return 0;
}

static int turn(struct load *l, struct ctl_error *e)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(l->epoll, events, EVENTS_MAX, wait_ms(l, mono_now_us()));

    for (int i = 0; i < n; i++) {
        uint32_t conn = events[i].data.u32;
        int code = events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? conn_read(l, conn, e) : 0;
        if (code == 0) {
            code = conn_flush(l, conn, e);
        }
        if (code) {
            return code;
        }
    }
    uint64_t now_us = mono_now_us();
    if (l->paused.count) {
        resume_clients(l, now_us);
    }
    if (now_us >= l->tick_us) {
        l->tick_us += SECOND_US;
        if (l->phase->progress) {
            l->phase->progress(l->phase->progress_arg, l->stats, now_us - l->started_us);
        }
    }
    return flush_all(l, e);
}

/* Every request has a deadline that raftd keeps; one that has passed by far is never answered. */
static bool is_stuck(const struct load *l)
{
    uint64_t quiet_us = (l->config.timeout_ms + CTL_GRACE_MS) * 1000;

    return mono_now_us() > l->last_reply_us + quiet_us;
}

static void phase_begin(struct load *l, const struct load_phase *phase, struct load_stats *stats)
{
    uint64_t now_us = mono_now_us();

    l->phase = phase;
    l->stats = stats;
    l->next_key = 0;
    l->paused.count = 0;
    l->started_us = l->last_reply_us = now_us;
    l->end_us = now_us + phase->duration_ms * 1000;
    l->tick_us = now_us + SECOND_US;
    for (uint32_t i = 0; i < phase->clients; i++) {
        issue(l, i, now_us);
    }
}

int load_run(struct load *l, const struct load_phase *phase, struct load_stats *stats,
             struct ctl_error *e)
{
    phase_begin(l, phase, stats);
    int code = flush_all(l, e);
    while (code == 0 && (l->open || l->paused.count)) {
        code = turn(l, e);
        if (code == 0 && l->open && is_stuck(l)) {
            code = ctl_fail(e, -RD_ETIMEOUT, "raftd at %s left %" PRIu32 " requests unanswered",
                            l->config.socket, l->open);
        }
    }
    stats->elapsed_us = l->last_reply_us - l->started_us;
    return code;
}
