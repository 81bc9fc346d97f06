/* The sum of a peer frame: the last field of its envelope, over all of the frame but itself and the flags. */
#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "wire/peer_internal.h"

enum { TAG = 15 << 3 | 5, /* field 15, four bytes */ SUM_SIZE = 4 };

/* As with flags of 0: what they check is looked at by itself, and may be put there later. */
static uint32_t sum_of(const uint8_t *frame, const uint8_t *sum, size_t total)
{
    const uint8_t *rest = sum + SUM_SIZE;
    uint8_t head[FRAME_HEAD];

    memcpy(head, frame, sizeof head);
    head[FRAME_FLAGS_AT] = 0;
    uint32_t crc = crc32c(0, head, sizeof head);
    crc = crc32c(crc, frame + FRAME_HEAD, (size_t)(sum - frame) - FRAME_HEAD);

    return crc32c(crc, rest, total - (size_t)(rest - frame));
}

void peer_end(struct buf *out, size_t at)
{
    struct frame f;

    frame_end(out, at);
    uint8_t *frame = out->data + at;
    rd_assert(frame_parse(frame, out->size - at, FRAME_PEER_MAX, &f, NULL) == 1);
    uint8_t *sum = frame + FRAME_HEAD + f.header_size - SUM_SIZE;
    rd_assert(sum[-1] == TAG);
    uint32_t le = htole32(sum_of(frame, sum, f.total));
    memcpy(sum, &le, sizeof le);
}

int peer_sum_check(const struct frame *f, const Raftd__Peer__Envelope *e)
{
    if (e->sum_presence_case != RAFTD__PEER__ENVELOPE__SUM_PRESENCE_SUM) {
        return 0;
    }
    const uint8_t *sum = f->header + f->header_size - SUM_SIZE;
    uint32_t le;
    memcpy(&le, sum, sizeof le); /* the field has five bytes: they are there */
    bool is_last = sum[-1] == TAG && le32toh(le) == e->sum;
    return is_last && e->sum == sum_of(f->header - FRAME_HEAD, sum, f->total) ? 0 : -RD_ECORRUPT;
}
