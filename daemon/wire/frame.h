/* frame.h - the outer layer of every stream: length, version, header, payload.
 *
 *   u32 length   bytes after this field: 4 + header + payload
 *   u8  version  1
 *   u8  flags    0, or FRAME_CHECKED and the CRC-7 of the seven other bytes of the head
 *   u16 header   bytes of the protobuf envelope
 *   envelope, then payload (bulk bytes that need no parsing)      all integers little-endian
 *
 * A length that was changed on its way would make the receiver wait for bytes that never come, so a head can be
 * checked by itself. All one- and two-bit errors are found.
 *
 * Threads: any. Ownership: a parsed frame borrows from the input. */
#ifndef RAFTD_WIRE_FRAME_H
#define RAFTD_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    FRAME_VERSION = 1,
    FRAME_CHECKED = 0x80,
    FRAME_HEAD = 8,                   /* bytes before the envelope */
    FRAME_FLAGS_AT = 5,               /* where in the head the flags stand */
    FRAME_HEADER_MAX = 65535,         /* envelope */
    FRAME_PEER_MAX = 8 * 1024 * 1024, /* whole frame (contract section 5) */
    FRAME_HELLO_MAX = 4 * 1024,
    FRAME_ADMIN_MAX =
        2 * 1024 * 1024 + 64 * 1024, /* a request within the contract's 1.5 MiB, with room */
    /* A reply: JSON may write each byte of a 1 MiB value as six (\u0001). */
    FRAME_ADMIN_REPLY_MAX = 7 * 1024 * 1024,
};

struct frame {
    uint8_t flags;
    const uint8_t *header;
    uint16_t header_size;
    const uint8_t *payload;
    size_t payload_size;
    size_t total; /* bytes the frame takes in the stream */
};

/* Look for a frame at the start of `data`.
 *   1  found
 *   0  not complete; *need (may be NULL) is how many bytes the whole frame has, 0 when unknown yet
 *   -RD_ETOO_LARGE  longer than frame_max (checked as soon as the length is there)
 *   -RD_EPROTOCOL   version, flags or lengths make no sense
 *   -RD_ECORRUPT    the head is checked, and was changed */
int frame_parse(const uint8_t *data, size_t size, size_t frame_max, struct frame *out,
                size_t *need);

/* Reserve the head in `out`; returns where it is. Then put the envelope, call frame_header_end(),
 * put the payload, call frame_end(). */
size_t frame_begin(struct buf *out);
void frame_header_end(struct buf *out, size_t at);
void frame_end(struct buf *out, size_t at);

/* Put the check into the head of a whole frame, for who is known to understand it. */
void frame_check_head(uint8_t *frame);

#endif
