/* raftctl-lists: the commands and options of raftctl, for the manual and for completions. */
#include <string.h>

#include "manual/completions.h"
#include "manual/roff.h"
#include "manual/template.h"
#include "raftctl/commands.h"

/* ID, [PREFIX], HOST:PORT: as people write them. */
static void put_args(struct buf *out, const char *args)
{
    while (*args) {
        size_t size = strcspn(args, " ");
        bool optional = args[0] == '[' && args[size - 1] == ']';
        char word[64];
        (void)snprintf(word, sizeof word, "%.*s", (int)(optional ? size - 2 : size),
                       args + optional);
        buf_put_str(out, optional ? " Op Ar " : " Ar ");
        roff_put_word(out, word);
        args += size;
        args += strspn(args, " ");
    }
}

static void put_option(struct buf *out, const struct option *o, bool required)
{
    buf_put_str(out, ".It ");
    if (o->letter) {
        buf_printf(out, "Fl %c , ", o->letter);
    }
    buf_printf(out, "Fl \\-%s", o->name);
    if (o->value) {
        buf_put_str(out, " Ar ");
        roff_put_word(out, o->value);
    }
    buf_put_u8(out, '\n');
    roff_put_text(out, required ? "Has to be given:" : "");
    roff_put_text(out, o->help);
}

static void put_command(struct buf *out, const struct command *c)
{
    buf_printf(out, ".It Ic %s", c->name);
    put_args(out, c->args);
    buf_printf(out, "\n%c", c->help[0] - 'a' + 'A');
    roff_put_text(out, c->help + 1);
    buf_put_str(out, ".Pp\n");
    roff_put_text(out, c->details);
    if (c->needs == NEEDS_OPERATOR) {
        buf_put_str(out, ".Pp\n");
        roff_put_text(out, "For root, raftd's own user, and the group in [admin] group.");
    }
    if (c->options[0] != OPT_END) {
        buf_put_str(out, ".Bl -tag -width Ds\n");
    }
    for (const enum option_id *o = c->options; *o != OPT_END; o++) {
        put_option(out, &option_table[*o], command_requires(c, *o));
    }
    if (c->options[0] != OPT_END) {
        buf_put_str(out, ".El\n");
    }
    if (c->examples) {
        buf_put_str(out, ".Pp\n");
        roff_put_display(out, c->examples);
    }
}

static int put_commands(const char *word, struct buf *out)
{
    buf_put_str(out, ".Bl -tag -width Ds\n");
    for (uint32_t i = 0; i < command_count; i++) {
        put_command(out, &command_table[i]);
    }
    buf_put_str(out, ".El\n");
    return *word ? -1 : 0;
}

/* One line of another page's list. */
static int put_one(const char *word, struct buf *out)
{
    const struct command *c = command_find(word);

    if (!c) {
        return -1;
    }
    buf_printf(out, ".It Ic raftctl %s\n%c", c->name, c->help[0] - 'a' + 'A');
    roff_put_text(out, c->help + 1);
    return 0;
}

static int put_globals(const char *word, struct buf *out)
{
    buf_put_str(out, ".Bl -tag -width Ds\n");
    for (uint32_t i = 0; i < OPT_GLOBALS; i++) {
        put_option(out, &option_table[i], false);
    }
    buf_put_str(out, ".El\n");
    return *word ? -1 : 0;
}

int main(int argc, char **argv)
{
    static const struct template_list lists[] = {{"commands", put_commands},
                                                 {"command", put_one},
                                                 {"globals", put_globals},
                                                 {"bash", completions_bash},
                                                 {"zsh", completions_zsh},
                                                 {"fish", completions_fish},
                                                 {0}};

    return template_main(argc, argv, lists);
}
