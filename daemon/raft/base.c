/* Where the log begins: what was applied and is durable in the state is forgotten, what comes as a
 * snapshot takes the place of all of it (thesis 5.1). */
#include <string.h>

#include "base/err.h"
#include "raft/internal.h"

/* Entries that one save makes the disk forget: it must not keep an acknowledgement waiting. */
enum { TRIM_ENTRIES_MAX = 2000 };

/* The number of membership entries in the log up to `index`. */
static uint32_t changes_up_to(const struct raft *r, raft_index index)
{
    uint32_t count = 0;

    while (count < r->changes_count && r->changes[count] <= index) {
        count++;
    }
    return count;
}

void raft_point_get(struct raft *r, raft_index index, struct raft_point *out)
{
    const struct raft_point *base = &r->log.base;
    uint32_t changes = changes_up_to(r, index);

    rd_assert(index >= base->index && index <= r->commit);
    *out = (struct raft_point){
        .index = index, .term = rlog_term(&r->log, index), .chain = rlog_chain(&r->log, index)};
    if (changes == 0) {
        out->membership_index = base->membership_index;
        out->membership = blob_ref(base->membership);
        return;
    }
    struct raft_entry entry;
    rd_assert(rlog_read(&r->log, r->changes[changes - 1], 1, 0, &entry) == 1);
    out->membership_index = entry.index;
    out->membership = entry.data; /* its reference goes along */
}

/* ---- Trimming ---- */

void raft_trim(struct raft *r, raft_index index)
{
    rd_assert(index <= r->commit && index <= r->saved);
    r->trim_to = index > r->trim_to ? index : r->trim_to;
}

bool base_save_wanted(const struct raft *r)
{
    return r->base_reset || r->trim_to > r->log.base.index;
}

static void trim(struct raft *r)
{
    raft_index left = r->trim_to - r->log.base.index;
    raft_index to = left < TRIM_ENTRIES_MAX ? r->trim_to : r->log.base.index + TRIM_ENTRIES_MAX;
    struct raft_point base;

    raft_point_get(r, to, &base);
    uint32_t gone = changes_up_to(r, to);
    rlog_trim(&r->log, &base);
    raft_point_done(&base);
    r->changes_count -= gone;
    if (gone > 0) {
        memmove(r->changes, r->changes + gone, r->changes_count * sizeof *r->changes);
    }
}

void base_save_take(struct raft *r, struct raft_save *save)
{
    if (!base_save_wanted(r)) {
        return;
    }
    save->base_set = true;
    save->reset = r->base_reset;
    if (!r->base_reset) {
        trim(r);
    }
    r->base_reset = false;
    save->base = r->log.base;
    (void)blob_ref(save->base.membership);
}

/* ---- Another beginning ---- */

/* The log begins after `p`, with nothing in it. */
static int begin_at(struct raft *r, const struct raft_point *p)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    const struct blob *data = p->membership;
    int code =
        membership_decode(data ? data->data : NULL, data ? data->size : 0, p->membership_index, m);

    if (code == 0) {
        rlog_reset(&r->log, p);
        r->changes_count = 0;
        r->memberships_count = 0;
        raft_membership_push(r, m);
        r->saved = p->index;
        r->untaken = p->index + 1;
    }
    mem_free(m);
    return code ? -RD_ECORRUPT : 0;
}

int raft_restore_base(struct raft *r, const struct raft_point *base)
{
    rd_assert(r->log.last == 0 && base->index > 0);
    return begin_at(r, base);
}

int raft_restore_applied(struct raft *r, const struct raft_point *at, bool installed)
{
    int code = 0;

    if (rlog_holds(&r->log, at->index, at->term)) {
        code = rlog_chain(&r->log, at->index) == at->chain ? 0 : -RD_ECORRUPT;
    } else if (installed && at->term <= r->term && at->index > r->log.base.index) {
        /* The process ended between the snapshot and the log that begins after it (trap 42). */
        code = begin_at(r, at);
        r->base_reset = code == 0;
    } else {
        code = -RD_ECORRUPT;
    }
    if (code == 0) {
        r->applied_before = at->index;
    }
    return code;
}

int base_install(struct raft *r, const struct raft_point *p)
{
    if (p->index <= r->commit) {
        return 0; /* overtaken: nothing is rewound (trap 39) */
    }
    if (rlog_holds(&r->log, p->index, p->term)) {
        if (rlog_chain(&r->log, p->index) != p->chain) {
            return -RD_ECORRUPT;
        }
        raft_set_commit(r, p->index); /* what follows it in the log stays */
        return 0;
    }
    if (r->state == RAFT_LEADER) { /* nobody leads without what others committed */
        return -RD_ECORRUPT;
    }
    int code = begin_at(r, p);
    if (code == 0) {
        r->base_reset = true;
        r->commit = p->index;
    }
    return code;
}
