/* Links within TLS. The other end has a TLS of its own on a raw socket, where every byte can be held
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "fixture.h"

enum { FAR_CHUNK = 65536 };

struct far {
    struct world *w;
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out; /* what came, and what is to be sent */
    int fd;
    size_t chunk; /* bytes sent at once */
    struct buf plain;
};

/* `id` 0: without a certificate. */
static void far_init(struct far *f, struct world *w, int fd, raft_id id)
{
    char name[32];

    *f = (struct far){.w = w, .fd = fd, .chunk = FAR_CHUNK};
    f->ctx = SSL_CTX_new(TLS_method());
    assert_non_null(f->ctx);
    if (id) {
        (void)snprintf(name, sizeof name, "%u.crt", id);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(f->ctx, certs_path(name)), 1);
        (void)snprintf(name, sizeof name, "%u.key", id);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(f->ctx, certs_path(name), SSL_FILETYPE_PEM),
                         1);
    }
    assert_int_equal(SSL_CTX_load_verify_file(f->ctx, certs_path("ca.crt")), 1);
}

static int choose_any(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                      const unsigned char *offered, unsigned int size, void *arg)
{
    (void)ssl;
    (void)size;
    (void)arg;
    *out = offered + 1;
    *out_size = offered[0];
    return SSL_TLSEXT_ERR_OK;
}

