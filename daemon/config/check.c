/* check.c - what concerns several options at once, and defaults computed from others. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/load.h"

static size_t row(const char *section, const char *key)
{
    return (size_t)(option_find(section, key) - option_table);
}

static bool is_refused(const struct load *l, const char *section, const char *key)
{
    return l->options[row(section, key)].refused;
}

static bool is_given(const struct load *l, const char *section, const char *key)
{
    return l->options[row(section, key)].given;
}

static struct place place_of(const struct load *l, const char *section, const char *key)
{
    return l->options[row(section, key)].place;
}

static void check_id(struct load *l)
{
    if (l->config.node_id == 0 && !is_refused(l, "node", "id")) {
        load_error(l, (struct place){.line = l->node_line},
                   "node.id is missing; write \"id = N\" in [node], a number of 1..4294967295 that "
                   "no other node of the cluster has or had");
    }
}

static void fill_name(struct load *l)
{
    struct config *c = &l->config;
    struct buf ignored = BUF_INIT;
    char host[256] = "";

    if (c->node_name[0] || is_refused(l, "node", "name")) {
        return;
    }
    (void)gethostname(host, sizeof host - 1);
    if (host[0] == 0 || option_set(&option_table[row("node", "name")], host, c, &ignored)) {
        (void)snprintf(c->node_name, sizeof c->node_name, "node%" PRIu32, c->node_id);
    }
    buf_done(&ignored);
}

/* A follower must be able to miss a heartbeat or two without standing for election. */
static void check_timing(struct load *l)
{
    const struct config *c = &l->config;
    char heartbeat[32];
    char election[32];
    char least[32];

    if (is_refused(l, "raft", "heartbeat_interval") || is_refused(l, "raft", "election_timeout") ||
        c->election_timeout_ms >= 3 * c->heartbeat_ms) {
        return;
    }
    units_duration_text(c->heartbeat_ms, heartbeat, sizeof heartbeat);
    units_duration_text(c->election_timeout_ms, election, sizeof election);
    units_duration_text(3 * c->heartbeat_ms, least, sizeof least);
    load_error(l,
               is_given(l, "raft", "election_timeout") ? place_of(l, "raft", "election_timeout")
                                                       : place_of(l, "raft", "heartbeat_interval"),
               "raft.election_timeout is %s, less than 3 x raft.heartbeat_interval (%s); raise it "
               "to at least %s, or lower the heartbeat_interval",
               election, heartbeat, least);
}

static void fill_advertise(struct load *l)
{
    struct config *c = &l->config;

    if (c->advertise[0] || is_refused(l, "node", "advertise") || is_refused(l, "node", "listen")) {
        return;
    }
    if (!units_is_wildcard(&c->listen)) {
        address_text(&c->listen, c->advertise);
        return;
    }
    if (c->members_count) {
        char listen[UNITS_ADDRESS_SIZE];
        address_text(&c->listen, listen);
        load_error(
            l, is_given(l, "node", "listen") ? place_of(l, "node", "listen") : l->member_places[0],
            "node.listen is %s, which the other members cannot dial; write \"advertise = "
            "HOST:PORT\" in [node], the address of this node in the member list",
            listen);
    }
}

/* "line 7", or the argument of -o. */
static void put_place(struct buf *out, struct place place)
{
    if (place.text) {
        buf_printf(out, "-o %s", place.text);
    } else {
        buf_printf(out, "line %d", place.line);
    }
}

static void check_pair(struct load *l, uint32_t first, uint32_t second)
{
    const struct config *c = &l->config;
    bool same_id = c->members[first].id == c->members[second].id;
    struct buf where = BUF_INIT;

    if (!same_id && strcmp(c->members[first].address, c->members[second].address) != 0) {
        return;
    }
    put_place(&where, l->member_places[first]);
    if (same_id) {
        load_error(l, l->member_places[second],
                   "cluster.member lists id %" PRIu32 " twice (first: %s); give each node its own "
                   "id, or delete one",
                   c->members[second].id, buf_str(&where));
    } else {
        load_error(l, l->member_places[second],
                   "cluster.member lists the address %s twice (first: %s, id %" PRIu32
                   "); give each node its own address, or delete one",
                   c->members[second].address, buf_str(&where), c->members[first].id);
    }
    buf_done(&where);
}

/* This node has to be among the members, under the address it advertises. It may be the one whose line
 * was refused. */
