#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stdfd.h"
#include "config/config.h"
#include "raftd/internal.h"
#include "raftd/stop.h"
#include "raftd/systemd.h"

static const char help[] =
    "Examples:\n"
    "  raftd -c /etc/raftd/raftd.conf\n"
    "  raftd -c raftd.conf -o node.id=2 -o node.listen=10.0.0.2:7400 --check-config\n"
    "\n"
    "Usage: raftd [-c FILE] [-o SECTION.KEY=VALUE]... [--check-config] [--dump-config]\n"
    "\n"
    "Runs one node of a Raft coordination cluster in the foreground; logs to stderr.\n"
    "\n"
    "  -c, --config FILE            configuration; default " CONFIG_DEFAULT_PATH "\n"
    "  -o, --option SECTION.KEY=V   overrides the file; repeatable\n"
    "      --check-config           say whether the configuration is valid, then end\n"
    "      --dump-config            print the effective configuration, then end\n"
    "  -h, --help                   this text\n"
    "      --version                print the version\n"
    "\n"
    "Signals: SIGTERM, SIGINT stop cleanly; SIGHUP reads the configuration again\n"
    "(raftctl reload says what changed and what needs a restart).\n"
    "Exit status: 0 clean stop, 64 bad command line, 78 bad configuration or identity,\n"
    "79 data refused, 80 disk full, 81 I/O error or an address not to be had, 70 bug.\n";

struct options {
    struct server_source source;
    const char **overrides; /* owned */
    bool check, dump;
};

static int usage_error(void)
{
    (void)fprintf(stderr, "Try 'raftd --help'.\n");
    return -RD_EUSAGE;
}

/* All that was printed, not only what the last flush had to write. */
static int printed(void)
{
    return fflush(stdout) || ferror(stdout) ? RD_EXIT_IO : 0;
}

static int print_and_end(const char *text)
{
    (void)fputs(text, stdout);
    return printed();
}

/* What it names is judged with the configuration; this is about its form. */
static bool is_assignment(const char *text)
{
    const char *equals = strchr(text, '=');
    const char *dot = strchr(text, '.');

    return equals && dot && dot < equals;
}

static int add_override(struct options *o, const char *text)
{
    if (!is_assignment(text)) {
        (void)fprintf(stderr, "raftd: -o %s: expected SECTION.KEY=VALUE, such as -o node.id=1\n",
                      text);
        return usage_error();
    }
    o->overrides[o->source.overrides_count++] = text;
    return 0;
}

enum { OPTION_CHECK = 256, OPTION_DUMP, OPTION_VERSION };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"option", required_argument, NULL, 'o'},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"dump-config", no_argument, NULL, OPTION_DUMP},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

/* 0: go on. 1: everything wanted was printed. Negative: bad command line. */
static int options_parse(int argc, char **argv, struct options *o)
{
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): before there is a second thread */
    while ((c = getopt_long(argc, argv, "c:o:h", long_options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->source.path = optarg;
            break;
        case 'o':
            if (add_override(o, optarg)) {
                return -RD_EUSAGE;
            }
            break;
        case OPTION_CHECK:
            o->check = true;
            break;
        case OPTION_DUMP:
            o->dump = true;
            break;
        case 'h':
            return print_and_end(help) ? -RD_EDISK : 1;
        case OPTION_VERSION:
            return print_and_end("raftd " RAFTD_VERSION "\n") ? -RD_EDISK : 1;
        default:
            return usage_error(); /* getopt has named the option */
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "raftd: unexpected argument '%s'\n", argv[optind]);
        return usage_error();
    }
    return 0;
}

/* What stands in the files that the configuration names is an error in it, too. */
static int check_certs(const struct options *o, const struct config *config)
{
    struct tls_context *certs = NULL;
    struct buf errors = BUF_INIT;
    int code = server_certs_load(config, config, o->source.path, &errors, &certs);

    (void)fwrite(errors.data, 1, errors.size, stderr);
    buf_done(&errors);
    tls_context_unref(certs);
    return code;
}

static int load_config(const struct options *o, struct config *config)
{
    struct buf errors = BUF_INIT;
    int code = config_load(o->source.path, o->source.overrides, o->source.overrides_count, config,
                           &errors);

    if (code) {
        (void)fwrite(errors.data, 1, errors.size, stderr);
    }
    buf_done(&errors);
    return code;
}

/* Every client and peer is a descriptor: take what the system allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit)) {
            log_warning("raftd", "cannot raise the limit of open files");
        }
    }
}

static int serve(struct config *config, const struct server_source *source)
{
    struct systemd systemd;
    struct server *server = NULL;

    log_init(config->log_level, config->log_format);
    raise_descriptor_limit();
    systemd_init(&systemd);
    int code = server_open(config, source, &systemd, &server);
    if (code == 0) {
        code = server_run(server);
    }
    code = code == -ECANCELED ? 0 : code;
    server_close(server);
    systemd_done(&systemd);
    log_notice("raftd", "stopped", LOG_I64("exit", err_exit_daemon(code)));
    return err_exit_daemon(code);
}

static int run(const struct options *o)
{
    static struct config config; /* large */

    int code = load_config(o, &config);
    if (code) {
        return err_exit_daemon(code);
    }
    if (o->dump) {
        config_dump(&config, stdout);
        return printed();
    }
    code = check_certs(o, &config);
    if (code) {
        return err_exit_daemon(code);
    }
    if (o->check) {
        (void)printf("%s: valid\n", o->source.path);
        return printed();
    }
    return serve(&config, &o->source);
}

int main(int argc, char **argv)
{
    static char name[] = "raftd";
    struct options o = {.source.path = CONFIG_DEFAULT_PATH};

    stop_init();
    if (stdfd_ensure()) {
        return RD_EXIT_IO; /* nobody would hear why */
    }
    if (argc > 0) {
        argv[0] = name; /* what getopt's messages begin with */
    }
    o.overrides = mem_alloc((size_t)argc * sizeof *o.overrides); /* at most one per argument */
    o.source.overrides = o.overrides;
    int code = options_parse(argc, argv, &o);
    int status = code == 0 ? run(&o) : code > 0 ? 0 : err_exit_daemon(code);
    mem_free(o.overrides);
    return status;
}
