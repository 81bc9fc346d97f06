#include "state/rows.h"

#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"

enum { ROW_FORMAT = 1 };

void state_rows_clear(struct state_rows *rows)
{
    rows->count = 0;
    rows->bytes.size = 0;
}

static struct state_row *row_add(struct state_rows *rows)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity ? rows->capacity * 2 : 64;
        rows->rows = mem_realloc(rows->rows, rows->capacity * sizeof *rows->rows);
    }
    struct state_row *row = &rows->rows[rows->count++];
    *row = (struct state_row){.key_at = rows->bytes.size};
    return row;
}

static bool same_key(const struct state_rows *rows, uint32_t a, uint32_t b)
{
    const struct state_row *x = &rows->rows[a];
    const struct state_row *y = &rows->rows[b];

    return x->key_size == y->key_size &&
           memcmp(rows->bytes.data + x->key_at, rows->bytes.data + y->key_at, x->key_size) == 0;
}

static void row_copy(struct state_rows *to, const struct state_rows *from, uint32_t number)
{
    const struct state_row *old = &from->rows[number];
    struct state_row *row = row_add(to);

    *row = *old;
    row->key_at = to->bytes.size;
    buf_put(&to->bytes, from->bytes.data + old->key_at, old->key_size);
    row->value_at = to->bytes.size;
    if (!old->deleted) {
        buf_put(&to->bytes, from->bytes.data + old->value_at, old->value_size);
    }
}

void state_rows_put(struct state_rows *rows, const void *key, size_t key_size, const void *value,
                    size_t value_size)
{
    struct state_row *row = row_add(rows);

    row->key_size = key_size;
    buf_put(&rows->bytes, key, key_size);
    row->value_at = rows->bytes.size;
    row->value_size = value_size;
    buf_put(&rows->bytes, value, value_size);
}

void state_rows_append(struct state_rows *rows, const struct state_rows *later)
{
    for (uint32_t i = 0; i < later->count; i++) {
        row_copy(rows, later, i);
    }
}

/* Where the row's key is, or would be, in a table of row numbers + 1. */
static uint32_t *table_slot(const struct state_rows *rows, uint32_t *table, uint32_t mask,
                            uint32_t number)
{
    const struct state_row *row = &rows->rows[number];
    uint32_t at = (uint32_t)hash64(0, rows->bytes.data + row->key_at, row->key_size) & mask;

    while (table[at] && !same_key(rows, table[at] - 1, number)) {
        at = (at + 1) & mask;
    }
    return &table[at];
}

void state_rows_compact(struct state_rows *rows)
{
    struct state_rows kept = {0};
    uint32_t size = 2;

    while (size < 2 * rows->count) {
        size *= 2;
    }
    uint32_t *table = mem_zalloc(size * sizeof *table);
    for (uint32_t i = 0; i < rows->count; i++) {
        *table_slot(rows, table, size - 1, i) = i + 1; /* the last one stays */
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        if (*table_slot(rows, table, size - 1, i) == i + 1) {
            row_copy(&kept, rows, i);
        }
    }
    mem_free(table);
    state_rows_done(rows);
    *rows = kept;
}

void state_rows_done(struct state_rows *rows)
{
    buf_done(&rows->bytes);
    mem_free(rows->rows);
    *rows = (struct state_rows){0};
}

/* ---- Writing ---- */

static struct state_row *row_begin_key(struct state_rows *rows, const void *key, uint16_t key_size)
{
    struct state_row *row = row_add(rows);

    buf_put_u8(&rows->bytes, ROW_KEY);
    buf_put(&rows->bytes, key, key_size);
    row->key_size = rows->bytes.size - row->key_at;
    row->value_at = rows->bytes.size;
    return row;
}

void rows_put_key(struct state_rows *rows, const struct kv_item *item)
{
    struct buf *b = &rows->bytes;
    struct state_row *row = row_begin_key(rows, item->key, item->key_size);

    buf_put_u8(b, ROW_FORMAT);
    buf_put_u64(b, item->create_revision);
    buf_put_u64(b, item->mod_revision);
    buf_put_u64(b, item->version);
    buf_put(b, item->value, item->value_size);
    row->value_size = b->size - row->value_at;
}

void rows_delete_key(struct state_rows *rows, const void *key, uint16_t key_size)
{
    row_begin_key(rows, key, key_size)->deleted = true;
}

