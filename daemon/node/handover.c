/* Handing leadership over, as the node sees it: from the request until the successor has committed;
 * and a node that is about to stop. */
#include <inttypes.h>
#include <stdio.h>

#include "node/internal.h"

/* For so many election timeouts after one hand-over for want of room none begins: two disks that are low in
 * turn must not toss the leadership to and fro. */
enum { ROOM_TIMEOUTS = 10 };

/* Half an election for the target's two disks and those of its voters, and one for the next
 * candidate when it does not win. */
static mono_ms patience(const struct node *n)
{
    return 2 * (mono_ms)n->config.raft.election_timeout_ms;
}

static void follow(struct node *n, raft_term term, raft_id target)
{
    if (n->handover.phase != NODE_HANDOVER_UNDER_WAY) {
        n->handover = (struct node_handover){
            .phase = NODE_HANDOVER_UNDER_WAY, .term = term, .target = target};
    }
}

int handover_begin(struct node *n, raft_id target, char *why, size_t why_size)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    node_step(n, &(struct raft_event){.type = RAFT_EV_TRANSFER, .transfer = {.target = target}});
    if (n->fx.request_code) {
        node_reason_text(n, &n->fx.refusal, why, why_size);
        return n->fx.request_code;
    }
    follow(n, view.term, n->fx.transfer_target);
    return 0;
}

void handover_disk_stalled(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (view.transfer) {
        follow(n, view.term, view.transfer);
    }
}

static void tell(struct node *n, int code, raft_id to, raft_term term, const char *why)
{
    n->out.handover.over = true;
    n->out.handover.code = code;
    n->out.handover.to = to;
    n->out.handover.term = term;
    (void)snprintf(n->out.handover.why, sizeof n->out.handover.why, "%s", code ? why : "");
}

static void over(struct node *n, int code, raft_id to, raft_term term, const char *why)
{
    tell(n, code, to, term, why);
    tasks_handed_over(n, code, to, term, why);
    n->handover.phase = NODE_HANDOVER_NONE;
    n->retire_retry_at = n->now + n->config.raft.heartbeat_ms;
}

void handover_ended(struct node *n, int code, const struct raft_reason *why)
{
    char text[PEER_WHY_SIZE];

    if (n->handover.phase != NODE_HANDOVER_UNDER_WAY) {
        return;
    }
    if (code == 0) {
        n->handover.phase = NODE_HANDOVER_GIVEN;
        n->handover.given_until = n->now + patience(n);
        return;
    }
    node_reason_text(n, why, text, sizeof text);
    over(n, code, 0, 0, text);
}

/* Leadership is given up: who has it? */
static void turn_given(struct node *n)
{
    raft_id leader = node_known_leader(n, n->now);
    char why[PEER_WHY_SIZE];
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (leader && view.term > n->handover.term) {
        bool again = leader == n->config.raft.id;
        over(n, again ? -RD_ETRANSFER_FAILED : 0, leader, view.term, "this node was elected again");
    } else if (n->now >= n->handover.given_until) {
        (void)snprintf(why, sizeof why,
                       "node %" PRIu32 " was told to take over, and nobody has committed as the "
                       "leader within %" PRIu64 " ms",
                       n->handover.target, patience(n));
        over(n, -RD_ETRANSFER_FAILED, 0, 0, why);
    }
}

/* ---- About to stop ---- */

void node_retire(struct node *n, mono_ms deadline)
{
    n->retiring = true;
    n->retire_deadline = deadline;
    n->retire_retry_at = n->now;
    node_step(n, &(struct raft_event){.type = RAFT_EV_RETIRE});
}

/* Does it lead others who could lead? */
static bool leads_voters(const struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    return view.state == RAFT_LEADER && membership_voters(raft_membership(n->raft)) > 1;
}

static bool has_open_requests(const struct node *n)
{
    return n->writes_open || n->reads_count || n->changes_count || n->asks_count;
}

bool node_is_retired(const struct node *n)
{
    bool busy = leads_voters(n) || n->handover.phase != NODE_HANDOVER_NONE || has_open_requests(n);

    return n->retiring && (!busy || n->now >= n->retire_deadline);
}

