/* Data directories: a host has one at a time, may lose it, and may get an older one back. */
#include "sim.h"

#include "base/check.h"

struct sim_store *disk_new(struct sim_host *h)
{
    struct sim_store *store = &h->stores[h->stores_count++];

    rd_assert(h->stores_count <= SIM_STORES_MAX);
    store->id.bytes[0] = (uint8_t)h->id;
    store->id.bytes[1] = (uint8_t)h->stores_count;
    store->id.bytes[15] = 0x5a;
    store->votes = mem_zalloc(SIM_TERMS_MAX * sizeof *store->votes);
    return store;
}

void disks_done(struct sim_host *h)
{
    for (uint32_t i = 0; i < h->stores_count; i++) {
        vdisk_done(&h->stores[i].disk);
        states_done(&h->stores[i].rows);
        mem_free(h->stores[i].votes);
    }
    promises_done(h);
}

/* Would enough voters be left of this membership, without what `h` stores, and when each request
 * that is under way takes one more away? */
static bool can_go_from(struct sim *s, const struct sim_members *m, const struct sim_host *h)
{
    uint32_t voters = m->voters, dead = 0, shrinks = operator_shrinks(s);

    if (m->of[h->id - 1].role == 0 || m->of[h->id - 1].store != h->store) {
        return true;
    }
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        dead += m->of[i].role != 0 && (m->of[i].store->gone || i == h->id - 1);
    }
    return voters >= shrinks + 2 * dead + 1;
}

bool disk_can_go(struct sim *s, const struct sim_host *h)
{
    const struct sim_members *now = members_now(s);

    if (!now || h->stores_count == SIM_STORES_MAX || !can_go_from(s, now, h)) {
        return false;
    }
    for (uint32_t i = 0; i < s->proposed_count; i++) {
        const struct sim_members *m = &s->proposed[i];
        if (m->index > now->index && !can_go_from(s, m, h)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        if (host_is_up(&s->hosts[i]) && s->hosts[i].force.index > now->index &&
            !can_go_from(s, &s->hosts[i].force, h)) {
            return false;
        }
    }
    return true;
}

/* A founding list beside an empty directory founds a second cluster, unless another founder of that
 * list can tell that there is one. */
static bool may_stay_listed(const struct sim *s, const struct sim_host *h)
{
    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        const struct sim_host *other = &s->hosts[i];
        if (other != h && other->founder_listed && !vdisk_is_pristine(&other->store->disk)) {
            return h->founder_listed;
        }
    }
    return false;
}

void disk_use(struct sim *s, struct sim_host *h, struct sim_store *store)
{
    h->restart_in = host_is_up(h) ? sim_range(s, 1000, sim_timeouts(s, 2)) : 0;
    host_crash(s, h, "its data directory is replaced");
    h->store = store;
    if (vdisk_is_pristine(&store->disk)) {
        h->founder_listed = may_stay_listed(s, h);
        h->bootstraps = false;
    }
    h->recovered = false;
    sim_trace(s, h, "has store %u, entries up to %llu", store->id.bytes[1],
              (unsigned long long)vdisk_last(&store->disk));
}

void disk_wipe(struct sim *s, struct sim_host *h, bool keep)
{
    h->store->gone = !keep;
    s->stats.wipes++;
    disk_use(s, h, disk_new(h));
}

bool disk_swap(struct sim *s, struct sim_host *h)
{
    for (uint32_t i = 0; i < h->stores_count; i++) {
        struct sim_store *store = &h->stores[i];
        if (store != h->store && !store->gone) {
            disk_use(s, h, store);
            return true;
        }
    }
    return false;
}
