/* Help: written from the tables of commands and options. */
#include <string.h>

#include "raftctl/commands.h"

enum { COLUMN = 24, WIDTH = 80 };

/* Text from a column on, words kept whole, continued at the same column. A \n ends a line. */
static void put_wrapped(struct buf *out, const char *text, size_t column)
{
    size_t at = column;

    while (*text) {
        size_t word = strcspn(text, " \n");
        if (at > column && at + 1 + word > WIDTH) {
            buf_printf(out, "\n%*s", (int)column, "");
            at = column;
        } else if (at > column && word) {
            buf_put_u8(out, ' ');
            at++;
        }
        buf_put(out, text, word);
        at += word;
        text += word;
        if (*text == '\n') {
            buf_printf(out, "\n%*s", (int)column, "");
            at = column;
        }
        text += *text != 0;
    }
    buf_put_u8(out, '\n');
}

static void put_entry(struct buf *out, const char *left, const char *right)
{
    if (strlen(left) + 2 > COLUMN - 2) {
        buf_printf(out, "  %s\n%*s", left, COLUMN, "");
    } else {
        buf_printf(out, "  %-*s", COLUMN - 2, left);
    }
    put_wrapped(out, right, COLUMN);
}

static void option_words(const struct option *o, struct buf *out)
{
    if (o->letter) {
        buf_printf(out, "-%c, ", o->letter);
    }
    buf_printf(out, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
}

static void put_option(struct buf *out, const struct option *o)
{
    struct buf left = BUF_INIT;

    option_words(o, &left);
    put_entry(out, buf_str(&left), o->help);
    buf_done(&left);
}

static void put_globals(struct buf *out)
{
    buf_put_str(out, "\nOptions of every command, before or after it:\n");
    for (uint32_t i = 0; i < OPT_GLOBALS; i++) {
        put_option(out, &option_table[i]);
    }
}

void help_usage_line(const struct command *command, struct buf *out)
{
    if (!command) {
        buf_put_str(out, "Usage: raftctl [OPTION]... COMMAND [ARGUMENT]...\n");
        return;
    }
    buf_printf(out, "Usage: raftctl %s", command->name);
    if (command->args[0] && !command->takes_rest) {
        buf_printf(out, " %s", command->args);
    }
    for (const enum option_id *o = command->options; *o != OPT_END; o++) {
        const struct option *option = &option_table[*o];
        bool required = command_requires(command, *o);
        buf_printf(out, " %s--%s%s%s%s", required ? "" : "[", option->name,
                   option->value ? " " : "", option->value ? option->value : "",
                   required ? "" : "]");
    }
    if (command->takes_rest) { /* options end where it begins */
        buf_printf(out, " %s", command->args);
    }
    buf_put_u8(out, '\n');
}

void help_all(struct buf *out)
{
    struct buf left = BUF_INIT;

    buf_put_str(out, "Examples:\n"
                     "  raftctl status                       is the cluster healthy, who leads\n"
                     "  raftctl put app/limit 20 --json      store a value, answer as JSON\n\n");
    help_usage_line(NULL, out);
    buf_put_str(out, "Talks to the raftd on this machine; every command works on every member.\n"
                     "\nCommands:\n");
    for (uint32_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        left.size = 0;
        buf_printf(&left, "%s%s%s", c->name, c->args[0] ? " " : "", c->args);
        put_entry(out, buf_str(&left), c->help);
    }
    buf_done(&left);
    put_globals(out);
    buf_put_str(
        out, "\nExit status: 0 done, or yes; 1 refused, or no; 2 usage; 3 raftd not reachable;\n"
             "4 no leader or no quorum; 5 timed out, outcome unknown; 6 unsafe without --force;\n"
             "7 not found; 8 permission denied. (exec has its own: raftctl help exec.)\n"
             "\nMore about a command: raftctl help COMMAND\n");
}

void help_command(const struct command *command, struct buf *out)
{
    help_usage_line(command, out);
    buf_printf(out, "\n%c", command->help[0] - 'a' + 'A');
    put_wrapped(out, command->help + 1, 1);
    buf_put_u8(out, '\n');
    put_wrapped(out, command->details, 0);
    if (command->examples) {
        buf_printf(out, "\nExamples:\n%s", command->examples);
    }
    if (command->needs == NEEDS_OPERATOR) {
        buf_put_str(out, "\nFor root, raftd's own user, and the group in [admin] group.\n");
    }
    if (command->options[0] != OPT_END) {
        buf_put_str(out, "\nOptions:\n");
    }
    for (const enum option_id *o = command->options; *o != OPT_END; o++) {
        put_option(out, &option_table[*o]);
    }
    put_globals(out);
}

int help_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct buf out = BUF_INIT;
    const struct command *command = inv->args_count ? command_find(inv->args[0]) : NULL;

    (void)ctl;
    if (inv->args_count && !command) {
        return ctl_fail(e, -RD_EUSAGE, "there is no command '%s'", inv->args[0]);
    }
    if (command) {
        help_command(command, &out);
    } else {
        help_all(&out);
    }
    int code = ctl_write(&out, e);
    buf_done(&out);
    return code;
}
