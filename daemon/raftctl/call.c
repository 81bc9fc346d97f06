/* One request and its answer: what a plain command is. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"

static void drop_client(struct ctl *ctl)
{
    client_close(ctl->client);
    ctl->client = NULL;
}

/* The request was handed over whole and no answer came. */
static int answer_missing(struct ctl *ctl, const struct command *command, int code,
                          struct ctl_error *e)
{
    if (code == -RD_EDAEMON) {
        drop_client(ctl);
    }
    if (command->unanswered) {
        struct ctl_error cause = *e;
        return ctl_fail(e, -RD_EUNKNOWN_OUTCOME, "%s. %s", cause.message, command->unanswered);
    }
    return code;
}

int command_refused(const struct command *command, const struct admin_reply *reply,
                    struct ctl_error *e)
{
    const struct blob *m = reply->message;

    if (m && m->size) {
        (void)ctl_fail(e, reply->code, "%.*s", (int)m->size, (const char *)m->data);
    } else {
        (void)ctl_fail(e, reply->code, "%s%s", err_text(reply->code),
                       reply->code == -RD_EPERMISSION && command->needs == NEEDS_OPERATOR
                           ? ": needs root, raftd's own user or the group in [admin] group"
                           : "");
    }
    e->leader = reply->leader;
    return reply->code;
}

static int unreadable(const struct ctl *ctl, struct ctl_error *e)
{
    return ctl_fail(e, -RD_EDAEMON,
                    "raftd at %s answered with what is no JSON: is it of the same version?",
                    ctl->socket);
}

/* The reply to the one request that is open. */
static int take_reply(struct ctl *ctl, const struct command *command,
                      const struct admin_reply *reply, struct buf *out, struct ctl_error *e)
{
    if (client_is_refusal(reply)) {
        /* About the connection, which ends with it: the request was not looked at. */
        drop_client(ctl);
    }
    if (reply->code) {
        return command_refused(command, reply, e);
    }
    if (reply->more) {
        drop_client(ctl);
        return ctl_fail(e, -RD_EDAEMON,
                        "raftd at %s answered %s with the first of several replies: is it of the "
                        "same version?",
                        ctl->socket, command->name);
    }
    if (reply->json) {
        buf_put(out, reply->json->data, reply->json->size);
    }
    return 0;
}

/* ---- Waiting ---- */

struct waiting {
    struct ctl *ctl;
    const struct command *command;
    uint64_t id, deadline;
    struct progress progress;
    struct buf words; /* of the progress, for stderr */
};

enum progress_style command_style(const struct ctl *ctl, const struct command *command)
{
    if (ctl->quiet || ctl->batch) {
        return PROGRESS_SILENT;
    }
    if (isatty(STDERR_FILENO)) {
        return PROGRESS_TERMINAL;
    }
    return command->progress ? PROGRESS_LINES : PROGRESS_SILENT;
}

/* The next reply, while the progress is told when it is time to. */
static int receive(struct waiting *w, struct admin_reply *out, struct ctl_error *e)
{
    for (;;) {
        uint64_t due = progress_due(&w->progress);
        int code = client_receive(w->ctl->client, due < w->deadline ? due : w->deadline, out, e);
        uint64_t now = mono_now_ms();
        if (code != -RD_ETIMEOUT || now >= w->deadline) {
            return code;
        }
        progress_tick(&w->progress, now, &w->words);
        ctl_say(&w->words);
    }
}

/* Wait for the last reply to one request. */
static int await_reply(struct waiting *w, struct buf *out, struct ctl_error *e)
{
    for (;;) {
        struct admin_reply reply;
        int code = receive(w, &reply, e);
        if (code) {
            return answer_missing(w->ctl, w->command, code, e);
        }
        bool ours = reply.id == w->id || client_is_refusal(&reply);
        bool last = ours && !(w->command->progress && reply.more && reply.code == 0);
        if (last) {
            code = take_reply(w->ctl, w->command, &reply, out, e);
        } else if (ours) {
            const struct blob *json = reply.json;
            progress_take(&w->progress, json ? json->data : NULL, json ? json->size : 0,
                          mono_now_ms(), &w->words);
            ctl_say(&w->words);
        } /* else a late answer to a request given up */
        admin_reply_done(&reply);
        if (last) {
            return code;
        }
    }
}

