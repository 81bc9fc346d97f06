#include "raftd/holders.h"

#include "base/mem.h"

/* The clock of a holder may count finer than in ms. */
static bool is_alive(const struct holder *row, mono_ms now)
{
    return row->until >= now;
}

static void forget_lapsed(struct holders *h, mono_ms now)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < h->count; i++) {
        if (is_alive(&h->rows[i], now)) {
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

bool holders_is_holding(const struct holders *h, uint64_t client, mono_ms now)
{
    const struct holder *row = find(h, client);

    return row && is_alive(row, now);
}

uint32_t holders_alive(const struct holders *h, mono_ms now)
{
    uint32_t alive = 0;

    for (uint32_t i = 0; i < h->count; i++) {
        alive += is_alive(&h->rows[i], now);
    }
    return alive;
}

mono_ms holders_due(const struct holders *h, mono_ms now)
{
    mono_ms due = UINT64_MAX;

    for (uint32_t i = 0; i < h->count; i++) {
        mono_ms lapsed = h->rows[i].until + 1;
        due = is_alive(&h->rows[i], now) && lapsed < due ? lapsed : due;
    }
    return due;
}

void holders_done(struct holders *h)
{
    mem_free(h->rows);
    *h = (struct holders){.count = 0};
}
