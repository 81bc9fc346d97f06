/* fixture.h - what the tests of the store share: a directory, a log that can be predicted, stderr
 * as text, and a way to damage records behind the store's back. */
#ifndef RAFTD_TESTS_STORE_FIXTURE_H
#define RAFTD_TESTS_STORE_FIXTURE_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prng.h"
#include "store/store.h"

#define FIXTURE_NODE 7U
#define FIXTURE_MAP_SIZE (256U * 1024U * 1024U)

/* cmocka setup and teardown: *state is the path of a new directory. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_path(char *out, size_t out_size, const char *dir, const char *name);
void fixture_remove(const char *dir);                /* with all in it */
void fixture_copy(const char *from, const char *to); /* a directory, recursively */

/* Everything written to stderr between the two; the text is valid until the next begin. */
void fixture_capture_begin(void);
const char *fixture_capture_end(void);

/* A log whose entries depend on a seed only; truncation is `count` set back. */
struct fixture_log {
    struct raft_entry *entries; /* entries[i] has index i + 1 */
    uint32_t count;
    uint32_t capacity;
};
void fixture_log_add(struct fixture_log *log, raft_term term, size_t payload_size, uint64_t seed);
void fixture_log_cut(struct fixture_log *log, raft_index first);
void fixture_log_done(struct fixture_log *log);
struct store_batch fixture_batch(const struct fixture_log *log, uint64_t seq, raft_index first);

struct store_config fixture_config(const char *dir);
struct store *fixture_open(const char *dir, struct store_info *info); /* asserts success */
int fixture_open_code(const struct store_config *config);             /* closes at once */

/* Wait for the batch in flight. Returns store_completed()'s code. */
int fixture_wait(struct store *s, uint64_t *seq);
void fixture_write(struct store *s, const struct store_batch *batch); /* asserts success */

void fixture_fill(const char *dir); /* a store with one entry of term 1, closed */

/* Verify, and compare with the log. Returns store_verify()'s code. */
int fixture_verify(struct store *s, const struct fixture_log *log);

/* The environment dir/name, in one committed write transaction of its own. No store is open. */
typedef void fixture_edit_cb(MDB_txn *txn, MDB_dbi named, void *arg);
void fixture_edit(const char *dir, const char *name, fixture_edit_cb *edit, void *arg);

/* Run body in a child; its exit status, or 1000 + the signal that killed it. */
typedef void fixture_child_cb(void *arg);
int fixture_child(fixture_child_cb *body, void *arg);

/* In a child: a tmpfs of its own at dir, with these mount options. Ends the child with
 * FIXTURE_NO_NAMESPACE where that cannot be. */
#define FIXTURE_NO_NAMESPACE 42
void fixture_small_disk(const char *dir, const char *options);
void fixture_put_filler(const char *path, size_t size); /* a file that takes room */
void fixture_fill_disk(const char *dir);                /* dir/filler takes all that is free */

#endif
