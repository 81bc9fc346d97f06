#include "store/record.h"

#include <endian.h>
#include <string.h>

#include "base/buf.h"
#include "base/crc.h"

static uint8_t *put_u16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *put_u64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
    return p + sizeof v;
}

static uint8_t *put_uuid(uint8_t *p, const struct uuid *u)
{
    memcpy(p, u->bytes, sizeof u->bytes);
    return p + sizeof u->bytes;
}

static void get_uuid(struct cursor *c, struct uuid *u)
{
    const uint8_t *bytes = cursor_bytes(c, sizeof u->bytes);

    if (bytes) {
        memcpy(u->bytes, bytes, sizeof u->bytes);
    }
}

/* ---- Named records ---- */

/* The name is part of the sum, so that one record cannot pass for another. */
static uint32_t sum_named(const char *name, const uint8_t *record, size_t size)
{
    return crc32c(crc32c(0, name, strlen(name)), record + 4, size - 4);
}

static void seal(const char *name, uint8_t *record, size_t size)
{
    (void)put_u32(record, sum_named(name, record, size));
}

/* Leaves the cursor behind the sum. */
static const char *unseal(const char *name, const void *data, size_t size, struct cursor *c)
{
    if (size < 8) {
        return "record too short";
    }
    *c = cursor_over(data, size);
    if (cursor_u32(c) != sum_named(name, data, size)) {
        return "checksum differs";
    }
    return NULL;
}

void store_record_put_identity(const struct store_identity *identity,
                               uint8_t out[STORE_IDENTITY_SIZE])
{
    uint8_t *p = put_u32(out + 4, identity->format);

    p = put_u32(p, identity->id);
    p = put_u64(p, identity->created_ms);
    (void)put_uuid(p, &identity->store);
    seal(STORE_NAME_FMT, out, STORE_IDENTITY_SIZE);
}

bool store_record_reads(uint32_t format)
{
    return format >= STORE_FORMAT_MIN && format <= STORE_FORMAT;
}

const char *store_record_get_identity(const void *data, size_t size, struct store_identity *out)
{
    struct store_identity found;
    struct cursor c;
    const char *why = unseal(STORE_NAME_FMT, data, size, &c);

    if (why) {
        return why;
    }
    found.format = cursor_u32(&c);
    if (!store_record_reads(found.format)) {
        return "the format is of another version of raftd";
    }
    if (size != STORE_IDENTITY_SIZE) {
        return "record has the wrong size";
    }
    found.id = cursor_u32(&c);
    found.created_ms = cursor_u64(&c);
    get_uuid(&c, &found.store);
    *out = found;
    return NULL;
}

uint32_t store_record_format(const void *data, size_t size)
{
    struct cursor c;

    return unseal(STORE_NAME_FMT, data, size, &c) ? 0 : cursor_u32(&c);
}

bool store_record_same_identity(const struct store_identity *a, const struct store_identity *b)
{
    return a->format == b->format && a->id == b->id && a->created_ms == b->created_ms &&
           uuid_equal(&a->store, &b->store);
}

void store_record_put_hard(const struct store_hard *hard, uint8_t out[STORE_HARD_SIZE])
{
    uint8_t *p = put_u32(out + 4, hard->vote);

    p = put_u64(p, hard->term);
    p = put_uuid(p, &hard->cluster);
    (void)put_u32(p, hard->loyal_ms);
    seal(STORE_NAME_HARD, out, STORE_HARD_SIZE);
}

const char *store_record_get_hard(const void *data, size_t size, struct store_hard *out)
{
    struct store_hard found;
    struct cursor c;
    const char *why = unseal(STORE_NAME_HARD, data, size, &c);

    if (why) {
        return why;
    }
    if (size != STORE_HARD_SIZE) {
        return "record has the wrong size";
    }
    found.vote = cursor_u32(&c);
    found.term = cursor_u64(&c);
    get_uuid(&c, &found.cluster);
    found.loyal_ms = cursor_u32(&c);
    *out = found;
    return NULL;
}

void store_record_put_boot(uint64_t incarnation, uint8_t out[STORE_BOOT_SIZE])
{
    (void)put_u64(put_u32(out + 4, 0), incarnation);
    seal(STORE_NAME_BOOT, out, STORE_BOOT_SIZE);
}

const char *store_record_get_boot(const void *data, size_t size, uint64_t *incarnation)
{
    struct cursor c;
    const char *why = unseal(STORE_NAME_BOOT, data, size, &c);

    if (why) {
        return why;
    }
    if (size != STORE_BOOT_SIZE) {
        return "record has the wrong size";
    }
    (void)cursor_u32(&c);
    *incarnation = cursor_u64(&c);
    return NULL;
}

void store_record_put_used(const char *version, struct buf *out)
{
    out->size = 0;
    buf_put_u64(out, 0); /* the sum, and nothing */
    buf_put_str(out, version);
    seal(STORE_NAME_USED, out->data, out->size);
}

const char *store_record_get_used(const void *data, size_t size, char out[STORE_VERSION_SIZE])
{
    struct cursor c;
    const char *why = unseal(STORE_NAME_USED, data, size, &c);

    if (why) {
        return why;
    }
    (void)cursor_u32(&c);
    size_t length = c.left;
    const uint8_t *version = cursor_bytes(&c, length);
    if (!version || length >= STORE_VERSION_SIZE || memchr(version, 0, length)) {
        return "record has the wrong size";
    }
    memcpy(out, version, length);
    out[length] = 0;
    return NULL;
}

