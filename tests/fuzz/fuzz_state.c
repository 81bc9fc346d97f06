/* The state: what a snapshot or a backup brings, then entries applied to it. The input: a byte of flags; with
 * FROM_STREAM pieces (u16 size, bytes: head, rows..., tail), an empty one ends them; then operations. With
 * MAKE_RIGHT the head's sum and the tail are made right. Asserted:
 *   - pieces are read, or refused with -RD_ECORRUPT; what was read is written as the same bytes;
 *   - keys come out in order, within the limits, and sum up to state_bytes() and state_keys();
 *   - a state rebuilt from the rows that were handed out is equal by its digest, and from then on gives the
 *     same result for each entry as the one that was not rebuilt;
 *   - a refused entry changes nothing but the index; its code is one of those that state.h names;
 *   - a request in the window is remembered with its first result. */
#include <endian.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "state/rows.h"
#include "state/state.h"
#include "state/stream.h"
#include "target.h"

enum {
    FROM_STREAM = 1,
    MAKE_RIGHT = 128,
    SUM_SIZE = 4,
    FORGOTTEN_MAX = 2 /* each gives 4,096 rows */
};

struct world {
    struct state *state, *twin; /* the second one was rebuilt from rows */
    struct state_rows rows;     /* all that were handed out */
    uint64_t index, term;
    unsigned forgotten;
};

/* ---- Reading the state ---- */

struct sums {
    uint64_t keys, bytes;
    uint8_t last[STATE_KEY_MAX];
    size_t last_size;
};

static bool sum_up(void *arg, const struct state_kv *kv)
{
    struct sums *sums = arg;
    size_t both = kv->key_size < sums->last_size ? kv->key_size : sums->last_size;

    rd_assert(kv->key_size > 0 && kv->key_size <= STATE_KEY_MAX);
    rd_assert(kv->value_size <= STATE_VALUE_MAX);
    int order = memcmp(sums->last, kv->key, both);
    rd_assert(order < 0 || (order == 0 && sums->last_size < kv->key_size));
    memcpy(sums->last, kv->key, kv->key_size);
    sums->last_size = kv->key_size;
    sums->keys++;
    sums->bytes += kv->key_size + kv->value_size + STATE_KEY_COST;
    return true;
}

static void check_sums(const struct state *s)
{
    struct sums sums = {0};

    state_each(s, NULL, 0, sum_up, &sums);
    rd_assert(sums.keys == state_keys(s) && sums.bytes == state_bytes(s));
}

/* ---- From rows ---- */

static struct state *rebuild(const struct world *w)
{
    const struct state_rows *rows = &w->rows;
    struct state *s = state_new();

    for (uint32_t i = 0; i < rows->count; i++) {
        const struct state_row *row = &rows->rows[i];
        rd_assert(state_load_row(s, rows->bytes.data + row->key_at, row->key_size,
                                 rows->bytes.data + row->value_at, row->value_size) == 0);
    }
    rd_assert(state_load_done(s, w->index, w->term, state_revision(w->state),
                              state_digest(w->state)) == 0);
    return s;
}

/* As in the store: of each key the last row, and what is deleted is not there. */
static void store_rows(struct state_rows *rows)
{
    struct state_rows kept = {0};

    state_rows_compact(rows);
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct state_row *row = &rows->rows[i];
        if (!row->deleted) {
            state_rows_put(&kept, rows->bytes.data + row->key_at, row->key_size,
                           rows->bytes.data + row->value_at, row->value_size);
        }
    }
    state_rows_done(rows);
    *rows = kept;
}

static void renew_twin(struct world *w)
{
    store_rows(&w->rows);
    state_free(w->twin);
    w->twin = rebuild(w);
    check_sums(w->twin);
    rd_assert(state_keys(w->twin) == state_keys(w->state) &&
              state_bytes(w->twin) == state_bytes(w->state));
}

/* ---- From a stream ---- */

static int take_row(void *arg, const void *key, size_t key_size, const void *value,
                    size_t value_size)
{
    struct world *w = arg;
    int code = state_load_row(w->state, key, key_size, value, value_size);

    rd_assert(code == 0 || code == -RD_ECORRUPT);
    if (code == 0) {
        state_rows_put(&w->rows, key, key_size, value, value_size);
    }
    return code;
}

static void same_bytes(struct buf *b, const uint8_t *data, size_t size)
{
    rd_assert(b->size == size && memcmp(b->data, data, size) == 0);
    buf_done(b);
}

