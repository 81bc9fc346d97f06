#include "admin/credentials.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/mem.h"

/* A process may be in up to 65,536 groups (NGROUPS_MAX): the kernel says how much room it wants. */
static void groups_get(int fd, struct credentials *out)
{
    socklen_t size = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE) {
        return;
    }
    gid_t *groups = mem_alloc(size);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size)) {
        mem_free(groups);
        return;
    }
    out->groups = groups;
    out->groups_count = (uint32_t)(size / sizeof *groups);
}

int credentials_get(int fd, struct credentials *out)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
        return -errno;
    }
    *out = (struct credentials){.uid = peer.uid, .gid = peer.gid, .pid = peer.pid};
    groups_get(fd, out);
    return 0;
}

void credentials_done(struct credentials *c)
{
    mem_free(c->groups);
    *c = (struct credentials){0};
}

static bool is_in_group(const struct credentials *c, gid_t group)
{
    for (uint32_t i = 0; i < c->groups_count; i++) {
        if (c->groups[i] == group) {
            return true;
        }
    }
    return c->gid == group;
}

bool credentials_allow(const struct credentials *c, const struct credentials_policy *policy,
                       enum admin_permission wanted)
{
    switch (wanted) {
    case ADMIN_ASK:
        return true;
    case ADMIN_CHANGE:
        return c->uid == 0 || c->uid == policy->daemon_uid ||
               (policy->group_set && is_in_group(c, policy->group));
    case ADMIN_DENY:
    default:
        return false;
    }
}
