/* Hellos: what we say of ourselves, whom we talk to, what others told us. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "node/internal.h"

enum { HELLO_PROTOCOL = 1 };

void node_hello_get(const struct node *n, struct peer_hello *out)
{
    const struct raft_membership *m = raft_membership(n->raft);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    *out = (struct peer_hello){
        .cluster = view.cluster,
        .id = n->config.raft.id,
        .store = n->config.raft.store,
        .incarnation = n->config.incarnation,
        .protocol_min = HELLO_PROTOCOL,
        .protocol_max = HELLO_PROTOCOL,
        .empty = view.last == 0,
        .election_timeout_ms = n->config.raft.election_timeout_ms,
        .bindings_count = m->members_count,
    };
    memcpy(out->name, n->config.name, sizeof out->name);
    memcpy(out->uri, n->config.uri, sizeof out->uri);
    memcpy(out->address, n->config.address, sizeof out->address);
    memcpy(out->version, n->config.version, sizeof out->version);
    memcpy(out->cluster_name, n->config.cluster_name, sizeof out->cluster_name);
    memcpy(out->member_list, n->member_list, sizeof out->member_list);
    if (view.last > 0 &&
        view.saved == 0) { /* a cluster that is not on disk is not told to anybody */
        out->cluster = (struct uuid){{0}};
        out->bindings_count = 0;
    }
    for (uint32_t i = 0; i < out->bindings_count; i++) {
        out->bindings[i].id = m->members[i].id;
        out->bindings[i].store = m->members[i].store;
    }
}

/* Changes whenever our hello does, without building it. */
uint64_t hello_mark(const struct node *n)
{
    const struct raft_membership *m = raft_membership(n->raft);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    uint64_t mark = hash64(0, view.cluster.bytes, sizeof view.cluster.bytes);
    mark = hash64_mix(mark, view.last == 0);
    mark = hash64_mix(mark, m->index);
    mark = hash64_mix(mark, raft_term_at(n->raft, m->index)); /* replaced at the same index */
    mark = hash64_mix(mark, view.saved > 0);
    return hash64(mark, n->config.uri, strlen(n->config.uri));
}

void node_set_uri(struct node *n, const char *uri)
{
    (void)snprintf(n->config.uri, sizeof n->config.uri, "%s", uri);
}

/* ---- Whom we talk to ---- */

static const struct uuid *bound_store(const struct peer_hello *hello, raft_id id)
{
    for (uint32_t i = 0; i < hello->bindings_count; i++) {
        if (hello->bindings[i].id == id) {
            return &hello->bindings[i].store;
        }
    }
    return NULL;
}

/* Their data directory is not the one the membership knows under this id, or ours is not in theirs.
 */
static int check_stores(const struct node *n, const struct peer_hello *hello, char *why)
{
    const struct raft_member *member = membership_find(raft_membership(n->raft), hello->id);
    const struct uuid *ours = bound_store(hello, n->config.raft.id);
    char known[UUID_TEXT_SIZE];
    char shown[UUID_TEXT_SIZE];

    if (member && !uuid_equal(&member->store, &hello->store)) {
        uuid_text(&member->store, known);
        uuid_text(&hello->store, shown);
        (void)snprintf(why, PEER_WHY_SIZE,
                       "node %" PRIu32 " is bound to store %s but shows %s: its data directory was "
                       "replaced; remove it and add it again under a new id",
                       hello->id, known, shown);
        return -RD_EINVALID;
    }
    if (ours && !uuid_equal(ours, &n->config.raft.store)) {
        uuid_text(ours, known);
        uuid_text(&n->config.raft.store, shown);
        (void)snprintf(why, PEER_WHY_SIZE,
                       "the cluster binds node %" PRIu32 " to store %s, this directory is %s: "
                       "restore the old one, or remove the node and add it again",
                       n->config.raft.id, known, shown);
        return -RD_EINVALID;
    }
    return 0;
}