static void check_self(struct load *l)
{
    const struct config *c = &l->config;
    uint32_t self = 0;

    if (c->node_id == 0 || c->members_count == 0) {
        return;
    }
    while (self < c->members_count && c->members[self].id != c->node_id) {
        self++;
    }
    if (self == c->members_count && is_refused(l, "cluster", "member")) {
        return;
    }
    if (self == c->members_count) {
        load_error(l, l->member_places[0],
                   "cluster.member does not list this node, id %" PRIu32 "; add \"member = %" PRIu32
                   "@%s\" on every node, or correct node.id",
                   c->node_id, c->node_id, c->advertise[0] ? c->advertise : "HOST:PORT");
    } else if (c->advertise[0] && strcmp(c->members[self].address, c->advertise) != 0) {
        load_error(l, l->member_places[self],
                   "cluster.member lists this node as %s, but it advertises %s (node.advertise, or "
                   "node.listen when that is not set); make them the same",
                   c->members[self].address, c->advertise);
    }
}

static void sort_members(struct config *c)
{
    for (uint32_t i = 1; i < c->members_count; i++) {
        for (uint32_t j = i; j > 0 && c->members[j - 1].id > c->members[j].id; j--) {
            char moved[sizeof c->members[0]];
            memcpy(moved, &c->members[j], sizeof moved);
            c->members[j] = c->members[j - 1];
            memcpy(&c->members[j - 1], moved, sizeof moved);
        }
    }
}

/* Those that could be read. */
static void check_members(struct load *l)
{
    for (uint32_t second = 1; second < l->config.members_count; second++) {
        for (uint32_t first = 0; first < second; first++) {
            check_pair(l, first, second);
        }
    }
    check_self(l);
    sort_members(&l->config);
}

/* Half of it would be none of it, and who sets it relies on it. */
static void check_tls(struct load *l)
{
    static const char *const keys[] = {"cert", "key", "ca"};
    struct config *c = &l->config;
    const char *values[] = {c->tls_cert, c->tls_key, c->tls_ca};
    const char *set = NULL;
    const char *missing = NULL;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (is_refused(l, "tls", keys[i])) {
            return;
        }
        c->tls_lines[i] = place_of(l, "tls", keys[i]).line;
        set = *values[i] && !set ? keys[i] : set;
        missing = !*values[i] && !missing ? keys[i] : missing;
    }
    if (set && missing) {
        load_error(l, place_of(l, "tls", set),
                   "tls.%s is set and tls.%s is not; set all of cert, key and ca, or none of them",
                   set, missing);
    } else if (set && c->cluster_name[0] == 0 && !is_refused(l, "cluster", "name")) {
        load_error(l, place_of(l, "tls", set),
                   "tls.%s is set and cluster.name is not, to which certificates are bound; write "
                   "\"name = NAME\" in [cluster], the same on every node",
                   set);
    }
}

/* The other process that has the address would be this one. */
static void check_http_address(struct load *l)
{
    const struct config *c = &l->config;
    char listen[UNITS_ADDRESS_SIZE];
    char admin[sizeof c->admin_socket + sizeof "unix:"];

    address_text(&c->listen, listen);
    (void)snprintf(admin, sizeof admin, "unix:%s", c->admin_socket);
    for (uint32_t i = 0; i < c->http_listen_count && !is_refused(l, "http", "listen"); i++) {
        bool is_peers = strcmp(c->http_listen[i], listen) == 0;
        if (is_peers || strcmp(c->http_listen[i], admin) == 0) {
            load_error(l, place_of(l, "http", "listen"),
                       "http.listen: %s is what %s listens on; choose another %s",
                       c->http_listen[i], is_peers ? "[node] listen" : "[admin] socket",
                       is_peers ? "port" : "path");
        }
    }
}

static void check_https(struct load *l)
{
    bool refused = is_refused(l, "tls", "cert") || is_refused(l, "http", "https");

    if (l->config.http_https && l->config.tls_cert[0] == 0 && !refused) {
        load_error(l, place_of(l, "http", "https"),
                   "http.https is yes and [tls] is not set, whose certificate it shows; set cert, "
                   "key and ca there, or write \"https = no\"");
    }
}

void load_check(struct load *l)
{
    check_id(l);
    fill_name(l);
    fill_advertise(l);
    check_timing(l);
    check_members(l);
    check_tls(l);
    check_http_address(l);
    check_https(l);
}
