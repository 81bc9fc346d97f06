/* dir.h - the data directory: whose it is, what may be in it, and that only one raftd uses it.
 *
 * Threads: loop thread. Errors: after one log line -RD_ECONFIG (not usable: another process holds
 * it, a network file system, foreign files, no permission), -RD_EDISK, -RD_EDISK_FULL. */
#ifndef RAFTD_STORE_DIR_H
#define RAFTD_STORE_DIR_H

#include <stdbool.h>

#define STORE_LOCK_NAME "LOCK"
#define STORE_UNFINISHED_NAME "UNFINISHED"

struct store_dir {
    char *path;  /* as configured; owned */
    int fd;      /* of the directory */
    int lock_fd; /* of LOCK, flocked */
};

/* Make the directory when it is missing (0700, durable; its parent must exist), refuse what cannot
 * be a data directory, take the lock. A refusal changes nothing on disk. */
int store_dir_open(const char *path, struct store_dir *out);
/* The same for who ends what was cut short (unfinished.h): the others refuse such a directory. */
int store_dir_open_unfinished(const char *path, struct store_dir *out);
/* To look only: nothing is made or written. */
int store_dir_open_to_look(const char *path, struct store_dir *out);
void store_dir_close(struct store_dir *dir); /* gives the lock back */

/* Is there a data file of the LMDB environment `name` ("log", "state")? */
bool store_dir_has_env(const struct store_dir *dir, const char *name);
/* Is it there, and not empty? */
bool store_dir_has_data(const struct store_dir *dir, const char *name);

/* Make the directory of an environment, unless it is there, and its name durable. */
int store_dir_make_env(const struct store_dir *dir, const char *name);

/* Make the file names inside it durable: LMDB does not. */
int store_dir_sync_env(const struct store_dir *dir, const char *name);

/* Name of the network file system with this statfs(2) magic number; NULL when it is none. */
const char *store_dir_network_name(unsigned long magic);

/* Every name in it, "." and ".." too, until cb returns a code. That; or why it cannot be read, after one
 * log line. */
typedef int store_name_cb(const struct store_dir *dir, const char *name);
int store_dir_each_name(const struct store_dir *dir, store_name_cb *cb);

#endif
