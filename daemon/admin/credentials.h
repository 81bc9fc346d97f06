/* credentials.h - who is at the other end of the admin socket, and what that allows.
 *
 * The kernel vouches for uid, pid and groups as they were when the client connected (unix(7)).
 * Threads: loop thread only. Ownership: credentials own their groups until credentials_done(). */
#ifndef RAFTD_ADMIN_CREDENTIALS_H
#define RAFTD_ADMIN_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum admin_permission {
    ADMIN_DENY = 0,   /* a table row that names no permission: nobody may */
    ADMIN_ASK = 1,    /* every local user: who leads */
    ADMIN_CHANGE = 2, /* data and changes: root, the daemon's uid, the group */
};

struct credentials {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    gid_t *groups; /* supplementary; owned */
    uint32_t groups_count;
};

struct credentials_policy { /* whom the daemon trusts with changes, besides root */
    uid_t daemon_uid;
    bool group_set;
    gid_t group;
};

/* Ask the kernel. 0, or -errno (then nothing to free): the connection cannot be trusted. A kernel
 * without SO_PEERGROUPS yields no supplementary groups. */
int credentials_get(int fd, struct credentials *out);
void credentials_done(struct credentials *c);

bool credentials_allow(const struct credentials *c, const struct credentials_policy *policy,
                       enum admin_permission wanted);

#endif
