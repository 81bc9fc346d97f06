/* A host: one node, its clock and its disk. The turn is the product's (node.h); what the simulator
 * adds is where a crash can cut it. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

bool host_is_up(const struct sim_host *h)
{
    return h->node != NULL;
}

raft_index host_durable(const struct sim_host *h)
{
    return h->told_last > h->told_state ? h->told_last : h->told_state;
}

/* ---- Clock ---- */

mono_ms host_clock(const struct sim *s, const struct sim_host *h)
{
    return (h->offset + (uint64_t)((double)(s->now - h->clock_base) * h->rate)) / 1000;
}

/* The first true time at which the host's clock shows `local`. */
static sim_us clock_reaches(const struct sim *s, const struct sim_host *h, mono_ms local)
{
    uint64_t shown = h->offset + (uint64_t)((double)(s->now - h->clock_base) * h->rate);

    if (local >= SIM_NEVER / 4000) {
        return SIM_NEVER;
    }
    if (local * 1000 <= shown) {
        return s->now;
    }
    return s->now + (sim_us)((double)(local * 1000 - shown) / h->rate) + 1;
}

static void arm(struct sim *s, struct sim_host *h)
{
    sim_us at = clock_reaches(s, h, node_deadline(h->node));

    /* To replay a long log takes as many turns as it takes. */
    raft_index applied = state_index(node_state(h->node));
    h->restless = at <= s->now && applied == h->restless_at ? h->restless + 1 : 0;
    h->restless_at = applied;
    if (h->restless > SIM_RESTLESS_MAX) {
        sim_violation(s, h, "wants one more turn, %u times in a row", h->restless);
    }
    if (at == SIM_NEVER || at >= h->wake_at) {
        return;
    }
    if (at <= s->now) {
        at = s->now + 1; /* work is left: another turn, but time moves on */
    }
    h->wake_at = at;
    sim_push(s, SIM_EV_WAKE, at, (uint8_t)(h->id - 1))->life = h->life;
}

/* ---- Start and crash ---- */

static void configure(struct sim *s, struct sim_host *h, struct node_config *config)
{
    *config = s->config;
    config->raft.id = h->id;
    config->keeps_rows = s->knobs.flush_chance > 0;
    config->log_keep_entries = s->knobs.keep_entries;
    config->log_keep_bytes = s->knobs.keep_bytes;
    if (sim_chance(s, s->knobs.keep_apart)) {
        config->log_keep_entries = config->log_keep_bytes = UINT32_MAX;
    }
    if (sim_chance(s, s->knobs.shorter)) {
        config->raft.election_timeout_ms = (uint32_t)sim_range(
            s, 3 * (uint64_t)config->raft.heartbeat_ms, s->knobs.timeout_ms + 1);
    }
    config->log_hold_bytes = s->knobs.hold_bytes;
    config->piece_bytes_max = s->knobs.piece_bytes;
    config->raft.store = h->store->id;
    config->raft.seed = prng_next(&s->prng);
    config->incarnation = h->store->incarnation;
    config->process = h->process = prng_next(&s->prng) | 1;
    (void)snprintf(config->name, sizeof config->name, "n%u", h->id);
    (void)snprintf(config->address, sizeof config->address, "10.0.0.%u:7400", h->id);
    (void)snprintf(config->version, sizeof config->version, "0.1.0");
    if (!h->founder_listed) {
        config->founders_count = 0;
    }
}

static void restore(struct sim *s, struct sim_host *h)
{
    if (vdisk_is_pristine(&h->store->disk)) {
        return;
    }
    states_restore(h);
    node_restore_hard(h->node, &h->store->disk.cluster, h->store->disk.term, h->store->disk.vote,
                      h->store->disk.loyal_ms);
    if (h->store->disk.base.index > 0 && node_restore_base(h->node, &h->store->disk.base)) {
        sim_violation(s, h, "restart: the beginning of its own log is refused");
    }
    for (uint32_t i = 0; i < h->store->disk.count; i++) {
        int code = node_restore_entry(h->node, &h->store->disk.entries[i]);

        if (code) {
            sim_violation(s, h, "restart: entry %llu of its own disk is refused: %s",
                          (unsigned long long)h->store->disk.entries[i].index, err_name(code));
        }
    }
    states_restored(s, h);
}

void host_room(struct sim_host *h)
{
    const struct node_room room = {
        .low = h->low, .path = "/data", .reserve_bytes = 1U << 30, .log_reserve_bytes = 1U << 30};

    if (host_is_up(h)) {
        node_set_room(h->node, &room);
    }
}

