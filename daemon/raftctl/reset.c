/* A data directory that forgets everything but whose it is. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "raftctl/child.h"
#include "raftctl/look.h"
#include "raftctl/recover.h"

struct asked {
    const char *data_dir;
    bool force;
};

struct outcome {
    struct look look; /* what made it refuse */
    raft_id id;
};

/* Nothing is lost that anybody counts on. */
static bool is_harmless(const struct look *l)
{
    const struct store_found *f = &l->found;

    return look_removed(l) || (!look_member(l) && f->term == 0 && f->last == 0);
}

/* One that was cut short was allowed when it began. */
static int look_first(const struct asked *a, struct look *out)
{
    struct store_offline *o;
    int code = store_offline_open(a->data_dir, false, &o);

    if (code == 0) {
        code = look_at(o, out);
        store_offline_close(o);
    }
    return code ? code : is_harmless(out) ? 0 : -RD_EWOULD_LOSE_QUORUM;
}

static int job(const void *arg, void *answer)
{
    const struct asked *a = arg;
    struct outcome *out = answer;
    bool allowed = a->force || store_offline_is_half_reset(a->data_dir);
    int code = allowed ? 0 : look_first(a, &out->look);

    return code ? code : store_offline_reset(a->data_dir, &out->id);
}

static int refuse_unforced(const struct asked *a, const struct look *l, struct ctl_error *e)
{
    const struct store_found *f = &l->found;

    if (!look_member(l)) {
        return ctl_fail(e, -RD_EWOULD_LOSE_QUORUM,
                        "%s, the data of node %" PRIu32 ", has promises of term %" PRIu64
                        " and %" PRIu64
                        " entries, which would be forgotten. Is its cluster gone, or does it go on "
                        "without this node? Then repeat it with --force",
                        a->data_dir, f->id, f->term, f->last);
    }
    return ctl_fail(
        e, -RD_EWOULD_LOSE_QUORUM,
        "%s is the data of node %" PRIu32 ", a member of a cluster of %" PRIu32
        " as far as it knows: %" PRIu64
        " entries and its votes would be forgotten, and if they are the last copy they are "
        "lost. Remove it from its cluster first (raftctl remove-server %" PRIu32
        "); if that was done while it was away, or cannot be, repeat it with --force",
        a->data_dir, f->id, l->membership.members_count, f->last, f->id);
}

static int print(const struct ctl *ctl, const struct asked *a, raft_id id, struct ctl_error *e)
{
    struct buf out = BUF_INIT;

    if (ctl->json) {
        buf_put_str(&out, "{}");
    } else {
        buf_printf(&out,
                   "%s: empty, a new store of node %" PRIu32
                   "\nStart raftd on it; a cluster takes it in with raftctl add-server.",
                   a->data_dir, id);
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code;
}

int reset_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    const struct asked asked = {.data_dir = inv->text[OPT_DATA_DIR], .force = inv->set[OPT_FORCE]};
    struct outcome *out = mem_zalloc(sizeof *out);
    struct buf reason = BUF_INIT;
    int code = child_run(asked.data_dir, job, &asked, out, sizeof *out, &reason);

    if (code == -RD_EWOULD_LOSE_QUORUM) {
        code = refuse_unforced(&asked, &out->look, e);
    } else if (code == -RD_ECORRUPT) {
        buf_put_str(&reason, asked.force
                                 ? "; repeat it, and if that does not help remove log/, state/ "
                                   "and UNFINISHED in it by hand: raftd makes a new store"
                                 : "; repeat it with --force to forget it as it is");
        code = child_fail(e, asked.force ? code : -RD_EWOULD_LOSE_QUORUM, &reason);
    } else if (code) {
        code = child_fail(e, code, &reason);
    } else {
        code = print(ctl, &asked, out->id, e);
    }
    buf_done(&reason);
    mem_free(out);
    return code;
}
