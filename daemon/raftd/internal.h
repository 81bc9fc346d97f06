/* internal.h - what the files of the raftd room share. Is included by nobody else.
 *
 * Callbacks only queue: into the inbox (what the node has to see, in order of arrival) or into the
 * queries (what is answered from its state at the end of the turn). */
#ifndef RAFTD_RAFTD_INTERNAL_H
#define RAFTD_RAFTD_INTERNAL_H

#include <event2/event.h>

#include "admin/admin.h"
#include "http/http.h"
#include "net/net.h"
#include "node/node.h"
#include "raftd/holders.h"
#include "raftd/metrics.h"
#include "raftd/report.h"
#include "raftd/server.h"
#include "store/store.h"

enum {
    SERVER_INBOX_MAX = 65536,      /* peer messages beyond it are dropped: Raft sends them again */
    SERVER_INBOX_KEEP = 4096,      /* a larger inbox is given back when the burst is over */
    SERVER_JSON_KEEP = 256 << 10,  /* a larger reply buffer is given back */
    SERVER_APPEND_BYTES = 1 << 20, /* payload of one AppendEntries */
    SERVER_APPEND_ENTRIES = 1024,  /* entries of one AppendEntries */
    SERVER_INFLIGHT_BYTES = 8 << 20, /* unacknowledged per follower */
    SERVER_INFLIGHT_MSGS = 64,
    SERVER_CACHE_BYTES = 16 << 20,  /* recent entries in memory: twice what may be in flight */
    SERVER_BATCH_BYTES = 4 << 20,   /* payload of one group commit */
    SERVER_HOLD_BYTES = 64 << 20,   /* of the log, for members that lag; or, when that is more, */
    SERVER_HOLD_TIMES = 8,          /* so many times log_keep_bytes */
    SERVER_PIECE_BYTES = 256 << 10, /* of a snapshot, in one message */
    SERVER_APPLY_MAX = 4096,        /* entries applied per turn */
    SERVER_PEER_QUEUE_BYTES = 32 << 20,
    SERVER_USER_TIMEOUT_MIN_MS = 2000,
    SERVER_PROGRESS_MS = 500,      /* how long status waits for what the leader knows */
    SERVER_EXTEND_MS = 30000,      /* more time asked of systemd while the log is verified */
    SERVER_STOP_MARGIN_MS = 20000, /* of systemd, for what comes after shutdown_transfer_timeout */
};

enum inbox_kind {
    INBOX_MESSAGE,
    INBOX_HELLO,
    INBOX_LINK_DOWN,
    INBOX_REFUSED,
    INBOX_UNREACHABLE,
    INBOX_WRITE,
    INBOX_READ,
    INBOX_PROGRESS,
    INBOX_BOOTSTRAP,
    INBOX_CHANGE,
    INBOX_CANCEL,
    INBOX_RELEASE,
};

struct inbox_item {
    enum inbox_kind kind;
    raft_id from;        /* MESSAGE, HELLO, LINK_DOWN, REFUSED, UNREACHABLE */
    uint32_t timeout_ms; /* WRITE, READ, PROGRESS, BOOTSTRAP, CHANGE */
    uint64_t token;      /* WRITE .. CANCEL; RELEASE: the client */
    union {
        struct peer_msg message;      /* owned */
        struct peer_hello *hello;     /* owned */
        struct peer_refusal *refusal; /* owned; UNREACHABLE: code and why */
        struct peer_change *change;   /* owned */
        struct blob *txn;             /* owned */
    };
};

enum slot_kind {
    SLOT_FREE,
    SLOT_PUT,
    SLOT_DELETE,
    SLOT_BOOTSTRAP,
    SLOT_CHANGE,
    SLOT_GET,
    SLOT_LIST,
    SLOT_STATUS,
    SLOT_MEMBERS,
    SLOT_LEADER,
    SLOT_IS_LEADER,
    SLOT_HOLD,
    SLOT_WATCH,
    SLOT_BACKUP,
};

