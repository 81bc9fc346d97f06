#include "fixture.h"

static void the_id_is_required(void **state)
{
#define ID_MISSING                                                                                 \
    "node.id is missing; write \"id = N\" in [node], a number of 1..4294967295 that no other "     \
    "node of the cluster has or had\n"
    (void)state;
    assert_refused("\n[log]\n\n[node]\nname = x\n", "F:4: " ID_MISSING);
    assert_refused("[log]\n", "F:0: " ID_MISSING);
    /* a bad id is one error */
    assert_refused("[node]\nid = 0\n",
                   "F:2: node.id: 0 is out of range; write a value from 1 to 4294967295\n");
}

static const char *host_name = "host";

/* Linked in the place of gethostname(2). */
int __wrap_gethostname(char *name, size_t size);
int __wrap_gethostname(char *name, size_t size)
{
    if (!host_name) {
        return -1;
    }
    (void)snprintf(name, size, "%s", host_name);
    return 0;
}

static void assert_name(const char *text, const char *host, const char *expected)
{
    host_name = host;
    assert_string_equal(load_good(text, NULL).node_name, expected);
    host_name = "host";
}

static void the_name_is_the_host_name(void **state)
{
    char longest[66];

    (void)state;
    assert_name("[node]\nid = 7\n", "n1.example.org", "n1.example.org");
    assert_name("[node]\nid = 7\nname =\n", "n1", "n1");
    assert_name("[node]\nid = 7\nname = own\n", "n1", "own");
    /* what does not fit, or could not be read back */
    assert_name("[node]\nid = 7\n", NULL, "node7");
    assert_name("[node]\nid = 7\n", "", "node7");
    assert_name("[node]\nid = 7\n", "a ;b", "node7");
    assert_name("[node]\nid = 7\n", "\xff", "node7");
    memset(longest, 'h', sizeof longest);
    longest[65] = 0;
    assert_name("[node]\nid = 7\n", longest, "node7");
    longest[64] = 0;
    assert_name("[node]\nid = 7\n", longest, longest);
}

static void elections_outlast_heartbeats(void **state)
{
    struct config c =
        load_good("[node]\nid=1\n[raft]\nheartbeat_interval=50ms\nelection_timeout=150ms\n", NULL);
    static const char *const at_election[] = {"raft.election_timeout=299ms", NULL};
    static const char *const at_heartbeat[] = {"raft.heartbeat_interval=1s", NULL};

    (void)state;
    assert_int_equal(c.heartbeat_ms, 50);
    assert_int_equal(c.election_timeout_ms, 150);
    assert_refused("[node]\nid=1\n[raft]\nelection_timeout=149ms\nheartbeat_interval=50ms\n",
                   "F:4: raft.election_timeout is 149ms, less than 3 x raft.heartbeat_interval "
                   "(50ms); raise it to at least 150ms, or lower the heartbeat_interval\n");
    assert_refused("[node]\nid=1\n[raft]\nheartbeat_interval=167ms\n",
                   "F:4: raft.election_timeout is 500ms, less than 3 x raft.heartbeat_interval "
                   "(167ms); raise it to at least 501ms, or lower the heartbeat_interval\n");
    assert_refused_with("[node]\nid=1\n", at_election,
                        "-o raft.election_timeout=299ms: raft.election_timeout is 299ms, less than "
                        "3 x raft.heartbeat_interval (100ms); raise it to at least 300ms, or lower "
                        "the heartbeat_interval\n");
    assert_refused_with("[node]\nid=1\n", at_heartbeat,
                        "-o raft.heartbeat_interval=1s: raft.election_timeout is 500ms, less than "
                        "3 x raft.heartbeat_interval (1s); raise it to at least 3s, or lower the "
                        "heartbeat_interval\n");
    /* one error per mistake */
    assert_refused("[node]\nid=1\n[raft]\nheartbeat_interval=167ms\nelection_timeout=1\n",
                   "F:5: raft.election_timeout: \"1\" is not a duration; write a number and ms, s, "
                   "m or h, such as 500ms\n");
}

static void advertise_is_listen(void **state)
{
    (void)state;
    struct config c = load_good("[node]\nid=1\nlisten=[0::1]:7400\n", NULL);
    assert_string_equal(c.advertise, "[::1]:7400");
    assert_string_equal(c.listen.host, "0::1");
    c = load_good("[node]\nid=1\nlisten=[::]:7400\n", NULL);
    assert_string_equal(c.advertise, "");
    c = load_good("[node]\nid=1\nadvertise=N1:7\n", NULL);
    assert_string_equal(c.advertise, "n1:7");
    c = load_good("[node]\nid=1\nlisten=10.0.0.1:7\nadvertise=n1:8\n", NULL);
    assert_string_equal(c.advertise, "n1:8");
}

