/* files.h - the data directory and its two environments: opened, identified, matched.
 *
 * Every refusal is one log line that says what is wrong and what to do, and changes no data of
 * what it refuses. Threads: loop thread, before the log thread runs. Errors: as store_open(). */
#ifndef RAFTD_STORE_FILES_H
#define RAFTD_STORE_FILES_H

#include "store/dir.h"
#include "store/env.h"
#include "store/record.h"
#include "store/store.h"

#define STORE_ENV_LOG "log"
#define STORE_ENV_STATE "state"

struct store_files {
    struct store_dir dir;
    struct store_env log;
    struct store_env state;
    MDB_dbi dbi; /* of the entries, in log */
};

struct store_contents { /* of log/, as found or made */
    bool fresh;         /* a new store, or one whose making had been cut short */
    struct store_identity identity;
    struct store_hard hard;
    uint64_t incarnation;             /* this start included */
    char used_by[STORE_VERSION_SIZE]; /* the raftd of the start before it; "": not known */
    struct raft_point base;           /* the caller's */
    raft_index first;
    raft_index last;
};

/* Open everything and count the start, which is durable when this returns. */
int store_files_open(const struct store_config *config, struct store_files *out,
                     struct store_contents *contents);
/* The same in a directory that is open, and becomes one of the files' parts. */
int store_files_open_in(const struct store_config *config, struct store_dir *dir,
                        struct store_files *out, struct store_contents *contents);
/* Nothing is made, changed or counted. -RD_ECONFIG also when there is no store. To look only, or to
 * change what is there afterwards. */
int store_files_inspect(const char *data_dir, bool to_change, struct store_files *out,
                        struct store_contents *contents);
/* Whose a directory is, by the first of the two environments that still tells. Nothing is changed. */
int store_files_identity(const struct store_dir *dir, struct store_identity *out);
void store_files_close(struct store_files *files);

#endif