static uint16_t request_slot(uint64_t seq)
{
    return (uint16_t)(seq % STATE_WINDOW_MAX);
}

static void put_big_endian(struct buf *b, uint32_t v, unsigned bytes)
{
    while (bytes-- > 0) {
        buf_put_u8(b, (uint8_t)(v >> (8 * bytes)));
    }
}

static struct state_row *row_begin_request(struct state_rows *rows, uint32_t node, uint16_t slot)
{
    struct buf *b = &rows->bytes;
    struct state_row *row = row_add(rows);

    buf_put_u8(b, ROW_REQUEST);
    put_big_endian(b, node, 4);
    put_big_endian(b, slot, 2);
    row->key_size = b->size - row->key_at;
    row->value_at = b->size;
    return row;
}

void rows_delete_requests(struct state_rows *rows, uint32_t node)
{
    for (uint32_t slot = 0; slot < STATE_WINDOW_MAX; slot++) {
        row_begin_request(rows, node, (uint16_t)slot)->deleted = true;
    }
}

void rows_put_request(struct state_rows *rows, const struct request_id *id, uint64_t floor,
                      const struct state_result *result)
{
    struct buf *b = &rows->bytes;
    struct state_row *row = row_begin_request(rows, id->node, request_slot(id->seq));

    buf_put_u8(b, ROW_FORMAT);
    buf_put_u8(b, result->succeeded);
    buf_put_u32(b, (uint32_t)result->code);
    buf_put_u32(b, result->deleted);
    buf_put_u64(b, id->incarnation);
    buf_put_u64(b, id->seq);
    buf_put_u64(b, floor);
    buf_put_u64(b, result->revision);
    buf_put_u64(b, result->index);
    buf_put_u64(b, result->term);
    buf_put_u64(b, result->actual);
    row->value_size = b->size - row->value_at;
}

/* ---- Reading ---- */

int rows_parse_key(const void *key, size_t key_size, const void *value, size_t value_size,
                   struct state_kv *out)
{
    struct cursor k = cursor_over(key, key_size), v = cursor_over(value, value_size);
    struct state_kv kv = {0};

    if (cursor_u8(&k) != ROW_KEY || k.left == 0 || k.left > STATE_KEY_MAX) {
        return -RD_ECORRUPT;
    }
    kv.key = k.data;
    kv.key_size = (uint16_t)k.left;
    uint8_t format = cursor_u8(&v);
    kv.create_revision = cursor_u64(&v);
    kv.mod_revision = cursor_u64(&v);
    kv.version = cursor_u64(&v);
    if (v.bad || format != ROW_FORMAT || v.left > STATE_VALUE_MAX) {
        return -RD_ECORRUPT;
    }
    kv.value = v.data;
    kv.value_size = (uint32_t)v.left;
    *out = kv;
    return 0;
}

static uint32_t take_big_endian(struct cursor *c, unsigned bytes)
{
    uint32_t v = 0;

    while (bytes-- > 0) {
        v = v << 8 | cursor_u8(c);
    }
    return v;
}

int rows_parse_request(const void *key, size_t key_size, const void *value, size_t value_size,
                       struct request_id *id, struct state_result *result)
{
    struct cursor k = cursor_over(key, key_size), v = cursor_over(value, value_size);
    struct request_id found = {0};
    struct state_result r = {0};
    uint8_t kind = cursor_u8(&k);

    found.node = take_big_endian(&k, 4);
    uint32_t slot = take_big_endian(&k, 2);
    uint8_t format = cursor_u8(&v);
    uint8_t succeeded = cursor_u8(&v);
    r.succeeded = succeeded;
    r.code = (int)cursor_u32(&v);
    r.deleted = cursor_u32(&v);
    found.incarnation = cursor_u64(&v);
    found.seq = cursor_u64(&v);
    found.floor = cursor_u64(&v);
    r.revision = cursor_u64(&v);
    r.index = cursor_u64(&v);
    r.term = cursor_u64(&v);
    r.actual = cursor_u64(&v);
    if (k.bad || k.left > 0 || kind != ROW_REQUEST || found.node == 0 || v.bad || v.left > 0 ||
        format != ROW_FORMAT || succeeded > 1 || slot != request_slot(found.seq)) {
        return -RD_ECORRUPT;
    }
    *id = found;
    *result = r;
    return 0;
}
