/* Applying what is committed to the state. */
#include <inttypes.h>
#include <stdio.h>

#include "node/internal.h"

/* Who leaves by this entry is forgotten as an origin of requests: an id that comes back belongs to
 * another data directory, which counts its processes from 1 again. */
static void apply_membership(struct node *n, const struct raft_entry *e)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);

    rd_assert(e->data && membership_decode(e->data->data, e->data->size, e->index, m) == 0);
    for (uint32_t i = 0; i < m->tombstones_count; i++) {
        const struct raft_tombstone *gone = &m->tombstones[i];
        if (gone->index != e->index) {
            continue;
        }
        state_forget(n->state, gone->id, behind_rows(n));
        if (gone->id == n->config.raft.id && uuid_equal(&gone->store, &n->config.raft.store)) {
            writes_removed(n, true);
            reads_removed(n);
        }
    }
    mem_free(m);
}

/* Written by a later version, whose nodes know what it does: to pass over it is to have another state. */
static void refuse_command(struct node *n, raft_index index)
{
    char why[NODE_FATAL_SIZE];

    (void)snprintf(why, sizeof why,
                   "entry %" PRIu64 " is a command that this raftd does not know: use the version "
                   "that wrote it, or a later one",
                   index);
    node_fail(n, -RD_EFORMAT, why);
}

static void apply_entry(struct node *n, const struct raft_entry *e)
{
    struct state_command command;
    struct state_result result = {0};

    if (e->type != RAFT_ENTRY_COMMAND) {
        state_skip(n->state, e->index, e->term);
        if (e->type == RAFT_ENTRY_MEMBERSHIP) {
            apply_membership(n, e);
        }
        return;
    }
    rd_assert(e->data);
    if (state_command_decode(e->data->data, e->data->size, &command) ||
        !state_txn_is_known(command.txn, command.txn_size)) {
        refuse_command(n, e->index);
        return;
    }
    state_apply(n->state, e->index, e->term, e->data->data, e->data->size, &result, behind_rows(n));
    writes_applied(n, e, &command, &result);
}

/* Not while a snapshot takes the state's place: what it is as of goes before. */
bool apply_is_behind(const struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    return state_index(n->state) < view.commit && !incoming_is_written(n);
}

void apply_turn(struct node *n)
{
    enum { APPLY_ENTRIES = 64, APPLY_BYTES = 8 * 1024 * 1024 }; /* read at once */
    struct raft_entry entries[APPLY_ENTRIES];
    struct raft_view view;
    uint32_t left = n->config.apply_max;

    raft_view_get(n->raft, &view);
    while (left > 0 && n->out.fatal == 0 && apply_is_behind(n)) {
        raft_index behind = view.commit - state_index(n->state);
        uint32_t count = behind < APPLY_ENTRIES ? (uint32_t)behind : APPLY_ENTRIES;
        count = count < left ? count : left;
        count = raft_entries(n->raft, state_index(n->state) + 1, count, APPLY_BYTES, entries);
        for (uint32_t i = 0; i < count; i++) {
            if (n->out.fatal == 0) {
                apply_entry(n, &entries[i]);
                trim_count(n, &entries[i]);
            }
            blob_unref(entries[i].data);
        }
        left -= count;
    }
}
