#include "wire/frame.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

enum { LENGTH_SIZE = 4, VERSION_AT = 4, HEADER_AT = 6 };

static uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint16_t get_u16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

/* CRC-7 (x^7 + x^3 + 1, as in MMC), with the flags left out. */
static uint8_t head_crc(const uint8_t *head)
{
    enum { POLYNOMIAL = 0x09 << 1 }; /* the register stands in the upper seven bits */
    uint8_t crc = 0;

    for (size_t i = 0; i < FRAME_HEAD; i++) {
        if (i == FRAME_FLAGS_AT) {
            continue;
        }
        crc ^= head[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint8_t)(crc & 0x80 ? crc << 1 ^ POLYNOMIAL : crc << 1);
        }
    }
    return crc >> 1;
}

static int check_flags(const uint8_t *data, size_t size)
{
    uint8_t flags = size > FRAME_FLAGS_AT ? data[FRAME_FLAGS_AT] : 0;

    if (flags == 0 || (flags & FRAME_CHECKED && size < FRAME_HEAD)) {
        return 0;
    }
    if (!(flags & FRAME_CHECKED)) {
        return -RD_EPROTOCOL;
    }
    return (flags & ~FRAME_CHECKED) == head_crc(data) ? 0 : -RD_ECORRUPT;
}

int frame_parse(const uint8_t *data, size_t size, size_t frame_max, struct frame *out, size_t *need)
{
    size_t whole = 0;
    uint16_t header = 0;

    if (size >= LENGTH_SIZE) {
        uint64_t total = (uint64_t)get_u32(data) + LENGTH_SIZE;
        if (total > frame_max) {
            return -RD_ETOO_LARGE;
        }
        if (total < FRAME_HEAD) {
            return -RD_EPROTOCOL;
        }
        whole = (size_t)total;
    }
    /* Refuse at the first byte that is wrong: a stranger's bytes are not worth waiting for. */
    if (size > VERSION_AT && data[VERSION_AT] != FRAME_VERSION) {
        return -RD_EPROTOCOL;
    }
    int code = check_flags(data, size);
    if (code) {
        return code;
    }
    if (size >= FRAME_HEAD) {
        header = get_u16(data + HEADER_AT);
        if (header > whole - FRAME_HEAD) {
            return -RD_EPROTOCOL;
        }
    }
    if (whole == 0 || size < whole) {
        if (need) {
            *need = whole;
        }
        return 0;
    }
    *out = (struct frame){
        .flags = data[FRAME_FLAGS_AT],
        .header = data + FRAME_HEAD,
        .header_size = header,
        .payload = data + FRAME_HEAD + header,
        .payload_size = whole - FRAME_HEAD - header,
        .total = whole,
    };
    if (need) {
        *need = whole;
    }
    return 1;
}

size_t frame_begin(struct buf *out)
{
    static const uint8_t head[FRAME_HEAD] = {[VERSION_AT] = FRAME_VERSION};
    size_t at = out->size;

    buf_put(out, head, sizeof head);
    return at;
}

void frame_header_end(struct buf *out, size_t at)
{
    size_t header = out->size - at - FRAME_HEAD;
    rd_assert(header <= FRAME_HEADER_MAX);
    uint16_t le = htole16((uint16_t)header);

    memcpy(out->data + at + HEADER_AT, &le, sizeof le);
}

void frame_end(struct buf *out, size_t at)
{
    size_t length = out->size - at - LENGTH_SIZE;
    rd_assert(length <= UINT32_MAX);
    uint32_t le = htole32((uint32_t)length);

    memcpy(out->data + at, &le, sizeof le);
}

void frame_check_head(uint8_t *frame)
{
    frame[FRAME_FLAGS_AT] = FRAME_CHECKED | head_crc(frame);
}
