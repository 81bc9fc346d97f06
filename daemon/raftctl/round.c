#include "raftctl/round.h"

#include <inttypes.h>
#include <string.h>

#include "base/mono.h"
#include "raftctl/render.h"

enum { AGAIN_MIN_MS = 1000, AGAIN_MAX_MS = 30000 };

void round_init(struct round *r, const char *path)
{
    *r = (struct round){.path = path, .again = UINT64_MAX};
}

void round_done(struct round *r)
{
    json_decref(r->state);
    hook_list_done(&r->list);
    hook_list_done(&r->failed);
}

/* ---- What is said about a hook ---- */

static uint64_t wait_again_ms(const struct round *r)
{
    uint64_t ms = r->again_ms * 2;

    return ms < AGAIN_MIN_MS ? AGAIN_MIN_MS : ms < AGAIN_MAX_MS ? ms : AGAIN_MAX_MS;
}

/* The hook that runs, or would: "/etc/raftd/hooks.d/50-x (leader, term 7)". */
static void put_hook(const struct round *r, struct buf *out)
{
    const char *name = render_text(r->state, "state");

    buf_printf(out, "%s (%s, term %" PRIu64 ")", r->list.paths[r->at], name ? name : "-",
               render_number(r->state, "term", 0));
}

/* Prints and frees it. */
static void complain(const struct round *r, struct buf *what)
{
    if (!r->stops) {
        buf_put_str(what, "; again in ");
        render_duration(what, wait_again_ms(r));
    }
    ctl_warn("follow", "%s", buf_str(what));
    buf_done(what);
}

static void complain_end(const struct round *r, const struct hook_end *end)
{
    struct buf what = BUF_INIT;

    put_hook(r, &what);
    buf_put_str(&what, end->told_to_end ? " took too long, ended after " : " failed after ");
    render_duration(&what, end->took_ms);
    if (end->status < 0) {
        const char *name = sigabbrev_np(end->signal);
        buf_printf(&what, ": signal %d (%s)", end->signal, name ? name : "real-time");
    } else {
        buf_printf(&what, ": exit status %d", end->status);
    }
    complain(r, &what);
}

static int print_end(const struct round *r, const struct hook_end *end, struct ctl_error *e)
{
    struct buf line = BUF_INIT;
    json_t *status = end->status < 0 ? json_null() : json_integer(end->status);
    json_t *signal = end->signal ? json_integer(end->signal) : json_null();
    json_t *object =
        json_pack("{s:s, s:O?, s:O?, s:O?, s:O?, s:s, s:o, s:o, s:I}", "event", r->event, "state",
                  json_object_get(r->state, "state"), "is_leader",
                  json_object_get(r->state, "is_leader"), "term", json_object_get(r->state, "term"),
                  "fence", json_object_get(r->state, "fence"), "hook", r->list.paths[r->at], "exit",
                  status, "signal", signal, "took_ms", (json_int_t)end->took_ms);

    ctl_put_json(object, &line);
    json_decref(object);
    int code = ctl_write_line(&line, e);
    buf_done(&line);
    return code;
}

/* ---- Running them ---- */

/* A file that was added since counts, one that was removed does not: so each time anew. */
static void list_hooks(struct round *r)
{
    struct ctl_error e;

    r->at = 0;
    r->unlisted = hook_list_make(r->path, &r->list, &e) != 0;
    if (r->unlisted) {
        struct buf what = BUF_INIT;
        buf_put_str(&what, e.message);
        complain(r, &what);
    }
}

static void open_round(struct round *r)
{
    r->open = true;
    r->again = UINT64_MAX;
    list_hooks(r);
}

void round_begin(struct round *r, json_t *state)
{
    r->event = r->state ? "change" : "start";
    json_decref(r->state);
    r->state = json_incref(state);
    r->again_ms = 0;
    hook_list_done(&r->failed);
    open_round(r);
}

/* Only those that failed: the others have done what there was to do. */
static void begin_again(struct round *r)
{
    struct hook_list wanted = r->failed;
    struct hook_list all;

    r->failed = (struct hook_list){0};
    open_round(r);
    if (wanted.count) {
        all = r->list;
        r->list = (struct hook_list){0};
        for (uint32_t i = 0; i < all.count; i++) {
            if (hook_list_has(&wanted, all.paths[i])) {
                hook_list_add(&r->list, all.paths[i]);
            }
        }
        hook_list_done(&all);
    }
    hook_list_done(&wanted);
}

static void next(struct round *r, bool failed)
{
    if (failed) {
        hook_list_add(&r->failed, r->list.paths[r->at]);
    }
    r->at++;
}

static void start_next(struct round *r)
{
    while (!r->hook.runs && r->at < r->list.count) {
        int code = hook_start(&r->hook, r->list.paths[r->at], r->event, r->state, r->timeout_ms);
        if (code) {
            struct buf what = BUF_INIT;
            put_hook(r, &what);
            buf_printf(&what, " cannot be run: %s", err_text(code));
            complain(r, &what);
            next(r, true);
        }
    }
}

static void close_round(struct round *r)
{
    r->open = false;
    if (r->failed.count || r->unlisted) {
        r->again_ms = wait_again_ms(r);
        r->again = mono_now_ms() + r->again_ms;
    } else {
        r->again_ms = 0;
    }
}

int round_step(struct round *r, struct ctl_error *e)
{
    struct hook_end end;
    int code = 0;

    if (hook_step(&r->hook, &end)) {
        bool failed = end.status != 0 || end.told_to_end;
        if (failed) {
            complain_end(r, &end);
        }
        code = r->json ? print_end(r, &end, e) : 0;
        next(r, failed);
    }
    if (r->stops) {
        return code;
    }
    if (!r->open && mono_now_ms() >= r->again) {
        begin_again(r);
    }
    if (r->open) {
        start_next(r);
    }
    if (r->open && !r->hook.runs) {
        close_round(r);
    }
    return code;
}

void round_stop(struct round *r, uint64_t ms)
{
    r->stops = true;
    hook_limit(&r->hook, ms);
}

uint64_t round_deadline(const struct round *r)
{
    uint64_t due = hook_deadline(&r->hook);

    return r->open || r->stops || due < r->again ? due : r->again;
}
