#include "golden.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "msgs.h"
#include "raft/membership.h"

void golden_say(struct golden *g, const char *format, ...)
{
    va_list args;

    if (g->quiet) {
        return;
    }
    buf_put_str(&g->trace, "    ");
    va_start(args, format);
    buf_vprintf(&g->trace, format, args);
    va_end(args);
    buf_put_u8(&g->trace, '\n');
}

static void say_message(struct golden *g, const char *before, const struct raft_msg *m,
                        const char *after)
{
    struct buf text = BUF_INIT;

    msgs_text(m, &text);
    golden_say(g, "%s%s%s", before, buf_str(&text), after);
    buf_done(&text);
}

/* ---- Life ---- */

static void core_stop(struct golden_core *c)
{
    raft_free(c->raft);
    c->raft = NULL;
    c->started = false;
    for (uint32_t i = 0; i < c->saves_count; i++) {
        raft_save_done(&c->saves[i]);
    }
    for (uint32_t i = 0; i < c->parked_count; i++) {
        raft_msg_done(&c->parked[i].msg);
    }
    c->saves_count = c->parked_count = 0;
    c->taken = c->done = 0;
    effects_clear(&c->fx);
}

void golden_done(struct golden *g)
{
    for (uint32_t i = 1; i <= g->count; i++) {
        core_stop(&g->cores[i]);
        vdisk_done(&g->cores[i].disk);
        raft_point_done(&g->cores[i].state);
        effects_done(&g->cores[i].fx);
        mem_free(g->cores[i].parked);
    }
    for (uint32_t i = 0; i < g->queue_count; i++) {
        raft_msg_done(&g->queue[i]);
    }
    mem_free(g->queue);
    buf_done(&g->trace);
}

void golden_cluster(struct golden *g, uint32_t count, uint32_t members,
                    const struct raft_config *config)
{
    g->count = count;
    g->now = 10000;
    g->membership.members_count = members;
    for (uint32_t id = 1; id <= count; id++) {
        struct golden_core *c = &g->cores[id];
        struct raft_member *m = &g->membership.members[id - 1];

        c->id = id;
        c->config = *config;
        c->config.id = id;
        c->config.store.bytes[0] = (uint8_t)id;
        *m = (struct raft_member){
            .id = id, .role = RAFT_VOTER, .store = c->config.store, .session = 1};
        (void)snprintf(m->address, sizeof m->address, "10.0.0.%" PRIu32 ":7400", id);
    }
}

struct raft_change golden_addition(const struct golden *g, raft_id id)
{
    struct raft_change c = {.kind = RAFT_CHANGE_ADD, .id = id, .store = g->cores[id].config.store};

    memcpy(c.address, g->membership.members[id - 1].address, sizeof c.address);
    return c;
}

static struct blob *past_payload(struct raft_membership *m, const struct golden_entry *of,
                                 struct raft_entry *e)
{
    char text[32];

    if (e->index > 1 && of->change.kind == 0) {
        (void)snprintf(text, sizeof text, "%u/%u", (unsigned)e->index, (unsigned)e->term);
        return blob_copy(text, strlen(text));
    }
    e->type = RAFT_ENTRY_MEMBERSHIP;
    if (e->index > 1) {
        struct raft_reason why;
        rd_assert(membership_refuses(m, &of->change, &why) == 0);
        membership_apply(m, &of->change, e->index);
    }
    return membership_encode(m);
}

/* The log begins after its entry number `count`, which is what the state is as of. */
static void past_forget(struct golden_core *c, uint32_t count)
{
    const struct raft_entry *last = &c->disk.entries[count - 1];
    struct raft_save save = {
        .base_set = true, .base = {.index = last->index, .term = last->term, .chain = last->chain}};

    rd_assert(count <= c->disk.count);
    for (uint32_t i = 0; i < count; i++) {
        const struct raft_entry *e = &c->disk.entries[i];
        if (e->type == RAFT_ENTRY_MEMBERSHIP) {
            save.base.membership_index = e->index;
            save.base.membership = e->data;
        }
    }
    golden_flush_set(c, &save.base, false);
    (void)blob_ref(save.base.membership); /* the entry that holds it goes */
    vdisk_write(&c->disk, &save);
    raft_point_done(&save.base);
}

