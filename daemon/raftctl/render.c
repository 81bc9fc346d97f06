#include "raftctl/render.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"

/* ---- Pieces ---- */

void render_safe(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        buf_put_u8(out, c < 0x20 || c == 0x7f ? '?' : c);
    }
}

/* Bytes of the UTF-8 sequence at p, 0 when there is none. */
static size_t utf8_size(const uint8_t *p, size_t left)
{
    for (size_t n = 1; n <= 4 && n <= left; n++) {
        if (units_is_utf8(p, n)) {
            return n;
        }
    }
    return 0;
}

void render_escaped(struct buf *out, const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size) {
        size_t n = utf8_size(p, size);
        if (*p == '\n' || *p == '\t' || *p == '\\') {
            buf_printf(out, "\\%c", *p == '\n' ? 'n' : *p == '\t' ? 't' : '\\');
        } else if (n == 0 || *p < 0x20 || *p == 0x7f) {
            buf_printf(out, "\\x%02x", *p);
        } else {
            buf_put(out, p, n);
        }
        n = n ? n : 1;
        p += n;
        size -= n;
    }
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *hit = c ? strchr(digits, c) : NULL;

    return hit ? (int)(hit - digits) : -1;
}

static bool decode_base64(const char *text, size_t size, struct buf *out)
{
    struct buf bytes = BUF_INIT;
    uint32_t bits = 0;
    size_t digits = 0;

    while (size && text[size - 1] == '=') {
        size--;
    }
    for (size_t i = 0; i < size; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) {
            buf_done(&bytes);
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
        digits++;
        if (digits % 4 != 1) { /* each digit but the first of four completes a byte */
            buf_put_u8(&bytes, (uint8_t)(bits >> (6 - 2 * ((digits - 1) % 4))));
        }
    }
    buf_put(out, bytes.data, bytes.size);
    buf_done(&bytes);
    return true;
}

bool render_bytes(const json_t *object, const char *key, struct buf *out)
{
    char key_base64[32];
    const json_t *text = json_object_get(object, key);

    if (json_is_string(text)) {
        buf_put(out, json_string_value(text), json_string_length(text));
        return true;
    }
    (void)snprintf(key_base64, sizeof key_base64, "%s_base64", key);
    text = json_object_get(object, key_base64);
    return json_is_string(text) &&
           decode_base64(json_string_value(text), json_string_length(text), out);
}

void render_duration(struct buf *out, uint64_t ms)
{
    uint64_t s = ms / 1000;

    if (ms < 1000) {
        buf_printf(out, "%" PRIu64 "ms", ms);
    } else if (s < 60) {
        buf_printf(out, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
    } else if (s < 3600) {
        buf_printf(out, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    } else if (s < 86400) {
        buf_printf(out, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s % 3600 / 60);
    } else {
        buf_printf(out, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s % 86400 / 3600);
    }
}

void render_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        buf_printf(out, "%" PRIu64 " B", bytes);
        return;
    }
    while (v >= 1024 && unit < 3) {
        v /= 1024;
        unit++;
    }
    buf_printf(out, "%.1f %s", v, units[unit]);
}

const char *render_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

uint64_t render_number(const json_t *object, const char *key, uint64_t absent)
{
    const json_t *v = json_object_get(object, key);

    return json_is_integer(v) ? (uint64_t)json_integer_value(v) : absent;
}

/* ---- Tables ---- */

void table_cell(struct table *t, const char *format, ...)
{
    struct buf text = BUF_INIT;
    va_list args;

    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    render_safe(&t->cells, buf_str(&text));
    buf_put_u8(&t->cells, 0);
    buf_done(&text);
}

