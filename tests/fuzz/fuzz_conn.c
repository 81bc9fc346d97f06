/* A peer's bytes off a real socket, through net/conn, and messages on their way out through net/queue. The
 * first byte of the input says in which pieces the rest arrives and whether the connection is trusted.
 * Asserted:
 *   - the messages are those that frame_parse() and peer_decode() find in the same bytes at once;
 *   - the connection fails once, for the reason found there, or for the end of the bytes, or because too
 *     long a frame begins as TLS does;
 *   - it takes no more memory than one frame and its buffer need;
 *   - what goes into the queue comes out of it whole, whatever pieces the socket takes, each lane in its
 *     order, and its sums are right. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "net/conn.h"
#include "target.h"
#include "wire/peer.h"

enum { TRUSTED = 1, BY_BYTES = 2, PIECE_MAX = 16384, QUEUE_MAX = 65536 };

struct heard {           /* what comes of the bytes */
    struct buf messages; /* encoded again */
    uint32_t count;
    int code; /* 0: not failed */
};

static struct event_base *base;

static void take(struct heard *h, struct peer_msg *msg)
{
    peer_encode(msg, &h->messages);
    peer_msg_done(msg);
    h->count++;
}

static void on_connected(void *arg)
{
    (void)arg;
    check_fail("it was accepted, not dialled", __FILE__, __LINE__, __func__);
}

static void on_message(void *arg, struct peer_msg *msg)
{
    take(arg, msg);
}

static void on_failed(void *arg, int code, const char *why)
{
    struct heard *h = arg;

    rd_assert(h->code == 0 && code < 0 && why && *why);
    h->code = code;
}

/* peer_decode(), and who says that it puts sums has to. */
static int decode(const struct frame *f, bool *wants_sums, struct peer_msg *out)
{
    int code = peer_decode(f, out);

    if (code) {
        return code;
    }
    *wants_sums =
        *wants_sums || (out->type == PEER_HELLO && out->hello->protocol_max >= PEER_PROTOCOL_SUMS);
    if (*wants_sums && !out->is_summed) {
        peer_msg_done(out);
        return -RD_ECORRUPT;
    }
    return 0;
}

static void hear_at_once(const uint8_t *data, size_t size, size_t max, struct heard *h)
{
    struct peer_msg msg;
    struct frame f;
    bool wants_sums = false;
    int code;

    while ((code = frame_parse(data, size, max, &f, NULL)) == 1) {
        code = decode(&f, &wants_sums, &msg);
        if (code) {
            break;
        }
        take(h, &msg);
        data += f.total;
        size -= f.total;
    }
    bool is_tls = code == -RD_ETOO_LARGE && data[0] == 0x16 && data[1] == 0x03;
    code = code == -RD_ECORRUPT ? -RD_EPROTOCOL : code;
    h->code = code ? (is_tls ? -RD_ETLS : code) : -ECONNRESET;
}

