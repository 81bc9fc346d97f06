#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/membership.h"
#include "rig.h"

const struct uuid rig_cluster = {.bytes = {0xc1}};

static uint32_t no_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                        struct raft_entry *out)
{
    (void)arg, (void)first, (void)count_max, (void)bytes_max, (void)out;
    fail_msg("nothing has left memory");
    return 0;
}

struct raft *rig_core(raft_id id)
{
    struct raft_config config = {.id = id,
                                 .store = {.bytes = {(uint8_t)id}},
                                 .seed = id,
                                 .heartbeat_ms = 100,
                                 .election_timeout_ms = 500,
                                 .append_bytes_max = 1000,
                                 .append_entries_max = 10,
                                 .inflight_bytes_max = 4000,
                                 .inflight_msgs_max = 4,
                                 .cache_bytes_max = 1 << 20};

    return raft_new(&config, no_load, NULL);
}

void rig_done(struct rig *g)
{
    effects_done(&g->fx);
    raft_free(g->r);
}

void rig_step(struct rig *g, const struct raft_event *e)
{
    effects_clear(&g->fx);
    assert_int_equal(raft_step(g->r, g->now, e, &g->fx), 0);
}

void rig_save(struct rig *g)
{
    struct raft_save save;

    while (raft_save_take(g->r, UINT64_MAX, &save)) {
        struct raft_event e = {.type = RAFT_EV_PERSISTED, .persisted = {save.last, save.last_term}};
        raft_save_done(&save);
        rig_step(g, &e);
    }
}

void rig_hear(struct rig *g, struct raft_msg m)
{
    m.cluster = rig_cluster;
    m.to = 1;
    rig_step(g, &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &m});
}

struct raft_membership *rig_voters(uint32_t count)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);

    for (raft_id id = 1; id <= count; id++) {
        struct raft_member one = {.id = id,
                                  .role = RAFT_VOTER,
                                  .store = {.bytes = {(uint8_t)id}},
                                  .session = 1,
                                  .address = "h:1"};
        membership_insert(m, &one);
    }
    return m;
}

void rig_found(struct rig *g, uint32_t count)
{
    struct raft_membership *m = rig_voters(count);

    *g = (struct rig){.r = rig_core(1), .now = 1000};
    raft_start(g->r, g->now);
    rig_step(g, &(struct raft_event){.type = RAFT_EV_FOUND,
                                     .found = {.cluster = &rig_cluster, .membership = m}});
    mem_free(m);
}

void rig_lead_alone(struct rig *g)
{
    rig_found(g, 1);
    rig_save(g);
    rig_step(g, &(struct raft_event){.type = RAFT_EV_TICK});
    rig_save(g);
}

void rig_lead(struct rig *g)
{
    rig_found(g, 3);
    rig_save(g);
    g->now = raft_deadline(g->r);
    rig_step(g, &(struct raft_event){.type = RAFT_EV_TICK});
    uint64_t seq = g->fx.msgs[0].msg.seq; /* the questions are numbered upwards */
    rig_hear(g,
             (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY, .from = 2, .term = 2, .seq = seq});
    seq = g->fx.msgs[0].msg.seq;
    rig_save(g);
    rig_hear(g, (struct raft_msg){.type = RAFT_MSG_VOTE_REPLY, .from = 2, .term = 2, .seq = seq});
    seq = g->fx.msgs[0].msg.seq;
    rig_hear(g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY,
                                  .from = 2,
                                  .term = 2,
                                  .seq = seq,
                                  .stamp = g->now,
                                  .session = 1,
                                  .index = 2});
    rig_save(g);
    assert_int_equal(raft_claim_remaining(g->r, g->now), 400);
}
