#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "build.h"

/* What stands in logs already: these bytes may never change. */
static const uint8_t GOLDEN_TXN[] = {
    1,                     /* version */
    3, 0, 2, 0,   1,    0, /* compares, ops, else_ops */
    1, 3, 0, 'k', 'e',  'y',  5,    0,    0,    0,    0,    0,
    0, 0,                                                         /* mod_revision of key == 5 */
    2, 1, 0, 'v', 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, /* version of v */
    3, 0, 0, 7,   0,    0,    0,    0,    0,    0,    0,          /* the term == 7 */
    1, 1, 0, 'a', 2,    0,    0,    0,    'h',  'i',              /* put a = hi */
    2, 2, 0, 'b', 'c',                                            /* delete bc */
    1, 1, 0, 'e', 0,    0,    0,    0,                            /* else put e = "" */
};

static const uint8_t GOLDEN_COMMAND[] = {
    1,    1,                                        /* version, kind */
    4,    3,    2,    1,                            /* node */
    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* incarnation */
    0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, /* seq */
    0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, /* floor */
    0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, /* time_ms */
    0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, /* quota */
    't',  'x',  'n',
};

static struct state_txn *golden_txn(void)
{
    struct state_txn *txn = txn_new();

    txn_if(txn, STATE_COMPARE_MOD_REVISION, "key", 5);
    txn_if(txn, STATE_COMPARE_VERSION, "v", 0x123456789abcdef0U);
    txn_if(txn, STATE_COMPARE_TERM, "not written", 7);
    txn_then(txn, op_put("a", "hi"));
    txn_then(txn, op_delete("bc"));
    txn_else(txn, op_put("e", ""));
    return txn;
}

/* Decode from memory of exactly that size, so that a sanitizer sees any step beyond it. */
static int decode(const void *data, size_t size, struct state_txn *txn)
{
    uint8_t *exact = mem_alloc(size ? size : 1);

    if (size) {
        memcpy(exact, data, size);
    }
    int err = state_txn_decode(exact, size, txn);
    mem_free(exact);
    return err;
}

static void txn_bytes_are_stable(void **unused)
{
    struct state_txn *txn = golden_txn();
    struct buf out = BUF_INIT;

    (void)unused;
    buf_put_str(&out, "before");
    assert_int_equal(state_txn_encode(txn, &out), 0);
    assert_int_equal(out.size, 6 + sizeof GOLDEN_TXN);
    assert_memory_equal(out.data, "before", 6);
    assert_memory_equal(out.data + 6, GOLDEN_TXN, sizeof GOLDEN_TXN);
    buf_done(&out);
    mem_free(txn);
}

static void txn_decodes_golden_bytes(void **unused)
{
    struct state_txn *txn = txn_new();

    (void)unused;
    assert_int_equal(state_txn_decode(GOLDEN_TXN, sizeof GOLDEN_TXN, txn), 0);
    assert_int_equal(txn->compares_count, 3);
    assert_int_equal(txn->compares[0].type, STATE_COMPARE_MOD_REVISION);
    assert_int_equal(txn->compares[0].key_size, 3);
    assert_memory_equal(txn->compares[0].key, "key", 3);
    assert_int_equal(txn->compares[0].number, 5);
    assert_int_equal(txn->compares[1].type, STATE_COMPARE_VERSION);
    assert_true(txn->compares[1].number == 0x123456789abcdef0U);
    assert_int_equal(txn->compares[2].type, STATE_COMPARE_TERM);
    assert_int_equal(txn->compares[2].key_size, 0);
    assert_int_equal(txn->compares[2].number, 7);
    assert_int_equal(txn->ops_count, 2);
    assert_int_equal(txn->ops[0].type, STATE_OP_PUT);
    assert_memory_equal(txn->ops[0].key, "a", 1);
    assert_int_equal(txn->ops[0].value_size, 2);
    assert_memory_equal(txn->ops[0].value, "hi", 2);
    assert_int_equal(txn->ops[1].type, STATE_OP_DELETE);
    assert_int_equal(txn->ops[1].key_size, 2);
    assert_null(txn->ops[1].value);
    assert_int_equal(txn->ops[1].value_size, 0);
    assert_int_equal(txn->else_count, 1);
    assert_int_equal(txn->else_ops[0].value_size, 0);
    mem_free(txn);
}

