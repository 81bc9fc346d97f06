/* Tunnels: a client that speaks TLS, and a server that has a plain descriptor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "fixture.h"
#include "net/tunnel.h"

#define PLAIN_ANSWER "HTTP/1.1 400 Bad Request\r\n\r\n"

enum { MUCH = 3 << 20, KEPT_MAX = 512 << 10 };

struct rig {
    struct world w;
    struct tunnels *ts;
    SSL_CTX *ctx; /* of clients */
    int listener;
    uint16_t port;
};

struct end {
    struct rig *r;
    int server, fd;
    struct tunnel *tunnel; /* NULL: none, or let go */
    SSL *tls;
};

static int rig_open(void **state)
{
    struct rig *r = mem_zalloc(sizeof *r);

    world_init(&r->w);
    struct tls_context *tls = certs_context(1);
    r->ts = tunnels_new(r->w.base, tls, PLAIN_ANSWER);
    tls_context_unref(tls);
    r->ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_load_verify_file(r->ctx, certs_path("ca.crt")), 1);
    SSL_CTX_set_verify(r->ctx, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_mode(r->ctx,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    r->listener = raw_listen(&r->port);
    *state = r;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *r = *state;

    tunnels_free(r->ts);
    SSL_CTX_free(r->ctx);
    assert_int_equal(close(r->listener), 0);
    world_done(&r->w); /* no descriptor is left */
    mem_free(r);
    return 0;
}

static void turn(struct rig *r)
{
    world_turn(&r->w);
    tunnels_turn(r->ts);
}

static struct tunnels_stats stats(const struct rig *r)
{
    struct tunnels_stats out;

    tunnels_stats_get(r->ts, &out);
    return out;
}

/* Turn until it is true. */
#define soon(r, expr)                                                                              \
    do {                                                                                           \
        mono_ms deadline_ = mono_now_ms() + 5000;                                                  \
        while (!(expr) && mono_now_ms() < deadline_) {                                             \
            turn(r);                                                                               \
        }                                                                                          \
        assert_true(expr);                                                                         \
    } while (0)

static struct end end_plain(struct rig *r)
{
    struct end e = {.r = r, .fd = raw_connect(r->port)};

    e.server = raw_accept(&r->w, r->listener);
    (void)evutil_make_socket_nonblocking(e.server);
    assert_int_equal(setsockopt(e.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    return e;
}

/* In a tunnel, and silent. */
static struct end end_silent(struct rig *r)
{
    struct end e = end_plain(r);
    int server = e.server;

    assert_int_equal(tunnels_enter(r->ts, e.server, &e.tunnel), 0);
    assert_int_equal(e.server, server);
    e.tls = SSL_new(r->ctx);
    assert_int_equal(SSL_set_fd(e.tls, e.fd), 1);
    return e;
}

static void server_close(struct end *e)
{
    if (e->server >= 0) {
        assert_int_equal(close(e->server), 0);
    }
    if (e->tunnel) {
        tunnel_let_go(e->tunnel);
    }
    e->server = -1;
    e->tunnel = NULL;
}

static void end_close(struct end *e)
{
    SSL_free(e->tls);
    if (e->fd >= 0) {
        (void)close(e->fd);
    }
    server_close(e);
}

/* 1: done, 0: it wants more, -1: it has failed. */
static int result(struct end *e, int rc)
{
    int error = rc > 0 ? SSL_ERROR_NONE : SSL_get_error(e->tls, rc);

    ERR_clear_error();
    return rc > 0 ? rc : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static int shake(struct end *e)
{
    int rc;

    for (int i = 0; (rc = result(e, SSL_connect(e->tls))) == 0; i++) {
        assert_true(i < 20000);
        turn(e->r);
    }
    return rc;
}

static struct end end_open(struct rig *r)
{
    struct end e = end_silent(r);

    assert_int_equal(shake(&e), 1);
    return e;
}

/* Client to server, and back. */
static void expect_echo(struct end *e)
{
    char text[8] = "";

    assert_int_equal(SSL_write(e->tls, "ping", 4), 4);
    soon(e->r, recv(e->server, text, sizeof text, MSG_PEEK) == 4);
    assert_int_equal(recv(e->server, text, sizeof text, 0), 4);
    assert_int_equal(send(e->server, "pong", 4, 0), 4);
    soon(e->r, result(e, SSL_peek(e->tls, text, sizeof text)) == 4);
    assert_int_equal(SSL_read(e->tls, text, sizeof text), 4);
    assert_memory_equal(text, "pong", 4);
}

/* The connection is over: whatever comes before is thrown away. */
static bool has_ended(int fd)
{
    char waste[4096];
    ssize_t n;

    while ((n = recv(fd, waste, sizeof waste, 0)) > 0) {
    }
    return n == 0 || errno != EAGAIN;
}

/* ---- What works ---- */

static void carries_both_ways(void **state)
{
    struct end e = end_open(*state);

    assert_int_equal(stats(e.r).open, 1);
    for (int i = 0; i < 20; i++) {
        expect_echo(&e);
    }
    end_close(&e);
    soon(e.r, stats(e.r).open + stats(e.r).leaving == 0);
    assert_int_equal(stats(e.r).refused, 0);
}

static void shakes_hands_byte_by_byte(void **state)
{
    struct end e = end_silent(*state);
    BIO *out = BIO_new(BIO_s_mem());
    char byte;
    int rc;

    SSL_set0_wbio(e.tls, out);
    do {
        rc = result(&e, SSL_connect(e.tls));
        while (BIO_read(out, &byte, 1) == 1) {
            assert_int_equal(send(e.fd, &byte, 1, 0), 1);
            turn(e.r);
        }
        turn(e.r);
    } while (rc == 0);
    assert_int_equal(rc, 1);
    end_close(&e);
}

static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position * 7 + position / 256);
}

/* Nobody takes it: it is not kept here. Then all of it arrives. */
static void much_to_a_client_that_waits(void **state)
{
    struct end e = end_open(*state);
    static uint8_t data[MUCH];
    uint8_t piece[16384];
    size_t sent = 0;
    size_t received = 0;

    for (size_t i = 0; i < MUCH; i++) {
        data[i] = byte_at(i);
    }
    for (int quiet = 0; quiet < 20; quiet++) {
        ssize_t n = send(e.server, data + sent, MUCH - sent, 0);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet;
        turn(e.r);
    }
    assert_in_range(sent, TUNNEL_BUFFER, KEPT_MAX);
    while (received < MUCH) {
        ssize_t n = send(e.server, data + sent, MUCH - sent, 0);
        sent += n > 0 ? (size_t)n : 0;
        turn(e.r);
        int got = result(&e, SSL_read(e.tls, piece, sizeof piece));
        assert_true(got >= 0);
        assert_memory_equal(piece, data + received, (size_t)got);
        received += (size_t)got;
    }
    end_close(&e);
}

static void much_to_a_server_that_waits(void **state)
{
    struct end e = end_open(*state);
    uint8_t piece[16384] = {0};
    size_t sent = 0;
    size_t received = 0;

    while (sent < MUCH || received < MUCH) {
        int n = sent < MUCH ? result(&e, SSL_write(e.tls, piece, sizeof piece)) : 0;
        assert_true(n >= 0);
        sent += (size_t)n;
        turn(e.r);
        /* Once it takes no more it is read from. */
        for (ssize_t got = 1; n == 0 && got > 0;) {
            got = recv(e.server, piece, sizeof piece, 0);
            received += got > 0 ? (size_t)got : 0;
        }
    }
    assert_int_equal(received, sent);
    end_close(&e);
}

/* ---- Ends ---- */

static void a_client_that_says_no_more_is_answered(void **state)
{
    struct end e = end_open(*state);
    char text[16];

    assert_int_equal(SSL_write(e.tls, "last", 4), 4);
    (void)SSL_shutdown(e.tls);
    soon(e.r, recv(e.server, text, sizeof text, MSG_PEEK) == 4);
    assert_int_equal(recv(e.server, text, sizeof text, 0), 4);
    soon(e.r, recv(e.server, text, sizeof text, 0) == 0);
    assert_int_equal(send(e.server, "answer", 6, 0), 6);
    assert_int_equal(shutdown(e.server, SHUT_WR), 0);
    soon(e.r, result(&e, SSL_peek(e.tls, text, sizeof text)) == 6);
    assert_int_equal(SSL_read(e.tls, text, sizeof text), 6);
    soon(e.r, result(&e, SSL_read(e.tls, text, sizeof text)) < 0);
    assert_true(SSL_get_shutdown(e.tls) & SSL_RECEIVED_SHUTDOWN); /* it is no truncation */
    end_close(&e);
    soon(e.r, stats(e.r).leaving == 0);
}

/* What the server has said arrives, though the client was in the midst of a word. */
static void a_server_that_hangs_up_is_heard(void **state)
{
    struct end e = end_open(*state);
    char text[16];

    assert_int_equal(SSL_write(e.tls, "not read", 8), 8);
    turn(e.r);
    assert_int_equal(send(e.server, "over", 4, 0), 4);
    server_close(&e);
    for (int i = 0; i < 10; i++) {
        turn(e.r);
        (void)SSL_write(e.tls, "and more", 8);
        ERR_clear_error();
    }
    soon(e.r, result(&e, SSL_peek(e.tls, text, sizeof text)) == 4);
    assert_int_equal(stats(e.r).leaving, 1);
    end_close(&e);
    soon(e.r, stats(e.r).leaving == 0);
}

static void a_reset_is_an_end(void **state)
{
    struct rig *r = *state;

    for (int shaken = 0; shaken < 2; shaken++) {
        struct end e = shaken ? end_open(r) : end_silent(r);
        turn(r);
        assert_int_equal(setsockopt(e.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                                    sizeof(struct linger)),
                         0);
        assert_int_equal(close(e.fd), 0);
        e.fd = -1;
        soon(r, has_ended(e.server));
        assert_int_equal(stats(r).open + stats(r).leaving, 0);
        end_close(&e);
    }
    assert_int_equal(stats(r).refused, 0);
}

static void a_server_that_waits_no_longer(void **state)
{
    struct end e = end_silent(*state);

    turn(e.r);
    server_close(&e);
    soon(e.r, has_ended(e.fd));
    assert_int_equal(stats(e.r).open + stats(e.r).leaving, 0);
    end_close(&e);
}

/* Of those who do not take the rest, the oldest goes. */
static void few_may_leave_slowly(void **state)
{
    enum { MORE = 6 };
    struct rig *r = *state;
    static struct end ends[TUNNELS_LEAVING_MAX + MORE];
    static const char filler[KEPT_MAX];

    for (int i = 0; i < TUNNELS_LEAVING_MAX + MORE; i++) {
        ends[i] = end_open(r);
        assert_int_equal(setsockopt(ends[i].fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)),
                         0);
        for (int quiet = 0; quiet < 5; quiet++) { /* until nobody takes any more */
            quiet = send(ends[i].server, filler, sizeof filler, 0) > 0 ? 0 : quiet;
            turn(r);
        }
        server_close(&ends[i]);
        assert_int_equal(stats(r).open, 0);
        assert_true(stats(r).leaving <= TUNNELS_LEAVING_MAX);
    }
    assert_int_equal(stats(r).leaving, TUNNELS_LEAVING_MAX);
    for (int i = 0; i < TUNNELS_LEAVING_MAX + MORE; i++) {
        end_close(&ends[i]);
    }
    soon(r, stats(r).leaving == 0);
}

/* Those who have been told all are only waited for: they go before one that still has to be given the rest. */
static void who_has_all_goes_first(void **state)
{
    struct rig *r = *state;
    static struct end ends[TUNNELS_LEAVING_MAX + 6];
    static uint8_t data[KEPT_MAX];
    uint8_t piece[16384];
    struct end slow = end_open(r);
    size_t sent = 0;
    size_t received = 0;
    int got;

    assert_int_equal(setsockopt(slow.fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
    for (int quiet = 0; quiet < 5 && sent < sizeof data; quiet++) {
        ssize_t n = send(slow.server, data + sent, sizeof data - sent, 0);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet;
        turn(r);
    }
    server_close(&slow);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        ends[i] = end_open(r);
        expect_echo(&ends[i]);
        server_close(&ends[i]);
        turn(r);
        assert_true(stats(r).leaving <= TUNNELS_LEAVING_MAX);
    }
    while ((got = result(&slow, SSL_read(slow.tls, piece, sizeof piece))) >= 0) {
        received += (size_t)got;
        turn(r);
    }
    assert_int_equal(received, sent);
    assert_int_equal(SSL_get_shutdown(slow.tls), SSL_RECEIVED_SHUTDOWN);
    end_close(&slow);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        end_close(&ends[i]);
    }
    soon(r, stats(r).leaving == 0);
}

/* ---- Handshakes ---- */

/* All of them have said hello; a turn answers some. */
static void a_turn_has_its_share_of_handshakes(void **state)
{
    enum { CROWD = 3 * TUNNEL_SHAKES_MAX };
    struct rig *r = *state;
    struct end ends[CROWD];
    char byte;

    for (int i = 0; i < CROWD; i++) {
        ends[i] = end_silent(r);
        (void)result(&ends[i], SSL_connect(ends[i].tls));
    }
    assert_true(event_base_loop(r->w.base, EVLOOP_NONBLOCK) >= 0);
    for (int turns = 1; turns <= CROWD / TUNNEL_SHAKES_MAX; turns++) {
        assert_true(tunnels_has_work(r->ts));
        tunnels_turn(r->ts);
        int answered = 0;
        for (int i = 0; i < CROWD; i++) {
            answered += recv(ends[i].fd, &byte, 1, MSG_PEEK) == 1;
        }
        assert_int_equal(answered, turns * TUNNEL_SHAKES_MAX);
    }
    assert_false(tunnels_has_work(r->ts));
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(shake(&ends[i]), 1);
        end_close(&ends[i]);
    }
}

