/* The state's rows, written behind: what was applied gathers until the shell takes it to its disk. */
#include "node/internal.h"

#include "base/err.h"

/* ---- Restart ---- */

int node_restore_row(struct node *n, const void *key, size_t key_size, const void *value,
                     size_t value_size)
{
    return state_load_row(n->state, key, key_size, value, value_size);
}

int node_restore_applied(struct node *n, const struct node_mark *mark)
{
    int code =
        state_load_done(n->state, mark->at.index, mark->at.term, mark->revision, mark->digest);

    if (code == 0) {
        code = raft_restore_applied(n->raft, &mark->at, mark->installed);
    }
    n->flushed = code ? 0 : mark->at.index;
    return code;
}

void node_restore_anew(struct node *n)
{
    state_free(n->state);
    n->state = state_new();
    n->flushed = 0;
}

/* ---- Flushing ---- */

enum {
    ROWS_BYTES = 64 * 1024 * 1024
}; /* more than that is looked through for what is superseded */

struct state_rows *behind_rows(struct node *n)
{
    /* Endless overwrites while the disk is slow must not fill the memory. */
    if (n->rows.bytes.size > n->rows_limit) {
        state_rows_compact(&n->rows);
        n->rows_limit = 2 * n->rows.bytes.size > ROWS_BYTES ? 2 * n->rows.bytes.size : ROWS_BYTES;
    }
    return n->config.keeps_rows ? &n->rows : NULL;
}

bool node_flush_is_urgent(const struct node *n)
{
    return incoming_is_whole(n);
}

uint64_t node_flush_bytes(const struct node *n)
{
    return n->rows.bytes.size;
}

raft_index node_flushed_to(const struct node *n)
{
    return n->flushed;
}

static void swap_rows(struct state_rows *a, struct state_rows *b)
{
    struct state_rows kept = *a;

    *a = *b;
    *b = kept;
}

bool node_flush_wanted(const struct node *n)
{
    struct raft_view view;
    raft_index applied = state_index(n->state);

    raft_view_get(n->raft, &view);
    if (!n->config.keeps_rows || n->flushing) {
        return false;
    }
    if (incoming_is_whole(n)) { /* of a term that a restart has to know of */
        return view.hard_saved;
    }
    /* A state that is ahead of its own log could not be restored from the two. */
    return applied != n->flushed && view.saved >= applied;
}

const struct node_flush *node_flush_take(struct node *n)
{
    raft_index applied = state_index(n->state);

    rd_assert(node_flush_wanted(n));
    n->flushing = true;
    if (incoming_is_whole(n)) {
        incoming_flush(n, &n->flush);
        return &n->flush;
    }
    n->rows_limit = ROWS_BYTES;
    n->flush.anew = n->flushed == 0;
    swap_rows(&n->flush.rows, &n->rows);
    n->flush.mark =
        (struct node_mark){.revision = state_revision(n->state), .digest = state_digest(n->state)};
    raft_point_get(n->raft, applied, &n->flush.mark.at);
    return &n->flush;
}

static void flush_done(struct node *n)
{
    raft_point_done(&n->flush.mark.at);
    state_rows_clear(&n->flush.rows);
}

void node_flushed(struct node *n)
{
    rd_assert(n->flushing);
    n->flushing = false;
    if (incoming_is_written(n)) {
        incoming_written(n);
    } else {
        n->flushed = n->flush.mark.at.index;
    }
    flush_done(n);
}

void node_flush_failed(struct node *n)
{
    struct state_rows *rows = &n->flush.rows;

    rd_assert(n->flushing);
    n->flushing = false;
    if (incoming_is_written(n)) {
        incoming_failed(n);
    } else {
        state_rows_append(rows, &n->rows);
        state_rows_compact(rows);
        swap_rows(rows, &n->rows);
    }
    flush_done(n);
}

void behind_free(struct node *n)
{
    state_rows_done(&n->rows);
    state_rows_done(&n->flush.rows);
    raft_point_done(&n->flush.mark.at);
}
