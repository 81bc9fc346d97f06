/* One core, and everything that can happen to it: the input is a list of events. Peers are whoever the input
 * says, members or not, and send what their ids allow: any message that the wire lets through, with numbers
 * near those of the core or far away from them, in any order. Time, the disk, restarts and the node's own
 * wishes come in between, within what raft.h lets the caller do.
 * Asserted after each step: raft_rules.c. The only end that is allowed is "diverged", with which the input ends,
 * too. After a restart the core has to accept its own disk, and a tick that was due is not due again. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "msgs.h"
#include "raft/membership.h"
#include "raft_rules.h"
#include "target.h"
#include "wire/peer.h"

enum { PEERS = 8, STEPS_MAX = 1000, ENTRIES_MAX = 5, LOG_MAX = 3000 };

static const struct uuid cluster = {.bytes = {0xc1}};

static void step(struct core *c, const struct raft_event *event)
{
    rd_assert(raft_step(c->r, c->now, event, &c->fx) == 0);
    rules_check(c, event);
}

/* One that is not valid changes nothing. */
static void step_invalid(struct core *c, const struct raft_event *event)
{
    struct raft_view before = c->view;

    rd_assert(raft_step(c->r, c->now, event, &c->fx) == -RD_EINVALID);
    rules_check(c, event);
    rd_assert(c->view.term == before.term && c->view.state == before.state &&
              c->view.last == before.last && c->view.commit == before.commit);
}

/* ---- Life ---- */

static void start(struct core *c)
{
    const struct raft_config config = {.id = SELF,
                                       .store = {.bytes = {SELF}},
                                       .seed = 7,
                                       .heartbeat_ms = HEARTBEAT_MS,
                                       .election_timeout_ms = TIMEOUT_MS,
                                       .append_bytes_max = 100,
                                       .append_entries_max = 4,
                                       .inflight_bytes_max = 400,
                                       .inflight_msgs_max = 3,
                                       .cache_bytes_max = 500};

    c->r = raft_new(&config, vdisk_load, &c->disk);
    if (!vdisk_is_pristine(&c->disk)) {
        raft_restore_hard(c->r, &c->disk.cluster, c->disk.term, c->disk.vote, c->disk.loyal_ms);
    }
    if (c->disk.base.index > 0) {
        rd_assert(raft_restore_base(c->r, &c->disk.base) == 0);
    }
    for (uint32_t i = 0; i < c->disk.count; i++) {
        rd_assert(raft_restore_entry(c->r, &c->disk.entries[i]) == 0);
    }
    if (c->flushed.index > 0) {
        rd_assert(raft_restore_applied(c->r, &c->flushed, c->installed) == 0);
    }
    raft_start(c->r, c->now);
    rules_begin(c);
}

static void save_ends(struct core *c, bool is_written)
{
    if (c->saving && is_written) {
        vdisk_write(&c->disk, &c->save);
    }
    raft_save_done(&c->save);
    c->saving = false;
}

static void stop(struct core *c)
{
    raft_free(c->r);
    effects_done(&c->fx);
    c->fx = (struct raft_effects){0};
}

static void restart(struct core *c, struct cursor *in)
{
    save_ends(c, cursor_u8(in) & 1); /* its transaction was whole, or nothing */
    stop(c);
    start(c);
}

/* ---- Disk ---- */

static void persist(struct core *c)
{
    if (!c->saving) {
        c->saving = raft_save_take(c->r, 150, &c->save);
        rules_look(c);
        return;
    }
    struct raft_event e = {.type = RAFT_EV_PERSISTED,
                           .persisted = {c->save.last, c->save.last_term}};
    save_ends(c, true);
    step(c, &e);
}

static void persist_all(struct core *c)
{
    do {
        persist(c);
    } while (c->saving && !c->stopped);
}

