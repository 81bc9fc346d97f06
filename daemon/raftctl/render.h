/* render.h - answers as text for people. Each appends to `out` what a command's JSON says; fields
 * that are missing are left out or shown as "-". Threads: any. */
#ifndef RAFTD_RAFTCTL_RENDER_H
#define RAFTD_RAFTCTL_RENDER_H

#include <jansson.h>

#include "base/buf.h"
#include "raftctl/ctl.h"
#include "raftctl/options.h"

typedef void render_fn(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                       struct buf *out);
render_fn render_status, render_members, render_leader, render_is_leader, render_bootstrap;
render_fn render_put, render_get, render_del, render_list, render_log_level;
render_fn render_reload;

/* One line of `watch`, with its newline. */
void render_watch(const json_t *answer, struct buf *out);

/* The same in words, for a sentence: "this node is follower in term 7, node 1 leads". */
void render_where(const json_t *answer, struct buf *out);

/* ---- Pieces ---- */

/* Text that may hold anything, safe for a terminal: control characters become '?'. */
void render_safe(struct buf *out, const char *text);

/* Any bytes on one line, reversibly: \n, \t, \\ and \xHH. */
void render_escaped(struct buf *out, const void *data, size_t size);

/* The bytes of `key`, or of `key`_base64. false (nothing appended): neither is there. */
bool render_bytes(const json_t *object, const char *key, struct buf *out);

/* "12ms", "3.4s", "2m05s", "3h12m", "4d03h"; bytes as "512 B", "1.5 MiB". */
void render_duration(struct buf *out, uint64_t ms);
void render_size(struct buf *out, uint64_t bytes);

/* The text of a field, NULL when there is none; its number, `absent` when there is none. */
const char *render_text(const json_t *object, const char *key);
uint64_t render_number(const json_t *object, const char *key, uint64_t absent);

/* A table: columns as wide as their widest cell, no trailing blanks. */
enum { TABLE_COLUMNS_MAX = 10 };
struct table {
    uint32_t columns;
    bool right[TABLE_COLUMNS_MAX]; /* aligned right: numbers */
    struct buf cells;              /* row by row, each ends with a NUL */
};
/* The next cell; made safe for a terminal. */
void table_cell(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Append the table to `out` and free it. */
void table_end(struct table *t, struct buf *out);

#endif
