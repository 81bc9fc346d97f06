#include "raftctl/bench.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "base/prng.h"
#include "raftctl/load.h"

enum {
    CONNECTIONS_DEFAULT_MAX = 8,
    KEY_CLIENTS = 64, /* clients that write the keys first and delete them last */
    SIZE_DEFAULT = 128,
    DURATION_DEFAULT_MS = 5000,
    KEPT_BYTES_MAX = 64 * 1024 * 1024, /* of all the keys of a run: well below raftd's quota */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

struct bench {
    struct ctl *ctl;
    enum load_op op;
    uint32_t clients, connections;
    size_t size;
    uint64_t duration_ms;
    bool keep;
    char prefix[40];
    struct load_stats *run; /* owned */
};

static uint64_t number_or(const struct invocation *inv, enum option_id id, uint64_t absent)
{
    return inv->set[id] ? inv->number[id] : absent;
}

static void bench_configure(struct bench *b, const struct invocation *inv, uint64_t seed)
{
    b->op = number_or(inv, OPT_OP, 0) == 0 ? LOAD_PUT : LOAD_GET;
    b->clients = (uint32_t)number_or(inv, OPT_CLIENTS, 1);
    uint32_t shared = b->clients < CONNECTIONS_DEFAULT_MAX ? b->clients : CONNECTIONS_DEFAULT_MAX;
    b->connections = (uint32_t)number_or(inv, OPT_CONNECTIONS, shared);
    if (b->connections > b->clients) {
        b->connections = b->clients;
    }
    b->size = (size_t)number_or(inv, OPT_SIZE, SIZE_DEFAULT);
    b->duration_ms = number_or(inv, OPT_DURATION, DURATION_DEFAULT_MS);
    b->keep = inv->set[OPT_KEEP];
    (void)snprintf(b->prefix, sizeof b->prefix, "bench/%08" PRIx32 "/", (uint32_t)seed);
}

static uint32_t keys_for(size_t value_size)
{
    size_t fit = value_size ? KEPT_BYTES_MAX / value_size : LOAD_KEYS_MAX;

    return fit < LOAD_KEYS_MAX ? (uint32_t)fit : LOAD_KEYS_MAX;
}

/* ---- What people see ---- */

struct progress {
    uint64_t ops_before;
};

static void show_progress(void *arg, const struct load_stats *stats, uint64_t elapsed_us)
{
    struct progress *p = arg;

    (void)fprintf(stderr,
                  "%4" PRIu64 "s  %8" PRIu64 " op/s  p99 %" PRIu64 " us  errors %" PRIu64 "\n",
                  elapsed_us / 1000000, stats->ops - p->ops_before,
                  histogram_at(&stats->latency_us, 990), stats->errors);
    p->ops_before = stats->ops;
}

static double ops_per_s(const struct load_stats *s)
{
    return s->elapsed_us ? (double)s->ops * 1e6 / (double)s->elapsed_us : 0;
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static void put_json(const struct bench *b, struct buf *out)
{
    const struct load_stats *s = b->run;
    double rate = (double)(uint64_t)(ops_per_s(s) * 10 + 0.5) / 10;
    json_t *by_code = json_pack("{}");
    json_t *all =
        json_pack("{s:o, s:o, s:f, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "ops",
                  number(s->ops), "errors", number(s->errors), "ops_per_s", rate, "p50_us",
                  number(histogram_at(&s->latency_us, 500)), "p99_us",
                  number(histogram_at(&s->latency_us, 990)), "max_us", number(s->latency_us.max),
                  "op", b->op == LOAD_PUT ? "put" : "get", "clients", number(b->clients),
                  "connections", number(b->connections), "size", number(b->size), "elapsed_ms",
                  number(s->elapsed_us / 1000), "errors_by_code", by_code);

    for (uint32_t i = 0; i < s->codes_count; i++) {
        (void)json_object_set_new(by_code, ctl_code_name(s->codes[i].code),
                                  number(s->codes[i].count));
    }
    ctl_put_json(all, out);
    json_decref(all);
}

static void put_text(const struct bench *b, struct buf *out)
{
    const struct load_stats *s = b->run;

    buf_printf(out,
               "%s %zu bytes, %" PRIu32 " client%s over %" PRIu32 " connection%s, %.1f s\n"
               "operations  %" PRIu64 ", %.1f per second\n",
               b->op == LOAD_PUT ? "put" : "get", b->size, b->clients, b->clients == 1 ? "" : "s",
               b->connections, b->connections == 1 ? "" : "s", (double)s->elapsed_us / 1e6, s->ops,
               ops_per_s(s));
    buf_printf(out, "latency     p50 %.3f ms, p99 %.3f ms, max %.3f ms\n",
               (double)histogram_at(&s->latency_us, 500) / 1000,
               (double)histogram_at(&s->latency_us, 990) / 1000, (double)s->latency_us.max / 1000);
    buf_printf(out, "errors      %" PRIu64, s->errors);
    for (uint32_t i = 0; i < s->codes_count; i++) {
        buf_printf(out, "%s%s %" PRIu64, i ? ", " : " (", ctl_code_name(s->codes[i].code),
                   s->codes[i].count);
    }
    buf_put_str(out, s->codes_count ? ")\n" : "\n");
}

static int report(const struct bench *b, struct ctl_error *e)
{
    struct buf out = BUF_INIT;
    int code;

    if (b->ctl->json) {
        put_json(b, &out);
        code = ctl_write_line(&out, e);
    } else {
        put_text(b, &out);
        code = ctl_write(&out, e);
    }
    buf_done(&out);
    return code;
}

/* ---- The run ---- */

/* Put, or delete, each key once. */
static int go_through(const struct bench *b, struct load *load, enum load_op op,
                      struct ctl_error *e)
{
    struct load_stats *s = mem_zalloc(sizeof *s);
    struct load_phase phase = {
        .op = op, .clients = KEY_CLIENTS, .only_touched = op == LOAD_DEL, .stop_at_error = true};
    int code = load_run(load, &phase, s, e);

    if (code == 0 && s->errors) {
        *e = s->first_error;
        code = e->code;
    }
    mem_free(s);
    if (code && op == LOAD_DEL) {
        ctl_note(b->ctl, "raftctl: bench: some keys under %s could not be deleted: %s", b->prefix,
                 e->message);
    }
    return code;
}

static int measure(const struct bench *b, struct load *load, struct ctl_error *e)
{
    struct progress progress = {0};
    struct load_phase phase = {
        .op = b->op,
        .clients = b->clients,
        .duration_ms = b->duration_ms,
        .stop = &interrupted,
        .progress = !b->ctl->quiet && isatty(STDERR_FILENO) ? show_progress : NULL,
        .progress_arg = &progress,
    };
    /* The first ^C ends the load, a second one raftctl. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    int code = load_run(load, &phase, b->run, e);
    if (code == 0 && b->run->ops == 0 && b->run->errors) {
        *e = b->run->first_error;
        code = e->code;
    }
    return code;
}

static int bench_all(const struct bench *b, struct load *load, struct ctl_error *e)
{
    struct ctl_error ignored;
    int code = b->op == LOAD_GET ? go_through(b, load, LOAD_PUT, e) : 0;

    if (code) {
        return code;
    }
    code = measure(b, load, e);
    bool usable = code != -RD_EDAEMON && code != -RD_ETIMEOUT && code != -RD_EPERMISSION;
    if (usable && !b->keep) {
        (void)go_through(b, load, LOAD_DEL, &ignored); /* the measurement stands without it */
    }
    return code ? code : report(b, e);
}

int bench_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct bench b = {.ctl = ctl};
    struct load *load = NULL;
    struct prng prng;

    prng_seed(&prng, mono_wall_ms() ^ (uint64_t)getpid() << 40);
    uint64_t seed = prng_next(&prng);
    bench_configure(&b, inv, seed);
    struct load_config config = {
        .socket = ctl->socket,
        .clients_max = b.clients > KEY_CLIENTS ? b.clients : KEY_CLIENTS,
        .connections = b.connections,
        .timeout_ms = ctl->timeout_ms,
        .seed = seed,
        .value_size = b.size,
        .keys = keys_for(b.size),
        .prefix = b.prefix,
    };
    int code = load_open(&config, &load, e);
    if (code) {
        return code;
    }
    b.run = mem_zalloc(sizeof *b.run);
    code = bench_all(&b, load, e);
    load_close(load);
    mem_free(b.run);
    return code;
}
