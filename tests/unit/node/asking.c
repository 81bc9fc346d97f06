#include "asking.h"

#include <string.h>

struct peer_change change_of(enum peer_change_kind kind, raft_id id)
{
    return (struct peer_change){.kind = kind, .id = id};
}

const struct node_answer *promote(struct rig *g, raft_id via, raft_id id, bool force)
{
    struct peer_change c = change_of(PEER_CHANGE_PROMOTE, id);

    c.force = force;
    return rig_do(g, via, &c);
}

const struct node_answer *demote(struct rig *g, raft_id via, raft_id id)
{
    struct peer_change c = change_of(PEER_CHANGE_DEMOTE, id);

    return rig_do(g, via, &c);
}

const struct node_answer *remove_server(struct rig *g, raft_id via, raft_id id, bool force)
{
    struct peer_change c = change_of(PEER_CHANGE_REMOVE, id);

    c.force = force;
    return rig_do(g, via, &c);
}

const struct node_answer *add(struct rig *g, raft_id via, raft_id id)
{
    struct peer_change c = rig_add(id);

    return rig_do(g, via, &c);
}

const struct node_answer *add_learner(struct rig *g, raft_id via, raft_id id)
{
    struct peer_change c = rig_add(id);

    c.learner = true;
    return rig_do(g, via, &c);
}

raft_index committed(const struct rig *g, raft_id at)
{
    return raft_membership_committed(node_raft(g->nodes[at]))->index;
}

/* Enough bytes that a new member needs several round trips. */
void fill(struct rig *g, raft_id via, uint32_t writes)
{
    static uint64_t token = 500000;
    char value[4001];

    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (uint32_t i = 0; i < writes; i++) {
        rig_write(g, via, ++token, "fill", value, 5000);
    }
    rig_run(g, 200);
    assert_int_equal(rig_answer(g, token)->code, 0);
    g->answers_count -= writes;
}

/* No append reaches this node, heartbeats do. */
raft_id starved;

bool drop_appends(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from;
    return to == starved && msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_APPEND &&
           msg->raft.entries_count > 0;
}

/* Nobody hears of new entries: nothing can be committed. */
bool drop_all_appends(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_APPEND &&
           msg->raft.entries_count > 0;
}

/* Memberships above this index do not travel. */
raft_index held_above;

bool drop_memberships(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    bool holds = false;

    (void)g, (void)from, (void)to;
    for (uint32_t i = 0; msg->type == PEER_RAFT && i < msg->raft.entries_count; i++) {
        const struct raft_entry *e = &msg->raft.entries[i];
        holds = holds || (e->type == RAFT_ENTRY_MEMBERSHIP && e->index > held_above);
    }
    return holds;
}
