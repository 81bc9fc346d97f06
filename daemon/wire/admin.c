#include "wire/admin.h"

#include <string.h>

#include "admin.pb-c.h"
#include "base/check.h"
#include "base/err.h"
#include "state/command.h"
#include "wire/arena.h"
#include "wire/field.h"

_Static_assert(FRAME_HEAD + FRAME_HEADER_MAX + STATE_VALUE_MAX <= FRAME_ADMIN_MAX,
               "a request fits its frame");

void admin_request_done(struct admin_request *r)
{
    blob_unref(r->key);
    blob_unref(r->value);
    r->key = r->value = NULL;
}

void admin_reply_done(struct admin_reply *r)
{
    blob_unref(r->message);
    blob_unref(r->json);
    r->message = r->json = NULL;
}

/* ---- Requests ---- */

/* 0, -RD_EPROTOCOL (text that is none, payload that nobody announced), -RD_ETOO_LARGE. */
static int request_check(const Raftd__Admin__Request *m, size_t value_size)
{
    if (!field_is_text(&m->command) || !field_is_text(&m->address) || !field_is_text(&m->text) ||
        (!m->has_value && value_size > 0)) {
        return -RD_EPROTOCOL;
    }
    bool has_key = m->key_presence_case == RAFTD__ADMIN__REQUEST__KEY_PRESENCE_KEY;
    if (m->command.len >= sizeof((struct admin_request *)0)->command ||
        m->address.len >= sizeof((struct admin_request *)0)->address ||
        m->text.len >= sizeof((struct admin_request *)0)->text ||
        (has_key && m->key.len > STATE_KEY_MAX) || value_size > STATE_VALUE_MAX) {
        return -RD_ETOO_LARGE;
    }
    return 0;
}

int admin_request_encode(const struct admin_request *r, struct buf *out)
{
    Raftd__Admin__Request m;
    size_t value_size = r->value ? r->value->size : 0;

    raftd__admin__request__init(&m);
    m.id = r->id;
    m.command = field_text(r->command, sizeof r->command);
    m.timeout_ms = r->timeout_ms;
    if (r->key) {
        m.key_presence_case = RAFTD__ADMIN__REQUEST__KEY_PRESENCE_KEY;
        m.key = field_view(r->key->data, r->key->size);
    }
    m.has_value = r->value != NULL;
    if (r->if_revision_set) {
        m.if_revision_presence_case = RAFTD__ADMIN__REQUEST__IF_REVISION_PRESENCE_IF_REVISION;
        m.if_revision = r->if_revision;
    }
    if (r->fence_set) {
        m.fence_presence_case = RAFTD__ADMIN__REQUEST__FENCE_PRESENCE_FENCE;
        m.fence = r->fence;
    }
    m.stale = r->stale;
    m.limit = r->limit;
    m.member_id = r->member_id;
    m.address = field_text(r->address, sizeof r->address);
    m.learner = r->learner;
    m.no_wait = r->no_wait;
    m.force = r->force;
    m.text = field_text(r->text, sizeof r->text);
    m.replaces = r->replaces;
    int err = request_check(&m, value_size);
    if (err < 0) {
        return err == -RD_EPROTOCOL ? -RD_EINVALID : err;
    }
    size_t at = field_pack(&m.base, value_size, out);
    if (r->value) {
        buf_put(out, r->value->data, value_size);
    }
    frame_end(out, at);
    return 0;
}

static void request_build(const Raftd__Admin__Request *m, const struct frame *f,
                          struct admin_request *out)
{
    *out = (struct admin_request){
        .id = m->id,
        .timeout_ms = m->timeout_ms,
        .stale = m->stale != 0,
        .limit = m->limit,
        .member_id = m->member_id,
        .learner = m->learner != 0,
        .no_wait = m->no_wait != 0,
        .force = m->force != 0,
        .replaces = m->replaces,
    };
    field_copy_text(&m->command, out->command);
    field_copy_text(&m->address, out->address);
    field_copy_text(&m->text, out->text);
    if (m->key_presence_case == RAFTD__ADMIN__REQUEST__KEY_PRESENCE_KEY) {
        out->key = blob_copy(m->key.data, m->key.len);
    }
    if (m->has_value) {
        out->value = blob_copy(f->payload, f->payload_size);
    }
    if (m->if_revision_presence_case == RAFTD__ADMIN__REQUEST__IF_REVISION_PRESENCE_IF_REVISION) {
        out->if_revision_set = true;
        out->if_revision = m->if_revision;
    }
    if (m->fence_presence_case == RAFTD__ADMIN__REQUEST__FENCE_PRESENCE_FENCE) {
        out->fence_set = true;
        out->fence = m->fence;
    }
}