/* The state thread has written what was applied up to somewhere, and the log may forget it. */
static void flush_and_trim(struct core *c, struct cursor *in)
{
    raft_index most = c->view.commit < c->view.saved ? c->view.commit : c->view.saved;
    uint8_t back = cursor_u8(in);
    raft_index index = most > back ? most - back : most;

    if (index > c->flushed.index && index >= c->view.base) {
        raft_point_done(&c->flushed);
        raft_point_get(c->r, index, &c->flushed);
        c->installed = false;
    }
    raft_index trim = c->flushed.index < most ? c->flushed.index : most;
    if (trim > 0 && c->flushed.membership) { /* every log begins with one, unless a leader lies */
        raft_trim(c->r, trim);
    }
}

/* ---- Numbers that matter ---- */

static uint64_t number(const struct core *c, struct cursor *in)
{
    const struct raft_view *v = &c->view;
    const uint64_t near[] = {0,
                             1,
                             2,
                             v->last,
                             v->last + 1,
                             v->commit,
                             v->base,
                             v->saved,
                             v->term,
                             v->term + 1,
                             v->last_term,
                             c->now,
                             c->disk.term,
                             RAFT_NUMBER_MAX,
                             RAFT_NUMBER_MAX + 1,
                             INT64_MAX};
    uint8_t which = cursor_u8(in);

    if (which < 2 * sizeof near / sizeof near[0]) { /* or the one below */
        uint64_t n = near[which / 2];
        return n > 0 ? n - which % 2 : 0;
    }
    return which < 0xf0 ? which : cursor_u64(in) & INT64_MAX;
}

/* The chain after an entry of the log, when it can be told. */
static uint64_t chain_at(struct core *c, raft_index index)
{
    struct raft_entry e;
    uint64_t chain = 0;

    if (index == c->view.last) {
        return c->view.last_chain;
    }
    if (index > c->view.base && index < c->view.last) {
        rd_assert(raft_entries(c->r, index, 1, 0, &e) == 1);
        chain = e.chain;
        blob_unref(e.data);
    } else if (index == c->view.base && index > 0) {
        struct raft_point p;
        raft_point_get(c->r, index, &p);
        chain = p.chain;
        raft_point_done(&p);
    }
    return chain;
}

/* ---- Messages ---- */

static struct blob *any_membership(struct cursor *in)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    uint8_t members = cursor_u8(in);
    uint8_t roles = cursor_u8(in);

    for (raft_id id = 1; id <= PEERS; id++) {
        if (members & 1U << (id - 1)) {
            bool votes = roles & 1U << (id - 1) && membership_voters(m) < RAFT_VOTERS_MAX;
            struct raft_member one = {.id = id,
                                      .role = votes ? RAFT_VOTER : RAFT_LEARNER,
                                      .auto_promote = !votes,
                                      .store = {.bytes = {(uint8_t)id}},
                                      .session = 1,
                                      .address = "h:1"};
            membership_insert(m, &one);
        }
    }
    struct blob *data = membership_encode(m);
    mem_free(m);
    return data;
}

static struct blob *any_payload(enum raft_entry_type type, struct cursor *in)
{
    if (type == RAFT_ENTRY_MEMBERSHIP) {
        uint8_t how = cursor_u8(in);
        return how < 0xf0 ? any_membership(in) : NULL; /* one that cannot be read */
    }
    size_t size = type == RAFT_ENTRY_COMMAND ? cursor_u8(in) : 0;
    struct blob *data = size ? blob_new(size) : NULL;
    if (data) {
        memset(data->data, (int)size, size);
    }
    return data;
}

/* Terms that rise from the prev term to the message's, as the wire wants them. */
static void add_entries(struct raft_msg *m, struct cursor *in)
{
    raft_term term = m->log_term > 0 ? m->log_term : 1;
    uint32_t count = cursor_u8(in) % (ENTRIES_MAX + 1);

    if (count == 0 || term > m->term) {
        return;
    }
    m->entries = mem_zalloc(count * sizeof *m->entries);
    for (; m->entries_count < count; m->entries_count++) {
        struct raft_entry *e = &m->entries[m->entries_count];
        uint8_t what = cursor_u8(in);
        term = what & 0x80 ? m->term : (what & 0x40 && term < m->term ? term + 1 : term);
        e->index = m->index + 1 + m->entries_count;
        e->term = term;
        e->type = (enum raft_entry_type)(RAFT_ENTRY_NOOP + what % 3);
        e->data = any_payload(e->type, in);
    }
}

