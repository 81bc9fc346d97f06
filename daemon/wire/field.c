#include "wire/field.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/units.h"
#include "wire/frame.h"

ProtobufCBinaryData field_view(const void *data, size_t size)
{
    union {
        const void *in;
        uint8_t *out;
    } pointer = {.in = data};

    return (ProtobufCBinaryData){.len = size, .data = pointer.out};
}

ProtobufCBinaryData field_text(const char *text, size_t size)
{
    size_t length = strnlen(text, size);

    rd_assert(length < size);
    return field_view(text, length);
}

ProtobufCBinaryData field_uuid(const struct uuid *u)
{
    return field_view(u->bytes, uuid_is_set(u) ? sizeof u->bytes : 0);
}

bool field_is_text(const ProtobufCBinaryData *b)
{
    return b->len == 0 || (!memchr(b->data, 0, b->len) && units_is_utf8(b->data, b->len));
}

bool field_text_fits(const ProtobufCBinaryData *b, size_t array_size)
{
    return b->len < array_size && field_is_text(b);
}

bool field_is_uuid(const ProtobufCBinaryData *b)
{
    if (b->len == 0) {
        return true;
    }
    if (b->len != sizeof(struct uuid)) {
        return false;
    }
    struct uuid u = field_copy_uuid(b);
    return uuid_is_set(&u);
}

bool field_is_number(uint64_t v)
{
    return v <= FIELD_NUMBER_MAX;
}

void field_copy_text(const ProtobufCBinaryData *b, char *out)
{
    if (b->len > 0) {
        memcpy(out, b->data, b->len);
    }
    out[b->len] = 0;
}

struct uuid field_copy_uuid(const ProtobufCBinaryData *b)
{
    struct uuid u = {{0}};

    if (b->len == sizeof u.bytes) {
        memcpy(u.bytes, b->data, sizeof u.bytes);
    }
    return u;
}

struct blob *field_copy_blob(const uint8_t *data, size_t size)
{
    return size > 0 ? blob_copy(data, size) : NULL;
}

/* Bytes at the end that are the start of a sequence whose rest was cut off; 0: none. */
static size_t broken_tail(const char *text, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        uint8_t c = (uint8_t)text[size - back];
        size_t whole = c >= 0xf0 ? 4 : (c >= 0xe0 ? 3 : 2);
        if (c >= 0xc0) {
            return back < whole ? back : 0;
        }
        if (c < 0x80) {
            break;
        }
    }
    return 0;
}

size_t field_mend_text(char *text, size_t size, size_t size_max)
{
    size_t keep = size < size_max ? size : size_max;

    if (units_is_utf8(text, keep)) {
        return keep;
    }
    size_t tail = broken_tail(text, keep);
    if (units_is_utf8(text, keep - tail)) {
        return keep - tail;
    }
    for (size_t i = 0; i < keep; i++) {
        if ((uint8_t)text[i] > 0x7f) {
            text[i] = '?';
        }
    }
    return keep;
}

ProtobufCBinaryData field_mended(char *text, size_t array_size)
{
    size_t size = field_mend_text(text, field_text(text, array_size).len, array_size - 1);

    return field_view(text, size);
}

bool field_is_code(uint32_t number)
{
    switch (number) {
    case 0:
#define RD_ERROR_CASE(symbol, value, name, status, text) case (value):
        RD_ERRORS(RD_ERROR_CASE)
#undef RD_ERROR_CASE
        return true;
    default:
        return false;
    }
}

size_t field_pack(const ProtobufCMessage *message, size_t payload_size, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    buf_reserve(out, FRAME_HEAD + size + payload_size);
    size_t at = frame_begin(out);
    out->size += protobuf_c_message_pack(message, out->data + out->size);
    rd_assert(out->size == at + FRAME_HEAD + size);
    frame_header_end(out, at);
    return at;
}
