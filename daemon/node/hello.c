/* Hellos: what we say of ourselves, whom we talk to, what others told us. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "node/internal.h"

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
        .process = n->config.process,
        .session = node_self(n) ? node_self(n)->session : 0,
        .protocol_min = PEER_PROTOCOL_MIN,
        .protocol_max = PEER_PROTOCOL_MAX,
        .empty = view.last == 0,
        .election_timeout_ms = n->config.raft.election_timeout_ms,
        .disk_low = n->room.low,
        .bindings_count = m->members_count,
    };
    memcpy(out->name, n->config.name, sizeof out->name);
    memcpy(out->uri, n->config.uri, sizeof out->uri);
    memcpy(out->address, n->config.address, sizeof out->address);
    memcpy(out->version, n->config.version, sizeof out->version);
    memcpy(out->cluster_name, n->config.cluster_name, sizeof out->cluster_name);
    if (!uuid_is_set(&view.cluster)) { /* whoever has a cluster forms no other one */
        memcpy(out->member_list, n->member_list, sizeof out->member_list);
    }
    bool ours = uuid_equal(&view.cluster, &n->fresh_cluster);
    if (ours && view.saved == 0) { /* one that is not on its founder's disk is told to nobody */
        out->cluster = (struct uuid){{0}};
        out->bindings_count = 0;
    }
    for (uint32_t i = 0; i < out->bindings_count; i++) {
        out->bindings[i].id = m->members[i].id;
        out->bindings[i].store = m->members[i].store;
        memory_tell(n, &out->bindings[i]);
    }
}

/* Changes whenever our hello does, or what we think of others', without building it. */
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
    mark = hash64_mix(mark, n->room.low);
    /* The same words, but whom we refuse may differ: everybody is looked at again. */
    mark = hash64_mix(mark, raft_membership_committed(n->raft)->index);
    mark = hash64_mix(mark, n->greetings);
    return hash64(mark, n->config.uri, strlen(n->config.uri));
}

void node_set_uri(struct node *n, const char *uri)
{
    (void)snprintf(n->config.uri, sizeof n->config.uri, "%s", uri);
}

/* ---- Whom we talk to ---- */

const struct peer_binding *hello_binding(const struct peer_hello *hello, raft_id id)
{
    for (uint32_t i = 0; i < hello->bindings_count; i++) {
        if (hello->bindings[i].id == id) {
            return &hello->bindings[i];
        }
    }
    return NULL;
}

static const struct uuid *bound_store(const struct peer_hello *hello, raft_id id)
{
    const struct peer_binding *binding = hello_binding(hello, id);

    return binding ? &binding->store : NULL;
}

bool hello_names_us(const struct node *n, const struct peer_hello *hello)
{
    const struct uuid *ours = bound_store(hello, n->config.raft.id);

    return ours && uuid_equal(ours, &n->config.raft.store);
}

/* Does a member of our cluster say so of itself: that it stands in a membership with the data that it
 * shows? Who lost its data does not say it. */
static bool is_member_by_itself(const struct node *n, const struct peer_hello *hello)
{
    const struct uuid *own = bound_store(hello, hello->id);
    struct raft_view view;

    raft_view_get(n->raft, &view);
    return own && uuid_equal(own, &hello->store) && uuid_is_set(&view.cluster) &&
           uuid_equal(&view.cluster, &hello->cluster);
}

/* It shows another data directory than our membership knows under its id. Was it added after the one
 * we know, so that our log is behind? An earlier one must not be counted for it: the two may have
 * promised different things (trap 12). */
static bool is_later_life(const struct node *n, const struct peer_hello *hello,
                          const struct raft_member *member)
{
    return is_member_by_itself(n, hello) && hello->session > member->session;
}

/* Their data directory is not the one the membership knows under this id, or ours is not in theirs.
 */
