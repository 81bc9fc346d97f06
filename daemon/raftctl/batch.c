#include "raftctl/batch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "raftctl/client.h"
#include "raftctl/commands.h"
#include "raftctl/words.h"

enum {
    /* A 1 MiB value with every byte behind a backslash, and the rest of its command. */
    LINE_SIZE_MAX = 2 * CTL_VALUE_MAX + 64 * 1024,
    READ_SIZE = 64 * 1024,
};

/* ---- Lines ---- */

struct lines {
    struct buf in;
    size_t at;      /* where the next line begins in it */
    size_t scanned; /* no newline before here */
    bool ended;
    bool too_long; /* the line at hand: its rest is skipped */
};

struct line {
    const char *text; /* borrowed until the next one is asked for */
    size_t size;
    bool too_long;
};

static int lines_fill(struct lines *l, struct ctl_error *e)
{
    buf_drop(&l->in, l->at);
    l->scanned -= l->at;
    l->at = 0;
    if (l->in.size > LINE_SIZE_MAX) {
        l->too_long = true;
        l->in.size = l->scanned = 0;
    }
    for (;;) {
        buf_reserve(&l->in, READ_SIZE);
        ssize_t n = read(STDIN_FILENO, l->in.data + l->in.size, READ_SIZE);
        if (n > 0) {
            l->in.size += (size_t)n;
            return 0;
        }
        if (n == 0) {
            l->ended = true;
            return 0;
        }
        if (errno != EINTR) {
            return ctl_fail(e, -RD_EINVALID, "cannot read standard input: %s", err_text(-errno));
        }
    }
}

static struct line lines_take(struct lines *l, size_t end)
{
    struct line line = {(const char *)l->in.data + l->at, end - l->at,
                        l->too_long || end - l->at > LINE_SIZE_MAX};

    l->too_long = false;
    l->at = l->scanned = end < l->in.size ? end + 1 : end;
    return line;
}

/* 1: a line; 0: no more; negative: error. */
static int lines_next(struct lines *l, struct line *out, struct ctl_error *e)
{
    for (;;) {
        const uint8_t *newline =
            l->in.size > l->scanned ? memchr(l->in.data + l->scanned, '\n', l->in.size - l->scanned)
                                    : NULL;
        if (newline) {
            *out = lines_take(l, (size_t)(newline - l->in.data));
            return 1;
        }
        l->scanned = l->in.size;
        if (l->ended) {
            bool rest = l->in.size > l->at || l->too_long;
            if (rest) {
                *out = lines_take(l, l->in.size);
            }
            return rest ? 1 : 0;
        }
        int code = lines_fill(l, e);
        if (code) {
            return code;
        }
    }
}

/* ---- Commands ---- */

static int parse(const struct words *words, struct invocation *inv, struct ctl_error *e)
{
    int code = options_parse(words->count, words->word, inv, e);

    if (code) {
        return code;
    }
    if (inv->set[OPT_HELP] || inv->set[OPT_VERSION] || inv->set[OPT_SOCKET]) {
        return ctl_fail(e, -RD_EUSAGE, "--help, --version and --socket mean nothing in a batch");
    }
    if (!inv->command->in_batch) {
        return ctl_fail(e, -RD_EUSAGE, "%s cannot run in a batch", inv->command->name);
    }
    return 0;
}

/* The answer to one line, or the error that is its answer. *lost is set when raftd was. */
static int execute(struct ctl *ctl, const struct words *words, struct buf *out, bool *lost,
                   struct ctl_error *e)
{
    struct invocation inv;
    int status;
    int code = parse(words, &inv, e);

    if (code) {
        return code;
    }
    bool connected = ctl->client != NULL;
    code = command_call(ctl, &inv, out, &status, e);
    if (code == -RD_EDAEMON || (connected && !ctl->client)) {
        *lost = true;
    }
    return code;
}

static int answer_line(struct ctl *ctl, const struct line *line, bool *lost, struct ctl_error *e)
{
    struct words words = {0};
    struct ctl_error why = {0};
    struct buf out = BUF_INIT;
    const char *split_why = NULL;
    int code;

    if (line->too_long) {
        code = ctl_fail(&why, -RD_ETOO_LARGE, "the line is longer than the limit, %d bytes",
                        LINE_SIZE_MAX);
    } else if (words_split(line->text, line->size, &words, &split_why)) {
        code = ctl_fail(&why, -RD_EINVALID, "%s", split_why);
    } else if (words.count == 0) {
        words_done(&words); /* blank, or a comment */
        return 0;
    } else {
        code = execute(ctl, &words, &out, lost, &why);
    }
    if (code) {
        out.size = 0;
        ctl_error_json(&why, &out);
    }
    code = ctl_write_line(&out, e);
    buf_done(&out);
    words_done(&words);
    return code;
}

int batch_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct lines lines = {0};
    struct line line = {0};
    bool lost = false;

    (void)inv;
    ctl->batch = true;
    int code = client_open(ctl->socket, ctl_deadline(ctl->timeout_ms), &ctl->client, e);
    while (code == 0) {
        int found = lines_next(&lines, &line, e);
        if (found <= 0) {
            code = found;
            break;
        }
        code = answer_line(ctl, &line, &lost, e);
    }
    buf_done(&lines.in);
    return code ? code : lost ? err_exit_ctl(-RD_EDAEMON) : 0;
}