void golden_past(struct golden *g, raft_id id, const struct golden_past *past)
{
    struct golden_core *c = &g->cores[id];
    struct raft_membership *m = mem_dup(&g->membership, sizeof *m);
    uint64_t chain = 0;

    rd_assert(!c->started);
    vdisk_done(&c->disk);
    c->disk.cluster.bytes[0] = 0xcc;
    c->disk.term = past->term;
    c->disk.vote = past->vote;
    c->disk.loyal_ms = past->loyal_ms;
    c->disk.entries = mem_alloc((past->count + 1) * sizeof *c->disk.entries);
    c->disk.capacity = past->count + 1;
    for (uint32_t i = 0; i < past->count; i++) {
        struct raft_entry *e = &c->disk.entries[i];

        *e = (struct raft_entry){
            .index = i + 1, .term = past->entries[i].term, .type = RAFT_ENTRY_COMMAND};
        e->data = past_payload(m, &past->entries[i], e);
        chain = e->chain = raft_chain_after(chain, e);
        c->disk.count++;
    }
    mem_free(m);
    if (past->base) {
        past_forget(c, past->base);
    }
}

void golden_wipe(struct golden *g, raft_id id)
{
    struct golden_core *c = &g->cores[id];

    rd_assert(!c->started);
    vdisk_done(&c->disk);
    raft_point_done(&c->state);
    c->config.store.bytes[1] = ++c->disks;
}

void golden_start(struct golden *g, raft_id id)
{
    struct golden_core *c = &g->cores[id];

    c->lives++;
    c->config.seed = id * 1000 + c->lives;
    c->raft = raft_new(&c->config, vdisk_load, &c->disk);
    if (!vdisk_is_pristine(&c->disk)) {
        raft_restore_hard(c->raft, &c->disk.cluster, c->disk.term, c->disk.vote, c->disk.loyal_ms);
    }
    if (c->disk.base.index > 0) {
        rd_assert(raft_restore_base(c->raft, &c->disk.base) == 0);
    }
    for (uint32_t i = 0; i < c->disk.count; i++) {
        rd_assert(raft_restore_entry(c->raft, &c->disk.entries[i]) == 0);
    }
    if (c->state.index > 0) {
        rd_assert(raft_restore_applied(c->raft, &c->state, c->installed) == 0);
    }
    raft_start(c->raft, g->now);
    raft_view_get(c->raft, &c->view);
    c->started = true;
}

void golden_crash(struct golden *g, raft_id id)
{
    core_stop(&g->cores[id]);
}

/* ---- Effects ---- */

void golden_send(struct golden *g, const struct raft_msg *m)
{
    if (g->queue_count == g->queue_capacity) {
        g->queue_capacity = g->queue_capacity ? g->queue_capacity * 2 : 64;
        g->queue = mem_realloc(g->queue, g->queue_capacity * sizeof *g->queue);
    }
    g->queue[g->queue_count++] = *m;
}

static void park(struct golden_core *c, const struct raft_msg *m)
{
    if (c->parked_count == c->parked_capacity) {
        c->parked_capacity = c->parked_capacity ? c->parked_capacity * 2 : 8;
        c->parked = mem_realloc(c->parked, c->parked_capacity * sizeof *c->parked);
    }
    c->parked[c->parked_count++] =
        (struct golden_parked){.msg = *m, .after = c->taken + (raft_save_wanted(c->raft) ? 1 : 0)};
}

static void release(struct golden *g, struct golden_core *c)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < c->parked_count; i++) {
        if (c->parked[i].after <= c->done) {
            say_message(g, "now leaves ", &c->parked[i].msg, "");
            golden_send(g, &c->parked[i].msg);
        } else {
            c->parked[kept++] = c->parked[i];
        }
    }
    c->parked_count = kept;
}

