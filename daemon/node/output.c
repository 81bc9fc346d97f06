/* What a turn puts out: messages, of which some wait for the disk, and answers. */
#include <stdio.h>

#include "node/internal.h"

static struct node_send *sends_add(struct node_sends *s)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 16;
        s->items = mem_realloc(s->items, s->capacity * sizeof *s->items);
    }
    return &s->items[s->count++];
}

/* A newer acknowledgement says all that an older one of the same term says: while a disk hangs, one
 * per leader waits, not one per heartbeat. */
static bool replaces(const struct node_send *old, raft_id to, const struct peer_msg *msg)
{
    const struct raft_msg *was = &old->msg.raft;
    const struct raft_msg *is = &msg->raft;

    return old->to == to && was->type == RAFT_MSG_APPEND_REPLY &&
           is->type == RAFT_MSG_APPEND_REPLY && was->term == is->term && !was->reject &&
           !is->reject && is->index >= was->index && is->session == was->session;
}

/* What does not fit is lost; every message that waits for the disk is one that will be repeated. */
static void park(struct node_sends *s, raft_id to, const struct peer_msg *msg)
{
    for (uint32_t i = s->count; i > 0 && s->count - i < 8; i--) {
        if (replaces(&s->items[i - 1], to, msg)) {
            s->items[i - 1].msg = *msg;
            return;
        }
    }
    if (s->count < NODE_PARKED_MAX) {
        *sends_add(s) = (struct node_send){.to = to, .msg = *msg};
    }
}

struct peer_msg *node_send_new(struct node *n, raft_id to)
{
    struct node_out *out = &n->out;

    if (out->sends_count == out->sends_capacity) {
        out->sends_capacity = out->sends_capacity ? out->sends_capacity * 2 : 16;
        out->sends = mem_realloc(out->sends, out->sends_capacity * sizeof *out->sends);
    }
    struct node_send *send = &out->sends[out->sends_count++];
    *send = (struct node_send){.to = to};
    return &send->msg;
}

/* It is said in a version that the other does not speak: as good as lost, which any message may be. */
static bool is_unknown_there(const struct node *n, const struct raft_msg *m)
{
    const struct node_peer *peer = hello_peer(n, m->to);

    return !peer_protocol_has(peer ? peer_protocol(&peer->hello) : PEER_PROTOCOL_MIN, m->type);
}

void output_message(struct node *n, struct raft_out *o)
{
    struct peer_msg msg = {.type = PEER_RAFT, .raft = o->msg};

    if (is_unknown_there(n, &o->msg)) {
        peer_msg_done(&msg);
    } else if (!o->after_save) {
        *node_send_new(n, o->msg.to) = msg;
    } else if (raft_save_promises(n->raft)) {
        park(&n->gathering, o->msg.to, &msg);
    } else {
        rd_assert(n->batch_in_flight);
        park(&n->parked, o->msg.to, &msg);
    }
}

/* What waited for the disk leaves, unless a new term came meanwhile: entries it acknowledges may
 * have been replaced before they were written. */
void output_release(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    for (uint32_t i = 0; i < n->parked.count; i++) {
        struct node_send *s = &n->parked.items[i];
        if (s->msg.type == PEER_RAFT && s->msg.raft.term < view.term) {
            peer_msg_done(&s->msg);
        } else {
            *node_send_new(n, s->to) = s->msg;
        }
    }
    n->parked.count = 0;
}

void output_batch_left(struct node *n)
{
    struct node_sends empty = n->parked;

    rd_assert(empty.count == 0);
    n->parked = n->gathering;
    n->gathering = empty;
}

static void sends_clear(struct node_sends *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        peer_msg_done(&s->items[i].msg);
    }
    s->count = 0;
}

static void sends_free(struct node_sends *s)
{
    sends_clear(s);
    mem_free(s->items);
}

void output_free(struct node *n)
{
    node_out_clear(n);
    mem_free(n->out.sends);
    mem_free(n->out.answers);
    sends_free(&n->parked);
    sends_free(&n->gathering);
}

void node_refuse(struct node *n, uint64_t token, int code, const char *message)
{
    struct node_answer *a = node_answer_add(n, token, code);

    (void)snprintf(a->message, sizeof a->message, "%s", message);
}

struct node_answer *node_answer_add(struct node *n, uint64_t token, int code)
{
    struct node_out *out = &n->out;

    if (out->answers_count == out->answers_capacity) {
        out->answers_capacity = out->answers_capacity ? out->answers_capacity * 2 : 16;
        out->answers = mem_realloc(out->answers, out->answers_capacity * sizeof *out->answers);
    }
    struct node_answer *answer = &out->answers[out->answers_count++];
    *answer =
        (struct node_answer){.token = token, .code = code, .leader = node_known_leader(n, n->now)};
    return answer;
}

void node_out_clear(struct node *n)
{
    struct node_out *out = &n->out;

    for (uint32_t i = 0; i < out->sends_count; i++) {
        peer_msg_done(&out->sends[i].msg);
    }
    for (uint32_t i = 0; i < out->answers_count; i++) {
        mem_free(out->answers[i].change);
    }
    out->sends_count = 0;
    out->answers_count = 0;
    out->batch = NULL;
    out->changed = false;
    out->hello_changed = false;
    out->hello_first = false;
    out->targets_changed = false;
    out->reason[0] = 0;
    out->handover.over = false;
    out->snapshot.how = 0;
}
