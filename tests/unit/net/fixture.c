#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "fixture.h"

static int fds_before;

int fds_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir)) {
        count++;
    }
    assert_int_equal(closedir(dir), 0);
    return count;
}

/* ---- World ---- */

static void tick_cb(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

void world_init(struct world *w)
{
    const struct timeval often = {.tv_usec = 5000};
    struct event_config *config = event_config_new();

    fds_before = fds_open();
    memset(w, 0, sizeof *w);
    assert_int_equal(event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK), 0);
    w->base = event_base_new_with_config(config);
    event_config_free(config);
    assert_non_null(w->base);
    assert_int_equal(event_assign(&w->tick, w->base, -1, EV_PERSIST, tick_cb, NULL), 0);
    assert_int_equal(event_add(&w->tick, &often), 0);
    w->with_tls = getenv("RAFTD_TEST_TLS") != NULL;
    w->backoff_max_ms = 400;
    w->queue_bytes_max = 32U * 1024 * 1024;
}

void world_done(struct world *w)
{
    for (raft_id id = 1; id <= FIXTURE_NODES_MAX; id++) {
        if (w->members[id - 1].net) {
            world_close(w, id);
        }
    }
    for (int i = 0; i < 3; i++) {
        world_turn(w); /* what libevent ends later */
    }
    (void)event_del(&w->tick);
    event_base_free(w->base);
    assert_int_equal(fds_open(), fds_before);
}

void world_turn(struct world *w)
{
    bool has_work = false;

    for (int i = 0; i < FIXTURE_NODES_MAX; i++) {
        has_work = has_work || (w->members[i].net && net_has_work(w->members[i].net));
    }
    assert_true(event_base_loop(w->base, EVLOOP_ONCE | (has_work ? EVLOOP_NONBLOCK : 0)) >= 0);
    for (int i = 0; i < FIXTURE_NODES_MAX; i++) {
        if (w->members[i].net) {
            net_flush(w->members[i].net);
            net_turn(w->members[i].net);
        }
    }
}

/* ---- What a node does with what it hears ---- */

static void member_greeting(void *arg, struct peer_hello *out)
{
    const struct member *m = arg;

    *out = m->hello;
}

static int member_check(void *arg, const struct peer_hello *hello, struct peer_refusal *refusal)
{
    const struct member *m = arg;

    assert_int_equal(refusal->code, 0);
    assert_int_equal(refusal->why[0], 0);
    if (m->removed == hello->id) {
        (void)snprintf(refusal->why, sizeof refusal->why, "node %u was removed", hello->id);
        refusal->cluster = m->hello.cluster;
        refusal->index = 7;
        return -RD_EREMOVED;
    }
    if (m->refuses == hello->id || m->refuses == UINT32_MAX) {
        (void)snprintf(refusal->why, sizeof refusal->why, "node %u is not liked by node %u",
                       hello->id, m->id);
        return -RD_EWRONG_CLUSTER;
    }
    return 0;
}

static enum node_standing member_standing(void *arg, const struct peer_hello *hello)
{
    const struct member *m = arg;

    if (m->familiar && hello->id == m->familiar) {
        return NODE_FAMILIAR;
    }
    return m->strange && hello->id >= m->strange ? NODE_STRANGER : NODE_MEMBER;
}

static void member_hello(void *arg, const struct peer_hello *hello)
{
    struct member *m = arg;

    m->hellos_count++;
    m->last_hello = *hello;
}

static void member_message(void *arg, raft_id from, struct peer_msg *msg)
{
    struct member *m = arg;
    struct seen *s = &m->seen[m->seen_count % FIXTURE_MESSAGES_MAX];

    *s = (struct seen){.from = from, .type = msg->type, .process = msg->process};
    if (msg->type == PEER_RAFT) {
        s->seq = msg->raft.seq;
        s->entries_count = msg->raft.entries_count;
        for (uint32_t i = 0; i < msg->raft.entries_count; i++) {
            const struct blob *data = msg->raft.entries[i].data;
            s->hash = hash64(s->hash, data->data, data->size);
        }
    }
    m->seen_count++;
    peer_msg_done(msg);
}

