#include "wire/arena.h"

#include "base/mem.h"

enum { CAP_FLOOR = 64 * 1024, CAP_FACTOR = 16, CAP_MAX = 8 * 1024 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    alignas(ARENA_ALIGN) uint8_t bytes[];
};

size_t arena_cap(size_t envelope_size)
{
    if (envelope_size > (CAP_MAX - CAP_FLOOR) / CAP_FACTOR) {
        return CAP_MAX;
    }
    return CAP_FLOOR + CAP_FACTOR * envelope_size;
}

/* A new chunk with room for `size` bytes within the budget, or false. */
static bool arena_grow(struct arena *a, size_t size)
{
    size_t want = size > ARENA_CHUNK ? size : ARENA_CHUNK;

    if (want > a->budget) {
        want = size; /* near the cap: no more than asked for */
    }
    if (want > a->budget) {
        return false;
    }
    struct arena_chunk *chunk = mem_alloc(sizeof *chunk + want);
    chunk->next = a->chunks;
    a->chunks = chunk;
    a->at = chunk->bytes;
    a->left = want;
    a->budget -= want;
    return true;
}

static void *arena_alloc(void *data, size_t size)
{
    struct arena *a = data;

    if (size > CAP_MAX) {
        return NULL;
    }
    size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (size > a->left && !arena_grow(a, size)) {
        return NULL;
    }
    void *p = a->at;
    a->at += size;
    a->left -= size;
    return p;
}

static void arena_forget(void *data, void *p)
{
    (void)data; /* arena_done() frees everything */
    (void)p;
}

void arena_init(struct arena *a, size_t cap)
{
    a->allocator = (ProtobufCAllocator){arena_alloc, arena_forget, a};
    a->at = a->first;
    a->left = cap < ARENA_FIRST ? cap / ARENA_ALIGN * ARENA_ALIGN : ARENA_FIRST;
    a->budget = cap - a->left;
    a->chunks = NULL;
}

void arena_done(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        mem_free(a->chunks);
        a->chunks = next;
    }
}

void *arena_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor,
                   const struct frame *frame)
{
    return protobuf_c_message_unpack(descriptor, &a->allocator, frame->header_size, frame->header);
}
