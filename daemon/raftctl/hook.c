#include "raftctl/hook.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "raftctl/ctl.h"
#include "raftctl/render.h"

/* ---- What it is told ---- */

static void put_text(struct buf *out, const char *text)
{
    buf_put_str(out, text ? text : "");
}

static void put_number(struct buf *out, const json_t *object, const char *key)
{
    const json_t *number = json_object_get(object, key);

    if (json_is_integer(number)) {
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(number));
    }
}

enum told_kind { TOLD_EVENT, TOLD_TEXT, TOLD_YES, TOLD_NUMBER };

static const struct told {
    const char *name; /* of the variable, with its = */
    enum told_kind kind;
    bool of_leader; /* of the state's leader, not of the state */
    const char *key;
} told[] = {
    {"RAFTD_EVENT=", TOLD_EVENT, false, NULL},
    {"RAFTD_STATE=", TOLD_TEXT, false, "state"},
    {"RAFTD_IS_LEADER=", TOLD_YES, false, "is_leader"},
    {"RAFTD_LEADER_ID=", TOLD_NUMBER, true, "id"},
    {"RAFTD_LEADER_ADDRESS=", TOLD_TEXT, true, "address"},
    {"RAFTD_LEADER_URI=", TOLD_TEXT, true, "uri"},
    {"RAFTD_TERM=", TOLD_NUMBER, false, "term"},
    {"RAFTD_FENCE=", TOLD_NUMBER, false, "fence"},
};

enum { TOLD_COUNT = sizeof told / sizeof told[0] };

static void put_told(struct buf *out, const struct told *t, const char *event, const json_t *state)
{
    const json_t *object = t->of_leader ? json_object_get(state, "leader") : state;

    buf_put_str(out, t->name);
    switch (t->kind) {
    case TOLD_EVENT:
        put_text(out, event);
        break;
    case TOLD_TEXT:
        put_text(out, render_text(object, t->key));
        break;
    case TOLD_YES:
        put_text(out, json_is_true(json_object_get(object, t->key)) ? "1" : "0");
        break;
    case TOLD_NUMBER:
        put_number(out, object, t->key);
        break;
    }
}

static bool is_told(const char *variable)
{
    for (int i = 0; i < TOLD_COUNT; i++) {
        if (strncmp(variable, told[i].name, strlen(told[i].name)) == 0) {
            return true;
        }
    }
    return false;
}

/* Our own environment, with what it is told instead of what stood there under these names. */
static char **environment_new(const char *event, const json_t *state)
{
    size_t count = 0;
    size_t used = 0;

    while (environ[count]) {
        count++;
    }
    char **made = mem_zalloc((count + TOLD_COUNT + 1) * sizeof *made);
    for (size_t i = 0; i < count; i++) {
        if (!is_told(environ[i])) {
            made[used++] = mem_strdup(environ[i]);
        }
    }
    for (int i = 0; i < TOLD_COUNT; i++) {
        struct buf variable = BUF_INIT;
        put_told(&variable, &told[i], event, state);
        made[used++] = mem_strdup(buf_str(&variable));
        buf_done(&variable);
    }
    return made;
}

static void environment_free(char **made)
{
    for (char **variable = made; *variable; variable++) {
        mem_free(*variable);
    }
    mem_free(made);
}

/* A file instead of a pipe: who does not read it keeps nobody waiting. */
static int input_open(const json_t *state)
{
    struct buf line = BUF_INIT;
    int fd = memfd_create("raftctl-hook", MFD_CLOEXEC);

    ctl_put_json(state, &line);
    buf_put_u8(&line, '\n');
    if (fd >= 0 && pwrite(fd, line.data, line.size, 0) != (ssize_t)line.size) {
        (void)close(fd);
        fd = -1;
    }
    buf_done(&line);
    return fd;
}

/* ---- Its life ---- */

/* raftctl blocks signals and its caller may have them ignored: a hook begins like any program. */
static int spawn(pid_t *pid, const char *path, int input, char **environment)
{
    static const int usual[] = {SIGTERM, SIGINT, SIGQUIT, SIGPIPE, SIGCHLD};
    char *argv[] = {mem_strdup(path), NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;

    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        (void)sigaddset(&defaults, usual[i]);
    }
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    int error = posix_spawn(pid, path, &files, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    mem_free(argv[0]);
    return -error;
}

int hook_start(struct hook *h, const char *path, const char *event, const json_t *state,
               uint64_t timeout_ms)
{
    pid_t pid = 0;
    int input = input_open(state);

    if (input < 0) {
        return -errno;
    }
    char **environment = environment_new(event, state);
    int code = spawn(&pid, path, input, environment);
    environment_free(environment);
    (void)close(input);
    *h = (struct hook){0};
    if (code == 0) {
        h->pid = pid;
        h->runs = true;
        h->began = mono_now_ms();
        h->due = timeout_ms ? h->began + timeout_ms : UINT64_MAX;
    }
    return code;
}

/* Until it is reaped its process group is nobody else's: signals to that go out before. */
static bool has_ended(const struct hook *h)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)h->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == h->pid;
}

static void reap(struct hook *h, struct hook_end *end)
{
    int status = 0;

    if (h->told_to_end) {
        (void)kill(-h->pid, SIGKILL); /* what it had started and left behind */
    }
    while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR) {
    }
    *end = (struct hook_end){
        .status = WIFSIGNALED(status) ? -1 : WEXITSTATUS(status),
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .told_to_end = h->told_to_end,
        .took_ms = mono_now_ms() - h->began,
    };
    h->runs = false;
}

bool hook_step(struct hook *h, struct hook_end *end)
{
    if (!h->runs) {
        return false;
    }
    if (has_ended(h)) {
        reap(h, end);
        return true;
    }
    if (mono_now_ms() >= h->due) {
        (void)kill(-h->pid, h->told_to_end ? SIGKILL : SIGTERM);
        h->due = h->told_to_end ? UINT64_MAX : mono_now_ms() + HOOK_KILL_AFTER_MS;
        h->told_to_end = true;
    }
    return false;
}

void hook_limit(struct hook *h, uint64_t ms)
{
    uint64_t due = mono_now_ms() + ms;

    if (h->runs && !h->told_to_end && due < h->due) {
        h->due = due;
    }
}

uint64_t hook_deadline(const struct hook *h)
{
    return h->runs ? h->due : UINT64_MAX;
}
