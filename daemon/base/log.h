/* log.h - one line per decision, with key=value fields, on stderr.
 *
 * The module that decides logs once. Text: "<time> <level> <room>: message key=value ...", with a
 * "<N>" priority prefix and no time when stderr is the journal; or one JSON object per line.
 * Threads: any (each line is one write). The pure rooms (raft, state, node) never log.
 *
 * After log_init() nothing waits for whoever reads the log: a line for which a pipe, a socket or a
 * terminal has no room is dropped, and how many were is told before the next one that gets out. Before
 * it, and in raftctl, a line waits until it is taken. A line has at most PIPE_BUF bytes, a field that
 * does not fit is left out, and `left_out` says how many.
 *
 *   log_notice("raft", "became leader", LOG_U64("term", term), LOG_STR("reason", why)); */
#ifndef RAFTD_BASE_LOG_H
#define RAFTD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum log_kind { LOG_KIND_END, LOG_KIND_U64, LOG_KIND_I64, LOG_KIND_STR };
struct log_field {
    enum log_kind kind;
    const char *key;
    uint64_t number;  /* U64, or I64 by cast */
    const char *text; /* borrowed; NULL prints as empty */
};

#define LOG_U64(k, v) ((struct log_field){LOG_KIND_U64, (k), (uint64_t)(v), 0})
#define LOG_I64(k, v) ((struct log_field){LOG_KIND_I64, (k), (uint64_t)(int64_t)(v), 0})
#define LOG_STR(k, v) ((struct log_field){LOG_KIND_STR, (k), 0, (v)})
#define LOG_ERR(code) LOG_STR("error", err_text(code)) /* wants base/err.h */
#define LOG_END ((struct log_field){LOG_KIND_END, 0, 0, 0})

/* Notices by itself what stderr is: the journal, a pipe ... */
void log_init(enum log_level level, enum log_format format);
void log_set_level(enum log_level level);
enum log_level log_level_get(void);
bool log_level_by_name(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);

/* room, message, any number of struct log_field, LOG_END. Use the macros. */
void log_write(enum log_level level, const char *room, const char *message, ...);

/* A whole line, as it is, of a process that ends now and must not wait for a reader either. At most
 * PIPE_BUF bytes. Async-signal-safe. */
void log_last_words(const char *line, size_t size);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__, LOG_END)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__, LOG_END)
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__, LOG_END)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__, LOG_END)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__, LOG_END)

#endif
