/* buf.h - a growing byte buffer, and a cursor that reads one without ever leaving it.
 *
 * All integers are little-endian. Ownership: a buf owns its bytes until buf_done(); a cursor
 * borrows. Errors: a cursor that is asked for more than it has turns `bad`, returns zeros from
 * then on and never reads past its end, so a decoder checks once, at its end. Threads: any. */
#ifndef RAFTD_BASE_BUF_H
#define RAFTD_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
};

#define BUF_INIT                                                                                   \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void buf_done(struct buf *b);                 /* frees; usable again */
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after size */
void buf_put(struct buf *b, const void *data, size_t size);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_str(struct buf *b, const char *s); /* the characters, no NUL */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
void buf_drop(struct buf *b, size_t size); /* forget the first bytes */
const char *buf_str(struct buf *b);        /* NUL-terminated view; NUL not counted */

struct cursor {
    const uint8_t *data;
    size_t left; /* bytes not read yet */
    bool bad;    /* something was missing: nothing read since is valid */
};

struct cursor cursor_over(const void *data, size_t size);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
const uint8_t *cursor_bytes(struct cursor *c, size_t size); /* borrowed; NULL when bad */

#endif
