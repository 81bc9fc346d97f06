/* raftctl - talk to the raftd on this machine. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/stdfd.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"
#include "raftctl/options.h"

static int print(struct buf *text)
{
    struct ctl ctl = {0};
    struct ctl_error e;
    int status = ctl_write(text, &e) ? ctl_report(&ctl, NULL, &e) : 0;

    buf_done(text);
    return status;
}

static int print_help(const struct command *command)
{
    struct buf out = BUF_INIT;

    if (command) {
        help_command(command, &out);
    } else {
        help_all(&out);
    }
    return print(&out);
}

static int print_version(void)
{
    struct buf out = BUF_INIT;

    buf_put_str(&out, "raftctl " RAFTD_VERSION "\n");
    return print(&out);
}

static const char *socket_path(const struct invocation *inv)
{
    const char *from_env = getenv("RAFTCTL_SOCKET"); /* NOLINT(concurrency-mt-unsafe): one thread */

    if (inv->set[OPT_SOCKET]) {
        return inv->text[OPT_SOCKET];
    }
    return from_env && from_env[0] ? from_env : CTL_SOCKET_DEFAULT;
}

static int fail(const struct ctl *ctl, const struct command *command, const struct ctl_error *e)
{
    struct buf usage = BUF_INIT;
    int status = ctl_report(ctl, command ? command->name : NULL, e);

    if (e->code == -RD_EUSAGE && !ctl->json) {
        help_usage_line(command, &usage);
        (void)fprintf(stderr, "%sMore: raftctl help%s%s\n", buf_str(&usage), command ? " " : "",
                      command ? command->name : "");
        buf_done(&usage);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct invocation inv;
    struct ctl_error e;

    if (stdfd_ensure()) {
        return 1; /* nobody would hear why */
    }
    json_set_alloc_funcs(mem_alloc, mem_free);
    int code = options_parse(argc > 0 ? (uint32_t)argc - 1 : 0, argv + 1, &inv, &e);
    struct ctl ctl = {
        .socket = socket_path(&inv),
        .timeout_ms = inv.set[OPT_TIMEOUT] ? inv.number[OPT_TIMEOUT] : CTL_TIMEOUT_DEFAULT_MS,
        .json = inv.set[OPT_JSON],
        .quiet = inv.set[OPT_QUIET],
    };
    if (code) {
        return fail(&ctl, inv.command, &e);
    }
    if (inv.set[OPT_VERSION]) {
        return print_version();
    }
    if (inv.set[OPT_HELP]) {
        return print_help(inv.command);
    }
    int status = command_run(&ctl, &inv, &e);
    client_close(ctl.client);
    return status < 0 ? fail(&ctl, inv.command, &e) : status;
}