static int check_cluster(const struct node *n, const struct peer_hello *hello, char *why)
{
    const char *name = n->config.cluster_name;
    struct raft_view view;
    char ours[UUID_TEXT_SIZE];
    char theirs[UUID_TEXT_SIZE];

    if (name[0] && hello->cluster_name[0] && strcmp(name, hello->cluster_name) != 0) {
        (void)snprintf(why, PEER_WHY_SIZE, "cluster.name is '%s' here, '%s' there", name,
                       hello->cluster_name);
        return -RD_EWRONG_CLUSTER;
    }
    raft_view_get(n->raft, &view);
    bool both = uuid_is_set(&view.cluster) && uuid_is_set(&hello->cluster);
    if (both && !uuid_equal(&view.cluster, &hello->cluster) && view.last > 0 && !hello->empty) {
        uuid_text(&view.cluster, ours);
        uuid_text(&hello->cluster, theirs);
        /* The sentence is told to who may be a stranger: enough to compare, not enough to pass. */
        (void)snprintf(why, PEER_WHY_SIZE, "cluster id is %.8s... here, %.8s... there", ours,
                       theirs);
        return -RD_EWRONG_CLUSTER;
    }
    return 0;
}

int node_hello_check(const struct node *n, const struct peer_hello *hello, char why[PEER_WHY_SIZE])
{
    const struct raft_tombstone *gone = membership_tombstone(raft_membership(n->raft), hello->id);

    if (hello->protocol_min > HELLO_PROTOCOL || hello->protocol_max < HELLO_PROTOCOL) {
        (void)snprintf(why, PEER_WHY_SIZE, "speaks protocol %u to %u, this raftd speaks %d",
                       hello->protocol_min, hello->protocol_max, HELLO_PROTOCOL);
        return -RD_EINVALID;
    }
    if (hello->id == n->config.raft.id) {
        (void)snprintf(why, PEER_WHY_SIZE, "two nodes have node.id %" PRIu32, hello->id);
        return -RD_EINVALID;
    }
    if (gone && uuid_equal(&gone->store, &hello->store)) {
        (void)snprintf(why, PEER_WHY_SIZE, "node %" PRIu32 " was removed at index %" PRIu64,
                       hello->id, gone->index);
        return -RD_EREMOVED;
    }
    int rc = check_cluster(n, hello, why);
    return rc ? rc : check_stores(n, hello, why);
}

static bool is_founder(const struct node *n, raft_id id)
{
    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        if (n->config.founders[i].id == id) {
            return true;
        }
    }
    return false;
}

enum node_standing node_hello_standing(const struct node *n, const struct peer_hello *hello)
{
    const struct raft_membership *m = raft_membership(n->raft);
    const struct uuid *ours = bound_store(hello, n->config.raft.id);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (uuid_is_set(&view.cluster) && uuid_equal(&view.cluster, &hello->cluster) &&
        !membership_tombstone(m, hello->id)) {
        return NODE_MEMBER;
    }
    bool names_us = m->members_count == 0 && ours && uuid_equal(ours, &n->config.raft.store);
    return names_us || is_founder(n, hello->id) ? NODE_FAMILIAR : NODE_STRANGER;
}

/* ---- What others told us ---- */

struct node_peer *hello_peer(const struct node *n, raft_id id)
{
    for (uint32_t i = 0; i < n->peers_count; i++) {
        if (n->peers[i].hello.id == id) {
            return &n->peers[i];
        }
    }
    return NULL;
}

static bool is_wanted(const struct node *n, raft_id id)
{
    return membership_find(raft_membership(n->raft), id) || is_founder(n, id);
}

/* Room for one more: strangers make room for those we know, and are never more than a few. */
static struct node_peer *peer_add(struct node *n)
{
    enum { PEERS_MAX = RAFT_MEMBERS_MAX + RAFT_VOTERS_MAX };