static int check_stores(const struct node *n, const struct peer_hello *hello,
                        struct peer_refusal *refusal)
{
    const struct raft_member *member = membership_find(raft_membership(n->raft), hello->id);
    const struct uuid *ours = bound_store(hello, n->config.raft.id);
    char known[UUID_TEXT_SIZE];
    char shown[UUID_TEXT_SIZE];

    if (member && !uuid_equal(&member->store, &hello->store) && !is_later_life(n, hello, member)) {
        uuid_text(&member->store, known);
        uuid_text(&hello->store, shown);
        (void)snprintf(refusal->why, PEER_WHY_SIZE,
                       "node %" PRIu32 " is bound to store %s but shows %s: its data directory was "
                       "replaced; remove-server it and add-server it again, or replace-server it",
                       hello->id, known, shown);
        return -RD_EINVALID;
    }
    if (ours && !uuid_equal(ours, &n->config.raft.store) && !node_self(n)) {
        uuid_text(ours, known);
        uuid_text(&n->config.raft.store, shown);
        (void)snprintf(refusal->why, PEER_WHY_SIZE,
                       "the cluster binds node %" PRIu32 " to store %s, this directory is %s: "
                       "restore the old one, or remove the node and add it again",
                       n->config.raft.id, known, shown);
        return -RD_EINVALID;
    }
    return 0;
}

static int check_cluster(const struct node *n, const struct peer_hello *hello,
                         struct peer_refusal *refusal)
{
    const char *name = n->config.cluster_name;
    struct raft_view view;
    char ours[UUID_TEXT_SIZE];
    char theirs[UUID_TEXT_SIZE];

    if (name[0] && hello->cluster_name[0] && strcmp(name, hello->cluster_name) != 0) {
        (void)snprintf(refusal->why, PEER_WHY_SIZE,
                       "cluster.name of node %" PRIu32 " is '%s', of node %" PRIu32 " '%s'",
                       n->config.raft.id, name, hello->id, hello->cluster_name);
        return -RD_EWRONG_CLUSTER;
    }
    raft_view_get(n->raft, &view);
    bool both = uuid_is_set(&view.cluster) && uuid_is_set(&hello->cluster);
    bool bound = view.last > 0 || view.term > 0; /* whoever has voted in a cluster stays with it */
    if (both && !uuid_equal(&view.cluster, &hello->cluster) && bound && !hello->empty) {
        uuid_text(&view.cluster, ours);
        uuid_text(&hello->cluster, theirs);
        /* The sentence is told to who may be a stranger: enough to compare, not enough to pass. */
        (void)snprintf(refusal->why, PEER_WHY_SIZE,
                       "node %" PRIu32 " is in cluster %.8s..., node %" PRIu32 " in %.8s...",
                       n->config.raft.id, ours, hello->id, theirs);
        return -RD_EWRONG_CLUSTER;
    }
    return 0;
}

static int check_protocol(const struct node *n, const struct peer_hello *hello,
                          struct peer_refusal *refusal)
{
    if (peer_protocol(hello) == 0) {
        (void)snprintf(refusal->why, PEER_WHY_SIZE,
                       "node %" PRIu32 " (raftd %s) speaks protocol %u to %u, node %" PRIu32
                       " (raftd %s) %d to %d: upgrade the older one, a release at a time",
                       hello->id, hello->version, hello->protocol_min, hello->protocol_max,
                       n->config.raft.id, n->config.version, PEER_PROTOCOL_MIN, PEER_PROTOCOL_MAX);
        return -RD_EINVALID;
    }
    if (hello->id == n->config.raft.id) {
        (void)snprintf(refusal->why, PEER_WHY_SIZE, "two nodes have node.id %" PRIu32, hello->id);
        return -RD_EINVALID;
    }
    return 0;
}

