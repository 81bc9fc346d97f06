#include "raftctl/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "raftctl/backup_file.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"

enum { CALM_MS = 2000, TELL_EVERY_MS = 500 };

struct taking {
    struct ctl *ctl;
    const struct command *command;
    struct backup_writer file;
    uint64_t request;
    uint64_t tell_at; /* how far it is; UINT64_MAX: nobody looks */
    bool told;
};

/* ---- How far it is ---- */

static void tell(struct taking *t)
{
    uint64_t now = mono_now_ms();

    if (now >= t->tell_at) {
        t->tell_at = now + TELL_EVERY_MS;
        t->told = true;
        (void)fprintf(stderr, "\r\033[Kbackup: %" PRIu64 " KiB ...", t->file.bytes / 1024);
    }
}

static void tell_end(const struct taking *t)
{
    if (t->told) {
        (void)fprintf(stderr, "\r\033[K");
    }
}

/* ---- Pieces ---- */

static int no_such_reply(const struct taking *t, struct ctl_error *e)
{
    return ctl_fail(
        e, -RD_EDAEMON,
        "raftd at %s answered with what is no part of a backup: is it of the same version?",
        t->ctl->socket);
}

/* 1: that was the last. */
static int take_reply(struct taking *t, const struct admin_reply *reply, struct ctl_error *e)
{
    if (client_is_refusal(reply) || (reply->id == t->request && reply->code)) {
        return command_refused(t->command, reply, e);
    }
    if (reply->id != t->request || !reply->json) {
        return no_such_reply(t, e);
    }
    if (!reply->more) {
        return 1;
    }
    return backup_add(&t->file, reply->json->data, reply->json->size, e);
}

/* While nothing comes, too, it is told how far it is. */
static int receive(struct taking *t, uint64_t deadline, struct admin_reply *reply,
                   struct ctl_error *e)
{
    for (;;) {
        uint64_t due = t->tell_at < deadline ? t->tell_at : deadline;
        int code = client_receive(t->ctl->client, due, reply, e);
        if (code != -RD_ETIMEOUT || mono_now_ms() >= deadline) {
            return code;
        }
        tell(t);
    }
}

/* The time-out is for each piece: how long all of it takes is nobody's to say. */
static int take_pieces(struct taking *t, uint64_t timeout_ms, struct ctl_error *e)
{
    int code = 0;

    while (code == 0) {
        struct admin_reply reply;
        code = receive(t, ctl_deadline(timeout_ms + CTL_GRACE_MS), &reply, e);
        if (code == 0) {
            code = take_reply(t, &reply, e);
            admin_reply_done(&reply);
            tell(t);
        }
    }
    return code < 0 ? code : 0;
}

static int ask(struct taking *t, struct ctl_error *e)
{
    uint64_t timeout_ms = t->ctl->timeout_ms;
    struct admin_request request = {.command = "backup", .timeout_ms = (uint32_t)timeout_ms};
    int code = client_open(t->ctl->socket, ctl_deadline(timeout_ms), &t->ctl->client, e);

    if (code == 0) {
        code = client_send(t->ctl->client, &request, ctl_deadline(timeout_ms), e);
        t->request = request.id;
    }
    return code ? code : take_pieces(t, timeout_ms, e);
}

/* ---- The command ---- */

static int print(const struct ctl *ctl, const char *path, const struct backup *b,
                 struct ctl_error *e)
{
    struct buf out = BUF_INIT;
    char cluster[UUID_TEXT_SIZE];

    uuid_text(&b->origin.cluster, cluster);
    if (ctl->json) {
        json_t *answer =
            json_pack("{s:I, s:I, s:I, s:I, s:s}", "index", (json_int_t)b->head.index, "revision",
                      (json_int_t)b->head.revision, "bytes", (json_int_t)b->bytes, "node_id",
                      (json_int_t)b->origin.node, "cluster_id", cluster);
        ctl_put_json(answer, &out);
        json_decref(answer);
    } else {
        buf_printf(&out,
                   "%s: %" PRIu64 " bytes, %" PRIu64 " key%s, as of entry %" PRIu64
                   ", revision %" PRIu64 ", of cluster %s",
                   path, b->bytes, state_keys(b->state), state_keys(b->state) == 1 ? "" : "s",
                   b->head.index, b->head.revision, cluster);
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code;
}

int backup_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    const char *path = inv->args[0];
    struct taking t = {.ctl = ctl, .command = inv->command, .tell_at = UINT64_MAX};
    struct backup backup;

    if (!path[0]) {
        return ctl_fail(e, -RD_EUSAGE, "the name of the FILE is empty");
    }
    if (strcmp(path, "-") == 0) {
        return ctl_fail(
            e, -RD_EUSAGE,
            "a backup is verified before it counts, so it cannot go to standard output: name "
            "a FILE");
    }
    int code = backup_create(&t.file, path, e);
    if (code) {
        return code;
    }
    if (!ctl->quiet && isatty(STDERR_FILENO)) {
        t.tell_at = mono_now_ms() + CALM_MS;
    }
    code = ask(&t, e);
    tell_end(&t);
    if (code == 0) {
        code = backup_commit(&t.file, &backup, e);
    }
    backup_close(&t.file);
    if (code == 0) {
        code = print(ctl, path, &backup, e);
        backup_done(&backup);
    }
    return code;
}
