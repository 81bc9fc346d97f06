#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"

/* Configurations are compared as --dump-config prints them: all keys, none forgotten. */
static char *dump_text(const struct config *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out) {
        return NULL;
    }
    config_dump(c, out);
    if (fclose(out)) {
        mem_free(text);
        return NULL;
    }
    return text;
}

/* What may change at run time has been made equal: any difference left needs a restart. */
static bool needs_restart(const struct config *old, const struct config *fresh)
{
    char *old_text = dump_text(old);
    char *fresh_text = dump_text(fresh);
    bool differs = !old_text || !fresh_text || strcmp(old_text, fresh_text) != 0;

    mem_free(old_text);
    mem_free(fresh_text);
    return differs;
}

/* Nothing has changed. Takes `fresh`. */
static int refuse(struct config *fresh, struct buf *errors)
{
    errors->size -= errors->size > 0 && errors->data[errors->size - 1] == '\n';
    log_error("raftd", "reload refused, the configuration in force stays",
              LOG_STR("why", buf_str(errors)));
    mem_free(fresh);
    return -RD_ECONFIG;
}

/* What was taken over does not differ any more. TLS itself is not switched at run time: the others
 * would refuse this node. */
static void forget_what_is_taken(const struct server *s, struct config *fresh)
{
    fresh->log_level = s->config->log_level;
    memcpy(fresh->uri, s->config->uri, sizeof fresh->uri);
    if (s->certs && fresh->tls_cert[0]) {
        memcpy(fresh->tls_cert, s->config->tls_cert, sizeof fresh->tls_cert);
        memcpy(fresh->tls_key, s->config->tls_key, sizeof fresh->tls_key);
        memcpy(fresh->tls_ca, s->config->tls_ca, sizeof fresh->tls_ca);
    }
}

int server_reload(struct server *s, struct buf *errors)
{
    struct config *fresh = mem_zalloc(sizeof *fresh);
    struct tls_context *certs = NULL;

    if (config_load(s->source->path, s->source->overrides, s->source->overrides_count, fresh,
                    errors) ||
        server_certs_reload(s, fresh, errors, &certs)) {
        return refuse(fresh, errors);
    }
    log_set_level(fresh->log_level);
    if (strcmp(s->uri, fresh->uri) != 0) {
        (void)snprintf(s->uri, sizeof s->uri, "%s", fresh->uri);
        s->uri_changed = true;
    }
    bool certs_changed = server_certs_take(s, certs);
    log_notice("raftd", "reloaded", LOG_STR("log_level", log_level_name(fresh->log_level)),
               LOG_STR("uri", s->uri),
               LOG_STR("tls", !s->certs       ? "off"
                              : certs_changed ? "changed"
                                              : "unchanged"));
    forget_what_is_taken(s, fresh);
    if (needs_restart(s->config, fresh)) {
        log_warning("raftd", "only [node] uri, [log] level and the certificates of [tls] change at "
                             "run time: the other changes in the file need a restart");
    }
    mem_free(fresh);
    return 0;
}
