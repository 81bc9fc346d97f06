#include "raft/membership.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"

enum { MEMBERSHIP_VERSION = 1, MEMBER_AUTO_PROMOTE = 1 };

const struct raft_member *membership_find(const struct raft_membership *m, raft_id id)
{
    for (uint32_t i = 0; i < m->members_count; i++) {
        if (m->members[i].id == id) {
            return &m->members[i];
        }
    }
    return NULL;
}

bool membership_is_voter(const struct raft_membership *m, raft_id id)
{
    const struct raft_member *member = membership_find(m, id);

    return member && member->role == RAFT_VOTER;
}

const struct raft_tombstone *membership_tombstone(const struct raft_membership *m, raft_id id,
                                                  const struct uuid *store)
{
    for (uint32_t i = m->tombstones_count; i > 0; i--) { /* the newest is the last */
        const struct raft_tombstone *t = &m->tombstones[i - 1];
        if (t->id == id && (!store || uuid_equal(&t->store, store))) {
            return t;
        }
    }
    return NULL;
}

uint32_t membership_voters(const struct raft_membership *m)
{
    uint32_t voters = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        voters += m->members[i].role == RAFT_VOTER;
    }
    return voters;
}

uint32_t membership_quorum(const struct raft_membership *m)
{
    uint32_t voters = membership_voters(m);

    return voters ? voters / 2 + 1 : 0;
}

void membership_insert(struct raft_membership *m, const struct raft_member *member)
{
    uint32_t at = 0;

    rd_assert(m->members_count < RAFT_MEMBERS_MAX && member->id != 0);
    while (at < m->members_count && m->members[at].id < member->id) {
        at++;
    }
    rd_assert(at == m->members_count || m->members[at].id != member->id);
    memmove(&m->members[at + 1], &m->members[at], (m->members_count - at) * sizeof m->members[0]);
    m->members[at] = *member;
    m->members_count++;
}

/* ---- Changes ---- */

static int refuses_add(const struct raft_membership *m, const struct raft_change *c,
                       struct raft_reason *why)
{
    if (membership_find(m, c->id)) {
        return raft_refuse(why, -RD_EALREADY_MEMBER, "node # is a member already", c->id, 0, 0);
    }
    if (m->members_count == RAFT_MEMBERS_MAX) {
        return raft_refuse(why, -RD_ETOO_LARGE, "# members are the most a cluster can have",
                           RAFT_MEMBERS_MAX, 0, 0);
    }
    if (c->auto_promote && membership_voters(m) == RAFT_VOTERS_MAX) {
        return raft_refuse(
            why, -RD_ETOO_LARGE,
            "# voters are the most a cluster can have: add it as a learner, or demote one "
            "of them first",
            RAFT_VOTERS_MAX, 0, 0);
    }
    return 0;
}

static int refuses_promote(const struct raft_membership *m, const struct raft_change *c,
                           struct raft_reason *why)
{
    if (membership_is_voter(m, c->id)) {
        return raft_refuse(why, -RD_EALREADY_MEMBER, "node # is a voter already", c->id, 0, 0);
    }
    if (membership_voters(m) == RAFT_VOTERS_MAX) {
        return raft_refuse(why, -RD_ETOO_LARGE,
                           "# voters are the most a cluster can have: demote one of them first",
                           RAFT_VOTERS_MAX, 0, 0);
    }
    return 0;
}

static int refuses_leaving(const struct raft_membership *m, const struct raft_change *c,
                           struct raft_reason *why)
{
    if (membership_is_voter(m, c->id) && membership_voters(m) == 1) {
        return raft_refuse(
            why, -RD_ELAST_VOTER,
            "node # is the last voter: without it there is no cluster; add or promote "
            "another one first",
            c->id, 0, 0);
    }
    return 0;
}

static void apply_add(struct raft_membership *m, const struct raft_change *c, raft_index index)
{
    struct raft_member member = {.id = c->id,
                                 .role = RAFT_LEARNER,
                                 .auto_promote = c->auto_promote,
                                 .store = c->store,
                                 .session = index};

    memcpy(member.address, c->address, sizeof member.address);
    membership_insert(m, &member);
}

static struct raft_member *member_at(struct raft_membership *m, raft_id id)
{
    return &m->members[membership_find(m, id) - m->members];
}

static void apply_role(struct raft_membership *m, const struct raft_change *c, raft_index index)
{
    struct raft_member *member = member_at(m, c->id);

    (void)index;
    member->role = c->kind == RAFT_CHANGE_PROMOTE ? RAFT_VOTER : RAFT_LEARNER;
    member->auto_promote = false;
}

static void bury(struct raft_membership *m, const struct raft_member *member, raft_index index)
{
    if (m->tombstones_count == RAFT_TOMBSTONES_MAX) { /* the oldest is forgotten */
        m->tombstones_count--;
        memmove(m->tombstones, m->tombstones + 1, m->tombstones_count * sizeof *m->tombstones);
    }
    m->tombstones[m->tombstones_count++] =
        (struct raft_tombstone){.id = member->id, .store = member->store, .index = index};
}

static void apply_remove(struct raft_membership *m, const struct raft_change *c, raft_index index)
{
    struct raft_member *member = member_at(m, c->id);
    size_t after = (size_t)(m->members + m->members_count - (member + 1));

    bury(m, member, index);
    memmove(member, member + 1, after * sizeof *member);
    m->members_count--;
}