/* Only what the wire lets through reaches a core. */
static void make_passable(struct raft_msg *m, struct cursor *in)
{
    if (m->type != RAFT_MSG_TIMEOUT_NOW && m->type != RAFT_MSG_CLAIMS_LEFT) {
        m->hold_ms = 0;
    }
    m->hold_ms %= PEER_HOLD_MS_MAX + 1;
    if (m->type != RAFT_MSG_SNAPSHOT && m->type != RAFT_MSG_SNAPSHOT_REPLY) {
        m->offset = 0;
        m->done = false;
    }
    if (m->type == RAFT_MSG_SNAPSHOT) {
        m->data = blob_copy("piece", 5);
    }
    if (m->type == RAFT_MSG_APPEND && m->index <= INT64_MAX - ENTRIES_MAX) {
        add_entries(m, in);
    }
}

static void deliver(struct core *c, struct raft_msg *m, struct cursor *in)
{
    struct peer_msg out = {.type = PEER_RAFT}, msg;
    struct buf bytes = BUF_INIT;
    struct frame f;

    make_passable(m, in);
    out.raft = *m;
    peer_encode(&out, &bytes);
    rd_assert(frame_parse(bytes.data, bytes.size, FRAME_PEER_MAX, &f, NULL) == 1);
    rd_assert(peer_decode(&f, &msg) == 0);
    buf_done(&bytes);
    raft_msg_done(m);
    step(c, &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &msg.raft});
    peer_msg_done(&msg);
}

static raft_id peer(struct cursor *in)
{
    return 2 + cursor_u8(in) % PEERS; /* the last ones are hardly ever members */
}

static struct raft_msg any_header(struct cursor *in)
{
    return (struct raft_msg){
        .type = (enum raft_msg_type)(1 + cursor_u8(in) % (RAFT_MSG_TYPE_COUNT - 1)),
        .cluster = cluster,
        .from = peer(in),
        .to = SELF};
}

static void add_flags(struct raft_msg *m, struct cursor *in)
{
    uint8_t flags = cursor_u8(in);

    m->reject = flags & 1;
    m->transfer = flags & 2;
    m->done = flags & 4;
}

static void hear_anything(struct core *c, struct cursor *in)
{
    struct raft_msg m = any_header(in);

    add_flags(&m, in);
    m.term = number(c, in);
    m.seq = number(c, in);
    m.stamp = number(c, in);
    m.session = number(c, in);
    m.index = number(c, in);
    m.log_term = number(c, in);
    m.chain = chain_at(c, m.index);
    m.commit = number(c, in);
    m.hint = number(c, in);
    m.offset = number(c, in);
    m.hold_ms = (uint32_t)number(c, in);
    deliver(c, &m, in);
}

/* What fits the core's log, from who leads its term or the next one. */
static void hear_leader(struct core *c, struct cursor *in)
{
    struct raft_msg m = {.type = RAFT_MSG_APPEND, .cluster = cluster, .to = SELF};
    uint8_t how = cursor_u8(in);

    m.from = 2 + how % 3;
    m.term = c->view.term + (how & 8 ? 1 : 0);
    m.seq = cursor_u8(in);
    m.stamp = c->now;
    m.session = 1;
    raft_index back = how >> 4;
    m.index = c->view.last > back ? c->view.last - back : 0;
    m.index = m.index > c->view.base ? m.index : c->view.base;
    m.log_term = m.index > 0 ? raft_term_at(c->r, m.index) : 0;
    m.chain = chain_at(c, m.index);
    m.commit = number(c, in);
    deliver(c, &m, in);
}