static void member_refused(void *arg, raft_id peer, const struct peer_refusal *refusal)
{
    struct member *m = arg;

    m->refusals[peer < 8 ? peer : 0]++;
    m->last_refusal = *refusal;
}

static void member_link_down(void *arg, raft_id peer)
{
    struct member *m = arg;

    assert_true(peer < sizeof m->downs / sizeof m->downs[0]);
    m->downs[peer]++;
}

static void member_failed(void *arg, raft_id peer, int code, const char *why)
{
    struct member *m = arg;

    m->fails[peer < 8 ? peer : 0]++;
    m->fail_code = code;
    (void)snprintf(m->fail_why, sizeof m->fail_why, "%s", why);
}

void hello_make(raft_id id, uint64_t incarnation, struct peer_hello *out)
{
    memset(out, 0, sizeof *out);
    memset(out->cluster.bytes, 7, sizeof out->cluster.bytes);
    memset(out->store.bytes, (int)id, sizeof out->store.bytes);
    out->id = id;
    out->incarnation = incarnation;
    out->process = ((uint64_t)id << 32) + incarnation;
    out->protocol_min = PEER_PROTOCOL_MIN;
    out->protocol_max = PEER_PROTOCOL_MAX;
    (void)snprintf(out->name, sizeof out->name, "n%u", id);
    (void)snprintf(out->version, sizeof out->version, "0.1.0");
}

struct member *world_open_silent(struct world *w, raft_id id)
{
    struct member *m = &w->members[id - 1];
    const struct net_ops ops = {.arg = m,
                                .greeting = member_greeting,
                                .check = member_check,
                                .standing = member_standing,
                                .hello = member_hello,
                                .message = member_message,
                                .link_down = member_link_down,
                                .failed = member_failed,
                                .refused = member_refused};
    struct tls_context *tls = w->with_tls ? certs_context(id) : NULL;
    struct net_config config = {
        .tls = tls,
        .listen = {.host = "127.0.0.1", .port = m->port},
        .backoff_max_ms = w->backoff_max_ms,
        .user_timeout_ms = 5000,
        .queue_bytes_max = w->queue_bytes_max,
    };

    assert_null(m->net);
    m->id = id;
    hello_make(id, m->hello.incarnation + 1, &m->hello);
    assert_int_equal(net_open(w->base, &config, &ops, &m->net), 0);
    tls_context_unref(tls);
    m->port = net_port(m->net);
    return m;
}

struct member *world_open(struct world *w, raft_id id)
{
    struct member *m = world_open_silent(w, id);

    net_set_hello(m->net, &m->hello);
    return m;
}

void world_close(struct world *w, raft_id id)
{
    net_close(w->members[id - 1].net);
    w->members[id - 1].net = NULL;
}

static void target_make(raft_id id, uint16_t port, struct node_target *out)
{
    out->id = id;
    (void)snprintf(out->address, sizeof out->address, "127.0.0.1:%u", port);
}

void world_target(struct world *w, raft_id from, raft_id a, raft_id b)
{
    struct node_target targets[2];
    uint32_t count = 0;

    if (a) {
        target_make(a, w->members[a - 1].port, &targets[count++]);
    }
    if (b) {
        target_make(b, w->members[b - 1].port, &targets[count++]);
    }
    net_set_targets(w->members[from - 1].net, targets, count);
}

void world_target_port(struct world *w, raft_id from, raft_id to, uint16_t port)
{
    struct node_target target;

    target_make(to, port, &target);
    net_set_targets(w->members[from - 1].net, &target, 1);
}

void world_link(struct world *w, raft_id a, raft_id b)
{
    world_target(w, a, b, 0);
    world_target(w, b, a, 0);
    until(w, world_is_up(w, a, b) && world_is_up(w, b, a));
}

bool world_is_up(const struct world *w, raft_id from, raft_id to)
{
    return net_is_connected(w->members[from - 1].net, to);
}

struct net_stats world_stats(const struct world *w, raft_id id)
{
    struct net_stats stats;

    net_stats_get(w->members[id - 1].net, &stats);
    return stats;
}

/* ---- Messages ---- */

