#include "fixture.h"

#include "base/buf.h"
#include "base/err.h"

static void integers_are_little_endian(void **state)
{
    static const uint8_t expected[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                                       0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08};
    struct buf b = BUF_INIT;

    (void)state;
    buf_put_u8(&b, 0x01);
    buf_put_u16(&b, 0x0203);
    buf_put_u32(&b, 0x04050607);
    buf_put_u64(&b, 0x08090a0b0c0d0e0fU);
    assert_int_equal(b.size, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);

    struct cursor c = cursor_over(b.data, b.size);
    assert_int_equal(cursor_u8(&c), 0x01);
    assert_int_equal(cursor_u16(&c), 0x0203);
    assert_int_equal(cursor_u32(&c), 0x04050607);
    assert_int_equal(cursor_u64(&c), 0x08090a0b0c0d0e0fU);
    assert_int_equal(c.left, 0);
    assert_false(c.bad);
    buf_done(&b);
}

static void grows_and_keeps(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        buf_put_u32(&b, i);
    }
    assert_int_equal(b.size, 40000);
    assert_true(b.capacity >= b.size);
    struct cursor c = cursor_over(b.data, b.size);
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(cursor_u32(&c), i);
    }
    buf_done(&b);
    assert_null(b.data);
    assert_int_equal(b.size, 0);
    assert_int_equal(b.capacity, 0);
    buf_put_u8(&b, 1); /* usable again */
    assert_int_equal(b.size, 1);
    buf_done(&b);
}

static void reserve_keeps_size(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    buf_reserve(&b, 1000);
    assert_int_equal(b.size, 0);
    assert_true(b.capacity >= 1000);
    uint8_t *data = b.data;
    buf_reserve(&b, 1000);
    assert_ptr_equal(b.data, data);
    buf_put(&b, NULL, 0); /* nothing from nowhere */
    assert_int_equal(b.size, 0);
    buf_done(&b);
}

static void prints(void **state)
{
    struct buf b = BUF_INIT;
    char filler[301];

    (void)state;
    memset(filler, 'x', 300);
    filler[300] = 0;
    assert_string_equal(buf_str(&b), "");
    buf_put_str(&b, "a");
    buf_put_str(&b, "");
    buf_printf(&b, "-%d-%s", 42, filler);
    assert_int_equal(b.size, 305);
    assert_memory_equal(buf_str(&b), "a-42-xxx", 8);
    assert_int_equal(strlen(buf_str(&b)), 305);
    assert_int_equal(b.size, 305); /* the NUL is not counted */
    buf_printf(&b, "%s", "");
    assert_int_equal(b.size, 305);
    buf_done(&b);
}

static void drops_from_the_front(void **state)
{
    struct buf b = BUF_INIT;

    (void)state;
    buf_drop(&b, 0);
    buf_put_str(&b, "abcdef");
    buf_drop(&b, 0);
    buf_drop(&b, 2);
    assert_string_equal(buf_str(&b), "cdef");
    buf_drop(&b, 4);
    assert_int_equal(b.size, 0);
    buf_done(&b);
}

static void drop_too_much(void *arg)
{
    struct buf b = BUF_INIT;

    (void)arg;
    buf_put_str(&b, "abc");
    buf_drop(&b, 4);
}

static void reserve_too_much(void *arg)
{
    struct buf b = BUF_INIT;

    (void)arg;
    buf_put_str(&b, "abc");
    buf_reserve(&b, SIZE_MAX - 2);
}

static void misuse_is_a_bug(void **state)
{
    struct child child;

    (void)state;
    child_run(&child, drop_too_much, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    child_run(&child, reserve_too_much, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
}

/* Whatever is missing: zeros, `bad`, and never a byte past the end. */
static void a_cursor_never_leaves(void **state)
{
    static const uint8_t bytes[7] = {1, 2, 3, 4, 5, 6, 7};

    (void)state;
    for (size_t size = 0; size < sizeof bytes; size++) {
        struct cursor c = cursor_over(bytes, size);
        assert_int_equal(cursor_u64(&c), 0);
        assert_true(c.bad);
        assert_int_equal(cursor_u8(&c), 0); /* there would be some, but it stays bad */
        assert_null(cursor_bytes(&c, 0));
    }
    struct cursor c = cursor_over(bytes, 3);
    assert_int_equal(cursor_u32(&c), 0);
    assert_true(c.bad);
    c = cursor_over(bytes, 1);
    assert_int_equal(cursor_u16(&c), 0);
    assert_true(c.bad);
    c = cursor_over(bytes, 0);
    assert_int_equal(cursor_u8(&c), 0);
    assert_true(c.bad);
    c = cursor_over(bytes, 4);
    assert_null(cursor_bytes(&c, SIZE_MAX));
    assert_true(c.bad);
}

static void a_cursor_borrows(void **state)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    struct cursor c = cursor_over(bytes, sizeof bytes);

    (void)state;
    assert_ptr_equal(cursor_bytes(&c, 3), bytes);
    assert_int_equal(c.left, 1);
    assert_ptr_equal(cursor_bytes(&c, 0), bytes + 3);
    assert_int_equal(cursor_u8(&c), 4);
    assert_false(c.bad);
    c = cursor_over(NULL, 0);
    (void)cursor_bytes(&c, 0);
    assert_false(c.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_little_endian), cmocka_unit_test(grows_and_keeps),
        cmocka_unit_test(reserve_keeps_size),         cmocka_unit_test(prints),
        cmocka_unit_test(drops_from_the_front),       cmocka_unit_test(misuse_is_a_bug),
        cmocka_unit_test(a_cursor_never_leaves),      cmocka_unit_test(a_cursor_borrows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
