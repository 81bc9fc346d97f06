/* The effects of steps: growing arrays that the caller empties. */
#include <inttypes.h>
#include <string.h>

#include "raft/internal.h"

void raft_msg_done(struct raft_msg *m)
{
    for (uint32_t i = 0; i < m->entries_count; i++) {
        blob_unref(m->entries[i].data);
    }
    mem_free(m->entries);
    blob_unref(m->data);
    m->entries = NULL;
    m->entries_count = 0;
    m->data = NULL;
}

void effects_clear(struct raft_effects *fx)
{
    for (uint32_t i = 0; i < fx->msgs_count; i++) {
        raft_msg_done(&fx->msgs[i].msg);
    }
    fx->msgs_count = 0;
    fx->reads_count = 0;
    fx->propose_code = 0;
    fx->propose_index = 0;
    fx->propose_term = 0;
    fx->request_code = 0;
    fx->refusal.text = NULL;
    fx->change_index = 0;
    fx->transfer_target = 0;
    fx->transfer_ended = false;
    fx->diverged = false;
    fx->snapshot = NULL;
    fx->reason.text = NULL;
}

void effects_done(struct raft_effects *fx)
{
    effects_clear(fx);
    mem_free(fx->msgs);
    mem_free(fx->reads);
    *fx = (struct raft_effects){0};
}

struct raft_msg *effects_message(struct raft *r, enum raft_msg_type type, raft_id to)
{
    struct raft_effects *fx = r->fx;

    if (fx->msgs_count == fx->msgs_capacity) {
        fx->msgs_capacity = fx->msgs_capacity ? fx->msgs_capacity * 2 : 16;
        fx->msgs = mem_realloc(fx->msgs, fx->msgs_capacity * sizeof *fx->msgs);
    }
    struct raft_out *out = &fx->msgs[fx->msgs_count];
    *out = (struct raft_out){
        .msg = {
            .type = type, .cluster = r->cluster, .from = r->config.id, .to = to, .term = r->term}};
    return &out->msg;
}

void effects_send(struct raft *r, bool after_save)
{
    r->fx->msgs[r->fx->msgs_count].after_save = after_save;
    r->fx->msgs_count++;
}

void effects_read(struct raft *r, uint64_t token, int code, raft_index index)
{
    struct raft_effects *fx = r->fx;

    if (fx->reads_count == fx->reads_capacity) {
        fx->reads_capacity = fx->reads_capacity ? fx->reads_capacity * 2 : 16;
        fx->reads = mem_realloc(fx->reads, fx->reads_capacity * sizeof *fx->reads);
    }
    fx->reads[fx->reads_count++] = (struct raft_read){.token = token, .code = code, .index = index};
}

void raft_reason_put(const struct raft_reason *reason, struct buf *out)
{
    uint32_t next = 0;

    for (const char *p = reason->text; p && *p; p++) {
        if (*p == '#' && next < RAFT_REASON_NUMBERS) {
            buf_printf(out, "%" PRIu64, reason->numbers[next++]);
        } else {
            buf_put_u8(out, (uint8_t)*p);
        }
    }
}

void effects_reason(struct raft *r, const char *reason, uint64_t number)
{
    if (reason) {
        r->fx->reason = (struct raft_reason){.text = reason, .numbers = {number}};
    }
}

void effects_refuse(struct raft *r, int code, const struct raft_reason *why)
{
    r->fx->request_code = code;
    r->fx->refusal = *why;
}

void effects_transfer_ended(struct raft *r, int code, const struct raft_reason *why)
{
    r->fx->transfer_ended = true;
    r->fx->transfer_code = code;
    r->fx->transfer_why = *why;
}
