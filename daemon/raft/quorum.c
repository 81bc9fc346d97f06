/* What a majority has reached: commit index, lease, contact and read rounds are all this question.
 */
#include "raft/internal.h"

uint64_t quorum_of(uint64_t *values, uint32_t count, uint32_t quorum)
{
    rd_assert(quorum > 0 && quorum <= count);
    for (uint32_t i = 1; i < count; i++) { /* descending insertion sort: at most 9 voters */
        uint64_t v = values[i];
        uint32_t at = i;
        while (at > 0 && values[at - 1] < v) {
            values[at] = values[at - 1];
            at--;
        }
        values[at] = v;
    }
    return values[quorum - 1];
}

uint64_t quorum_reached(const struct raft *r, quorum_value_cb *value, mono_ms now)
{
    const struct raft_membership *m = raft_in_force(r);
    uint64_t values[RAFT_MEMBERS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        if (m->members[i].role == RAFT_VOTER) {
            values[count++] = value(r, m->members[i].id, now);
        }
    }
    return count ? quorum_of(values, count, membership_quorum(m)) : 0;
}