/* The answer to one of the last messages, good or not. */
static void hear_answer(struct core *c, struct cursor *in)
{
    uint32_t back = cursor_u8(in);
    uint8_t how = cursor_u8(in);
    uint32_t have = c->sent_count < SENT_MAX ? c->sent_count : SENT_MAX;

    if (have == 0) {
        return;
    }
    struct raft_msg asked = c->sent[(c->sent_count - 1 - back % have) % SENT_MAX];
    struct raft_msg m = asked;
    m.type = msgs_reply_of(asked.type);
    if (m.type == 0) {
        return;
    }
    m.from = asked.to;
    m.to = SELF;
    m.chain = m.commit = m.hint = m.hold_ms = 0;
    m.reject = how & 1;
    m.index = how & 2 ? number(c, in) : asked.index + asked.entries_count;
    m.index = m.reject ? asked.index : m.index;
    m.hint = m.reject ? number(c, in) : 0;
    m.log_term = m.reject ? number(c, in) : 0;
    m.term = how & 4 ? number(c, in) : m.term;
    m.stamp = how & 8 ? number(c, in) : m.stamp;
    m.entries_count = 0;
    deliver(c, &m, in);
}

/* ---- Snapshots ---- */

static void send_piece(struct core *c, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    struct blob *data = blob_copy("piece", 5);
    struct raft_piece piece = {.to = 2 + how % PEERS,
                               .index = c->flushed.index,
                               .term = c->flushed.term,
                               .chain = c->flushed.chain,
                               .offset = how & 16 ? 5 : 0,
                               .done = how & 32,
                               .data = data};

    if (how & 64) { /* as a node does: to who wants one */
        (void)raft_snapshot_wanted(c->r, 0, &piece.to);
    }
    if (c->flushed.index > 0) {
        step(c, &(struct raft_event){.type = RAFT_EV_SNAPSHOT_SEND, .piece = &piece});
    }
    blob_unref(data);
}

static void take_piece(struct core *c, struct cursor *in)
{
    uint64_t offset = number(c, in);
    struct raft_event e = {.type = RAFT_EV_PIECE_TAKEN,
                           .snapshot = {.message = &c->piece, .offset = offset}};

    e.snapshot.reject = cursor_u8(in) & 1;
    if (c->piece.type) {
        step(c, &e);
    }
}

/* What the pieces held is the state now, on disk; the head was checked against the message. It is written only
 * when its term is on disk, too, and the node drops it when as much has been committed meanwhile. */
static void install(struct core *c, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    struct raft_msg piece = c->piece;
    struct raft_point at = {.index = piece.index, .term = piece.log_term, .chain = piece.chain};

    if (!c->view.hard_saved) {
        return;
    }
    c->piece = (struct raft_msg){0};
    if (piece.type == 0 || at.index <= c->flushed.index || at.index <= c->view.commit ||
        at.term == 0) {
        return;
    }
    at.membership = how < 0xf0 ? any_membership(in) : NULL;
    at.membership_index = at.index;
    if (at.membership) { /* one that cannot be read is not taken for a state */
        raft_point_done(&c->flushed);
        c->flushed = at;
        c->flushed.membership = blob_ref(at.membership);
        c->installed = true;
    }
    step(c, &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                 .snapshot = {.message = &piece, .point = &at}});
    blob_unref(at.membership);
}

/* ---- The node's own wishes ---- */

static void tick(struct core *c, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    mono_ms due = raft_deadline(c->r);

    c->now += how >> 1;
    if (how & 1 && due != UINT64_MAX && due > c->now) {
        c->now = due;
    }
    step(c, &(struct raft_event){.type = RAFT_EV_TICK});
    step(c, &(struct raft_event){.type = RAFT_EV_FLUSH});
    rd_assert(raft_deadline(c->r) > c->now);
}

static void propose(struct core *c, struct cursor *in)
{
    size_t size = cursor_u8(in);
    struct blob *data = blob_new(size);

    memset(data->data, 1, size);
    step(c, &(struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {data}});
    blob_unref(data);
}

static void read(struct core *c, struct cursor *in)
{
    (void)in;
    if (c->reads_count < READS_TOLD_MAX) {
        uint64_t token = c->reads_count++;
        c->reads[token] = (struct told_read){.floor = c->view.commit};
        step(c, &(struct raft_event){.type = RAFT_EV_READ, .read = {token}});
    }
}

static void change(struct core *c, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    struct raft_change wish = {.kind = (enum raft_change_kind)(1 + how % 4),
                               .id = 1 + (how >> 2) % PEERS,
                               .force = how & 0x80,
                               .auto_promote = how & 0x40,
                               .address = "h:2"};

    wish.store = (struct uuid){.bytes = {(uint8_t)wish.id, cursor_u8(in)}};
    step(c, &(struct raft_event){.type = RAFT_EV_CHANGE, .change = &wish});
}