static void trace_view(struct golden *g, struct golden_core *c)
{
    struct raft_view v;

    raft_view_get(c->raft, &v);
    if (v.state != c->view.state || v.term != c->view.term || v.leader != c->view.leader) {
        struct buf why = BUF_INIT;

        if (c->fx.reason.text) {
            buf_put_str(&why, ": ");
            raft_reason_put(&c->fx.reason, &why);
        }
        golden_say(g, "%" PRIu32 " is %s term=%" PRIu64 " leader=%" PRIu32 "%s", c->id,
                   msgs_state_name(v.state), v.term, v.leader, buf_str(&why));
        buf_done(&why);
    }
    if (c->fx.diverged) {
        golden_say(g, "%" PRIu32 " must stop: its log has another history", c->id);
    }
    if (v.last < c->view.last) {
        golden_say(g, "%" PRIu32 " cut its log from %" PRIu64 " to %" PRIu64, c->id, c->view.last,
                   v.last);
    }
    if (v.base != c->view.base) {
        golden_say(g, "%" PRIu32 "'s log begins anew after %" PRIu64, c->id, v.base);
    }
    if (v.commit != c->view.commit) {
        golden_say(g, "%" PRIu32 " commit %" PRIu64 " -> %" PRIu64, c->id, c->view.commit,
                   v.commit);
    }
    if (v.transfer_holds && !c->view.transfer_holds) {
        golden_say(g, "%" PRIu32 " holds new writes", c->id);
    }
    c->view = v;
}

/* "1 what: the code: its sentence" */
static void say_reason(struct golden *g, const struct golden_core *c, const char *what, int code,
                       const struct raft_reason *why)
{
    struct buf text = BUF_INIT;

    raft_reason_put(why, &text);
    golden_say(g, "%" PRIu32 " %s: %s%s%s", c->id, what, err_name(code), text.size ? ": " : "",
               buf_str(&text));
    buf_done(&text);
}

static void trace_effects(struct golden *g, struct golden_core *c)
{
    struct raft_effects *fx = &c->fx;

    trace_view(g, c);
    golden_note_piece(g, c);
    if (fx->transfer_ended && fx->transfer_code) {
        say_reason(g, c, "ends the hand-over", fx->transfer_code, &fx->transfer_why);
    } else if (fx->transfer_ended) {
        golden_say(g, "%" PRIu32 " has given up leadership", c->id);
    }
    for (uint32_t i = 0; i < fx->reads_count; i++) {
        const struct raft_read *read = &fx->reads[i];

        if (read->code) {
            golden_say(g, "%" PRIu32 " read %" PRIu64 ": refused, %s", c->id, read->token,
                       err_name(read->code));
        } else {
            golden_say(g, "%" PRIu32 " read %" PRIu64 ": serve at index %" PRIu64, c->id,
                       read->token, read->index);
        }
    }
    for (uint32_t i = 0; i < fx->msgs_count; i++) {
        struct raft_out *o = &fx->msgs[i];

        say_message(g, "", &o->msg, o->after_save ? " [after save]" : "");
        if (o->after_save) {
            park(c, &o->msg);
        } else {
            golden_send(g, &o->msg);
        }
    }
    fx->msgs_count = 0; /* moved */
    effects_clear(fx);
}

