#include "raftctl/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "raftctl/commands.h"

static const char *const wait_choices[] = {"has-leader", "leader", "voter", "caught-up", NULL};
static const char *const op_choices[] = {"put", "get", NULL};

#define DAY_MS CTL_TIMEOUT_MAX_MS

const struct option option_table[OPT_COUNT] = {
    [OPT_SOCKET] = {"socket", 's', OPTION_TEXT, "PATH", 0, 0, NULL,
                    "raftd's admin socket (or RAFTCTL_SOCKET; default " CTL_SOCKET_DEFAULT ")"},
    [OPT_JSON] = {"json", 0, OPTION_FLAG, NULL, 0, 0, NULL,
                  "results and errors as JSON on standard output"},
    [OPT_TIMEOUT] = {"timeout", 0, OPTION_DURATION, "DUR", 1, DAY_MS, NULL,
                     "how long to wait for an answer, as in 500ms, 2s, 1m (default 10s)"},
    [OPT_QUIET] = {"quiet", 'q', OPTION_FLAG, NULL, 0, 0, NULL,
                   "no notes, only results and errors"},
    [OPT_HELP] = {"help", 'h', OPTION_FLAG, NULL, 0, 0, NULL, "show help and exit"},
    [OPT_VERSION] = {"version", 'V', OPTION_FLAG, NULL, 0, 0, NULL, "show the version and exit"},
    [OPT_IF_REVISION] = {"if-revision", 0, OPTION_NUMBER, "N", 0, UINT64_MAX, NULL,
                         "only if the key was last changed at revision N; 0: only if absent"},
    [OPT_FENCE] = {"fence", 0, OPTION_NUMBER, "TERM", 1, UINT64_MAX, NULL,
                   "only while the leader's term is TERM"},
    [OPT_STALE] = {"stale", 0, OPTION_FLAG, NULL, 0, 0, NULL,
                   "answer from this node's own state at once, perhaps an old one"},
    [OPT_LIMIT] = {"limit", 0, OPTION_NUMBER, "N", 1, UINT64_MAX, NULL, "at most N keys"},
    [OPT_FOR] = {"for", 0, OPTION_CHOICE, "has-leader|leader|voter|caught-up", 0, 0, wait_choices,
                 "has-leader: a leader is known; leader: this node leads; voter: this node is a "
                 "voter; caught-up: this node has applied all that was committed"},
    [OPT_CLIENTS] = {"clients", 0, OPTION_NUMBER, "N", 1, 10000, NULL,
                     "clients, each with one request open at a time (default 1)"},
    [OPT_CONNECTIONS] = {"connections", 0, OPTION_NUMBER, "C", 1, 200, NULL,
                         "connections the clients share (default: as clients, at most 8)"},
    [OPT_SIZE] = {"size", 0, OPTION_SIZE, "B", 0, CTL_VALUE_MAX, NULL,
                  "bytes per value, as in 128 or 4K (default 128)"},
    [OPT_DURATION] = {"duration", 0, OPTION_DURATION, "D", 1, DAY_MS, NULL,
                      "how long the load lasts (default 5s)"},
    [OPT_OP] = {"op", 0, OPTION_CHOICE, "put|get", 0, 0, op_choices,
                "what the clients do (default put)"},
    [OPT_KEEP] = {"keep", 0, OPTION_FLAG, NULL, 0, 0, NULL,
                  "leave the keys written by the run in place"},
    [OPT_DATA_DIR] = {"data-dir", 0, OPTION_TEXT, "D", 0, 0, NULL,
                      "the data directory, data_dir in [node] of raftd.conf"},
    [OPT_LEARNER] = {"learner", 0, OPTION_FLAG, NULL, 0, 0, NULL,
                     "it stays a learner: it has all data and no vote"},
    [OPT_NO_WAIT] = {"no-wait", 0, OPTION_FLAG, NULL, 0, 0, NULL,
                     "return once it has begun; status shows how it goes on"},
    [OPT_FORCE] = {"force", 0, OPTION_FLAG, NULL, 0, 0, NULL,
                   "do what is refused as unsafe; first read what the refusal says"},
    [OPT_MEMBERS] = {"members", 0, OPTION_TEXT, "ID[,ID]...", 0, 0, NULL,
                     "the nodes that are the cluster from now on, all of them voters"},
    [OPT_ID] = {"id", 0, OPTION_NUMBER, "N", 1, UINT32_MAX, NULL,
                "the id of the node (default: of the one the backup was taken on)"},
    [OPT_ADDRESS] = {"address", 0, OPTION_TEXT, "HOST:PORT", 0, 0, NULL,
                     "where other members dial it (default: as in the backup)"},
    [OPT_HOOK] = {"hook", 0, OPTION_TEXT, "DIR|CMD", 0, 0, NULL,
                  "a directory whose executable files are run in the order of their names, or one "
                  "executable file; run without arguments"},
    [OPT_HOOK_TIMEOUT] = {"hook-timeout", 0, OPTION_DURATION, "D", 0, DAY_MS, NULL,
                          "a hook that runs for longer gets SIGTERM, and SIGKILL 2s later, as does "
                          "its process group (default 30s; 0s: never)"},
    [OPT_WAIT_TIMEOUT] = {"wait-timeout", 0, OPTION_DURATION, "D", 1, DAY_MS, NULL,
                          "give up when this node does not lead by then (default: never)"},
    [OPT_GRACE] = {"grace", 0, OPTION_DURATION, "D", 0, DAY_MS, NULL,
                   "from SIGTERM to SIGKILL, where the lease leaves so much (default 2s)"},
};

