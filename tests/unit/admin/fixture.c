#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "fixture.h"

enum { PATIENCE_MS = 5000 };

/* ---- The server ---- */

static struct asked *note(void *server, struct admin_call *call, const char *what)
{
    struct fixture *f = server;

    assert_true(f->asked_count < ASKED_MAX);
    struct asked *a = &f->asked[f->asked_count];
    *a = (struct asked){.what = what, .call = call};
    admin_call_set(call, ++f->asked_count);
    assert_int_equal(admin_call_get(call), f->asked_count);
    return a;
}

static void finish(struct fixture *f, struct asked *a)
{
    if (f->answer_at_once) {
        struct admin_call *call = a->call;
        a->call = NULL;
        admin_answer(call, 0, 0, NULL, "{}", 2);
    }
}

static void op_status(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    (void)timeout_ms;
    finish(server, note(server, call, "status"));
}

static void op_members(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    (void)timeout_ms;
    finish(server, note(server, call, "members"));
}

static void op_leader(void *server, struct admin_call *call)
{
    finish(server, note(server, call, "leader"));
}

static void op_is_leader(void *server, struct admin_call *call)
{
    finish(server, note(server, call, "is-leader"));
}

static void op_hold(void *server, struct admin_call *call)
{
    finish(server, note(server, call, "hold"));
}

static void op_release(void *server, struct admin_call *call)
{
    finish(server, note(server, call, "release"));
}

static bool op_holds(void *server, uint64_t client)
{
    return ((struct fixture *)server)->holder == client;
}

static void op_watch(void *server, struct admin_call *call)
{
    (void)note(server, call, "watch");
}

static void op_reload(void *server, struct admin_call *call)
{
    finish(server, note(server, call, "reload"));
}

static void op_backup(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    struct asked *a = note(server, call, "backup");

    a->timeout_ms = timeout_ms;
    finish(server, a);
}

static void op_bootstrap(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    struct asked *a = note(server, call, "bootstrap");

    a->timeout_ms = timeout_ms;
    finish(server, a);
}

static void op_change(void *server, struct admin_call *call, const struct peer_change *change,
                      uint32_t timeout_ms)
{
    struct asked *a = note(server, call, "change");

    a->change = *change;
    a->timeout_ms = timeout_ms;
    finish(server, a);
}

static void op_write(void *server, struct admin_call *call, struct blob *txn, bool deletes,
                     uint32_t timeout_ms)
{
    struct asked *a = note(server, call, "write");

    a->bytes = txn;
    a->flag = deletes;
    a->timeout_ms = timeout_ms;
    finish(server, a);
}

static void op_get(void *server, struct admin_call *call, struct blob *key, bool stale,
                   uint32_t timeout_ms)
{
    struct asked *a = note(server, call, "get");

    a->bytes = key;
    a->flag = stale;
    a->timeout_ms = timeout_ms;
    finish(server, a);
}

static void op_list(void *server, struct admin_call *call, struct blob *prefix, uint64_t limit,
                    bool stale, uint32_t timeout_ms)
{
    struct asked *a = note(server, call, "list");

    a->bytes = prefix;
    a->flag = stale;
    a->limit = limit;
    a->timeout_ms = timeout_ms;
    finish(server, a);
}

static void op_log_level(void *server, struct admin_call *call, const char *level)
{
    struct asked *a = note(server, call, "log-level");

    (void)snprintf(a->text, sizeof a->text, "%s", level);
    finish(server, a);
}

static void op_cancel(void *server, struct admin_call *call)
{
    struct fixture *f = server;
    uint64_t token = admin_call_get(call);

    assert_in_range(token, 1, f->asked_count);
    assert_ptr_equal(f->asked[token - 1].call, call);
    f->asked[token - 1].call = NULL;
    f->cancelled++;
}

/* ---- Life ---- */

int fixture_setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);

    log_init(LOG_ERROR, LOG_FORMAT_TEXT);
    f->base = event_base_new();
    assert_non_null(f->base);
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/raftd-admin-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->path, sizeof f->path, "%s/raftd.sock", f->directory);
    f->ops = (struct server_ops){.server = f,
                                 .status = op_status,
                                 .members = op_members,
                                 .leader = op_leader,
                                 .is_leader = op_is_leader,
                                 .hold = op_hold,
                                 .release = op_release,
                                 .holds = op_holds,
                                 .watch = op_watch,
                                 .bootstrap = op_bootstrap,
                                 .change = op_change,
                                 .write = op_write,
                                 .get = op_get,
                                 .list = op_list,
                                 .backup = op_backup,
                                 .log_level = op_log_level,
                                 .reload = op_reload,
                                 .cancel = op_cancel};
    const struct admin_config config = {.socket_path = f->path, .mode = 0600, .group = ""};
    assert_int_equal(admin_open(f->base, &config, &f->ops, &f->admin), 0);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    admin_close(f->admin);
    for (uint32_t i = 0; i < f->asked_count; i++) {
        assert_null(f->asked[i].call); /* answered or cancelled, nothing in between */
        blob_unref(f->asked[i].bytes);
    }
    event_base_free(f->base);
    assert_int_equal(rmdir(f->directory), 0);
    mem_free(f);
    return 0;
}