/* Only what is committed counts: a removal that is not may never happen. */
static const struct raft_tombstone *removal_of(const struct node *n, const struct peer_hello *hello)
{
    const struct raft_membership *committed = raft_membership_committed(n->raft);

    return membership_find(committed, hello->id) &&
                   uuid_equal(&membership_find(committed, hello->id)->store, &hello->store)
               ? NULL
               : membership_tombstone(committed, hello->id, &hello->store);
}

static int check_removed(const struct node *n, const struct peer_hello *hello,
                         struct peer_refusal *refusal)
{
    const struct raft_tombstone *gone = removal_of(n, hello);
    struct raft_view view;

    if (!gone) {
        return 0;
    }
    raft_view_get(n->raft, &view);
    refusal->index = gone->index;
    if (uuid_equal(&hello->cluster, &view.cluster)) {
        refusal->cluster = view.cluster;
    }
    (void)snprintf(refusal->why, PEER_WHY_SIZE, "node %" PRIu32 " was removed at index %" PRIu64,
                   hello->id, gone->index);
    return -RD_EREMOVED;
}

int node_hello_check(const struct node *n, const struct peer_hello *hello,
                     struct peer_refusal *refusal)
{
    typedef int hello_check(const struct node *n, const struct peer_hello *hello,
                            struct peer_refusal *refusal);
    static hello_check *const checks[] = {check_protocol, check_removed, check_cluster,
                                          check_stores};
    int code = 0;

    *refusal = (struct peer_refusal){0};
    for (size_t i = 0; i < sizeof checks / sizeof *checks && code == 0; i++) {
        code = checks[i](n, hello, refusal);
    }
    refusal->code = code;
    return code;
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
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (uuid_is_set(&view.cluster) && uuid_equal(&view.cluster, &hello->cluster) &&
        !removal_of(n, hello)) {
        return NODE_MEMBER;
    }
    bool names_us = m->members_count == 0 && hello_names_us(n, hello);
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

/* A voter forgets a leader after its own T, not after ours, and a learner may soon be one. */
void hello_update_lease_base(struct node *n)
{
    const struct raft_membership *m = raft_membership(n->raft);
    uint32_t shortest = n->config.raft.election_timeout_ms;

    for (uint32_t i = 0; i < n->peers_count; i++) {
        const struct peer_hello *hello = &n->peers[i].hello;
        uint32_t theirs = membership_find(m, hello->id) ? hello->election_timeout_ms : 0;
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

/* Incarnations are counted by the store: one that was emptied begins again. */
static bool is_same_process(const struct peer_hello *a, const struct peer_hello *b)
{
    return a->id == b->id && a->process == b->process && a->incarnation == b->incarnation &&
           uuid_equal(&a->store, &b->store);
}

void node_hello(struct node *n, const struct peer_hello *hello)
{
    struct node_peer *peer = hello_peer(n, hello->id);

    refusals_forget(n, hello->id);
    memory_judge(n, hello);
    if (!peer) {
        peer = peer_add(n);
    }
    if (peer) {
        bool same = is_same_process(&peer->hello, hello);
        if (!same) { /* what another one did says nothing of this one */
            peer->up = false;
            peer->heard = 0;
            memory_meet(n, peer, hello);
        }
        if (!same || !tells_less(hello, &peer->hello)) {
            peer->hello = *hello;
            n->peers_mark++;
        }
        hello_update_lease_base(n);
    }
}

/* ---- Links to keep ---- */

struct targets {
    struct node_target *items;
    uint32_t count;
};

/* Whoever is named first wins. */
static void add_target(const struct node *n, struct targets *t, raft_id id, const char *address)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->items[i].id == id) {
            return;
        }
    }
    if (id != n->config.raft.id && t->count < NODE_TARGETS_MAX) {
        struct node_target *target = &t->items[t->count++];
        target->id = id;
        (void)snprintf(target->address, sizeof target->address, "%s", address);
    }
}

/* Who counts us among its members, by a log that is ahead of ours: perhaps it leads, and an answer
 * needs a link. */
