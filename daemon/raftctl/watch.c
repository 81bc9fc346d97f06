#include "raftctl/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"
#include "raftctl/render.h"

enum { STATUS_EVERY_MS = 100 };

int watch_send(struct ctl *ctl, const char *name, uint64_t *id, struct ctl_error *e)
{
    struct admin_request req = {.timeout_ms = (uint32_t)ctl->timeout_ms};

    memcpy(req.command, name, strlen(name) + 1);
    int code = client_send(ctl->client, &req, ctl_deadline(ctl->timeout_ms), e);
    if (code == 0) {
        *id = req.id;
    }
    return code;
}

static int stream_open(struct ctl *ctl, uint64_t *id, struct ctl_error *e)
{
    int code = client_open(ctl->socket, ctl_deadline(ctl->timeout_ms), &ctl->client, e);

    return code ? code : watch_send(ctl, "watch", id, e);
}

json_t *watch_parse(const struct admin_reply *reply)
{
    return reply->json ? json_loadb((const char *)reply->json->data, reply->json->size,
                                    JSON_ALLOW_NUL, NULL)
                       : NULL;
}

/* ---- watch ---- */

static int print_change(const struct ctl *ctl, const struct admin_reply *reply, struct ctl_error *e)
{
    struct buf line = BUF_INIT;
    int code;

    if (ctl->json && reply->json) {
        buf_put(&line, reply->json->data, reply->json->size);
        code = ctl_write_line(&line, e);
    } else {
        json_t *change = watch_parse(reply);
        render_watch(change, &line);
        json_decref(change);
        code = ctl_write(&line, e);
    }
    buf_done(&line);
    return code;
}

int watch_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    uint64_t id = 0;
    uint64_t deadline = ctl_deadline(ctl->timeout_ms + CTL_GRACE_MS);
    int code = stream_open(ctl, &id, e);

    if (code == 0) {
        client_mind_reader(ctl->client, STDOUT_FILENO);
    }
    while (code == 0) {
        struct admin_reply reply;
        code = client_receive(ctl->client, deadline, &reply, e);
        if (code) {
            break;
        }
        if (reply.code) {
            code = command_refused(inv->command, &reply, e);
        } else if (reply.json) {
            code = print_change(ctl, &reply, e);
        }
        if (code == 0 && !reply.more) {
            code = ctl_fail(e, -RD_EDAEMON, "raftd at %s ended the stream: it is stopping",
                            ctl->socket);
        }
        admin_reply_done(&reply);
        deadline = UINT64_MAX; /* from here on silence means: no change */
    }
    if (code == -EPIPE) {
        (void)raise(SIGPIPE); /* as the next line would have done */
    }
    return code;
}

/* ---- wait ---- */

