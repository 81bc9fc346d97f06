#include "raftctl/look.h"

#include <inttypes.h>
#include <stdio.h>

#include "state/state.h"

static int row_cb(void *arg, const void *key, size_t key_size, const void *value, size_t value_size)
{
    return state_load_row(arg, key, key_size, value, value_size);
}

/* The rows make a state whose digest is the mark's. */
static void look_at_rows(struct store_offline *o, struct look *out)
{
    const struct store_mark *mark = &store_offline_found(o)->mark;
    struct state *state = state_new();
    int code = store_offline_rows(o, row_cb, state);

    if (code == 0 && mark->at.index != 0) {
        code = state_load_done(state, mark->at.index, mark->at.term, mark->revision, mark->digest);
    }
    if (code != 0) {
        out->state_is_bad = true;
        (void)snprintf(out->state_why, sizeof out->state_why,
                       "the state's rows are damaged: those as of entry %" PRIu64
                       " have the digest %016" PRIx64 ", found was %016" PRIx64,
                       mark->at.index, mark->digest, state_digest(state));
    }
    state_free(state);
}

int look_at(struct store_offline *o, struct look *out)
{
    const struct store_found *f = store_offline_found(o);

    out->found = *f;
    out->found.base.membership = NULL;
    out->found.mark.at.membership = NULL;
    out->found.membership = NULL;
    out->state_is_bad = f->state_code != 0;
    if (f->membership) {
        out->has_membership = true;
        if (membership_decode(f->membership->data, f->membership->size, f->membership_index,
                              &out->membership)) {
            return -RD_ECORRUPT;
        }
    }
    if (!out->state_is_bad) {
        look_at_rows(o, out);
    }
    return 0;
}

const struct raft_member *look_member(const struct look *l)
{
    const struct raft_member *m = membership_find(&l->membership, l->found.id);

    return m && uuid_equal(&m->store, &l->found.store) ? m : NULL;
}

raft_index look_removed(const struct look *l)
{
    const struct raft_tombstone *t =
        membership_tombstone(&l->membership, l->found.id, &l->found.store);

    return t ? t->index : 0;
}

bool look_is_whole_log(const struct look *l)
{
    return l->found.base.index == 0;
}

void look_put_members(const struct raft_membership *m, struct buf *out)
{
    for (uint32_t i = 0; i < m->members_count; i++) {
        buf_printf(out, "%s%" PRIu32 " (%s)", i ? ", " : "", m->members[i].id,
                   m->members[i].address);
    }
}
