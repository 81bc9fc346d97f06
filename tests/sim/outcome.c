/* 16, for changes: each membership was asked for, "done" is committed, and a refusal that promises
 * that nothing was done keeps it. */
#include "sim.h"

#include <string.h>

#include "base/err.h"
#include "raft/membership.h"

typedef unsigned long long ull;

/* ---- Who asked for it? ---- */

struct step { /* from one committed membership to the next */
    enum peer_change_kind kind;
    raft_id id;
    bool by_itself; /* a promise of an earlier entry is kept */
};

static struct step step_between(const struct sim_members *a, const struct sim_members *b)
{
    struct step step = {0};

    for (uint32_t i = 0; i < SIM_HOSTS_MAX; i++) {
        enum raft_role was = a->of[i].role, is = b->of[i].role;

        if (was == is && a->of[i].auto_promote == b->of[i].auto_promote) {
            continue;
        }
        step.id = i + 1;
        step.by_itself = is == RAFT_VOTER && a->of[i].auto_promote;
        step.kind = was == 0           ? PEER_CHANGE_ADD
                    : is == 0          ? PEER_CHANGE_REMOVE
                    : is == RAFT_VOTER ? PEER_CHANGE_PROMOTE
                                       : PEER_CHANGE_DEMOTE;
    }
    return step;
}

static bool explains(const struct sim_change *c, const struct step *step)
{
    bool replaces = step->kind == PEER_CHANGE_REMOVE && c->want.replaces == step->id;

    return c->may_act && ((c->want.kind == step->kind && c->want.id == step->id) || replaces);
}

void outcome_committed(struct sim *s, const struct sim_host *h, const struct sim_members *before,
                       const struct sim_members *after)
{
    struct step step = step_between(before, after);
    struct sim_change *only = NULL;
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->changes_count; i++) {
        if (explains(&s->changes[i], &step)) {
            only = &s->changes[i];
            n++;
        }
    }
    if (n == 0 && !step.by_itself) {
        sim_violation(s, h,
                      "invariant 16: index %llu changes node %u (kind %d), which nobody asked for, "
                      "or was refused",
                      (ull)after->index, step.id, (int)step.kind);
    }
    if (n == 1 && !step.by_itself) {
        only->did = after->index;
    }
}

/* ---- Done ---- */

static bool is_as_wanted(const struct sim_members *m, const struct peer_change *want)
{
    enum raft_role role = m->of[want->id - 1].role;
    bool promised = m->of[want->id - 1].auto_promote;

    switch (want->kind) {
    case PEER_CHANGE_ADD:
        return want->learner   ? role == RAFT_LEARNER && !promised
               : want->no_wait ? role == RAFT_VOTER || promised
                               : role == RAFT_VOTER;
    case PEER_CHANGE_PROMOTE:
        return role == RAFT_VOTER;
    case PEER_CHANGE_DEMOTE:
        return role == RAFT_LEARNER && !promised;
    case PEER_CHANGE_REMOVE:
        return role == 0;
    case PEER_CHANGE_TRANSFER:
    default:
        return true;
    }
}

/* Was it so, and committed, at some time between question and answer? */
static bool was_as_wanted(const struct sim *s, const struct sim_change *c,
                          const struct peer_change *want)
{
    uint32_t from = c->committed_before ? c->committed_before - 1 : 0;

    for (uint32_t i = from; i < s->committed_count; i++) {
        if (is_as_wanted(&s->committed[i], want)) {
            return true;
        }
    }
    return false;
}

static const struct sim_members *committed_at(const struct sim *s, raft_index index)
{
    for (uint32_t i = s->committed_count; i > 0; i--) {
        if (s->committed[i - 1].index == index) {
            return &s->committed[i - 1];
        }
    }
    return NULL;
}

static void check_done_transfer(struct sim *s, struct sim_host *h, const struct sim_change *c,
                                const struct peer_change_reply *r)
{
    bool begun = c->want.no_wait && r->term == 0;

    if (r->to == 0 || r->to > s->knobs.hosts || (c->want.id != 0 && r->to != c->want.id)) {
        sim_violation(s, h, "invariant 16: leadership was to go to node %u, \"done\" says node %u",
                      c->want.id, r->to);
    }
    if (!begun && s->leader_of[r->term] != r->to) {
        sim_violation(s, h, "invariant 16: \"done\" says that node %u leads term %llu, it is %u",
                      r->to, (ull)r->term, s->leader_of[r->term]);
    }
}