struct slot { /* one open admin call */
    enum slot_kind kind;
    uint32_t generation; /* a token of an earlier use does not find the slot */
    uint32_t next_free;
    bool at_node;               /* the node knows the token */
    bool started;               /* WATCH: its first line is out */
    struct admin_call *call;    /* who asked: on the admin socket, */
    struct http_call *web;      /* or by HTTP (STATUS, MEMBERS) */
    struct blob *key;           /* GET; LIST: prefix or NULL */
    uint64_t limit;             /* LIST */
    struct report_asked change; /* CHANGE */
    struct backup *backup;      /* BACKUP; owned */
};

/* What all hear who asked for it and are answered in one go: rendered once. Empty in between. */
struct server_shown {
    struct buf status, members;
    struct node_public public; /* as `status` tells it */
};

struct server {
    struct config *config; /* in force: a reload changes it */
    const struct server_source *source;
    struct systemd *systemd;
    struct event_base *base;
    struct store *store;
    struct store_info info;
    struct node *node;
    struct net *net;
    struct admin *admin;
    struct http *http;
    struct server_ops ops;
    struct metrics_counts counts;
    struct tls_context *certs; /* in force; reloadable; NULL: no [tls] */
    mono_ms certs_warn_at;     /* whether they grow old is looked at again */
    mono_ms started;
    mono_ms now; /* of the turn */

    struct event *store_event;
    struct event *state_event;
    struct event *timer;
    struct event *signals[3];
    bool store_ready; /* the store's eventfd was readable */
    mono_ms timer_at; /* armed for; UINT64_MAX: not armed */
    bool stop_wanted;
    bool reload_wanted;
    bool uri_changed; /* the node has not heard yet */

    struct inbox_item *inbox;
    uint32_t inbox_count, inbox_capacity;
    uint64_t inbox_dropped;

    struct slot *slots;
    uint32_t slots_count, slots_capacity;
    uint32_t slots_free; /* index + 1 of the first free one, 0: none */
    uint64_t *queries;   /* tokens */
    uint32_t queries_count, queries_capacity;
    uint32_t watches;
    uint32_t backups;
    struct holders holders;

    bool batch_in_flight;
    uint64_t batch_seq; /* last submitted */
    mono_ms batch_since;
    bool stalled;
    bool log_full;         /* has been said */
    bool disk_low;         /* likewise */
    mono_ms unbelieved_at; /* an absurd message has been said, then; 0: never */

    struct store_mark mark; /* what the rows on disk were the state of, at the start */
    struct store_row *flush_rows;
    uint32_t flush_capacity;
    mono_ms flush_at;  /* not before */
    bool flush_failed; /* the last one did not fit */
    raft_index
        flush_snapshot; /* the one in hand installs a snapshot as of this entry; 0: it does not */

    bool ran;      /* every part is open */
    bool draining; /* told to stop: no new requests, the open ones are finished */
    mono_ms drain_until;

    struct node_public seen; /* last logged */
    raft_id known_leader;    /* the last that was, and its term */
    raft_term known_term;
    struct raft_view seen_view; /* for a failed check */
    raft_index seen_membership; /* the last one whose commit was logged */
    struct buf watch_seen;      /* last pushed, without what changes all the time */
    struct buf json;            /* the reply being written */
    struct server_shown shown;
};

/* server.c: tell the links, the service manager and ourselves how the node begins. */
void server_introduce(struct server *s);

/* calls.c: the admin room's side: open calls and the inbox. */
void server_calls_init(struct server *s);
void server_calls_done(struct server *s);
struct slot *server_slot_find(const struct server *s, uint64_t token); /* NULL: ended */
void server_slot_close(struct server *s, struct slot *slot);
struct inbox_item *server_inbox_push(struct server *s, enum inbox_kind kind);
/* The last item of this kind from this peer that waits; NULL: none. Borrowed until the next push. */
struct inbox_item *server_inbox_find(struct server *s, enum inbox_kind kind, raft_id from);
/* Feed the node what gathered. */
void server_inbox_feed(struct server *s);

/* answers.c: what open calls hear. Answer the requests the node has finished: */
void server_answer(struct server *s, const struct node_answer *answers, uint32_t answers_count);
/* STATUS and MEMBERS, by what is known here. */
void server_answer_view(struct server *s, struct slot *slot);
/* Answer what needs no quorum, from the state as it is now. */
void server_queries_run(struct server *s);
/* Tell watchers when what they see differs. Before the queries: those tell new watchers. */
void server_watchers_run(struct server *s);
/* The process ends: whoever waits hears so. */
void server_calls_stop(struct server *s);