struct parser {
    uint32_t count, at;
    char *const *words;
    bool only_args; /* after -- */
    struct invocation *inv;
    struct ctl_error *error; /* code 0: no mistake yet */
};

static bool option_applies(const struct command *command, enum option_id id)
{
    if (id < OPT_GLOBALS) {
        return true;
    }
    if (!command) {
        return false;
    }
    for (const enum option_id *o = command->options; *o != OPT_END; o++) {
        if (*o == id) {
            return true;
        }
    }
    return false;
}

/* Only the first mistake counts: what follows is often its consequence. */
#define MISTAKE(p, ...)                                                                            \
    do {                                                                                           \
        if ((p)->error->code == 0) {                                                               \
            (void)ctl_fail((p)->error, -RD_EUSAGE, __VA_ARGS__);                                   \
        }                                                                                          \
    } while (0)

static void bad_choice(struct parser *p, const struct option *o, const char *text)
{
    char list[128] = "";

    for (const char *const *c = o->choices; *c; c++) {
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", *c);
    }
    MISTAKE(p, "--%s: '%s' is not one of: %s", o->name, text, list);
}

static void take_choice(struct parser *p, const struct option *o, const char *text,
                        uint64_t *number)
{
    for (uint64_t i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], text) == 0) {
            *number = i;
            return;
        }
    }
    bad_choice(p, o, text);
}

static void take_duration(struct parser *p, const struct option *o, const char *text,
                          uint64_t *number)
{
    uint64_t v = 0;

    if (units_parse_duration(text, &v) || v < o->low || v > o->high) {
        MISTAKE(p, "--%s: '%s' is not a duration of %dms to 24h with its unit, as in 500ms or 2s",
                o->name, text, o->low > 0);
        return;
    }
    *number = v;
}

static void take_number(struct parser *p, const struct option *o, const char *text,
                        uint64_t *number)
{
    uint64_t v = 0;
    int code = o->kind == OPTION_SIZE ? units_parse_size(text, &v)
                                      : units_parse_number(text, 0, UINT64_MAX, &v);

    if (code) {
        MISTAKE(p, "--%s: '%s' is not a %s", o->name, text,
                o->kind == OPTION_SIZE ? "size, as in 128 or 4K" : "number");
    } else if (v < o->low) {
        MISTAKE(p, "--%s: '%s' is below the least, %" PRIu64, o->name, text, o->low);
    } else if (v > o->high) {
        MISTAKE(p, "--%s: '%s' is above the limit, %" PRIu64, o->name, text, o->high);
    } else {
        *number = v;
    }
}

static void take_value(struct parser *p, enum option_id id, const char *text)
{
    const struct option *o = &option_table[id];
    uint64_t *number = &p->inv->number[id];

    p->inv->set[id] = true;
    p->inv->text[id] = text;
    switch (o->kind) {
    case OPTION_FLAG:
        break;
    case OPTION_TEXT:
        if (!text[0]) {
            MISTAKE(p, "--%s: the value is empty", o->name);
        }
        break;
    case OPTION_NUMBER:
    case OPTION_SIZE:
        take_number(p, o, text, number);
        break;
    case OPTION_DURATION:
        take_duration(p, o, text, number);
        break;
    case OPTION_CHOICE:
        take_choice(p, o, text, number);
        break;
    }
}

static enum option_id find_long(const char *name, size_t size)
{
    for (uint32_t i = 0; i < OPT_COUNT; i++) {
        if (strlen(option_table[i].name) == size && memcmp(option_table[i].name, name, size) == 0) {
            return (enum option_id)i;
        }
    }
    return OPT_COUNT;
}

