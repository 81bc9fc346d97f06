/* store.h - durable Raft state in LMDB: identity, term, vote, log entries.
 *
 * Layout of the data directory: LOCK (flock), log/ and state/ (one LMDB environment each).
 *
 * Threads:   store_open/close, store_submit, store_completed, store_load and the rest on the loop
 *            thread; the log thread is the store's own and does nothing but write transactions.
 *            They meet in one queue with an eventfd.
 * Ownership: a batch, its entries and their bytes stay the caller's, unchanged until it completes.
 * Errors:    0 or a negative code from base/err.h; LMDB codes never get out. A failed commit ends
 *            the process: one log line, _exit 81 (80 when the file system is full); nothing that
 *            depended on it leaves. */
#ifndef RAFTD_STORE_STORE_H
#define RAFTD_STORE_STORE_H

#include "raft/types.h"

struct store;

struct store_config {
    const char *data_dir;
    raft_id id;        /* must match the directory's */
    uint64_t map_size; /* bytes of address space per environment */
    uint64_t stall_timeout_ms;
    const char *version; /* of this raftd: remembered in the directory */
};

enum { STORE_VERSION_SIZE = 33 }; /* with the NUL */

struct store_info { /* what store_open found or made */
    struct uuid store;
    uint64_t incarnation; /* process starts of this store, this one included; durable */
    struct uuid cluster;  /* not set: none */
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms; /* see raft_save */
    struct raft_point
        base;         /* the log begins after it; index 0: with its first entry. The store's */
    raft_index first; /* of the log; 0: empty */
    raft_index last;  /* as base, when it is empty */
    bool created;     /* an empty directory became a new store */
    uint32_t format;  /* of the directory */
    char used_by[STORE_VERSION_SIZE]; /* the raftd that started on it before; "": not known */
};

/* Open, lock and identify. An empty or missing directory becomes a new store with a fresh random
 * store id (0700, fsynced). Logs one line with what is wrong and what to do. -RD_ECONFIG   another
 * raftd holds the directory; it belongs to another node id; a network file system; not a directory;
 * no permission (exit 78) -RD_ECORRUPT  an identity or the hard state cannot be read, or log/ and
 * state/ differ (79) -RD_EFORMAT  of a format for another version (79) -RD_EDISK, -RD_EDISK_FULL */
int store_open(const struct store_config *config, struct store **out, struct store_info *info);

/* Before store_start(). Read and verify the whole log: contiguity, CRC, chain, terms. cb gets every
 * entry in order (borrowed). -RD_ECORRUPT after one log line naming index and reason; cb's own
 * negative code ends it too. `progress` (may be NULL) is called about once a second.
 * 1: an entry was damaged that the state on disk, which is as of `applied`, makes needless. The log
 * begins after that now, durably, and `info` says so: begin again with what was made of it. */
typedef int store_entry_cb(void *arg, const struct raft_entry *entry);
typedef void store_progress_cb(void *arg, raft_index at, raft_index last);
int store_verify(struct store *s, const struct raft_point *applied, store_entry_cb *cb,
                 store_progress_cb *progress, void *arg, struct store_info *info);

/* Start the log thread. Completions make store_event_fd() readable. */
int store_start(struct store *s);
/* Finishes the batch in flight, joins the thread. A disk that hangs is waited for 5 s: then one log
 * line and _exit 81. */
void store_close(struct store *s);
int store_event_fd(const struct store *s);

struct store_batch { /* one group commit */
    uint64_t seq;    /* counts up from 1; the completion echoes it */
    bool hard_set;   /* cluster, term and vote are to be saved */
    struct uuid cluster;
    raft_term term;                /* never below the saved term */
    raft_id vote;                  /* 0: no vote in this term */
    uint32_t loyal_ms;             /* see raft_save */
    const struct raft_point *base; /* before anything is added: forget the entries up to it, */
    bool reset;       /* and with this all others, too. NULL: the log begins as before */
    raft_index first; /* index of entries[0]; an older tail is cut. 0: nothing cut, nothing added */
    const struct raft_entry *entries; /* contiguous indexes */
    uint32_t entries_count;
};

/* Hand over one batch; at most one is in flight, and its completion has been taken (asserted). Also
 * asserted, before anything reaches the disk: a batch that would lower the saved term, change the
 * vote within a term, leave a gap in the log, or hold an entry of a term above the saved one. */
