#include "config/config.h"

#include <stdarg.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/load.h"
#include "config/options.h"

/* A damaged file is quoted in messages: keep each one a line that a terminal can show. */
static void make_printable(uint8_t *text, size_t size)
{
    bool utf8 = units_is_utf8(text, size);

    for (size_t i = 0; i < size; i++) {
        if (text[i] < 0x20 || text[i] == 0x7f || (text[i] >= 0x80 && !utf8)) {
            text[i] = '?';
        }
    }
}

void load_error(struct load *l, struct place place, const char *format, ...)
{
    size_t start = l->errors->size;
    va_list args;

    if (place.text) {
        buf_printf(l->errors, "-o %s: ", place.text);
    } else {
        buf_printf(l->errors, "%s:%d: ", l->path, place.line);
    }
    va_start(args, format);
    buf_vprintf(l->errors, format, args);
    va_end(args);
    make_printable(l->errors->data + start, l->errors->size - start);
    buf_put_u8(l->errors, '\n');
    l->errors_count++;
}

/* A second value for an option that takes one: an error within the file; -o replaces. */
static bool is_duplicate(struct load *l, const struct option *o, struct place place)
{
    const struct place first = l->options[o - option_table].place;

    if (!l->options[o - option_table].given || o->flags & OPTION_REPEATABLE || place.text) {
        return false;
    }
    load_error(l, place, "%s.%s is set twice, first on line %d; delete one of the two lines",
               o->section, o->key, first.line);
    return true;
}

void load_value(struct load *l, const struct option *o, const char *value, struct place place)
{
    size_t row = (size_t)(o - option_table);
    struct buf why = BUF_INIT;

    if (is_duplicate(l, o, place)) {
        return;
    }
    if (!l->options[row].given && o->flags & OPTION_REPEATABLE) {
        (void)option_set(o, "", &l->config, &why); /* the first value replaces the default */
    }
    if (option_set(o, value, &l->config, &why)) {
        l->options[row].refused = true;
        load_error(l, place, "%s.%s: %s", o->section, o->key, buf_str(&why));
    } else if (o->kind == OPTION_MEMBER && *value) {
        l->member_places[l->config.members_count - 1] = place;
    }
    l->options[row].given = true;
    l->options[row].place = place;
    buf_done(&why);
}

static void set_defaults(struct load *l)
{
    struct buf why = BUF_INIT;

    for (size_t i = 0; i < OPTIONS; i++) {
        if (*option_table[i].default_text) {
            int rc = option_set(&option_table[i], option_table[i].default_text, &l->config, &why);
            rd_assert(rc == 0);
        }
    }
    buf_done(&why);
}

/* Cut the blanks off both ends, as inih does in the file. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t size = strlen(text);
    while (size && (text[size - 1] == ' ' || text[size - 1] == '\t')) {
        size--;
    }
    text[size] = 0;
    return text;
}

/* `text` is a copy of what the place shows, to be cut into pieces. */
static void load_override(struct load *l, char *text, struct place place)
{
    char *equals = strchr(text, '=');
    char *dot = strchr(text, '.');

    if (!equals || !dot || dot > equals) {
        load_error(l, place, "expected SECTION.KEY=VALUE, such as -o node.id=1");
        return;
    }
    *equals = 0;
    *dot = 0;
    char *section = trim(text);
    char *key = trim(dot + 1);
    const struct option *o = option_find(section, key);
    if (o) {
        load_value(l, o, trim(equals + 1), place);
        return;
    }
    struct buf hint = BUF_INIT;
    if (option_is_section(section)) {
        option_suggest_key(section, key, &hint);
        load_error(l, place, "unknown key \"%s\" in [%s]%s", key, section, buf_str(&hint));
    } else {
        option_suggest_section(section, &hint);
        load_error(l, place, "unknown section [%s]%s", section, buf_str(&hint));
    }
    buf_done(&hint);
}

int config_load(const char *path, const char *const *overrides, uint32_t overrides_count,
                struct config *out, struct buf *errors)
{
    struct load *l = mem_zalloc(sizeof *l);
    int rc = -RD_ECONFIG;

    l->path = path;
    l->errors = errors;
    set_defaults(l);
    bool readable = load_file(l);
    for (uint32_t i = 0; i < overrides_count; i++) {
        char *text = mem_strdup(overrides[i]);
        load_override(l, text, (struct place){.text = overrides[i]});
        mem_free(text);
    }
    if (readable) {
        load_check(l);
    }
    if (l->errors_count == 0) {
        *out = l->config;
        rc = 0;
    }
    mem_free(l);
    return rc;
}

/* The help of an option as comment lines. */
static void dump_help(const struct option *o, FILE *out)
{
    enum { COLUMNS = 78 };
    int column = 0;

    for (const char *word = o->help; *word;) {
        int size = (int)strcspn(word, " ");
        if (column == 0 || column + 1 + size > COLUMNS) {
            column = fprintf(out, "%s# %.*s", column ? "\n" : "", size, word) - (column ? 1 : 0);
        } else {
            column += fprintf(out, " %.*s", size, word);
        }
        word += size;
        word += *word == ' ';
    }
    (void)fprintf(out, "\n");
}

static void dump_option(const struct option *o, const struct config *c, FILE *out)
{
    struct buf value = BUF_INIT;
    uint32_t lines = option_lines(o, c);

    dump_help(o, out);
    if (lines == 0) {
        (void)fprintf(out, "%s =\n", o->key);
    }
    for (uint32_t i = 0; i < lines; i++) {
        value.size = 0;
        option_print(o, c, i, &value);
        (void)fprintf(out, "%s =%s%s\n", o->key, value.size ? " " : "", buf_str(&value));
    }
    buf_done(&value);
}

void config_dump(const struct config *c, FILE *out)
{
    (void)fprintf(out,
                  "# The configuration in effect: the file, the -o options and the defaults.\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &option_table[i];
        if (i == 0 || strcmp(o->section, option_table[i - 1].section) != 0) {
            (void)fprintf(out, "\n[%s]\n", o->section);
        }
        dump_option(o, c, out);
    }
}