void handover_retire_turn(struct node *n)
{
    char why[PEER_WHY_SIZE];
    bool wanted = n->retiring && leads_voters(n) && n->handover.phase == NODE_HANDOVER_NONE;

    if (wanted && n->now >= n->retire_retry_at && n->now < n->retire_deadline) {
        n->retire_retry_at = n->now + n->config.raft.heartbeat_ms / 2 + 1;
        int code = handover_begin(n, 0, why, sizeof why); /* refused: it is tried again */
        if (code && code != n->retire_refused) {
            tell(n, code, 0, 0, why);
        }
        n->retire_refused = code;
    }
}

/* ---- Low on space ---- */

static bool has_room(const struct node *n, const struct raft_member *m)
{
    const struct node_peer *peer = hello_peer(n, m->id);

    return m->role == RAFT_VOTER && m->id != n->config.raft.id && peer && peer->up &&
           !peer->hello.disk_low;
}

static bool answers(const struct node *n, raft_id id, struct raft_peer_view *out)
{
    return raft_peer_view(n->raft, id, out) && out->contact &&
           n->now < out->contact + n->config.raft.election_timeout_ms;
}

/* The one with the longest log of those who answer; 0: there is none. `young`: who has not answered yet,
 * too. */
static raft_id voter_with_room(const struct node *n, bool young)
{
    const struct raft_membership *m = raft_membership(n->raft);
    raft_index longest = 0;
    raft_id id = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        struct raft_peer_view view = {0};
        bool fits = has_room(n, &m->members[i]) &&
                    (answers(n, m->members[i].id, &view) || (young && view.contact == 0));
        if (fits && (id == 0 || view.match > longest)) {
            longest = view.match;
            id = m->members[i].id;
        }
    }
    return id;
}

bool handover_finds_room(const struct node *n)
{
    struct raft_view view;

    if (n->handover.phase != NODE_HANDOVER_NONE) {
        return true;
    }
    raft_view_get(n->raft, &view);
    bool soon = n->now + n->config.raft.heartbeat_ms >= n->room_handover_at;
    return soon && !n->retiring && voter_with_room(n, !view.leader_committed);
}

void handover_room_turn(struct node *n)
{
    mono_ms timeout = n->config.raft.election_timeout_ms;
    char why[PEER_WHY_SIZE];

    if (!n->room.low || n->retiring || n->now < n->room_handover_at ||
        n->handover.phase != NODE_HANDOVER_NONE || !leads_voters(n)) {
        return;
    }
    raft_id target = voter_with_room(n, false);
    if (target) {
        int code = handover_begin(n, target, why, sizeof why);
        bool soon = code == -RD_ENOT_READY || code == -RD_ECHANGE_PENDING;
        n->room_handover_at = n->now + (soon   ? n->config.raft.heartbeat_ms
                                        : code ? timeout
                                               : ROOM_TIMEOUTS * timeout);
    }
}

/* ---- Time ---- */

void handover_turn(struct node *n)
{
    struct raft_view view;

    if (n->handover.phase == NODE_HANDOVER_UNDER_WAY) {
        raft_view_get(n->raft, &view);
        bool begins = view.transfer_holds && n->handover.held_since == 0;
        n->handover.held_since = begins ? n->now : n->handover.held_since;
    } else if (n->handover.phase == NODE_HANDOVER_GIVEN) {
        turn_given(n);
    }
}

mono_ms handover_deadline(const struct node *n)
{
    mono_ms given = n->handover.phase == NODE_HANDOVER_GIVEN ? n->handover.given_until : UINT64_MAX;
    mono_ms retiring = UINT64_MAX;

    if (n->retiring && n->now < n->retire_deadline) {
        bool tries = leads_voters(n) && n->handover.phase == NODE_HANDOVER_NONE;
        retiring = tries ? n->retire_retry_at : n->retire_deadline;
    }
    mono_ms deadline = given < retiring ? given : retiring;
    bool waits = n->room.low && n->now < n->room_handover_at && leads_voters(n);
    return waits && n->room_handover_at < deadline ? n->room_handover_at : deadline;
}