struct peer_msg heartbeat(raft_id from, raft_id to, uint64_t seq)
{
    struct peer_msg msg = {
        .type = PEER_RAFT,
        .raft = {.type = RAFT_MSG_APPEND, .from = from, .to = to, .term = 3, .seq = seq}};

    return msg;
}

static struct blob *payload(uint64_t seq, uint32_t at, uint32_t size)
{
    struct blob *b = blob_new(size);

    for (uint32_t i = 0; i < size; i++) {
        b->data[i] = (uint8_t)(seq * 131 + at * 31 + i);
    }
    return b;
}

struct peer_msg append(raft_id from, raft_id to, uint64_t seq, uint32_t count, uint32_t size)
{
    struct peer_msg msg = heartbeat(from, to, seq);

    msg.raft.entries_count = count;
    msg.raft.entries = mem_zalloc(count * sizeof *msg.raft.entries);
    for (uint32_t i = 0; i < count; i++) {
        msg.raft.entries[i] = (struct raft_entry){
            .index = 1 + i, .term = 3, .type = RAFT_ENTRY_COMMAND, .data = payload(seq, i, size)};
    }
    return msg;
}

uint64_t append_hash(uint64_t seq, uint32_t count, uint32_t size)
{
    uint64_t hash = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct blob *b = payload(seq, i, size);
        hash = hash64(hash, b->data, b->size);
        blob_unref(b);
    }
    return hash;
}

void send_heartbeat(struct world *w, raft_id from, raft_id to, uint64_t seq)
{
    struct peer_msg msg = heartbeat(from, to, seq);

    net_send(w->members[from - 1].net, to, &msg);
}

void send_append(struct world *w, raft_id from, raft_id to, uint64_t seq, uint32_t count,
                 uint32_t size)
{
    struct peer_msg msg = append(from, to, seq, count, size);

    net_send(w->members[from - 1].net, to, &msg);
    peer_msg_done(&msg);
}

/* ---- Raw sockets ---- */

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
}

int raw_connect(uint16_t port)
{
    struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(evutil_make_socket_nonblocking(fd), 0);
    return fd;
}

