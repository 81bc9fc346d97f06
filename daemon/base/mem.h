/* mem.h - memory, and bytes that several owners share.
 *
 * Allocation never fails for the caller: when the system has no memory left the process prints one
 * line and ends. What a stranger can make us allocate is bounded before it gets here.
 * Threads: mem_* any; blob reference counts are not atomic, loop thread only (another thread may
 * read the bytes while the loop thread holds a reference for it). */
#ifndef RAFTD_BASE_MEM_H
#define RAFTD_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);              /* uninitialised */
void *mem_zalloc(size_t size);             /* zeroed */
void *mem_realloc(void *p, size_t size);   /* p may be NULL */
void *mem_dup(const void *p, size_t size); /* copy */
char *mem_strdup(const char *s);
void mem_free(void *p); /* NULL is fine */

/* Immutable bytes with a reference count. */
struct blob {
    uint32_t refs;
    uint32_t size;  /* bytes */
    uint8_t data[]; /* written only by who made it, before it is shared */
};

struct blob *blob_new(size_t size);                    /* one reference, uninitialised */
struct blob *blob_copy(const void *data, size_t size); /* one reference */
struct blob *blob_ref(struct blob *b);                 /* NULL gives NULL */
void blob_unref(struct blob *b);                       /* NULL is fine */

#endif