static void far_start(struct far *f, enum tls_end end)
{
    SSL_CTX_set_alpn_select_cb(f->ctx, choose_any, NULL);
    SSL_CTX_set_verify(f->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    f->ssl = SSL_new(f->ctx);
    f->in = BIO_new(BIO_s_mem());
    f->out = BIO_new(BIO_s_mem());
    (void)BIO_set_mem_eof_return(f->in, -1);
    SSL_set_bio(f->ssl, f->in, f->out);
    if (end == TLS_DIALS) {
        assert_int_equal(SSL_set_alpn_protos(f->ssl, (const unsigned char *)"\x07raftd/1", 8), 0);
        SSL_set_connect_state(f->ssl);
    } else {
        SSL_set_accept_state(f->ssl);
    }
}

static void far_dial(struct far *f, struct world *w, raft_id to, raft_id id)
{
    far_init(f, w, raw_connect(w->members[to - 1].port), id);
    far_start(f, TLS_DIALS);
}

static void far_done(struct far *f)
{
    SSL_free(f->ssl);
    SSL_CTX_free(f->ctx);
    buf_done(&f->plain);
    assert_int_equal(close(f->fd), 0);
}

static void far_send_out(struct far *f)
{
    uint8_t bytes[FAR_CHUNK];
    size_t waiting = BIO_ctrl_pending(f->out);

    while (waiting) {
        int size = BIO_read(f->out, bytes, (int)(waiting < f->chunk ? waiting : f->chunk));
        assert_true(size > 0);
        waiting -= (size_t)size;
        for (int at = 0; at < size;) {
            ssize_t n = send(f->fd, bytes + at, (size_t)(size - at), MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) {
                return; /* it was closed */
            }
            at += n > 0 ? (int)n : 0;
            world_turn(f->w);
        }
    }
}

/* Move what is to be moved. False: the other side has closed. */
static bool far_turn(struct far *f)
{
    uint8_t bytes[FAR_CHUNK];

    far_send_out(f);
    world_turn(f->w);
    ssize_t n = recv(f->fd, bytes, sizeof bytes, 0);
    if (n > 0) {
        assert_int_equal(BIO_write(f->in, bytes, (int)n), n);
    }
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* 1: done, else the end of it. */
static int far_shake(struct far *f)
{
    mono_ms deadline = mono_now_ms() + 10000;
    int rc;

    while ((rc = SSL_do_handshake(f->ssl)) != 1) {
        if (SSL_get_error(f->ssl, rc) != SSL_ERROR_WANT_READ || !far_turn(f)) {
            far_send_out(f); /* the alert */
            return rc;
        }
        assert_true(mono_now_ms() < deadline);
    }
    far_send_out(f);
    return rc;
}

static void far_write(struct far *f, const void *data, size_t size)
{
    assert_int_equal(SSL_write(f->ssl, data, (int)size), (int)size);
    far_send_out(f);
}

static void far_write_msg(struct far *f, const struct peer_msg *msg)
{
    struct buf out = BUF_INIT;

    peer_encode(msg, &out);
    far_write(f, out.data, out.size);
    buf_done(&out);
}

static void far_write_hello(struct far *f, raft_id id)
{
    struct peer_hello hello;
    struct peer_msg msg = {.type = PEER_HELLO, .hello = &hello};

    hello_make(id, 1, &hello);
    far_write_msg(f, &msg);
}

/* The next message; type 0: the stream has ended. peer_msg_done() it. */
static struct peer_msg far_read_msg(struct far *f)
{
    uint8_t bytes[16384];
    struct frame frame;
    struct peer_msg msg = {.type = 0};
    mono_ms deadline = mono_now_ms() + 10000;

    while (frame_parse(f->plain.data, f->plain.size, FRAME_PEER_MAX, &frame, NULL) != 1) {
        int n = SSL_read(f->ssl, bytes, sizeof bytes);
        if (n > 0) {
            buf_put(&f->plain, bytes, (size_t)n);
        } else if (SSL_get_error(f->ssl, n) != SSL_ERROR_WANT_READ || !far_turn(f)) {
            return msg;
        }
        assert_true(mono_now_ms() < deadline);
    }
    assert_int_equal(peer_decode(&frame, &msg), 0);
    buf_drop(&f->plain, frame.total);
    return msg;
}

static void far_expect(struct far *f, enum peer_msg_type type, raft_id id, const char *why)
{
    struct peer_msg msg = far_read_msg(f);

    assert_int_equal(msg.type, type);
    if (type == PEER_HELLO) {
        assert_int_equal(msg.hello->id, id);
    } else if (type == PEER_REFUSAL) {
        assert_non_null(strstr(msg.refusal->why, why));
    }
    peer_msg_done(&msg);
}

static void open_secure(struct world *w, raft_id id)
{
    world_init(w);
    w->with_tls = true;
    (void)world_open(w, id);
}

static void stage_open_secure(struct stage *s)
{
    open_secure(&s->w, 1);
    s->m = &s->w.members[0];
    s->listener = raw_listen(&s->port);
    world_target_port(&s->w, 1, 2, s->port);
}

/* ---- What works ---- */

static void accepts_byte_by_byte(void **state)
{
    struct world w;
    struct far f;

    (void)state;
    open_secure(&w, 1);
    far_dial(&f, &w, 1, 2);
    f.chunk = 1;
    assert_int_equal(far_shake(&f), 1);
    far_write_hello(&f, 2);
    far_expect(&f, PEER_HELLO, 1, "");
    for (uint64_t seq = 1; seq <= 5; seq++) {
        struct peer_msg msg = heartbeat(2, 1, seq);
        far_write_msg(&f, &msg);
    }
    until(&w, w.members[0].seen_count == 5);
    assert_int_equal(w.members[0].seen[4].seq, 5);
    far_done(&f);
    world_done(&w);
}

/* Node 2, played by us, with the link up. */
static void far_accept(struct stage *s, struct far *f, size_t chunk)
{
    far_init(f, &s->w, raw_accept(&s->w, s->listener), 2);
    f->chunk = chunk;
    far_start(f, TLS_ACCEPTS);
    assert_int_equal(far_shake(f), 1);
    far_expect(f, PEER_HELLO, 1, "");
    far_write_hello(f, 2);
    until(&s->w, world_is_up(&s->w, 1, 2));
}

static void dials_byte_by_byte(void **state)
{
    struct stage s;
    struct far f;

    (void)state;
    stage_open_secure(&s);
    far_accept(&s, &f, 1);
    send_append(&s.w, 1, 2, 7, 3, 100);
    struct peer_msg msg = far_read_msg(&f);
    assert_int_equal(msg.type, PEER_RAFT);
    assert_int_equal(msg.raft.seq, 7);
    peer_msg_done(&msg);
    far_done(&f);
    stage_done(&s);
}

/* The other one has shown up, so its host is there: a handshake over a long way is not begun anew. */
static void a_slow_handshake_goes_on(void **state)
{
    struct stage s;
    struct far inbound;
    struct far outbound;

    (void)state;
    stage_open_secure(&s);
    far_init(&outbound, &s.w, raw_accept(&s.w, s.listener), 2);
    far_start(&outbound, TLS_ACCEPTS);
    mono_ms start = mono_now_ms();
    until(&s.w, mono_now_ms() > start + NET_STALE_CONNECT_MS + 20);
    mono_ms since = stage_link(&s)->since;
    far_dial(&inbound, &s.w, 1, 2);
    assert_int_equal(far_shake(&inbound), 1);
    far_write_hello(&inbound, 2);
    far_expect(&inbound, PEER_HELLO, 1, "");
    assert_int_equal(stage_link(&s)->state, LINK_CONNECTING);
    assert_int_equal(stage_link(&s)->since, since);
    assert_int_equal(far_shake(&outbound), 1);
    far_expect(&outbound, PEER_HELLO, 1, "");
    far_write_hello(&outbound, 2);
    until(&s.w, world_is_up(&s.w, 1, 2));
    far_done(&inbound);
    far_done(&outbound);
    stage_done(&s);
}

/* Keys are renewed in the midst of it: what has to be written then is written. */
static void key_updates(void **state)
{
    struct world w;
    struct far f;

    (void)state;
    open_secure(&w, 1);
    far_dial(&f, &w, 1, 2);
    assert_int_equal(far_shake(&f), 1);
    far_write_hello(&f, 2);
    far_expect(&f, PEER_HELLO, 1, "");
    for (uint64_t seq = 1; seq <= 20; seq++) {
        struct peer_msg msg = heartbeat(2, 1, seq);
        assert_int_equal(SSL_key_update(f.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        far_write_msg(&f, &msg);
        until(&w, w.members[0].seen_count == seq);
    }
    for (int i = 0; i < 2000; i++) { /* and nothing else: the others have their turn */
        assert_int_equal(SSL_key_update(f.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(f.ssl), 1);
    }
    far_send_out(&f);
    struct peer_msg last = heartbeat(2, 1, 21);
    far_write_msg(&f, &last);
    until(&w, w.members[0].seen_count == 21);
    w.members[0].hello.incarnation++;
    net_set_hello(w.members[0].net, &w.members[0].hello); /* what it writes is read */
    far_expect(&f, PEER_HELLO, 1, "");
    far_done(&f);
    world_done(&w);
}

static void large_frames_both_ways_at_once(void **state)
{
    enum { SIZE = 1024 * 1024, COUNT = 3, ROUNDS = 4 };
    struct world w;

    (void)state;
    open_secure(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
        send_append(&w, 1, 2, seq, COUNT, SIZE);
        send_append(&w, 2, 1, seq, COUNT, SIZE);
        send_heartbeat(&w, 1, 2, 100 + seq);
    }
    until_ms(&w, 30000, w.members[1].seen_count == 2 * ROUNDS && w.members[0].seen_count == ROUNDS);
    for (uint64_t seq = 1; seq <= ROUNDS; seq++) {
        assert_int_equal(w.members[0].seen[seq - 1].seq, seq);
        assert_true(w.members[0].seen[seq - 1].hash == append_hash(seq, COUNT, SIZE));
    }
    assert_true(w.members[1].seen[ROUNDS].seq > 100 || w.members[1].seen[0].seq > 100);
    world_done(&w);
}

/* A record that could not be written stays what it was while urgent frames pass what waits behind. */
static void urgent_frames_pass_and_nothing_is_torn(void **state)
{
    enum { BULKS = 40, SIZE = 200 * 1024 };
    struct stage s;
    struct far f;
    uint64_t bulks = 0;
    uint64_t urgents = 0;

    (void)state;
    stage_open_secure(&s);
    far_accept(&s, &f, FAR_CHUNK);
    for (uint64_t seq = 1; seq <= BULKS; seq++) {
        send_append(&s.w, 1, 2, seq, 1, SIZE);
        world_turn(&s.w);
    }
    assert_true(stage_link(&s)->conn->blocked);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        send_heartbeat(&s.w, 1, 2, 100 + seq);
        world_turn(&s.w);
    }
    while (bulks < BULKS || urgents < 3) {
        struct peer_msg msg = far_read_msg(&f);
        assert_int_equal(msg.type, PEER_RAFT);
        if (msg.raft.seq > 100) {
            assert_int_equal(msg.raft.seq, 100 + ++urgents);
            assert_true(bulks < BULKS);
        } else {
            assert_int_equal(msg.raft.seq, ++bulks);
            assert_int_equal(msg.raft.entries[0].data->size, SIZE);
        }
        peer_msg_done(&msg);
    }
    far_done(&f);
    stage_done(&s);
}

static void other_certificates_replace_all_connections(void **state)
{
    struct world w;

    (void)state;
    open_secure(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    const struct conn *dialled = net_link(w.members[0].net, 2)->conn;
    const struct conn *accepted = inbound_find(w.members[0].net, 2)->conn;
    struct tls_context *same = certs_context(1);
    certs_make("--ids 1,2");
    struct tls_context *fresh = certs_context(1);
    assert_false(tls_context_equals(same, fresh));
    net_set_tls(w.members[0].net, fresh);
    assert_true(conn_is_outdated(dialled) && conn_is_outdated(accepted));
    assert_true(world_is_up(&w, 1, 2)); /* nothing is dropped at once */
    until(&w, w.members[0].downs[2] == 1 && w.members[1].downs[1] == 1);
    until(&w, world_is_up(&w, 1, 2) && world_is_up(&w, 2, 1));
    assert_false(conn_is_outdated(net_link(w.members[0].net, 2)->conn));
    until(&w, inbound_find(w.members[0].net, 2) != NULL);
    assert_false(conn_is_outdated(inbound_find(w.members[0].net, 2)->conn));
    tls_context_unref(same);
    tls_context_unref(fresh);
    world_done(&w);
}

/* ---- What does not ---- */

/* Node 1 dials; what the one who answers is like, and what node 1 says of it. */
static void answerer(raft_id shows, int version, const char *trouble)
{
    struct stage s;
    struct far f;

    stage_open_secure(&s);
    far_init(&f, &s.w, raw_accept(&s.w, s.listener), shows);
    (void)SSL_CTX_set_max_proto_version(f.ctx, version);
    far_start(&f, TLS_ACCEPTS);
    (void)far_shake(&f);
    until(&s.w, trouble_has(&s, trouble));
    assert_false(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->hellos_count, 0);
    if (shows && version == TLS1_3_VERSION) { /* it hears why, and nothing before that */
        far_expect(&f, PEER_REFUSAL, 0, "node 2 shows the certificate of raftd://test/3");
    }
    far_done(&f);
    stage_done(&s);
}

static void dials_the_wrong_one(void **state)
{
    (void)state;
    answerer(3, TLS1_3_VERSION, "node 2 shows the certificate of raftd://test/3, not of");
    answerer(2, TLS1_2_VERSION, "speaks no TLS 1.3");
}

static void dials_who_does_not_know_our_authority(void **state)
{
    struct stage s;
    struct far f;

    (void)state;
    stage_open_secure(&s);
    far_init(&f, &s.w, raw_accept(&s.w, s.listener), 2);
    SSL_CTX_set_cert_store(f.ctx, X509_STORE_new());
    far_start(&f, TLS_ACCEPTS);
    assert_true(far_shake(&f) != 1);
    until(&s.w, trouble_has(&s, "refuses our certificate: the authority that signed it"));
    assert_true(stage_link(&s)->backoff_ms > NET_BACKOFF_MIN_MS); /* "connected" is not enough */
    far_done(&f);
    stage_done(&s);
}

static void dials_who_speaks_no_tls(void **state)
{
    struct stage s;

    (void)state;
    stage_open_secure(&s);
    int fd = raw_accept(&s.w, s.listener);
    raw_send_hello(fd, 2, 1);
    until(&s.w, trouble_has(&s, "speaks no TLS; set [tls] there"));
    assert_int_equal(close(fd), 0);
    fd = raw_accept(&s.w, s.listener);
    assert_int_equal(close(fd), 0);
    until(&s.w, trouble_has(&s, "closed the connection during the TLS handshake"));
    assert_int_equal(s.m->hellos_count, 0);
    stage_done(&s);
}

static void another_id_than_the_certificate(void **state)
{
    struct world w;
    struct far f;

    (void)state;
    open_secure(&w, 1);
    far_dial(&f, &w, 1, 2);
    assert_int_equal(far_shake(&f), 1);
    far_write_hello(&f, 3);
    struct peer_msg msg = heartbeat(3, 1, 1);
    far_write_msg(&f, &msg);
    far_expect(&f, PEER_REFUSAL, 0, "node 3 shows the certificate of raftd://test/2");
    assert_int_equal(w.members[0].seen_count, 0);
    assert_int_equal(w.members[0].hellos_count, 0);
    far_done(&f);
    world_done(&w);
}

static void plain_frames_are_answered_in_plain(void **state)
{
    struct world w;

    (void)state;
    open_secure(&w, 1);
    log_catch();
    for (int i = 0; i < 3; i++) {
        int fd = raw_connect(w.members[0].port);
        raw_send_hello(fd, 2, 1);
        struct peer_msg msg = raw_receive(&w, fd);
        assert_int_equal(msg.type, PEER_REFUSAL);
        assert_non_null(strstr(msg.refusal->why, "this node takes TLS only"));
        peer_msg_done(&msg);
        raw_until_closed(&w, fd, 2000);
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(log_release("speaks no TLS"), 1);
    assert_int_equal(w.members[0].hellos_count, 0);
    world_done(&w);
}

/* The other way round: a node without TLS, dialled by one with it. */
static void tls_where_there_is_none(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.with_tls = false;
    (void)world_open(&w, 2);
    w.with_tls = true;
    (void)world_open(&w, 1);
    log_catch();
    world_target(&w, 1, 2, 0);
    until(&w, strstr(net_trouble(w.members[0].net, 2), "speaks no TLS; set [tls] there"));
    assert_int_equal(log_release("speaks TLS; set [tls] here"), 1);
    world_target(&w, 2, 1, 0);
    until(&w, strstr(net_trouble(w.members[1].net, 1), "this node takes TLS only"));
    world_done(&w);
}

static void handshakes_that_stop_are_ended(void **state)
{
    static const char begun[] = "\x16\x03\x01\x02";
    struct world w;
    int fds[4];

    (void)state;
    open_secure(&w, 1);
    mono_ms start = mono_now_ms();
    for (size_t i = 0; i < 4; i++) {
        fds[i] = raw_connect(w.members[0].port);
        raw_send(fds[i], begun, i);
    }
    assert_int_equal(close(fds[3]), 0); /* in the midst of it */
    for (size_t i = 0; i < 3; i++) {
        raw_until_closed(&w, fds[i], NET_HELLO_MS + 1000);
        assert_int_equal(close(fds[i]), 0);
    }
    assert_true(mono_now_ms() - start >= NET_HELLO_MS - 100);
    int fd = raw_connect(w.members[0].port);
    raw_send(fd, begun, 3);
    world_turn(&w);
    world_close(&w, 1); /* while one is under way */
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

/* ---- A crowd ---- */

enum { CROWD = NET_STRANGERS_MAX };

struct crowd { /* at node 1; each says the same ClientHello */
    struct world w;
    struct net *net;
    uint8_t hello[2048];
    size_t hello_size;
    int fds[2 * CROWD], count, said;
};

static void crowd_open(struct crowd *c)
{
    struct far f;

    open_secure(&c->w, 1);
    c->net = c->w.members[0].net;
    far_dial(&f, &c->w, 1, 0);
    assert_int_equal(SSL_get_error(f.ssl, SSL_do_handshake(f.ssl)), SSL_ERROR_WANT_READ);
    c->hello_size = (size_t)BIO_read(f.out, c->hello, sizeof c->hello);
    far_done(&f);
    until(&c->w, c->net->strangers_count == 0);
    c->count = c->said = 0;
}

static void crowd_grow(struct crowd *c, int by)
{
    for (int i = 0; i < by; i++) {
        c->fds[c->count++] = raw_connect(c->w.members[0].port);
    }
}

static void crowd_say_hello(struct crowd *c)
{
    for (; c->said < c->count; c->said++) {
        raw_send(c->fds[c->said], c->hello, c->hello_size);
    }
}

/* All have connected and said nothing, and then all do: no turn was between. */
static void crowd_gather(struct crowd *c)
{
    crowd_open(c);
    crowd_grow(c, CROWD);
    until(&c->w, c->net->strangers_count == CROWD && !net_has_work(c->net));
    crowd_say_hello(c);
    for (int i = 0; i < 10; i++) { /* as many passes as epoll needs to tell of all */
        assert_true(event_base_loop(c->w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    }
}

static int crowd_answered(const struct crowd *c)
{
    char byte;
    int answered = 0;

    for (int i = 0; i < c->count; i++) {
        answered += recv(c->fds[i], &byte, 1, MSG_PEEK) == 1;
    }
    return answered;
}

static void crowd_done(struct crowd *c)
{
    for (int i = 0; i < c->count; i++) {
        assert_int_equal(close(c->fds[i]), 0);
    }
    world_done(&c->w);
}

/* Those who wait are not polled: their bytes do not wake the loop again and again. */
static void a_turn_has_its_share_of_handshakes(void **state)
{
    struct crowd c;
    struct inbound *in;

    (void)state;
    crowd_gather(&c);
    assert_int_equal(crowd_answered(&c), 0);
    assert_int_equal(c.net->conns.waiting_count, CROWD);
    TAILQ_FOREACH (in, &c.net->strangers, entry) {
        assert_false(event_pending(&in->conn->readable, EV_READ, NULL));
        assert_false(event_pending(&in->conn->writable, EV_WRITE, NULL));
    }
    for (int turns = 1; turns <= CROWD / CONN_SHAKES_MAX; turns++) {
        assert_true(net_has_work(c.net));
        world_turn(&c.w);
        assert_int_equal(crowd_answered(&c), turns * CONN_SHAKES_MAX);
    }
    assert_false(net_has_work(c.net));
    crowd_done(&c);
}

/* More than there are places for. Nobody has to go before its step came, so a member has not; no more
 * than that is promised, for where its answer is we cannot know. */
static void each_has_its_turn_in_a_crowd(void **state)
{
    struct crowd c;
    int answered = 0;

    (void)state;
    crowd_open(&c);
    crowd_grow(&c, CROWD + CROWD / 2);
    crowd_say_hello(&c);
    mono_ms end = mono_now_ms() + 10000;
    while (answered < c.count) {
        int before = answered;
        world_turn(&c.w);
        answered = crowd_answered(&c);
        assert_true(answered - before <= CONN_SHAKES_MAX);
        assert_true(c.net->conns.waiting_count <= NET_WAITING_MAX);
        assert_true(mono_now_ms() < end);
    }
    crowd_done(&c);
}

/* Who is let in takes the place of the oldest. */
static void nobody_is_let_in_while_many_wait(void **state)
{
    struct crowd c;

    (void)state;
    crowd_gather(&c);
    world_turn(&c.w);
    const struct inbound *oldest = TAILQ_FIRST(&c.net->strangers);
    crowd_grow(&c, CROWD / 2);
    while (c.net->conns.waiting_count >= NET_WAITING_MAX) {
        assert_ptr_equal(TAILQ_FIRST(&c.net->strangers), oldest);
        world_turn(&c.w);
    }
    until(&c.w, TAILQ_FIRST(&c.net->strangers) != oldest);
    crowd_done(&c);
}

/* Our own handshakes do not stand behind those of strangers. */
static void who_is_dialled_goes_first(void **state)
{
    struct crowd c;
    uint16_t port;

    (void)state;
    crowd_gather(&c);
    int listener = raw_listen(&port);
    world_target_port(&c.w, 1, 2, port);
    const struct link *l = net_link(c.net, 2);
    while (l->state != LINK_CONNECTING || l->conn->state == CONN_CONNECTING) {
        assert_true(event_base_loop(c.w.base, EVLOOP_ONCE) >= 0);
    }
    assert_int_equal(c.net->conns.waiting_count, CROWD + 1);
    net_turn(c.net);
    assert_false(l->conn->is_waiting);
    int fd = raw_accept(&c.w, listener);
    char hello[6];
    assert_true(recv(fd, hello, sizeof hello, 0) == sizeof hello && hello[0] == 22);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(listener), 0);
    crowd_done(&c);
}

/* In each of the ways in which a connection ends, one ends while it waits for its turn. */
static void who_waits_may_end(void **state)
{
    struct crowd c;

    (void)state;
    crowd_gather(&c);
    conn_set_deadline(TAILQ_FIRST(&c.net->strangers)->conn, 1, "too slow");
    while (c.net->conns.waiting_count == CROWD) {
        assert_true(event_base_loop(c.w.base, EVLOOP_ONCE) >= 0);
    }
    inbound_close(TAILQ_FIRST(&c.net->strangers));
    assert_int_equal(c.net->conns.waiting_count, CROWD - 2);
    const struct linger reset = {.l_onoff = 1};
    assert_int_equal(setsockopt(c.fds[3], SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    assert_int_equal(close(c.fds[3]), 0); /* the second of those that are left */
    net_turn(c.net);
    assert_int_equal(c.net->conns.waiting_count, CROWD - 2 - CONN_SHAKES_MAX);
    assert_int_equal(c.net->strangers_count, CROWD - 3);
    world_close(&c.w, 1);
    c.fds[3] = dup(STDERR_FILENO);
    crowd_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_byte_by_byte),
        cmocka_unit_test(dials_byte_by_byte),
        cmocka_unit_test(a_slow_handshake_goes_on),
        cmocka_unit_test(key_updates),
        cmocka_unit_test(large_frames_both_ways_at_once),
        cmocka_unit_test(urgent_frames_pass_and_nothing_is_torn),
        cmocka_unit_test(other_certificates_replace_all_connections),
        cmocka_unit_test(dials_the_wrong_one),
        cmocka_unit_test(dials_who_does_not_know_our_authority),
        cmocka_unit_test(dials_who_speaks_no_tls),
        cmocka_unit_test(another_id_than_the_certificate),
        cmocka_unit_test(plain_frames_are_answered_in_plain),
        cmocka_unit_test(tls_where_there_is_none),
        cmocka_unit_test(handshakes_that_stop_are_ended),
        cmocka_unit_test(a_turn_has_its_share_of_handshakes),
        cmocka_unit_test(each_has_its_turn_in_a_crowd),
        cmocka_unit_test(nobody_is_let_in_while_many_wait),
        cmocka_unit_test(who_is_dialled_goes_first),
        cmocka_unit_test(who_waits_may_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