void host_start(struct sim *s, struct sim_host *h)
{
    struct node_config config;
    struct uuid fresh;

    h->life++;
    h->store->incarnation++;
    configure(s, h, &config);
    for (size_t i = 0; i < sizeof fresh.bytes; i++) {
        fresh.bytes[i] = (uint8_t)prng_next(&s->prng);
    }
    h->node = node_new(&config, vdisk_load, &h->store->disk);
    states_source(h);
    restore(s, h);
    h->crash = SIM_CRASH_NONE;
    h->batch = NULL;
    h->stalled = false;
    h->told_term = h->store->disk.term;
    h->told_vote = h->store->disk.vote;
    h->told_last = states_durable(h->store);
    h->told_state = 0;
    h->wake_at = SIM_NEVER;
    h->restless = 0;
    h->paused_until = 0;
    h->taken_term = 0;
    h->applied = 0;
    h->retiring = false;
    h->knew_removed = false;
    memset(h->told, 0, sizeof h->told);
    node_start(h->node, host_clock(s, h), &fresh);
    host_room(h);
    sim_trace(s, h, "starts: store %u, start %llu of it, term %llu, entries %llu to %llu",
              h->store->id.bytes[1], (unsigned long long)h->store->incarnation,
              (unsigned long long)h->store->disk.term,
              (unsigned long long)h->store->disk.base.index + 1,
              (unsigned long long)vdisk_last(&h->store->disk));
    check_started(s, h);
    host_begin(s, h);
    host_end(s, h);
}

void host_crash(struct sim *s, struct sim_host *h, const char *why)
{
    if (!h->node) {
        return;
    }
    sim_trace(s, h, "crashes (%s)", why);
    s->stats.crashes++;
    if (h->batch && !h->batch_written && sim_chance(s, 500000)) {
        host_written(s, h); /* the transaction had just become whole */
    }
    h->batch = NULL;
    states_crash(s, h);
    node_free(h->node);
    h->node = NULL;
    execs_host_down(h);
    h->crash = SIM_CRASH_NONE;
    network_host_down(s, h);
    client_host_down(s, h);
    if (sim_chance(s, 200000)) { /* the machine, not only the process: its clock starts again */
        h->offset = sim_range(s, 0, 3) ? 1000 * 1000 : 0;
        h->clock_base = s->now;
    }
    sim_us in = h->restart_in ? h->restart_in : sim_range(s, 1000, sim_timeouts(s, 3));
    h->restart_in = 0;
    sim_push(s, SIM_EV_RESTART, s->now + in, (uint8_t)(h->id - 1));
}

/* ---- Disk ---- */

void host_written(struct sim *s, struct sim_host *h)
{
    check_before_write(s, h, &h->batch->save);
    vdisk_write(&h->store->disk, &h->batch->save);
    h->batch_written = true;
}

static void submit(struct sim *s, struct sim_host *h, const struct node_batch *batch)
{
    sim_us done = s->now + sim_range(s, s->knobs.disk_min, s->knobs.disk_max);
    uint8_t index = (uint8_t)(h->id - 1);

    if (h->batch) {
        sim_violation(s, h, "a second batch while one is in flight");
    }
    sim_trace(s, h, "saves: batch %llu, term %llu, vote %u, %u entries from %llu, log %s %llu",
              (unsigned long long)batch->seq, (unsigned long long)batch->save.term,
              batch->save.vote, batch->save.entries_count, (unsigned long long)batch->save.first,
              batch->save.reset ? "begins anew after" : "begins after",
              (unsigned long long)batch->save.base.index);
    check_save_taken(s, h, &batch->save);
    h->batch = batch;
    h->batch_written = false;
    if (done < h->stall_until) {
        done = h->stall_until;
    }
    struct sim_event *e = sim_push(s, SIM_EV_WRITTEN, s->now + (done - s->now) / 2, index);
    e->life = h->life;
    e->number = batch->seq;
    e = sim_push(s, SIM_EV_PERSISTED, done, index);
    e->life = h->life;
    e->number = batch->seq;
    if (done - s->now > s->knobs.stall_after) {
        sim_push(s, SIM_EV_STALL, s->now + s->knobs.stall_after, index)->life = h->life;
    }
}

