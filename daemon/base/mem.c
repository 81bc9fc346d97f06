#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"

static void *mem_checked(void *p, size_t size)
{
    if (!p) {
        (void)fprintf(stderr, "raftd: out of memory: %zu bytes refused\n", size);
        _exit(RD_EXIT_BUG);
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return mem_checked(malloc(size ? size : 1), size);
}

void *mem_zalloc(size_t size)
{
    return mem_checked(calloc(1, size ? size : 1), size);
}

void *mem_realloc(void *p, size_t size)
{
    return mem_checked(realloc(p, size ? size : 1), size);
}

void *mem_dup(const void *p, size_t size)
{
    void *copy = mem_alloc(size);

    if (size) {
        memcpy(copy, p, size);
    }
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

void mem_free(void *p)
{
    free(p);
}

struct blob *blob_new(size_t size)
{
    rd_assert(size <= UINT32_MAX);
    struct blob *b = mem_alloc(sizeof *b + size);

    b->refs = 1;
    b->size = (uint32_t)size;
    return b;
}

struct blob *blob_copy(const void *data, size_t size)
{
    struct blob *b = blob_new(size);

    if (size) {
        memcpy(b->data, data, size);
    }
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    if (b) {
        b->refs++;
    }
    return b;
}

void blob_unref(struct blob *b)
{
    if (!b) {
        return;
    }
    rd_assert(b->refs > 0);
    if (--b->refs == 0) {
        mem_free(b);
    }
}
