/* Clients' linearizable reads: many share one read index; each is served once that is applied. */
#include <stdio.h>

#include "node/internal.h"

void node_read(struct node *n, uint64_t token, mono_ms deadline)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (!uuid_is_set(&view.cluster)) {
        formation_refuse(n, token);
        return;
    }
    if (n->reads_count == NODE_READS_MAX) {
        node_refuse(n, token, -RD_ENOT_READY, "4096 reads are open on this node: try again");
        return;
    }
    if (node_is_removed(n)) {
        node_refuse(n, token, -RD_EREMOVED, node_removed_text);
        return;
    }
    if (n->reads_count == n->reads_capacity) {
        n->reads_capacity = n->reads_capacity ? n->reads_capacity * 2 : 16;
        n->reads = mem_realloc(n->reads, n->reads_capacity * sizeof *n->reads);
    }
    n->reads[n->reads_count++] =
        (struct node_read_slot){.token = token, .deadline = deadline, .state = NODE_READ_NEW};
}

/* One question to the core for all reads that have none under way. */
void reads_ask(struct node *n)
{
    bool wanted = false;
    struct raft_view view;

    raft_view_get(n->raft, &view);
    bool moved = view.leader != n->reads_leader || view.term != n->reads_term;
    n->reads_leader = view.leader;
    n->reads_term = view.term;
    for (uint32_t i = 0; i < n->reads_count; i++) {
        struct node_read_slot *s = &n->reads[i];
        if (s->state == NODE_READ_NEW || n->now >= s->retry_at || (moved && view.leader)) {
            if (!wanted) {
                wanted = true;
                n->read_round++;
            }
            s->state = NODE_READ_ASKED;
            s->round = n->read_round;
            s->retry_at = n->now + n->config.raft.election_timeout_ms;
        }
    }
    if (wanted) {
        node_step(n, &(struct raft_event){.type = RAFT_EV_READ, .read = {.token = n->read_round}});
    }
}

void reads_on_index(struct node *n, const struct raft_read *read)
{
    for (uint32_t i = 0; i < n->reads_count; i++) {
        struct node_read_slot *s = &n->reads[i];
        if (s->state != NODE_READ_ASKED || s->round != read->token) {
            continue;
        }
        if (read->code == 0) {
            s->state = NODE_READ_READY;
            s->index = read->index;
            /* A leader that falls may take its uncommitted index with it: ask the next one. */
            s->retry_at = n->now + n->config.raft.election_timeout_ms;
        } else { /* no leader, or it changed: ask again soon */
            s->retry_at = n->now + n->config.raft.heartbeat_ms / 4 + 1;
        }
    }
}

void reads_serve(struct node *n)
{
    uint32_t kept = 0;

    n->reads_alarm = UINT64_MAX;
    for (uint32_t i = 0; i < n->reads_count; i++) {
        struct node_read_slot *s = &n->reads[i];
        if (s->state == NODE_READ_READY && state_index(n->state) >= s->index) {
            node_answer_add(n, s->token, 0);
            continue;
        }
        if (n->now >= s->deadline) {
            if (node_known_leader(n, n->now) == 0) {
                reach_refuse(n, s->token,
                             "nothing was read; get and list with --stale read this node's own "
                             "state");
            } else {
                struct node_answer *a = node_answer_add(n, s->token, -RD_ETIMEOUT);
                (void)snprintf(a->message, sizeof a->message,
                               "no answer from the leader by the deadline");
            }
            continue;
        }
        mono_ms alarm = s->retry_at < s->deadline ? s->retry_at : s->deadline;
        n->reads_alarm = alarm < n->reads_alarm ? alarm : n->reads_alarm;
        n->reads[kept++] = *s;
    }
    n->reads_count = kept;
}

void reads_removed(struct node *n)
{
    for (uint32_t i = 0; i < n->reads_count; i++) {
        node_refuse(n, n->reads[i].token, -RD_EREMOVED, node_removed_text);
    }
    n->reads_count = 0;
}

bool reads_cancel(struct node *n, uint64_t token)
{
    for (uint32_t i = 0; i < n->reads_count; i++) {
        if (n->reads[i].token == token) {
            n->reads[i] = n->reads[--n->reads_count];
            return true;
        }
    }
    return false;
}

mono_ms reads_deadline(const struct node *n)
{
    return n->reads_alarm;
}