static void persisted(struct sim *s, struct sim_host *h, uint64_t seq)
{
    const struct raft_save *save = &h->batch->save;

    sim_trace(s, h, "batch %llu is durable", (unsigned long long)seq);
    if (save->hard_set) {
        h->told_term = save->term;
        h->told_vote = save->vote;
    }
    if (save->base_set) {
        s->stats.trims++;
        h->told_last =
            save->reset || save->base.index > h->told_last ? save->base.index : h->told_last;
    }
    if (save->first) {
        h->told_last = save->first + save->entries_count - 1;
    }
    h->batch = NULL;
    if (h->stalled) {
        h->stalled = false;
        node_disk(h->node, false);
    }
    node_persisted(h->node, seq);
}

/* ---- The turn ---- */

void host_begin(struct sim *s, struct sim_host *h)
{
    s->stats.turns++;
    node_begin(h->node, host_clock(s, h), 1700000000000U + s->now / 1000);
}

static void leave(struct sim *s, struct sim_host *h, const struct node_out *out, uint32_t sends,
                  uint32_t answers)
{
    for (uint32_t i = 0; i < sends; i++) {
        check_send(s, h, &out->sends[i]);
        network_send(s, h, out->sends[i].to, &out->sends[i].msg);
    }
    for (uint32_t i = 0; i < answers; i++) {
        client_answer(s, h, &out->answers[i]);
    }
}

/* Is this the boundary the planned crash waits for? */
static bool crash_is_due(const struct sim_host *h, const struct node_out *out, bool was_persisted)
{
    switch (h->crash) {
    case SIM_CRASH_AT_OUTPUT:
        return out->sends_count > 0;
    case SIM_CRASH_BEFORE_SAVE:
        return out->batch != NULL;
    case SIM_CRASH_AT_PERSISTED:
        return was_persisted;
    case SIM_CRASH_NONE:
    case SIM_CRASH_WRITTEN:
    default:
        return false;
    }
}

/* It may stop: nobody waits for it, or it has waited for long enough. */
static void retired(struct sim *s, struct sim_host *h)
{
    for (uint32_t i = 0; i < s->open_count; i++) {
        const struct sim_op *op = &s->ops[s->open[i]];

        if (op->host == h->id - 1 && op->kind != SIM_OP_BOOT &&
            host_clock(s, h) < h->retire_deadline) {
            sim_violation(s, h, "invariant 16: retires while operation %llu waits",
                          (unsigned long long)s->open[i]);
        }
    }
    host_crash(s, h, "it retired");
}

static void end_turn(struct sim *s, struct sim_host *h, bool was_persisted)
{
    struct node_out *out = node_end(h->node);

    if (out->fatal == -RD_ECORRUPT && promises_are_broken(h)) {
        sim_trace(s, h, "stops: %s", out->fatal_why);
        host_crash(s, h, "its promises are broken");
        return;
    }
    if (out->fatal) {
        sim_violation(s, h, "the node wants to stop: %s: %s", err_name(out->fatal), out->fatal_why);
    }
    check_turn(s, h);
    if (crash_is_due(h, out, was_persisted)) {
        bool at_output = h->crash == SIM_CRASH_AT_OUTPUT;
        uint32_t sends = at_output ? (uint32_t)sim_range(s, 0, out->sends_count) : 0;

        leave(s, h, out, sends, sends ? out->answers_count : 0);
        if (out->batch && at_output && sim_chance(s, 500000)) {
            check_save_taken(s, h, &out->batch->save);
            h->batch = out->batch;
            h->batch_written = false;
        }
        host_crash(s, h, "in the middle of a turn's output");
        return;
    }
    leave(s, h, out, out->sends_count, out->answers_count);
    if (out->batch) {
        submit(s, h, out->batch);
    }
    states_turn(s, h);
    bool hello = out->hello_changed, targets = out->targets_changed;
    if (out->reason[0]) {
        sim_trace(s, h, "says: %s", out->reason);
    }
    node_out_clear(h->node);
    client_check_deadlines(s, h);
    arm(s, h);
    if (targets) {
        network_targets_changed(s, h);
    }
    if (hello) {
        network_hello_changed(s, h);
    }
    if (h->retiring && node_is_retired(h->node)) {
        retired(s, h);
    }
}

void host_end(struct sim *s, struct sim_host *h)
{
    end_turn(s, h, false);
}

static void give(struct sim *s, struct sim_host *h, const struct sim_event *e)
{
    bool is_of_claims = e->msg->type == PEER_RAFT && e->msg->raft.type == RAFT_MSG_CLAIMS_LEFT;
    struct raft_view before;

    raft_view_get(node_raft(h->node), &before);
    node_message(h->node, (raft_id)e->peer + 1, e->msg);
    if (is_of_claims) {
        claims_left_heard(s, h, &before);
    }
}

