/* One request and its answer: what a plain command is. */
#include <string.h>

#include "base/mem.h"
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
    if (command->writes) {
        struct ctl_error cause = *e;
        return ctl_fail(e, -RD_EUNKNOWN_OUTCOME,
                        "%s. It may or may not have been applied: look before repeating it",
                        cause.message);
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

/* Several pages are one answer: the first one's object with all the keys and values. */
static int add_page(json_t **pages, const struct admin_reply *reply)
{
    json_t *page = reply->json ? json_loadb((const char *)reply->json->data, reply->json->size,
                                            JSON_ALLOW_NUL, NULL)
                               : NULL;

    if (!json_is_object(page)) {
        json_decref(page);
        return -RD_EPROTOCOL;
    }
    if (!*pages) {
        *pages = page;
        return 0;
    }
    (void)json_array_extend(json_object_get(*pages, "kvs"), json_object_get(page, "kvs"));
    json_decref(page);
    return 0;
}

static int unreadable(const struct ctl *ctl, struct ctl_error *e)
{
    return ctl_fail(e, -RD_EDAEMON,
                    "raftd at %s answered with what is no JSON: is it of the same version?",
                    ctl->socket);
}

/* Take the replies to one request. */
static int gather(struct ctl *ctl, const struct command *command, uint64_t id, uint64_t deadline,
                  struct buf *out, struct ctl_error *e)
{
    json_t *pages = NULL;
    int code;

    for (;;) {
        struct admin_reply reply;
        code = client_receive(ctl->client, deadline, &reply, e);
        if (code) {
            code = answer_missing(ctl, command, code, e);
            break;
        }
        bool ours = reply.id == id; /* else a late answer to a request given up */
        bool more = ours && reply.more;
        if (ours && reply.code) {
            code = command_refused(command, &reply, e);
        } else if (ours && (more || pages)) {
            code = add_page(&pages, &reply) ? unreadable(ctl, e) : 0;
        } else if (ours && reply.json) {
            buf_put(out, reply.json->data, reply.json->size);
        }
        admin_reply_done(&reply);
        if (ours && (code || !more)) {
            break;
        }
    }
    if (code == 0 && pages) {
        ctl_put_json(pages, out);
    }
    json_decref(pages);
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
    return gather(ctl, inv->command, req->id, deadline, out, e);
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
