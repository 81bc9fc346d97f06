#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/fixture.h"
#include "base/log.h"
#include "net/tunnel.h"

enum { TURNS_MAX = 20000, QUIET_TURNS = 5, QUIET_TURNS_TLS = 15 };

/* ---- The daemon ---- */

static void op_state(void *server, struct http_state *out)
{
    *out = ((struct fixture *)server)->state;
}

static void told(struct fixture *f)
{
    f->claims += f->state.is_leader;
}

static void op_put_leader(void *server, struct buf *out)
{
    struct fixture *f = server;

    told(f);
    for (size_t i = 0; i < f->leader_size; i++) {
        buf_put_u8(out, ' ');
    }
    buf_put_str(out, LEADER_JSON);
}

static void op_put_ready(void *server, bool verbose, struct buf *out)
{
    ((struct fixture *)server)->verbose = verbose;
    buf_put_str(out, "readiness\n");
}

static void op_put_health(void *server, bool claim, struct buf *out)
{
    struct fixture *f = server;

    f->claim_shown = claim;
    if (claim) {
        told(f);
    }
    buf_put_str(out, "health\n");
}

static void op_put_metrics(void *server, struct buf *out)
{
    told(server);
    buf_put_str(out, "metric 1\n");
}

static void op_ask(void *server, struct http_call *call)
{
    struct fixture *f = server;

    assert_true(f->asked_count < ASKED_MAX);
    f->asked[f->asked_count++] = call;
}

void fixture_answer(struct fixture *f, uint32_t position, const char *json)
{
    struct http_call *call = f->asked[position];

    assert_non_null(call);
    f->asked[position] = NULL;
    http_answer(call, json, strlen(json));
}

/* ---- Life ---- */

uint32_t fixture_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint32_t count = 0;

    assert_non_null(dir);
    while (readdir(dir)) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

void fixture_open(struct fixture *f)
{
    f->base = event_base_new();
    assert_non_null(f->base);
    assert_int_equal(http_open(f->base, &f->config, &f->ops, &f->http), 0);
}

void fixture_close(struct fixture *f)
{
    http_close(f->http);
    f->http = NULL;
    event_base_free(f->base);
}

