/* How much of the log stays behind the applied index. What was applied is counted in segments; whole
 * segments are forgotten, the oldest first, once what is left is still enough. */
#include "node/internal.h"

enum {
    KEEP_SEGMENTS = 32, /* so many make up what is kept: how finely it is cut */
    ENTRY_BYTES = 64,   /* of an entry on disk beside its payload, about */
};

static struct node_segment *segment_at(struct node_trim *t, uint32_t number)
{
    return &t->segments[(t->head + number) & (t->capacity - 1)];
}

static void grow(struct node_trim *t)
{
    uint32_t capacity = t->capacity ? t->capacity * 2 : 2 * KEEP_SEGMENTS;
    struct node_segment *segments = mem_alloc(capacity * sizeof *segments);

    for (uint32_t i = 0; i < t->count; i++) {
        segments[i] = *segment_at(t, i);
    }
    mem_free(t->segments);
    t->segments = segments;
    t->capacity = capacity;
    t->head = 0;
}

static bool is_full(const struct node *n, const struct node_segment *s)
{
    return s->entries > n->config.log_keep_entries / KEEP_SEGMENTS ||
           s->bytes > n->config.log_keep_bytes / KEEP_SEGMENTS;
}

void trim_count(struct node *n, const struct raft_entry *e)
{
    struct node_trim *t = &n->trim;
    uint64_t bytes = ENTRY_BYTES + (e->data ? e->data->size : 0);

    if (!n->config.keeps_rows) {
        return;
    }
    if (t->count == 0 || is_full(n, segment_at(t, t->count - 1))) {
        if (t->count == t->capacity) {
            grow(t);
        }
        *segment_at(t, t->count++) = (struct node_segment){0};
    }
    struct node_segment *s = segment_at(t, t->count - 1);
    s->last = e->index;
    s->entries++;
    s->bytes += bytes;
    t->entries += 1;
    t->bytes += bytes;
}

static void drop(struct node_trim *t, uint32_t number)
{
    const struct node_segment *s = segment_at(t, number);

    t->entries -= s->entries;
    t->bytes -= s->bytes;
}

void trim_forget_after(struct node *n, raft_index index)
{
    struct node_trim *t = &n->trim;

    while (t->count > 0 && segment_at(t, t->count - 1)->last > index) {
        drop(t, t->count - 1);
        t->count--;
    }
}

void trim_forget(struct node *n)
{
    n->trim.count = 0;
    n->trim.entries = 0;
    n->trim.bytes = 0;
}

bool node_log_is_long(const struct node *n)
{
    return n->trim.bytes > n->config.log_hold_bytes ||
           (n->log_limit && n->log_used > n->log_limit / 2);
}

/* The last entry that nobody needs in the log. */
static raft_index limit(const struct node *n)
{
    raft_index needed = raft_needed(n->raft);

    return needed < n->flushed && !node_log_is_long(n) ? needed : n->flushed;
}

/* Is what stays enough without the oldest segment? On a disk that is low everything is: pages that are
 * free again are the room there is. */
static bool is_spare(const struct node *n, const struct node_segment *oldest)
{
    const struct node_trim *t = &n->trim;

    return n->room.low || t->entries - oldest->entries >= n->config.log_keep_entries ||
           t->bytes - oldest->bytes >= n->config.log_keep_bytes;
}

void trim_turn(struct node *n)
{
    struct node_trim *t = &n->trim;
    raft_index to = 0;
    raft_index most = t->count > 0 ? limit(n) : 0;

    while (t->count > 0) {
        const struct node_segment *s = segment_at(t, 0);
        if (!is_spare(n, s) || s->last > most) {
            break;
        }
        to = s->last;
        drop(t, 0);
        t->head = (t->head + 1) & (t->capacity - 1);
        t->count--;
    }
    if (to) {
        raft_trim(n->raft, to);
    }
}

void trim_free(struct node *n)
{
    mem_free(n->trim.segments);
}
