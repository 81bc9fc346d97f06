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

const struct raft_tombstone *membership_tombstone(const struct raft_membership *m, raft_id id)
{
    for (uint32_t i = 0; i < m->tombstones_count; i++) {
        if (m->tombstones[i].id == id) {
            return &m->tombstones[i];
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