/* view.c: plain data for report.h; strings are borrowed until the node's next turn. */
void server_view_leader(const struct server *s, const struct node_public *p,
                        struct report_leader *out);
/* What `members` shows: the committed membership; without a leader the one in force, for after a
 * restart nobody has said what is committed, and the members are wanted most in an outage. */
const struct raft_membership *server_view_membership(const struct server *s);
void server_view_members(const struct server *s, const struct raft_membership *m,
                         struct report_members *out);
/* Without what changes all the time, so that watchers hear of changes only. A leader that begins to hand
 * over and still claims is no change: to tell of it would hand out one more claim, for its successor to
 * wait for. */
void server_view_steady(struct node_public *p);
/* What goes out says this of the node: a claim to lead in it counts as told. The only place that says so. */
void server_view_told(struct server *s, const struct node_public *p);
void server_view_status(struct server *s, struct report_status *out); /* to be told */

/* web.c: what is shown by HTTP. 0, -RD_ENO_ADDRESS, -RD_ECONFIG. */
int server_web_open(struct server *s);
/* calls.c: a request of the http room that the leader is asked about. */
void server_web_status(void *server, struct http_call *call);
void server_web_members(void *server, struct http_call *call);

/* reload.c: read the configuration again; apply what may change at run time, say what may not.
 * 0 and {"changed":["node.uri"],"needs_restart":[]} appended to `said`, or -RD_ECONFIG and one line
 * per error: then nothing changed. Both are logged, too. */
int server_reload(struct server *s, struct buf *said);

/* certs.c: what [tls] names. The files of one configuration, for the names of another. `out` is NULL
 * without [tls]. 0, or -RD_ECONFIG with one line in `errors`. */
int server_certs_load(const struct config *files, const struct config *names, const char *path,
                      struct buf *errors, struct tls_context **out);
int server_certs_open(struct server *s); /* 0, or -RD_ECONFIG after one log line */
/* Read them again. 0 (`out` may be NULL), or -RD_ECONFIG with a line in `errors`. */
int server_certs_reload(struct server *s, const struct config *fresh, struct buf *errors,
                        struct tls_context **out);
/* They are in force from now on, if they are others than before. Takes `fresh`; NULL is fine. */
bool server_certs_take(struct server *s, struct tls_context *fresh);
void server_certs_view(const struct server *s, struct report_tls *out);
void server_certs_turn(struct server *s);         /* say what expires soon, once a day */
mono_ms server_certs_due(const struct server *s); /* UINT64_MAX: never */

/* backup.c: the rows on disk, piece by piece, as fast as the client takes them. */
enum { SERVER_BACKUPS_MAX = 4 };
struct backup *server_backup_new(struct server *s, uint32_t timeout_ms);
void server_backup_free(struct server *s, struct backup *b); /* NULL is fine */
/* What was acknowledged before it was asked for is applied: from here on it goes by itself. */
void server_backup_begin(struct server *s, struct slot *slot);
void server_backups_turn(struct server *s);
mono_ms server_backups_due(const struct server *s); /* UINT64_MAX: not at all */
bool server_backups_want_flush(const struct server *s);
uint32_t server_backups_read(const struct server *s); /* how many read the rows */
void server_backups_flush_failed(struct server *s);

/* flush.c: codes as server_run() returns them. */
int server_state_load(struct server *s);    /* before the entries are restored */
int server_state_restore(struct server *s); /* after that */
void server_set_source(struct server *s);   /* snapshots for members are read from the store */
/* The same for who else reads them; as struct node_source says. */
void *server_snapshot_open(struct server *s, struct node_mark *mark);
int server_snapshot_read(void *server, void *snapshot, size_t bytes_max, struct buf *out);
void server_snapshot_close(void *server, void *snapshot);
void server_flush_take(struct server *s);         /* within a turn: one that is done */
void server_flush_turn(struct server *s);         /* after it: the next one */
mono_ms server_flush_due(const struct server *s); /* UINT64_MAX: nothing is to be flushed */
void server_flush_last(struct server *s);

#endif
