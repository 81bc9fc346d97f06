/* An admin client's byte stream: frames, then requests; and the same bytes as a daemon's replies.
 * What decodes must encode, and come back the same. */
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "target.h"
#include "wire/admin.h"

static struct frame only_frame(const struct buf *b)
{
    struct frame f = {0};

    rd_assert(frame_parse(b->data, b->size, FRAME_ADMIN_REPLY_MAX, &f, NULL) == 1);
    rd_assert(f.total == b->size);
    return f;
}

static void done_compare(struct buf *first, struct buf *second)
{
    rd_assert(first->size == second->size);
    rd_assert(memcmp(first->data, second->data, first->size) == 0);
    buf_done(first);
    buf_done(second);
}

static void try_request(const struct frame *f)
{
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct admin_request r;

    int err = admin_request_decode(f, &r);
    rd_assert(err == 0 || err == -RD_EPROTOCOL || err == -RD_ETOO_LARGE);
    if (err == 0) {
        rd_assert(admin_request_encode(&r, &first) == 0);
        admin_request_done(&r);
        struct frame again = only_frame(&first);
        rd_assert(admin_request_decode(&again, &r) == 0);
        rd_assert(admin_request_encode(&r, &second) == 0);
        admin_request_done(&r);
        done_compare(&first, &second);
    }
}

static void try_reply(const struct frame *f)
{
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct admin_reply r;

    int err = admin_reply_decode(f, &r);
    rd_assert(err == 0 || err == -RD_EPROTOCOL || err == -RD_ETOO_LARGE);
    if (err == 0) {
        rd_assert(admin_reply_encode(&r, &first) == 0);
        admin_reply_done(&r);
        struct frame again = only_frame(&first);
        rd_assert(admin_reply_decode(&again, &r) == 0);
        rd_assert(admin_reply_encode(&r, &second) == 0);
        admin_reply_done(&r);
        done_compare(&first, &second);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;

    while (frame_parse(data, size, FRAME_ADMIN_REPLY_MAX, &f, NULL) == 1) {
        rd_assert(f.total >= FRAME_HEAD && f.total <= size);
        try_request(&f);
        try_reply(&f);
        data += f.total;
        size -= f.total;
    }
    return 0;
}