/* Only what may be called in a signal handler. The signal then ends the process, as it would have. */
static void on_interrupt(int number)
{
    static const char words[] =
        "\nraftctl: interrupted: it may still happen; raftctl status shows what came of it\n";

    (void)!write(STDERR_FILENO, words, sizeof words - 1);
    (void)raise(number);
}

/* For as long as it is waited; who ignores interrupts goes on doing so. */
static void mind_interrupts(bool mind)
{
    const struct sigaction words = {.sa_handler = on_interrupt,
                                    .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    struct sigaction now;

    if (sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == (mind ? SIG_DFL : on_interrupt)) {
        (void)sigaction(SIGINT, mind ? &words : &usual, NULL);
    }
}

static int await(struct ctl *ctl, const struct command *command, uint64_t id, uint64_t deadline,
                 struct buf *out, struct ctl_error *e)
{
    struct waiting w = {.ctl = ctl, .command = command, .id = id, .deadline = deadline};
    enum progress_style style = command_style(ctl, command);

    mind_interrupts(command->progress && style != PROGRESS_SILENT);
    progress_begin(&w.progress, style, mono_now_ms());
    progress_await(&w.progress, "waiting for the answer (no leader yet?) ...");
    int code = await_reply(&w, out, e);
    mind_interrupts(false);
    progress_end(&w.progress, &w.words);
    ctl_say(&w.words);
    buf_done(&w.words);
    return code;
}

static int converse(struct ctl *ctl, const struct invocation *inv, uint64_t timeout_ms,
                    struct admin_request *req, struct buf *out, struct ctl_error *e)
{
    uint64_t deadline = ctl_deadline(timeout_ms + CTL_GRACE_MS);
    int code =
        ctl->client ? 0 : client_open(ctl->socket, ctl_deadline(timeout_ms), &ctl->client, e);

    if (code) {
        return code;
    }
    code = client_send(ctl->client, req, deadline, e);
    if (code) {
        /* Part of a frame may be on its way: the stream is of no more use. */
        drop_client(ctl);
        return code;
    }
    return await(ctl, inv->command, req->id, deadline, out, e);
}

static int judge(const struct ctl *ctl, const struct invocation *inv, const struct buf *answer,
                 int *status, struct ctl_error *e)
{
    json_t *json = json_loadb((const char *)answer->data, answer->size, JSON_ALLOW_NUL, NULL);

    if (!json) {
        return unreadable(ctl, e);
    }
    int code = inv->command->judge(json, e);
    json_decref(json);
    if (code >= 0) {
        *status = code;
        return 0;
    }
    return code;
}

int command_call(struct ctl *ctl, const struct invocation *inv, struct buf *out, int *status,
                 struct ctl_error *e)
{
    uint64_t timeout_ms = inv->set[OPT_TIMEOUT] ? inv->number[OPT_TIMEOUT] : ctl->timeout_ms;
    struct admin_request req = {.timeout_ms = (uint32_t)timeout_ms};
    struct buf answer = BUF_INIT;

    memcpy(req.command, inv->command->name, strlen(inv->command->name) + 1);
    int code = inv->command->fill ? inv->command->fill(ctl, inv, &req, e) : 0;
    if (code == 0) {
        code = converse(ctl, inv, timeout_ms, &req, &answer, e);
    }
    admin_request_done(&req);
    *status = 0;
    if (code == 0 && inv->command->judge) {
        code = judge(ctl, inv, &answer, status, e);
    }
    if (code == 0) {
        buf_put(out, answer.data, answer.size);
    }
    buf_done(&answer);
    return code;
}

static int print_text(const struct ctl *ctl, const struct invocation *inv, const struct buf *answer,
                      struct ctl_error *e)
{
    struct buf text = BUF_INIT;
    json_t *json = json_loadb((const char *)answer->data, answer->size, JSON_ALLOW_NUL, NULL);

    if (!json) {
        return unreadable(ctl, e);
    }
    inv->command->render(ctl, inv, json, &text);
    json_decref(json);
    int code = ctl_write(&text, e);
    buf_done(&text);
    return code;
}

int command_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct buf answer = BUF_INIT;
    int status = 0;

    if (inv->command->run) {
        return inv->command->run(ctl, inv, e);
    }
    int code = command_call(ctl, inv, &answer, &status, e);
    if (code == 0) {
        code = ctl->json ? ctl_write_line(&answer, e) : print_text(ctl, inv, &answer, e);
    }
    buf_done(&answer);
    return code ? code : status;
}