static void try_origin(const uint8_t *data, size_t size)
{
    struct stream_origin origin;
    struct buf again = BUF_INIT;

    int code = stream_get_origin(data, size, &origin);
    rd_assert(code == 0 || code == -RD_ECORRUPT);
    if (code == 0) {
        stream_put_origin(&again, &origin);
        same_bytes(&again, data, size);
    }
}

static bool take_head(const uint8_t *data, size_t size, struct stream_head *head)
{
    struct buf again = BUF_INIT;

    int code = stream_get_head(data, size, head);
    rd_assert(code == 0 || code == -RD_ECORRUPT);
    if (code == 0) {
        stream_put_head(&again, head);
        same_bytes(&again, data, size);
    }
    return code == 0;
}

static void write_row_again(struct buf *out, const uint8_t *piece, size_t size)
{
    struct cursor c = cursor_over(piece, size);

    while (c.left > 0) {
        size_t key_size = cursor_u16(&c);
        size_t value_size = cursor_u32(&c);
        const uint8_t *key = cursor_bytes(&c, key_size);
        stream_put_row(out, key, key_size, cursor_bytes(&c, value_size), value_size);
    }
}

static bool take_rows(struct world *w, const uint8_t *data, size_t size)
{
    struct buf again = BUF_INIT;

    if (stream_each_row(data, size, take_row, w)) {
        return false;
    }
    write_row_again(&again, data, size);
    same_bytes(&again, data, size);
    return true;
}

static void make_head_right(uint8_t *head, size_t size)
{
    if (size > SUM_SIZE) {
        uint32_t sum = htole32(crc32c(0, head, size - SUM_SIZE));
        memcpy(head + size - SUM_SIZE, &sum, sizeof sum);
    }
}

/* false: it is refused, and so is all that follows. */
static bool take_pieces(struct world *w, struct cursor *c, bool make_right)
{
    struct stream_head head = {0};
    uint64_t received = 0, count = 0;
    bool good = true;

    for (size_t size = cursor_u16(c); good && size > 0; size = cursor_u16(c)) {
        size = size < c->left ? size : c->left;
        uint8_t *piece = mem_dup(cursor_bytes(c, size), size);
        try_origin(piece, size);
        if (count == 0 && make_right) {
            make_head_right(piece, size);
        }
        good = count == 0 ? take_head(piece, size, &head) : take_rows(w, piece, size);
        received += size;
        count++;
        mem_free(piece);
    }
    if (!good || count == 0 || head.term > UINT64_MAX - UINT8_MAX ||
        head.index > UINT64_MAX - UINT16_MAX) {
        return false;
    }
    struct buf tail = BUF_INIT;
    stream_put_tail(&tail, received);
    rd_assert(stream_check_tail(tail.data, tail.size, received) == 0);
    rd_assert(stream_check_tail(tail.data, tail.size, received + 1) == -RD_ECORRUPT);
    buf_done(&tail);
    w->index = head.index;
    w->term = head.term;
    if (state_load_done(w->state, head.index, head.term, head.revision, head.digest)) {
        rd_assert(state_digest(w->state) != head.digest);
        return make_right; /* the digest that it should have said is known now */
    }
    rd_assert(state_digest(w->state) == head.digest);
    return true;
}

/* ---- Entries ---- */

static bool is_documented(int code)
{
    return code == 0 || code == -RD_ECONFLICT || code == -RD_ESTALE_FENCE ||
           code == -RD_ENO_SPACE || code == -RD_EINVALID || code == -RD_EUNKNOWN_OUTCOME;
}

static void check_result(const struct world *w, const struct state_result *r, uint64_t revision)
{
    rd_assert(is_documented(r->code) && (r->code == 0 || !r->succeeded));
    rd_assert(r->repeated || (r->index == w->index && r->term == w->term));
    rd_assert(state_revision(w->state) == revision ||
              (r->code == 0 && !r->repeated && state_revision(w->state) == revision + 1));
    rd_assert(r->repeated || r->revision == state_revision(w->state));
}

static void same_result(const struct state_result *a, const struct state_result *b)
{
    rd_assert(a->code == b->code && a->repeated == b->repeated && a->succeeded == b->succeeded &&
              a->revision == b->revision && a->index == b->index && a->term == b->term &&
              a->actual == b->actual && a->deleted == b->deleted);
}

