/* Changes of the membership and of the leader, on the leader that was asked for them.
 *
 * A task is looked at every turn: is what it wants so, and committed? Then it is done. Else the next
 * step is taken, or why it cannot be is said. Nothing of a task has to survive this leader: the one
 * who asked asks the next one, and that one looks at the same membership. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "node/internal.h"

void tasks_done(struct node *n)
{
    mem_free(n->tasks);
}

static void task_close(struct node *n, struct node_task *t)
{
    *t = n->tasks[--n->tasks_count];
}

/* ---- Telling the one who asked ---- */

static void tell(struct node *n, const struct node_task *t, struct peer_change_reply *reply)
{
    reply->incarnation = t->change.incarnation;
    reply->seq = t->change.seq;
    if (t->change.kind != PEER_CHANGE_TRANSFER) {
        reply->term = t->change.term; /* which question this answers */
    }
    if (t->origin == n->config.raft.id) {
        changes_on_reply(n, t->origin, reply);
    } else {
        *node_send_new(n, t->origin) = (struct peer_msg){
            .type = PEER_CHANGE_REPLY, .change_reply = mem_dup(reply, sizeof *reply)};
    }
}

/* The last word; false: the task is over. It is remembered for a while: the question may be on its
 * way once more, and must not be taken for a new wish. */
static bool finish(struct node *n, struct node_task *t, struct peer_change_reply *reply)
{
    t->state = NODE_TASK_OVER;
    t->hands_over = false;
    t->told = *reply;
    t->alive_until = n->now + NODE_TASK_KEEP_TIMEOUTS * (mono_ms)n->config.raft.election_timeout_ms;
    t->retry_at = t->alive_until;
    tell(n, t, reply);
    return false;
}

static bool done(struct node *n, struct node_task *t, raft_index index, enum raft_role role)
{
    struct peer_change_reply reply = {.step = PEER_CHANGE_DONE, .index = index, .role = role};

    return finish(n, t, &reply);
}

static bool __attribute__((format(printf, 4, 5)))
refuse(struct node *n, struct node_task *t, int code, const char *format, ...)
{
    struct peer_change_reply reply = {.step = PEER_CHANGE_REFUSED, .code = code};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(reply.why, sizeof reply.why, format, args);
    va_end(args);
    return finish(n, t, &reply);
}

/* How far it is: when that changes, and now and then while numbers grow. */
static bool progress(struct node *n, struct node_task *t, enum peer_change_step step,
                     raft_index match, raft_index last)
{
    struct peer_change_reply reply = {.step = step, .match = match, .last = last};
    bool due = n->now >= t->told_at + NODE_TELL_PROGRESS_MS;

    if (t->told.step != step || (due && t->told.match != match)) {
        t->told = reply;
        t->told_at = n->now;
        tell(n, t, &reply);
    }
    return true;
}

/* ---- Steps ---- */

static void task_retry(struct node_task *t, mono_ms at)
{
    t->retry_at = t->retry_at < at ? t->retry_at : at;
}

static bool refused_by_core(struct node *n, struct node_task *t)
{
    char why[PEER_WHY_SIZE];
    int code = n->fx.request_code;

    if (code == -RD_ENOT_READY || code == -RD_ETRANSFER) {
        task_retry(t, n->now + n->config.raft.heartbeat_ms / 4 + 1); /* soon over */
        return true;
    }
    node_reason_text(n, &n->fx.refusal, why, sizeof why);
    return refuse(n, t, code, "%s", why);
}

/* A leader does not remove itself: its successor does, when it is asked. */
static bool hand_over_first(struct node *n, struct node_task *t)
{
    char why[PEER_WHY_SIZE];
    int code = handover_begin(n, 0, why, sizeof why);

    if (code == -RD_ENOT_READY) {
        task_retry(t, n->now + n->config.raft.heartbeat_ms / 4 + 1);
        return true;
    }
    if (code) {
        return refuse(n, t, code, "node %" PRIu32 " leads and cannot hand over: %s", t->change.id,
                      why);
    }
    t->hands_over = true;
    return progress(n, t, PEER_CHANGE_HANDING_OVER, 0, 0);
}

