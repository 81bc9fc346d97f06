/* A peer's byte stream: frames, then messages. What decodes must encode, and come back the same. */
#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "target.h"
#include "wire/peer.h"

static void encode_done(struct peer_msg *msg, struct buf *out)
{
    peer_encode(msg, out);
    peer_msg_done(msg);
}

static void try_message(const struct frame *f)
{
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct frame again;
    struct peer_msg msg;

    int err = peer_decode(f, &msg);
    rd_assert(err == 0 || err == -RD_EPROTOCOL || err == -RD_ECORRUPT);
    if (err == 0) {
        encode_done(&msg, &first);
        rd_assert(frame_parse(first.data, first.size, FRAME_PEER_MAX, &again, NULL) == 1);
        rd_assert(again.total == first.size);
        rd_assert(peer_decode(&again, &msg) == 0);
        encode_done(&msg, &second);
        rd_assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    }
    buf_done(&first);
    buf_done(&second);
}

/* With a sum that is right, where there is one: else nobody gets behind it. */
static void try_mended(const struct frame *f)
{
    enum { TAG = 15 << 3 | 5, SUM_FIELD = 5 };
    struct buf copy = BUF_INIT;
    struct frame mended;

    if (f->header_size < SUM_FIELD || f->header[f->header_size - SUM_FIELD] != TAG) {
        return;
    }
    buf_put(&copy, f->header - FRAME_HEAD, f->total);
    uint8_t *sum = copy.data + FRAME_HEAD + f->header_size - 4;
    uint32_t crc = crc32c(0, copy.data, (size_t)(sum - copy.data));
    crc = htole32(crc32c(crc, sum + 4, f->payload_size));
    memcpy(sum, &crc, sizeof crc);
    rd_assert(frame_parse(copy.data, copy.size, FRAME_PEER_MAX, &mended, NULL) == 1);
    try_message(&mended);
    buf_done(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;

    while (frame_parse(data, size, FRAME_PEER_MAX, &f, NULL) == 1) {
        rd_assert(f.total >= FRAME_HEAD && f.total <= size);
        try_message(&f);
        try_mended(&f);
        data += f.total;
        size -= f.total;
    }
    return 0;
}