static void apply(struct world *w, const void *data, size_t size)
{
    uint64_t revision = state_revision(w->state), bytes = state_bytes(w->state);
    struct state_result r, other;
    struct state_command c;

    w->index++;
    state_apply(w->state, w->index, w->term, data, size, &r, &w->rows);
    state_apply(w->twin, w->index, w->term, data, size, &other, NULL);
    same_result(&r, &other);
    check_result(w, &r, revision);
    rd_assert((r.code == 0 && !r.repeated) || bytes == state_bytes(w->state));
    rd_assert(state_digest(w->state) == state_digest(w->twin));
    if (state_command_decode(data, size, &c) == 0 && state_recall(w->state, &c.request, &other)) {
        other.repeated = r.repeated;
        same_result(&r, &other);
    }
}

static void add_op(struct state_op *op, struct cursor *c)
{
    op->type = cursor_u8(c) & 3 ? STATE_OP_PUT : STATE_OP_DELETE;
    op->key_size = cursor_u8(c) & 3;
    op->key = cursor_bytes(c, op->key_size);
    op->value_size = op->type == STATE_OP_PUT ? cursor_u8(c) : 0;
    op->value = cursor_bytes(c, op->value_size);
}

static void build_txn(struct state_txn *txn, struct cursor *c)
{
    txn->compares_count = cursor_u8(c) & 3;
    txn->ops_count = cursor_u8(c) & 7;
    txn->else_count = cursor_u8(c) & 1;
    for (uint32_t i = 0; i < txn->compares_count; i++) {
        struct state_compare *compare = &txn->compares[i];
        compare->type = (enum state_compare_type)(1 + cursor_u8(c) % 3);
        compare->key_size = cursor_u8(c) & 3;
        compare->key = cursor_bytes(c, compare->key_size);
        compare->number = cursor_u8(c);
    }
    for (uint32_t i = 0; i < txn->ops_count; i++) {
        add_op(&txn->ops[i], c);
    }
    for (uint32_t i = 0; i < txn->else_count; i++) {
        add_op(&txn->else_ops[i], c);
    }
}

/* One that a leader could have made. */
static void apply_built(struct world *w, struct cursor *c)
{
    struct state_txn *txn = mem_zalloc(sizeof *txn);
    struct buf bytes = BUF_INIT, entry = BUF_INIT;
    struct state_command command = {0};

    command.request.node = cursor_u8(c) & 3;
    command.request.incarnation = cursor_u8(c) & 3;
    command.request.seq = cursor_u16(c);
    command.request.floor = command.request.seq - (cursor_u16(c) & 0xfff);
    command.quota = cursor_u16(c);
    command.quota = command.quota & 1 ? UINT64_MAX : command.quota;
    build_txn(txn, c);
    if (!c->bad && state_txn_encode(txn, &bytes) == 0) {
        command.txn = bytes.data;
        command.txn_size = bytes.size;
        state_command_encode(&command, &entry);
        apply(w, entry.data, entry.size);
    }
    buf_done(&bytes);
    buf_done(&entry);
    mem_free(txn);
}

static void apply_raw(struct world *w, struct cursor *c)
{
    size_t size = cursor_u16(c);

    size = size < c->left ? size : c->left;
    uint8_t *exact = mem_dup(cursor_bytes(c, size), size);
    apply(w, exact, size);
    mem_free(exact);
}

static void skip(struct world *w, struct cursor *c)
{
    w->index += 1 + cursor_u8(c);
    state_skip(w->state, w->index, w->term);
    state_skip(w->twin, w->index, w->term);
}

static void forget(struct world *w, struct cursor *c)
{
    uint32_t node = cursor_u8(c) & 3;

    if (w->forgotten == FORGOTTEN_MAX) {
        return;
    }
    w->forgotten++;
    state_forget(w->state, node, &w->rows);
    state_forget(w->twin, node, NULL);
    rd_assert(state_digest(w->state) == state_digest(w->twin));
}

static void operate(struct world *w, struct cursor *c)
{
    while (c->left > 0 && !c->bad) {
        uint8_t what = cursor_u8(c);
        w->term += what >> 7;
        switch (what & 7) {
        case 0:
            apply_raw(w, c);
            break;
        case 1:
            skip(w, c);
            break;
        case 2:
            forget(w, c);
            break;
        case 3:
            renew_twin(w);
            break;
        default:
            apply_built(w, c);
        }
    }
    renew_twin(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_over(data, size);
    struct world w = {.state = state_new(), .term = 1};
    uint8_t flags = cursor_u8(&c);

    if (!(flags & FROM_STREAM) || take_pieces(&w, &c, flags & MAKE_RIGHT)) {
        check_sums(w.state);
        w.twin = rebuild(&w);
        operate(&w, &c);
    }
    state_free(w.state);
    state_free(w.twin);
    state_rows_done(&w.rows);
    return 0;
}
