#include "net/hush.h"

#include <string.h>

#include "base/crc.h"
#include "base/err.h"

uint64_t hush_key(uint32_t id, const char *address, int code)
{
    uint64_t key = hash64_mix((uint64_t)(int64_t)code, id);

    if (id == 0) {
        key = hash64(key, address, strlen(address));
    }
    return key ? key : 1;
}

uint64_t hush_key_why(uint32_t id, const char *address, int code, const char *why)
{
    return hush_key(id, address, code == -RD_ETLS ? (int)crc32c(0, why, strlen(why)) : code);
}

/* The row of the key, else a free one, else the one not seen for longest. */
static struct hush_row *hush_row(struct hush *h, uint64_t key)
{
    struct hush_row *best = &h->rows[0];

    for (int i = 0; i < HUSH_ROWS; i++) {
        struct hush_row *row = &h->rows[i];
        if (row->key == key) {
            return row;
        }
        if (best->key != 0 && (row->key == 0 || row->seen < best->seen)) {
            best = row;
        }
    }
    *best = (struct hush_row){0};
    return best;
}

bool hush_allows(struct hush *h, uint64_t key, mono_ms now, uint32_t *suppressed)
{
    struct hush_row *row = hush_row(h, key);

    row->seen = now;
    if (row->key == key && now - row->logged < HUSH_INTERVAL_MS) {
        row->suppressed++;
        return false;
    }
    *suppressed = row->suppressed;
    row->key = key;
    row->logged = now;
    row->suppressed = 0;
    return true;
}