static bool propose(struct node *n, struct node_task *t, const struct raft_change *c)
{
    if (t->hands_over) {
        return true;
    }
    node_step(n, &(struct raft_event){.type = RAFT_EV_CHANGE, .change = c});
    if (n->fx.request_code == -RD_EHAND_OVER) {
        return hand_over_first(n, t);
    }
    if (n->fx.request_code) {
        return refused_by_core(n, t);
    }
    t->state = NODE_TASK_BEGUN;
    return progress(n, t, PEER_CHANGE_COMMITTING, 0, 0);
}

static bool propose_kind(struct node *n, struct node_task *t, enum raft_change_kind kind)
{
    const struct raft_change c = {.kind = kind, .id = t->change.id, .force = t->change.force};

    return propose(n, t, &c);
}

/* What it wants is in force: done when it is committed. */
static bool done_when_committed(struct node *n, struct node_task *t, raft_index index,
                                enum raft_role role)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (view.change_pending) {
        return progress(n, t, PEER_CHANGE_COMMITTING, 0, 0);
    }
    return done(n, t, index, role);
}

/* ---- Adding: who is it? ---- */

static bool refuse_removed(struct node *n, struct node_task *t, const char *why)
{
    return refuse(n, t, -RD_ENOT_EMPTY,
                  "node %" PRIu32
                  " at %s has the data of a removed member (%s): stop it, empty its "
                  "data directory (raftctl reset), start it",
                  t->change.id, t->change.address, why);
}

static bool add_dialled(struct node *n, struct node_task *t, const struct peer_hello *hello)
{
    const struct raft_tombstone *gone =
        membership_tombstone(raft_membership(n->raft), hello->id, &hello->store);
    char why[PEER_WHY_SIZE];
    struct raft_view view;
    struct raft_change c = {.kind = RAFT_CHANGE_ADD,
                            .id = t->change.id,
                            .auto_promote = !t->change.learner,
                            .store = hello->store};

    raft_view_get(n->raft, &view);
    if (gone) { /* its link may be up still: it is being told */
        (void)snprintf(why, sizeof why, "it was removed at index %" PRIu64, gone->index);
        return refuse_removed(n, t, why);
    }
    if (uuid_is_set(&hello->cluster) && !uuid_equal(&hello->cluster, &view.cluster)) {
        return refuse(n, t, -RD_EWRONG_CLUSTER, "node %" PRIu32 " at %s is in another cluster",
                      t->change.id, t->change.address);
    }
    if (!hello->empty && !uuid_is_set(&hello->cluster)) {
        return refuse(
            n, t, -RD_ENOT_EMPTY,
            "node %" PRIu32
            " at %s has data: stop it, empty its data directory (raftctl reset), start it",
            t->change.id, t->change.address);
    }
    memcpy(c.address, t->change.address, sizeof c.address);
    return propose(n, t, &c);
}

/* A slip that dialling would tell of in other words, or not at all when it is our own address. */
static const struct raft_member *member_at(const struct raft_membership *m, const char *address)
{
    for (uint32_t i = 0; i < m->members_count; i++) {
        if (strcmp(m->members[i].address, address) == 0) {
            return &m->members[i];
        }
    }
    return NULL;
}