static const struct change_row {
    bool of_member;
    int (*refuses)(const struct raft_membership *m, const struct raft_change *c,
                   struct raft_reason *why);
    void (*apply)(struct raft_membership *m, const struct raft_change *c, raft_index index);
} change_table[RAFT_CHANGE_COUNT] = {
    [RAFT_CHANGE_ADD] = {false, refuses_add, apply_add},
    [RAFT_CHANGE_PROMOTE] = {true, refuses_promote, apply_role},
    [RAFT_CHANGE_DEMOTE] = {true, refuses_leaving, apply_role},
    [RAFT_CHANGE_REMOVE] = {true, refuses_leaving, apply_remove},
};

int membership_refuses(const struct raft_membership *m, const struct raft_change *c,
                       struct raft_reason *why)
{
    const struct change_row *row = &change_table[c->kind];

    if (row->of_member && !membership_find(m, c->id)) {
        return raft_refuse(why, -RD_ENOT_FOUND, "node # is no member", c->id, 0, 0);
    }
    return row->refuses(m, c, why);
}

void membership_apply(struct raft_membership *m, const struct raft_change *c, raft_index index)
{
    change_table[c->kind].apply(m, c, index);
    m->index = index;
}

/* ---- Encoding ---- */

struct blob *membership_encode(const struct raft_membership *m)
{
    struct buf out = BUF_INIT;

    buf_put_u8(&out, MEMBERSHIP_VERSION);
    buf_put_u8(&out, (uint8_t)m->members_count);
    buf_put_u8(&out, (uint8_t)m->tombstones_count);
    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct raft_member *member = &m->members[i];
        size_t address_size = strlen(member->address);
        buf_put_u32(&out, member->id);
        buf_put_u8(&out, (uint8_t)member->role);
        buf_put_u8(&out, member->auto_promote ? MEMBER_AUTO_PROMOTE : 0);
        buf_put(&out, member->store.bytes, sizeof member->store.bytes);
        buf_put_u64(&out, member->session);
        buf_put_u16(&out, (uint16_t)address_size);
        buf_put(&out, member->address, address_size);
    }
    for (uint32_t i = 0; i < m->tombstones_count; i++) {
        buf_put_u32(&out, m->tombstones[i].id);
        buf_put(&out, m->tombstones[i].store.bytes, sizeof m->tombstones[i].store.bytes);
        buf_put_u64(&out, m->tombstones[i].index);
    }
    struct blob *blob = blob_copy(out.data, out.size);
    buf_done(&out);
    return blob;
}

static void decode_uuid(struct cursor *c, struct uuid *out)
{
    const uint8_t *bytes = cursor_bytes(c, sizeof out->bytes);

    if (bytes) {
        memcpy(out->bytes, bytes, sizeof out->bytes);
    }
}

static bool decode_member(struct cursor *c, raft_id above, struct raft_member *out)
{
    *out = (struct raft_member){.id = cursor_u32(c)};
    uint8_t role = cursor_u8(c);
    uint8_t flags = cursor_u8(c);
    decode_uuid(c, &out->store);
    out->session = cursor_u64(c);
    size_t address_size = cursor_u16(c);
    const uint8_t *address =
        address_size < RAFT_ADDRESS_SIZE ? cursor_bytes(c, address_size) : NULL;

    if (!address || c->bad || out->id <= above || (role != RAFT_VOTER && role != RAFT_LEARNER) ||
        (flags & ~MEMBER_AUTO_PROMOTE) || memchr(address, 0, address_size)) {
        return false;
    }
    out->role = (enum raft_role)role;
    out->auto_promote = flags & MEMBER_AUTO_PROMOTE;
    memcpy(out->address, address, address_size);
    return true;
}

static bool decode_body(struct cursor *c, struct raft_membership *m)
{
    raft_id above = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        if (!decode_member(c, above, &m->members[i])) {
            return false;
        }
        above = m->members[i].id;
    }
    for (uint32_t i = 0; i < m->tombstones_count; i++) {
        m->tombstones[i].id = cursor_u32(c);
        decode_uuid(c, &m->tombstones[i].store);
        m->tombstones[i].index = cursor_u64(c);
    }
    return !c->bad && c->left == 0 && membership_voters(m) <= RAFT_VOTERS_MAX;
}

int membership_decode(const void *data, size_t size, raft_index index, struct raft_membership *out)
{
    struct cursor c = cursor_over(data, size);
    uint8_t version = cursor_u8(&c);
    uint32_t members = cursor_u8(&c);
    uint32_t tombstones = cursor_u8(&c);

    if (c.bad || version != MEMBERSHIP_VERSION || members > RAFT_MEMBERS_MAX ||
        tombstones > RAFT_TOMBSTONES_MAX) {
        return -RD_EINVALID;
    }
    struct raft_membership *m = mem_zalloc(sizeof *m);
    m->index = index;
    m->members_count = members;
    m->tombstones_count = tombstones;
    bool good = decode_body(&c, m);
    if (good) {
        *out = *m;
    }
    mem_free(m);
    return good ? 0 : -RD_EINVALID;
}
