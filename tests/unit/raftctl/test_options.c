#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "raftctl/commands.h"
#include "raftctl/options.h"
#include "raftctl/words.h"

static struct words words;
static struct invocation inv;
static struct ctl_error error;

static int parse(const char *line)
{
    const char *why;

    words_done(&words);
    assert_int_equal(words_split(line, strlen(line), &words, &why), 0);
    return options_parse(words.count, words.word, &inv, &error);
}

static void good(const char *line)
{
    if (parse(line)) {
        fail_msg("%s: %s", line, error.message);
    }
}

static int done(void **state)
{
    (void)state;
    words_done(&words);
    return 0;
}

static void takes_global_options_on_both_sides(void **state)
{
    (void)state;
    good("-s /a --json --timeout 2s get k");
    assert_string_equal(inv.command->name, "get");
    assert_string_equal(inv.text[OPT_SOCKET], "/a");
    assert_true(inv.set[OPT_JSON]);
    assert_int_equal(inv.number[OPT_TIMEOUT], 2000);
    good("get --socket=/b k --json -q --timeout=300ms");
    assert_string_equal(inv.text[OPT_SOCKET], "/b");
    assert_string_equal(inv.args[0], "k");
    assert_true(inv.set[OPT_QUIET]);
    good("get -s/c -q k");
    assert_string_equal(inv.text[OPT_SOCKET], "/c");
    good("-qs /d status");
    assert_string_equal(inv.text[OPT_SOCKET], "/d");
    assert_true(inv.set[OPT_QUIET]);
}

static void takes_a_commands_own_options(void **state)
{
    (void)state;
    good("put k v --if-revision 0 --fence 7");
    assert_true(inv.set[OPT_IF_REVISION]);
    assert_int_equal(inv.number[OPT_IF_REVISION], 0);
    assert_int_equal(inv.number[OPT_FENCE], 7);
    good("put k v --if-revision=18446744073709551615");
    assert_true(inv.number[OPT_IF_REVISION] == UINT64_MAX);
    good("list --limit 3");
    assert_int_equal(inv.args_count, 0);
    good("wait --for caught-up");
    assert_int_equal(inv.number[OPT_FOR], 3);
    good("bench --clients 64 --size 4K --duration 2s --op get --connections 4 --keep");
    assert_int_equal(inv.number[OPT_SIZE], 4096);
    assert_int_equal(inv.number[OPT_OP], 1);
    assert_true(inv.set[OPT_KEEP]);
}

static void takes_the_options_of_changes(void **state)
{
    (void)state;
    good("add-server 4 n4:7400 --learner --no-wait");
    assert_true(inv.set[OPT_LEARNER]);
    assert_true(inv.set[OPT_NO_WAIT]);
    good("add-server --no-wait 4 n4:7400");
    assert_string_equal(inv.args[1], "n4:7400");
    assert_false(inv.set[OPT_LEARNER]);
    good("promote 4 --force");
    assert_true(inv.set[OPT_FORCE]);
    good("demote --force 4");
    good("remove-server 4 --force");
    good("replace-server 3 5 n5:7400");
    assert_int_equal(inv.args_count, 3);
    good("step-down");
    good("step-down --no-wait");
    good("transfer 2 --no-wait --timeout 1m -q");
}

static void takes_the_options_of_offline_commands(void **state)
{
    (void)state;
    good("backup f");
    good("restore f --data-dir d --id 7 --address n7:7400");
    assert_int_equal(inv.number[OPT_ID], 7);
    assert_string_equal(inv.text[OPT_ADDRESS], "n7:7400");
    good("recover --members 1,3 --data-dir d");
    assert_string_equal(inv.text[OPT_MEMBERS], "1,3");
    assert_false(inv.set[OPT_FORCE]);
    good("reset --force --data-dir d");
    assert_true(inv.set[OPT_FORCE]);
}

static void dashes(void **state)
{
    (void)state;
    good("put k -");
    assert_string_equal(inv.args[1], "-");
    good("put -- -k --json");
    assert_string_equal(inv.args[0], "-k");
    assert_string_equal(inv.args[1], "--json");
    assert_false(inv.set[OPT_JSON]);
    good("put k ''");
    assert_string_equal(inv.args[1], "");
}

/* What follows the first argument is not ours. */
static void takes_a_command_line(void **state)
{
    (void)state;
    good("exec --grace 1s --wait-timeout=5s --json -- sh -c 'exit 3' -- --json");
    assert_int_equal(inv.number[OPT_GRACE], 1000);
    assert_int_equal(inv.number[OPT_WAIT_TIMEOUT], 5000);
    assert_true(inv.set[OPT_JSON]);
    assert_int_equal(inv.args_count, 1);
    assert_string_equal(inv.rest[0], "sh");
    assert_string_equal(inv.rest[1], "-c");
    assert_string_equal(inv.rest[2], "exit 3");
    assert_string_equal(inv.rest[3], "--");
    assert_string_equal(inv.rest[4], "--json");
    good("exec ls -l --json");
    assert_string_equal(inv.rest[0], "ls");
    assert_string_equal(inv.rest[1], "-l");
    assert_false(inv.set[OPT_JSON]);
    good("exec -- -q");
    assert_string_equal(inv.rest[0], "-q");
    assert_int_equal(parse("exec"), -RD_EUSAGE);
    assert_string_equal(error.message, "an argument is missing: -- CMD...");
    assert_int_equal(parse("exec --"), -RD_EUSAGE);
    assert_int_equal(parse("exec -x ls"), -RD_EUSAGE);
    assert_int_equal(parse("get --grace 1s k"), -RD_EUSAGE);
}

