/* offline.h - a data directory that no raftd uses: looked at, changed, made. For raftctl.
 *
 * A page that LMDB cannot make sense of may end the process, and so does a write that fails (as in
 * store.h): call all of this from one that may die.
 *
 * Threads:   one.
 * Ownership: what is found belongs to the directory, until it is closed; what is given is borrowed.
 * Errors:    after one log line -RD_ECONFIG (no store here, in use, no permission), -RD_ECORRUPT,
 *            -RD_EFORMAT (not for this version), -RD_EDISK, -RD_EDISK_FULL, -RD_EMAP_FULL. */
#ifndef RAFTD_STORE_OFFLINE_H
#define RAFTD_STORE_OFFLINE_H

#include "store/store.h"

struct store_offline;

struct store_found {
    uint32_t format; /* of the directory */
    raft_id id;
    struct uuid store;
    struct uuid cluster; /* not set: in none */
    uint64_t incarnation;
    char used_by[STORE_VERSION_SIZE]; /* the raftd that started on it last; "": not known */
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms;
    struct raft_point base; /* the log begins after it */
    raft_index first;       /* 0: the log is empty, */
    raft_index last;        /* and this is as base */
    raft_term last_term;
    uint64_t last_chain;
    uint64_t entries_bytes; /* of payload */
    raft_index
        membership_index; /* of the newest membership in the log, committed or not; 0: none */
    const struct blob *membership;
    int state_code; /* 0; -RD_ECORRUPT, after one log line: the mark cannot be read, or is of no entry of
                     * this log: the rows are of no use */
    struct store_mark mark;
};

/* First: this process is a command on a directory, not raftd. It is told what to do as such, and what it
 * may not use is -RD_EPERMISSION. */
void store_offline_begin(void);

/* Open and verify: identities, hard state, where the log begins, every entry (number, checksum, chain),
 * and that the state's mark and the log fit. Where a snapshot's rows are durable and the log was not cut
 * yet, what is found is what the next start makes of it. Nothing is changed; `to_change`: yet. */
int store_offline_open(const char *data_dir, bool to_change, struct store_offline **out);
const struct store_found *store_offline_found(const struct store_offline *o);
/* Every row of the state, in key order. cb's own negative code ends it. */
int store_offline_rows(struct store_offline *o, store_row_cb *cb, void *arg);
/* Add a membership at the end of the log, as of that term, which is saved with a vote for this node: all in
 * one transaction, durable when this returns. Only once, and only with `to_change`. */
int store_offline_append(struct store_offline *o, raft_term term, struct blob *membership);
void store_offline_close(struct store_offline *o);

struct store_beginning { /* of a store that has data from its first day */
    raft_id id;
    struct uuid cluster;
    struct store_mark mark; /* the log begins after it, in its term; without the membership, */
    /* which binds the node to the store that is made: one reference for the caller */
    struct blob *(*membership)(const void *arg, const struct uuid *store);
    const void *arg;
    const struct store_row *rows;
    uint32_t rows_count;
};

/* Make a data directory, a new store: `data_dir` is missing, empty, or one where this was cut short; else
 * -RD_ENOT_EMPTY. When it fails everything is as it was before. */
int store_offline_make(const char *data_dir, const struct store_beginning *beginning);

/* Forget everything: what is left is a new store of the same node. Was it cut short, the next call ends
 * it. `id` gets the node. */
int store_offline_reset(const char *data_dir, raft_id *id);
/* Was a reset of this directory cut short? */
bool store_offline_is_half_reset(const char *data_dir);

#endif
