#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/jw.h"
#include "base/mono.h"
#include "base/units.h"

static struct {
    enum log_level level;
    enum log_format format;
    bool journal;
} log_state = {.level = LOG_INFO};

static const struct {
    const char *name;
    int priority; /* syslog(3) */
} levels[] = {[LOG_ERROR] = {"error", 3},
              [LOG_WARNING] = {"warning", 4},
              [LOG_NOTICE] = {"notice", 5},
              [LOG_INFO] = {"info", 6},
              [LOG_DEBUG] = {"debug", 7}};

/* systemd says which device and inode its journal stream has (systemd.exec(5), JOURNAL_STREAM). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* NOLINT(concurrency-mt-unsafe): at start */
    unsigned long long device;
    unsigned long long inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(2, &st) == 0 &&
           st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode;
}

void log_init(enum log_level level, enum log_format format)
{
    log_state.level = level;
    log_state.format = format;
    log_state.journal = stderr_is_journal();
}

void log_set_level(enum log_level level)
{
    log_state.level = level;
}

enum log_level log_level_get(void)
{
    return log_state.level;
}

bool log_level_by_name(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return levels[level].name;
}

static void time_text(char *text, size_t size)
{
    uint64_t wall_ms = mono_wall_ms();
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char date[32];

    if (!gmtime_r(&seconds, &tm) || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        date[0] = 0;
    }
    (void)snprintf(text, size, "%s.%03uZ", date, (unsigned)(wall_ms % 1000));
}

/* Nothing in it that could end the value, the line, or talk to a terminal. */
static bool is_plain(const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '"' || *p == '\\' || *p == '=') {
            return false;
        }
    }
    return *text && units_is_utf8(text, strlen(text));
}

/* A value with spaces, quotes or control bytes is quoted, so that a line stays one line: names and
 * addresses in it may come from strangers. */
static void put_text_value(struct buf *out, const char *text)
{
    if (text && is_plain(text)) {
        buf_put_str(out, text);
        return;
    }
    struct jw j = jw_begin(out);
    jw_str(&j, NULL, text ? text : "");
}

static void put_field_text(struct buf *out, const struct log_field *f)
{
    buf_printf(out, " %s=", f->key);
    if (f->kind == LOG_KIND_U64) {
        buf_printf(out, "%" PRIu64, f->number);
    } else if (f->kind == LOG_KIND_I64) {
        buf_printf(out, "%" PRId64, (int64_t)f->number);
    } else {
        put_text_value(out, f->text);
    }
}

static void put_field_json(struct jw *j, const struct log_field *f)
{
    if (f->kind == LOG_KIND_U64) {
        jw_u64(j, f->key, f->number);
    } else if (f->kind == LOG_KIND_I64) {
        jw_i64(j, f->key, (int64_t)f->number);
    } else {
        jw_str(j, f->key, f->text ? f->text : "");
    }
}

static void format_json(struct buf *line, enum log_level level, const char *room,
                        const char *message, va_list args)
{
    struct jw j = jw_begin(line);
    char when[64];

    time_text(when, sizeof when);
    jw_object(&j, NULL);
    jw_str(&j, "time", when);
    jw_str(&j, "level", levels[level].name);
    jw_str(&j, "room", room);
    jw_str(&j, "message", message);
    for (struct log_field f = va_arg(args, struct log_field); f.kind != LOG_KIND_END;
         f = va_arg(args, struct log_field)) {
        put_field_json(&j, &f);
    }
    jw_object_end(&j);
}

static void format_text(struct buf *line, enum log_level level, const char *room,
                        const char *message, va_list args)
{
    char when[64];

    if (!log_state.journal) {
        time_text(when, sizeof when);
        buf_printf(line, "%s %-7s ", when, levels[level].name);
    }
    buf_printf(line, "%s: %s", room, message);
    for (struct log_field f = va_arg(args, struct log_field); f.kind != LOG_KIND_END;
         f = va_arg(args, struct log_field)) {
        put_field_text(line, &f);
    }
}

void log_write(enum log_level level, const char *room, const char *message, ...)
{
    struct buf line = BUF_INIT;
    va_list args;

    if (level > log_state.level) {
        return;
    }
    if (log_state.journal) {
        buf_printf(&line, "<%d>", levels[level].priority);
    }
    va_start(args, message);
    if (log_state.format == LOG_FORMAT_JSON) {
        format_json(&line, level, room, message, args);
    } else {
        format_text(&line, level, room, message, args);
    }
    va_end(args);
    buf_put_u8(&line, '\n');
    /* A log that cannot be written must not stop the daemon. */
    ssize_t ignored = write(STDERR_FILENO, line.data, line.size);
    (void)ignored;
    buf_done(&line);
}
