/* After quorum is lost for good: the data of one node becomes the cluster's. */
#include "raftctl/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "raftctl/child.h"
#include "raftctl/look.h"

struct asked {
    const char *data_dir;
    bool force;
    uint32_t ids_count;
    raft_id ids[RAFT_VOTERS_MAX];
};

struct plan { /* what the child answers */
    struct look look;
    raft_term term;
    struct raft_membership after;
    struct ctl_error refused; /* code 0: it can be done */
};

/* ---- Arguments ---- */

static int add_id(struct asked *a, const char *text, struct ctl_error *e)
{
    uint64_t id;

    if (units_parse_number(text, 1, UINT32_MAX, &id)) {
        return ctl_fail(e, -RD_EUSAGE,
                        "--members: '%s' is not the id of a node; give ID[,ID]... as in 1 or 1,3",
                        text);
    }
    for (uint32_t i = 0; i < a->ids_count; i++) {
        if (a->ids[i] == id) {
            return ctl_fail(e, -RD_EUSAGE, "--members: node %" PRIu64 " stands there twice", id);
        }
    }
    if (a->ids_count == RAFT_VOTERS_MAX) {
        return ctl_fail(e, -RD_EUSAGE, "--members: %d voters are the most a cluster can have",
                        RAFT_VOTERS_MAX);
    }
    a->ids[a->ids_count++] = (raft_id)id;
    return 0;
}

static int parse_ids(const char *list, struct asked *a, struct ctl_error *e)
{
    char *text = mem_strdup(list);
    char *next = text;
    int code = 0;

    while (code == 0 && next) {
        code = add_id(a, strsep(&next, ","), e);
    }
    mem_free(text);
    return code;
}

/* ---- In the child ---- */

static bool is_listed(const struct asked *a, raft_id id)
{
    for (uint32_t i = 0; i < a->ids_count; i++) {
        if (a->ids[i] == id) {
            return true;
        }
    }
    return false;
}

static void refuse_member(const struct asked *a, struct plan *p)
{
    const struct look *l = &p->look;
    raft_id id = l->found.id;

    if (!l->has_membership) {
        (void)ctl_fail(&p->refused, -RD_EUNCONFIGURED,
                       "%s, the data of node %" PRIu32
                       ", is in no cluster: recover from the data of a member",
                       a->data_dir, id);
    } else if (look_removed(l)) {
        (void)ctl_fail(&p->refused, -RD_EREMOVED,
                       "node %" PRIu32
                       ", whose data is in %s, was removed from the cluster by entry "
                       "%" PRIu64 ": recover from the data of a member",
                       id, a->data_dir, look_removed(l));
    } else {
        (void)ctl_fail(&p->refused, -RD_EUNCONFIGURED,
                       "node %" PRIu32
                       ", whose data is in %s, is not in the newest membership it has "
                       "(entry %" PRIu64 "): recover from the data of a member",
                       id, a->data_dir, l->found.membership_index);
    }
}

/* Each of those listed has to be a member, and this node one of them. */
static void check_listed(const struct asked *a, struct plan *p)
{
    const struct look *l = &p->look;
    struct buf members = BUF_INIT;

    look_put_members(&l->membership, &members);
    for (uint32_t i = 0; i < a->ids_count && p->refused.code == 0; i++) {
        if (!membership_find(&l->membership, a->ids[i])) {
            (void)ctl_fail(&p->refused, -RD_ENOT_FOUND,
                           "node %" PRIu32 " is no member; the members are %s", a->ids[i],
                           buf_str(&members));
        }
    }
    if (p->refused.code == 0 && !is_listed(a, l->found.id)) {
        (void)ctl_fail(&p->refused, -RD_EINVALID,
                       "--members has to name node %" PRIu32
                       ", too: it is the one whose data becomes the cluster's",
                       l->found.id);
    }
    buf_done(&members);
}

static void check(const struct asked *a, struct plan *p)
{
    const struct look *l = &p->look;

    if (l->state_is_bad && !look_is_whole_log(l)) {
        (void)ctl_fail(
            &p->refused, -RD_EINVALID,
            "the state on disk is damaged and the log does not hold all entries (raftctl "
            "check says more): recover from another survivor, or restore a backup");
    } else if (!look_member(l)) {
        refuse_member(a, p);
    } else if (l->found.term > RAFT_NUMBER_MAX - RECOVER_TERMS) {
        (void)ctl_fail(&p->refused, -RD_EINVALID, "its term, %" PRIu64 ", is too far to go on from",
                       l->found.term);
    } else {
        check_listed(a, p);
    }
}

