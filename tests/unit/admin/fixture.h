/* fixture.h - an admin socket in a scratch directory, a server that notes what it is asked, and
 * clients on real sockets. */
#ifndef TESTS_ADMIN_FIXTURE_H
#define TESTS_ADMIN_FIXTURE_H

#include "admin/internal.h"
#include "base/mem.h"

enum { ASKED_MAX = 8192 };

struct asked { /* what the server was asked, in order */
    const char *what;
    struct admin_call *call; /* NULL once answered or cancelled */
    struct blob *bytes;      /* txn, key, prefix; owned */
    bool flag;               /* deletes, stale */
    uint64_t limit;
    uint32_t timeout_ms;
    char text[64];
    struct peer_change change;
};

struct fixture {
    struct event_base *base;
    struct admin *admin;
    char directory[64];
    char path[96];
    struct server_ops ops;
    struct asked asked[ASKED_MAX];
    uint32_t asked_count;
    uint32_t cancelled;
    bool answer_at_once; /* "{}" from inside the handler */
    uint64_t holder;     /* the client that holds a claim; 0: none */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* One turn of the loop without waiting. */
void fixture_turn(struct fixture *f);
/* Turns until the server was asked `count` times in all; fails after five seconds. */
void fixture_wait_asked(struct fixture *f, uint32_t count);
/* Turns until `*number` is `wanted`; fails after five seconds. */
void fixture_wait_number(struct fixture *f, const uint32_t *number, uint32_t wanted);
/* Finish the request that was asked `position`-th. */
void fixture_answer(struct fixture *f, uint32_t position, int code, const char *message,
                    const void *json, size_t json_size);

struct client {
    int fd;
    struct buf in;
    struct buf out; /* requests not sent yet */
};
struct client client_open(struct fixture *f);
/* The same from a user who has no rights (`uid`, when the test runs as root: its own, distrusted).
 */
struct client client_open_stranger(struct fixture *f, uid_t uid);
void client_close(struct client *c);
void client_put(struct client *c, const struct admin_request *request); /* gathers */
void client_send(struct fixture *f, struct client *c);                  /* all that gathered */
void client_ask(struct fixture *f, struct client *c, uint64_t id, const char *command);
void client_send_bytes(struct fixture *f, struct client *c, const void *data, size_t size);
/* The next reply; the caller frees it. Fails after five seconds or when the connection ends. */
struct admin_reply client_reply(struct fixture *f, struct client *c);
/* The next reply has this id and code; its message (or "") goes to `message` unless NULL. */
void client_expect(struct fixture *f, struct client *c, uint64_t id, int code, char *message,
                   size_t message_size);
/* The daemon ends the connection; replies before that are skipped. */
void client_expect_end(struct fixture *f, struct client *c);

struct blob *blob_of(const char *text);

#endif
