/* One id, two processes.
 *
 * A data directory that was copied to a second host runs twice under one id and one store. Who
 * counts is the process that answers at the member's address: that is where everybody sends.
 *
 * The incarnation counts the starts of a directory and is durable before the hello that shows it.
 * So two processes with the same number run from copies; a lower number is a copy, or what an
 * earlier process left in the network, and goes in either case; a higher one may be a copy, or a
 * restart that our link has not noticed yet. That is not guessed: the address is dialled again, and
 * who answers a dial that is later than the other's hello lives at the same time as the other. */
#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "net/internal.h"

static bool twin_differs(const struct peer_hello *a, const struct peer_hello *b)
{
    return a->process != 0 && b->process != 0 && a->process != b->process;
}

static int twin_say_copies(const struct link *l, const struct conn *dialler,
                           struct peer_refusal *refusal)
{
    (void)snprintf(refusal->why, sizeof refusal->why,
                   "node %" PRIu32 " runs twice from copies of one data directory: once at %s, and "
                   "as the one that dials from %s; stop one of them",
                   l->id, l->conn->peer, dialler->peer);
    refusal->code = -RD_EINVALID;
    return refusal->code;
}

static int twin_say_stores(const struct link *l, struct peer_refusal *refusal)
{
    (void)snprintf(refusal->why, sizeof refusal->why,
                   "node %" PRIu32 " is connected with another data directory: two nodes have this "
                   "id; give one of them another",
                   l->id);
    refusal->code = -RD_EINVALID;
    return refusal->code;
}

int twin_check(const struct link *l, const struct conn *dialler, const struct peer_hello *hello,
               struct peer_refusal *refusal)
{
    if (!l || l->state != LINK_UP) {
        return 0;
    }
    if (!uuid_equal(&l->hello->store, &hello->store)) {
        return twin_say_stores(l, refusal);
    }
    bool known = hello->incarnation <= l->hello->incarnation || hello->process == l->copy;
    return known && twin_differs(hello, l->hello) ? twin_say_copies(l, dialler, refusal) : 0;
}

/* A later process than the one on our link says hello. Did ours answer after it, so that both live
 * now? */
static bool twin_is_proven(const struct link *l, const struct inbound *in)
{
    return l->dialled > in->heard || in->hello->process == l->copy;
}

void twin_settle(struct link *l)
{
    struct inbound *in = inbound_find(l->net, l->id);
    struct peer_refusal refusal = {.code = 0};

    if (l->hello->process == l->copy) {
        l->copy = 0; /* the copy took the original's place */
    }
    if (!in) {
        return;
    }
    if (!uuid_equal(&l->hello->store, &in->hello->store)) {
        (void)twin_say_stores(l, &refusal);
        inbound_refuse(in, in->hello, &refusal);
        return;
    }
    if (!twin_differs(in->hello, l->hello)) {
        return;
    }
    if (in->hello->incarnation < l->hello->incarnation) {
        log_debug("net", "connection of an earlier process closed", LOG_U64("peer", l->id),
                  LOG_STR("address", in->conn->peer));
        inbound_close(in); /* if it is a copy that lives, it comes back and is told */
    } else if (in->hello->incarnation > l->hello->incarnation && !twin_is_proven(l, in)) {
        link_poke(l, in->hello->incarnation);
    } else {
        l->copy = in->hello->process;
        (void)twin_say_copies(l, in->conn, &refusal);
        inbound_refuse(in, in->hello, &refusal);
    }
}
