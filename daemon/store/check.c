/* Looking at a data directory that no raftd uses. */
#include "store/fault.h"
#include "store/files.h"
#include "store/rlog.h"

static int add_entry(void *arg, const struct raft_entry *entry)
{
    struct store_check *c = arg;

    c->last_term = entry->term;
    c->last_chain = entry->chain;
    c->entries_bytes += entry->data ? entry->data->size : 0;
    return 0;
}

static int verify(const struct store_files *files, const struct store_contents *found,
                  struct store_check *out)
{
    struct store_reader reader;
    int rc = store_reader_open(&files->log, files->dbi, &reader);

    if (rc != 0) {
        return store_fault_report("the log cannot be read", files->log.path, rc);
    }
    const struct store_trust trust = {.base = &found->base, .term_max = found->hard.term};
    int code = store_rlog_verify(&reader, &trust, add_entry, NULL, out);
    store_reader_close(&reader);
    return code;
}

int store_check(const char *data_dir, struct store_check *out)
{
    struct store_contents found;
    struct store_files files;

    store_fault_guard(data_dir);
    int code = store_files_inspect(data_dir, &files, &found);
    if (code != 0) {
        return code;
    }
    struct store_check check = {.id = found.identity.id,
                                .store = found.identity.store,
                                .cluster = found.hard.cluster,
                                .incarnation = found.incarnation,
                                .term = found.hard.term,
                                .vote = found.hard.vote,
                                .first = found.first,
                                .last = found.last};
    code = verify(&files, &found, &check);
    store_files_close(&files);
    if (code == 0) {
        *out = check;
    }
    return code;
}