int raw_listen(uint16_t *port)
{
    struct sockaddr_in at = loopback(0);
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

int raw_accept(struct world *w, int listener)
{
    int fd = -1;

    until(w, fd >= 0 || (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
    return fd;
}

void raw_send(int fd, const void *data, size_t size)
{
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

void raw_send_msg(int fd, const struct peer_msg *msg)
{
    struct buf out = BUF_INIT;

    peer_encode(msg, &out);
    raw_send(fd, out.data, out.size);
    buf_done(&out);
}

void raw_send_hello(int fd, raft_id id, uint64_t incarnation)
{
    struct peer_hello hello;

    hello_make(id, incarnation, &hello);
    raw_send_this_hello(fd, &hello);
}

void raw_send_this_hello(int fd, struct peer_hello *hello)
{
    struct peer_msg msg = {.type = PEER_HELLO, .hello = hello};

    raw_send_msg(fd, &msg);
}

/* Bytes of exactly one frame, so that nothing of the next is lost. */
static void raw_read_exactly(struct world *w, int fd, uint8_t *data, size_t size)
{
    mono_ms deadline = mono_now_ms() + 5000;

    for (size_t at = 0; at < size;) {
        ssize_t n = recv(fd, data + at, size - at, 0);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        at += n > 0 ? (size_t)n : 0;
        assert_true(mono_now_ms() < deadline);
        world_turn(w);
    }
}

struct peer_msg raw_receive(struct world *w, int fd)
{
    uint8_t *data = mem_alloc(FRAME_PEER_MAX);
    struct frame frame;
    struct peer_msg msg;
    size_t need = 0;

    raw_read_exactly(w, fd, data, 4);
    assert_int_equal(frame_parse(data, 4, FRAME_PEER_MAX, &frame, &need), 0);
    raw_read_exactly(w, fd, data + 4, need - 4);
    assert_int_equal(frame_parse(data, need, FRAME_PEER_MAX, &frame, NULL), 1);
    assert_int_equal(peer_decode(&frame, &msg), 0);
    mem_free(data);
    return msg;
}

void raw_until_closed(struct world *w, int fd, uint32_t ms)
{
    char waste[4096];
    ssize_t n;

    until_ms(w, ms, (n = recv(fd, waste, sizeof waste, 0)) == 0 || (n < 0 && errno == ECONNRESET));
}

/* ---- A stage ---- */

void stage_open(struct stage *s)
{
    world_init(&s->w);
    s->m = world_open(&s->w, 1);
    s->listener = raw_listen(&s->port);
    world_target_port(&s->w, 1, 2, s->port);
}

void stage_done(struct stage *s)
{
    if (s->listener >= 0) {
        assert_int_equal(close(s->listener), 0);
    }
    world_done(&s->w);
}

struct link *stage_link(struct stage *s)
{
    return net_link(s->m->net, 2);
}

bool trouble_has(struct stage *s, const char *text)
{
    return strstr(net_trouble(s->m->net, 2), text) != NULL;
}

int stage_accept(struct stage *s)
{
    int fd = raw_accept(&s->w, s->listener);
    struct peer_msg msg = raw_receive(&s->w, fd);

    assert_int_equal(msg.type, PEER_HELLO);
    assert_int_equal(msg.hello->id, 1);
    peer_msg_done(&msg);
    return fd;
}

int stage_up(struct stage *s, uint64_t incarnation)
{
    int fd = stage_accept(s);

    raw_send_hello(fd, 2, incarnation);
    until(&s->w, world_is_up(&s->w, 1, 2));
    return fd;
}

/* ---- Certificates ---- */

static char certs_dir[] = "/tmp/raftd-test-certs-XXXXXX";
static bool certs_made;

static void certs_remove(void)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf %s", certs_dir);
    (void)!system(command); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

void certs_make(const char *arguments)
{
    char command[1024];
    const char *script = getenv("RAFTD_DEV_CERTS");

    if (!certs_made) {
        assert_non_null(mkdtemp(certs_dir));
        assert_int_equal(atexit(certs_remove), 0);
        assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* as the daemon does */
        certs_made = true;
        certs_make("--ids 1,2,3,4");
    }
    assert_non_null(script);
    (void)snprintf(command, sizeof command, "%s %s --cluster test %s", script, certs_dir,
                   arguments);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

const char *certs_path(const char *name)
{
    static char paths[4][128];
    static unsigned at;

    if (!certs_made) {
        certs_make("--ids 4");
    }
    at = (at + 1) % 4;
    (void)snprintf(paths[at], sizeof paths[at], "%s/%s", certs_dir, name);
    return paths[at];
}

struct tls_context *certs_context(raft_id id)
{
    char cert[32];
    char key[32];
    struct tls_context *x = NULL;
    struct buf why = BUF_INIT;
    enum tls_file which;

    (void)snprintf(cert, sizeof cert, "%u.crt", id);
    (void)snprintf(key, sizeof key, "%u.key", id);
    const struct tls_files files = {.cert = certs_path(cert),
                                    .key = certs_path(key),
                                    .ca = certs_path("ca.crt"),
                                    .cluster = "test",
                                    .id = id};
    if (tls_context_new(&files, &x, &which, &why)) {
        fail_msg("%s", buf_str(&why));
    }
    buf_done(&why);
    return x;
}

/* ---- The log, caught ---- */

static int stderr_kept = -1;
static char log_path[] = "/tmp/raftd-test-net-XXXXXX";

void log_catch(void)
{
    memcpy(log_path + sizeof log_path - 7, "XXXXXX", 6);
    int fd = mkstemp(log_path);

    assert_true(fd >= 0);
    stderr_kept = dup(STDERR_FILENO);
    assert_true(stderr_kept >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    assert_int_equal(close(fd), 0);
}

uint32_t log_release(const char *text)
{
    char line[2048];
    uint32_t count = 0;

    assert_true(dup2(stderr_kept, STDERR_FILENO) >= 0);
    assert_int_equal(close(stderr_kept), 0);
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        count += strstr(line, text) != NULL;
        (void)fputs(line, stderr);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(unlink(log_path), 0);
    return count;
}
