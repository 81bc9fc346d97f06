/* The directory is read by a child: what a damaged file does to LMDB (a signal, an assertion) ends the
 * child and becomes an answer here. What the store logs about it is the reason shown. */
#include "raftctl/check.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/store.h"

struct outcome { /* what the child sends */
    int code;
    struct store_check check;
};

static int read_outcome(int fd, struct outcome *out)
{
    size_t done = 0;

    while (done < sizeof *out) {
        ssize_t n = read(fd, (uint8_t *)out + done, sizeof *out - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -RD_ECORRUPT; /* it died before it could say anything */
        }
        done += (size_t)n;
    }
    return 0;
}

static void child(const char *data_dir, int pipe_fd, int log_fd)
{
    struct outcome o;

    memset(&o, 0, sizeof o);
    if (dup2(log_fd, STDERR_FILENO) < 0) {
        _exit(1);
    }
    o.code = store_check(data_dir, &o.check);
    _exit(write(pipe_fd, &o, sizeof o) == (ssize_t)sizeof o ? 0 : 1);
}

/* The last line the store logged, without time and level; or how the child ended. */
static void read_reason(int log_fd, int status, struct buf *out)
{
    char text[4096];
    ssize_t size = pread(log_fd, text, sizeof text - 1, 0);

    text[size > 0 ? size : 0] = 0;
    char *line = strstr(text, "store: ");
    if (line) {
        line += strlen("store: ");
        line[strcspn(line, "\n")] = 0;
        buf_put_str(out, line);
    } else if (WIFSIGNALED(status)) {
        buf_printf(out, "the files make no sense: reading them ended by signal %d",
                   WTERMSIG(status));
    } else {
        buf_printf(out, "reading the files ended with status %d", WEXITSTATUS(status));
    }
}

static int run_child(const char *data_dir, struct outcome *o, struct buf *reason)
{
    int fds[2];
    int log_fd = memfd_create("raftctl-check", MFD_CLOEXEC);

    if (log_fd < 0 || pipe(fds) != 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        child(data_dir, fds[1], log_fd);
    }
    int status = 0;
    (void)close(fds[1]);
    int code = read_outcome(fds[0], o);
    (void)close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (code == 0) {
        code = o->code;
    }
    if (code != 0) {
        read_reason(log_fd, status, reason);
    }
    (void)close(log_fd);
    return code;
}

static json_t *uuid_json(const struct uuid *u)
{
    char text[UUID_TEXT_SIZE];

    uuid_text(u, text);
    return uuid_is_set(u) ? json_string(text) : json_null();
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static void put_json(const struct store_check *c, struct buf *out)
{
    char chain[17];

    (void)snprintf(chain, sizeof chain, "%016" PRIx64, c->last_chain);
    json_t *all = json_pack(
        "{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "ok", 1, "node_id",
        number(c->id), "store_id", uuid_json(&c->store), "cluster_id", uuid_json(&c->cluster),
        "incarnation", number(c->incarnation), "term", number(c->term), "vote", number(c->vote),
        "first_index", number(c->first), "last_index", number(c->last), "last_term",
        number(c->last_term), "last_chain", chain, "entries_bytes", number(c->entries_bytes));
    ctl_put_json(all, out);
    json_decref(all);
}

static void put_text(const struct store_check *c, struct buf *out)
{
    char store[UUID_TEXT_SIZE];
    char cluster[UUID_TEXT_SIZE];

    uuid_text(&c->store, store);
    uuid_text(&c->cluster, cluster);
    buf_printf(out, "sound\nnode      %" PRIu32 ", store %s, %" PRIu64 " starts\ncluster   %s\n",
               c->id, store, c->incarnation, uuid_is_set(&c->cluster) ? cluster : "none yet");
    buf_printf(out, "promises  term %" PRIu64 ", vote for %" PRIu32 "\n", c->term, c->vote);
    if (c->last == 0) {
        buf_put_str(out, "log       empty");
        return;
    }
    buf_printf(out,
               "log       %" PRIu64 "..%" PRIu64 ", last of term %" PRIu64 ", %" PRIu64
               " bytes, chain %016" PRIx64,
               c->first, c->last, c->last_term, c->entries_bytes, c->last_chain);
}

static int report_damage(const struct ctl *ctl, struct buf *reason, struct ctl_error *e)
{
    struct buf out = BUF_INIT;

    if (ctl->json) {
        json_t *answer = json_pack("{s:b, s:s}", "ok", 0, "problem", buf_str(reason));
        ctl_put_json(answer, &out);
        json_decref(answer);
    } else {
        buf_printf(&out, "not sound: %s", buf_str(reason));
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code ? code : 1;
}

int check_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct buf reason = BUF_INIT;
    struct buf out = BUF_INIT;
    struct outcome o;

    memset(&o, 0, sizeof o);
    int code = run_child(inv->text[OPT_DATA_DIR], &o, &reason);
    if (code == 0) {
        (ctl->json ? put_json : put_text)(&o.check, &out);
        code = ctl_write_line(&out, e);
    } else if (code == -RD_ECORRUPT) {
        code = report_damage(ctl, &reason, e);
    } else {
        code = ctl_fail(e, -RD_EINVALID, "%s", buf_str(&reason));
    }
    buf_done(&out);
    buf_done(&reason);
    return code;
}