static void open_tls(struct fixture *f, char *address, size_t size)
{
    uint16_t port;

    assert_int_equal(close(raw_listen(&port)), 0); /* free, and few take the same one */
    (void)snprintf(address, size, "127.0.0.1:%u", port);
    f->config.tls = certs_context(1);
    f->client_tls = SSL_CTX_new(TLS_client_method());
    assert_non_null(f->client_tls);
    assert_int_equal(SSL_CTX_load_verify_file(f->client_tls, certs_path("ca.crt")), 1);
    SSL_CTX_set_verify(f->client_tls, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(f->client_tls,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

int fixture_setup(void **state)
{
    static char address[128];
    struct fixture *f = mem_zalloc(sizeof *f);

    (void)signal(SIGPIPE, SIG_IGN);
    log_init(LOG_ERROR, LOG_FORMAT_TEXT);
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/raftd-http-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->path, sizeof f->path, "%s/http.sock", f->directory);
    (void)snprintf(address, sizeof address, "unix:%s", f->path);
    f->now = 1000000;
    f->state = (struct http_state){.etag = 0xabcd, .is_known = true, .is_follower = true};
    f->config = (struct http_config){
        .listen_count = 1, .listen = {address}, .watchers_max = WATCHERS_MAX, .beat_ms = BEAT_MS};
    if (getenv("RAFTD_TEST_TLS")) {
        open_tls(f, address, sizeof address);
    }
    f->ops = (struct http_ops){.server = f,
                               .state = op_state,
                               .put_leader = op_put_leader,
                               .put_ready = op_put_ready,
                               .put_health = op_put_health,
                               .put_metrics = op_put_metrics,
                               .status = op_ask,
                               .members = op_ask};
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->http) {
        for (uint32_t i = 0; i < f->asked_count; i++) {
            assert_null(f->asked[i]); /* a call that nobody answers is a leak */
        }
        fixture_settle(f);
        fixture_pass(f, 2 * HTTP_SWEEP_MS);
        assert_int_equal(fixture_stats(f).connections, 0);
        assert_int_equal(fixture_stats(f).watchers, 0);
        assert_true(http_due(f->http) == UINT64_MAX);
        fixture_close(f);
    }
    assert_int_equal(rmdir(f->directory), 0);
    tls_context_unref(f->config.tls);
    SSL_CTX_free(f->client_tls);
    mem_free(f);
    return 0;
}

void fixture_turn(struct fixture *f)
{
    assert_true(event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    http_turn(f->http, f->now);
    /* Due at once is only what is left for the next turn: everything else would spin. */
    assert_true(http_due(f->http) > f->now || !TAILQ_EMPTY(&f->http->fresh) ||
                (f->http->tunnels && tunnels_has_work(f->http->tunnels)));
}

void fixture_settle(struct fixture *f)
{
    int turns = f->client_tls ? QUIET_TURNS_TLS : QUIET_TURNS;

    for (int i = 0; i < turns || !TAILQ_EMPTY(&f->http->fresh); i++) {
        fixture_turn(f);
    }
}

void fixture_pass(struct fixture *f, mono_ms ms)
{
    mono_ms end = f->now + ms;

    while (f->now < end) {
        f->now = end - f->now > HTTP_SWEEP_MS ? f->now + HTTP_SWEEP_MS : end;
        fixture_turn(f);
    }
    fixture_turn(f);
}

struct http_stats fixture_stats(struct fixture *f)
{
    struct http_stats stats;

    http_stats_get(f->http, &stats);
    return stats;
}

/* ---- Clients ---- */

static int connect_unix(struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    while (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address)) {
        assert_int_equal(errno, EAGAIN); /* the backlog is full until a turn accepts */
        fixture_turn(f);
    }
    return fd;
}

struct client client_open_raw(struct fixture *f)
{
    struct client c = {.f = f};

    if (!f->client_tls) {
        c.fd = connect_unix(f);
    } else {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        assert_int_equal(getsockname(evconnlistener_get_fd(f->http->listeners[0]),
                                     (struct sockaddr *)(void *)&at, &size),
                         0);
        c.fd = raw_connect(ntohs(at.sin_port));
        assert_int_equal(setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    }
    return c;
}

/* What SSL_read() and SSL_write() say, as recv() and send() would. */
static ssize_t as_call(struct client *c, int n)
{
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->tls, n);

    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    errno = n > 0 ? 0 : ECONNRESET;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : n;
}

struct client client_open(struct fixture *f)
{
    struct client c = client_open_raw(f);
    ssize_t n = 1;

    if (f->client_tls) {
        c.tls = SSL_new(f->client_tls);
        assert_int_equal(SSL_set_fd(c.tls, c.fd), 1);
        ERR_clear_error();
        for (int i = 0; (n = as_call(&c, SSL_connect(c.tls))) < 0 && i < TURNS_MAX; i++) {
            assert_int_equal(errno, EAGAIN);
            fixture_turn(f);
        }
        fixture_turn(f); /* its last word in this */
        fixture_turn(f);
    }
    assert_int_equal(n, 1);
    return c;
}

void client_close(struct client *c)
{
    SSL_free(c->tls);
    (void)close(c->fd);
    buf_done(&c->in);
}

static ssize_t client_put(struct client *c, const void *data, size_t size)
{
    return c->tls ? as_call(c, SSL_write(c->tls, data, (int)size))
                  : send(c->fd, data, size, MSG_NOSIGNAL);
}

void client_write(struct client *c, const void *data, size_t size)
{
    (void)client_put(c, data, size);
}

static void client_read(struct client *c)
{
    for (ssize_t n = 1; n > 0;) {
        buf_reserve(&c->in, 4097);
        void *to = c->in.data + c->in.size;
        n = c->tls ? as_call(c, SSL_read(c->tls, to, 4096)) : recv(c->fd, to, 4096, 0);
        c->has_ended = n == 0 || (n < 0 && errno != EAGAIN);
        c->in.size += n > 0 ? (size_t)n : 0;
        c->in.data[c->in.size] = 0;
    }
}

void client_send(struct client *c, const char *text)
{
    size_t left = strlen(text);

    for (int i = 0; left; i++) {
        ssize_t n = client_put(c, text, left);
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        } else if (errno != EAGAIN) {
            return; /* it hung up: what it said is still to be read */
        }
        fixture_turn(c->f);
        client_read(c);
        assert_true(i < TURNS_MAX);
    }
}

