/* Tests of backup_file.h: what is whole is read as it was written, and nothing else is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "raftctl/backup_file.h"

static char dir[64];
static char path[96];
static struct ctl_error error;

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/raftctl-backup-XXXXXX");
    if (!mkdtemp(dir)) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/b", dir);
    return 0;
}

static uint32_t files_count(void)
{
    DIR *stream = opendir(dir);
    uint32_t count = 0;

    assert_non_null(stream);
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(stream);
    return count;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(dir);
}

/* ---- A small one ---- */

/* Applies two writes; their rows and what they come to. */
static struct state *make_state(struct state_rows *rows)
{
    struct state *s = state_new();

    for (uint64_t i = 1; i <= 2; i++) {
        struct state_txn txn = {.ops_count = 1};
        struct state_command command = {.quota = UINT64_MAX};
        struct state_result result;
        struct buf bytes = BUF_INIT;
        struct buf entry = BUF_INIT;
        txn.ops[0] = (struct state_op){.type = STATE_OP_PUT,
                                       .key = (const uint8_t *)(i == 1 ? "a" : "b"),
                                       .key_size = 1,
                                       .value = (const uint8_t *)"value",
                                       .value_size = 5};
        assert_int_equal(state_txn_encode(&txn, &bytes), 0);
        command.txn = bytes.data;
        command.txn_size = bytes.size;
        state_command_encode(&command, &entry);
        state_apply(s, i, 1, entry.data, entry.size, &result, rows);
        assert_int_equal(result.code, 0);
        buf_done(&bytes);
        buf_done(&entry);
    }
    return s;
}

static void add(struct backup_writer *w, struct buf *piece)
{
    assert_int_equal(backup_add(w, piece->data, piece->size, &error), 0);
    piece->size = 0;
}

static void add_all(struct backup_writer *w)
{
    struct stream_origin origin = {.node = 4, .cluster = {{9}}, .created_ms = 77, .version = "1.2"};
    struct state_rows rows = {0};
    struct state *s = make_state(&rows);
    struct stream_head head = {.index = 2,
                               .term = 1,
                               .chain = 3,
                               .revision = state_revision(s),
                               .digest = state_digest(s),
                               .membership_index = 1,
                               .membership = "who",
                               .membership_size = 3};
    struct buf piece = BUF_INIT;
    uint64_t counted;

    buf_put_u8(&piece, STREAM_ORIGIN);
    stream_put_origin(&piece, &origin);
    add(w, &piece);
    buf_put_u8(&piece, STREAM_HEAD);
    stream_put_head(&piece, &head);
    counted = piece.size - 1;
    add(w, &piece);
    for (uint32_t i = 0; i < rows.count; i++) { /* a piece each */
        const struct state_row *row = &rows.rows[i];
        buf_put_u8(&piece, STREAM_ROWS);
        stream_put_row(&piece, rows.bytes.data + row->key_at, row->key_size,
                       rows.bytes.data + row->value_at, row->value_size);
        counted += piece.size - 1;
        add(w, &piece);
    }
    buf_put_u8(&piece, STREAM_TAIL);
    stream_put_tail(&piece, counted);
    add(w, &piece);
    buf_done(&piece);
    state_rows_done(&rows);
    state_free(s);
}

static void write_one(void)
{
    struct backup_writer w;
    struct backup b;

    assert_int_equal(backup_create(&w, path, &error), 0);
    add_all(&w);
    assert_int_equal(backup_commit(&w, &b, &error), 0);
    backup_close(&w);
    backup_done(&b);
}

static void what_was_written_is_read(void **state)
{
    struct backup b;
    struct state_kv kv;
    struct stat st;

    (void)state;
    write_one();
    assert_int_equal(files_count(), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(backup_load(path, "it", &b, &error), 0);
    assert_int_equal(b.bytes, st.st_size);
    assert_int_equal(b.origin.node, 4);
    assert_int_equal(b.origin.cluster.bytes[0], 9);
    assert_int_equal(b.origin.created_ms, 77);
    assert_string_equal(b.origin.version, "1.2");
    assert_int_equal(b.head.index, 2);
    assert_int_equal(b.head.revision, 2);
    assert_int_equal(b.membership->size, 3);
    assert_memory_equal(b.membership->data, "who", 3);
    assert_int_equal(state_keys(b.state), 2);
    assert_true(state_get(b.state, "b", 1, &kv));
    assert_memory_equal(kv.value, "value", 5);
    backup_done(&b);
}

/* ---- Damage ---- */

static struct buf read_bytes(void)
{
    struct buf out = BUF_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    buf_reserve(&out, 4096);
    ssize_t size = read(fd, out.data, 4096);
    assert_in_range(size, 1, 4095);
    out.size = (size_t)size;
    (void)close(fd);
    return out;
}

static void assert_refused(const struct buf *bytes, size_t size)
{
    struct backup b;
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes->data, size), size);
    (void)close(fd);
    assert_int_equal(backup_load(path, "the file", &b, &error), -RD_EINVALID);
    assert_memory_equal(error.message, "the file ", 9);
}

