#include "state/command.h"

#include "base/err.h"

/* Layout, all integers little-endian:
 *
 *   command      u8 version, u8 kind, u32 node, u64 incarnation, u64 seq, u64 floor, u64 time_ms,
 *                u64 quota, transaction
 *   transaction  u8 version, u16 compares, u16 ops, u16 else_ops, then these in that order
 *   compare      u8 type, u16 key_size, key, u64 number
 *   op           u8 type, u16 key_size, key; PUT: u32 value_size, value */
enum {
    COMMAND_VERSION = 1,
    COMMAND_KIND_TXN = 1,
    TXN_VERSION = 1,
    TXN_HEADER_SIZE = 1 + 3 * 2,
    COMPARE_FIXED_SIZE = 1 + 2 + 8,
    OP_FIXED_SIZE = 1 + 2,
    OP_VALUE_FIXED_SIZE = 4,
};

_Static_assert(STATE_KEY_MAX <= UINT16_MAX && STATE_OPS_MAX <= UINT16_MAX, "sizes of the fields");
_Static_assert(STATE_COMMAND_HEADER_SIZE == 1 + 1 + 4 + 5 * 8, "as documented above");

static int key_check(size_t key_size)
{
    if (key_size == 0) {
        return -RD_EINVALID;
    }
    return key_size > STATE_KEY_MAX ? -RD_ETOO_LARGE : 0;
}

/* ---- Encoding: first everything is checked and measured, then written in one go ---- */

/* A term has no key: what the caller left there is not written. */
static uint16_t compare_key_size(const struct state_compare *compare)
{
    return compare->type == STATE_COMPARE_TERM ? 0 : compare->key_size;
}

static int compare_measure(const struct state_compare *compare, size_t *size)
{
    int err = 0;

    switch (compare->type) {
    case STATE_COMPARE_MOD_REVISION:
    case STATE_COMPARE_VERSION:
        err = key_check(compare->key_size);
        break;
    case STATE_COMPARE_TERM:
        break;
    default:
        err = -RD_EINVALID;
    }
    if (err == 0) {
        *size += COMPARE_FIXED_SIZE + (size_t)compare_key_size(compare);
    }
    return err;
}

static int op_measure(const struct state_op *op, size_t *size)
{
    int err = key_check(op->key_size);

    if (err) {
        return err;
    }
    *size += OP_FIXED_SIZE + (size_t)op->key_size;
    switch (op->type) {
    case STATE_OP_PUT:
        *size += OP_VALUE_FIXED_SIZE + (size_t)op->value_size;
        return op->value_size > STATE_VALUE_MAX ? -RD_ETOO_LARGE : 0;
    case STATE_OP_DELETE:
        return 0;
    default:
        return -RD_EINVALID;
    }
}

static int ops_measure(const struct state_op *ops, uint32_t count, size_t *size)
{
    int err = 0;

    for (uint32_t i = 0; i < count && err == 0; i++) {
        err = op_measure(&ops[i], size);
    }
    return err;
}

static int txn_measure(const struct state_txn *txn, size_t *size)
{
    int err = 0;

    if (txn->compares_count > STATE_OPS_MAX || txn->ops_count > STATE_OPS_MAX ||
        txn->else_count > STATE_OPS_MAX) {
        return -RD_ETOO_LARGE;
    }
    *size = TXN_HEADER_SIZE;
    for (uint32_t i = 0; i < txn->compares_count && err == 0; i++) {
        err = compare_measure(&txn->compares[i], size);
    }
    if (err == 0) {
        err = ops_measure(txn->ops, txn->ops_count, size);
    }
    if (err == 0) {
        err = ops_measure(txn->else_ops, txn->else_count, size);
    }
    if (err == 0 && *size > STATE_REQUEST_MAX) {
        err = -RD_ETOO_LARGE;
    }
    return err;
}

static void ops_encode(const struct state_op *ops, uint32_t count, struct buf *out)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct state_op *op = &ops[i];

        buf_put_u8(out, (uint8_t)op->type);
        buf_put_u16(out, op->key_size);
        buf_put(out, op->key, op->key_size);
        if (op->type == STATE_OP_PUT) {
            buf_put_u32(out, op->value_size);
            buf_put(out, op->value, op->value_size);
        }
    }
}

int state_txn_encode(const struct state_txn *txn, struct buf *out)
{
    size_t size;
    int err = txn_measure(txn, &size);

    if (err) {
        return err;
    }
    buf_reserve(out, size);
    buf_put_u8(out, TXN_VERSION);
    buf_put_u16(out, (uint16_t)txn->compares_count);
    buf_put_u16(out, (uint16_t)txn->ops_count);
    buf_put_u16(out, (uint16_t)txn->else_count);
    for (uint32_t i = 0; i < txn->compares_count; i++) {
        const struct state_compare *compare = &txn->compares[i];
        uint16_t key_size = compare_key_size(compare);

        buf_put_u8(out, (uint8_t)compare->type);
        buf_put_u16(out, key_size);
        buf_put(out, compare->key, key_size);
        buf_put_u64(out, compare->number);
    }
    ops_encode(txn->ops, txn->ops_count, out);
    ops_encode(txn->else_ops, txn->else_count, out);
    return 0;
}