static bool add_dial(struct node *n, struct node_task *t)
{
    const struct node_peer *peer = hello_peer(n, t->change.id);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (view.change_pending) {
        return refuse(n, t, -RD_ECHANGE_PENDING,
                      "the change at index %" PRIu64
                      " is not committed yet, the commit index is %" PRIu64 ": try again",
                      raft_membership(n->raft)->index, view.commit);
    }
    const struct raft_member *other = member_at(raft_membership(n->raft), t->change.address);
    if (other) {
        return refuse(n, t, -RD_EINVALID,
                      "%s is the address of node %" PRIu32 ", not of node %" PRIu32, other->address,
                      other->id, t->change.id);
    }
    if (t->state == NODE_TASK_NEW) {
        t->state = NODE_TASK_DIALLING;
        t->dial_since = n->now;
    }
    /* The link to one that was removed may still be up: another one may answer there by now. */
    bool dead =
        peer && membership_tombstone(raft_membership(n->raft), peer->hello.id, &peer->hello.store);
    if (peer && !dead && peer->up && strcmp(peer->linked, t->change.address) == 0) {
        return add_dialled(n, t, &peer->hello);
    }
    if (n->now >= t->dial_since + NODE_DIAL_MAX_MS) {
        return refuse(n, t, -RD_EUNREACHABLE, "node %" PRIu32 " does not answer at %s within %d ms",
                      t->change.id, t->change.address, NODE_DIAL_MAX_MS);
    }
    task_retry(t, t->dial_since + NODE_DIAL_MAX_MS);
    return progress(n, t, PEER_CHANGE_DIALLING, 0, 0);
}

/* What a peer says in its refusal becomes a client's answer: only what can be true of it. */
static int code_of_refusal(int code)
{
    bool fits = code == -RD_EUNREACHABLE || code == -RD_EWRONG_CLUSTER || code == -RD_ENOT_EMPTY ||
                code == -RD_EREMOVED;

    return fits ? code : -RD_EINVALID;
}

void tasks_unreachable(struct node *n, raft_id peer, int code, const char *why)
{
    code = code_of_refusal(code);
    for (uint32_t i = n->tasks_count; i > 0; i--) {
        struct node_task *t = &n->tasks[i - 1];
        bool patient =
            code == -RD_EUNREACHABLE && n->now < t->dial_since + NODE_DIAL_RETRY_MS; /* it starts */
        if (t->state != NODE_TASK_DIALLING || t->change.id != peer || patient) {
            continue;
        }
        if (code == -RD_EREMOVED) {
            (void)refuse_removed(n, t, why);
        } else {
            (void)refuse(n, t, code, "node %" PRIu32 " cannot be added: %s", peer, why);
        }
    }
}

bool tasks_candidate(const struct node *n, uint32_t number, raft_id *id, const char **address)
{
    for (uint32_t i = 0; i < n->tasks_count; i++) {
        const struct node_task *t = &n->tasks[i];
        if (t->state == NODE_TASK_DIALLING && number-- == 0) {
            *id = t->change.id;
            *address = t->change.address;
            return true;
        }
    }
    return false;
}

/* ---- Adding: is it a member? ---- */

static bool add_learner(struct node *n, struct node_task *t, const struct raft_member *member)
{
    const struct raft_membership *m = raft_membership(n->raft);
    struct raft_peer_view peer = {0};
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (t->change.learner && member->auto_promote) {
        return refuse(n, t, -RD_EALREADY_MEMBER,
                      "node %" PRIu32
                      " becomes a voter once it has caught up: demote it to keep it "
                      "a learner",
                      member->id);
    }
    if (t->change.learner || (member->auto_promote && t->change.no_wait)) {
        return done_when_committed(n, t, m->index, RAFT_LEARNER);
    }
    if (!member->auto_promote) {
        return refuse(n, t, -RD_EALREADY_MEMBER,
                      "node %" PRIu32 " is a member already, as a learner: promote it", member->id);
    }
    if (view.change_pending) {
        return progress(n, t, PEER_CHANGE_COMMITTING, 0, 0);
    }
    (void)raft_peer_view(n->raft, member->id, &peer);
    task_retry(t, n->now + NODE_TELL_PROGRESS_MS);
    return progress(n, t, PEER_CHANGE_CATCHING_UP, peer.match, view.last);
}

