/* build.h - transactions, entries and a state to apply them to, for this room's tests. */
#ifndef RAFTD_TESTS_UNIT_STATE_BUILD_H
#define RAFTD_TESTS_UNIT_STATE_BUILD_H

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "state/command.h"
#include "state/state.h"

static inline struct state_txn *txn_new(void)
{
    struct state_txn *txn = mem_alloc(sizeof *txn);

    memset(txn, 0xa5, sizeof *txn); /* nothing may rely on what the arrays held */
    txn->compares_count = txn->ops_count = txn->else_count = 0;
    return txn;
}

static inline struct state_op op_put(const char *key, const char *value)
{
    return (struct state_op){STATE_OP_PUT, (const uint8_t *)key, (uint16_t)strlen(key),
                             (const uint8_t *)value, (uint32_t)strlen(value)};
}

static inline struct state_op op_delete(const char *key)
{
    return (struct state_op){STATE_OP_DELETE, (const uint8_t *)key, (uint16_t)strlen(key), NULL, 0};
}

static inline void txn_then(struct state_txn *txn, struct state_op op)
{
    txn->ops[txn->ops_count++] = op;
}

static inline void txn_else(struct state_txn *txn, struct state_op op)
{
    txn->else_ops[txn->else_count++] = op;
}

static inline void txn_if(struct state_txn *txn, enum state_compare_type type, const char *key,
                          uint64_t number)
{
    txn->compares[txn->compares_count++] =
        (struct state_compare){type, (const uint8_t *)key, (uint16_t)strlen(key), number};
}

/* A state, the rows it gave, and where its log stands. */
struct world {
    struct state *state;
    struct state_rows rows;
    uint64_t index, term, quota;
};

static inline struct world world_new(void)
{
    return (struct world){.state = state_new(), .term = 1, .quota = UINT64_MAX};
}

static inline void world_done(struct world *w)
{
    state_free(w->state);
    state_rows_done(&w->rows);
}

/* The bytes of an entry; the caller frees them. */
static inline struct buf entry_encode(const struct request_id *id, uint64_t quota,
                                      const struct state_txn *txn)
{
    struct buf bytes = BUF_INIT, entry = BUF_INIT;
    struct state_command c = {.quota = quota};

    if (id) {
        c.request = *id;
    }
    if (state_txn_encode(txn, &bytes) != 0) {
        abort();
    }
    c.txn = bytes.data;
    c.txn_size = bytes.size;
    state_command_encode(&c, &entry);
    buf_done(&bytes);
    return entry;
}

/* Apply as the next entry; `txn` is emptied for the next one. */
static inline struct state_result world_apply(struct world *w, const struct request_id *id,
                                              struct state_txn *txn)
{
    struct buf entry = entry_encode(id, w->quota, txn);
    struct state_result result;

    memset(&result, 0x5a, sizeof result);
    state_rows_clear(&w->rows);
    state_apply(w->state, ++w->index, w->term, entry.data, entry.size, &result, &w->rows);
    buf_done(&entry);
    txn->compares_count = txn->ops_count = txn->else_count = 0;
    return result;
}

static inline struct state_result world_put(struct world *w, const char *key, const char *value)
{
    struct state_txn *txn = txn_new();

    txn_then(txn, op_put(key, value));
    struct state_result r = world_apply(w, NULL, txn);
    mem_free(txn);
    return r;
}

static inline struct state_result world_delete(struct world *w, const char *key)
{
    struct state_txn *txn = txn_new();

    txn_then(txn, op_delete(key));
    struct state_result r = world_apply(w, NULL, txn);
    mem_free(txn);
    return r;
}

/* The exit status of a child that calls fn(arg): a failed assertion ends it with RD_EXIT_BUG. */
static inline int exit_status_of(void (*fn)(void *), void *arg)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        close(STDERR_FILENO);
        fn(arg);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        abort();
    }
    return WEXITSTATUS(status);
}

#endif
