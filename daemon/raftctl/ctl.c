#include "raftctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mono.h"
#include "base/units.h"

/* What a message quotes (an argument, a file name) may be any bytes: keep terminals and JSON safe.
 */
static void make_printable(char *text)
{
    bool utf8 = units_is_utf8(text, strlen(text));

    for (char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8)) {
            *p = '?';
        }
    }
}

int ctl_fail(struct ctl_error *e, int code, const char *format, ...)
{
    va_list args;

    e->code = code;
    e->leader = 0;
    e->status = 0;
    va_start(args, format);
    (void)vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    make_printable(e->message);
    return code;
}

const char *ctl_code_name(int code)
{
    switch (-code) {
    case RD_EDAEMON:
        return err_name(-RD_EUNREACHABLE);
    case RD_EUSAGE:
        return err_name(-RD_EINVALID);
    case EACCES:
    case EPERM:
        return err_name(-RD_EPERMISSION);
    default:
        return err_name(code);
    }
}

static int put_piece(const char *piece, size_t size, void *out)
{
    buf_put(out, piece, size);
    return 0;
}

void ctl_put_json(const json_t *value, struct buf *out)
{
    (void)json_dump_callback(value, put_piece, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
}

void ctl_error_json(const struct ctl_error *e, struct buf *out)
{
    json_t *leader = e->leader ? json_integer(e->leader) : NULL;
    json_t *error = json_pack("{s:{s:s, s:s, s:o?}}", "error", "code", ctl_code_name(e->code),
                              "message", e->message, "leader", leader);

    ctl_put_json(error, out);
    json_decref(error);
}

static int exit_status(const struct ctl_error *e)
{
    return e->status ? e->status : err_exit_ctl(e->code);
}

int ctl_report(const struct ctl *ctl, const char *command, const struct ctl_error *e)
{
    if (ctl->json) {
        struct buf out = BUF_INIT;
        struct ctl_error ignored;
        ctl_error_json(e, &out);
        (void)ctl_write_line(&out, &ignored);
        buf_done(&out);
        return exit_status(e);
    }
    (void)fprintf(stderr, "raftctl: %s%s", command ? command : "", command ? ": " : "");
    /* A bad command line and a daemon that does not answer are clear without a code. */
    if (e->code != -RD_EUSAGE && e->code != -RD_EDAEMON) {
        (void)fprintf(stderr, "%s: ", ctl_code_name(e->code));
    }
    (void)fprintf(stderr, "%s", e->message);
    if (e->leader && e->code == -RD_ENOT_LEADER) {
        (void)fprintf(stderr, " (the leader is node %u)", e->leader);
    }
    (void)fputc('\n', stderr);
    return exit_status(e);
}

__attribute__((format(printf, 2, 0))) static void put_line(struct buf *text, const char *format,
                                                           va_list args)
{
    buf_vprintf(text, format, args);
    buf_put_u8(text, 0);
    make_printable((char *)text->data);
    (void)fprintf(stderr, "%s\n", (const char *)text->data);
    buf_done(text);
}

void ctl_note(const struct ctl *ctl, const char *format, ...)
{
    struct buf text = BUF_INIT;
    va_list args;

    if (ctl->quiet) {
        return;
    }
    va_start(args, format);
    put_line(&text, format, args);
    va_end(args);
}

void ctl_say(struct buf *words)
{
    (void)fwrite(words->data, 1, words->size, stderr);
    words->size = 0;
}

void ctl_warn(const char *command, const char *format, ...)
{
    struct buf text = BUF_INIT;
    va_list args;

    buf_printf(&text, "raftctl: %s: ", command);
    va_start(args, format);
    put_line(&text, format, args);
    va_end(args);
}

int ctl_write(const struct buf *out, struct ctl_error *e)
{
    size_t done = 0;

    while (done < out->size) {
        ssize_t n = write(STDOUT_FILENO, out->data + done, out->size - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int code = -errno;
            return ctl_fail(e, code, "cannot write the result to standard output: %s",
                            err_text(code));
        }
        done += (size_t)n;
    }
    return 0;
}

int ctl_write_line(struct buf *out, struct ctl_error *e)
{
    buf_put_u8(out, '\n');
    return ctl_write(out, e);
}

uint64_t ctl_deadline(uint64_t ms)
{
    return mono_now_ms() + ms;
}
