/* admin.h - requests and replies on the admin socket as bytes (proto/admin.proto).
 *
 * A reply carries its result as the JSON text users see with --json: one writer (the daemon), so
 * HTTP, raftctl and scripts agree, and an older raftctl shows a newer daemon's fields.
 * Threads: any. Ownership: decoded structs own their bytes until *_done(). */
#ifndef RAFTD_WIRE_ADMIN_H
#define RAFTD_WIRE_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "wire/frame.h"

enum {
    ADMIN_MESSAGE_MAX = 4096, /* bytes of a sentence */
    ADMIN_JSON_MAX = FRAME_ADMIN_REPLY_MAX - FRAME_HEAD - FRAME_HEADER_MAX, /* of a result */
};

struct admin_request {
    uint64_t id;      /* chosen by the client, echoed; requests may be pipelined */
    char command[32]; /* name in the command table */
    uint32_t timeout_ms;
    struct blob *key;   /* NULL when none */
    struct blob *value; /* NULL when none */
    bool if_revision_set;
    uint64_t if_revision;
    bool fence_set;
    uint64_t fence;
    bool stale;
    uint64_t limit;     /* list; 0: all */
    uint32_t member_id; /* membership commands */
    char address[270];  /* membership commands */
    bool learner, no_wait, force;
    uint32_t replaces; /* replace-server: who leaves */
    char text[64];     /* log-level */
};
void admin_request_done(struct admin_request *r);

struct admin_reply {
    uint64_t id;
    int code;             /* 0, or negative RD_E... */
    bool more;            /* another reply to this id follows (watch, changes) */
    uint32_t leader;      /* errors: the leader, 0: unknown */
    struct blob *message; /* errors: one sentence; NULL when none */
    struct blob *json;    /* results: one JSON value; NULL when none */
};
void admin_reply_done(struct admin_reply *r);

/* Append one frame. -RD_ETOO_LARGE (key above STATE_KEY_MAX, value above STATE_VALUE_MAX),
 * -RD_EINVALID (text that is not UTF-8): nothing appended. */
int admin_request_encode(const struct admin_request *r, struct buf *out);
/* Append one frame. -RD_ETOO_LARGE (json above ADMIN_JSON_MAX): nothing appended. A message above
 * ADMIN_MESSAGE_MAX is cut, one that is not UTF-8 mended; a code that is not in base/err.h travels
 * as `invalid`. An empty message or json is none. */
int admin_reply_encode(const struct admin_reply *r, struct buf *out);
/* The same without a struct: message and json borrowed, may be NULL. */
int admin_reply_put(struct buf *out, uint64_t id, int code, bool more, uint32_t leader,
                    const char *message, const void *json, size_t json_size);

/* 0, or -RD_EPROTOCOL / -RD_ETOO_LARGE (a field above its limit: `out->id` is set and all else
 * zero, so that the refusal can be addressed; nothing to free, and the stream is in step). A client
 * reads replies with FRAME_ADMIN_REPLY_MAX, the daemon requests with FRAME_ADMIN_MAX. */
int admin_request_decode(const struct frame *f, struct admin_request *out);
int admin_reply_decode(const struct frame *f, struct admin_reply *out);

#endif