static void txn_every_truncation_is_refused(void **unused)
{
    struct state_txn *txn = txn_new();

    (void)unused;
    for (size_t size = 0; size < sizeof GOLDEN_TXN; size++) {
        assert_int_equal(decode(GOLDEN_TXN, size, txn), -RD_EINVALID);
        assert_int_equal(txn->compares_count + txn->ops_count + txn->else_count, 0);
    }
    mem_free(txn);
}

static void txn_leftover_bytes_are_refused(void **unused)
{
    struct state_txn *txn = txn_new();
    uint8_t bytes[sizeof GOLDEN_TXN + 1] = {0};

    (void)unused;
    memcpy(bytes, GOLDEN_TXN, sizeof GOLDEN_TXN);
    assert_int_equal(decode(bytes, sizeof bytes, txn), -RD_EINVALID);
    mem_free(txn);
}

/* Damage one byte of the golden transaction. */
static int decode_damaged(size_t at, uint8_t value)
{
    struct state_txn *txn = txn_new();
    uint8_t bytes[sizeof GOLDEN_TXN];

    memcpy(bytes, GOLDEN_TXN, sizeof bytes);
    bytes[at] = value;
    int err = decode(bytes, sizeof bytes, txn);
    mem_free(txn);
    return err;
}

static void txn_unknown_bytes_are_refused(void **unused)
{
    (void)unused;
    assert_int_equal(decode_damaged(0, 0), -RD_EINVALID); /* version */
    assert_int_equal(decode_damaged(0, 2), -RD_EINVALID);
    assert_int_equal(decode_damaged(1, 129), -RD_ETOO_LARGE); /* counts */
    assert_int_equal(decode_damaged(3, 129), -RD_ETOO_LARGE);
    assert_int_equal(decode_damaged(6, 1), -RD_ETOO_LARGE);
    assert_int_equal(decode_damaged(7, 0), -RD_EINVALID); /* compare type */
    assert_int_equal(decode_damaged(7, 4), -RD_EINVALID);
    assert_int_equal(decode_damaged(8, 0), -RD_EINVALID);   /* empty key */
    assert_int_equal(decode_damaged(9, 2), -RD_ETOO_LARGE); /* key of 515 */
    assert_int_equal(decode_damaged(34, 1), -RD_EINVALID);  /* a term with a key */
    assert_int_equal(decode_damaged(44, 0), -RD_EINVALID);  /* op type */
    assert_int_equal(decode_damaged(44, 3), -RD_EINVALID);
    assert_int_equal(decode_damaged(45, 0), -RD_EINVALID);   /* empty key */
    assert_int_equal(decode_damaged(46, 2), -RD_ETOO_LARGE); /* key of 513 */
    assert_int_equal(decode_damaged(51, 1), -RD_ETOO_LARGE); /* value of 16 MiB */
}

static void txn_random_damage_never_decodes_to_other_bytes(void **unused)
{
    const uint64_t seed = 0x5eed0001;
    struct prng p;
    struct state_txn *txn = txn_new();
    unsigned accepted = 0;

    (void)unused;
    print_message("seed %#llx\n", (unsigned long long)seed);
    prng_seed(&p, seed);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[sizeof GOLDEN_TXN];
        struct buf again = BUF_INIT;
        size_t size = prng_range(&p, 0, sizeof bytes + 1);

        memcpy(bytes, GOLDEN_TXN, sizeof bytes);
        for (uint64_t n = prng_range(&p, 0, 4); n > 0; n--) {
            bytes[prng_range(&p, 0, sizeof bytes)] = (uint8_t)prng_next(&p);
        }
        size = prng_chance(&p, 500000) ? sizeof bytes : size;
        if (state_txn_decode(bytes, size, txn) == 0) {
            assert_int_equal(state_txn_encode(txn, &again), 0);
            assert_int_equal(again.size, size);
            assert_memory_equal(again.data, bytes, size);
            accepted++;
        }
        buf_done(&again);
    }
    assert_in_range(accepted, 100, 19000);
    mem_free(txn);
}

