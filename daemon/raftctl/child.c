#include "raftctl/child.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/offline.h"

#define STORE_LINE "store: "

struct shared { /* with the child */
    bool done;  /* it has returned */
    int code;
    uint8_t answer[];
};

/* ---- The child ---- */

static void become_owner(const char *data_dir)
{
    struct stat st;

    if (geteuid() != 0 || stat(data_dir, &st) != 0 || st.st_uid == 0) {
        return;
    }
    if (setgroups(0, NULL) != 0 || setegid(st.st_gid) != 0 || seteuid(st.st_uid) != 0) {
        _exit(1);
    }
}

static _Noreturn void run(const char *data_dir, child_job *job, const void *arg,
                          struct shared *shared, int log_fd)
{
    if (dup2(log_fd, STDERR_FILENO) < 0) {
        _exit(1);
    }
    become_owner(data_dir);
    store_offline_begin();
    shared->code = job(arg, shared->answer);
    shared->done = true;
    _exit(0);
}

/* ---- What the store logs, as a sentence ---- */

struct field { /* key=value or key="a value" in a line of the log */
    const char *key, *value;
    int key_size, value_size;
};

/* NULL: no more. Else where to go on. */
static const char *next_field(const char *at, struct field *out)
{
    at += strspn(at, " ");
    size_t key_size = strcspn(at, " =");
    if (at[key_size] != '=') {
        return NULL;
    }
    const char *value = at + key_size + 1;
    bool quoted = *value == '"';
    value += quoted;
    size_t size = strcspn(value, quoted ? "\"" : " ");
    *out = (struct field){at, value, (int)key_size, (int)size};
    return value + size + (quoted && value[size]);
}

/* Where the fields begin: at the first word that has an = in it. */
static size_t message_size(const char *line)
{
    size_t to_equals = strcspn(line, "=");

    if (!line[to_equals]) {
        return to_equals;
    }
    while (to_equals > 0 && line[to_equals] != ' ') {
        to_equals--;
    }
    return to_equals;
}

static bool is_key(const struct field *f, const char *key)
{
    return strlen(key) == (size_t)f->key_size && strncmp(f->key, key, strlen(key)) == 0;
}

/* "what key=value do="this"" becomes "what (key value): this". */
static void put_sentence(const char *line, struct buf *out)
{
    size_t size = message_size(line);
    const char *at = line + size;
    const char *before = " (";
    struct field advice = {0};
    struct field f;

    buf_put(out, line, size);
    while ((at = next_field(at, &f)) != NULL) {
        if (is_key(&f, "do")) {
            advice = f;
        } else if (!is_key(&f, "error") && !is_key(&f, "free_bytes")) { /* "cause" says it better */
            buf_printf(out, "%s%.*s %.*s", before, f.key_size, f.key, f.value_size, f.value);
            before = ", ";
        }
    }
    buf_printf(out, "%s%s%.*s", *before == ',' ? ")" : "", advice.value ? ": " : "",
               advice.value_size, advice.value ? advice.value : "");
}

/* The first line the store logged, without time and level; or how the child ended. */
static void read_reason(int log_fd, const struct shared *shared, int status, struct buf *out)
{
    char text[4096];
    ssize_t size = pread(log_fd, text, sizeof text - 1, 0);

    text[size > 0 ? size : 0] = 0;
    char *line = strstr(text, STORE_LINE);
    if (line) {
        line += strlen(STORE_LINE);
        line[strcspn(line, "\n")] = 0;
        put_sentence(line, out);
    } else if (shared->done) {
        return;
    } else if (WIFSIGNALED(status)) {
        buf_printf(out, "the files make no sense: reading them ended by signal %d",
                   WTERMSIG(status));
    } else {
        buf_printf(out, "reading the files ended with status %d", WEXITSTATUS(status));
    }
}

/* ---- Its parent ---- */

static int wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

int child_run(const char *data_dir, child_job *job, const void *arg, void *answer,
              size_t answer_size, struct buf *reason)
{
    size_t size = sizeof(struct shared) + answer_size;
    int log_fd = memfd_create("raftctl-child", MFD_CLOEXEC);
    struct shared *shared =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (log_fd < 0 || shared == MAP_FAILED) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        run(data_dir, job, arg, shared, log_fd);
    }
    int status = wait_for(pid);
    int code = shared->done ? shared->code : -RD_ECORRUPT;
    read_reason(log_fd, shared, status, reason);
    if (answer_size) {
        memcpy(answer, shared->answer, answer_size);
    }
    (void)munmap(shared, size);
    (void)close(log_fd);
    return code;
}

int child_fail(struct ctl_error *e, int code, struct buf *reason)
{
    static const struct {
        int code, shown;
    } shown[] = {{-RD_ECONFIG, -RD_EINVALID},     {-RD_ECORRUPT, -RD_EINVALID},
                 {-RD_EFORMAT, -RD_EINVALID},     {-RD_EDISK, -RD_EINVALID},
                 {-RD_EDISK_FULL, -RD_ENO_SPACE}, {-RD_EMAP_FULL, -RD_ENO_SPACE}};

    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        code = code == shown[i].code ? shown[i].shown : code;
    }
    return ctl_fail(e, code, "%s", reason->size ? buf_str(reason) : err_text(code));
}