void store_submit(struct store *s, const struct store_batch *batch);
/* The seq of the batch completed since the last call, 0: none. Clears the eventfd. -RD_EMAP_FULL:
 * the map is full, nothing of the batch was written (one line was logged): nothing that depended on
 * it may leave, and the process must end with that code. Any other failure ended it already. A batch for
 * whose entries the file system has no room is outstanding until it has. */
int store_completed(struct store *s, uint64_t *seq);

/* ---- The state's rows, written behind ---- */

struct store_mark {       /* what the rows are the state of */
    struct raft_point at; /* index 0: nothing was applied, there are no rows */
    uint64_t revision;
    uint64_t digest; /* of all rows */
    bool installed;  /* they came as a snapshot: the log may not reach so far yet */
};

/* Between store_open() and store_start(): every row, in key order (borrowed), and the mark, with a
 * reference for the caller. -RD_ECORRUPT after one log line; cb's own negative code ends it too. */
typedef int store_row_cb(void *arg, const void *key, size_t key_size, const void *value,
                         size_t value_size);
int store_state_load(struct store *s, store_row_cb *cb, void *arg, struct store_mark *out);

struct store_row {
    const void *key; /* 1..511 bytes */
    size_t key_size;
    const void *value;
    size_t value_size;
    bool deleted;
};

struct store_flush {
    bool anew; /* these are all rows: what was there goes */
    const struct store_row *rows;
    uint32_t rows_count;
    struct store_mark mark; /* every entry up to it is durable in the log (the caller's promise) */
};

/* Hand over one flush; at most one is in flight. Its rows stay the caller's, unchanged until it
 * completes. */
void store_state_submit(struct store *s, const struct store_flush *flush);
bool store_state_is_idle(struct store *s); /* nothing is in flight, nor waits to be taken */
int store_state_event_fd(const struct store *s);
/* true: the flush completed since the last call. `code`: 0, or nothing of it was written: -RD_EMAP_FULL,
 * the map is full (one line was logged); -RD_EDISK_FULL, the file system has no room for it. Any other
 * failure ended the process. */
bool store_state_completed(struct store *s, int *code);

/* ---- Snapshots of the rows, loop thread ---- */

struct store_snapshot;

/* The rows as they are on disk now, whatever is flushed later, and their mark, with a reference for the
 * caller. NULL, after one log line when it is not just that there are none. */
struct store_snapshot *store_snapshot_open(struct store *s, struct store_mark *mark);
/* The next row, in key order; borrowed until the next call. 1; 0: there are no more; -RD_ENOT_READY: it
 * has been open for so long that the file grows because of it, close it; -RD_ECORRUPT after one line. */
int store_snapshot_next(struct store_snapshot *snapshot, struct store_row *out);
void store_snapshot_close(struct store_snapshot *snapshot);

/* Entries from the log (committed to disk), loop thread, short read transaction. raft_load_cb
 * shape: `arg` is the store. Ends the process with 81 when an entry fails its checks: the next start decides. */
uint32_t store_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                    struct raft_entry *out);

/* ---- Room on the file system ---- */

struct store_room {
    bool
        low; /* no more could be reserved ahead for one of the two environments: it is tried again */
    const char *path;                /* of that one, or of log/ */
    uint64_t free_bytes;             /* of the file system, when it was asked for more last */
    uint64_t log_bytes, state_bytes; /* reserved ahead, beyond what each uses */
    uint64_t wanted_bytes;           /* that each is to have */
};

/* Cheap enough for every turn: no system call. When `low` changes, store_event_fd() or
 * store_state_event_fd() becomes readable. */
void store_room_get(const struct store *s, struct store_room *out);

struct store_stats {
    uint64_t outstanding_ms;               /* how long the batch in flight has been; 0: none */
    bool stalled;                          /* longer than stall_timeout */
    uint32_t commit_p50_us, commit_p99_us; /* of the last 1,000 commits */
    uint64_t log_bytes, state_bytes;       /* pages in use */
    uint64_t free_bytes;                   /* of the file system; UINT64_MAX: it does not say */
    uint64_t commits, entries;
};
void store_stats_get(struct store *s, struct store_stats *out);
void store_set_stall_timeout(struct store *s, uint64_t ms); /* of the stats, from now on */
uint64_t store_log_bytes(struct store *s); /* of the stats; cheap enough for every commit */

#endif
