/* uuid.h - random 128-bit names: the cluster id and the store id. All zero means "none".
 * Threads: any. */
#ifndef RAFTD_BASE_UUID_H
#define RAFTD_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

struct uuid {
    uint8_t bytes[16];
};

#define UUID_TEXT_SIZE 33 /* 32 hex digits and a NUL */

bool uuid_is_set(const struct uuid *u);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
void uuid_text(const struct uuid *u, char text[UUID_TEXT_SIZE]);

#endif