/* Columns a text takes: its characters. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void put_blanks(struct buf *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_put_u8(out, ' ');
    }
}

void table_end(struct table *t, struct buf *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    const char *cells = (const char *)t->cells.data;
    uint32_t column = 0;

    for (size_t at = 0; at < t->cells.size; at += strlen(cells + at) + 1) {
        size_t width = width_of(cells + at);
        widths[column] = width > widths[column] ? width : widths[column];
        column = (column + 1) % t->columns;
    }
    size_t owed = 0; /* blanks before the next text */
    for (size_t at = 0; at < t->cells.size; at += strlen(cells + at) + 1) {
        size_t pad = widths[column] - width_of(cells + at);
        if (t->right[column]) {
            owed += pad;
            pad = 0;
        }
        if (cells[at]) {
            put_blanks(out, owed);
            buf_put_str(out, cells + at);
            owed = 0;
        }
        owed += pad + 2;
        column = (column + 1) % t->columns;
        if (column == 0) {
            buf_put_u8(out, '\n');
            owed = 0;
        }
    }
    buf_done(&t->cells);
}

/* ---- Keys and values ---- */

void render_put(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                struct buf *out)
{
    (void)ctl;
    (void)inv;
    buf_printf(out, "revision %" PRIu64 "\n", render_number(answer, "revision", 0));
}

void render_get(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                struct buf *out)
{
    (void)ctl;
    (void)inv;
    (void)render_bytes(answer, "value", out);
    if (isatty(STDOUT_FILENO)) {
        buf_put_u8(out, '\n');
    }
}

void render_del(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                struct buf *out)
{
    (void)ctl;
    (void)inv;
    buf_printf(out, "deleted %" PRIu64 ", revision %" PRIu64 "\n",
               render_number(answer, "deleted", 0), render_number(answer, "revision", 0));
}

void render_list(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                 struct buf *out)
{
    const json_t *kvs = json_object_get(answer, "kvs");
    size_t count = json_array_size(kvs);

    for (size_t i = 0; i < count; i++) {
        const json_t *kv = json_array_get(kvs, i);
        struct buf bytes = BUF_INIT;
        (void)render_bytes(kv, "key", &bytes);
        render_escaped(out, bytes.data, bytes.size);
        buf_put_u8(out, '\t');
        bytes.size = 0;
        (void)render_bytes(kv, "value", &bytes);
        render_escaped(out, bytes.data, bytes.size);
        buf_put_u8(out, '\n');
        buf_done(&bytes);
    }
    if (count == 0) {
        bool prefix = inv->args_count && inv->args[0][0];
        ctl_note(ctl, "no keys%s%s", prefix ? " begin with " : "", prefix ? inv->args[0] : "");
    }
    if (json_is_true(json_object_get(answer, "more"))) {
        ctl_note(ctl, "more keys follow: raise --limit, or give a longer prefix");
    }
}

/* ---- Others ---- */

void render_is_leader(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                      struct buf *out)
{
    (void)ctl;
    (void)inv;
    if (!json_is_true(json_object_get(answer, "is_leader"))) {
        buf_put_str(out, "no\n");
        return;
    }
    buf_printf(out, "yes, fence %" PRIu64 ", for another ", render_number(answer, "fence", 0));
    render_duration(out, render_number(answer, "lease_remaining_ms", 0));
    buf_put_str(out, "\n");
}

void render_bootstrap(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                      struct buf *out)
{
    const char *id = render_text(answer, "cluster_id");

    (void)ctl;
    (void)inv;
    buf_put_str(out, "cluster ");
    render_safe(out, id ? id : "-");
    buf_put_str(out, " begins with this node as its only voter\n");
}

void render_log_level(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                      struct buf *out)
{
    (void)answer;
    (void)out;
    ctl_note(ctl, "this node logs at %s until it restarts", inv->args[0]);
}

/* One line of names; nothing when there are none. */
static void put_keys(struct buf *out, const char *title, const json_t *keys)
{
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        buf_put_str(out, i ? ", " : title);
        render_safe(out, key ? key : "-");
    }
    if (json_array_size(keys)) {
        buf_put_u8(out, '\n');
    }
}

void render_reload(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                   struct buf *out)
{
    const json_t *changed = json_object_get(answer, "changed");
    const json_t *waiting = json_object_get(answer, "needs_restart");

    (void)inv;
    put_keys(out, "changed: ", changed);
    put_keys(out, "needs a restart: ", waiting);
    if (json_array_size(changed) == 0) {
        ctl_note(ctl, "the configuration is read: %s",
                 json_array_size(waiting) ? "nothing of it can change while raftd runs"
                                          : "nothing has changed");
    }
}
