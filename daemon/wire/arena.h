/* arena.h - memory for one unpacked envelope: bump allocation below a cap, freed all at once.
 *
 * Unpacking has no limit of its own: two bytes of input can cost a submessage. The cap is 64 KiB +
 * 16 x envelope, at most 8 MiB; beyond it allocation returns NULL and unpacking fails cleanly.
 * Usual envelopes never leave the first block, which lives inside the arena, on the caller's stack.
 * Private to the room. Threads: one arena, one thread. */
#ifndef RAFTD_WIRE_ARENA_H
#define RAFTD_WIRE_ARENA_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "wire/frame.h"

enum { ARENA_ALIGN = 16, ARENA_FIRST = 8 * 1024, ARENA_CHUNK = 64 * 1024 };

struct arena_chunk;

struct arena {
    ProtobufCAllocator allocator; /* its data is the arena: an arena must not move */
    uint8_t *at;
    size_t left;   /* bytes free at `at` */
    size_t budget; /* bytes that may still be taken from the heap */
    struct arena_chunk *chunks;
    alignas(ARENA_ALIGN) uint8_t first[ARENA_FIRST];
};

/* The cap on what unpacking an envelope of this size may take. */
size_t arena_cap(size_t envelope_size);

void arena_init(struct arena *a, size_t cap);
void arena_done(struct arena *a); /* frees everything unpacked */

/* The frame's envelope as a message that lives until arena_done(); NULL: malformed, or above the
 * cap. */
void *arena_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor,
                   const struct frame *frame);

#endif
