/* The first bytes off any socket. The first byte of the input chooses the limit and how large the pieces
 * are in which the rest arrives. Asserted:
 *   - each answer is the one that the head's bytes call for, worked out here once more;
 *   - nothing behind the bytes that have arrived is read (each piece lies in memory of its exact size);
 *   - a frame too long is refused as soon as its length is there, other nonsense at the byte that is wrong;
 *   - `need` is 0 until the length is there, then the size of the frame, and never changes;
 *   - in pieces come the same frames as at once;
 *   - frame_begin() and the others write what frame_parse() read. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "target.h"
#include "wire/frame.h"

enum { LENGTH_SIZE = 4, PIECE_MASK = 0x3c, STEPS_MAX = 100 };

static const size_t limits[] = {FRAME_HELLO_MAX, FRAME_PEER_MAX, FRAME_ADMIN_MAX,
                                FRAME_ADMIN_REPLY_MAX};

static uint64_t number_at(const uint8_t *p, size_t size)
{
    uint64_t v = 0;

    while (size-- > 0) {
        v = v << 8 | p[size];
    }
    return v;
}

/* By division: the bits of the head without the flags, times x^7, plus the check, leave nothing. */
static bool is_checked(const uint8_t *head)
{
    uint64_t bits = 0;

    for (int i = 0; i < 8; i++) {
        bits = i == 5 ? bits : bits << 8 | head[i];
    }
    bits = bits << 7 | (head[5] & 0x7fU);
    for (int at = 62; at >= 7; at--) {
        bits ^= bits >> at & 1 ? UINT64_C(0x89) << (at - 7) : 0;
    }
    return bits == 0;
}

/* What the format says of these bytes. */
static int expected(const uint8_t *data, size_t size, size_t max, size_t *need)
{
    uint64_t whole = size >= LENGTH_SIZE ? number_at(data, LENGTH_SIZE) + LENGTH_SIZE : 0;

    *need = (size_t)whole;
    if (whole > max) {
        return -RD_ETOO_LARGE;
    }
    if ((size >= LENGTH_SIZE && whole < FRAME_HEAD) || (size > 4 && data[4] != FRAME_VERSION) ||
        (size > 5 && data[5] != 0 && data[5] < FRAME_CHECKED)) {
        return -RD_EPROTOCOL;
    }
    if (size >= FRAME_HEAD && data[5] && !is_checked(data)) {
        return -RD_ECORRUPT;
    }
    if (size >= FRAME_HEAD && number_at(data + 6, 2) > whole - FRAME_HEAD) {
        return -RD_EPROTOCOL;
    }
    return whole > 0 && size >= whole;
}

static int parse(const uint8_t *data, size_t size, size_t max, struct frame *out)
{
    uint8_t *exact = mem_dup(data, size);
    size_t need = SIZE_MAX, need_expected;
    int code = expected(data, size, max, &need_expected);

    rd_assert(frame_parse(exact, size, max, out, &need) == code);
    rd_assert(frame_parse(exact, size, max, out, NULL) == code);
    rd_assert(code < 0 || need == need_expected);
    if (code == 1) { /* it borrows: let it borrow from what stays */
        rd_assert(out->total == need);
        out->header = data + (out->header - exact);
        out->payload = data + (out->payload - exact);
    }
    mem_free(exact);
    return code;
}

static void write_again(const uint8_t *data, const struct frame *f)
{
    struct buf b = BUF_INIT;

    buf_put_u8(&b, 0); /* a frame may begin anywhere */
    size_t at = frame_begin(&b);
    rd_assert(at == 1);
    buf_put(&b, f->header, f->header_size);
    frame_header_end(&b, at);
    buf_put(&b, f->payload, f->payload_size);
    frame_end(&b, at);
    if (f->flags) {
        frame_check_head(b.data + 1);
    }
    rd_assert(b.size == 1 + f->total && memcmp(b.data + 1, data, f->total) == 0);
    buf_done(&b);
}

/* The frame at the start of `data`, as its bytes come in. Its size, or 0: there is none. */
static size_t take(const uint8_t *data, size_t size, size_t max, size_t piece)
{
    struct frame whole, f = {0};
    int at_once = parse(data, size, max, &whole);
    int code = 0;

    piece = piece < size / STEPS_MAX ? size / STEPS_MAX : piece;
    for (size_t have = 0; code == 0 && have < size;) {
        have = piece < size - have ? have + piece : size;
        code = parse(data, have, max, &f);
    }
    rd_assert(code == at_once);
    if (code != 1) {
        return 0;
    }
    rd_assert(f.total == whole.total && f.header == whole.header && f.payload == whole.payload &&
              f.header_size == whole.header_size && f.payload_size == whole.payload_size);
    rd_assert(f.header == data + FRAME_HEAD && f.payload == f.header + f.header_size &&
              f.payload + f.payload_size == data + f.total);
    write_again(data, &f);
    return f.total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t max = limits[data[0] & 3];
    size_t piece = 1 + (size_t)(data[0] & PIECE_MASK);
    for (size_t at = 1, taken = 1; taken > 0 && at < size; at += taken) {
        taken = take(data + at, size - at, max, piece);
    }
    return 0;
}
