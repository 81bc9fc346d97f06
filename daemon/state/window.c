#include "state/window.h"

#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"

#define SLOTS_MIN 16U

_Static_assert((STATE_WINDOW_MAX & (STATE_WINDOW_MAX - 1)) == 0 &&
                   STATE_WINDOW_MAX % SLOTS_MIN == 0,
               "slots are addressed by the low bits of seq");

static const uint64_t WINDOW_SEED = 0x77696e646f772d31U; /* stable: the digest is stored */
static const uint64_t SLOT_SEED = 0x736c6f742d2d2d31U;

struct window_slot {
    uint64_t seq;  /* 0: empty */
    uint64_t hash; /* its share of the digest */
    struct state_result result;
};

struct window {
    uint32_t node;
    uint32_t slots_count; /* power of two; every remembered seq < floor + slots_count */
    uint64_t incarnation;
    uint64_t floor; /* never goes back within an incarnation; nothing below is remembered */
    uint64_t hash;  /* of the three above, its share of the digest */
    struct window_slot *slots;
};

void window_set_init(struct window_set *set)
{
    *set = (struct window_set){0};
}

void window_set_done(struct window_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        mem_free(set->windows[i]->slots);
        mem_free(set->windows[i]);
    }
    mem_free(set->windows);
    window_set_init(set);
}

/* ---- Finding ---- */

static struct window_slot *slot_at(const struct window *w, uint64_t seq)
{
    return &w->slots[seq & (w->slots_count - 1)];
}