static void hear_from_socket(const uint8_t *data, size_t size, uint8_t mode, struct heard *h)
{
    static const struct conn_ops ops = {on_connected, on_message, on_failed};
    const struct sockaddr_in from = {.sin_family = AF_INET};
    struct net_stats stats = {0};
    struct conn_env env;
    int fds[2];

    conn_env_init(&env, base, &stats);
    rd_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    struct conn *c =
        conn_accepted(&env, fds[0], (const struct sockaddr *)(const void *)&from, &ops, h);
    if (mode & TRUSTED) {
        conn_trust(c);
    }
    for (size_t at = 0; at < size && h->code == 0;) {
        size_t piece = mode & BY_BYTES ? 1 + (size_t)(data[at] & 15) : PIECE_MAX;
        piece = piece < size - at ? piece : size - at;
        rd_assert(send(fds[1], data + at, piece, MSG_NOSIGNAL) == (ssize_t)piece);
        at += piece;
        rd_assert(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
        rd_assert(c->in.capacity <= 2 * CONN_BUFFER_SIZE + size);
        rd_assert((mode & TRUSTED) || c->in.capacity <= FRAME_HELLO_MAX);
    }
    (void)close(fds[1]);
    rd_assert(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
    rd_assert(h->code != 0 && stats.frames_in == h->count);
    rd_assert(c->state == CONN_CLOSED || h->code == -RD_ETLS); /* that is told, too */
    rd_assert(stats.bad_frames == (h->code != -ECONNRESET));
    conn_env_done(&env);
}

/* ---- On the way out ---- */

struct lanes { /* what went in, or came out, each lane for itself */
    struct buf bytes[QUEUE_LANES];
};

static size_t put_all(struct queue *q, const struct buf *messages, struct lanes *in)
{
    struct peer_msg msg;
    struct frame f;
    size_t frames = 0;

    for (size_t at = 0; at < messages->size; at += f.total) {
        rd_assert(frame_parse(messages->data + at, messages->size - at, FRAME_PEER_MAX, &f, NULL) ==
                  1);
        rd_assert(peer_decode(&f, &msg) == 0);
        enum queue_lane lane = queue_lane_of(&msg);
        size_t before = queue_bytes(q);
        bool fits = queue_put(q, &msg, QUEUE_MAX);
        rd_assert(fits || before > 0); /* an empty queue takes any */
        rd_assert(queue_bytes(q) == before + (fits ? f.total : 0));
        if (fits) {
            buf_put(&in->bytes[lane], messages->data + at, f.total);
            frames++;
        }
        peer_msg_done(&msg);
    }
    return frames;
}

/* As much as a socket takes that takes `piece` bytes at a time. */
static size_t write_all(struct queue *q, size_t piece, struct buf *out)
{
    struct iovec iov[QUEUE_IOV_MAX];
    uint64_t frames = 0;

    for (int count = queue_iov(q, iov); count > 0; count = queue_iov(q, iov)) {
        size_t left = piece;
        for (int i = 0; i < count && left > 0; i++) {
            size_t size = iov[i].iov_len < left ? iov[i].iov_len : left;
            rd_assert(iov[i].iov_len > 0);
            buf_put(out, iov[i].iov_base, size);
            left -= size;
        }
        frames += queue_written(q, piece - left);
    }
    rd_assert(queue_bytes(q) == 0);
    return (size_t)frames;
}

static void compare_lane(const struct buf *in, const struct buf *out)
{
    rd_assert(in->size == out->size &&
              (in->size == 0 || memcmp(in->data, out->data, in->size) == 0));
}

static void try_queue(const struct buf *messages, size_t piece)
{
    struct lanes in = {0}, out = {0};
    struct buf stream = BUF_INIT;
    struct peer_msg msg;
    struct frame f;
    struct queue q;

    queue_init(&q);
    size_t frames = put_all(&q, messages, &in);
    rd_assert(write_all(&q, piece, &stream) == frames);
    for (size_t at = 0; at < stream.size; at += f.total) {
        rd_assert(frame_parse(stream.data + at, stream.size - at, FRAME_PEER_MAX, &f, NULL) == 1);
        rd_assert(peer_decode(&f, &msg) == 0);
        buf_put(&out.bytes[queue_lane_of(&msg)], stream.data + at, f.total);
        peer_msg_done(&msg);
    }
    for (int lane = 0; lane < QUEUE_LANES; lane++) {
        compare_lane(&in.bytes[lane], &out.bytes[lane]);
        buf_done(&in.bytes[lane]);
        buf_done(&out.bytes[lane]);
    }
    buf_done(&stream);
    queue_done(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard at_once = {0}, heard = {0};

    if (!base) {
        base = event_base_new();
        rd_assert(base);
    }
    if (size == 0) {
        return 0;
    }
    size_t max = data[0] & TRUSTED ? FRAME_PEER_MAX : FRAME_HELLO_MAX;
    hear_at_once(data + 1, size - 1, max, &at_once);
    hear_from_socket(data + 1, size - 1, data[0], &heard);
    rd_assert(heard.code == at_once.code && heard.count == at_once.count);
    compare_lane(&at_once.messages, &heard.messages);
    try_queue(&heard.messages, 1 + (size_t)(data[0] >> 2) * 16);
    buf_done(&at_once.messages);
    buf_done(&heard.messages);
    return 0;
}