/* What the core said to a request. */
static void trace_request(struct golden *g, const struct golden_core *c, enum raft_event_type type)
{
    const struct raft_effects *fx = &c->fx;
    raft_term term = c->view.term;

    if (type == RAFT_EV_PROPOSE && fx->propose_code) {
        golden_say(g, "%" PRIu32 " refuses: %s", c->id, err_name(fx->propose_code));
    } else if (type == RAFT_EV_PROPOSE) {
        golden_say(g, "%" PRIu32 " appends %" PRIu64 "/%" PRIu64, c->id, fx->propose_index,
                   fx->propose_term);
    } else if ((type == RAFT_EV_CHANGE || type == RAFT_EV_TRANSFER) && fx->request_code) {
        say_reason(g, c, "refuses", fx->request_code, &fx->refusal);
    } else if (type == RAFT_EV_CHANGE) {
        golden_say(g, "%" PRIu32 " appends %" PRIu64 "/%" PRIu64, c->id, fx->change_index, term);
    } else if (type == RAFT_EV_TRANSFER) {
        golden_say(g, "%" PRIu32 " hands over to %" PRIu32, c->id, fx->transfer_target);
    }
}

static void step(struct golden *g, struct golden_core *c, const struct raft_event *event)
{
    struct raft_event flush = {.type = RAFT_EV_FLUSH};

    if (raft_step(c->raft, g->now, event, &c->fx)) {
        golden_say(g, "%" PRIu32 " refuses the event: not valid", c->id);
    } else {
        trace_request(g, c, event->type);
    }
    rd_assert(raft_step(c->raft, g->now, &flush, &c->fx) == 0);
    for (uint32_t i = 0; i < c->fx.msgs_count; i++) {
        c->seq = c->fx.msgs[i].msg.seq > c->seq ? c->fx.msgs[i].msg.seq : c->seq;
    }
    trace_effects(g, c);
}

void golden_step(struct golden *g, raft_id id, const struct raft_event *event)
{
    struct golden_core *c = &g->cores[id];

    step(g, c, event);
    while (g->autosave && raft_save_wanted(c->raft)) {
        golden_save(g, id);
        golden_saved(g, id);
    }
}

/* ---- Saves ---- */

void golden_save(struct golden *g, raft_id id)
{
    struct golden_core *c = &g->cores[id];
    struct raft_save *save = &c->saves[c->saves_count];
    struct buf text = BUF_INIT;

    if (c->saves_count == GOLDEN_SAVES_MAX || !raft_save_take(c->raft, 1U << 20, save)) {
        golden_say(g, "%" PRIu32 " has nothing to save", id);
        return;
    }
    c->saves_count++;
    c->taken++;
    vdisk_write(&c->disk, save);
    if (save->hard_set) {
        buf_printf(&text, " term=%" PRIu64 " vote=%" PRIu32, save->term, save->vote);
    }
    if (save->base_set) {
        buf_printf(&text, "%s %" PRIu64 "/%" PRIu64,
                   save->reset ? " log begins anew after" : " log begins after", save->base.index,
                   save->base.term);
        c->view.base = save->base.index;
    }
    for (uint32_t i = 0; i < save->entries_count; i++) {
        buf_printf(&text, " %" PRIu64 "/%" PRIu64, save->entries[i].index, save->entries[i].term);
    }
    golden_say(g, "%" PRIu32 " saves%s", id, buf_str(&text));
    buf_done(&text);
}

void golden_saved(struct golden *g, raft_id id)
{
    struct golden_core *c = &g->cores[id];

    if (c->saves_count == 0) {
        golden_say(g, "%" PRIu32 " has no save on its way", id);
        return;
    }
    struct raft_save save = c->saves[0];
    c->saves_count--;
    memmove(&c->saves[0], &c->saves[1], c->saves_count * sizeof c->saves[0]);
    c->done++;
    release(g, c);
    struct raft_event event = {.type = RAFT_EV_PERSISTED,
                               .persisted = {.index = save.last, .entry_term = save.last_term}};
    step(g, c, &event);
    raft_save_done(&save);
}

/* ---- Time and the network ---- */