static void check_done(struct sim *s, struct sim_host *h, const struct sim_change *c,
                       const struct peer_change_reply *r)
{
    struct peer_change want = c->want;

    if (want.kind == PEER_CHANGE_TRANSFER) {
        check_done_transfer(s, h, c, r);
        return;
    }
    want.no_wait = want.no_wait && want.replaces == 0;
    bool good = was_as_wanted(s, c, &want);
    if (want.replaces) {
        want = (struct peer_change){.kind = PEER_CHANGE_REMOVE, .id = c->want.replaces};
        good = good && was_as_wanted(s, c, &want);
    }
    const struct sim_members *m = committed_at(s, r->index);
    if (!good || !m || m->of[want.id - 1].role != r->role) {
        sim_violation(s, h,
                      "invariant 16: a change (kind %d) of node %u is \"done\" at index %llu, role "
                      "%d, the committed membership says otherwise",
                      (int)c->want.kind, c->want.id, (ull)r->index, (int)r->role);
    }
}

/* ---- Refused ---- */

/* Codes that promise that nothing was done. */
static bool promises_nothing(int code)
{
    static const int codes[] = {RD_EALREADY_MEMBER,    RD_ENOT_FOUND,      RD_ELAST_VOTER,
                                RD_EWOULD_LOSE_QUORUM, RD_ECHANGE_PENDING, RD_ENOT_CAUGHT_UP,
                                RD_EUNREACHABLE,       RD_EWRONG_CLUSTER,  RD_ENOT_EMPTY,
                                RD_ETOO_LARGE,         RD_ENO_LEADER,      RD_ENO_QUORUM,
                                RD_EREMOVED,           RD_EUNCONFIGURED,   RD_EINVALID,
                                RD_ENO_TARGET,         RD_ETRANSFER_FAILED};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (code == -codes[i]) {
            return true;
        }
    }
    return false;
}

static bool reason_holds(const struct sim_members *m, const struct peer_change *want, int code)
{
    enum raft_role role = want->id ? m->of[want->id - 1].role : 0;
    bool without_other = want->replaces && m->of[want->replaces - 1].role == 0;

    switch (-code) {
    case RD_EALREADY_MEMBER:
        return role != 0;
    case RD_ENOT_FOUND:
        return want->kind == PEER_CHANGE_ADD ? without_other : role == 0;
    case RD_ELAST_VOTER:
        return m->voters == 1 && (role == RAFT_VOTER ||
                                  (want->replaces && m->of[want->replaces - 1].role == RAFT_VOTER));
    default:
        return true;
    }
}

/* A membership that was put in force a moment ago, and waits for its turn on the disk, is known to the
 * leader alone. */
static bool somebody_has_it_in_force(const struct sim *s, raft_id id)
{
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        const struct sim_host *h = &s->hosts[i];
        if (host_is_up(h) && membership_find(raft_membership(node_raft(h->node)), id)) {
            return true;
        }
    }
    return false;
}

/* Was the reason true of a membership that somebody may have had in force lately? */
static bool reason_was_true(const struct sim *s, const struct sim_change *c, int code)
{
    if (code == -RD_EALREADY_MEMBER && somebody_has_it_in_force(s, c->want.id)) {
        return true;
    }
    if (code == -RD_ETOO_LARGE || code == -RD_EWRONG_CLUSTER) {
        return false; /* in this world nothing is */
    }
    for (uint32_t i = 0; i < s->proposed_count; i++) {
        const struct sim_members *m = &s->proposed[i];
        bool lately = m->over_at == SIM_NEVER || m->over_at + sim_timeouts(s, 20) > c->asked_at;
        if (lately && reason_holds(m, &c->want, code)) {
            return true;
        }
    }
    return s->proposed_count == 0;
}

/* What it did, and nobody undid since. */
static bool stands(const struct sim *s, const struct sim_change *c)
{
    const struct sim_members *m = c->did ? committed_at(s, c->did) : NULL;

    return m && memcmp(&m->of[c->want.id - 1], &members_now(s)->of[c->want.id - 1],
                       sizeof m->of[0]) == 0;
}

static void check_refused(struct sim *s, struct sim_host *h, struct sim_change *c,
                          const struct node_answer *a)
{
    bool halfway = strstr(a->message, " was added; ") != NULL;

    if (c->want.kind == PEER_CHANGE_TRANSFER || !promises_nothing(a->code)) {
        return;
    }
    if (!reason_was_true(s, c, a->code)) {
        sim_violation(s, h, "invariant 16: a change of node %u is refused with %s, which is not so",
                      c->want.id, err_name(a->code));
    }
    if (halfway) {
        return;
    }
    if (stands(s, c)) {
        sim_violation(s, h,
                      "invariant 16: a change of node %u is refused (%s), and was done at %llu",
                      c->want.id, err_name(a->code), (ull)c->did);
    }
    c->may_act = false;
}

void outcome_answer(struct sim *s, struct sim_host *h, const struct sim_op *op,
                    const struct node_answer *a)
{
    struct sim_change *c = &s->changes[op->change];

    if (a->more) {
        return;
    }
    c->over_at = s->now;
    if (a->code == 0 && !a->change) {
        sim_violation(s, h, "invariant 16: a change is done without a word");
    }
    if (a->code == 0) {
        check_done(s, h, c, a->change);
    } else {
        check_refused(s, h, c, a);
    }
}