/* Encoding refuses, and appends nothing. */
static void assert_not_encoded(struct state_txn *txn, int code)
{
    struct buf out = BUF_INIT;

    assert_int_equal(state_txn_encode(txn, &out), code);
    assert_int_equal(out.size, 0);
    buf_done(&out);
    txn->compares_count = txn->ops_count = txn->else_count = 0;
}

static void txn_encode_refuses_what_makes_no_sense(void **unused)
{
    struct state_txn *txn = txn_new();

    (void)unused;
    txn_then(txn, op_put("", "v"));
    assert_not_encoded(txn, -RD_EINVALID);
    txn_else(txn, op_delete(""));
    assert_not_encoded(txn, -RD_EINVALID);
    txn_if(txn, STATE_COMPARE_VERSION, "", 1);
    assert_not_encoded(txn, -RD_EINVALID);
    txn_if(txn, (enum state_compare_type)4, "k", 1);
    assert_not_encoded(txn, -RD_EINVALID);
    txn_then(txn, op_put("k", "v"));
    txn->ops[0].type = (enum state_op_type)3;
    assert_not_encoded(txn, -RD_EINVALID);
    mem_free(txn);
}

static void txn_encode_refuses_what_is_too_large(void **unused)
{
    struct state_txn *txn = txn_new();
    char key[STATE_KEY_MAX + 2];

    (void)unused;
    memset(key, 'k', sizeof key);
    key[STATE_KEY_MAX + 1] = 0;
    txn_then(txn, op_delete(key));
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    txn_if(txn, STATE_COMPARE_MOD_REVISION, key, 1);
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    txn_then(txn, op_put("k", "v"));
    txn->ops[0].value_size = STATE_VALUE_MAX + 1;
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    txn->compares_count = STATE_OPS_MAX + 1;
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    txn->ops_count = STATE_OPS_MAX + 1;
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    txn->else_count = STATE_OPS_MAX + 1;
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    mem_free(txn);
}

/* The largest of everything goes through, one byte more does not. */
static void txn_limits_are_exact(void **unused)
{
    enum { FIXED = 7 + 2 * (3 + 1 + 4) }; /* header, two puts with a key of one byte */
    struct state_txn *txn = txn_new(), *back = txn_new();
    uint8_t *value = mem_zalloc(STATE_VALUE_MAX);
    struct buf out = BUF_INIT;

    (void)unused;
    txn_then(txn, op_put("a", ""));
    txn_then(txn, op_put("b", ""));
    txn->ops[0].value = txn->ops[1].value = value;
    txn->ops[0].value_size = STATE_VALUE_MAX;
    txn->ops[1].value_size = STATE_REQUEST_MAX - STATE_VALUE_MAX - FIXED;
    assert_int_equal(state_txn_encode(txn, &out), 0);
    assert_int_equal(out.size, STATE_REQUEST_MAX);
    assert_int_equal(state_txn_decode(out.data, out.size, back), 0);
    assert_int_equal(back->ops[0].value_size, STATE_VALUE_MAX);
    buf_put_u8(&out, 0);
    assert_int_equal(state_txn_decode(out.data, out.size, back), -RD_ETOO_LARGE);
    buf_done(&out);
    txn->ops[1].value_size++;
    assert_not_encoded(txn, -RD_ETOO_LARGE);
    mem_free(value);
    mem_free(txn);
    mem_free(back);
}