void client_half_close(struct client *c)
{
    if (c->tls) {
        (void)SSL_shutdown(c->tls);
    }
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
}

void client_settle(struct client *c)
{
    fixture_settle(c->f);
    client_read(c);
}

static char *find(struct client *c, const char *text)
{
    return c->in.size ? strstr((char *)c->in.data, text) : NULL;
}

void client_until(struct client *c, const char *text)
{
    char *found;

    for (int i = 0; (found = find(c, text)) == NULL; i++) {
        if (i == TURNS_MAX || c->has_ended) {
            fail_msg("never said: %s; said: %s", text, c->in.size ? (char *)c->in.data : "");
        }
        fixture_turn(c->f);
        client_read(c);
    }
    buf_drop(&c->in, (size_t)(found - (char *)c->in.data) + strlen(text));
    buf_reserve(&c->in, 1);
    c->in.data[c->in.size] = 0;
}

void client_expect_end(struct client *c)
{
    for (int i = 0; !c->has_ended; i++) {
        assert_true(i < TURNS_MAX);
        fixture_turn(c->f);
        client_read(c);
    }
}

void client_expect_silence(struct client *c)
{
    client_settle(c);
    assert_int_equal(c->in.size, 0);
    assert_false(c->has_ended);
}

/* ---- Answers ---- */

const char *answer_header(const struct answer *a, const char *name)
{
    static char value[256];
    char pattern[64];

    (void)snprintf(pattern, sizeof pattern, "\r\n%s: ", name);
    const char *at = strstr(a->head, pattern);
    if (!at) {
        return NULL;
    }
    at += strlen(pattern);
    (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static void take(struct client *c, char *out, size_t size, size_t count)
{
    for (int i = 0; c->in.size < count; i++) {
        assert_true(i < TURNS_MAX && !c->has_ended);
        fixture_turn(c->f);
        client_read(c);
    }
    assert_true(count < size);
    memcpy(out, c->in.data, count);
    out[count] = 0;
    buf_drop(&c->in, count);
    buf_reserve(&c->in, 1);
    c->in.data[c->in.size] = 0;
}

void client_answer(struct client *c, bool is_head, struct answer *out)
{
    const char *end;

    for (int i = 0; (end = find(c, "\r\n\r\n")) == NULL; i++) {
        assert_true(i < TURNS_MAX && !c->has_ended);
        fixture_turn(c->f);
        client_read(c);
    }
    *out = (struct answer){0};
    take(c, out->head, sizeof out->head, (size_t)(end - (char *)c->in.data) + 4);
    assert_int_equal(strncmp(out->head, "HTTP/1.", 7), 0);
    out->status = (int)strtol(out->head + 9, NULL, 10);
    const char *length = answer_header(out, "Content-Length");
    if (length && !is_head) {
        take(c, out->body, sizeof out->body, strtoul(length, NULL, 10));
    }
}

void client_ask(struct client *c, const char *method, const char *path, struct answer *out)
{
    char text[512];

    (void)snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, path);
    client_send(c, text);
    client_answer(c, strcmp(method, "HEAD") == 0, out);
}

void client_get(struct client *c, const char *path, struct answer *out)
{
    client_ask(c, "GET", path, out);
}
