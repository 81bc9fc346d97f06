/* What a record of the store may hold. The first byte of the input chooses the record (bits 0-2) and whether
 * its sum is made right (bit 7: else nothing gets past it), the next eight are the index of a log record.
 * Asserted:
 *   - a record is read, or refused with a reason and `out` untouched;
 *   - what was read is written as the same bytes, and read again as the same;
 *   - a changed index, or another record's name, does not pass;
 *   - so with what a log record holds: a membership, or a command and its transaction. */
#include <endian.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "raft/membership.h"
#include "state/command.h"
#include "store/record.h"
#include "target.h"

enum { SUM_SIZE = 4, WORD_AT = 4, WORD_SIZE = 4, HEAD_SIZE = 1 + 8, MAKE_SUM_RIGHT = 128 };
enum record { IDENTITY, HARD, BOOT, BASE, MARK, ENTRY, RECORDS };

/* Bytes that `read` may find in `out` before; it has to leave them there when it refuses. */
static void spoil(void *out, void *before, size_t size)
{
    memset(out, 0xa5, size);
    memset(before, 0xa5, size);
}

static bool is_refused(const char *why, const void *out, const void *before, size_t size)
{
    if (!why) {
        return false;
    }
    rd_assert(*why && memcmp(out, before, size) == 0);
    return true;
}

/* `skip`: bytes behind the sum that mean nothing and are written as zeros. */
static void same_bytes(const uint8_t *data, size_t size, const uint8_t *again, size_t again_size,
                       size_t skip)
{
    size_t from = SUM_SIZE + skip;

    rd_assert(size == again_size && memcmp(data + from, again + from, size - from) == 0);
    rd_assert(skip > 0 || memcmp(data, again, SUM_SIZE) == 0);
}

/* ---- Named records ---- */

static void try_identity(const uint8_t *data, size_t size)
{
    struct store_identity r, before, again;
    uint8_t bytes[STORE_IDENTITY_SIZE];

    spoil(&r, &before, sizeof r);
    if (!is_refused(store_record_get_identity(data, size, &r), &r, &before, sizeof r)) {
        store_record_put_identity(&r, bytes);
        same_bytes(data, size, bytes, sizeof bytes, 0);
        rd_assert(!store_record_get_identity(bytes, sizeof bytes, &again));
        rd_assert(store_record_same_identity(&r, &again));
    }
}

static void try_hard(const uint8_t *data, size_t size)
{
    struct store_hard r, before;
    uint8_t bytes[STORE_HARD_SIZE];

    spoil(&r, &before, sizeof r);
    if (!is_refused(store_record_get_hard(data, size, &r), &r, &before, sizeof r)) {
        store_record_put_hard(&r, bytes);
        same_bytes(data, size, bytes, sizeof bytes, 0);
    }
}

static void try_boot(const uint8_t *data, size_t size)
{
    uint8_t bytes[STORE_BOOT_SIZE];
    uint64_t r, before;

    spoil(&r, &before, sizeof r);
    if (!is_refused(store_record_get_boot(data, size, &r), &r, &before, sizeof r)) {
        store_record_put_boot(r, bytes);
        same_bytes(data, size, bytes, sizeof bytes, WORD_SIZE);
    }
}

static void try_membership(const void *data, size_t size, raft_index index)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    int code = membership_decode(data, size, index, m);

    rd_assert(code == 0 || code == -RD_EINVALID);
    if (code == 0) {
        struct blob *bytes = membership_encode(m);
        rd_assert(m->index == index && m->members_count <= RAFT_MEMBERS_MAX &&
                  m->tombstones_count <= RAFT_TOMBSTONES_MAX);
        rd_assert(bytes->size == size && memcmp(bytes->data, data, size) == 0);
        blob_unref(bytes);
    }
    mem_free(m);
}

static void try_point(const struct raft_point *p)
{
    rd_assert(p->index > 0 && p->membership_index <= p->index);
    if (p->membership) {
        try_membership(p->membership->data, p->membership->size, p->membership_index);
    }
}

static void try_base(const uint8_t *data, size_t size)
{
    struct raft_point r, before;
    struct buf bytes = BUF_INIT;

    spoil(&r, &before, sizeof r);
    if (!is_refused(store_record_get_base(data, size, &r), &r, &before, sizeof r)) {
        try_point(&r);
        store_record_put_base(&r, &bytes);
        same_bytes(data, size, bytes.data, bytes.size, WORD_SIZE);
        raft_point_done(&r);
    }
    buf_done(&bytes);
}

