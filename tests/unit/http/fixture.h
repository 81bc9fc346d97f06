/* fixture.h - the http room on a Unix socket in a scratch directory, a daemon that says what the test
 * wants, and clients that speak raw bytes. The room's time is the test's: it passes when it is told to.
 * With RAFTD_TEST_TLS set it listens on loopback, and all of that goes through HTTPS. */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "http/internal.h"
#include "net/tls.h"

enum { WATCHERS_MAX = 4, BEAT_MS = 100, ASKED_MAX = 512 };

#define LEADER_JSON "{\"leader\":1}"

struct fixture {
    struct event_base *base;
    struct http *http;
    mono_ms now;
    char directory[64];
    char path[96];
    struct http_config config;
    struct http_ops ops;
    struct http_state state;            /* what the daemon says */
    size_t leader_size;                 /* spaces before LEADER_JSON */
    uint32_t claims;                    /* told */
    struct http_call *asked[ASKED_MAX]; /* status and members, not answered yet */
    uint32_t asked_count;
    bool verbose;                  /* of the last /readyz */
    bool claim_shown;              /* by put_health, last */
    struct ssl_ctx_st *client_tls; /* NULL: plain */
};

int fixture_setup(void **state);
int fixture_teardown(void **state); /* fails when a connection or a descriptor is left */
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

void fixture_turn(struct fixture *f);
void fixture_pass(struct fixture *f, mono_ms ms); /* time; in steps of a sweep */
void fixture_settle(struct fixture *f);           /* until nothing moves */
void fixture_answer(struct fixture *f, uint32_t position, const char *json);
struct http_stats fixture_stats(struct fixture *f);
uint32_t fixture_descriptors(void);

struct client {
    struct fixture *f;
    int fd;
    struct ssl_st *tls; /* NULL: plain */
    bool has_ended;
    struct buf in; /* with a NUL behind it */
};
struct client client_open(struct fixture *f);
struct client client_open_raw(struct fixture *f); /* says nothing, not even a handshake */
void client_close(struct client *c);
void client_write(struct client *c, const void *data, size_t size); /* what fits */
void client_send(struct client *c, const char *text);               /* all of it */
void client_half_close(struct client *c);
/* Turns until it has received this, and forgets everything up to its end. */
void client_until(struct client *c, const char *text);
void client_expect_end(struct client *c);
void client_expect_silence(struct client *c);
void client_settle(struct client *c); /* fixture_settle(), and read */

struct answer {
    int status;
    char head[2048];
    char body[8192];
};
/* The next answer; `is_head`: its body is not sent. */
void client_answer(struct client *c, bool is_head, struct answer *out);
const char *answer_header(const struct answer *a, const char *name); /* NULL: there is none */
/* Send "METHOD PATH HTTP/1.1" and what is said of it. */
void client_ask(struct client *c, const char *method, const char *path, struct answer *out);
void client_get(struct client *c, const char *path, struct answer *out);

#endif