/* ---- Points ---- */

static void put_point(struct buf *out, const struct raft_point *p)
{
    buf_put_u64(out, p->index);
    buf_put_u64(out, p->term);
    buf_put_u64(out, p->chain);
    buf_put_u64(out, p->membership_index);
    if (p->membership) {
        buf_put(out, p->membership->data, p->membership->size);
    }
}

/* The rest of the record. */
static bool get_point(struct cursor *c, struct raft_point *out)
{
    struct raft_point p = {.index = cursor_u64(c)};

    p.term = cursor_u64(c);
    p.chain = cursor_u64(c);
    p.membership_index = cursor_u64(c);
    size_t size = c->left;
    const uint8_t *membership = cursor_bytes(c, size);
    if (c->bad || p.index == 0 || p.membership_index > p.index) {
        return false;
    }
    p.membership = size ? blob_copy(membership, (uint32_t)size) : NULL;
    *out = p;
    return true;
}

void store_record_put_base(const struct raft_point *base, struct buf *out)
{
    out->size = 0;
    buf_put_u64(out, 0); /* the sum, and nothing */
    put_point(out, base);
    seal(STORE_NAME_BASE, out->data, out->size);
}

const char *store_record_get_base(const void *data, size_t size, struct raft_point *out)
{
    struct cursor c;
    const char *why = unseal(STORE_NAME_BASE, data, size, &c);

    if (why) {
        return why;
    }
    (void)cursor_u32(&c);
    return get_point(&c, out) ? NULL : "record has the wrong size";
}

enum { MARK_INSTALLED = 1 };

void store_record_put_mark(const struct store_mark *mark, struct buf *out)
{
    out->size = 0;
    buf_put_u32(out, 0); /* the sum */
    buf_put_u32(out, mark->installed ? MARK_INSTALLED : 0);
    buf_put_u64(out, mark->revision);
    buf_put_u64(out, mark->digest);
    put_point(out, &mark->at);
    seal(STORE_NAME_MARK, out->data, out->size);
}

const char *store_record_get_mark(const void *data, size_t size, struct store_mark *out)
{
    struct store_mark found = {0};
    struct cursor c;
    const char *why = unseal(STORE_NAME_MARK, data, size, &c);

    if (why) {
        return why;
    }
    uint32_t flags = cursor_u32(&c);
    found.revision = cursor_u64(&c);
    found.digest = cursor_u64(&c);
    found.installed = flags & MARK_INSTALLED;
    if (flags & ~(uint32_t)MARK_INSTALLED) {
        return "flags are not known to this raftd";
    }
    if (!get_point(&c, &found.at)) {
        return "record has the wrong size";
    }
    *out = found;
    return NULL;
}

/* ---- Log records ---- */

/* The index is part of the sum: a record under the wrong key is found out. */
static uint32_t sum_entry(raft_index index, const uint8_t *record, size_t size)
{
    uint64_t key = htole64(index);

    return crc32c(crc32c(0, &key, sizeof key), record + 4, size - 4);
}

static size_t payload_size_of(const struct raft_entry *entry)
{
    return entry->data ? entry->data->size : 0;
}

size_t store_record_entry_size(const struct raft_entry *entry)
{
    return STORE_ENTRY_HEADER_SIZE + payload_size_of(entry);
}

void store_record_put_entry(const struct raft_entry *entry, uint8_t *out)
{
    size_t payload_size = payload_size_of(entry);
    uint8_t *p = out + 4;

    *p++ = STORE_ENTRY_VERSION;
    *p++ = (uint8_t)entry->type;
    p = put_u16(p, 0);
    p = put_u64(p, entry->term);
    p = put_u64(p, entry->chain);
    if (payload_size) {
        memcpy(p, entry->data->data, payload_size);
    }
    (void)put_u32(out, sum_entry(entry->index, out, STORE_ENTRY_HEADER_SIZE + payload_size));
}

static bool is_entry_type(uint8_t type)
{
    return type == RAFT_ENTRY_NOOP || type == RAFT_ENTRY_MEMBERSHIP || type == RAFT_ENTRY_COMMAND;
}

const char *store_record_get_entry(raft_index index, const void *data, size_t size,
                                   struct store_entry_view *out)
{
    struct cursor c = cursor_over(data, size);

    if (size < STORE_ENTRY_HEADER_SIZE) {
        return "record too short";
    }
    if (cursor_u32(&c) != sum_entry(index, data, size)) {
        return "checksum differs";
    }
    uint8_t version = cursor_u8(&c);
    uint8_t type = cursor_u8(&c);
    uint16_t flags = cursor_u16(&c);
    if (version != STORE_ENTRY_VERSION || !is_entry_type(type) || flags != 0) {
        return "version, type or flags are not known to this raftd";
    }
    out->type = (enum raft_entry_type)type;
    out->term = cursor_u64(&c);
    out->chain = cursor_u64(&c);
    out->payload_size = c.left;
    out->payload = cursor_bytes(&c, c.left);
    return NULL;
}
