/* What has to become durable, and what may leave because it has. */
#include "raft/internal.h"

void save_mark_hard(struct raft *r)
{
    r->hard_dirty = true;
}

bool save_hard_is_durable(const struct raft *r)
{
    return !r->hard_dirty && r->saves_done >= r->hard_taken;
}

bool raft_save_promises(const struct raft *r)
{
    return r->hard_dirty || r->untaken <= r->log.last || r->base_reset;
}

bool raft_save_wanted(const struct raft *r)
{
    return raft_save_promises(r) || base_save_wanted(r);
}

static void take_entries(struct raft *r, uint64_t bytes_max, struct raft_save *save)
{
    uint32_t left = (uint32_t)(r->log.last - r->untaken + 1);

    save->first = r->untaken;
    save->entries = mem_alloc(left * sizeof *save->entries);
    save->entries_count = rlog_read(&r->log, r->untaken, left, bytes_max, save->entries);
    save->last = save->entries[save->entries_count - 1].index;
    save->last_term = save->entries[save->entries_count - 1].term;
    r->untaken = save->last + 1;
}

bool raft_save_take(struct raft *r, uint64_t bytes_max, struct raft_save *save)
{
    rd_assert(r->saves_done == r->saves_taken); /* one at a time */
    if (!raft_save_wanted(r)) {
        return false;
    }
    if (r->now >= r->refuse_until) { /* leases of an earlier run are over */
        r->loyal_ms = r->config.election_timeout_ms;
    }
    *save = (struct raft_save){.cluster = r->cluster,
                               .hard_set = r->hard_dirty,
                               .term = r->term,
                               .vote = r->vote,
                               .loyal_ms = r->loyal_ms};
    r->saves_taken++;
    if (r->hard_dirty) {
        r->hard_dirty = false;
        r->hard_taken = r->saves_taken;
    }
    base_save_take(r, save);
    if (r->untaken <= r->log.last) {
        take_entries(r, bytes_max, save);
    }
    return true;
}

void raft_save_done(struct raft_save *save)
{
    for (uint32_t i = 0; i < save->entries_count; i++) {
        blob_unref(save->entries[i].data);
    }
    mem_free(save->entries);
    blob_unref(save->base.membership);
    *save = (struct raft_save){0};
}

void save_on_persisted(struct raft *r, const struct raft_event *event)
{
    raft_index index = event->persisted.index;

    rd_assert(r->saves_done < r->saves_taken);
    r->saves_done++;
    /* Entries overwritten since they were handed over are not what is durable now (trap 13). Nor
     * does an older save count for entries that wait to be written again: that save may take them
     * in parts. */
    if (rlog_holds(&r->log, index, event->persisted.entry_term)) {
        index = index < r->untaken ? index : r->untaken - 1;
        if (index > r->saved) {
            r->saved = index;
            rlog_evict(&r->log, r->saved, r->config.cache_bytes_max);
        }
    }
    if (r->state == RAFT_CANDIDATE && save_hard_is_durable(r)) {
        election_own_vote_saved(r);
    }
    if (r->state == RAFT_LEADER) {
        leader_commit(r);
    }
}
