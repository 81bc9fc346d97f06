/* The certificates of [tls]: read at the start and at a reload, and watched as they grow old. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"

enum { CERTS_DAY_S = 24 * 60 * 60, CERTS_WARN_S = 14 * CERTS_DAY_S };

/* "FILE:LINE: tls.cert: ..." or "-o tls.cert=VALUE: ...", as all errors of the configuration. */
static void put_error(const struct config *files, const char *path, enum tls_file which,
                      const char *why, struct buf *errors)
{
    static const char *const keys[] = {[TLS_CERT] = "cert", [TLS_KEY] = "key", [TLS_CA] = "ca"};
    const char *const values[] = {files->tls_cert, files->tls_key, files->tls_ca};

    if (files->tls_lines[which]) {
        buf_printf(errors, "%s:%d: tls.%s: %s\n", path, files->tls_lines[which], keys[which], why);
    } else {
        buf_printf(errors, "-o tls.%s=%s: %s\n", keys[which], values[which], why);
    }
}

int server_certs_load(const struct config *files, const struct config *names, const char *path,
                      struct buf *errors, struct tls_context **out)
{
    const struct tls_files these = {.cert = files->tls_cert,
                                    .key = files->tls_key,
                                    .ca = files->tls_ca,
                                    .cluster = names->cluster_name,
                                    .id = names->node_id};
    enum tls_file which = TLS_CERT;
    struct buf why = BUF_INIT;

    *out = NULL;
    int code = files->tls_cert[0] ? tls_context_new(&these, out, &which, &why) : 0;
    if (code) {
        put_error(files, path, which, buf_str(&why), errors);
    }
    buf_done(&why);
    return code;
}

int server_certs_open(struct server *s)
{
    struct buf errors = BUF_INIT;
    int code = server_certs_load(s->config, s->config, s->source->path, &errors, &s->certs);

    if (code) { /* they were right when the configuration was checked */
        log_error("raftd", "cannot begin", LOG_STR("why", buf_str(&errors)));
    }
    buf_done(&errors);
    return code;
}

/* ---- Reload ---- */

/* A node may start with a certificate that peers refuse: it has no other. It never takes one in place
 * of one that works. */
static int check_times(const struct server *s, const struct tls_context *x,
                       const struct config *files, struct buf *errors)
{
    struct tls_times times = tls_context_times(x);
    int64_t now = (int64_t)(mono_wall_ms() / 1000);

    if (now >= times.cert_from && now < times.cert_until) {
        const char *why = tls_context_refused_now(x); /* what it is signed by may have expired */
        if (why) {
            put_error(files, s->source->path, TLS_CA, why, errors);
        }
        return why ? -RD_ECONFIG : 0;
    }
    put_error(files, s->source->path, TLS_CERT,
              now < times.cert_from ? "it is not valid yet" : "it has expired", errors);
    return -RD_ECONFIG;
}

int server_certs_reload(struct server *s, const struct config *fresh, struct buf *errors,
                        struct tls_context **out)
{
    *out = NULL;
    if (!s->certs || !fresh->tls_cert[0]) {
        return 0; /* on or off: that needs a restart */
    }
    int code = server_certs_load(fresh, s->config, s->source->path, errors, out);
    if (code == 0 && !tls_context_equals(*out, s->certs)) {
        code = check_times(s, *out, fresh, errors);
    }
    if (code) {
        tls_context_unref(*out);
        *out = NULL;
    }
    return code;
}

bool server_certs_take(struct server *s, struct tls_context *fresh)
{
    if (!fresh || tls_context_equals(fresh, s->certs)) {
        tls_context_unref(fresh);
        return false;
    }
    tls_context_unref(s->certs);
    s->certs = fresh;
    s->certs_warn_at = 0;
    net_set_tls(s->net, fresh);
    http_set_tls(s->http, fresh);
    return true;
}

/* ---- Growing old ---- */

static void date_text(int64_t seconds, char text[REPORT_DATE_SIZE])
{
    time_t t = (time_t)seconds;
    struct tm tm;

    (void)gmtime_r(&t, &tm);
    if (strftime(text, REPORT_DATE_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        text[0] = 0;
    }
}

void server_certs_view(const struct server *s, struct report_tls *out)
{
    *out = (struct report_tls){.is_on = s->certs != NULL, .https = s->config->http_https};
    if (s->certs) {
        struct tls_times times = tls_context_times(s->certs);
        int64_t now = (int64_t)(mono_wall_ms() / 1000);
        out->cert_until_s = times.cert_until;
        out->cert_left_s = times.cert_until - now;
        out->ca_until_s = times.ca_until;
        out->ca_left_s = times.ca_until - now;
        date_text(times.cert_until, out->cert_until);
        date_text(times.ca_until, out->ca_until);
    }
}

static void warn_of(const char *option, const char *which, const char *until, int64_t left_s)
{
    if (left_s >= CERTS_WARN_S) {
        return;
    }
    log_write(left_s > 0 ? LOG_WARNING : LOG_ERROR, "raftd",
              left_s > 0 ? "a certificate expires soon"
                         : "a certificate has expired: what rests on it is refused",
              LOG_STR("option", option), LOG_STR("which", which), LOG_STR("not_after", until),
              LOG_I64("days_left", left_s / CERTS_DAY_S),
              LOG_STR("do", "put another in its place, then: raftctl reload"), LOG_END);
}

void server_certs_turn(struct server *s)
{
    struct report_tls view;

    if (!s->certs || s->now < s->certs_warn_at) {
        return;
    }
    s->certs_warn_at = s->now + (mono_ms)CERTS_DAY_S * 1000;
    server_certs_view(s, &view);
    if (mono_wall_ms() / 1000 < (uint64_t)tls_context_times(s->certs).cert_from) {
        log_error("raftd", "the certificate is not valid yet: compare the clocks",
                  LOG_STR("option", "tls.cert"));
    }
    warn_of("tls.cert", "the certificate of this node", view.cert_until, view.cert_left_s);
    warn_of("tls.ca", "the authority that ends first", view.ca_until, view.ca_left_s);
}

mono_ms server_certs_due(const struct server *s)
{
    return s->certs ? s->certs_warn_at : UINT64_MAX;
}