static void txn_of_the_most_operations_round_trips(void **unused)
{
    struct state_txn *txn = txn_new(), *back = txn_new();
    char key[STATE_KEY_MAX + 1];
    struct buf out = BUF_INIT, again = BUF_INIT;

    (void)unused;
    memset(key, 'k', STATE_KEY_MAX);
    key[STATE_KEY_MAX] = 0;
    for (uint32_t i = 0; i < STATE_OPS_MAX; i++) {
        txn_if(txn, STATE_COMPARE_VERSION, key, i);
        txn_then(txn, op_put(key, "value"));
        txn_else(txn, op_delete(key));
    }
    assert_int_equal(state_txn_encode(txn, &out), 0);
    assert_int_equal(decode(out.data, out.size, back), 0);
    assert_int_equal(state_txn_decode(out.data, out.size, back), 0);
    assert_int_equal(state_txn_encode(back, &again), 0);
    assert_int_equal(out.size, again.size);
    assert_memory_equal(out.data, again.data, out.size);
    buf_done(&out);
    buf_done(&again);
    mem_free(txn);
    mem_free(back);
}

static void command_bytes_are_stable(void **unused)
{
    struct state_command c = {.request = {.node = 0x01020304,
                                          .incarnation = 0x1112131415161718U,
                                          .seq = 0x2122232425262728U,
                                          .floor = 0x3132333435363738U},
                              .time_ms = 0x4142434445464748U,
                              .quota = 0x5152535455565758U,
                              .txn = (const uint8_t *)"txn",
                              .txn_size = 3};
    struct state_command back;
    struct buf out = BUF_INIT;

    (void)unused;
    state_command_encode(&c, &out);
    assert_int_equal(out.size, sizeof GOLDEN_COMMAND);
    assert_int_equal(out.size, STATE_COMMAND_HEADER_SIZE + c.txn_size);
    assert_memory_equal(out.data, GOLDEN_COMMAND, out.size);
    assert_int_equal(state_command_decode(out.data, out.size, &back), 0);
    assert_true(back.request.node == c.request.node);
    assert_true(back.request.incarnation == c.request.incarnation);
    assert_true(back.request.seq == c.request.seq);
    assert_true(back.request.floor == c.request.floor);
    assert_true(back.time_ms == c.time_ms);
    assert_true(back.quota == c.quota);
    assert_int_equal(back.txn_size, 3);
    assert_ptr_equal(back.txn, out.data + STATE_COMMAND_HEADER_SIZE);
    buf_done(&out);
}

static void command_refuses_truncation_and_the_unknown(void **unused)
{
    uint8_t bytes[sizeof GOLDEN_COMMAND];
    struct state_command c = {.quota = 99};

    (void)unused;
    for (size_t size = 0; size < STATE_COMMAND_HEADER_SIZE; size++) {
        uint8_t *exact = mem_dup(GOLDEN_COMMAND, size ? size : 1);
        assert_int_equal(state_command_decode(exact, size, &c), -RD_EINVALID);
        mem_free(exact);
    }
    for (size_t at = 0; at < 2; at++) {
        memcpy(bytes, GOLDEN_COMMAND, sizeof bytes);
        bytes[at] = 2;
        assert_int_equal(state_command_decode(bytes, sizeof bytes, &c), -RD_EINVALID);
        bytes[at] = 0;
        assert_int_equal(state_command_decode(bytes, sizeof bytes, &c), -RD_EINVALID);
    }
    assert_int_equal(c.quota, 99);
    assert_int_equal(state_command_decode(NULL, 0, &c), -RD_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(txn_bytes_are_stable),
        cmocka_unit_test(txn_decodes_golden_bytes),
        cmocka_unit_test(txn_every_truncation_is_refused),
        cmocka_unit_test(txn_leftover_bytes_are_refused),
        cmocka_unit_test(txn_unknown_bytes_are_refused),
        cmocka_unit_test(txn_random_damage_never_decodes_to_other_bytes),
        cmocka_unit_test(txn_encode_refuses_what_makes_no_sense),
        cmocka_unit_test(txn_encode_refuses_what_is_too_large),
        cmocka_unit_test(txn_limits_are_exact),
        cmocka_unit_test(txn_of_the_most_operations_round_trips),
        cmocka_unit_test(command_bytes_are_stable),
        cmocka_unit_test(command_refuses_truncation_and_the_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
