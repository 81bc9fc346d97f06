/* conn.h - one TCP connection that carries frames, dialled or accepted, plain or within TLS.
 *
 * A raw event and an own buffer: libevent's evbuffer_read moves 4 KiB per event at most. TLS changes
 * how bytes come and go, nothing else: it is open to its owner once the handshake is done.
 *
 * Threads:   loop thread only.
 * Life:      a connection ends by failing (the owner is told, once), by conn_close(), or by
 *            conn_drain() (the owner lets go, the last words are still delivered). In each case the
 *            struct stays until conn_env_reap(), outside all callbacks, and the owner forgets it.
 *            A handshake goes on in conn_env_shake() only, outside callbacks too: there is a
 *            signature in it, which any stranger can ask for, and those of one pass of the loop would
 *            add up before the turn. Who waits for a step is neither read nor polled.
 * Limits:    frames above frame_max end the connection before memory is taken for them; the buffer
 *            grows with the bytes that arrived, to one frame at most; a turn reads at most
 *            CONN_READ_BUDGET bytes from one connection, and takes CONN_SHAKES_MAX steps of
 *            handshakes, in the order in which they came, those we dialled first; a frame has to be
 *            whole within CONN_FRAME_MS, so that a length that was changed on its way is not waited
 *            for. */
#ifndef RAFTD_NET_CONN_H
#define RAFTD_NET_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "net/net.h"
#include "net/queue.h"
#include "net/socket.h"
#include "net/tls.h"

enum {
    CONN_BUFFER_SIZE = 64 * 1024,
    CONN_READ_BUDGET = 1024 * 1024,
    CONN_WRITE_BUDGET = 1024 * 1024, /* within TLS: encrypting takes the loop's time */
    CONN_DRAIN_MS = 1000,            /* how long last words may take */
    CONN_DRAINING_MAX = 64,
    CONN_FRAME_MS = 30000, /* a frame that was begun has to be whole within, 8 MiB, too */
    CONN_SHAKES_MAX = 4,   /* of the loop's time: 4 x 6 ms with an RSA key of 4096 bits */
    CONN_WHY_SIZE = TLS_WHY_SIZE,
};

struct conn_ops {
    void (*connected)(void *arg); /* dialled connections; after the TLS handshake */
    /* One decoded message; the callee takes what it owns. It may close or drain the connection. */
    void (*message)(void *arg, struct peer_msg *msg);
    /* It is closed. code: -RD_EPROTOCOL or -RD_ETOO_LARGE for bad bytes, -ETIMEDOUT for a deadline
     * passed, -ECONNRESET when the peer closed, other -errno; -RD_ETLS: `why` is what the peer did,
     * to be put after its name. */
    void (*failed)(void *arg, int code, const char *why);
};

enum conn_state { CONN_CONNECTING, CONN_SHAKING, CONN_OPEN, CONN_DRAINING, CONN_CLOSED };

struct conn {
    TAILQ_ENTRY(conn) entry; /* in env->waiting, env->draining or env->dead */
    struct conn_env *env;
    const struct conn_ops *ops;
    void *arg;
    enum conn_state state;
    int fd;
    bool blocked;    /* waits for EV_WRITE */
    bool is_waiting; /* SHAKING: for a step of its handshake */
    struct event readable, writable, deadline;
    const char *deadline_why;
    bool has_deadline; /* of its owner */
    bool is_begun;     /* a frame is: the deadline is for the rest of it */
    bool wants_sums;   /* its peer says that its frames have them */
    struct buf in;
    size_t in_need; /* bytes of the frame begun, 0: not known */
    size_t frame_max;
    struct queue out;
    struct tls *tls;   /* NULL: plain */
    struct buf record; /* within TLS: taken from the queue, to be written before all else */
    size_t record_at;
    bool is_dialled;
    char peer[SOCKET_TEXT_SIZE]; /* ip:port */
    char host[SOCKET_HOST_SIZE]; /* ip */
};

TAILQ_HEAD(conn_list, conn);

/* What all connections of a node share. */
struct conn_env {
    struct event_base *base;
    struct net_stats *stats;
    struct conn_list waiting, draining, dead;
    uint32_t waiting_count, draining_count;
    uint32_t frame_ms;       /* CONN_FRAME_MS; less in tests */
    struct tls_context *tls; /* of new connections; NULL: plain. The owner of the env keeps it */
};

void conn_env_init(struct conn_env *env, struct event_base *base, struct net_stats *stats);
/* Once per turn, outside callbacks: handshakes. While any waits (waiting_count), another turn is due
 * at once. */
void conn_env_shake(struct conn_env *env);
void conn_env_reap(struct conn_env *env); /* free what is closed */
void conn_env_done(struct conn_env *env); /* close and free what drains, free what is closed */

/* Take over an accepted, non-blocking descriptor. Frames up to FRAME_HELLO_MAX are read. Within TLS it
 * waits for its first step at once: who accepts sees in waiting_count what it has taken on. */
struct conn *conn_accepted(struct conn_env *env, int fd, const struct sockaddr *from,
                           const struct conn_ops *ops, void *arg);
/* Dial. connected or failed is called later, from the loop. 0, or -errno: nothing was made. */
int conn_dial(struct conn_env *env, const struct sockaddr *to, socklen_t to_size,
              uint32_t user_timeout_ms, const struct conn_ops *ops, void *arg, struct conn **out);

/* The connection fails with -ETIMEDOUT and `why` (static text) after this time; 0: no deadline. */
void conn_set_deadline(struct conn *c, uint32_t ms, const char *why);
/* From now on frames up to FRAME_PEER_MAX, or again up to FRAME_HELLO_MAX. */
void conn_trust(struct conn *c);
void conn_distrust(struct conn *c);

/* Write what waits in c->out, one system call (within TLS one per 16 KiB); the rest when the socket takes it. May fail the
 * connection. */
void conn_flush(struct conn *c);

/* Was it begun with another certificate, or other authorities, than new ones are? */
bool conn_is_outdated(const struct conn *c);

void conn_close(struct conn *c);
/* Write what waits, then close; the owner hears nothing more. A plain close would reset the
 * connection while the peer still sends, and the reset would destroy our last words. */
void conn_drain(struct conn *c);

#endif
