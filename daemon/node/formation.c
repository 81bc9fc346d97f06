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

/* NULL when this founder is ready, else why not. */
static const char *founder_trouble(const struct node *n, raft_id id)
{
    const struct node_peer *peer = hello_peer(n, id);

    if (id == n->config.raft.id) {
        return NULL;
    }
    if (!peer || !peer->up) {
        return "does not answer yet";
    }
    if (!peer->hello.empty) {
        return "has data already and does not know this node";
    }
    if (!peer->hello.member_list[0]) {
        return "has no member list, or is in a cluster already that does not know this node";
    }
    return strcmp(peer->hello.member_list, n->member_list) ? "has another member list" : NULL;
}

void formation_reason(const struct node *n, char *text, size_t size)
{
    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        const char *trouble = founder_trouble(n, n->config.founders[i].id);
        if (trouble) {
            (void)snprintf(text, size, "forming: node %" PRIu32 " at %s %s",
                           n->config.founders[i].id, n->config.founders[i].address, trouble);
            return;
        }
    }
    (void)snprintf(text, size, "forming: all %" PRIu32 " nodes are ready, node %" PRIu32 " founds",
                   n->config.founders_count, n->config.founders[0].id);
}

static void found(struct node *n)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);

    for (uint32_t i = 0; i < n->config.founders_count; i++) {
        raft_id id = n->config.founders[i].id;
        struct raft_member member = {.id = id, .role = RAFT_VOTER, .session = 1};
        member.store =
            id == n->config.raft.id ? n->config.raft.store : hello_peer(n, id)->hello.store;
        memcpy(member.address, n->config.founders[i].address, sizeof member.address);
        membership_insert(m, &member);
    }
    node_step(n, &(struct raft_event){.type = RAFT_EV_FOUND,
                                      .found = {.cluster = &n->fresh_cluster, .membership = m}});
    mem_free(m);
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
        if (founder_trouble(n, n->config.founders[i].id)) {
            return;
        }
    }
    found(n);
}
