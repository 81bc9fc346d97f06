/* json.h - writes JSON into a buf: commas, escapes and nesting are its business.
 *
 * A key is given with each value; NULL inside arrays. What is written is always well-formed: in a
 * string that is not UTF-8 each byte above 0x7f becomes U+FFFD; json_bytes() keeps such bytes.
 * Threads: any. */
#ifndef RAFTD_BASE_JSON_H
#define RAFTD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct json {
    struct buf *out;
    bool comma; /* the next value needs one before it */
};

struct json json_begin(struct buf *out);
void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);
void json_u64(struct json *j, const char *key, uint64_t v);
void json_i64(struct json *j, const char *key, int64_t v);
void json_double(struct json *j, const char *key, double v); /* one decimal; null when not finite */
void json_bool(struct json *j, const char *key, bool v);
void json_null(struct json *j, const char *key);
void json_str(struct json *j, const char *key, const char *v);         /* NULL writes null */
void json_str_or_null(struct json *j, const char *key, const char *v); /* NULL or "" writes null */
void json_strn(struct json *j, const char *key, const void *v, size_t size);
/* "key": text when the bytes are UTF-8, else "key_base64": base64 */
void json_bytes(struct json *j, const char *key, const void *v, size_t size);

#endif