static bool add_member(struct node *n, struct node_task *t, const struct raft_member *member)
{
    t->state = t->state == NODE_TASK_DIALLING ? NODE_TASK_BEGUN : t->state;
    if (strcmp(member->address, t->change.address) != 0) {
        return refuse(n, t, -RD_EALREADY_MEMBER,
                      "node %" PRIu32 " is a member already, at %s: use another id", member->id,
                      member->address);
    }
    if (member->role == RAFT_LEARNER) {
        return add_learner(n, t, member);
    }
    if (t->change.learner) {
        return refuse(n, t, -RD_EALREADY_MEMBER,
                      "node %" PRIu32 " is a member already, as a voter: demote it", member->id);
    }
    return done_when_committed(n, t, raft_membership(n->raft)->index, RAFT_VOTER);
}

static bool turn_add(struct node *n, struct node_task *t)
{
    const struct raft_membership *m = raft_membership(n->raft);
    const struct raft_member *member = membership_find(m, t->change.id);
    raft_id replaces = t->change.replaces;

    if (replaces && !membership_find(m, replaces) && !membership_tombstone(m, replaces, NULL)) {
        return refuse(n, t, -RD_ENOT_FOUND,
                      "node %" PRIu32 ", which is to be replaced, is no member", replaces);
    }
    if (!member && t->state == NODE_TASK_BEGUN) { /* not to be added behind that operator's back */
        return refuse(n, t, -RD_ECONFLICT, "node %" PRIu32 " was added, and removed meanwhile",
                      t->change.id);
    }
    return member ? add_member(n, t, member) : add_dial(n, t);
}

/* ---- The other kinds ---- */

static bool turn_promote(struct node *n, struct node_task *t)
{
    const struct raft_membership *m = raft_membership(n->raft);

    if (membership_is_voter(m, t->change.id)) {
        return done_when_committed(n, t, m->index, RAFT_VOTER);
    }
    return propose_kind(n, t, RAFT_CHANGE_PROMOTE);
}

static bool turn_demote(struct node *n, struct node_task *t)
{
    const struct raft_membership *m = raft_membership(n->raft);
    const struct raft_member *member = membership_find(m, t->change.id);

    if (member && member->role == RAFT_LEARNER && !member->auto_promote) {
        return done_when_committed(n, t, m->index, RAFT_LEARNER);
    }
    return propose_kind(n, t, RAFT_CHANGE_DEMOTE);
}

static bool turn_remove(struct node *n, struct node_task *t)
{
    const struct raft_membership *m = raft_membership(n->raft);
    const struct raft_tombstone *gone = membership_tombstone(m, t->change.id, NULL);

    if (!membership_find(m, t->change.id) && gone) {
        return done_when_committed(n, t, gone->index, (enum raft_role)0);
    }
    return propose_kind(n, t, RAFT_CHANGE_REMOVE);
}

/* Which leadership ends, and for whom: the same in every answer. */
static struct peer_change_reply handed_to(const struct node *n, enum peer_change_step step,
                                          raft_id to, raft_term term)
{
    return (struct peer_change_reply){
        .step = step, .from = n->config.raft.id, .to = to, .term = term};
}

static bool turn_transfer(struct node *n, struct node_task *t)
{
    struct peer_change_reply reply;
    char why[PEER_WHY_SIZE];
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (t->state == NODE_TASK_BEGUN) {
        return true; /* tasks_handed_over() ends it */
    }
    if (t->change.id == n->config.raft.id) { /* it leads already */
        reply = handed_to(n, PEER_CHANGE_DONE, n->config.raft.id, view.term);
        return finish(n, t, &reply);
    }
    if (t->change.term != view.term) { /* the question was on its way for long */
        return refuse(n, t, -RD_ETRANSFER_FAILED, "node %" PRIu32 " leads again, in term %" PRIu64,
                      n->config.raft.id, view.term);
    }
    int code = handover_begin(n, t->change.id, why, sizeof why);
    if (code == -RD_ENOT_READY) {
        task_retry(t, n->now + n->config.raft.heartbeat_ms / 4 + 1);
        return true;
    }
    if (code) {
        return refuse(n, t, code, "%s", why);
    }
    t->state = NODE_TASK_BEGUN;
    reply = handed_to(n, t->change.no_wait ? PEER_CHANGE_DONE : PEER_CHANGE_HANDING_OVER,
                      n->handover.target, 0);
    if (t->change.no_wait) {
        return finish(n, t, &reply);
    }
    t->told = reply;
    tell(n, t, &reply);
    return true;
}