/* Position of the first window whose node is not below. */
static uint32_t set_position(const struct window_set *set, uint32_t node)
{
    uint32_t low = 0, high = set->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (set->windows[middle]->node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct window *set_find(const struct window_set *set, uint32_t node)
{
    uint32_t at = set_position(set, node);

    return at < set->count && set->windows[at]->node == node ? set->windows[at] : NULL;
}

/* Can the id be one that a node made? A floor above its seq can: it is merely late. */
static bool id_is_sound(const struct request_id *id)
{
    return id->seq > 0 && (id->floor > id->seq || id->seq - id->floor < STATE_WINDOW_MAX);
}

enum window_verdict window_check(const struct window_set *set, const struct request_id *id,
                                 struct state_result *first)
{
    const struct window *w = set_find(set, id->node);

    if (!id_is_sound(id)) {
        return WINDOW_INVALID;
    }
    if (w && id->incarnation < w->incarnation) {
        return WINDOW_DROPPED;
    }
    if (id->seq < id->floor) {
        return WINDOW_DROPPED;
    }
    if (!w || id->incarnation > w->incarnation) {
        return WINDOW_NEW;
    }
    if (id->seq < w->floor) {
        return WINDOW_DROPPED;
    }
    const struct window_slot *slot = slot_at(w, id->seq);
    if (slot->seq != id->seq) {
        return WINDOW_NEW;
    }
    *first = slot->result;
    first->repeated = true;
    return WINDOW_REPEATED;
}

/* ---- Changing ---- */

static uint64_t window_hash(const struct window *w)
{
    return hash64_mix(hash64_mix(hash64_mix(WINDOW_SEED, w->node), w->incarnation), w->floor);
}

static uint64_t slot_hash(const struct window *w, uint64_t seq, const struct state_result *r)
{
    uint64_t hash = hash64_mix(SLOT_SEED + r->succeeded, w->node);

    hash = hash64_mix(hash, w->incarnation);
    hash = hash64_mix(hash, seq);
    hash = hash64_mix(hash, (uint64_t)(uint32_t)r->code << 32 | r->deleted);
    hash = hash64_mix(hash, r->revision);
    hash = hash64_mix(hash, r->index);
    hash = hash64_mix(hash, r->term);
    return hash64_mix(hash, r->actual);
}

static struct window *set_insert(struct window_set *set, const struct request_id *id)
{
    uint32_t at = set_position(set, id->node);
    struct window *w = mem_zalloc(sizeof *w);

    if (set->count == set->capacity) {
        set->capacity = set->capacity ? set->capacity * 2 : 4;
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
        set->windows = mem_realloc(set->windows, set->capacity * sizeof *set->windows);
    }
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    memmove(&set->windows[at + 1], &set->windows[at], (set->count - at) * sizeof *set->windows);
    set->windows[at] = w;
    set->count++;
    w->node = id->node;
    w->incarnation = id->incarnation;
    w->slots_count = SLOTS_MIN;
    w->slots = mem_zalloc(SLOTS_MIN * sizeof *w->slots);
    w->hash = window_hash(w);
    set->digest += w->hash;
    return w;
}

static void window_reset(struct window_set *set, struct window *w, uint64_t incarnation)
{
    for (uint32_t i = 0; i < w->slots_count; i++) {
        if (w->slots[i].seq) {
            set->digest -= w->slots[i].hash;
        }
    }
    memset(w->slots, 0, w->slots_count * sizeof *w->slots);
    w->incarnation = incarnation;
    w->floor = 0;
}

static void window_raise_floor(struct window_set *set, struct window *w, uint64_t floor)
{
    if (floor <= w->floor) {
        return;
    }
    /* All that is remembered lies within slots_count above the old floor. */
    uint64_t steps = floor - w->floor < w->slots_count ? floor - w->floor : w->slots_count;
    for (uint64_t i = 0; i < steps; i++) {
        struct window_slot *slot = slot_at(w, w->floor + i);

        if (slot->seq) {
            set->digest -= slot->hash;
            slot->seq = 0;
        }
    }
    w->floor = floor;
}

static void window_grow(struct window *w, uint64_t seq)
{
    uint32_t count = w->slots_count;

    while (seq - w->floor >= count) {
        count *= 2;
    }
    rd_assert(count <= STATE_WINDOW_MAX);
    if (count == w->slots_count) {
        return;
    }
    struct window old = *w;
    w->slots_count = count;
    w->slots = mem_zalloc(count * sizeof *w->slots);
    for (uint32_t i = 0; i < old.slots_count; i++) {
        if (old.slots[i].seq) {
            *slot_at(w, old.slots[i].seq) = old.slots[i];
        }
    }
    mem_free(old.slots);
}

/* Bring the window to the request's incarnation and floor. */
static struct window *window_advance(struct window_set *set, const struct request_id *id)
{
    struct window *w = set_find(set, id->node);

    if (!w) {
        w = set_insert(set, id);
    }
    if (id->incarnation > w->incarnation) {
        window_reset(set, w, id->incarnation);
    }
    window_raise_floor(set, w, id->floor);
    set->digest -= w->hash;
    w->hash = window_hash(w);
    set->digest += w->hash;
    return w;
}

static void window_set_slot(struct window_set *set, struct window *w, uint64_t seq,
                            const struct state_result *result)
{
    window_grow(w, seq);
    struct window_slot *slot = slot_at(w, seq);

    rd_assert(slot->seq == 0);
    slot->seq = seq;
    slot->result = *result;
    slot->hash = slot_hash(w, seq, result);
    set->digest += slot->hash;
}

uint64_t window_add(struct window_set *set, const struct request_id *id,
                    const struct state_result *result)
{
    rd_assert(id_is_sound(id) && id->seq >= id->floor && !result->repeated);
    struct window *w = window_advance(set, id);

    rd_assert(w->incarnation == id->incarnation && id->seq >= w->floor);
    window_set_slot(set, w, id->seq, result);
    return w->floor;
}

bool window_forget(struct window_set *set, uint32_t node)
{
    uint32_t at = set_position(set, node);

    if (at == set->count || set->windows[at]->node != node) {
        return false;
    }
    struct window *w = set->windows[at];
    window_reset(set, w, 0);
    set->digest -= w->hash;
    set->count--;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    memmove(&set->windows[at], &set->windows[at + 1], (set->count - at) * sizeof *set->windows);
    mem_free(w->slots);
    mem_free(w);
    return true;
}

int window_restore(struct window_set *set, const struct request_id *id,
                   const struct state_result *result)
{
    if (!id_is_sound(id) || id->seq < id->floor) {
        return -RD_ECORRUPT;
    }
    const struct window *known = set_find(set, id->node);
    if (known && id->incarnation < known->incarnation) {
        return 0;
    }
    struct window *w = window_advance(set, id);
    if (id->seq < w->floor) {
        return 0;
    }
    if (slot_at(w, id->seq)->seq == id->seq) {
        return -RD_ECORRUPT;
    }
    window_set_slot(set, w, id->seq, result);
    return 0;
}
