#include "sim.h"

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event t = *a;

    *a = *b;
    *b = t;
}

static uint32_t sift_up(struct sim_heap *h, uint32_t i)
{
    while (i > 0 && earlier(&h->events[i], &h->events[(i - 1) / 2])) {
        swap(&h->events[i], &h->events[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    return i;
}

static void sift_down(struct sim_heap *h)
{
    uint32_t i = 0;

    for (;;) {
        uint32_t least = i;

        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < h->count; child++) {
            if (earlier(&h->events[child], &h->events[least])) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        swap(&h->events[i], &h->events[least]);
        i = least;
    }
}

struct sim_event *heap_push(struct sim_heap *h, const struct sim_event *e)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : 256;
        h->events = mem_realloc(h->events, h->capacity * sizeof *h->events);
    }
    h->events[h->count] = *e;
    h->events[h->count].order = ++h->order;
    h->count++;
    return &h->events[sift_up(h, h->count - 1)];
}

bool heap_pop(struct sim_heap *h, struct sim_event *out)
{
    if (h->count == 0) {
        return false;
    }
    *out = h->events[0];
    h->count--;
    if (h->count > 0) {
        h->events[0] = h->events[h->count];
        sift_down(h);
    }
    return true;
}

const struct sim_event *heap_peek(const struct sim_heap *h)
{
    return h->count > 0 ? &h->events[0] : NULL;
}

void sim_event_done(struct sim_event *e)
{
    if (e->type == SIM_EV_MESSAGE && e->msg) {
        peer_msg_done(e->msg);
        mem_free(e->msg);
    } else if (e->type == SIM_EV_HELLO) {
        mem_free(e->hello);
    } else if (e->type == SIM_EV_REFUSAL) {
        mem_free(e->refusal);
    }
}