typedef bool task_turn(struct node *n, struct node_task *t); /* false: the task is over */

static task_turn *const task_table[] = {
    [PEER_CHANGE_ADD] = turn_add,           [PEER_CHANGE_PROMOTE] = turn_promote,
    [PEER_CHANGE_DEMOTE] = turn_demote,     [PEER_CHANGE_REMOVE] = turn_remove,
    [PEER_CHANGE_TRANSFER] = turn_transfer,
};

/* ---- The end of a hand-over ---- */

static bool transfer_is_over(struct node *n, struct node_task *t, int code, raft_id to,
                             raft_term term, const char *why)
{
    struct peer_change_reply reply = handed_to(n, PEER_CHANGE_DONE, to, term);

    if (code) {
        return refuse(n, t, code, "%s", why);
    }
    if (t->change.id != 0 && t->change.id != to) {
        return refuse(n, t, -RD_ETRANSFER_FAILED, "node %" PRIu32 " leads now, in term %" PRIu64,
                      to, term);
    }
    reply.gap_ms = n->handover.held_since ? (uint32_t)(n->now - n->handover.held_since) : 0;
    return finish(n, t, &reply);
}

void tasks_handed_over(struct node *n, int code, raft_id to, raft_term term, const char *why)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    /* If nothing came of what was told, it stands again, at once. */
    bool leads = n->handover.phase == NODE_HANDOVER_UNDER_WAY &&
                 (view.state == RAFT_LEADER || view.state == RAFT_CANDIDATE);
    for (uint32_t i = n->tasks_count; i > 0; i--) {
        struct node_task *t = &n->tasks[i - 1];
        if (t->change.kind == PEER_CHANGE_TRANSFER && t->state == NODE_TASK_BEGUN) {
            (void)transfer_is_over(n, t, code, to, term, why);
        } else if (t->hands_over && code && leads) {
            (void)refuse(n, t, code, "node %" PRIu32 " leads and did not hand over: %s",
                         t->change.id, why);
        } else if (t->hands_over) { /* whoever leads now is asked for the change itself */
            (void)refuse(n, t, -RD_ENOT_LEADER, "node %" PRIu32 " does not lead any more",
                         n->config.raft.id);
        }
    }
}

/* ---- Being asked, and time ---- */

static struct node_task *task_find(const struct node *n, raft_id origin,
                                   const struct peer_change *change)
{
    for (uint32_t i = 0; i < n->tasks_count; i++) {
        struct node_task *t = &n->tasks[i];
        if (t->origin == origin && t->change.seq == change->seq &&
            t->change.incarnation == change->incarnation && t->change.term == change->term) {
            return t;
        }
    }
    return NULL;
}

static struct node_task *task_add(struct node *n)
{
    if (n->tasks_count == n->tasks_capacity) {
        n->tasks_capacity = n->tasks_capacity ? n->tasks_capacity * 2 : 4;
        n->tasks = mem_realloc(n->tasks, n->tasks_capacity * sizeof *n->tasks);
    }
    return &n->tasks[n->tasks_count++];
}

static bool is_waiting_for_handover(const struct node_task *t)
{
    return t->hands_over || (t->change.kind == PEER_CHANGE_TRANSFER && t->state == NODE_TASK_BEGUN);
}