static void help_and_version_need_nothing_else(void **state)
{
    (void)state;
    good("--help");
    assert_null(inv.command);
    good("put -h");
    assert_string_equal(inv.command->name, "put");
    good("-V");
    good("wait --help");
}

/* line, and a piece of the message that says what is wrong */
static const char *const mistakes[][2] = {
    {"", "a command is missing"},
    {"--json", "a command is missing"},
    {"frobnicate", "no command 'frobnicate'"},
    {"stauts", "did you mean 'status'"},
    {"isleader", "did you mean 'is-leader'"},
    {"status now", "unexpected argument 'now'"},
    {"members x", "unexpected argument"},
    {"leader x", "unexpected argument"},
    {"is-leader x", "unexpected argument"},
    {"watch x", "unexpected argument"},
    {"bootstrap x", "unexpected argument"},
    {"batch x", "unexpected argument"},
    {"bench x", "unexpected argument"},
    {"wait", "--for has-leader|leader|voter|caught-up is missing"},
    {"wait --for", "--for needs a value"},
    {"wait --for tea", "'tea' is not one of: has-leader, leader, voter, caught-up"},
    {"put", "missing: KEY VALUE"},
    {"put k", "missing: KEY VALUE"},
    {"put k v w", "quote a value that has spaces"},
    {"put k v --if-revision", "--if-revision needs a value"},
    {"put k v --if-revision -1", "'-1' is not a number"},
    {"put k v --if-revision x", "'x' is not a number"},
    {"put k v --if-revision 18446744073709551616", "is not a number"},
    {"put k v --fence 0", "below the least, 1"},
    {"put k v --stale", "put does not take the option '--stale'"},
    {"put k -5", "write -- before a value that begins with -"},
    {"get", "missing: KEY"},
    {"get a b", "unexpected argument 'b'"},
    {"get a --stale=yes", "--stale takes no value"},
    {"get a --if-revision 3", "does not take"},
    {"del", "missing: KEY"},
    {"del k --fence 3", "does not take"},
    {"list a b", "unexpected argument"},
    {"list --limit 0", "below the least, 1"},
    {"list --limit 1 --limit 1", "--limit is given twice"},
    {"reset --data-dir a --force --data-dir=b", "--data-dir is given twice"},
    {"log-level", "missing: LEVEL"},
    {"add-server", "missing: ID HOST:PORT"},
    {"add-server 4", "missing: ID HOST:PORT"},
    {"add-server 4 a:1 b", "unexpected argument 'b'"},
    {"add-server 4 a:1 --force", "add-server does not take the option '--force'"},
    {"add-server 4 a:1 --learner=yes", "--learner takes no value"},
    {"promote", "missing: ID"},
    {"promote 4 5", "unexpected argument '5'"},
    {"promote 4 --no-wait", "promote does not take the option '--no-wait'"},
    {"promote -4", "promote does not take the option '-4'"},
    {"demote", "missing: ID"},
    {"demote 4 --learner", "does not take"},
    {"remove-server", "missing: ID"},
    {"remove-server 4 --no-wait", "does not take"},
    {"replace-server 3 4", "missing: OLD NEW HOST:PORT"},
    {"replace-server 3 4 a:1 b", "unexpected argument 'b'"},
    {"replace-server 3 4 a:1 --force", "does not take"},
    {"step-down 2", "unexpected argument '2'"},
    {"step-down --force", "does not take"},
    {"transfer", "missing: ID"},
    {"transfer 2 --force", "does not take"},
    {"addserver 4 a:1", "did you mean 'add-server'"},
    {"add-sever 4 a:1", "did you mean 'add-server'"},
    {"stepdown", "did you mean 'step-down'"},
    {"transfert 2", "did you mean 'transfer'"},
    {"remove-servers 2", "did you mean 'remove-server'"},
    {"remote 2", "did you mean 'demote'"},
    {"promte 2", "did you mean 'promote'"},
    {"replace-servr 1 2 a:1", "did you mean 'replace-server'"},
    {"help a b", "unexpected argument"},
    {"backup", "missing: FILE"},
    {"backup a b", "unexpected argument 'b'"},
    {"backup a --force", "backup does not take the option '--force'"},
    {"backup a --data-dir d", "does not take"},
    {"restore", "missing: FILE"},
    {"restore f", "--data-dir D is missing"},
    {"restore f --data-dir", "--data-dir needs a value"},
    {"restore f --data-dir d --id 0", "below the least, 1"},
    {"restore f --data-dir d --id 4294967296", "above the limit, 4294967295"},
    {"restore f --data-dir d --id n1", "'n1' is not a number"},
    {"restore f --data-dir d --address=", "--address: the value is empty"},
    {"restore f --data-dir d --force", "does not take"},
    {"recover", "--data-dir D is missing"},
    {"recover --members 1", "--data-dir D is missing"},
    {"recover --data-dir d", "--members ID[,ID]... is missing"},
    {"recover --data-dir d --force", "--members ID[,ID]... is missing"},
    {"recover d", "unexpected argument 'd'"},
    {"reset", "--data-dir D is missing"},
    {"reset --data-dir d --members 1", "does not take"},
    {"reset d", "unexpected argument 'd'"},
    {"check --data-dir d --force", "does not take"},
    {"bakcup f", "did you mean 'backup'"},
    {"bench --clients 0", "below the least, 1"},
    {"bench --clients 10001", "above the limit, 10000"},
    {"bench --size 2M", "above the limit, 1048576"},
    {"bench --size x", "not a size"},
    {"bench --duration 5", "not a duration"},
    {"bench --duration 25h", "not a duration"},
    {"bench --op del", "not one of: put, get"},
    {"--timeout 5 status", "'5' is not a duration"},
    {"--timeout 0ms status", "not a duration"},
    {"status --timeout", "--timeout needs a value"},
    {"--socket= status", "--socket: the value is empty"},
    {"status -s", "--socket needs a value"},
    {"--json=1 status", "--json takes no value"},
    {"--stale get k", "unknown option '--stale' before the command"},
    {"-x status", "unknown option '-x'"},
    {"status -x", "status does not take the option '-x'"},
    {"status --frob", "status does not take the option '--frob'"},
};

