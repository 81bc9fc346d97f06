/* Formation of a new cluster from `member` lists, and how an empty node finds its cluster.
 *
 * The node with the lowest id, once every listed node said hello with empty data and the same list,
 * mints the cluster id and writes the first entry. Nobody with data ever takes part, so an old
 * member cannot be forked away. Nothing is committed until a majority stored that entry. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/internal.h"

void formation_init(struct node *n)
{
    size_t at = 0;

    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        int size = snprintf(n->member_list + at, sizeof n->member_list - at, "%s%" PRIu32 "@%s",
                            i ? " " : "", n->config.founders[i].id, n->config.founders[i].address);
        rd_assert(size > 0 && at + (size_t)size < sizeof n->member_list);
        at += (size_t)size;
    }
}

enum founder_trouble {
    FOUNDER_READY,
    FOUNDER_SILENT,
    FOUNDER_HAS_DATA,
    FOUNDER_HAS_NO_LIST,
    FOUNDER_HAS_OTHER_LIST,
};

static enum founder_trouble founder_trouble(const struct node *n, raft_id id)
{
    const struct node_peer *peer = hello_peer(n, id);

    if (id == n->config.raft.id) {
        return FOUNDER_READY;
    }
    if (!peer || !peer->up) {
        return FOUNDER_SILENT;
    }
    if (!peer->hello.empty) {
        return FOUNDER_HAS_DATA;
    }
    if (!peer->hello.member_list[0]) {
        return FOUNDER_HAS_NO_LIST;
    }
    return strcmp(peer->hello.member_list, n->member_list) ? FOUNDER_HAS_OTHER_LIST : FOUNDER_READY;
}

static void waits_for(const struct node *n, char *text, size_t size)
{
    static const char *const words[] = {
        [FOUNDER_SILENT] = "does not answer yet",
        [FOUNDER_HAS_DATA] = "has data already and does not know this node",
        [FOUNDER_HAS_NO_LIST] =
            "has no member list, or is in a cluster already that does not know this node",
        [FOUNDER_HAS_OTHER_LIST] = "has another member list",
    };

    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        enum founder_trouble trouble = founder_trouble(n, n->config.founders[i].id);
        if (trouble == FOUNDER_READY) {
            continue;
        }
        (void)snprintf(text, size, "forming: node %" PRIu32 " at %s %s", n->config.founders[i].id,
                       n->config.founders[i].address, words[trouble]);
        if (trouble == FOUNDER_HAS_DATA) { /* a new cluster never comes of it */
            size_t used = strlen(text);
            (void)snprintf(text + used, size - used,
                           ": to be in its cluster, add this node there: raftctl add-server "
                           "%" PRIu32 " %s",
                           n->config.raft.id, n->config.address);
        }
        return;
    }
    (void)snprintf(text, size, "forming: all %" PRIu32 " nodes are ready, node %" PRIu32 " founds",
                   n->config.founders_count, n->config.founders[0].id);
}

void formation_reason(const struct node *n, char *text, size_t size)
{
    bool forms = n->config.founders_count > 0;

    if (refusals_reason(n, forms ? "forming: " : "in no cluster: ", text, size)) {
        return;
    }
    if (forms) {
        waits_for(n, text, size);
    } else {
        (void)snprintf(text, size, "in no cluster: bootstrap it, or add it from a member");
    }
}

void formation_refuse(struct node *n, uint64_t token)
{
    struct node_answer *a = node_answer_add(n, token, -RD_EUNCONFIGURED);

    formation_reason(n, a->message, sizeof a->message);
}

static void found_with(struct node *n, const struct raft_member *members, uint32_t count)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);

    for (uint32_t i = 0; i < count; i++) {
        membership_insert(m, &members[i]);
    }
    node_step(n, &(struct raft_event){.type = RAFT_EV_FOUND,
                                      .found = {.cluster = &n->fresh_cluster, .membership = m}});
    mem_free(m);
}

static void found(struct node *n)
{
    struct raft_member members[RAFT_VOTERS_MAX];

    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        raft_id id = n->config.founders[i].id;
        members[i] = (struct raft_member){.id = id, .role = RAFT_VOTER, .session = 1};
        members[i].store =
            id == n->config.raft.id ? n->config.raft.store : hello_peer(n, id)->hello.store;
        memcpy(members[i].address, n->config.founders[i].address, sizeof members[i].address);
    }
    found_with(n, members, n->config.founders_count);
}

