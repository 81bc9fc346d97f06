#include "base/jw.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/units.h"

struct jw jw_begin(struct buf *out)
{
    return (struct jw){.out = out, .comma = false};
}

static void put_escaped(struct buf *out, const uint8_t *p, size_t size)
{
    static const char shorts[] =
        "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: character, its escape letter */
    bool utf8 = units_is_utf8(p, size);

    buf_put_u8(out, '"');
    for (size_t i = 0; i < size; i++) {
        const char *hit = NULL;
        for (size_t s = 0; s + 1 < sizeof shorts; s += 2) {
            if ((uint8_t)shorts[s] == p[i]) {
                hit = &shorts[s + 1];
                break;
            }
        }
        if (hit) {
            buf_put_u8(out, '\\');
            buf_put_u8(out, (uint8_t)*hit);
        } else if (p[i] < 0x20 || p[i] == 0x7f) {
            buf_printf(out, "\\u%04x", p[i]);
        } else if (p[i] >= 0x80 && !utf8) {
            buf_put_str(out, "\\ufffd"); /* the replacement character */
        } else {
            buf_put_u8(out, p[i]);
        }
    }
    buf_put_u8(out, '"');
}

static void put_key(struct jw *j, const char *key, const char *suffix)
{
    if (j->comma) {
        buf_put_u8(j->out, ',');
    }
    j->comma = true;
    if (key) {
        buf_printf(j->out, "\"%s%s\":", key, suffix);
    }
}

static void open_scope(struct jw *j, const char *key, char bracket)
{
    put_key(j, key, "");
    buf_put_u8(j->out, (uint8_t)bracket);
    j->comma = false;
}

static void close_scope(struct jw *j, char bracket)
{
    buf_put_u8(j->out, (uint8_t)bracket);
    j->comma = true;
}

void jw_object(struct jw *j, const char *key)
{
    open_scope(j, key, '{');
}

void jw_object_end(struct jw *j)
{
    close_scope(j, '}');
}

void jw_array(struct jw *j, const char *key)
{
    open_scope(j, key, '[');
}

void jw_array_end(struct jw *j)
{
    close_scope(j, ']');
}

void jw_u64(struct jw *j, const char *key, uint64_t v)
{
    put_key(j, key, "");
    buf_printf(j->out, "%" PRIu64, v);
}

void jw_i64(struct jw *j, const char *key, int64_t v)
{
    put_key(j, key, "");
    buf_printf(j->out, "%" PRId64, v);
}

void jw_double(struct jw *j, const char *key, double v)
{
    if (!isfinite(v)) {
        jw_null(j, key);
        return;
    }
    put_key(j, key, "");
    buf_printf(j->out, "%.1f", v);
}

void jw_bool(struct jw *j, const char *key, bool v)
{
    put_key(j, key, "");
    buf_put_str(j->out, v ? "true" : "false");
}

void jw_null(struct jw *j, const char *key)
{
    put_key(j, key, "");
    buf_put_str(j->out, "null");
}

void jw_strn(struct jw *j, const char *key, const void *v, size_t size)
{
    put_key(j, key, "");
    put_escaped(j->out, v, size);
}

void jw_str(struct jw *j, const char *key, const char *v)
{
    if (v) {
        jw_strn(j, key, v, strlen(v));
    } else {
        jw_null(j, key);
    }
}

void jw_str_or_null(struct jw *j, const char *key, const char *v)
{
    jw_str(j, key, v && *v ? v : NULL);
}

static void put_base64(struct buf *out, const uint8_t *p, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < size; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        uint32_t word = (uint32_t)p[i] << 16;
        word |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        word |= n > 2 ? (uint32_t)p[i + 2] : 0;
        for (size_t d = 0; d < 4; d++) {
            buf_put_u8(out, d <= n ? (uint8_t)digits[(word >> (18 - 6 * d)) & 63] : '=');
        }
    }
}

void jw_bytes(struct jw *j, const char *key, const void *v, size_t size)
{
    if (units_is_utf8(v, size)) {
        jw_strn(j, key, v, size);
        return;
    }
    put_key(j, key, "_base64");
    buf_put_u8(j->out, '"');
    put_base64(j->out, v, size);
    buf_put_u8(j->out, '"');
}
