/* A client's bytes, off a real socket through evhttp and the http room: the first byte says how many
 * turns come between the pieces, the rest is sent in pieces of sizes that come from it, too. Whatever it
 * is: the room lets go of everything, and no turn is due for nothing. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "http/internal.h"
#include "target.h"

enum { PIECE_MAX = 4096, TURNS_LAST = 20, ASKED_MAX = 64 };

static struct {
    struct event_base *base;
    struct http *http;
    mono_ms now;
    uint64_t etag;
    struct http_call *asked[ASKED_MAX];
    size_t asked_count;
    char path[64];
} room;

static void op_state(void *server, struct http_state *out)
{
    (void)server;
    *out = (struct http_state){.etag = room.etag, .is_known = true, .is_leader = true};
}

static void op_put(void *server, struct buf *out)
{
    (void)server;
    buf_put_str(out, "{}");
}

static void op_put_ready(void *server, bool verbose, struct buf *out)
{
    (void)verbose;
    op_put(server, out);
}

static void op_ask(void *server, struct http_call *call)
{
    (void)server;
    rd_assert(room.asked_count < ASKED_MAX);
    room.asked[room.asked_count++] = call;
}

static void open_room(void)
{
    static char directory[] = "/tmp/raftd-fuzz-XXXXXX";
    static char address[80];
    const struct http_ops ops = {.state = op_state,
                                 .put_leader = op_put,
                                 .put_ready = op_put_ready,
                                 .put_health = op_put_ready,
                                 .put_metrics = op_put,
                                 .status = op_ask,
                                 .members = op_ask};

    (void)signal(SIGPIPE, SIG_IGN);
    rd_assert(mkdtemp(directory));
    (void)snprintf(room.path, sizeof room.path, "%s/s", directory);
    (void)snprintf(address, sizeof address, "unix:%s", room.path);
    const struct http_config config = {
        .listen_count = 1, .listen = {address}, .watchers_max = 4, .beat_ms = 100};
    room.base = event_base_new();
    room.now = 1;
    room.etag = 1;
    rd_assert(room.base && http_open(room.base, &config, &ops, &room.http) == 0);
}

static void close_room(void)
{
    http_close(room.http);
    event_base_free(room.base);
    *strrchr(room.path, '/') = 0;
    (void)rmdir(room.path);
}

static void turn(mono_ms passed)
{
    room.now += passed;
    rd_assert(event_base_loop(room.base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    for (size_t i = 0; i < room.asked_count; i++) {
        http_answer(room.asked[i], "{}", 2);
    }
    room.asked_count = 0;
    http_turn(room.http, room.now);
    rd_assert(http_due(room.http) > room.now || !TAILQ_EMPTY(&room.http->fresh));
}

static int connect_to_it(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", room.path);
    rd_assert(fd >= 0 &&
              connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address) == 0);
    return fd;
}

static void receive(int fd)
{
    char text[4096];

    while (recv(fd, text, sizeof text, 0) > 0) {
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_stats stats;

    if (!room.http) {
        open_room();
        (void)atexit(close_room);
    }
    if (size == 0) {
        return 0;
    }
    int fd = connect_to_it();
    uint32_t turns = data[0] % 4;
    for (size_t at = 1; at < size;) {
        size_t piece = data[0] & 128 ? 1 + data[at] : PIECE_MAX;
        piece = piece < size - at ? piece : size - at;
        (void)send(fd, data + at, piece, MSG_NOSIGNAL);
        at += piece;
        for (uint32_t i = 0; i < turns; i++) {
            turn(1);
        }
        receive(fd);
    }
    if (data[0] & 64) { /* it has more patience than that */
        for (int i = 0; i < TURNS_LAST; i++) {
            turn(10);
            receive(fd);
        }
    }
    room.etag += data[0] & 32;
    (void)close(fd);
    for (int i = 0; i < TURNS_LAST; i++) {
        turn(HTTP_SWEEP_MS);
    }
    http_stats_get(room.http, &stats);
    rd_assert(stats.connections == 0 && stats.watchers == 0);
    return 0;
}