static void try_mark(const uint8_t *data, size_t size)
{
    struct store_mark r, before;
    struct buf bytes = BUF_INIT;

    spoil(&r, &before, sizeof r);
    if (!is_refused(store_record_get_mark(data, size, &r), &r, &before, sizeof r)) {
        try_point(&r.at);
        store_record_put_mark(&r, &bytes);
        same_bytes(data, size, bytes.data, bytes.size, 0);
        raft_point_done(&r.at);
    }
    buf_done(&bytes);
}

/* ---- Log records ---- */

static void try_command(const uint8_t *data, size_t size)
{
    struct state_txn *txn = mem_alloc(sizeof *txn);
    struct buf bytes = BUF_INIT;
    struct state_command c;

    int code = state_command_decode(data, size, &c);
    rd_assert(code == 0 || code == -RD_EINVALID);
    if (code == 0) {
        state_command_encode(&c, &bytes);
        rd_assert(bytes.size == size && memcmp(bytes.data, data, size) == 0);
        bytes.size = 0;
        code = state_txn_decode(c.txn, c.txn_size, txn);
        rd_assert(code == 0 || code == -RD_EINVALID || code == -RD_ETOO_LARGE);
        if (code == 0) {
            rd_assert(state_txn_encode(txn, &bytes) == 0);
            rd_assert(bytes.size == c.txn_size && memcmp(bytes.data, c.txn, c.txn_size) == 0);
        }
    }
    buf_done(&bytes);
    mem_free(txn);
}

static void try_entry(raft_index index, const uint8_t *data, size_t size)
{
    struct store_entry_view r, before, other;

    spoil(&r, &before, sizeof r);
    if (is_refused(store_record_get_entry(index, data, size, &r), &r, &before, sizeof r)) {
        return;
    }
    rd_assert(store_record_get_entry(index + 1, data, size, &other));
    struct raft_entry e = {.index = index, .term = r.term, .chain = r.chain, .type = r.type};
    e.data = r.payload_size > 0 ? blob_copy(r.payload, r.payload_size) : NULL;
    size_t again_size = store_record_entry_size(&e);
    uint8_t *again = mem_alloc(again_size);
    store_record_put_entry(&e, again);
    same_bytes(data, size, again, again_size, 0);
    if (r.type == RAFT_ENTRY_MEMBERSHIP) {
        try_membership(r.payload, r.payload_size, index);
    } else if (r.type == RAFT_ENTRY_COMMAND) {
        try_command(r.payload, r.payload_size);
    }
    blob_unref(e.data);
    mem_free(again);
}

static const struct {
    const char *name; /* NULL: a log record */
    void (*attempt)(const uint8_t *data, size_t size);
} records[RECORDS] = {
    [IDENTITY] = {STORE_NAME_FMT, try_identity}, [HARD] = {STORE_NAME_HARD, try_hard},
    [BOOT] = {STORE_NAME_BOOT, try_boot},        [BASE] = {STORE_NAME_BASE, try_base},
    [MARK] = {STORE_NAME_MARK, try_mark},        [ENTRY] = {NULL, NULL},
};

static void make_sum_right(const char *name, raft_index index, uint8_t *record, size_t size)
{
    uint64_t key = htole64(index);

    if (size < SUM_SIZE) {
        return;
    }
    uint32_t sum = name ? crc32c(0, name, strlen(name)) : crc32c(0, &key, sizeof key);
    sum = htole32(crc32c(sum, record + SUM_SIZE, size - SUM_SIZE));
    memcpy(record, &sum, sizeof sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    raft_index index;

    if (size < HEAD_SIZE) {
        return 0;
    }
    unsigned kind = (data[0] & 7) % RECORDS;
    memcpy(&index, data + 1, sizeof index);
    size -= HEAD_SIZE;
    uint8_t *record = mem_dup(data + HEAD_SIZE, size); /* of the exact size */
    if (data[0] & MAKE_SUM_RIGHT) {
        make_sum_right(records[kind].name, index, record, size);
    }
    if (records[kind].name) {
        records[kind].attempt(record, size);
    } else {
        try_entry(index, record, size);
    }
    mem_free(record);
    return 0;
}
