#include <string.h>

#include "base/err.h"
#include "base/jw.h"
#include "base/log.h"
#include "raftd/internal.h"

struct reload {
    const struct config *old, *fresh;
    bool certs_changed; /* the files of [tls], whatever their names */
    bool tls_switched;  /* on or off, which needs a restart: the others would refuse this node */
};

struct changes { /* the keys that differ, as SECTION.KEY */
    const struct reload *reload;
    struct jw *json;
    bool reloadable;  /* the ones to tell of */
    struct buf words; /* the same for the log */
};

static void put_key(struct changes *c, const char *section, const char *key)
{
    struct buf name = BUF_INIT;

    buf_printf(&name, "%s.%s", section, key);
    jw_str(c->json, NULL, buf_str(&name));
    buf_printf(&c->words, "%s%s", c->words.size ? "," : "", buf_str(&name));
    buf_done(&name);
}

static void change_cb(void *arg, const struct config_option_info *info)
{
    struct changes *c = arg;
    bool is_tls = strcmp(info->section, "tls") == 0;

    if ((info->reloadable && !(is_tls && c->reload->tls_switched)) == c->reloadable) {
        put_key(c, info->section, info->key);
    }
}

/* Other files under the same names. */
static bool only_files_changed(const struct reload *r)
{
    return r->certs_changed && strcmp(r->old->tls_cert, r->fresh->tls_cert) == 0 &&
           strcmp(r->old->tls_key, r->fresh->tls_key) == 0 &&
           strcmp(r->old->tls_ca, r->fresh->tls_ca) == 0;
}

/* All keys of the table are compared, none can be forgotten. */
static void tell_changes(const struct reload *r, struct buf *said)
{
    struct jw json = jw_begin(said);
    struct changes taken = {.reload = r, .json = &json, .reloadable = true};
    struct changes left = {.reload = r, .json = &json, .reloadable = false};

    jw_object(&json, NULL);
    jw_array(&json, "changed");
    config_each_change(r->old, r->fresh, change_cb, &taken);
    if (only_files_changed(r)) {
        put_key(&taken, "tls", "cert");
    }
    jw_array_end(&json);
    jw_array(&json, "needs_restart");
    config_each_change(r->old, r->fresh, change_cb, &left);
    jw_array_end(&json);
    jw_object_end(&json);
    log_notice("raftd", "reloaded",
               LOG_STR("changed", taken.words.size ? buf_str(&taken.words) : "nothing"),
               LOG_STR("tls", r->certs_changed ? "changed" : "unchanged"));
    if (left.words.size) {
        log_warning("raftd", "some changes in the file need a restart",
                    LOG_STR("keys", buf_str(&left.words)));
    }
    buf_done(&taken.words);
    buf_done(&left.words);
}

/* Where it is kept other than in s->config. */
static void take(struct server *s, struct config *fresh, bool tls_switched)
{
    if (tls_switched) {
        memcpy(fresh->tls_cert, s->config->tls_cert, sizeof fresh->tls_cert);
        memcpy(fresh->tls_key, s->config->tls_key, sizeof fresh->tls_key);
        memcpy(fresh->tls_ca, s->config->tls_ca, sizeof fresh->tls_ca);
    }
    s->uri_changed = s->uri_changed || strcmp(s->config->uri, fresh->uri) != 0;
    config_take_reloadable(fresh, s->config);
    log_set_level(fresh->log_level);
    store_set_stall_timeout(s->store, fresh->stall_timeout_ms);
}

static void reload(struct server *s, struct config *fresh, struct tls_context *certs,
                   struct buf *said)
{
    struct reload r = {.old = s->config,
                       .fresh = fresh,
                       .tls_switched = (s->certs != NULL) != (fresh->tls_cert[0] != 0)};

    r.certs_changed = server_certs_take(s, certs);
    tell_changes(&r, said);
    take(s, fresh, r.tls_switched);
}

int server_reload(struct server *s, struct buf *said)
{
    struct config *fresh = mem_zalloc(sizeof *fresh);
    struct tls_context *certs = NULL;
    int code =
        config_load(s->source->path, s->source->overrides, s->source->overrides_count, fresh, said);

    code = code ? code : server_certs_reload(s, fresh, said, &certs);
    if (code) {
        said->size -= said->size > 0 && said->data[said->size - 1] == '\n';
        log_error("raftd", "reload refused, the configuration in force stays",
                  LOG_STR("why", buf_str(said)));
    } else {
        reload(s, fresh, certs, said);
    }
    mem_free(fresh);
    return code;
}
