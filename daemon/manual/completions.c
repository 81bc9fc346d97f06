#include "manual/completions.h"

#include <string.h>

#include "base/log.h"
#include "raftctl/commands.h"

/* ---- What a value may be, as the tables write it ---- */

enum value_kind {
    VALUE_TEXT,
    VALUE_FILE,
    VALUE_DIRECTORY,
    VALUE_COMMAND,
    VALUE_LEVEL,
    VALUE_MEMBER, /* asked of raftd when it is completed */
};

/* By the placeholder, which is what people go by, too. */
static enum value_kind kind_of(const char *placeholder)
{
    static const struct {
        const char *name;
        enum value_kind kind;
    } kinds[] = {{"FILE", VALUE_FILE},         {"PATH", VALUE_FILE},
                 {"DIR|CMD", VALUE_FILE},      {"D", VALUE_DIRECTORY},
                 {"LEVEL", VALUE_LEVEL},       {"COMMAND", VALUE_COMMAND},
                 {"[COMMAND]", VALUE_COMMAND}, {"-- CMD...", VALUE_FILE},
                 {"ID", VALUE_MEMBER},         {"OLD NEW HOST:PORT", VALUE_MEMBER}};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(placeholder, kinds[i].name) == 0) {
            return kinds[i].kind;
        }
    }
    return VALUE_TEXT;
}

static enum value_kind option_kind(const struct option *o)
{
    /* "D" is a duration for some. */
    return o->kind == OPTION_TEXT ? kind_of(o->value) : VALUE_TEXT;
}

static void put_levels(struct buf *out)
{
    for (enum log_level l = LOG_ERROR; l <= LOG_DEBUG; l++) {
        buf_printf(out, "%s%s", l ? " " : "", log_level_name(l));
    }
}

static void put_choices(struct buf *out, const struct option *o)
{
    for (const char *const *c = o->choices; *c; c++) {
        buf_printf(out, "%s%s", c == o->choices ? "" : " ", *c);
    }
}

static void put_names(struct buf *out)
{
    for (uint32_t i = 0; i < command_count; i++) {
        buf_printf(out, "%s%s", i ? " " : "", command_table[i].name);
    }
}

/* ---- bash ---- */

static void bash_words(struct buf *out, const struct option *o)
{
    buf_printf(out, "--%s", o->name);
    if (o->letter) {
        buf_printf(out, " -%c", o->letter);
    }
}

static void bash_pattern(struct buf *out, const struct option *o)
{
    buf_printf(out, "--%s", o->name);
    if (o->letter) {
        buf_printf(out, " | -%c", o->letter);
    }
}

static void bash_valued(struct buf *out)
{
    bool first = true;

    for (uint32_t i = 0; i < OPT_COUNT; i++) {
        if (option_table[i].value) {
            buf_put_str(out, first ? "        " : " | ");
            bash_pattern(out, &option_table[i]);
            first = false;
        }
    }
    buf_put_str(out,
                ")\n            [[ ${COMP_WORDS[i + 1]} != = ]] || ((i++))\n            ((i++))\n"
                "            ;;\n");
}

static void bash_action(struct buf *out, enum value_kind kind)
{
    switch (kind) {
    case VALUE_FILE:
        buf_put_str(out, "_raftctl_files");
        break;
    case VALUE_DIRECTORY:
        buf_put_str(out, "_raftctl_files -d");
        break;
    case VALUE_COMMAND:
        buf_put_str(out, "_raftctl_words \"");
        put_names(out);
        buf_put_u8(out, '"');
        break;
    case VALUE_LEVEL:
        buf_put_str(out, "_raftctl_words \"");
        put_levels(out);
        buf_put_u8(out, '"');
        break;
    case VALUE_MEMBER:
        buf_put_str(out, "_raftctl_members");
        break;
    case VALUE_TEXT:
        buf_put_u8(out, ':');
        break;
    }
}

static void bash_values(struct buf *out)
{
    for (uint32_t i = 0; i < OPT_COUNT; i++) {
        const struct option *o = &option_table[i];
        if (!o->value) {
            continue;
        }
        buf_put_str(out, "    ");
        bash_pattern(out, o);
        buf_put_str(out, ") ");
        if (o->choices) {
            buf_put_str(out, "_raftctl_words \"");
            put_choices(out, o);
            buf_put_u8(out, '"');
        } else {
            bash_action(out, option_kind(o));
        }
        buf_put_str(out, " ;;\n");
    }
}