static void transfer(struct core *c, struct cursor *in)
{
    raft_id target = cursor_u8(in) % (PEERS + 1);

    step(c, &(struct raft_event){.type = RAFT_EV_TRANSFER, .transfer = {target}});
}

static void happen(struct core *c, struct cursor *in)
{
    static const enum raft_event_type types[] = {RAFT_EV_PAUSED,          RAFT_EV_DISK,
                                                 RAFT_EV_LINK_DOWN,       RAFT_EV_REMOVED,
                                                 RAFT_EV_CLAIMS_RELEASED, RAFT_EV_RETIRE};
    uint8_t how = cursor_u8(in);
    struct raft_event e = {.type = types[(how & 15) % (sizeof types / sizeof types[0])]};

    if (e.type == RAFT_EV_DISK) {
        e.disk.stalled = how & 16;
    } else if (e.type == RAFT_EV_LINK_DOWN) {
        e.peer = 1 + how / 16 % PEERS;
    }
    step(c, &e);
}

static void tell_claim(struct core *c, struct cursor *in)
{
    uint8_t how = cursor_u8(in);
    mono_ms until = c->now + raft_claim_remaining(c->r, c->now);

    if (how & 1) {
        raft_claim_told(c->r, until);
    } else {
        raft_claim_held(c->r, until);
    }
    raft_set_lease_base(c->r, how & 2 ? TIMEOUT_MS / 2 : TIMEOUT_MS);
}

static void send_all(struct core *c, struct cursor *in)
{
    (void)in;
    step(c, &(struct raft_event){.type = RAFT_EV_FLUSH});
}

static void save(struct core *c, struct cursor *in)
{
    (void)in;
    persist(c);
}

static void save_all(struct core *c, struct cursor *in)
{
    (void)in;
    persist_all(c);
}

static void nonsense(struct core *c, struct cursor *in)
{
    uint8_t how = cursor_u8(in);

    step_invalid(c, &(struct raft_event){.type = (enum raft_event_type)(RAFT_EV_COUNT + how)});
    step_invalid(c, &(struct raft_event){.type = RAFT_EV_PROPOSE});
    step_invalid(c, &(struct raft_event){.type = RAFT_EV_MESSAGE});
}

static void found(struct core *c, struct cursor *in)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct blob *data = any_membership(in);

    rd_assert(membership_decode(data->data, data->size, 1, m) == 0);
    struct raft_event e = {.type = RAFT_EV_FOUND, .found = {.cluster = &cluster, .membership = m}};
    if (c->view.last == 0 && membership_is_voter(m, SELF)) {
        step(c, &e);
    } else {
        step_invalid(c, &e);
    }
    blob_unref(data);
    mem_free(m);
}

static void adopt(struct core *c, struct cursor *in)
{
    struct raft_event e = {.type = RAFT_EV_ADOPT, .found = {.cluster = &cluster}};

    (void)in;
    if (c->view.last == 0) {
        step(c, &e);
    } else {
        step_invalid(c, &e);
    }
}

typedef void operation(struct core *c, struct cursor *in);

static operation *const operations[] = {
    tick,       hear_anything, hear_leader, hear_answer, save_all, save,           propose,
    read,       happen,        change,      transfer,    send_all, flush_and_trim, send_piece,
    take_piece, install,       restart,     tell_claim,  nonsense, found,          adopt,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct core *c = mem_zalloc(sizeof *c);
    struct cursor in = cursor_over(data, size);

    c->now = 1000;
    start(c);
    for (int i = 0; i < STEPS_MAX && in.left > 0 && !in.bad && !c->stopped; i++) {
        operations[cursor_u8(&in) % (sizeof operations / sizeof operations[0])](c, &in);
        if (c->view.last - c->view.base > LOG_MAX) {
            break;
        }
    }
    save_ends(c, false);
    stop(c);
    vdisk_done(&c->disk);
    raft_point_done(&c->flushed);
    mem_free(c);
    return 0;
}
