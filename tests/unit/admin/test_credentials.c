#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/credentials.h"

static const struct credentials_policy with_group = {
    .daemon_uid = 500, .group_set = true, .group = 77};
static const struct credentials_policy without_group = {.daemon_uid = 500};

static void test_everybody_may_ask(void **state)
{
    const struct credentials stranger = {.uid = 1000, .gid = 1000};

    (void)state;
    assert_true(credentials_allow(&stranger, &with_group, ADMIN_ASK));
    assert_true(credentials_allow(&stranger, &without_group, ADMIN_ASK));
}

static void test_strangers_change_nothing(void **state)
{
    gid_t groups[] = {1001, 76, 78};
    const struct credentials stranger = {
        .uid = 1000, .gid = 1000, .groups = groups, .groups_count = 3};

    (void)state;
    assert_false(credentials_allow(&stranger, &with_group, ADMIN_CHANGE));
    assert_false(credentials_allow(&stranger, &without_group, ADMIN_CHANGE));
}

static void test_root_and_daemon_user_may_change(void **state)
{
    const struct credentials root = {.uid = 0, .gid = 0};
    const struct credentials daemon_user = {.uid = 500, .gid = 1000};

    (void)state;
    assert_true(credentials_allow(&root, &without_group, ADMIN_CHANGE));
    assert_true(credentials_allow(&daemon_user, &without_group, ADMIN_CHANGE));
}

static void test_group_members_may_change(void **state)
{
    gid_t groups[] = {1001, 77};
    const struct credentials supplementary = {
        .uid = 1000, .gid = 1000, .groups = groups, .groups_count = 2};
    const struct credentials primary = {.uid = 1000, .gid = 77};

    (void)state;
    assert_true(credentials_allow(&supplementary, &with_group, ADMIN_CHANGE));
    assert_true(credentials_allow(&primary, &with_group, ADMIN_CHANGE));
}

/* No [admin] group is not group 0: who is in the root group is not root. */
static void test_no_group_is_nobodys_group(void **state)
{
    const struct credentials in_group_0 = {.uid = 1000, .gid = 0};

    (void)state;
    assert_false(credentials_allow(&in_group_0, &without_group, ADMIN_CHANGE));
}

static void test_missing_permission_is_refused_for_root(void **state)
{
    const struct credentials root = {.uid = 0, .gid = 0};

    (void)state;
    assert_false(credentials_allow(&root, &with_group, ADMIN_DENY));
    assert_false(credentials_allow(&root, &with_group, (enum admin_permission)99));
}

static void test_kernel_names_us(void **state)
{
    struct credentials who;
    gid_t groups[65536];
    int pair[2];
    int groups_count = getgroups(65536, groups);

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(credentials_get(pair[0], &who), 0);
    assert_int_equal(who.uid, geteuid());
    assert_int_equal(who.gid, getegid());
    assert_int_equal(who.pid, getpid());
    assert_int_equal(who.groups_count, groups_count);
    credentials_done(&who);
    assert_null(who.groups);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void test_no_socket_is_an_error(void **state)
{
    struct credentials who;

    (void)state;
    assert_true(credentials_get(-1, &who) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_may_ask),
        cmocka_unit_test(test_strangers_change_nothing),
        cmocka_unit_test(test_root_and_daemon_user_may_change),
        cmocka_unit_test(test_group_members_may_change),
        cmocka_unit_test(test_no_group_is_nobodys_group),
        cmocka_unit_test(test_missing_permission_is_refused_for_root),
        cmocka_unit_test(test_kernel_names_us),
        cmocka_unit_test(test_no_socket_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
