/* raftd-lists: the options of raftd.conf, the paths of HTTP and the metrics, for the manual. */
#include <string.h>

#include "config/config.h"
#include "http/http.h"
#include "manual/roff.h"
#include "manual/template.h"
#include "raftd/metrics.h"

struct options {
    struct buf *out;
    char section[32];
};

static void option_cb(void *arg, const struct config_option_info *info)
{
    struct options *o = arg;

    if (strcmp(o->section, info->section) != 0) {
        buf_printf(o->out, "%s.Ss Section [%s]\\&\n.Bl -tag -width Ds\n",
                   o->section[0] ? ".El\n" : "", info->section);
        (void)snprintf(o->section, sizeof o->section, "%s", info->section);
    }
    buf_printf(o->out, ".It Ic ");
    roff_put_word(o->out, info->key);
    buf_put_str(o->out, " No =");
    if (info->default_text[0]) {
        buf_printf(o->out, " Li %s", info->default_text);
    }
    buf_put_u8(o->out, '\n');
    roff_put_text(o->out, info->help);
    if (info->repeatable) {
        roff_put_text(o->out, "May be given several times.");
    }
    if (info->reloadable) {
        roff_put_text(o->out, "A reload takes up a change.");
    }
}

static int put_options(const char *word, struct buf *out)
{
    struct options o = {.out = out};

    config_each_option(option_cb, &o);
    buf_put_str(out, ".El\n");
    return *word ? -1 : 0;
}

static void metric_cb(void *arg, const char *name, const char *type, const char *help)
{
    buf_printf(arg, ".It Ic %s Pq %s\n", name, type);
    roff_put_text(arg, help);
}

static int put_metrics(const char *word, struct buf *out)
{
    buf_put_str(out, ".Bl -tag -width Ds -compact\n");
    metrics_each(metric_cb, out);
    buf_put_str(out, ".El\n");
    return *word ? -1 : 0;
}

static void path_cb(void *arg, const char *path, const char *help)
{
    buf_printf(arg, ".It Pa %s\n", path);
    roff_put_text(arg, help);
}

static int put_paths(const char *word, struct buf *out)
{
    buf_put_str(out, ".Bl -tag -width Ds\n");
    http_each_path(path_cb, out);
    buf_put_str(out, ".El\n");
    return *word ? -1 : 0;
}

int main(int argc, char **argv)
{
    static const struct template_list lists[] = {
        {"options", put_options}, {"metrics", put_metrics}, {"paths", put_paths}, {0}};

    return template_main(argc, argv, lists);
}
