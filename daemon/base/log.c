#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/jw.h"
#include "base/mono.h"
#include "base/units.h"

/* A pipe that is ready for writing takes so many bytes at once and without a wait (pipe(7)). What a
 * line needs besides its fields fits into the reserve. */
enum { LINE_MAX_SIZE = PIPE_BUF, LINE_RESERVE = 64 };

typedef ssize_t put_fn(const void *text, size_t size);
static put_fn put_waiting;

static struct {
    enum log_level level;
    enum log_format format;
    bool journal;
    put_fn *put;
    int own; /* stderr opened once more, -1: not */
} log_state = {.level = LOG_INFO, .put = put_waiting, .own = -1};

static struct {
    pthread_mutex_t mutex; /* between the look and the write no other thread fills the pipe */
    uint64_t dropped;      /* lines, since one got out */
    bool cut;              /* the last one got out in part */
} sink = {.mutex = PTHREAD_MUTEX_INITIALIZER};

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

/* ---- Ways out: bytes written, -1: none ---- */

static ssize_t put_waiting(const void *text, size_t size)
{
    return write(STDERR_FILENO, text, size);
}

static ssize_t put_own(const void *text, size_t size)
{
    return write(log_state.own, text, size);
}

static ssize_t put_socket(const void *text, size_t size)
{
    return send(STDERR_FILENO, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A pipe says so of a free page only: one that could still append to its last page is not ready. */
static ssize_t put_when_ready(const void *text, size_t size)
{
    return poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, 0) > 0
               ? write(STDERR_FILENO, text, size)
               : -1;
}

/* O_NONBLOCK belongs to the open file, which other programs share: it needs one of our own. Of a pipe
 * that another user made there is none. */
static int open_own(const struct stat *st)
{
    return S_ISFIFO(st->st_mode) || isatty(STDERR_FILENO)
               ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
               : -1;
}

static void find_way_out(void)
{
    struct stat st = {0};

    if (log_state.own >= 0) {
        (void)close(log_state.own);
    }
    (void)fstat(STDERR_FILENO, &st);
    log_state.own = open_own(&st);
    if (log_state.own >= 0) {
        log_state.put = put_own;
    } else {
        log_state.put = S_ISSOCK(st.st_mode) ? put_socket : put_when_ready;
    }
}

void log_init(enum log_level level, enum log_format format)
{
    log_state.level = level;
    log_state.format = format;
    log_state.journal = stderr_is_journal();
    find_way_out();
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

static bool is_too_long(const struct buf *line)
{
    return line->size > LINE_MAX_SIZE - LINE_RESERVE;
}

static void format_json(struct buf *line, enum log_level level, const char *room,
                        const char *message, va_list args)
{
    struct jw j = jw_begin(line);
    uint64_t left_out = 0;
    char when[64];

    time_text(when, sizeof when);
    jw_object(&j, NULL);
    jw_str(&j, "time", when);
    jw_str(&j, "level", levels[level].name);
    jw_str(&j, "room", room);
    jw_str(&j, "message", message);
    for (struct log_field f = va_arg(args, struct log_field); f.kind != LOG_KIND_END;
         f = va_arg(args, struct log_field)) {
        size_t before = line->size;
        put_field_json(&j, &f);
        if (is_too_long(line)) {
            line->size = before;
            left_out++;
        }
    }
    if (left_out) {
        jw_u64(&j, "left_out", left_out);
    }
    jw_object_end(&j);
}

static void format_text(struct buf *line, enum log_level level, const char *room,
                        const char *message, va_list args)
{
    uint64_t left_out = 0;
    char when[64];

    if (!log_state.journal) {
        time_text(when, sizeof when);
        buf_printf(line, "%s %-7s ", when, levels[level].name);
    }
    buf_printf(line, "%s: %s", room, message);
    for (struct log_field f = va_arg(args, struct log_field); f.kind != LOG_KIND_END;
         f = va_arg(args, struct log_field)) {
        size_t before = line->size;
        put_field_text(line, &f);
        if (is_too_long(line)) {
            line->size = before;
            left_out++;
        }
    }
    if (left_out) {
        put_field_text(line, &LOG_U64("left_out", left_out));
    }
}

static void format_line(struct buf *line, enum log_level level, const char *room,
                        const char *message, va_list args)
{
    if (log_state.journal) {
        buf_printf(line, "<%d>", levels[level].priority);
    }
    if (log_state.format == LOG_FORMAT_JSON) {
        format_json(line, level, room, message, args);
    } else {
        format_text(line, level, room, message, args);
    }
    buf_put_u8(line, '\n');
}

/* Under the mutex. */
static bool put_line(const struct buf *line)
{
    ssize_t n = log_state.put(line->data, line->size);

    if (n > 0) {
        sink.cut = (size_t)n < line->size;
    }
    return n == (ssize_t)line->size;
}

/* Under the mutex. The level is not asked: lines of any level are missing. */
static bool tell_dropped(const char *message, ...)
{
    struct buf line = BUF_INIT;
    va_list args;

    if (sink.cut) {
        buf_put_u8(&line, '\n');
    }
    va_start(args, message);
    format_line(&line, LOG_WARNING, "log", message, args);
    va_end(args);
    bool told = put_line(&line);
    buf_done(&line);
    return told;
}

void log_write(enum log_level level, const char *room, const char *message, ...)
{
    struct buf line = BUF_INIT;
    va_list args;

    if (level > log_state.level) {
        return;
    }
    va_start(args, message);
    format_line(&line, level, room, message, args);
    va_end(args);
    (void)pthread_mutex_lock(&sink.mutex);
    if (sink.dropped &&
        tell_dropped("lines are missing here: what stderr leads to did not take them",
                     LOG_U64("dropped", sink.dropped), LOG_END)) {
        sink.dropped = 0;
    }
    if (sink.dropped || !put_line(&line)) {
        sink.dropped++;
    }
    (void)pthread_mutex_unlock(&sink.mutex);
    buf_done(&line);
}

void log_last_words(const char *line, size_t size)
{
    (void)log_state.put(line, size);
}
