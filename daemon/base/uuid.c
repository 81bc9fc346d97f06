#include "base/uuid.h"

#include <stddef.h>
#include <string.h>

bool uuid_is_set(const struct uuid *u)
{
    static const struct uuid none;

    return !uuid_equal(u, &none);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void uuid_text(const struct uuid *u, char text[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        text[2 * i] = digits[u->bytes[i] >> 4];
        text[2 * i + 1] = digits[u->bytes[i] & 15];
    }
    text[32] = 0;
}
