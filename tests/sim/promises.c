/* A data directory that is put back to an earlier state, or a disk that lost what it had confirmed: who
 * was promised more has to find it before the host promises anything else.
 *
 * What a host was promised is noted here from the messages it was given, without asking the nodes. */
#include "sim.h"

#include <string.h>

typedef unsigned long long ull;

/* ---- Copies ---- */

static void drop_copy(struct sim_host *h)
{
    vdisk_done(&h->copy.disk);
    states_done(&h->copy.rows);
    mem_free(h->copy.votes);
    h->copy = (struct sim_store){0};
    h->copy_of = NULL;
}

void promises_done(struct sim_host *h)
{
    drop_copy(h);
}

bool promises_are_broken(const struct sim_host *h)
{
    return h->store == &h->copy;
}

void promises_copy(struct sim *s, struct sim_host *h)
{
    if (!nemesis_restores(s) || promises_are_broken(h) || !sim_chance(s, 50000)) {
        return;
    }
    drop_copy(h);
    h->copy.id = h->store->id;
    h->copy.incarnation = h->store->incarnation;
    h->copy.votes = mem_dup(h->store->votes, SIM_TERMS_MAX * sizeof *h->store->votes);
    vdisk_copy(&h->store->disk, &h->copy.disk);
    states_copy(&h->store->rows, &h->copy.rows);
    h->copy_of = h->store;
    sim_trace(s, h, "a copy is made of its disk: term %llu, last %llu", (ull)h->copy.disk.term,
              (ull)vdisk_last(&h->copy.disk));
}

/* ---- Promises ---- */

static bool says_its_term(const struct raft_msg *m)
{
    bool asks = m->type == RAFT_MSG_PRE_VOTE || (m->type == RAFT_MSG_PRE_VOTE_REPLY && !m->reject);

    return !asks;
}

static bool acknowledges(const struct raft_msg *m)
{
    return !m->reject &&
           (m->type == RAFT_MSG_APPEND_REPLY || (m->type == RAFT_MSG_SNAPSHOT_REPLY && m->done));
}

static void note(struct sim_promise *p, const struct sim_event *e)
{
    const struct raft_msg *m = &e->msg->raft;
    raft_index index = 0;

    if (m->type == RAFT_MSG_APPEND) {
        index = e->durable;
    } else if (acknowledges(m)) {
        index = m->index;
    }
    if (m->term < p->term) {
        return;
    }
    if (m->term > p->term) {
        *p = (struct sim_promise){.store = e->from, .term = m->term};
    }
    p->index = index > p->index ? index : p->index;
    p->voted = p->voted || (m->type == RAFT_MSG_VOTE_REPLY && !m->reject);
}

void promises_hear(struct sim_host *h, const struct sim_event *e)
{
    const struct peer_hello *known = node_peer_hello(h->node, (raft_id)e->peer + 1);
    struct sim_promise *p = &h->told[e->peer];

    if (!known || !uuid_equal(&known->store, &e->from->id)) {
        /* Of another data directory than the one it is connected with: by no connection of today. */
        e->msg->process = e->process;
        return;
    }
    e->msg->process = 0; /* late or not: of that store it is true */
    if (e->msg->type != PEER_RAFT || !uuid_equal(&e->msg->raft.cluster, &h->view.cluster)) {
        return;
    }
    if (p->store != e->from) {
        *p = (struct sim_promise){.store = e->from};
    }
    if (says_its_term(&e->msg->raft)) {
        note(p, e);
    }
}

/* ---- Breaking them ---- */

/* Was `by` promised more than the copy holds? */
static bool holds_less(const struct sim_host *h, const struct sim_promise *p, raft_id by)
{
    const struct vdisk *d = &h->copy.disk;

    if (p->store != h->copy_of || d->term != p->term) {
        return p->store == h->copy_of && d->term < p->term;
    }
    return states_durable(&h->copy) < p->index || (p->voted && d->vote != by);
}

/* Can `by` say so, now? Both know each other as members, and nothing lies between them. */
static bool can_tell(const struct sim *s, const struct sim_host *by, const struct sim_host *h)
{
    return by != h && host_is_up(by) && by->paused_until <= s->now && members_has(&by->force, by) &&
           members_has(&by->force, h) && holds_less(h, &by->told[h->id - 1], by->id) &&
           !network_is_blocked(s, h->id - 1, by->id - 1) &&
           !network_is_blocked(s, by->id - 1, h->id - 1);
}

static struct sim_host *who_can_tell(struct sim *s, const struct sim_host *h)
{
    uint32_t start = (uint32_t)sim_range(s, 0, s->knobs.hosts);

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        struct sim_host *by = &s->hosts[(start + i) % s->knobs.hosts];
        if (can_tell(s, by, h)) {
            return by;
        }
    }
    return NULL;
}

/* Who of the two dials does not matter. */
static void meet(struct sim *s, const struct sim_host *h, const struct sim_host *by)
{
    bool dials = sim_chance(s, 500000);

    network_meet(s, (dials ? by : h)->id - 1, (dials ? h : by)->id - 1);
    if (host_is_up(h)) {
        sim_violation(
            s, h,
            "M9: goes on with term %llu vote %u and %llu entries; node %u was promised term "
            "%llu%s and %llu entries",
            (ull)h->copy.disk.term, h->copy.disk.vote, (ull)states_durable(h->store), by->id,
            (ull)by->told[h->id - 1].term, by->told[h->id - 1].voted ? ", its vote" : "",
            (ull)by->told[h->id - 1].index);
    }
}

bool promises_break(struct sim *s, struct sim_host *h)
{
    struct sim_store *store = h->store;
    const struct sim_host *by = h->copy_of == store ? who_can_tell(s, h) : NULL;

    if (!by || h->paused_until > s->now) {
        return false;
    }
    host_crash(s, h, "an older copy of its data directory is put in place");
    h->store = &h->copy;
    host_start(s, h);
    meet(s, h, by);
    h->store = store;
    drop_copy(h);
    s->stats.restored++;
    disk_wipe(s, h, false);
    return true;
}