static void a_wildcard_cannot_be_dialled(void **state)
{
    (void)state;
    assert_refused("[node]\nid=1\n[cluster]\nmember=1@h:7400\n",
                   "F:4: node.listen is 0.0.0.0:7400, which the other members cannot dial; write "
                   "\"advertise = HOST:PORT\" in [node], the address of this node in the member "
                   "list\n");
    assert_refused("[node]\nid=1\nlisten=[::]:7400\n[cluster]\nmember=1@h:7400\n",
                   "F:3: node.listen is [::]:7400, which the other members cannot dial; write "
                   "\"advertise = HOST:PORT\" in [node], the address of this node in the member "
                   "list\n");
    /* one error per mistake */
    assert_refused("[node]\nid=1\nadvertise=h\n[cluster]\nmember=1@h:7400\n",
                   "F:3: node.advertise: \"h\" is not an address; write HOST:PORT with a port of "
                   "1..65535, such as 10.0.0.1:7400, n1.example.org:7400 or [::1]:7400\n");
    assert_refused("[node]\nid=1\nlisten=h\n[cluster]\nmember=1@h:7400\n",
                   "F:3: node.listen: \"h\" is not an address; write HOST:PORT with a port of "
                   "1..65535, such as 10.0.0.1:7400, n1.example.org:7400 or [::1]:7400\n");
}

static void members_are_sorted(void **state)
{
    struct config c = load_good("[node]\nid=2\nlisten=b:1\n[cluster]\nmember=30@c:1\n"
                                "member=2@B:1\nmember=1@a:1\nmember=4@d:1\n",
                                NULL);

    (void)state;
    assert_int_equal(c.members_count, 4);
    assert_int_equal(c.members[0].id, 1);
    assert_string_equal(c.members[0].address, "a:1");
    assert_int_equal(c.members[1].id, 2);
    assert_string_equal(c.members[1].address, "b:1");
    assert_int_equal(c.members[2].id, 4);
    assert_string_equal(c.members[2].address, "d:1");
    assert_int_equal(c.members[3].id, 30);
    assert_string_equal(c.members[3].address, "c:1");
}

static void members_differ(void **state)
{
    static const char *const more[] = {"cluster.member=2@c:1", NULL};

    (void)state;
    assert_refused(
        "[node]\nid=1\nlisten=a:1\n[cluster]\nmember=1@a:1\nmember=2@b:1\n\nmember=1@c:1\n",
        "F:8: cluster.member lists id 1 twice (first: line 5); give each node its own "
        "id, or delete one\n");
    assert_refused("[node]\nid=1\nlisten=a:1\n[cluster]\nmember=1@a:1\nmember=2@A:1\n",
                   "F:6: cluster.member lists the address a:1 twice (first: line 5, id 1); give "
                   "each node its own address, or delete one\n");
    assert_refused_with("[node]\nid=1\nlisten=a:1\n[cluster]\nmember=1@a:1\nmember=2@b:1\n", more,
                        "-o cluster.member=2@c:1: cluster.member lists id 2 twice (first: line 6); "
                        "give each node its own id, or delete one\n");
}

static void overrides_are_named_as_first(void **state)
{
    static const char *const both[] = {"cluster.member=1@a:1", "cluster.member=1@a:1", NULL};

    (void)state;
    assert_refused_with("[node]\nid=1\nlisten=a:1\n", both,
                        "-o cluster.member=1@a:1: cluster.member lists id 1 twice (first: -o "
                        "cluster.member=1@a:1); give each node its own id, or delete one\n");
}

#define NOT_A_MEMBER(value)                                                                        \
    "cluster.member: \"" value "\" is not a member; write ID@HOST:PORT with an id of "             \
    "1..4294967295, such as 1@10.0.0.1:7400\n"

/* A line that cannot be read hides no mistake in the others, and may be the one that is missed. */
static void members_that_can_be_read_are_checked(void **state)
{
    (void)state;
    assert_refused(
        "[node]\nid=4\nlisten=a:1\n[cluster]\nmember=foo\nmember=1@a:1\nmember=5\n"
        "member=1@b:1\nmember=2@b:1\n",
        "F:5: " NOT_A_MEMBER("foo") "F:7: " NOT_A_MEMBER(
            "5") "F:8: cluster.member lists id 1 twice (first: line 6); give each node its own "
                 "id, or delete one\n"
                 "F:9: cluster.member lists the address b:1 twice (first: line 8, id 1); give "
                 "each node its own address, or delete one\n");
    assert_refused(
        "[node]\nid=1\nlisten=z:1\n[cluster]\nmember=foo\nmember=1@a:1\n",
        "F:5: " NOT_A_MEMBER(
            "foo") "F:6: cluster.member lists this node as a:1, but it advertises z:1 "
                   "(node.advertise, or node.listen when that is not set); make them the same\n");
}

