/* A peer's byte stream: frames, then messages. What decodes must encode, and come back the same. */
#include <string.h>

#include "base/check.h"
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
    rd_assert(err == 0 || err == -RD_EPROTOCOL);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;

    while (frame_parse(data, size, FRAME_PEER_MAX, &f, NULL) == 1) {
        rd_assert(f.total >= FRAME_HEAD && f.total <= size);
        try_message(&f);
        data += f.total;
        size -= f.total;
    }
    return 0;
}