/* ---- Decoding: the cursor guards the end, the limits are checked before they are believed ---- */

static int compare_decode(struct cursor *c, struct state_compare *out)
{
    uint8_t type = cursor_u8(c);
    uint16_t key_size = cursor_u16(c);
    int err = 0;

    if (c->bad) {
        return -RD_EINVALID;
    }
    switch (type) {
    case STATE_COMPARE_MOD_REVISION:
    case STATE_COMPARE_VERSION:
        err = key_check(key_size);
        break;
    case STATE_COMPARE_TERM:
        err = key_size ? -RD_EINVALID : 0;
        break;
    default:
        err = -RD_EINVALID;
    }
    if (err) {
        return err;
    }
    out->type = (enum state_compare_type)type;
    out->key = cursor_bytes(c, key_size);
    out->key_size = key_size;
    out->number = cursor_u64(c);
    return c->bad ? -RD_EINVALID : 0;
}

static int op_decode(struct cursor *c, struct state_op *out)
{
    uint8_t type = cursor_u8(c);
    uint16_t key_size = cursor_u16(c);

    if (c->bad || (type != STATE_OP_PUT && type != STATE_OP_DELETE)) {
        return -RD_EINVALID;
    }
    int err = key_check(key_size);
    if (err) {
        return err;
    }
    out->type = (enum state_op_type)type;
    out->key = cursor_bytes(c, key_size);
    out->key_size = key_size;
    out->value = NULL;
    out->value_size = 0;
    if (type == STATE_OP_PUT) {
        out->value_size = cursor_u32(c);
        if (!c->bad && out->value_size > STATE_VALUE_MAX) {
            return -RD_ETOO_LARGE;
        }
        out->value = cursor_bytes(c, out->value_size);
    }
    return c->bad ? -RD_EINVALID : 0;
}

static int ops_decode(struct cursor *c, uint32_t count, struct state_op *out)
{
    int err = 0;

    for (uint32_t i = 0; i < count && err == 0; i++) {
        err = op_decode(c, &out[i]);
    }
    return err;
}

int state_txn_decode(const void *data, size_t size, struct state_txn *txn)
{
    struct cursor c = cursor_over(data, size);
    int err = 0;

    if (size > STATE_REQUEST_MAX) {
        return -RD_ETOO_LARGE;
    }
    uint8_t version = cursor_u8(&c);
    uint32_t compares_count = cursor_u16(&c);
    uint32_t ops_count = cursor_u16(&c);
    uint32_t else_count = cursor_u16(&c);
    if (c.bad || version != TXN_VERSION) {
        return -RD_EINVALID;
    }
    if (compares_count > STATE_OPS_MAX || ops_count > STATE_OPS_MAX || else_count > STATE_OPS_MAX) {
        return -RD_ETOO_LARGE;
    }
    for (uint32_t i = 0; i < compares_count && err == 0; i++) {
        err = compare_decode(&c, &txn->compares[i]);
    }
    if (err == 0) {
        err = ops_decode(&c, ops_count, txn->ops);
    }
    if (err == 0) {
        err = ops_decode(&c, else_count, txn->else_ops);
    }
    if (err == 0 && c.left > 0) {
        err = -RD_EINVALID;
    }
    if (err == 0) {
        txn->compares_count = compares_count;
        txn->ops_count = ops_count;
        txn->else_count = else_count;
    }
    return err;
}

bool state_txn_is_known(const void *data, size_t size)
{
    struct cursor c = cursor_over(data, size);

    return cursor_u8(&c) == TXN_VERSION;
}

/* ---- The entry ---- */

void state_command_encode(const struct state_command *c, struct buf *out)
{
    buf_reserve(out, STATE_COMMAND_HEADER_SIZE + c->txn_size);
    buf_put_u8(out, COMMAND_VERSION);
    buf_put_u8(out, COMMAND_KIND_TXN);
    buf_put_u32(out, c->request.node);
    buf_put_u64(out, c->request.incarnation);
    buf_put_u64(out, c->request.seq);
    buf_put_u64(out, c->request.floor);
    buf_put_u64(out, c->time_ms);
    buf_put_u64(out, c->quota);
    buf_put(out, c->txn, c->txn_size);
}

int state_command_decode(const void *data, size_t size, struct state_command *c)
{
    struct cursor at = cursor_over(data, size);
    struct state_command found;
    uint8_t version = cursor_u8(&at);
    uint8_t kind = cursor_u8(&at);

    found.request.node = cursor_u32(&at);
    found.request.incarnation = cursor_u64(&at);
    found.request.seq = cursor_u64(&at);
    found.request.floor = cursor_u64(&at);
    found.time_ms = cursor_u64(&at);
    found.quota = cursor_u64(&at);
    if (at.bad || version != COMMAND_VERSION || kind != COMMAND_KIND_TXN) {
        return -RD_EINVALID;
    }
    found.txn = at.data;
    found.txn_size = at.left;
    *c = found;
    return 0;
}
