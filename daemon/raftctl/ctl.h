/* ctl.h - what all of raftctl shares: the settings of a run, its errors, and how they are said.
 *
 * Functions return 0 or a negative code with a `struct ctl_error` filled in; who is asked to
 * report prints it once. Results go to stdout, words for people to stderr. Threads: one.
 *
 * This room reads and writes JSON with jansson. base/json.h stays out of it: three of its functions
 * bear names of jansson's. */
#ifndef RAFTD_RAFTCTL_CTL_H
#define RAFTD_RAFTCTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define CTL_SOCKET_DEFAULT "/run/raftd/raftd.sock"

enum {
    CTL_KEY_MAX = 480,           /* bytes (contract section 5) */
    CTL_VALUE_MAX = 1024 * 1024, /* bytes */
    CTL_TIMEOUT_DEFAULT_MS = 10000,
    CTL_TIMEOUT_MAX_MS = 24 * 3600 * 1000,
    CTL_MESSAGE_SIZE = 4200, /* holds the longest raftd sends */
    CTL_GRACE_MS = 500,      /* given to the daemon beyond the timeout: its own answer says more */
};

struct client;

struct ctl {
    const char *socket; /* borrowed */
    uint64_t timeout_ms;
    bool json;
    bool quiet;            /* no notes on stderr; results and errors only */
    bool batch;            /* stdin holds commands, so no command may read it */
    struct client *client; /* owned; NULL: not connected */
};

struct ctl_error {
    int code;                       /* negative RD_E... or -errno */
    uint32_t leader;                /* 0: unknown */
    int status;                     /* exit status, where it is not the code's own; 0: it is */
    char message[CTL_MESSAGE_SIZE]; /* one sentence, UTF-8 without control characters */
};

/* Fill in the error; returns `code`, so that a caller can return it at once. */
int ctl_fail(struct ctl_error *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The name scripts see: always one of the contract's list. Two conditions only raftctl has borrow
 * a name from it, their exit statuses (2 and 3) tell them apart. */
const char *ctl_code_name(int code);

/* Append a value as compact text. */
void ctl_put_json(const json_t *value, struct buf *out);

/* {"error":{...}} without a newline. */
void ctl_error_json(const struct ctl_error *e, struct buf *out);

/* Report an error of a command (NULL: of the command line); returns the exit status. */
int ctl_report(const struct ctl *ctl, const char *command, const struct ctl_error *e);

/* A note for people on stderr, unless -q. */
void ctl_note(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Words for people, as they are, to stderr; none are left in `words`. */
void ctl_say(struct buf *words);

/* What went wrong in a command that goes on: "raftctl: COMMAND: ..." on stderr, with -q, too. */
void ctl_warn(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Write all of `out` to stdout and flush. 0, or -errno with the error filled in. */
int ctl_write(const struct buf *out, struct ctl_error *e);

/* The same with a newline after it. */
int ctl_write_line(struct buf *out, struct ctl_error *e);

/* The deadline `ms` from now on mono_now_ms()'s clock. */
uint64_t ctl_deadline(uint64_t ms);

#endif