/* Voters are those listed; who else was a member gets a tombstone. */
static void make_plan(const struct asked *a, struct plan *p)
{
    const struct raft_membership *before = &p->look.membership;
    raft_index index = p->look.found.last + 1;

    p->term = p->look.found.term + RECOVER_TERMS;
    p->after = *before;
    p->after.index = index;
    for (uint32_t i = 0; i < before->members_count; i++) {
        raft_id id = before->members[i].id;
        bool stays = is_listed(a, id);
        if (stays && membership_is_voter(&p->after, id)) {
            continue;
        }
        const struct raft_change change = {.kind = stays ? RAFT_CHANGE_PROMOTE : RAFT_CHANGE_REMOVE,
                                           .id = id};
        membership_apply(&p->after, &change, index);
    }
}

static int carry_out(struct store_offline *o, const struct plan *p)
{
    struct blob *membership = membership_encode(&p->after);
    int code = store_offline_append(o, p->term, membership);

    blob_unref(membership);
    return code;
}

static int job(const void *arg, void *answer)
{
    const struct asked *a = arg;
    struct plan *p = answer;
    struct store_offline *o;
    int code = store_offline_open(a->data_dir, a->force, &o);

    if (code != 0) {
        return code;
    }
    code = look_at(o, &p->look);
    if (code == 0) {
        check(a, p);
        code = p->refused.code;
    }
    if (code == 0) {
        make_plan(a, p);
        code = a->force ? carry_out(o, p) : 0;
    }
    store_offline_close(o);
    return code;
}

/* ---- What it says ---- */

static void put_gone(const struct plan *p, struct buf *out)
{
    const struct raft_membership *before = &p->look.membership;
    const char *between = "";

    for (uint32_t i = 0; i < before->members_count; i++) {
        const struct raft_member *m = &before->members[i];
        if (!membership_find(&p->after, m->id)) {
            buf_printf(out, "%s%" PRIu32 " (%s)", between, m->id, m->address);
            between = ", ";
        }
    }
}

static int refuse_unforced(const struct ctl *ctl, const struct asked *a, const struct plan *p,
                           struct ctl_error *e)
{
    const struct store_found *f = &p->look.found;
    struct buf stay = BUF_INIT;
    struct buf gone = BUF_INIT;

    look_put_members(&p->after, &stay);
    put_gone(p, &gone);
    ctl_note(ctl, "What it would do to %s, the data of node %" PRIu32 ":", a->data_dir, f->id);
    ctl_note(ctl, "  everything in its log counts: up to entry %" PRIu64 " of term %" PRIu64,
             f->last, f->last_term);
    ctl_note(ctl,
             "  entry %" PRIu64 " of term %" PRIu64 " makes these the voters, and all members: %s",
             p->after.index, p->term, buf_str(&stay));
    ctl_note(ctl, "  for ever removed: %s", gone.size ? buf_str(&gone) : "nobody");
    int code =
        gone.size ? ctl_fail(e, -RD_EWOULD_LOSE_QUORUM,
                             "what only the others had is lost, acknowledged or not; and who is "
                             "removed (%s) must never run on its old data again, or there are two "
                             "clusters. Is their data gone for good, and this the newest of all "
                             "survivors (raftctl check)? Then repeat it with --force",
                             buf_str(&gone))
                  : ctl_fail(e, -RD_EWOULD_LOSE_QUORUM,
                             "what only others had is lost, acknowledged or not. Nobody is removed "
                             "by it: who only needs a leader just starts the members. Is this the "
                             "newest of them (raftctl check)? Then repeat it with --force");
    buf_done(&stay);
    buf_done(&gone);
    return code;
}

static json_t *ids_json(const struct raft_membership *m)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < m->members_count; i++) {
        (void)json_array_append_new(list, json_integer(m->members[i].id));
    }
    return list;
}

static int print(const struct ctl *ctl, const struct plan *p, struct ctl_error *e)
{
    struct buf out = BUF_INIT;

    if (ctl->json) {
        json_t *answer = json_pack("{s:I, s:o, s:I}", "term", (json_int_t)p->term, "members",
                                   ids_json(&p->after), "index", (json_int_t)p->after.index);
        ctl_put_json(answer, &out);
        json_decref(answer);
    } else {
        buf_printf(&out, "entry %" PRIu64 " of term %" PRIu64 ": the members are ", p->after.index,
                   p->term);
        look_put_members(&p->after, &out);
        buf_put_str(&out,
                    "\nStart raftd on them, then add the others again, with empty data (raftctl "
                    "add-server).");
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code;
}

int recover_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct asked asked = {.data_dir = inv->text[OPT_DATA_DIR], .force = inv->set[OPT_FORCE]};
    struct plan *plan = mem_zalloc(sizeof *plan);
    struct buf reason = BUF_INIT;
    int code = parse_ids(inv->text[OPT_MEMBERS], &asked, e);

    if (code == 0) {
        code = child_run(asked.data_dir, job, &asked, plan, sizeof *plan, &reason);
        if (plan->refused.code) {
            *e = plan->refused;
        } else if (code) {
            code = child_fail(e, code, &reason);
        } else {
            code = asked.force ? print(ctl, plan, e) : refuse_unforced(ctl, &asked, plan, e);
        }
    }
    buf_done(&reason);
    mem_free(plan);
    return code;
}
