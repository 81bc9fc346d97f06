/* fixture.h - nodes that share one loop, and strangers who speak raw bytes.
 *
 * Nobody sleeps: a test says what has to become true and by when, the loop turns until then. */
#ifndef RAFTD_TESTS_NET_FIXTURE_H
#define RAFTD_TESTS_NET_FIXTURE_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/mono.h"
#include "net/internal.h"
#include "wire/peer.h"

enum { FIXTURE_NODES_MAX = 4, FIXTURE_MESSAGES_MAX = 512 };

struct seen { /* a message that arrived */
    raft_id from;
    enum peer_msg_type type;
    uint64_t process;
    uint64_t seq;
    uint32_t entries_count;
    uint64_t hash; /* of the payloads */
};

struct member {
    struct net *net; /* NULL: not open */
    raft_id id;
    uint16_t port;
    struct peer_hello hello;
    raft_id refuses;           /* whose hello does not pass; UINT32_MAX: anybody's */
    raft_id removed;           /* whose hello does not pass, since it was removed at index 7 */
    raft_id familiar, strange; /* what this id is to it: else a member; strange: from this id on */
    uint32_t hellos_count;
    struct peer_hello last_hello;
    uint32_t downs[8];    /* link_down() per peer id */
    uint32_t refusals[8]; /* refused() per peer id */
    struct peer_refusal last_refusal;
    uint32_t fails[8]; /* failed() per peer id */
    int fail_code;     /* of the last one */
    char fail_why[NET_WHY_SIZE];
    uint32_t seen_count;
    struct seen seen[FIXTURE_MESSAGES_MAX];
};

struct world {
    struct event_base *base;
    struct event tick; /* so that no turn waits long */
    uint32_t backoff_max_ms;
    uint64_t queue_bytes_max;
    bool with_tls; /* nodes opened from now on; from the start when RAFTD_TEST_TLS is set */
    struct member members[FIXTURE_NODES_MAX]; /* [id - 1] */
};

void world_init(struct world *w);
/* Closes everything and fails when a descriptor is left over. */
void world_done(struct world *w);
void world_turn(struct world *w);

/* Turn the loop until it is true. It is evaluated once more at the end. */
#define until_ms(w, ms, expr)                                                                      \
    do {                                                                                           \
        mono_ms deadline_ = mono_now_ms() + (ms);                                                  \
        while (!(expr) && mono_now_ms() < deadline_) {                                             \
            world_turn(w);                                                                         \
        }                                                                                          \
        assert_true(expr);                                                                         \
    } while (0)
#define until(w, expr) until_ms(w, 5000, expr)
/* Turn the loop for a while in which it must stay true. */
#define still_ms(w, ms, expr)                                                                      \
    do {                                                                                           \
        mono_ms deadline_ = mono_now_ms() + (ms);                                                  \
        while (mono_now_ms() < deadline_) {                                                        \
            world_turn(w);                                                                         \
            assert_true(expr);                                                                     \
        }                                                                                          \
    } while (0)

/* Open node `id` on its port of last time, or on any; its hello is set. */
struct member *world_open(struct world *w, raft_id id);
/* As world_open(), without a hello. */
struct member *world_open_silent(struct world *w, raft_id id);
void world_close(struct world *w, raft_id id);
/* Node `from` keeps links to exactly these (0 ends the list). */
void world_target(struct world *w, raft_id from, raft_id a, raft_id b);
/* Node `from` shall dial a port under the name of node `to`. */
void world_target_port(struct world *w, raft_id from, raft_id to, uint16_t port);
/* Both ways up. */
void world_link(struct world *w, raft_id a, raft_id b);
bool world_is_up(const struct world *w, raft_id from, raft_id to);
struct net_stats world_stats(const struct world *w, raft_id id);

/* A hello that decodes. Another incarnation is another process. */
void hello_make(raft_id id, uint64_t incarnation, struct peer_hello *out);

/* Send a heartbeat; an append with entries of `size` bytes each (filled from seq). */
void send_heartbeat(struct world *w, raft_id from, raft_id to, uint64_t seq);
void send_append(struct world *w, raft_id from, raft_id to, uint64_t seq, uint32_t count,
                 uint32_t size);
uint64_t append_hash(uint64_t seq, uint32_t count, uint32_t size);
/* A heartbeat message on its own. */
struct peer_msg heartbeat(raft_id from, raft_id to, uint64_t seq);
/* An append; peer_msg_done() it. */
struct peer_msg append(raft_id from, raft_id to, uint64_t seq, uint32_t count, uint32_t size);

/* ---- Raw sockets ---- */

/* Connected to a port of ours (loopback), non-blocking. */
int raw_connect(uint16_t port);
/* Listening on loopback. */
int raw_listen(uint16_t *port);
/* Turns the loop until somebody connects. */
int raw_accept(struct world *w, int listener);
void raw_send(int fd, const void *data, size_t size);
void raw_send_msg(int fd, const struct peer_msg *msg);
void raw_send_hello(int fd, raft_id id, uint64_t incarnation);
void raw_send_this_hello(int fd, struct peer_hello *hello);
/* Turns the loop until a frame is here; peer_msg_done() it. Fails at the end of the stream. */
struct peer_msg raw_receive(struct world *w, int fd);
/* Turns the loop until the other side has closed or reset. What comes before is thrown away. */
void raw_until_closed(struct world *w, int fd, uint32_t ms);

/* ---- A stage: node 1 dials a raw listener in place of node 2 ---- */

struct stage {
    struct world w;
    struct member *m;
    int listener;
    uint16_t port;
};

void stage_open(struct stage *s);
void stage_done(struct stage *s);
struct link *stage_link(struct stage *s);
/* Accept, hear its hello. */
int stage_accept(struct stage *s);
/* Accept, hear its hello, answer as node 2. */
int stage_up(struct stage *s, uint64_t incarnation);
bool trouble_has(struct stage *s, const char *text);

/* ---- Certificates ---- */

/* A file of a directory that scripts/dev-certs has made: an authority, nodes 1 to 4 of the cluster
 * "test". It goes with the process. Borrowed until the fourth call after this. */
const char *certs_path(const char *name);
/* Runs scripts/dev-certs there with these arguments. */
void certs_make(const char *arguments);
/* The context of node `id`, with its files. Unref it. */
struct tls_context *certs_context(raft_id id);

/* ---- The log, caught ---- */

void log_catch(void);
/* Lines with this text since log_catch(); gives stderr back. */
uint32_t log_release(const char *text);

int fds_open(void); /* descriptors of this process */

#endif
