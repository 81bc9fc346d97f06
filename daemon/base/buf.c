#include "base/buf.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

void buf_done(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf)BUF_INIT;
}

void buf_reserve(struct buf *b, size_t more)
{
    size_t need = b->size + more;

    rd_assert(need >= more);
    if (need <= b->capacity) {
        return;
    }
    size_t capacity = b->capacity ? b->capacity * 2 : 64;
    if (capacity < need) {
        capacity = need;
    }
    b->data = mem_realloc(b->data, capacity);
    b->capacity = capacity;
}

void buf_put(struct buf *b, const void *data, size_t size)
{
    if (size == 0) {
        return;
    }
    buf_reserve(b, size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, sizeof v);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    uint16_t le = htole16(v);

    buf_put(b, &le, sizeof le);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    uint32_t le = htole32(v);

    buf_put(b, &le, sizeof le);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    uint64_t le = htole64(v);

    buf_put(b, &le, sizeof le);
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;

    rd_assert(format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    rd_assert(size >= 0);
    buf_reserve(b, (size_t)size + 1);
    (void)vsnprintf((char *)b->data + b->size, (size_t)size + 1, format, args);
    b->size += (size_t)size;
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(b, format, args);
    va_end(args);
}

void buf_drop(struct buf *b, size_t size)
{
    rd_assert(size <= b->size);
    if (size == 0) {
        return;
    }
    memmove(b->data, b->data + size, b->size - size);
    b->size -= size;
}

const char *buf_str(struct buf *b)
{
    buf_reserve(b, 1);
    b->data[b->size] = 0;
    return (const char *)b->data;
}

struct cursor cursor_over(const void *data, size_t size)
{
    return (struct cursor){.data = data, .left = size, .bad = false};
}

const uint8_t *cursor_bytes(struct cursor *c, size_t size)
{
    if (c->bad || size > c->left) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *at = c->data;
    if (size) { /* an empty cursor may be over NULL */
        c->data += size;
    }
    c->left -= size;
    return at;
}

uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_bytes(c, 1);

    return p ? *p : 0;
}

uint16_t cursor_u16(struct cursor *c)
{
    uint16_t v = 0;
    const uint8_t *p = cursor_bytes(c, sizeof v);

    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return le16toh(v);
}

uint32_t cursor_u32(struct cursor *c)
{
    uint32_t v = 0;
    const uint8_t *p = cursor_bytes(c, sizeof v);

    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return le32toh(v);
}

uint64_t cursor_u64(struct cursor *c)
{
    uint64_t v = 0;
    const uint8_t *p = cursor_bytes(c, sizeof v);

    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return le64toh(v);
}