static enum option_id find_letter(char letter)
{
    for (uint32_t i = 0; i < OPT_COUNT; i++) {
        if (option_table[i].letter && option_table[i].letter == letter) {
            return (enum option_id)i;
        }
    }
    return OPT_COUNT;
}

static void unknown_option(struct parser *p, const char *word)
{
    if (p->inv->command) {
        MISTAKE(p, "%s does not take the option '%s' (write -- before a value that begins with -)",
                p->inv->command->name, word);
    } else {
        MISTAKE(p,
                "unknown option '%s' before the command (a command's own options stand after it)",
                word);
    }
}

/* The value stands in the word (`inside`, may be NULL) or is the next word. */
static void take_option(struct parser *p, enum option_id id, const char *word, const char *inside)
{
    if (id >= OPT_COUNT || !option_applies(p->inv->command, id)) {
        unknown_option(p, word);
        return;
    }
    const struct option *o = &option_table[id];
    if (!o->value) {
        if (inside) {
            MISTAKE(p, "--%s takes no value", o->name);
        }
        take_value(p, id, "");
        return;
    }
    if (!inside) {
        if (p->at == p->count) {
            MISTAKE(p, "--%s needs a value: --%s %s", o->name, o->name, o->value);
            return;
        }
        inside = p->words[p->at++];
    }
    if (id >= OPT_GLOBALS && p->inv->set[id]) { /* which of two directories was meant? */
        MISTAKE(p, "--%s is given twice", o->name);
        return;
    }
    take_value(p, id, inside);
}

static void take_long(struct parser *p, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t size = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;

    take_option(p, find_long(word + 2, size), word, equals ? equals + 1 : NULL);
}

/* -q, -s PATH, -sPATH, -qs PATH */
static void take_letters(struct parser *p, const char *word)
{
    for (const char *c = word + 1; *c; c++) {
        enum option_id id = find_letter(*c);
        bool with_value = id < OPT_COUNT && option_table[id].value;
        take_option(p, id, word, with_value && c[1] ? c + 1 : NULL);
        if (id == OPT_COUNT || with_value) {
            return;
        }
    }
}

static void take_argument(struct parser *p, const char *word)
{
    struct invocation *inv = p->inv;

    if (!inv->command) {
        inv->command = command_find(word);
        if (!inv->command) {
            const char *near = command_nearest(word);
            if (near) {
                MISTAKE(p, "there is no command '%s'; did you mean '%s'?", word, near);
            } else {
                MISTAKE(p, "there is no command '%s'", word);
            }
        }
        return;
    }
    if (inv->command->takes_rest) {
        inv->args_count = 1;
        inv->rest = p->words + p->at - 1;
        p->at = p->count;
        return;
    }
    if (inv->args_count == inv->command->args_max) {
        MISTAKE(p, "unexpected argument '%s'%s", word,
                inv->args_count ? " (quote a value that has spaces)" : "");
        return;
    }
    inv->args[inv->args_count++] = word;
}

static void check_complete(struct parser *p)
{
    struct invocation *inv = p->inv;

    if (inv->set[OPT_HELP] || inv->set[OPT_VERSION]) {
        return;
    }
    if (!inv->command) {
        MISTAKE(p, "a command is missing");
        return;
    }
    if (inv->args_count < inv->command->args_min) {
        MISTAKE(p, "an argument is missing: %s", inv->command->args);
    }
    for (const enum option_id *o = inv->command->options; *o != OPT_END; o++) {
        if (command_requires(inv->command, *o) && !inv->set[*o]) {
            MISTAKE(p, "--%s %s is missing", option_table[*o].name, option_table[*o].value);
        }
    }
}

int options_parse(uint32_t count, char *const *words, struct invocation *out, struct ctl_error *e)
{
    struct parser p = {.count = count, .words = words, .inv = out, .error = e};

    *out = (struct invocation){0};
    e->code = 0;
    while (p.at < count) {
        const char *word = words[p.at++];
        bool is_option = !p.only_args && word[0] == '-' && word[1];
        if (is_option && strcmp(word, "--") == 0) {
            p.only_args = true;
        } else if (is_option && word[1] == '-') {
            take_long(&p, word);
        } else if (is_option) {
            take_letters(&p, word);
        } else {
            take_argument(&p, word);
        }
    }
    check_complete(&p);
    if (e->code && out->command) {
        e->status = out->command->usage_status;
    }
    return e->code;
}