static void unknown_member_targets(const struct node *n, struct targets *t)
{
    for (uint32_t i = 0; i < n->peers_count; i++) {
        const struct peer_hello *hello = &n->peers[i].hello;
        if (hello_names_us(n, hello) && is_member_by_itself(n, hello) && !removal_of(n, hello)) {
            add_target(n, t, hello->id, hello->address);
        }
    }
}

/* The members, who is about to become one, and whom we still tell that it is none any more. */
static void member_targets(const struct node *n, struct targets *t)
{
    const struct raft_membership *m = raft_membership(n->raft);
    const char *address;
    raft_id id;

    for (uint32_t i = 0; i < m->members_count; i++) {
        add_target(n, t, m->members[i].id, m->members[i].address);
    }
    for (uint32_t i = 0; tasks_candidate(n, i, &id, &address); i++) {
        add_target(n, t, id, address);
    }
    for (uint32_t i = 0; raft_leaving(n->raft, i, &id, &address); i++) {
        add_target(n, t, id, address);
    }
    unknown_member_targets(n, t);
}

/* Without a membership: the founding list, and those who count us among theirs. */
static void founding_targets(const struct node *n, struct targets *t)
{
    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        add_target(n, t, n->config.founders[i].id, n->config.founders[i].address);
    }
    for (uint32_t i = 0; i < n->peers_count && t->count < RAFT_MEMBERS_MAX; i++) {
        const struct peer_hello *hello = &n->peers[i].hello;
        if (hello_names_us(n, hello)) {
            add_target(n, t, hello->id, hello->address);
        }
    }
}

uint32_t node_targets(const struct node *n, struct node_target *out)
{
    struct targets t = {.items = out};

    if (node_is_removed(n)) { /* before that, who removes us has to hear that we know it */
        return 0;             /* quiet */
    }
    if (raft_membership(n->raft)->members_count > 0) {
        member_targets(n, &t);
    } else {
        founding_targets(n, &t);
    }
    return t.count;
}

static const struct node_target *target_find(const struct node_target *targets, uint32_t count,
                                             raft_id id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (targets[i].id == id) {
            return &targets[i];
        }
    }
    return NULL;
}

/* Changes whenever whom we keep links to may, without building the list. */
static uint64_t targets_mark(const struct node *n)
{
    const char *address;
    raft_id id;
    uint64_t mark = hash64_mix(hello_mark(n), node_is_removed(n));

    for (uint32_t i = 0; tasks_candidate(n, i, &id, &address); i++) {
        mark = hash64(hash64_mix(mark, id), address, strlen(address));
    }
    for (uint32_t i = 0; raft_leaving(n->raft, i, &id, &address); i++) {
        mark = hash64_mix(mark, id);
    }
    return hash64_mix(mark, n->peers_mark);
}

bool hello_review_targets(struct node *n)
{
    struct node_target targets[NODE_TARGETS_MAX] = {0};
    uint64_t mark = targets_mark(n);

    if (mark == n->targets_mark) {
        return false;
    }
    n->targets_mark = mark;
    uint32_t count = node_targets(n, targets);
    for (uint32_t i = 0; i < n->peers_count; i++) {
        struct node_peer *peer = &n->peers[i];
        const struct node_target *target = target_find(targets, count, peer->hello.id);
        peer->up = peer->up && target && strcmp(target->address, peer->linked) == 0;
    }
    return true;
}

/* ---- Links that are up ---- */

/* Where does the link to it go? */
static void remember_where(const struct node *n, struct node_peer *peer)
{
    struct node_target targets[NODE_TARGETS_MAX] = {0};
    const struct node_target *target =
        target_find(targets, node_targets(n, targets), peer->hello.id);

    (void)snprintf(peer->linked, sizeof peer->linked, "%s", target ? target->address : "");
}

void node_link_up(struct node *n, raft_id id)
{
    struct node_peer *peer = hello_peer(n, id);

    if (peer && !peer->up) {
        remember_where(n, peer);
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
