/* The state that a core's caller keeps on disk: here only the point it is as of. Snapshots of it. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "golden.h"

void golden_flush_set(struct golden_core *c, const struct raft_point *at, bool installed)
{
    struct blob *membership = blob_ref(at->membership);

    raft_point_done(&c->state);
    c->state = *at;
    c->state.membership = membership;
    c->installed = installed;
}

void golden_flush(struct golden *g, raft_id id, raft_index index)
{
    struct golden_core *c = &g->cores[id];
    struct raft_point at;

    rd_assert(index >= c->state.index && index <= c->view.saved);
    raft_point_get(c->raft, index, &at);
    golden_flush_set(c, &at, false);
    golden_say(g,
               "%" PRIu32 " has flushed its state as of %" PRIu64 "/%" PRIu64
               " with membership %" PRIu64,
               id, at.index, at.term, at.membership_index);
    raft_point_done(&at);
}

void golden_trim(struct golden *g, raft_id id, raft_index index)
{
    struct golden_core *c = &g->cores[id];

    rd_assert(index <= c->state.index);
    raft_trim(c->raft, index);
    golden_step(g, id, &(struct raft_event){.type = RAFT_EV_FLUSH});
}

void golden_piece(struct golden *g, const struct golden_filter *f, uint64_t offset, uint32_t size,
                  bool last)
{
    const struct raft_point *at = &g->cores[f->from].state;
    struct blob *data = blob_new(size);
    struct raft_piece piece = {.to = f->to,
                               .index = at->index,
                               .term = at->term,
                               .chain = at->chain,
                               .offset = offset,
                               .done = last,
                               .data = data};

    memset(data->data, 0, size);
    golden_step(g, f->from, &(struct raft_event){.type = RAFT_EV_SNAPSHOT_SEND, .piece = &piece});
    blob_unref(data);
}

void golden_note_piece(struct golden *g, struct golden_core *c)
{
    const struct raft_msg *m = c->fx.snapshot;

    if (!m) {
        return;
    }
    golden_say(g, "%" PRIu32 " gives it to its caller", c->id);
    if (m->type == RAFT_MSG_SNAPSHOT) {
        c->piece = *m;
        c->piece.data = NULL;
    }
}

void golden_taken(struct golden *g, raft_id id, uint64_t has, bool reject)
{
    struct golden_core *c = &g->cores[id];

    golden_step(
        g, id,
        &(struct raft_event){.type = RAFT_EV_PIECE_TAKEN,
                             .snapshot = {.message = &c->piece, .offset = has, .reject = reject}});
}

void golden_install(struct golden *g, raft_id id, bool told)
{
    struct golden_core *c = &g->cores[id];
    const struct raft_point *at = &g->cores[c->piece.from].state;

    rd_assert(at->index == c->piece.index && at->term == c->piece.log_term);
    golden_flush_set(c, at, true);
    golden_say(g, "%" PRIu32 "'s state is the snapshot of %" PRIu64 "/%" PRIu64, id, at->index,
               at->term);
    if (told) {
        golden_step(g, id,
                    &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                         .snapshot = {.message = &c->piece, .point = &c->state}});
    }
}

void golden_needs(struct golden *g, raft_id id)
{
    const struct raft *r = g->cores[id].raft;
    raft_index needed = raft_needed(r);
    struct buf text = BUF_INIT;
    raft_id who;

    if (needed == UINT64_MAX) {
        buf_put_str(&text, "nobody needs its entries");
    } else {
        buf_printf(&text, "entries after %" PRIu64 " are needed", needed);
    }
    for (uint32_t i = 0; raft_snapshot_wanted(r, i, &who); i++) {
        buf_printf(&text, "%s %" PRIu32, i ? "," : "; a snapshot by", who);
    }
    golden_say(g, "%" PRIu32 ": %s", id, buf_str(&text));
    buf_done(&text);
}
