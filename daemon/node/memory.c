/* What the others have promised us, so that a data directory that was put back to an earlier state, or
 * a disk that lost what it had confirmed, is found before it promises something else.
 *
 * A process can lawfully be no further back at its start than what earlier processes of its store have
 * told: terms never go back, and within one term an entry that was acknowledged is never cut (a later
 * term may cut it, so entries are remembered for the highest term only). So what is remembered is
 * compared with what the store held when the process began, not with what it has heard since, and what
 * the process has promised itself is not compared at all.
 *
 * It is memory, not a record: who restarts forgets. */
#include <inttypes.h>
#include <stdio.h>

#include "node/internal.h"

/* ---- Those who remember ---- */

bool memory_is_late(const struct node *n, raft_id from, const struct peer_msg *msg)
{
    const struct node_peer *peer = hello_peer(n, from);

    return peer && msg->process && msg->process != peer->hello.process;
}

/* Does its term leave only when it is durable? A pre-vote and what grants it name a term that nobody is
 * in yet. */
static bool tells_its_term(const struct raft_msg *m)
{
    return m->type != RAFT_MSG_PRE_VOTE && (m->type != RAFT_MSG_PRE_VOTE_REPLY || m->reject);
}

/* Up to which entry the sender says it has the log of this term's leader durably; 0: it does not say. */
static raft_index durable_index(const struct raft_msg *m)
{
    bool is_acknowledged =
        m->type == RAFT_MSG_APPEND_REPLY || (m->type == RAFT_MSG_SNAPSHOT_REPLY && m->done);

    if (m->type == RAFT_MSG_APPEND) {
        return m->hint;
    }
    return is_acknowledged && !m->reject ? m->index : 0;
}

/* The term of an entry that is acknowledged to us. Of what is committed without that acknowledgement it
 * does not matter. */
static raft_term acknowledged_term(const struct node *n, const struct raft_view *view,
                                   const struct raft_msg *m)
{
    bool ours = m->type == RAFT_MSG_APPEND_REPLY && !m->reject && view->state == RAFT_LEADER &&
                m->term == view->term;

    return ours && m->index > view->commit && m->index <= view->last
               ? raft_term_at(n->raft, m->index)
               : 0;
}

void memory_note(struct node *n, const struct raft_msg *m)
{
    struct node_peer *peer = hello_peer(n, m->from);
    raft_index index = durable_index(m);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (!peer || !tells_its_term(m) || m->term < peer->seen.term || !uuid_is_set(&view.cluster) ||
        !uuid_equal(&m->cluster, &view.cluster) || m->to != n->config.raft.id) {
        return;
    }
    if (m->type != RAFT_MSG_APPEND && index > view.last) {
        index = 0; /* nobody acknowledges what we have not sent */
    }
    struct peer_memory *seen = &peer->seen;
    if (m->term > seen->term) {
        *seen = (struct peer_memory){.term = m->term};
    }
    raft_term log_term = acknowledged_term(n, &view, m);
    seen->process = peer->hello.process;
    seen->index = index > seen->index ? index : seen->index;
    seen->log_term = log_term > seen->log_term ? log_term : seen->log_term;
    seen->voted = seen->voted || (m->type == RAFT_MSG_VOTE_REPLY && !m->reject);
}

void memory_meet(struct node *n, struct node_peer *peer, const struct peer_hello *hello)
{
    if (peer->hello.id != hello->id || !uuid_equal(&peer->hello.store, &hello->store)) {
        peer->seen = (struct peer_memory){0};
    } else if (peer->seen.term > 0) {
        n->greetings++;
        n->out.hello_first = true;
    }
}

void memory_tell(const struct node *n, struct peer_binding *binding)
{
    const struct node_peer *peer = hello_peer(n, binding->id);

    if (peer && uuid_equal(&peer->hello.store, &binding->store)) {
        binding->seen = peer->seen;
    }
}

/* ---- Who is remembered ---- */

static bool is_lost(const struct raft_view *found, const struct peer_memory *seen, raft_id by)
{
    if (found->term != seen->term) {
        return found->term < seen->term;
    }
    return found->last < seen->index || found->last_term < seen->log_term ||
           (seen->voted && found->vote != by);
}

/* No store has been so far: who says so is mistaken, not we (raft_believes). */
static bool is_absurd(const struct raft_view *found, const struct peer_memory *seen)
{
    return seen->term > found->term + RAFT_AHEAD_MAX ||
           seen->log_term > found->term + RAFT_AHEAD_MAX ||
           seen->index > found->last + RAFT_AHEAD_MAX;
}

/* Of our cluster; or who is free to join one would join this one now. */
static bool is_of_ours(const struct node *n, const struct peer_hello *hello)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    bool is_free = !uuid_is_set(&view.cluster) || view.term == 0;
    return uuid_is_set(&hello->cluster) && (is_free || uuid_equal(&view.cluster, &hello->cluster));
}

void memory_judge(struct node *n, const struct peer_hello *hello)
{
    const struct peer_binding *ours = hello_binding(hello, n->config.raft.id);
    const struct raft_view *found = &n->found;
    char why[NODE_FATAL_SIZE];

    if (!ours || !uuid_equal(&ours->store, &n->config.raft.store) || !is_of_ours(n, hello) ||
        ours->seen.process == n->config.process || is_absurd(found, &ours->seen) ||
        !is_lost(found, &ours->seen, hello->id)) {
        return;
    }
    (void)snprintf(
        why, sizeof why,
        "node %" PRIu32 " remembers this store in term %" PRIu64 "%s, with the log up to "
        "index %" PRIu64 "; it began this time in term %" PRIu64 " (vote %" PRIu32
        "), with the log up to index %" PRIu64 " of term %" PRIu64
        ": data_dir is an older copy, or its disk lost what it had confirmed. It must not "
        "take part: put the newest data back, or empty data_dir and give the cluster a "
        "fresh member instead of this one (raftctl replace-server, or remove-server and "
        "add-server)",
        hello->id, ours->seen.term, ours->seen.voted ? ", voting for it" : "", ours->seen.index,
        found->term, found->vote, found->last, found->last_term);
    node_fail(n, -RD_ECORRUPT, why);
}
