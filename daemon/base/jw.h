/* jw.h (JSON writer) - writes JSON into a buf: commas, escapes and nesting are its business.
 *
 * A key is given with each value; NULL inside arrays. What is written is always well-formed: in a
 * string that is not UTF-8 each byte above 0x7f becomes U+FFFD; jw_bytes() keeps such bytes.
 * Threads: any. */
#ifndef RAFTD_BASE_JW_H
#define RAFTD_BASE_JW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct jw {
    struct buf *out;
    bool comma; /* the next value needs one before it */
};

struct jw jw_begin(struct buf *out);
void jw_object(struct jw *j, const char *key);
void jw_object_end(struct jw *j);
void jw_array(struct jw *j, const char *key);
void jw_array_end(struct jw *j);
void jw_u64(struct jw *j, const char *key, uint64_t v);
void jw_i64(struct jw *j, const char *key, int64_t v);
void jw_double(struct jw *j, const char *key, double v); /* one decimal; null when not finite */
void jw_bool(struct jw *j, const char *key, bool v);
void jw_null(struct jw *j, const char *key);
void jw_str(struct jw *j, const char *key, const char *v);         /* NULL writes null */
void jw_str_or_null(struct jw *j, const char *key, const char *v); /* NULL or "" writes null */
void jw_strn(struct jw *j, const char *key, const void *v, size_t size);
/* "key": text when the bytes are UTF-8, else "key_base64": base64 */
void jw_bytes(struct jw *j, const char *key, const void *v, size_t size);

#endif