void golden_advance(struct golden *g, uint64_t ms)
{
    mono_ms end = g->now + ms;

    for (uint32_t steps = 0; steps < 10000; steps++) {
        struct golden_core *next = NULL;
        mono_ms at = end;

        for (uint32_t id = 1; id <= g->count; id++) {
            struct golden_core *c = &g->cores[id];

            if (c->started && raft_deadline(c->raft) <= at &&
                (!next || raft_deadline(c->raft) < at)) {
                at = raft_deadline(c->raft);
                next = c;
            }
        }
        if (!next) {
            break;
        }
        g->now = at > g->now ? at : g->now;
        golden_step(g, next->id, &(struct raft_event){.type = RAFT_EV_TICK});
    }
    g->now = end;
}

static bool matches(const struct raft_msg *m, const struct golden_filter *f)
{
    return (f->from == 0 || f->from == m->from) && (f->to == 0 || f->to == m->to) &&
           (f->type == 0 || f->type == m->type);
}

static void queue_remove(struct golden *g, uint32_t at)
{
    g->queue_count--;
    memmove(&g->queue[at], &g->queue[at + 1], (g->queue_count - at) * sizeof *g->queue);
}

static void note_timeout_now(struct golden_core *c, const struct raft_msg *m)
{
    c->told = m->type == RAFT_MSG_TIMEOUT_NOW ? m->seq : c->told;
}

uint32_t golden_deliver(struct golden *g, const struct golden_filter *f, uint32_t count_max,
                        bool keep)
{
    uint32_t left = g->queue_count, at = 0, n = 0;

    while (left > 0 && n < count_max) {
        left--;
        if (!matches(&g->queue[at], f)) {
            at++;
            continue;
        }
        struct raft_msg m;
        msgs_copy_raft(&g->queue[at], &m);
        if (keep) {
            at++;
        } else {
            raft_msg_done(&g->queue[at]);
            queue_remove(g, at);
        }
        n++;
        if (m.to <= g->count && g->cores[m.to].started) {
            for (uint32_t i = 0; i < m.entries_count; i++) {
                m.entries[i].chain = 0; /* chains do not travel */
            }
            say_message(g, "gets ", &m, "");
            note_timeout_now(&g->cores[m.to], &m);
            golden_step(g, m.to, &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &m});
        }
        raft_msg_done(&m);
    }
    return n;
}

uint32_t golden_drop(struct golden *g, const struct golden_filter *f)
{
    uint32_t n = 0;

    for (uint32_t at = 0; at < g->queue_count;) {
        if (matches(&g->queue[at], f)) {
            raft_msg_done(&g->queue[at]);
            queue_remove(g, at);
            n++;
        } else {
            at++;
        }
    }
    return n;
}

void golden_settle(struct golden *g)
{
    bool autosave = g->autosave;

    g->autosave = true;
    for (uint32_t id = 1; id <= g->count; id++) {
        while (g->cores[id].started && raft_save_wanted(g->cores[id].raft)) {
            golden_save(g, id);
            golden_saved(g, id);
        }
    }
    for (uint32_t round = 0; round < 200 && g->queue_count > 0; round++) {
        (void)golden_deliver(g, &(struct golden_filter){0}, UINT32_MAX, false);
    }
    g->autosave = autosave;
}

/* ---- Looking ---- */

/* What is out of the ordinary. */
static void status_more(const struct golden *g, const struct raft_view *v, struct buf *out)
{
    if (v->transfer) {
        buf_printf(out, " handing-over=%" PRIu32 "%s", v->transfer,
                   v->transfer_sent    ? ",told"
                   : v->transfer_holds ? ",holding"
                                       : "");
    }
    if (v->claims_after > g->now) {
        buf_printf(out, " no-claim-for=%" PRIu64, v->claims_after - g->now);
    }
    if (v->removed) {
        buf_put_str(out, " removed");
    }
    if (v->base) {
        buf_printf(out, " base=%" PRIu64, v->base);
    }
}

