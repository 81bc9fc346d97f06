#include "base/err.h"

#include <stddef.h>
#include <string.h>

struct err_row {
    int code;
    const char *name;
    int exit_ctl;
    const char *text;
};

#define ERR_ROW(symbol, value, name, status, text) {(value), (name), (status), (text)},
static const struct err_row err_table[] = {RD_ERRORS(ERR_ROW)};
#undef ERR_ROW

static const struct err_row *err_find(int code)
{
    for (size_t i = 0; i < sizeof err_table / sizeof err_table[0]; i++) {
        if (err_table[i].code == -code) {
            return &err_table[i];
        }
    }
    return NULL;
}

const char *err_name(int code)
{
    const struct err_row *row = err_find(code);

    return row ? row->name : (code == 0 ? "ok" : "system_error");
}

const char *err_text(int code)
{
    const struct err_row *row = err_find(code);

    if (row) {
        return row->text;
    }
    if (code == 0) {
        return "ok";
    }
    const char *text = strerrordesc_np(-code);
    return text ? text : "unknown error";
}

int err_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof err_table / sizeof err_table[0]; i++) {
        if (strcmp(err_table[i].name, name) == 0) {
            return -err_table[i].code;
        }
    }
    return -RD_EINVALID;
}

int err_exit_ctl(int code)
{
    const struct err_row *row = err_find(code);

    return row ? row->exit_ctl : (code == 0 ? 0 : 1);
}

int err_exit_daemon(int code)
{
    switch (-code) {
    case 0:
        return 0;
    case RD_EUSAGE:
        return RD_EXIT_USAGE;
    case RD_ECONFIG:
        return RD_EXIT_CONFIG;
    case RD_ECORRUPT:
    case RD_EFORMAT:
        return RD_EXIT_DATA;
    case RD_EDISK_FULL:
    case RD_EMAP_FULL: /* the room given to the log is full, whoever limits it */
        return RD_EXIT_DISK_FULL;
    default:
        return RD_EXIT_IO;
    }
}