static bool adopt(struct node *n, const struct raft_view *view)
{
    for (uint32_t i = 0; i < n->peers_count; i++) {
        const struct peer_hello *hello = &n->peers[i].hello;
        /* Whoever has voted in a cluster stays with it. */
        bool free_to_join = !uuid_is_set(&view->cluster) || view->term == 0;
        if (n->peers[i].up && free_to_join && uuid_is_set(&hello->cluster) &&
            hello_names_us(n, hello)) {
            if (!uuid_equal(&hello->cluster, &view->cluster)) {
                node_step(n, &(struct raft_event){.type = RAFT_EV_ADOPT,
                                                  .found = {.cluster = &hello->cluster}});
            }
            return true;
        }
    }
    return false;
}

void formation_turn(struct node *n)
{
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (view.last > 0 || adopt(n, &view) || uuid_is_set(&view.cluster) ||
        n->config.founders_count == 0 || n->config.founders[0].id != n->config.raft.id) {
        return;
    }
    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        if (founder_trouble(n, n->config.founders[i].id) != FOUNDER_READY) {
            return;
        }
    }
    found(n);
}

/* ---- Bootstrap: a cluster of this node alone ---- */

/* Answers when this node cannot; true: it can. */
static bool may_bootstrap(struct node *n, uint64_t token, const struct raft_view *view)
{
    const struct raft_membership *m = raft_membership(n->raft);
    char why[80];

    if (node_is_removed(n)) {
        node_refuse(n, token, -RD_EREMOVED, node_removed_text);
    } else if (n->bootstrap_token) {
        node_refuse(n, token, -RD_ENOT_READY, "another bootstrap is under way");
    } else if (m->members_count > 0 || view->last > 0 || uuid_is_set(&view->cluster)) {
        bool alone = m->members_count == 1 && membership_is_voter(m, n->config.raft.id);
        (void)snprintf(why, sizeof why, "this node is in a cluster of %" PRIu32 " members already",
                       m->members_count);
        node_refuse(n, token, alone ? 0 : -RD_EALREADY_MEMBER, why);
    } else if (n->config.founders_count > 0) {
        node_refuse(n, token, -RD_ENOT_READY,
                    "a cluster forms here from the member list of the configuration");
    } else if (n->config.address[0] == 0) {
        node_refuse(n, token, -RD_EINVALID,
                    "node.advertise is needed: listen is a wildcard that nobody can dial");
    } else {
        return true;
    }
    return false;
}

void node_bootstrap(struct node *n, uint64_t token, mono_ms deadline)
{
    struct raft_member self = {
        .id = n->config.raft.id, .role = RAFT_VOTER, .store = n->config.raft.store, .session = 1};
    struct raft_view view;

    raft_view_get(n->raft, &view);
    if (may_bootstrap(n, token, &view)) {
        memcpy(self.address, n->config.address, sizeof self.address);
        found_with(n, &self, 1);
        n->bootstrap_token = token;
        n->bootstrap_deadline = deadline;
    }
}

void bootstrap_turn(struct node *n)
{
    struct raft_view view;

    if (!n->bootstrap_token) {
        return;
    }
    raft_view_get(n->raft, &view);
    if (view.state == RAFT_LEADER && view.leader_committed) {
        node_answer_add(n, n->bootstrap_token, 0);
        n->bootstrap_token = 0;
    } else if (n->now >= n->bootstrap_deadline) {
        node_answer_add(n, n->bootstrap_token, -RD_EUNKNOWN_OUTCOME);
        n->bootstrap_token = 0;
    }
}

bool bootstrap_cancel(struct node *n, uint64_t token)
{
    bool is_it = n->bootstrap_token == token;

    n->bootstrap_token = is_it ? 0 : n->bootstrap_token;
    return is_it;
}

mono_ms bootstrap_deadline(const struct node *n)
{
    return n->bootstrap_token ? n->bootstrap_deadline : UINT64_MAX;
}