static bool is_voter(const json_t *change)
{
    static const char *const voting[] = {"follower", "candidate", "leader", "handing_over"};
    const char *role = render_text(change, "role");
    const char *state = render_text(change, "state");

    if (role) {
        return strcmp(role, "voter") == 0;
    }
    for (size_t i = 0; state && i < sizeof voting / sizeof voting[0]; i++) {
        if (strcmp(state, voting[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool leads(const json_t *change)
{
    const json_t *told = json_object_get(change, "is_leader");
    const char *state = render_text(change, "state");

    if (json_is_boolean(told)) {
        return json_is_true(told);
    }
    return state && strcmp(state, "leader") == 0 &&
           render_number(change, "lease_remaining_ms", 0) > 0;
}

bool wait_is_met(enum wait_for what, const json_t *change)
{
    switch (what) {
    case WAIT_HAS_LEADER:
        return json_is_object(json_object_get(change, "leader"));
    case WAIT_LEADER:
        return leads(change);
    case WAIT_VOTER:
        return is_voter(change);
    case WAIT_CAUGHT_UP:
        return false;
    }
    return false;
}

uint64_t wait_target(const json_t *status)
{
    const json_t *members = json_object_get(status, "members");
    uint64_t self = render_number(json_object_get(status, "node"), "id", 0);
    uint64_t target = render_number(status, "commit_index", 0);

    if (!json_is_object(json_object_get(status, "leader"))) {
        return 0;
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        uint64_t match = render_number(m, "match_index", 0);
        if (render_number(m, "id", 0) == self && match + render_number(m, "lag", 0) > target) {
            target = match + render_number(m, "lag", 0);
        }
    }
    return target;
}

struct wait {
    struct ctl *ctl;
    const struct command *command;
    enum wait_for what;
    uint64_t started, deadline; /* ms */
    uint64_t watch_id, status_id;
    bool status_open;
    uint64_t status_due; /* ms */
    uint64_t target;     /* index to have applied; 0: not known yet */
    char last[1024];     /* what this node said last, for people */
    uint32_t leader;     /* in it; 0: none */
    struct progress progress;
    struct buf words; /* of the progress, for stderr */
    bool met;
};

static void remember(struct wait *w, const json_t *answer)
{
    struct buf line = BUF_INIT;

    render_where(answer, &line);
    w->leader = (uint32_t)render_number(json_object_get(answer, "leader"), "id", 0);
    (void)snprintf(w->last, sizeof w->last, "%s", buf_str(&line));
    buf_done(&line);
}

static void take_status(struct wait *w, const json_t *status)
{
    w->status_open = false;
    w->status_due = mono_now_ms() + STATUS_EVERY_MS;
    if (w->target == 0) {
        w->target = wait_target(status);
    }
    w->met = w->target && render_number(status, "applied_index", 0) >= w->target;
    remember(w, status);
    if (w->target && !w->met) {
        size_t used = strlen(w->last);
        (void)snprintf(w->last + used, sizeof w->last - used, ", applied %" PRIu64 " of %" PRIu64,
                       render_number(status, "applied_index", 0), w->target);
    }
}

static int take_reply(struct wait *w, const struct admin_reply *reply, struct ctl_error *e)
{
    if (reply->code) {
        return command_refused(w->command, reply, e);
    }
    json_t *answer = watch_parse(reply);
    if (w->status_open && reply->id == w->status_id) {
        take_status(w, answer);
    } else if (w->what != WAIT_CAUGHT_UP) {
        w->met = wait_is_met(w->what, answer);
        remember(w, answer);
    }
    json_decref(answer);
    if (!w->met && reply->id == w->watch_id && !reply->more) {
        return ctl_fail(e, -RD_EDAEMON, "raftd at %s ended the stream: it is stopping",
                        w->ctl->socket);
    }
    return 0;
}

/* One reply, or one status asked for. */
static int wait_step(struct wait *w, struct ctl_error *e)
{
    bool asks = w->what == WAIT_CAUGHT_UP && !w->status_open;
    uint64_t until = mono_earlier(w->deadline, progress_due(&w->progress));
    struct admin_reply reply;

    if (asks) {
        until = mono_earlier(until, w->status_due);
    }
    progress_tick(&w->progress, mono_now_ms(), &w->words);
    ctl_say(&w->words);
    if (asks && mono_now_ms() >= w->status_due) {
        w->status_open = true;
        return watch_send(w->ctl, "status", &w->status_id, e);
    }
    int code = client_receive(w->ctl->client, until, &reply, e);
    if (code == -RD_ETIMEOUT && mono_now_ms() < w->deadline) {
        return 0;
    }
    if (code == -RD_ETIMEOUT && w->last[0]) {
        (void)ctl_fail(e, code, "waited for %s for %" PRIu64 " ms: %s",
                       option_table[OPT_FOR].choices[w->what], mono_now_ms() - w->started, w->last);
        e->leader = w->leader;
        return code;
    }
    if (code == 0) {
        code = take_reply(w, &reply, e);
        admin_reply_done(&reply);
    }
    return code;
}

static int print_waited(const struct wait *w, struct ctl_error *e)
{
    struct buf out = BUF_INIT;
    uint64_t waited_ms = mono_now_ms() - w->started;

    if (w->ctl->json) {
        buf_printf(&out, "{\"waited_ms\":%" PRIu64 "}", waited_ms);
    } else {
        buf_printf(&out, "%s after %" PRIu64 " ms", option_table[OPT_FOR].choices[w->what],
                   waited_ms);
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code;
}

/* The sentence of where it stands may be longer than a line of the terminal, which is overwritten. */
static void progress_of_wait(struct wait *w)
{
    char words[80];

    (void)snprintf(words, sizeof words, "waiting for %s (raftctl status says how it stands) ...",
                   option_table[OPT_FOR].choices[w->what]);
    progress_begin(&w->progress, command_style(w->ctl, w->command), w->started);
    progress_await(&w->progress, words);
}

int wait_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct wait w = {.ctl = ctl,
                     .command = inv->command,
                     .what = (enum wait_for)inv->number[OPT_FOR],
                     .started = mono_now_ms(),
                     .deadline = ctl_deadline(ctl->timeout_ms)};
    int code = stream_open(ctl, &w.watch_id, e);

    progress_of_wait(&w);
    while (code == 0 && !w.met) {
        code = wait_step(&w, e);
    }
    progress_end(&w.progress, &w.words);
    ctl_say(&w.words);
    buf_done(&w.words);
    return code ? code : print_waited(&w, e);
}
