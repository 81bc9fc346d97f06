/* tunnel.h - TLS in front of a server that speaks plain bytes on a descriptor of its own.
 *
 * A connection is taken off its descriptor, and one end of a socket pair put in its place, under the same
 * number. Between the other end and the client the tunnel carries bytes. So the server keeps every rule it
 * has: what it does not read waits with the client, what it closes ends there when the last byte was taken,
 * and the end of the client is an end to the server.
 *
 * Threads:   loop thread only.
 * Ownership: `fd` stays the server's. So does the tunnel, whatever becomes of the client, until
 *            tunnel_let_go(): while the client takes nothing the end of `fd` alone would not be noticed.
 * Limits:    as many tunnels as the server has connections, and TUNNELS_LEAVING_MAX that it has let go; of
 *            these the oldest gives way, first of those who were told all. TUNNEL_SHAKES_MAX steps of
 *            handshakes a turn, in the order in which they came; TUNNEL_SHAKE_MS for the whole of one. In
 *            each direction one record, and TUNNEL_BUFFER in each socket. Who is let go has TUNNEL_LEAVE_MS
 *            to take the rest.
 * Errors:    0 or -errno. Who is refused is told by an alert, and one log line a minute for each host and
 *            reason says so. */
#ifndef RAFTD_NET_TUNNEL_H
#define RAFTD_NET_TUNNEL_H

#include <event2/event.h>

#include "net/tls.h"

enum {
    TUNNEL_SHAKES_MAX = 4, /* of the loop's time: 4 x 6 ms with an RSA key of 4096 bits */
    TUNNEL_SHAKE_MS = 5000,
    TUNNEL_LEAVE_MS = 10000,
    TUNNEL_LINGER_MS = 1000, /* after the last byte, until the client has closed */
    TUNNELS_LEAVING_MAX = 64,
    TUNNEL_BUFFER = 16 << 10,
};

struct tunnels; /* those of one server */
struct tunnel;

/* `plain_answer` is said to who speaks no TLS; static text. The context is counted. */
struct tunnels *tunnels_new(struct event_base *base, struct tls_context *tls,
                            const char *plain_answer);
/* NULL is fine. All were let go; those that leave are cut off. */
void tunnels_free(struct tunnels *ts);
void tunnels_set_tls(struct tunnels *ts, struct tls_context *tls); /* for those that begin later */

/* The connection on `fd` (non-blocking) begins with a handshake from now on, and `fd` is the server's end.
 * No event of libevent may be pending on it. 0; or -errno after one log line, and `fd` is as before. */
int tunnels_enter(struct tunnels *ts, int fd, struct tunnel **out);
/* The server has closed `fd`, or does it now. What it has written is still delivered. */
void tunnel_let_go(struct tunnel *t);

/* Once per turn, outside callbacks: handshakes, and what was closed is freed. */
void tunnels_turn(struct tunnels *ts);
bool tunnels_has_work(const struct tunnels *ts); /* for the next turn, at once */

struct tunnels_stats {
    uint64_t refused; /* connections */
    uint32_t open, leaving;
};
void tunnels_stats_get(const struct tunnels *ts, struct tunnels_stats *out);

#endif
