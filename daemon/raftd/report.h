/* report.h - what users see: the JSON of contract section 3, from plain data.
 *
 * Field names and meanings are the contract's; objects may gain fields. What this node does not
 * know is null. Threads: any. Ownership: every pointer is borrowed for the call; output is
 * appended. */
#ifndef RAFTD_RAFTD_REPORT_H
#define RAFTD_RAFTD_REPORT_H

#include "node/node.h"
#include "wire/admin.h"

#define REPORT_SCHEMA "raftd/1"
#define REPORT_UNKNOWN UINT64_MAX /* a number this node does not know: printed as null */

enum {
    REPORT_HTTP_MAX = 8,
    REPORT_JSON_MAX = ADMIN_JSON_MAX, /* of one result; what is longer is refused */
    REPORT_TROUBLE_SIZE = 400,        /* an address, the longest refusal, and how often */
    REPORT_DATE_SIZE = 32,
};

const char *report_role_text(enum raft_role role); /* as users know it; NULL: none */

struct report_member {
    raft_id id;
    enum raft_role role;
    bool auto_promote; /* a learner that becomes a voter once it has caught up */
    const char *name, *address, *uri, *version; /* "": unknown or none */
    uint16_t protocol;                          /* that is spoken with it; 0: unknown */
    struct uuid store;
    uint64_t match_index, lag, contact_ms; /* or REPORT_UNKNOWN */
    bool connected;
    char trouble[REPORT_TROUBLE_SIZE]; /* why there is no link; "" when there is */
};

struct report_members {
    raft_index index; /* of the entry that holds the membership */
    bool pending;     /* a change is not committed yet */
    uint32_t count;
    struct report_member rows[RAFT_MEMBERS_MAX];
};

struct report_leader {
    const char *address, *uri; /* of public.leader; "": unknown or none */
};

struct report_tls {
    bool is_on;
    bool https;                        /* [http] listen speaks it */
    int64_t cert_until_s, cert_left_s; /* since 1970; from now on */
    int64_t ca_until_s, ca_left_s;     /* of the authority that ends first */
    char cert_until[REPORT_DATE_SIZE], ca_until[REPORT_DATE_SIZE];
};

struct report_status {
    struct uuid cluster; /* not set: none */
    const char *cluster_name;
    raft_id id;
    const char *name, *address, *uri;
    const char *http[REPORT_HTTP_MAX]; /* where it is served; NULL after the last */
    struct uuid store;
    struct node_public public;
    struct report_leader leader;
    raft_index commit, applied, first, last;
    uint64_t revision;
    raft_index digest_index;
    uint64_t digest;
    uint32_t voters, need, reachable;
    struct report_members members; /* committed; the numbers above are of what is in force */
    const char *disk_state;        /* "ok", "low", "stalled" */
    uint32_t log_commit_p50_us, log_commit_p99_us;
    uint64_t log_bytes, state_bytes; /* pages in use */
    uint64_t state_used_bytes;       /* of what the quota limits: state_bytes() */
    uint64_t state_max_bytes;        /* that quota, while this node leads */
    uint64_t free_bytes;             /* of the file system, or REPORT_UNKNOWN */
    uint64_t reserve_bytes;          /* that were taken ahead */
    uint32_t disk_format;            /* of the data directory */
    struct report_tls tls;
    uint64_t rss_bytes, fds, uptime_ms;
};

struct report_asked { /* a change, as far as its answer names what was asked for */
    enum peer_change_kind kind;
    raft_id id;       /* 0: none */
    raft_id replaces; /* 0: none */
};

void report_status(struct buf *out, const struct report_status *s);
void report_members(struct buf *out, const struct report_members *m);
void report_leader(struct buf *out, const struct node_public *p, const struct report_leader *l);
void report_is_leader(struct buf *out, const struct node_public *p);
void report_hold(struct buf *out, const struct node_public *p, raft_id self,
                 const struct uuid *cluster);
void report_watch(struct buf *out, const struct node_public *p, const struct report_leader *l);

struct report_web { /* what /v1/leader says beside the above */
    struct uuid cluster;
    raft_id self;
    struct report_leader leader;
    const char *word; /* why no leader is known; NULL: one is */
    uint64_t etag;
};
void report_web(struct buf *out, const struct node_public *p, const struct report_web *w);

void report_put(struct buf *out, const struct state_result *r);
void report_del(struct buf *out, const struct state_result *r);
void report_backup(struct buf *out, uint64_t index, uint64_t revision, uint64_t bytes);
void report_bootstrap(struct buf *out, const struct uuid *cluster);
void report_change(struct buf *out, const struct report_asked *asked,
                   const struct peer_change_reply *done);
/* How far a change is that is not done yet. */
void report_progress(struct buf *out, const struct report_asked *asked,
                     const struct peer_change_reply *reply);
void report_get(struct buf *out, const struct state_kv *kv);

/* Keys that start with `prefix`, at most `limit` (0: all). 0, or -RD_ETOO_LARGE (nothing appended):
 * more than REPORT_JSON_MAX. */
int report_list(struct buf *out, const struct state *state, const void *prefix, size_t prefix_size,
                uint64_t limit);

/* Why a write was refused, when the node itself gave no words: never empty. */
void report_refusal(const struct node_answer *answer, char *text, size_t text_size);

#endif
