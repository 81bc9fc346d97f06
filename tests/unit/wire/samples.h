/* samples.h - random messages within the limits, and how to compare them. */
#ifndef RAFTD_TESTS_WIRE_SAMPLES_H
#define RAFTD_TESTS_WIRE_SAMPLES_H

#include <protobuf-c/protobuf-c.h>

#include "base/prng.h"
#include "wire/admin.h"
#include "wire/peer.h"

/* Seeded with RAFTD_TEST_SEED, or 1; the seed is printed. */
struct prng sample_prng(void);

uint64_t sample_number(struct prng *p);                   /* all magnitudes, below 2^63 */
void sample_text(struct prng *p, char *out, size_t size); /* UTF-8, at most size - 1 bytes */
struct blob *sample_blob(struct prng *p, size_t low, size_t high); /* low <= size < high */
struct uuid sample_uuid(struct prng *p);

/* A message of the type; peer_msg_done() it. */
void sample_peer(struct prng *p, enum peer_msg_type type, struct peer_msg *out);
void sample_raft(struct prng *p, enum raft_msg_type type, uint32_t entries_count,
                 struct raft_msg *out);
void sample_request(struct prng *p, struct admin_request *out);
void sample_reply(struct prng *p, struct admin_reply *out);

void assert_peer_equal(const struct peer_msg *a, const struct peer_msg *b);
void assert_request_equal(const struct admin_request *a, const struct admin_request *b);
void assert_reply_equal(const struct admin_reply *a, const struct admin_reply *b);

/* The one frame that `b` holds from `at` on. */
struct frame sample_frame(const struct buf *b, size_t at);

/* A frame with this envelope and payload in `out` (emptied first). */
struct frame sample_wrap(struct buf *out, const void *envelope, size_t envelope_size,
                         const void *payload, size_t payload_size);

/* `b` holds one frame with a sum: take that away, as a peer of protocol 1 would have sent it. */
struct frame sample_unsummed(struct buf *b);

/* Bytes from hexadecimal digits; blanks are skipped. */
void sample_hex(const char *hex, struct buf *out);
/* Prints the bytes in hexadecimal when they are not the ones expected, and fails. */
void assert_bytes(const struct buf *b, const char *hex);

/* The message encodes to these bytes and their sum, and decodes, with and without it. */
void assert_golden(const struct peer_msg *msg, const char *hex);

/* What peer_decode() says to this envelope with a payload of that size. */
int sample_decode_body(const ProtobufCMessage *envelope, size_t payload_size);

/* Does encoding it fail a check, and so end the process (a child here)? */
bool sample_encode_fails(const struct peer_msg *msg);

#endif