static void bash_options(struct buf *out)
{
    for (uint32_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        if (c->options[0] == OPT_END) {
            continue;
        }
        buf_printf(out, "        %s) words+=\"", c->name);
        for (const enum option_id *o = c->options; *o != OPT_END; o++) {
            buf_put_u8(out, ' ');
            bash_words(out, &option_table[*o]);
        }
        buf_put_str(out, "\" ;;\n");
    }
}

static void bash_arguments(struct buf *out)
{
    for (uint32_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        if (kind_of(c->args) != VALUE_TEXT) {
            buf_printf(out, "    %s) ", c->name);
            bash_action(out, kind_of(c->args));
            buf_put_str(out, " ;;\n");
        }
    }
}

int completions_bash(const char *which, struct buf *out)
{
    if (strcmp(which, "valued") == 0) {
        bash_valued(out);
    } else if (strcmp(which, "values") == 0) {
        bash_values(out);
    } else if (strcmp(which, "commands") == 0) {
        buf_put_str(out, "    \"\") _raftctl_words \"");
        put_names(out);
        buf_put_str(out, "\" ;;\n");
    } else if (strcmp(which, "globals") == 0) {
        buf_put_str(out, "        words=\"");
        for (uint32_t i = 0; i < OPT_GLOBALS; i++) {
            buf_put_str(out, i ? " " : "");
            bash_words(out, &option_table[i]);
        }
        buf_put_str(out, "\"\n");
    } else if (strcmp(which, "options") == 0) {
        bash_options(out);
    } else if (strcmp(which, "arguments") == 0) {
        bash_arguments(out);
    } else {
        return -1;
    }
    return 0;
}

/* ---- zsh ---- */

/* Within '...', where \ : [ ] mean something to _arguments and _describe. */
static void zsh_text(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'') {
            buf_put_str(out, "'\\''");
        } else {
            buf_put_str(out, strchr("\\:[]", *text) ? "\\" : "");
            buf_put_u8(out, (uint8_t)*text);
        }
    }
}

static void zsh_action(struct buf *out, enum value_kind kind)
{
    switch (kind) {
    case VALUE_FILE:
        buf_put_str(out, "_files");
        break;
    case VALUE_DIRECTORY:
        buf_put_str(out, "_files -/");
        break;
    case VALUE_COMMAND:
        buf_put_u8(out, '(');
        put_names(out);
        buf_put_u8(out, ')');
        break;
    case VALUE_LEVEL:
        buf_put_u8(out, '(');
        put_levels(out);
        buf_put_u8(out, ')');
        break;
    case VALUE_MEMBER:
        buf_put_str(out, "_raftctl_members");
        break;
    case VALUE_TEXT:
        buf_put_u8(out, ' '); /* something, but nothing to offer */
        break;
    }
}

/* + and = : the value may stand in the same word. */
static void zsh_option(struct buf *out, const struct option *o)
{
    const char *plus = o->value ? "+" : "";
    const char *equals = o->value ? "=" : "";

    if (o->letter) {
        buf_printf(out, "'(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter, plus,
                   o->name, equals);
    } else {
        buf_printf(out, "'--%s%s[", o->name, equals);
    }
    zsh_text(out, o->help);
    buf_put_u8(out, ']');
    if (o->value) {
        buf_put_u8(out, ':');
        zsh_text(out, o->choices ? o->name : o->value);
        buf_put_u8(out, ':');
    }
    if (o->choices) {
        buf_put_u8(out, '(');
        put_choices(out, o);
        buf_put_u8(out, ')');
    } else if (o->value) {
        zsh_action(out, option_kind(o));
    }
    buf_put_u8(out, '\'');
}

static void zsh_case(struct buf *out, const struct command *c)
{
    buf_printf(out, "        %s) arguments=(", c->name);
    for (const enum option_id *o = c->options; *o != OPT_END; o++) {
        buf_put_str(out, "\n            ");
        zsh_option(out, &option_table[*o]);
    }
    if (c->args[0]) {
        buf_put_str(out, "\n            '*:");
        zsh_text(out, c->args);
        buf_put_u8(out, ':');
        zsh_action(out, kind_of(c->args));
        buf_put_u8(out, '\'');
    }
    buf_put_str(out, ") ;;\n");
}