static void take_message(struct sim *s, struct sim_host *h, struct sim_event *e)
{
    if (s->verbose && e->msg->type == PEER_RAFT) {
        struct buf text = BUF_INIT;

        msgs_text(&e->msg->raft, &text);
        sim_trace(s, h, "gets %s", buf_str(&text));
        buf_done(&text);
    } else if (s->verbose) {
        static const char *const names[] = {
            [PEER_FORWARD] = "a forwarded write", [PEER_FORWARD_REPLY] = "an answer",
            [PEER_PROGRESS_ASK] = "a question",   [PEER_PROGRESS] = "progress",
            [PEER_CHANGE] = "a change",           [PEER_CHANGE_REPLY] = "word of a change"};

        sim_trace(s, h, "gets %s from %u", names[e->msg->type], (unsigned)e->peer + 1);
    }
    s->stats.messages++;
    promises_hear(h, e);
    if (e->msg->type == PEER_RAFT && e->msg->raft.type == RAFT_MSG_TIMEOUT_NOW) {
        nemesis_told_to_stand(s, h);
    }
    give(s, h, e);
    mem_free(e->msg);
    e->msg = NULL;
}

/* Feed one event to the open turn; true: it was the end of a save. */
static bool feed(struct sim *s, struct sim_host *h, struct sim_event *e)
{
    switch (e->type) {
    case SIM_EV_MESSAGE:
        take_message(s, h, e);
        return false;
    case SIM_EV_LINK_DOWN:
        s->links[e->host][e->peer].down_pending = false;
        node_link_down(h->node, (raft_id)e->peer + 1);
        return false;
    case SIM_EV_REFUSAL:
        node_refused(h->node, (raft_id)e->peer + 1, e->refusal);
        return false;
    case SIM_EV_FAILED:
        node_unreachable(h->node, (raft_id)e->peer + 1, -(int)e->number, "no link");
        return false;
    case SIM_EV_PERSISTED:
        persisted(s, h, e->number);
        return true;
    case SIM_EV_FLUSHED:
        states_flushed(s, h);
        return false;
    case SIM_EV_STALL:
        if (h->batch && !h->stalled) {
            sim_trace(s, h, "its disk stalls");
            h->stalled = true;
            node_disk(h->node, true);
        }
        return false;
    case SIM_EV_WAKE:
    case SIM_EV_HELLO:
    case SIM_EV_WRITTEN:
    case SIM_EV_RESTART:
    case SIM_EV_CLIENT:
    case SIM_EV_CANCEL:
    case SIM_EV_LINKS:
    case SIM_EV_NEMESIS:
    case SIM_EV_STRIKE:
    case SIM_EV_HEAL:
    case SIM_EV_CALM:
    case SIM_EV_OPERATOR:
    case SIM_EV_SIDECAR:
    case SIM_EV_EXEC:
    case SIM_EV_AIM:
    default:
        return false;
    }
}

/* May this event share a turn with the one before it? */
static bool joins(const struct sim *s, const struct sim_host *h, const struct sim_event *e)
{
    return e && e->host == h->id - 1 && e->at <= s->now + 1000 &&
           ((e->type == SIM_EV_MESSAGE && (!e->store || e->store == h->store)) ||
            (e->type == SIM_EV_PERSISTED && e->life == h->life));
}

void host_event(struct sim *s, struct sim_event *e)
{
    struct sim_host *h = &s->hosts[e->host];
    struct sim_event next;

    if (e->type == SIM_EV_WAKE) {
        if (e->at != h->wake_at) {
            return;
        }
        h->wake_at = SIM_NEVER;
        if (clock_reaches(s, h, node_deadline(h->node)) > s->now) {
            arm(s, h);
            return;
        }
    }
    if (e->type == SIM_EV_WRITTEN) {
        if (!h->batch_written) {
            host_written(s, h);
        }
        promises_copy(s, h); /* not at a crash: that may be the one after which the copy is used */
        if (h->crash == SIM_CRASH_WRITTEN) {
            host_crash(s, h, "saved, not yet heard of it");
        }
        return;
    }
    if (e->type == SIM_EV_FLUSHED && states_crash_is_due(s, h)) {
        host_crash(s, h, "a snapshot was just on disk, or just not");
        return;
    }
    host_begin(s, h);
    bool was_persisted = feed(s, h, e);
    while (s->knobs.batch_turns && joins(s, h, heap_peek(&s->heap))) {
        (void)heap_pop(&s->heap, &next);
        was_persisted |= feed(s, h, &next);
        sim_event_done(&next);
    }
    end_turn(s, h, was_persisted);
}