static void plain_words_are_answered(void **state)
{
    struct rig *r = *state;
    char text[64] = "";

    log_catch();
    for (int i = 0; i < 5; i++) {
        struct end e = end_silent(r);
        assert_int_equal(send(e.fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
        soon(r, recv(e.fd, text, sizeof text, MSG_PEEK) > 0);
        assert_int_equal(recv(e.fd, text, sizeof text, 0), strlen(PLAIN_ANSWER));
        assert_memory_equal(text, PLAIN_ANSWER, strlen(PLAIN_ANSWER));
        soon(r, has_ended(e.fd));
        soon(r, has_ended(e.server));
        end_close(&e);
    }
    assert_int_equal(log_release("speaks no TLS; write https://"), 1);
    assert_int_equal(stats(r).refused, 5);
}

static void set_tls_1_2(SSL_CTX *ctx)
{
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
}

static void set_other_protocol(SSL_CTX *ctx)
{
    assert_int_equal(SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3), 0);
}

static void set_costly_group(SSL_CTX *ctx)
{
    static char group[] = "ffdhe8192";

    assert_int_equal(SSL_CTX_set1_groups_list(ctx, group), 1);
}

static void set_no_authority(SSL_CTX *ctx)
{
    X509_STORE *none = X509_STORE_new();

    SSL_CTX_set_cert_store(ctx, none);
}

static void clients_that_are_refused(void **state)
{
    static const struct {
        void (*set)(SSL_CTX *ctx);
        const char *said;
    } rows[] = {
        {set_tls_1_2, "speaks no TLS 1.3"},
        {set_other_protocol, "speaks TLS, but not http/1.1"},
        {set_costly_group, "breaks TLS: "},
        {set_no_authority, "it does not know the authority; give it tls.ca (curl: --cacert)"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SSL_CTX *ours = r->ctx;
        r->ctx = SSL_CTX_new(TLS_client_method());
        assert_int_equal(SSL_CTX_load_verify_file(r->ctx, certs_path("ca.crt")), 1);
        SSL_CTX_set_verify(r->ctx, SSL_VERIFY_PEER, NULL);
        rows[i].set(r->ctx);
        log_catch();
        struct end e = end_silent(r);
        assert_int_equal(shake(&e), -1);
        soon(r, has_ended(e.server));
        end_close(&e);
        assert_int_equal(log_release(rows[i].said), 1);
        SSL_CTX_free(r->ctx);
        r->ctx = ours;
        assert_int_equal(stats(r).refused, i + 1);
    }
}

static void http_1_1_is_chosen(void **state)
{
    struct end e = end_silent(*state);
    const unsigned char *chosen = NULL;
    unsigned int size = 0;

    assert_int_equal(SSL_set_alpn_protos(e.tls, (const unsigned char *)"\x02h2\x08http/1.1", 12),
                     0);
    assert_int_equal(SSL_set1_host(e.tls, "localhost"), 1);
    assert_int_equal(shake(&e), 1);
    SSL_get0_alpn_selected(e.tls, &chosen, &size);
    assert_int_equal(size, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    end_close(&e);
}

/* Who is there keeps what it began with. */
static void other_certificates(void **state)
{
    struct rig *r = *state;
    struct end old = end_open(r);
    struct tls_context *tls = certs_context(2);

    tunnels_set_tls(r->ts, tls);
    tls_context_unref(tls);
    struct end fresh = end_open(r);
    assert_int_not_equal(
        X509_cmp(SSL_get0_peer_certificate(old.tls), SSL_get0_peer_certificate(fresh.tls)), 0);
    expect_echo(&old);
    expect_echo(&fresh);
    end_close(&old);
    end_close(&fresh);
}

static void without_descriptors(void **state)
{
    struct rig *r = *state;
    struct end e = end_plain(r);
    struct rlimit limit;
    char text[8];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int lowest = dup(e.fd);
    assert_int_equal(close(lowest), 0);
    log_catch();
    for (int more = 0; more < 3; more++) { /* it needs three, one after the other */
        const struct rlimit few = {.rlim_cur = (rlim_t)(lowest + more), .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        assert_int_equal(tunnels_enter(r->ts, e.server, &e.tunnel), -EMFILE);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(log_release("no descriptor is left"), 1);
    assert_int_equal(send(e.server, "plain", 5, 0), 5);
    assert_int_equal(recv(e.fd, text, sizeof text, 0), 5);
    end_close(&e);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)
    const struct CMUnitTest tests[] = {
        TEST(carries_both_ways),
        TEST(shakes_hands_byte_by_byte),
        TEST(much_to_a_client_that_waits),
        TEST(much_to_a_server_that_waits),
        TEST(a_client_that_says_no_more_is_answered),
        TEST(a_server_that_hangs_up_is_heard),
        TEST(a_reset_is_an_end),
        TEST(a_server_that_waits_no_longer),
        TEST(few_may_leave_slowly),
        TEST(who_has_all_goes_first),
        TEST(a_turn_has_its_share_of_handshakes),
        TEST(plain_words_are_answered),
        TEST(clients_that_are_refused),
        TEST(http_1_1_is_chosen),
        TEST(other_certificates),
        TEST(without_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
