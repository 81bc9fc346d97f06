#include "raftctl/holder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mono.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"
#include "raftctl/render.h"

enum {
    CONNECT_MS = 200, /* only for a backlog that is full; signals wait meanwhile */
    RELEASE_MS = 500, /* for the answer to `release` */
};

void holder_init(struct holder *h, struct ctl *ctl, const struct command *command,
                 uint64_t grace_ms)
{
    *h = (struct holder){.ctl = ctl, .command = command};
    lease_init(&h->lease, grace_ms);
}

static int send_command(struct holder *h, const char *name, uint64_t *id, struct ctl_error *e)
{
    struct admin_request req = {.timeout_ms = CTL_TIMEOUT_DEFAULT_MS};

    memcpy(req.command, name, strlen(name) + 1);
    int code = client_send(h->ctl->client, &req, ctl_deadline(CONNECT_MS), e);
    if (code == 0) {
        *id = req.id;
    }
    return code;
}

static int ask(struct holder *h, struct ctl_error *e)
{
    lease_asked(&h->lease, mono_now_ms());
    return send_command(h, "hold", &h->hold_id, e);
}

void holder_close(struct holder *h)
{
    client_close(h->ctl->client);
    h->ctl->client = NULL;
}

int holder_open(struct holder *h, struct ctl_error *e)
{
    lease_init(&h->lease, h->lease.grace_ms); /* what another connection was told is over */
    int code = client_open(h->ctl->socket, ctl_deadline(CONNECT_MS), &h->ctl->client, e);
    if (code == 0) { /* first of all: so what the stream tells is held, too */
        code = ask(h, e);
    }
    if (code == 0) {
        code = send_command(h, "watch", &h->watch_id, e);
    }
    if (code) {
        holder_close(h);
    }
    return code;
}

int holder_fd(const struct holder *h)
{
    return h->ctl->client ? client_fd(h->ctl->client) : -1;
}

uint64_t holder_due(const struct holder *h)
{
    return h->ctl->client ? lease_due(&h->lease) : UINT64_MAX;
}

/* ---- What raftd says ---- */

static json_t *parse(const struct admin_reply *reply)
{
    return reply->json ? json_loadb((const char *)reply->json->data, reply->json->size,
                                    JSON_ALLOW_NUL, NULL)
                       : NULL;
}

static void remember_where(struct holder *h, const json_t *change)
{
    struct buf words = BUF_INIT;

    render_where(change, &words);
    h->leader = (uint32_t)render_number(json_object_get(change, "leader"), "id", 0);
    (void)snprintf(h->where, sizeof h->where, "%s", buf_str(&words));
    buf_done(&words);
}

static int take_change(struct holder *h, const struct admin_reply *reply, struct ctl_error *e)
{
    json_t *change = parse(reply);

    if (change) {
        remember_where(h, change);
        if (h->lease.fence || json_is_true(json_object_get(change, "is_leader"))) {
            lease_wake(&h->lease);
        }
        json_decref(change);
    }
    if (!reply->more) {
        return ctl_fail(e, -RD_EDAEMON, "raftd at %s ended the stream: it is stopping",
                        h->ctl->socket);
    }
    return 0;
}

static void remember_loss(struct holder *h, const json_t *claim, const struct lease_answer *a)
{
    const char *reason = render_text(claim, "reason");

    if (a->is_leader) {
        (void)snprintf(h->where, sizeof h->where, "this node leads with fence %" PRIu64 " now",
                       a->fence);
    } else if (reason) {
        (void)snprintf(h->where, sizeof h->where, "this node: %s", reason);
    }
}

static void take_claim(struct holder *h, const struct admin_reply *reply, enum lease_verdict *out)
{
    json_t *claim = parse(reply);
    struct lease_answer a = {
        .is_leader = json_is_true(json_object_get(claim, "is_leader")),
        .fence = render_number(claim, "fence", 0),
        .remaining_ms = render_number(claim, "lease_remaining_ms", 0),
    };
    const char *cluster_id = render_text(claim, "cluster_id");

    h->term = render_number(claim, "term", 0);
    h->node = (uint32_t)render_number(claim, "node", 0);
    (void)snprintf(h->cluster_id, sizeof h->cluster_id, "%s", cluster_id ? cluster_id : "");
    *out = lease_answered(&h->lease, &a, mono_now_ms());
    if (*out == LEASE_LOST) {
        remember_loss(h, claim, &a);
    }
    json_decref(claim);
}

/* A raftd that stops renews nothing. The connection stays: what was held is released on it. */
static enum lease_verdict refused(struct holder *h, const struct admin_reply *reply)
{
    struct ctl_error why;

    (void)command_refused(h->command, reply, &why);
    (void)snprintf(h->where, sizeof h->where, "%.*s", (int)sizeof h->where - 1, why.message);
    h->lease.open = false;
    lease_lose(&h->lease);
    return LEASE_LOST;
}

static int take_reply(struct holder *h, const struct admin_reply *reply, enum lease_verdict *out,
                      struct ctl_error *e)
{
    if (reply->code && reply->id == h->hold_id && h->lease.fence) {
        *out = refused(h, reply);
        return 0;
    }
    if (reply->code) {
        return command_refused(h->command, reply, e);
    }
    if (reply->id == h->watch_id) {
        return take_change(h, reply, e);
    }
    if (reply->id == h->hold_id && h->lease.open) {
        take_claim(h, reply, out);
    }
    return 0;
}

/* The next reply by the deadline. 0, -RD_ETIMEOUT, or why the connection is of no more use. */
static int take_next(struct holder *h, uint64_t deadline, enum lease_verdict *out,
                     struct ctl_error *e)
{
    struct admin_reply reply;
    int code = client_receive(h->ctl->client, deadline, &reply, e);

    if (code == 0) {
        code = take_reply(h, &reply, out, e);
        admin_reply_done(&reply);
    }
    return code;
}

int holder_turn(struct holder *h, enum lease_verdict *out, struct ctl_error *e)
{
    int code = 0;

    *out = LEASE_NONE;
    while (code == 0) {
        code = take_next(h, 0, out, e);
    }
    if (code == -RD_ETIMEOUT) {
        code = 0; /* that was all */
    }
    if (code == 0 && mono_now_ms() >= lease_due(&h->lease)) {
        code = ask(h, e);
    }
    return code;
}

/* ---- The end ---- */

void holder_release(struct holder *h)
{
    uint64_t lapsed = mono_earlier(h->lease.ends_at, ctl_deadline(CTL_TIMEOUT_DEFAULT_MS));
    enum lease_verdict verdict = LEASE_NONE;
    struct ctl_error ignored;
    uint64_t id = 0;
    int code = h->ctl->client && h->lease.fence ? 0 : -RD_EDAEMON;

    lease_lose(&h->lease);
    while (code == 0 && h->lease.open) {
        code = take_next(h, lapsed, &verdict, &ignored);
    }
    if (code == 0) {
        code = send_command(h, "release", &id, &ignored);
    }
    uint64_t deadline = ctl_deadline(RELEASE_MS);
    while (code == 0) {
        struct admin_reply reply;
        code = client_receive(h->ctl->client, deadline, &reply, &ignored);
        bool done = code == 0 && reply.id == id;
        if (code == 0) {
            admin_reply_done(&reply);
        }
        if (done) {
            break;
        }
    }
    holder_close(h);
}