void golden_status(struct golden *g, raft_id id)
{
    struct golden_core *c = &g->cores[id];
    struct buf more = BUF_INIT;
    struct raft_view v;

    if (!c->started) {
        golden_say(g, "%" PRIu32 " down", id);
        return;
    }
    raft_view_get(c->raft, &v);
    status_more(g, &v, &more);
    golden_say(g,
               "%" PRIu32 " %s term=%" PRIu64 " vote=%" PRIu32 " leader=%" PRIu32 " commit=%" PRIu64
               " last=%" PRIu64 "/%" PRIu64 " saved=%" PRIu64 " lease=%" PRIu32 " claim=%" PRIu32
               "%s",
               id, msgs_state_name(v.state), v.term, v.vote, v.leader, v.commit, v.last,
               v.last_term, v.saved, raft_lease_remaining(c->raft, g->now),
               raft_claim_remaining(c->raft, g->now), buf_str(&more));
    buf_done(&more);
}

static void member_text(const struct raft_member *m, struct buf *out)
{
    buf_printf(out, " %" PRIu32 " %s@%" PRIu64 "%s", m->id,
               m->role == RAFT_VOTER ? "voter" : "learner", m->session,
               m->auto_promote ? " auto" : "");
    if (m->store.bytes[1]) {
        buf_printf(out, " store=%u.%u", m->store.bytes[0], m->store.bytes[1]);
    }
}

void golden_members(struct golden *g, raft_id id)
{
    const struct raft *r = g->cores[id].raft;
    const struct raft_membership *m = raft_membership(r);
    struct buf text = BUF_INIT;
    const char *address;
    raft_id other;

    for (uint32_t i = 0; i < m->members_count; i++) {
        buf_put_str(&text, i ? "," : "");
        member_text(&m->members[i], &text);
    }
    for (uint32_t i = 0; i < m->tombstones_count; i++) {
        const struct raft_tombstone *t = &m->tombstones[i];
        buf_printf(&text, "%s %" PRIu32 "@%" PRIu64, i ? "," : "; removed", t->id, t->index);
        if (t->store.bytes[1]) {
            buf_printf(&text, " store=%u.%u", t->store.bytes[0], t->store.bytes[1]);
        }
    }
    for (uint32_t i = 0; raft_leaving(r, i, &other, &address); i++) {
        buf_printf(&text, "%s %" PRIu32, i ? "," : "; still tells", other);
    }
    golden_say(g, "%" PRIu32 " knows %s membership %" PRIu64 ":%s", id,
               m->index && m->index == raft_membership_committed(r)->index ? "committed"
                                                                           : "uncommitted",
               m->index, buf_str(&text));
    buf_done(&text);
}

void golden_timer(struct golden *g, raft_id id)
{
    mono_ms at = raft_deadline(g->cores[id].raft);

    if (at == UINT64_MAX) {
        golden_say(g, "%" PRIu32 " waits for nothing", id);
    } else {
        golden_say(g, "%" PRIu32 " wakes in %" PRIu64 " ms", id, at > g->now ? at - g->now : 0);
    }
}

void golden_log(struct golden *g, raft_id id)
{
    struct golden_core *c = &g->cores[id];
    struct buf text = BUF_INIT;
    struct raft_view v;

    raft_view_get(c->raft, &v);
    if (v.base) {
        buf_printf(&text, "%s after %" PRIu64 "/%" PRIu64 "%s",
                   v.last == v.base ? "nothing" : "what comes", v.base,
                   raft_term_at(c->raft, v.base), v.last == v.base ? "" : ": ");
    }
    for (raft_index i = v.base + 1; i <= v.last; i++) {
        struct raft_entry e;

        (void)raft_entries(c->raft, i, 1, 1, &e);
        buf_printf(&text, "%s%" PRIu64 "/%" PRIu64 " %s", i > v.base + 1 ? ", " : "", e.index,
                   e.term, msgs_entry_name(e.type));
        if (e.type == RAFT_ENTRY_COMMAND) {
            buf_printf(&text, " \"%.*s\"", (int)e.data->size, (const char *)e.data->data);
        }
        blob_unref(e.data);
    }
    golden_say(g, "%" PRIu32 " has %s", id, buf_str(&text));
    buf_done(&text);
}
