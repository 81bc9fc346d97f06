#include <string.h>

#include "base/err.h"
#include "base/jw.h"
#include "base/log.h"
#include "raftd/internal.h"

struct changes { /* the keys that differ, as SECTION.KEY */
    struct jw *json;
    bool reloadable;  /* the ones to tell of */
    struct buf words; /* the same for the log */
};

static void change_cb(void *arg, const struct config_option_info *info)
{
    struct changes *c = arg;
    struct buf key = BUF_INIT;

    if (info->reloadable != c->reloadable) {
        return;
    }
    buf_printf(&key, "%s.%s", info->section, info->key);
    jw_str(c->json, NULL, buf_str(&key));
    buf_printf(&c->words, "%s%s", c->words.size ? "," : "", buf_str(&key));
    buf_done(&key);
}

/* All keys of the table are compared, none can be forgotten. */
static void tell_changes(const struct config *old, const struct config *fresh, struct buf *said)
{
    struct jw json = jw_begin(said);
    struct changes taken = {.json = &json, .reloadable = true};
    struct changes left = {.json = &json, .reloadable = false};

    jw_object(&json, NULL);
    jw_array(&json, "changed");
    config_each_change(old, fresh, change_cb, &taken);
    jw_array_end(&json);
    jw_array(&json, "needs_restart");
    config_each_change(old, fresh, change_cb, &left);
    jw_array_end(&json);
    jw_object_end(&json);
    log_notice("raftd", "reloaded",
               LOG_STR("changed", taken.words.size ? buf_str(&taken.words) : "nothing"));
    if (left.words.size) {
        log_warning("raftd", "some changes in the file need a restart",
                    LOG_STR("keys", buf_str(&left.words)));
    }
    buf_done(&taken.words);
    buf_done(&left.words);
}

/* Where it is kept other than in s->config. */
static void take(struct server *s, const struct config *fresh)
{
    s->uri_changed = s->uri_changed || strcmp(s->config->uri, fresh->uri) != 0;
    config_take_reloadable(fresh, s->config);
    log_set_level(fresh->log_level);
    store_set_stall_timeout(s->store, fresh->stall_timeout_ms);
}

int server_reload(struct server *s, struct buf *said)
{
    struct config *fresh = mem_zalloc(sizeof *fresh);
    int code =
        config_load(s->source->path, s->source->overrides, s->source->overrides_count, fresh, said);

    if (code) {
        said->size -= said->size > 0 && said->data[said->size - 1] == '\n';
        log_error("raftd", "reload refused, the configuration in force stays",
                  LOG_STR("why", buf_str(said)));
    } else {
        tell_changes(s->config, fresh, said);
        take(s, fresh);
    }
    mem_free(fresh);
    return code;
}
