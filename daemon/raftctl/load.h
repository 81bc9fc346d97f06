/* load.h - the engine of bench: many clients, each with one request open, share a few connections.
 *
 * Requests are pipelined by id (the client's number), sockets are read and written in large pieces:
 * what replies one read brought is answered with one write. After a refusal a client pauses, so
 * that a cluster without a leader is not hammered. Threads: one. */
#ifndef RAFTD_RAFTCTL_LOAD_H
#define RAFTD_RAFTCTL_LOAD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"
#include "raftctl/histogram.h"

enum { LOAD_KEYS_MAX = 1000, LOAD_PAUSE_MS = 10, LOAD_CODES_MAX = 16 };

enum load_op { LOAD_PUT, LOAD_GET, LOAD_DEL };

struct load_stats {
    uint64_t ops; /* succeeded */
    uint64_t errors;
    uint32_t codes_count;
    struct {
        int code;
        uint64_t count;
    } codes[LOAD_CODES_MAX];      /* the errors by code */
    struct histogram latency_us;  /* of what succeeded */
    uint64_t elapsed_us;          /* first request to last reply */
    struct ctl_error first_error; /* code 0: none */
};

struct load_config {
    const char *socket; /* borrowed */
    uint32_t clients_max;
    uint32_t connections;
    uint64_t timeout_ms; /* of each request */
    uint64_t seed;
    size_t value_size;
    uint32_t keys;      /* 1..LOAD_KEYS_MAX: how many the load is spread over */
    const char *prefix; /* of the keys; borrowed */
};

struct load_phase {
    enum load_op op;
    uint32_t clients;     /* <= clients_max */
    uint64_t duration_ms; /* load with random keys for so long; 0: each wanted key once, in order */
    bool only_touched;    /* each key that an earlier phase put, or may have */
    bool stop_at_error;   /* a refusal ends the phase */
    const volatile sig_atomic_t *stop; /* ends the phase early; may be NULL */
    void (*progress)(void *arg, const struct load_stats *stats,
                     uint64_t elapsed_us); /* each second;
                                            may be NULL */
    void *progress_arg;
};

struct load;

/* 0, or what client_connect() says. */
int load_open(const struct load_config *config, struct load **out, struct ctl_error *e);
void load_close(struct load *l); /* NULL is fine */

/* Run a phase until all its requests are answered; `stats` starts zeroed. 0; -RD_EDAEMON: raftd
 * closed a connection; -RD_ETIMEOUT: requests stayed unanswered. After an error only load_close().
 */
int load_run(struct load *l, const struct load_phase *phase, struct load_stats *stats,
             struct ctl_error *e);

#endif