int admin_request_decode(const struct frame *f, struct admin_request *out)
{
    struct arena arena;
    int err = -RD_EPROTOCOL;

    arena_init(&arena, arena_cap(f->header_size));
    const Raftd__Admin__Request *m = arena_unpack(&arena, &raftd__admin__request__descriptor, f);
    if (m) {
        err = request_check(m, f->payload_size);
        if (err == 0) {
            request_build(m, f, out);
        } else if (err == -RD_ETOO_LARGE) {
            *out = (struct admin_request){.id = m->id};
        }
    }
    arena_done(&arena);
    return err;
}

/* ---- Replies ---- */

/* Text as it may travel: borrowed from `message` when it is fine, else from `memory`, which the
 * caller frees. */
static ProtobufCBinaryData message_view(const char *message, size_t size, char **memory)
{
    ProtobufCBinaryData whole = field_view(message, size);

    *memory = NULL;
    if (size <= ADMIN_MESSAGE_MAX && field_is_text(&whole)) {
        return whole;
    }
    size_t keep = strnlen(message, size);
    *memory = mem_dup(message, keep);
    return field_view(*memory, field_mend_text(*memory, keep, ADMIN_MESSAGE_MAX));
}

static int reply_put(struct buf *out, Raftd__Admin__Reply *m, int code, const void *json,
                     size_t json_size)
{
    rd_assert(code <= 0);
    if (json_size > ADMIN_JSON_MAX) {
        return -RD_ETOO_LARGE;
    }
    uint32_t number = (uint32_t)-code;
    m->code = field_is_code(number) ? number : RD_EINVALID;
    size_t at = field_pack(&m->base, json_size, out);
    buf_put(out, json, json_size);
    frame_end(out, at);
    return 0;
}

int admin_reply_put(struct buf *out, uint64_t id, int code, bool more, uint32_t leader,
                    const char *message, const void *json, size_t json_size)
{
    Raftd__Admin__Reply m;
    char *memory = NULL;

    raftd__admin__reply__init(&m);
    m.id = id;
    m.more = more;
    m.leader = leader;
    if (message) {
        m.message = message_view(message, strlen(message), &memory);
    }
    int err = reply_put(out, &m, code, json, json ? json_size : 0);
    mem_free(memory);
    return err;
}

int admin_reply_encode(const struct admin_reply *r, struct buf *out)
{
    Raftd__Admin__Reply m;
    char *memory = NULL;

    raftd__admin__reply__init(&m);
    m.id = r->id;
    m.more = r->more;
    m.leader = r->leader;
    if (r->message) {
        m.message = message_view((const char *)r->message->data, r->message->size, &memory);
    }
    int err =
        reply_put(out, &m, r->code, r->json ? r->json->data : NULL, r->json ? r->json->size : 0);
    mem_free(memory);
    return err;
}

static int reply_check(const Raftd__Admin__Reply *m, size_t json_size)
{
    if (m->message.len > ADMIN_MESSAGE_MAX || json_size > ADMIN_JSON_MAX) {
        return -RD_ETOO_LARGE;
    }
    return field_is_text(&m->message) ? 0 : -RD_EPROTOCOL;
}

int admin_reply_decode(const struct frame *f, struct admin_reply *out)
{
    struct arena arena;
    int err = -RD_EPROTOCOL;

    arena_init(&arena, arena_cap(f->header_size));
    const Raftd__Admin__Reply *m = arena_unpack(&arena, &raftd__admin__reply__descriptor, f);
    if (m) {
        err = reply_check(m, f->payload_size);
        if (err == 0) {
            *out = (struct admin_reply){
                .id = m->id,
                .code = field_is_code(m->code) ? -(int)m->code : -RD_EINVALID,
                .more = m->more != 0,
                .leader = m->leader,
                .message = field_copy_blob(m->message.data, m->message.len),
                .json = field_copy_blob(f->payload, f->payload_size),
            };
        } else if (err == -RD_ETOO_LARGE) {
            *out = (struct admin_reply){.id = m->id};
        }
    }
    arena_done(&arena);
    return err;
}