static void turn_task(struct node *n, struct node_task *t, const struct raft_view *view)
{
    if (is_waiting_for_handover(t)) {
        t->retry_at = UINT64_MAX; /* the end of that ends it, whether somebody asks still or not */
        return;
    }
    t->retry_at = t->alive_until;
    if (n->now >= t->alive_until) {
        task_close(n, t); /* nobody asks any more */
    } else if (t->state == NODE_TASK_OVER) {
        return;
    } else if (view->state != RAFT_LEADER || view->term != t->leads_in) {
        (void)refuse(n, t, -RD_ENOT_LEADER, "node %" PRIu32 " does not lead", n->config.raft.id);
    } else if (view->leader_committed) {
        /* Before that, what an earlier leader was asked for may still come about or not: nothing
         * that is said now would be true for certain. */
        (void)task_table[t->change.kind](n, t);
    }
}

/* Room for one more: what is over is forgotten first. */
static bool make_room(struct node *n)
{
    for (uint32_t i = 0; i < n->tasks_count && n->tasks_count == NODE_TASKS_MAX; i++) {
        if (n->tasks[i].state == NODE_TASK_OVER) {
            task_close(n, &n->tasks[i]);
        }
    }
    return n->tasks_count < NODE_TASKS_MAX;
}

static void ask_again(struct node *n, struct node_task *t, mono_ms alive_until)
{
    if (t->state == NODE_TASK_OVER) {
        tell(n, t, &t->told);
        return;
    }
    t->alive_until = alive_until;
    t->told_at = 0; /* it may have missed the last word: say it again */
    t->told.step = (enum peer_change_step)0;
}

/* Why it is not taken up: 0, or the code. */
static int check_ask(struct node *n, raft_id from, const struct peer_change *change,
                     const struct raft_view *view, struct peer_change_reply *reply)
{
    bool elsewhere = change->kind != PEER_CHANGE_TRANSFER && change->term != view->term;

    if (!change_is_sound(change)) {
        (void)snprintf(reply->why, sizeof reply->why, "node %" PRIu32 " does not know this change",
                       n->config.raft.id);
        return -RD_EINVALID;
    }
    if (view->state != RAFT_LEADER || elsewhere) {
        return -RD_ENOT_LEADER;
    }
    if (!membership_find(raft_membership(n->raft), from)) {
        (void)snprintf(reply->why, sizeof reply->why, "node %" PRIu32 " is no member", from);
        return view->change_pending ? -RD_ENOT_READY : -RD_EREMOVED; /* it may stay after all */
    }
    return make_room(n) ? 0 : -RD_ENOT_READY;
}

void tasks_on_ask(struct node *n, raft_id from, const struct peer_change *change)
{
    struct node_task *t = task_find(n, from, change);
    mono_ms alive_until = n->now + 3 * (mono_ms)n->config.raft.election_timeout_ms;
    struct peer_change_reply reply = {.step = PEER_CHANGE_REFUSED};
    struct raft_view view;

    if (t) {
        ask_again(n, t, alive_until);
        return;
    }
    raft_view_get(n->raft, &view);
    struct node_task task = {
        .origin = from, .change = *change, .alive_until = alive_until, .leads_in = view.term};
    reply.code = check_ask(n, from, change, &view, &reply);
    if (reply.code) {
        tell(n, &task, &reply);
    } else {
        *task_add(n) = task;
    }
}

void tasks_turn(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    for (uint32_t i = n->tasks_count; i > 0; i--) { /* downwards: closing moves the last */
        if (i <= n->tasks_count) {
            turn_task(n, &n->tasks[i - 1], &view);
        }
    }
}

mono_ms tasks_deadline(const struct node *n)
{
    mono_ms deadline = UINT64_MAX;

    for (uint32_t i = 0; i < n->tasks_count; i++) {
        deadline = n->tasks[i].retry_at < deadline ? n->tasks[i].retry_at : deadline;
    }
    return deadline;
}
