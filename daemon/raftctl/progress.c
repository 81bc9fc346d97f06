#include "raftctl/progress.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "raftctl/render.h"

#define NONE UINT64_MAX

/* ---- Words ---- */

static void put_dialling(const json_t *progress, struct buf *out)
{
    uint64_t id = render_number(progress, "id", NONE);

    buf_put_str(out, "dialling");
    if (id != NONE) {
        buf_printf(out, " node %" PRIu64, id);
    }
}

static void put_committing(const json_t *progress, struct buf *out)
{
    (void)progress;
    buf_put_str(out, "waiting for a majority to store the change");
}

static void put_catching_up(const json_t *progress, struct buf *out)
{
    uint64_t percent = render_number(progress, "percent", NONE);
    uint64_t match = render_number(progress, "match_index", NONE);
    uint64_t last = render_number(progress, "last_index", NONE);

    buf_put_str(out, "catching up");
    if (percent != NONE) {
        buf_printf(out, " %" PRIu64 "%%", percent);
    }
    if (match != NONE && last != NONE) {
        buf_printf(out, " (%" PRIu64 " of %" PRIu64 ")", match, last);
    }
}

/* To whom is not told: of a leader that is removed, `id` is the leader itself. */
static void put_handing_over(const json_t *progress, struct buf *out)
{
    (void)progress;
    buf_put_str(out, "handing over");
}

static const struct {
    const char *name;
    void (*put)(const json_t *progress, struct buf *out);
} steps[] = {
    {"dialling", put_dialling},
    {"committing", put_committing},
    {"catching_up", put_catching_up},
    {"handing_over", put_handing_over},
};

/* A step this raftctl has no words for: its name, which is snake_case. On a terminal each
 * character has to take one column, or the line could not be overwritten. */
static void put_unknown(const char *step, struct buf *out)
{
    if (!step[0]) {
        buf_put_str(out, "the change is under way");
    }
    for (const char *c = step; *c; c++) {
        buf_put_u8(out, *c == '_' ? ' ' : isalnum((unsigned char)*c) ? (uint8_t)*c : '?');
    }
}

static void put_step(const char *step, const json_t *progress, struct buf *out)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (strcmp(steps[i].name, step) == 0) {
            steps[i].put(progress, out);
            return;
        }
    }
    put_unknown(step, out);
}

static void describe(struct progress *p, const void *json, size_t json_size)
{
    json_t *answer = json_loadb(json, json_size, JSON_ALLOW_NUL, NULL);
    const json_t *progress = json_object_get(answer, "progress");
    const char *step = render_text(progress, "step");

    (void)snprintf(p->step, sizeof p->step, "%s", step ? step : "");
    p->text.size = 0;
    put_step(p->step, progress, &p->text);
    buf_put_str(&p->text, " ...");
    json_decref(answer);
}

/* ---- When ---- */

void progress_begin(struct progress *p, enum progress_style style, uint64_t now)
{
    *p = (struct progress){.style = style, .began = now};
}

void progress_await(struct progress *p, const char *words)
{
    if (p->style == PROGRESS_TERMINAL) {
        buf_put_str(&p->text, words);
        p->waits = true;
    }
}

static bool is_told(const struct progress *p)
{
    return p->told.size == p->text.size && memcmp(p->told.data, p->text.data, p->text.size) == 0;
}

void progress_take(struct progress *p, const void *json, size_t json_size, uint64_t now,
                   struct buf *out)
{
    if (p->style == PROGRESS_SILENT) {
        return;
    }
    describe(p, json, json_size);
    p->heard = true;
    p->waits = !is_told(p);
    progress_tick(p, now, out);
}

uint64_t progress_due(const struct progress *p)
{
    uint64_t due = p->began + (p->heard ? PROGRESS_CALM_MS : PROGRESS_UNHEARD_MS);

    if (!p->waits) {
        return UINT64_MAX;
    }
    if (p->style == PROGRESS_LINES && p->told.size && strcmp(p->step, p->told_step) == 0 &&
        p->told_at + PROGRESS_EVERY_MS > due) {
        due = p->told_at + PROGRESS_EVERY_MS;
    }
    return due;
}

static void put_blanks(struct buf *out, size_t count)
{
    while (count--) {
        buf_put_u8(out, ' ');
    }
}

static void tell(struct progress *p, struct buf *out)
{
    size_t before = p->told.size, size = p->text.size;

    if (p->style == PROGRESS_TERMINAL) {
        buf_put_u8(out, '\r');
    }
    buf_put(out, p->text.data, size);
    if (p->style == PROGRESS_LINES) {
        buf_put_u8(out, '\n');
    } else if (before > size) {
        put_blanks(out, before - size);
    }
}

void progress_tick(struct progress *p, uint64_t now, struct buf *out)
{
    if (!p->waits || now < progress_due(p)) {
        return;
    }
    tell(p, out);
    p->waits = false;
    p->told_at = now;
    memcpy(p->told_step, p->step, sizeof p->told_step);
    p->told.size = 0;
    buf_put(&p->told, p->text.data, p->text.size);
}

void progress_end(struct progress *p, struct buf *out)
{
    if (p->style == PROGRESS_TERMINAL && p->told.size) {
        buf_put_u8(out, '\r');
        put_blanks(out, p->told.size);
        buf_put_u8(out, '\r');
    }
    buf_done(&p->text);
    buf_done(&p->told);
}