    if (n->peers_count == PEERS_MAX) {
        for (uint32_t i = 0; i < n->peers_count; i++) {
            if (!is_wanted(n, n->peers[i].hello.id)) {
                return &n->peers[i];
            }
        }
        return NULL;
    }
    if (n->peers_count == n->peers_capacity) {
        n->peers_capacity = n->peers_capacity ? n->peers_capacity * 2 : 4;
        n->peers = mem_realloc(n->peers, n->peers_capacity * sizeof *n->peers);
    }
    n->peers[n->peers_count] = (struct node_peer){0};
    return &n->peers[n->peers_count++];
}

/* A voter forgets a leader after its own T, not after ours. */
void hello_update_lease_base(struct node *n)
{
    const struct raft_membership *m = raft_membership(n->raft);
    uint32_t shortest = n->config.raft.election_timeout_ms;

    for (uint32_t i = 0; i < n->peers_count; i++) {
        const struct peer_hello *hello = &n->peers[i].hello;
        uint32_t theirs = membership_is_voter(m, hello->id) ? hello->election_timeout_ms : 0;
        shortest = theirs && theirs < shortest ? theirs : shortest;
    }
    raft_set_lease_base(n->raft, shortest);
}

/* A member answers us without its cluster until we show that we know it. What it told us of the
 * cluster when it dialled us stays true. */
static bool tells_less(const struct peer_hello *hello, const struct peer_hello *known)
{
    return !uuid_is_set(&hello->cluster) && uuid_is_set(&known->cluster);
}

void node_hello(struct node *n, const struct peer_hello *hello)
{
    struct node_peer *peer = hello_peer(n, hello->id);

    refusals_forget(n, hello->id);
    if (!peer) {
        peer = peer_add(n);
    }
    if (peer) {
        bool same = peer->hello.id == hello->id && peer->hello.incarnation == hello->incarnation;
        peer->up = peer->up && same;
        if (!same || !tells_less(hello, &peer->hello)) {
            peer->hello = *hello;
        }
        hello_update_lease_base(n);
    }
}

void node_link_up(struct node *n, raft_id id)
{
    struct node_peer *peer = hello_peer(n, id);

    if (peer && !peer->up) {
        peer->up = true;
        writes_lost(n, id);       /* what went into the old link may be lost */
        n->writes_alarm = n->now; /* what waited for a way there goes now */
    }
}

const struct peer_hello *node_peer_hello(const struct node *n, raft_id id)
{
    const struct node_peer *peer = hello_peer(n, id);

    return peer ? &peer->hello : NULL;
}

void hello_link_down(struct node *n, raft_id id)
{
    struct node_peer *peer = hello_peer(n, id);

    if (peer) {
        peer->up = false;
    }
}

/* ---- Links to keep ---- */

static uint32_t add_target(struct node_target *out, uint32_t count, raft_id id, const char *address)
{
    out[count].id = id;
    (void)snprintf(out[count].address, sizeof out[count].address, "%s", address);
    return count + 1;
}

uint32_t node_targets(const struct node *n, struct node_target *out)
{
    const struct raft_membership *m = raft_membership(n->raft);
    raft_id self = n->config.raft.id;
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        if (m->members[i].id != self) {
            count = add_target(out, count, m->members[i].id, m->members[i].address);
        }
    }
    if (m->members_count > 0) {
        return count;
    }
    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        if (n->config.founders[i].id != self) {
            count = add_target(out, count, n->config.founders[i].id, n->config.founders[i].address);
        }
    }
    /* An empty node answers those who count it among theirs. */
    for (uint32_t i = 0; i < n->peers_count && count < RAFT_MEMBERS_MAX; i++) {
        const struct peer_hello *hello = &n->peers[i].hello;
        const struct uuid *ours = bound_store(hello, self);
        bool listed = false;
        for (uint32_t f = 0; f < count; f++) {
            listed = listed || out[f].id == hello->id;
        }
        if (!listed && ours && uuid_equal(ours, &n->config.raft.store)) {
            count = add_target(out, count, hello->id, hello->address);
        }
    }
    return count;
}