static void mistakes_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        if (parse(mistakes[i][0]) != -RD_EUSAGE || !strstr(error.message, mistakes[i][1])) {
            fail_msg("'%s': %s", mistakes[i][0], error.code ? error.message : "accepted");
        }
    }
}

static void the_first_mistake_is_told_and_json_still_counts(void **state)
{
    (void)state;
    assert_int_equal(parse("put k --fence x --limit 3 --json"), -RD_EUSAGE);
    assert_non_null(strstr(error.message, "'x' is not a number"));
    assert_true(inv.set[OPT_JSON]);
    assert_int_equal(parse("nothing --json"), -RD_EUSAGE);
    assert_true(inv.set[OPT_JSON]);
}

static void messages_are_safe_to_print(void **state)
{
    (void)state;
    assert_int_equal(parse("a\x1b[31m\xff"), -RD_EUSAGE);
    assert_string_equal(error.message, "there is no command 'a?[31m?'");
    assert_int_equal(parse("gr\xc3\xbc\xc3\x9f"), -RD_EUSAGE);
    assert_string_equal(error.message, "there is no command 'gr\xc3\xbc\xc3\x9f'");
}

/* What the table promises to those who read it. */
static void the_table_is_complete(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < command_count; i++) {
        const struct command *c = &command_table[i];
        struct buf help = BUF_INIT;
        assert_ptr_equal(command_find(c->name), c);
        assert_non_null(c->help);
        assert_non_null(c->details);
        assert_true(c->args_max <= INVOCATION_ARGS_MAX);
        assert_true((c->run != NULL) != (c->render != NULL));
        assert_true(strlen(c->name) < sizeof((struct admin_request *)0)->command);
        assert_false(c->in_batch && c->run);
        assert_false(c->progress && (c->run || !c->unanswered));
        help_command(c, &help);
        assert_non_null(strstr(buf_str(&help), c->name));
        for (const enum option_id *o = c->options; *o != OPT_END; o++) {
            assert_non_null(strstr(buf_str(&help), option_table[*o].name));
        }
        buf_done(&help);
    }
    for (uint32_t i = 0; i < OPT_COUNT; i++) {
        assert_non_null(option_table[i].name);
        assert_non_null(option_table[i].help);
        assert_true((option_table[i].kind == OPTION_FLAG) == (option_table[i].value == NULL));
    }
}

static void help_names_every_command_and_fits_the_screen(void **state)
{
    struct buf help = BUF_INIT;

    (void)state;
    help_all(&help);
    const char *text = buf_str(&help);
    assert_memory_equal(text, "Examples:\n", 10);
    for (uint32_t i = 0; i < command_count; i++) {
        assert_non_null(strstr(text, command_table[i].name));
    }
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n");
        assert_in_range(size, 0, 82);
        line += size + 1;
    }
    buf_done(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_global_options_on_both_sides),
        cmocka_unit_test(takes_a_commands_own_options),
        cmocka_unit_test(takes_the_options_of_changes),
        cmocka_unit_test(takes_the_options_of_offline_commands),
        cmocka_unit_test(dashes),
        cmocka_unit_test(takes_a_command_line),
        cmocka_unit_test(help_and_version_need_nothing_else),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_first_mistake_is_told_and_json_still_counts),
        cmocka_unit_test(messages_are_safe_to_print),
        cmocka_unit_test(the_table_is_complete),
        cmocka_unit_test(help_names_every_command_and_fits_the_screen),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