static void what_is_cut_short_is_refused(void **state)
{
    (void)state;
    write_one();
    struct buf bytes = read_bytes();
    for (size_t size = 0; size < bytes.size; size++) {
        assert_refused(&bytes, size);
        char at[64];
        (void)snprintf(at, sizeof at, "cut short at byte %zu", size);
        assert_non_null(strstr(error.message, size < 16 ? "no backup of raftd" : at));
    }
    buf_put_u8(&bytes, 0); /* nor may anything follow */
    assert_refused(&bytes, bytes.size);
    buf_done(&bytes);
}

static void each_bit_counts(void **state)
{
    (void)state;
    write_one();
    struct buf bytes = read_bytes();
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_refused(&bytes, bytes.size);
        bytes.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    buf_done(&bytes);
}

/* Every order of pieces that lacks one, has one twice, or swaps two. Sums are right: only their place is
 * wrong, or what they add up to. */
static void pieces_have_their_place(void **state)
{
    static const char *const orders[] = {"",      "0",      "1",     "01",     "0123",  "0124",
                                         "0134",  "1234",   "02341", "012234", "02134", "00123",
                                         "01243", "012344", "01223", "4"};
    size_t starts[6];
    size_t at = 16;

    (void)state;
    write_one();
    struct buf bytes = read_bytes();
    for (size_t i = 0; i < 5; i++) {
        struct cursor c = cursor_over(bytes.data + at, 4);
        starts[i] = at;
        at += 8 + cursor_u32(&c);
    }
    starts[5] = at;
    assert_int_equal(at, bytes.size);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        struct buf made = BUF_INIT;
        buf_put(&made, bytes.data, 16);
        for (const char *p = orders[i]; *p; p++) {
            size_t piece = (size_t)(*p - '0');
            buf_put(&made, bytes.data + starts[piece], starts[piece + 1] - starts[piece]);
        }
        assert_refused(&made, made.size);
        buf_done(&made);
    }
    buf_done(&bytes);
}

static void what_is_no_backup_is_told(void **state)
{
    struct buf text = BUF_INIT;
    struct backup b;

    (void)state;
    write_one();
    buf_put_str(&text, "a letter, or whatever this file is");
    assert_refused(&text, text.size);
    assert_string_equal(error.message, "the file is no backup of raftd");
    text.size = 0;
    buf_put_str(&text, "raftd backup");
    buf_put_u32(&text, 2);
    assert_refused(&text, text.size);
    assert_non_null(strstr(error.message, "has the format 2, this raftctl knows 1"));
    buf_done(&text);
    assert_int_equal(backup_load(dir, "the directory", &b, &error), -RD_EINVALID);
    assert_non_null(strstr(error.message, "cannot read the directory at byte 0"));
    assert_int_equal(backup_load("/nonexistent", "/nonexistent", &b, &error), -RD_EINVALID);
    assert_non_null(strstr(error.message, "cannot open /nonexistent"));
}

/* ---- Nothing is left ---- */

static void what_is_not_whole_never_gets_the_name(void **state)
{
    struct backup_writer w;
    struct backup b;
    struct buf piece = BUF_INIT;
    struct stream_origin origin = {.node = 4};

    (void)state;
    assert_int_equal(backup_create(&w, path, &error), 0);
    buf_put_u8(&piece, STREAM_ORIGIN);
    stream_put_origin(&piece, &origin);
    add(&w, &piece);
    buf_done(&piece);
    assert_int_equal(backup_commit(&w, &b, &error), -RD_EINVALID);
    assert_non_null(strstr(error.message, "what raftd sent is cut short"));
    backup_close(&w);
    assert_int_equal(files_count(), 0);
}

static void an_earlier_one_stays_until_then(void **state)
{
    struct backup_writer w;
    struct backup b;

    (void)state;
    write_one();
    assert_int_equal(backup_create(&w, path, &error), 0);
    backup_close(&w);
    assert_int_equal(files_count(), 1);
    assert_int_equal(backup_load(path, "it", &b, &error), 0);
    backup_done(&b);
    write_one(); /* and is replaced then */
    assert_int_equal(files_count(), 1);
}

static void only_files_are_replaced(void **state)
{
    struct backup_writer w;

    (void)state;
    assert_int_equal(backup_create(&w, dir, &error), -RD_EINVALID);
    assert_non_null(strstr(error.message, "no regular file"));
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(backup_create(&w, path, &error), -RD_EINVALID);
    assert_int_equal(backup_create(&w, "/dev/null", &error), -RD_EINVALID);
    assert_int_equal(backup_create(&w, "/nonexistent/b", &error), -RD_EINVALID);
    assert_int_equal(files_count(), 1);
}

static void a_signal_leaves_nothing(void **state)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct backup_writer w;
            (void)signal(numbers[i], SIG_DFL); /* as nohup(1) leaves it, it would be ignored */
            if (backup_create(&w, path, &error)) {
                _exit(1);
            }
            (void)raise(numbers[i]);
            _exit(2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == numbers[i]);
        assert_int_equal(files_count(), 0);
    }
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(what_was_written_is_read),
        FILE_TEST(what_is_cut_short_is_refused),
        FILE_TEST(each_bit_counts),
        FILE_TEST(pieces_have_their_place),
        FILE_TEST(what_is_no_backup_is_told),
        FILE_TEST(what_is_not_whole_never_gets_the_name),
        FILE_TEST(an_earlier_one_stays_until_then),
        FILE_TEST(only_files_are_replaced),
        FILE_TEST(a_signal_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
