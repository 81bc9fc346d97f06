#include "raftd/holders.h"

#include "base/mem.h"

static void forget_lapsed(struct holders *h, mono_ms now)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < h->count; i++) {
        if (h->rows[i].until >= now) { /* its own clock may count finer than in ms */
            h->rows[kept++] = h->rows[i];
        }
    }
    h->count = kept;
}

static struct holder *find(const struct holders *h, uint64_t client)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->rows[i].client == client) {
            return &h->rows[i];
        }
    }
    return NULL;
}

static struct holder *add(struct holders *h, uint64_t client)
{
    if (h->count == HOLDERS_MAX) {
        return NULL;
    }
    if (!h->rows) {
        h->rows = mem_alloc(HOLDERS_MAX * sizeof *h->rows);
    }
    h->rows[h->count] = (struct holder){.client = client};
    return &h->rows[h->count++];
}

bool holders_hold(struct holders *h, uint64_t client, mono_ms now, mono_ms until)
{
    struct holder *row = find(h, client);

    if (!row) {
        forget_lapsed(h, now);
        row = add(h, client);
    }
    if (!row) {
        return false;
    }
    row->until = until > row->until ? until : row->until;
    return true;
}

bool holders_release(struct holders *h, uint64_t client, mono_ms now)
{
    struct holder *row = find(h, client);

    if (row) {
        *row = h->rows[--h->count];
    }
    forget_lapsed(h, now);
    return h->count == 0;
}

void holders_done(struct holders *h)
{
    mem_free(h->rows);
    *h = (struct holders){.count = 0};
}
