/* What the leader knows of one follower, and the window of what is on its way. */
#include <string.h>

#include "raft/internal.h"

void progress_init(struct progress *p, const struct raft_member *m, raft_index next,
                   uint32_t window_capacity, mono_ms now)
{
    *p = (struct progress){
        .id = m->id,
        .session = m->session,
        .state = PROGRESS_PROBE,
        .next = next,
        .moved = now,
        .round_last = next - 1, /* what there was before the first that it is sent */
        .round_began = now,
        .window = mem_alloc(window_capacity * sizeof *p->window),
    };
    memcpy(p->address, m->address, sizeof p->address);
}

void progress_done(struct progress *p)
{
    mem_free(p->window);
}

bool progress_answers(const struct progress *p)
{
    return p->contact && p->ack_seq >= p->cut_seq;
}

bool progress_heard_within(const struct progress *p, mono_ms ms, mono_ms now)
{
    return progress_answers(p) && now < p->contact + ms;
}

static void window_clear(struct progress *p)
{
    p->window_count = 0;
    p->window_bytes = 0;
}

void progress_probe(struct progress *p)
{
    p->state = PROGRESS_PROBE;
    p->next = p->match + 1;
    p->probe_sent = false;
    p->snapshot = 0;
    window_clear(p);
}

void progress_needs_snapshot(struct progress *p)
{
    progress_probe(p);
    p->state = PROGRESS_SNAPSHOT;
}

void progress_sent(struct progress *p, raft_index last, uint32_t bytes, uint32_t capacity,
                   mono_ms now)
{
    rd_assert(p->window_count < capacity);
    if (p->window_count == 0) {
        p->moved = now; /* silence counts from here, not from before the pause */
    }
    p->window[(p->window_head + p->window_count) % capacity] =
        (struct inflight){.last = last, .bytes = bytes};
    p->window_count++;
    p->window_bytes += bytes;
    p->next = last + 1;
}

bool progress_acked(struct progress *p, raft_index index, uint32_t capacity, mono_ms now)
{
    bool moved = index > p->match;

    if (moved) {
        p->match = index;
        p->moved = now;
    }
    while (p->window_count && p->window[p->window_head].last <= index) {
        p->window_bytes -= p->window[p->window_head].bytes;
        p->window_head = (p->window_head + 1) % capacity;
        p->window_count--;
    }
    /* Only an answer that reaches the probe's own previous entry proves that the logs agree there;
     * a heartbeat's answer (at match) proves less. */
    if (p->state == PROGRESS_PROBE && index + 1 >= p->next) {
        p->state = PROGRESS_REPLICATE;
        p->probe_sent = false;
        p->moved = now;
    }
    if (p->next <= p->match) {
        p->next = p->match + 1;
    }
    return moved;
}

void progress_round(struct progress *p, raft_index last, mono_ms now)
{
    if (p->match >= p->round_last) {
        /* The first one tells what it had before: that is no pace. */
        p->round_size = p->had_all_at ? p->match - p->round_from : 0;
        p->round_took = now - p->round_began;
        p->had_all_at = p->round_began;
        p->round_from = p->match;
        p->round_began = now;
        p->round_last = last;
    }
}
