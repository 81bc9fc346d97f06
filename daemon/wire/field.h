/* field.h - small things both codecs need: text, ids, error numbers, packing.
 * Private to the room. Threads: plain functions. */
#ifndef RAFTD_WIRE_FIELD_H
#define RAFTD_WIRE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/uuid.h"

#define FIELD_NUMBER_MAX ((uint64_t)INT64_MAX) /* terms, indexes and the like: room to add */

/* Borrowed bytes as the type the library wants; it only reads them. */
ProtobufCBinaryData field_view(const void *data, size_t size);
/* The characters of a string in an array of `size` bytes (the NUL is there: asserted). Borrowed. */
ProtobufCBinaryData field_text(const char *text, size_t size);
/* 16 bytes, or none when not set. Borrowed. */
ProtobufCBinaryData field_uuid(const struct uuid *u);

/* UTF-8 without NUL. */
bool field_is_text(const ProtobufCBinaryData *b);
/* The same, and with its NUL it fits an array of that size. */
bool field_text_fits(const ProtobufCBinaryData *b, size_t array_size);
/* No bytes (not set), or 16 that are not all zero. */
bool field_is_uuid(const ProtobufCBinaryData *b);
bool field_is_number(uint64_t v);

/* Text that fits (checked before) into an array, with its NUL. */
void field_copy_text(const ProtobufCBinaryData *b, char *out);
struct uuid field_copy_uuid(const ProtobufCBinaryData *b);
/* One reference, or NULL when there are no bytes. */
struct blob *field_copy_blob(const uint8_t *data, size_t size);

/* Make text fit to travel: a message cut in the middle of a character must not cost the
 * connection. Returns the new size: at most `size_max`; a sequence that the cut broke is left out,
 * and if the rest is still not UTF-8, each byte above 0x7f becomes '?'. Never grows. */
size_t field_mend_text(char *text, size_t size, size_t size_max);

/* The text of an array, mended in place. Borrowed. */
ProtobufCBinaryData field_mended(char *text, size_t array_size);

/* Is it 0, or a number from base/err.h? */
bool field_is_code(uint32_t number);

/* Append the head and the envelope of a frame, with room for `payload_size` bytes after it.
 * Returns what frame_end() needs. */
size_t field_pack(const ProtobufCMessage *message, size_t payload_size, struct buf *out);

#endif