int completions_zsh(const char *which, struct buf *out)
{
    bool globals = strcmp(which, "globals") == 0;
    bool commands = strcmp(which, "commands") == 0;

    if (!globals && !commands && strcmp(which, "cases") != 0) {
        return -1;
    }
    for (uint32_t i = 0; globals && i < OPT_GLOBALS; i++) {
        buf_put_str(out, "        ");
        zsh_option(out, &option_table[i]);
        buf_put_u8(out, '\n');
    }
    for (uint32_t i = 0; !globals && i < command_count; i++) {
        const struct command *c = &command_table[i];
        if (commands) {
            buf_printf(out, "        '%s:", c->name);
            zsh_text(out, c->help);
            buf_put_str(out, "'\n");
        } else {
            zsh_case(out, c);
        }
    }
    return 0;
}

/* ---- fish ---- */

static void fish_text(struct buf *out, const char *text)
{
    buf_put_u8(out, '\'');
    for (; *text; text++) {
        buf_put_str(out, strchr("\\'", *text) ? "\\" : "");
        buf_put_u8(out, (uint8_t)*text);
    }
    buf_put_u8(out, '\'');
}

static void fish_action(struct buf *out, enum value_kind kind)
{
    switch (kind) {
    case VALUE_FILE:
        buf_put_str(out, " -F");
        break;
    case VALUE_DIRECTORY:
        buf_put_str(out, " -a '(__fish_complete_directories)'");
        break;
    case VALUE_COMMAND:
        buf_put_str(out, " -a '");
        put_names(out);
        buf_put_u8(out, '\'');
        break;
    case VALUE_LEVEL:
        buf_put_str(out, " -a '");
        put_levels(out);
        buf_put_u8(out, '\'');
        break;
    case VALUE_MEMBER:
        buf_put_str(out, " -a '(__raftctl_members)'");
        break;
    case VALUE_TEXT:
        break;
    }
}

static void fish_option(struct buf *out, const char *command, const struct option *o)
{
    buf_put_str(out, "complete -c raftctl");
    if (command) {
        buf_printf(out, " -n '__raftctl_is %s'", command);
    }
    if (o->letter) {
        buf_printf(out, " -s %c", o->letter);
    }
    buf_printf(out, " -l %s", o->name);
    if (o->value) { /* -x: no files */
        buf_put_str(out, option_kind(o) == VALUE_FILE ? " -r" : " -x");
    }
    if (o->choices) {
        buf_put_str(out, " -a '");
        put_choices(out, o);
        buf_put_u8(out, '\'');
    } else if (o->value) {
        fish_action(out, option_kind(o));
    }
    buf_put_str(out, " -d ");
    fish_text(out, o->help);
    buf_put_u8(out, '\n');
}

static void fish_valued(struct buf *out)
{
    buf_put_str(out, "            case");
    for (uint32_t i = 0; i < OPT_COUNT; i++) {
        if (option_table[i].value) {
            buf_printf(out, " --%s", option_table[i].name);
            if (option_table[i].letter) {
                buf_printf(out, " -%c", option_table[i].letter);
            }
        }
    }
    buf_put_u8(out, '\n');
}

int completions_fish(const char *which, struct buf *out)
{
    if (strcmp(which, "valued") == 0) {
        fish_valued(out);
        return 0;
    }
    for (uint32_t i = 0; i < OPT_GLOBALS; i++) {
        fish_option(out, NULL, &option_table[i]);
    }
    for (uint32_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        buf_printf(out, "complete -c raftctl -n '__raftctl_is \"\"' -a %s -d ", c->name);
        fish_text(out, c->help);
        buf_put_u8(out, '\n');
        for (const enum option_id *o = c->options; *o != OPT_END; o++) {
            fish_option(out, c->name, &option_table[*o]);
        }
        if (kind_of(c->args) != VALUE_TEXT) {
            buf_printf(out, "complete -c raftctl -n '__raftctl_is %s'", c->name);
            fish_action(out, kind_of(c->args));
            buf_put_u8(out, '\n');
        }
    }
    return strcmp(which, "commands") == 0 ? 0 : -1;
}