void fixture_turn(struct fixture *f)
{
    assert_true(event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    admin_take(f->admin);
    admin_flush(f->admin);
    admin_reap(f->admin);
}

void fixture_wait_number(struct fixture *f, const uint32_t *number, uint32_t wanted)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;

    while (*number != wanted && mono_now_ms() < end) {
        fixture_turn(f);
    }
    assert_int_equal(*number, wanted);
}

void fixture_wait_asked(struct fixture *f, uint32_t count)
{
    fixture_wait_number(f, &f->asked_count, count);
}

void fixture_answer(struct fixture *f, uint32_t position, int code, const char *message,
                    const void *json, size_t json_size)
{
    struct admin_call *call = f->asked[position].call;

    assert_non_null(call);
    f->asked[position].call = NULL;
    admin_answer(call, code, 0, message, json, json_size);
}

/* ---- Clients ---- */

struct client client_open(struct fixture *f)
{
    struct client c = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(c.fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    while (connect(c.fd, (const struct sockaddr *)(const void *)&address, sizeof address)) {
        assert_int_equal(errno, EAGAIN); /* the backlog is full until a turn accepts */
        fixture_turn(f);
    }
    return c;
}

/* The kernel notes the effective user of who connects (unix(7), SO_PEERCRED). */
struct client client_open_stranger(struct fixture *f, uid_t uid)
{
    bool is_root = geteuid() == 0;

    f->admin->policy = (struct credentials_policy){.daemon_uid = geteuid() + 1};
    if (is_root) {
        assert_int_equal(chmod(f->directory, 0755), 0);
        assert_int_equal(chmod(f->path, 0666), 0);
        assert_int_equal(seteuid(uid), 0);
    }
    struct client c = client_open(f);
    if (is_root) {
        assert_int_equal(seteuid(0), 0);
    }
    return c;
}

void client_close(struct client *c)
{
    (void)close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out);
}

void client_put(struct client *c, const struct admin_request *request)
{
    assert_int_equal(admin_request_encode(request, &c->out), 0);
}

void client_send(struct fixture *f, struct client *c)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;

    while (c->out.size) {
        ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL);
        if (n > 0) {
            buf_drop(&c->out, (size_t)n);
        } else if (errno != EAGAIN) {
            c->out.size = 0; /* the daemon hung up: what it said is still to be read */
        }
        assert_true(mono_now_ms() < end);
        fixture_turn(f);
    }
}

void client_send_bytes(struct fixture *f, struct client *c, const void *data, size_t size)
{
    buf_put(&c->out, data, size);
    client_send(f, c);
}

void client_ask(struct fixture *f, struct client *c, uint64_t id, const char *command)
{
    struct admin_request r = {.id = id};

    (void)snprintf(r.command, sizeof r.command, "%s", command);
    client_put(c, &r);
    client_send(f, c);
}

/* 1: something came, 0: nothing yet, -1: the end. */
static int client_read(struct client *c)
{
    buf_reserve(&c->in, 1 << 16);
    ssize_t n = recv(c->fd, c->in.data + c->in.size, 1 << 16, 0);

    if (n > 0) {
        c->in.size += (size_t)n;
        return 1;
    }
    return n < 0 && errno == EAGAIN ? 0 : -1;
}

struct admin_reply client_reply(struct fixture *f, struct client *c)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;
    struct admin_reply reply;

    for (;;) {
        struct frame frame;
        int found = c->in.size
                        ? frame_parse(c->in.data, c->in.size, FRAME_ADMIN_REPLY_MAX, &frame, NULL)
                        : 0;
        assert_true(found >= 0);
        if (found) {
            assert_int_equal(admin_reply_decode(&frame, &reply), 0);
            buf_drop(&c->in, frame.total);
            return reply;
        }
        assert_true(mono_now_ms() < end);
        fixture_turn(f);
        assert_true(client_read(c) >= 0);
    }
}

void client_expect(struct fixture *f, struct client *c, uint64_t id, int code, char *message,
                   size_t message_size)
{
    struct admin_reply reply = client_reply(f, c);

    assert_int_equal(reply.id, id);
    assert_int_equal(reply.code, code);
    if (message) {
        (void)snprintf(message, message_size, "%.*s", reply.message ? (int)reply.message->size : 0,
                       reply.message ? (const char *)reply.message->data : "");
    }
    admin_reply_done(&reply);
}

void client_expect_end(struct fixture *f, struct client *c)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;

    while (client_read(c) >= 0) {
        assert_true(mono_now_ms() < end);
        fixture_turn(f);
    }
}

struct blob *blob_of(const char *text)
{
    return blob_copy(text, strlen(text));
}
