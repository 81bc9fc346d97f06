#include "state/stream.h"

#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"

enum { STREAM_FORMAT = 1 };

void stream_put_origin(struct buf *out, const struct stream_origin *origin)
{
    buf_put_u8(out, STREAM_FORMAT);
    buf_put_u32(out, origin->node);
    buf_put(out, origin->cluster.bytes, sizeof origin->cluster.bytes);
    buf_put_u64(out, origin->created_ms);
    buf_put_str(out, origin->version);
}

int stream_get_origin(const void *data, size_t size, struct stream_origin *out)
{
    struct cursor c = cursor_over(data, size);
    struct stream_origin origin = {0};
    uint8_t format = cursor_u8(&c);

    origin.node = cursor_u32(&c);
    const uint8_t *cluster = cursor_bytes(&c, sizeof origin.cluster.bytes);
    origin.created_ms = cursor_u64(&c);
    size_t version_size = c.left;
    const uint8_t *version = cursor_bytes(&c, version_size);
    if (c.bad || format != STREAM_FORMAT || origin.node == 0 ||
        version_size >= sizeof origin.version || memchr(version, 0, version_size)) {
        return -RD_ECORRUPT;
    }
    memcpy(origin.cluster.bytes, cluster, sizeof origin.cluster.bytes);
    memcpy(origin.version, version, version_size);
    *out = origin;
    return 0;
}

/* With a sum of its own: the digest tells of the rows, and nothing else of the membership. */
void stream_put_head(struct buf *out, const struct stream_head *head)
{
    size_t at = out->size;

    buf_put_u8(out, STREAM_FORMAT);
    buf_put_u64(out, head->index);
    buf_put_u64(out, head->term);
    buf_put_u64(out, head->chain);
    buf_put_u64(out, head->revision);
    buf_put_u64(out, head->digest);
    buf_put_u64(out, head->membership_index);
    buf_put_u32(out, (uint32_t)head->membership_size);
    buf_put(out, head->membership, head->membership_size);
    buf_put_u32(out, crc32c(0, out->data + at, out->size - at));
}

int stream_get_head(const void *data, size_t size, struct stream_head *out)
{
    struct cursor c = cursor_over(data, size);
    struct stream_head head = {0};
    uint8_t format = cursor_u8(&c);

    head.index = cursor_u64(&c);
    head.term = cursor_u64(&c);
    head.chain = cursor_u64(&c);
    head.revision = cursor_u64(&c);
    head.digest = cursor_u64(&c);
    head.membership_index = cursor_u64(&c);
    head.membership_size = cursor_u32(&c);
    head.membership = cursor_bytes(&c, head.membership_size);
    size_t summed = size - c.left;
    bool fits = cursor_u32(&c) == crc32c(0, data, summed);
    if (!fits || c.bad || c.left > 0 || format != STREAM_FORMAT || head.index == 0 ||
        head.membership_index > head.index) {
        return -RD_ECORRUPT;
    }
    *out = head;
    return 0;
}

void stream_put_row(struct buf *out, const void *key, size_t key_size, const void *value,
                    size_t value_size)
{
    rd_assert(key_size <= UINT16_MAX && value_size <= UINT32_MAX);
    buf_put_u16(out, (uint16_t)key_size);
    buf_put_u32(out, (uint32_t)value_size);
    buf_put(out, key, key_size);
    buf_put(out, value, value_size);
}

int stream_each_row(const void *data, size_t size, stream_row_cb *cb, void *arg)
{
    struct cursor c = cursor_over(data, size);
    int code = 0;

    while (code == 0 && c.left > 0) {
        size_t key_size = cursor_u16(&c);
        size_t value_size = cursor_u32(&c);
        const void *key = cursor_bytes(&c, key_size);
        const void *value = cursor_bytes(&c, value_size);
        code = c.bad ? -RD_ECORRUPT : cb(arg, key, key_size, value, value_size);
    }
    return code;
}

void stream_put_tail(struct buf *out, uint64_t bytes)
{
    buf_put_u64(out, bytes);
}

int stream_check_tail(const void *data, size_t size, uint64_t bytes)
{
    struct cursor c = cursor_over(data, size);

    return cursor_u64(&c) == bytes && !c.bad && c.left == 0 ? 0 : -RD_ECORRUPT;
}