static void members_include_this_node(void **state)
{
    (void)state;
    assert_refused("[node]\nid=3\nadvertise=c:1\n[cluster]\nmember=1@a:1\nmember=2@b:1\n",
                   "F:5: cluster.member does not list this node, id 3; add \"member = 3@c:1\" on "
                   "every node, or correct node.id\n");
    assert_refused("[node]\nid=3\n[cluster]\nmember=1@a:1\n",
                   "F:4: node.listen is 0.0.0.0:7400, which the other members cannot dial; write "
                   "\"advertise = HOST:PORT\" in [node], the address of this node in the member "
                   "list\n"
                   "F:4: cluster.member does not list this node, id 3; add \"member = "
                   "3@HOST:PORT\" on every node, or correct node.id\n");
    assert_refused("[node]\nid=1\nadvertise=z:1\n[cluster]\nmember=2@b:1\nmember=1@a:1\n",
                   "F:6: cluster.member lists this node as a:1, but it advertises z:1 "
                   "(node.advertise, or node.listen when that is not set); make them the same\n");
    /* without a valid id, or with a member that could not be read, there is nothing to compare */
    assert_refused("[node]\nid=x\nlisten=a:1\n[cluster]\nmember=1@a:1\n",
                   "F:2: node.id: \"x\" is not a number; write decimal digits\n");
    assert_refused("[node]\nid=1\nlisten=a:1\n[cluster]\nmember=1\nmember=2@b:1\n",
                   "F:5: " NOT_A_MEMBER("1"));
}

#define NO_TLS(set, missing)                                                                       \
    "tls." set " is set and tls." missing " is not; set all of cert, key and ca, or none of "      \
    "them\n"

static void tls_is_whole_or_not_there(void **state)
{
    static const char *const option[] = {"tls.ca=/a", NULL};
    struct config c = load_good("[node]\nid=1\n[tls]\ncert=\nkey=\nca=\n", NULL);

    (void)state;
    assert_string_equal(c.tls_cert, "");
    c = load_good("[node]\nid=1\n[cluster]\nname=x\n[tls]\nkey=/k\ncert=/c\n", option);
    assert_string_equal(c.tls_cert, "/c");
    assert_string_equal(c.tls_key, "/k");
    assert_string_equal(c.tls_ca, "/a");
    assert_int_equal(c.tls_lines[0], 7);
    assert_int_equal(c.tls_lines[1], 6);
    assert_int_equal(c.tls_lines[2], 0);
    assert_refused("[node]\nid=1\n[tls]\nkey=/k\n", "F:4: " NO_TLS("key", "cert"));
    assert_refused("[node]\nid=1\n[tls]\ncert=/c\nca=/a\n", "F:4: " NO_TLS("cert", "key"));
    assert_refused_with("[node]\nid=1\n", option, "-o tls.ca=/a: " NO_TLS("ca", "cert"));
    assert_refused("[node]\nid=1\n[tls]\ncert=/c\x01\n",
                   "F:4: tls.cert: holds the control character 0x01; remove it\n");
}

static void http_has_a_place_of_its_own(void **state)
{
    (void)state;
    assert_refused("[node]\nid=1\nlisten=h:1\n[http]\nlisten=h:2\nlisten=h:1\n",
                   "F:6: http.listen: h:1 is what [node] listen listens on; choose another port\n");
    assert_refused(
        "[node]\nid=1\n[admin]\nsocket=/s\n[http]\nlisten=unix:/s\n",
        "F:6: http.listen: unix:/s is what [admin] socket listens on; choose another path\n");
}

/* The name is what keeps certificates of one authority apart. */
static void https_wants_tls(void **state)
{
    static const char *const option[] = {"http.https=yes", NULL};
    static const char why[] =
        "http.https is yes and [tls] is not set, whose certificate it shows; set "
        "cert, key and ca there, or write \"https = no\"\n";
    char refused[512];

    (void)state;
    (void)snprintf(refused, sizeof refused, "F:4: %s", why);
    assert_refused("[node]\nid=1\n[http]\nhttps=yes\n", refused);
    (void)snprintf(refused, sizeof refused, "-o http.https=yes: %s", why);
    assert_refused_with("[node]\nid=1\n", option, refused);
    struct config c = load_good("[node]\nid=1\n[http]\nhttps=yes\n[cluster]\nname=x\n"
                                "[tls]\nkey=/k\ncert=/c\nca=/a\n",
                                NULL);
    assert_true(c.http_https);
}

static void tls_wants_a_cluster_name(void **state)
{
    (void)state;
    assert_refused("[node]\nid=1\n[tls]\ncert=/c\nkey=/k\nca=/a\n",
                   "F:4: tls.cert is set and cluster.name is not, to which certificates are bound; "
                   "write \"name = NAME\" in [cluster], the same on every node\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_id_is_required),
        cmocka_unit_test(the_name_is_the_host_name),
        cmocka_unit_test(elections_outlast_heartbeats),
        cmocka_unit_test(advertise_is_listen),
        cmocka_unit_test(a_wildcard_cannot_be_dialled),
        cmocka_unit_test(members_are_sorted),
        cmocka_unit_test(members_differ),
        cmocka_unit_test(overrides_are_named_as_first),
        cmocka_unit_test(members_that_can_be_read_are_checked),
        cmocka_unit_test(members_include_this_node),
        cmocka_unit_test(tls_is_whole_or_not_there),
        cmocka_unit_test(https_wants_tls),
        cmocka_unit_test(tls_wants_a_cluster_name),
        cmocka_unit_test(http_has_a_place_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
