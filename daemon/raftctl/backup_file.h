/* backup_file.h - backups as files: "raftd backup", u32 format, then pieces until the end:
 *
 *   u32 size, u32 crc (CRC32C of the size and the piece), the piece: a byte (enum stream_kind), its bytes
 *
 * state/stream.h says what the pieces are: origin, head, rows any number of times, tail. All numbers
 * little-endian. The layout may only change by a new format number.
 *
 * A file is written under a name of its own and gets the one wanted when it is whole, verified and durable:
 * until then it goes away with whatever goes wrong, and with the process on SIGINT, SIGTERM or SIGHUP.
 *
 * Threads: one. Ownership: stated per call. */
#ifndef RAFTD_RAFTCTL_BACKUP_FILE_H
#define RAFTD_RAFTCTL_BACKUP_FILE_H

#include "raftctl/ctl.h"
#include "state/state.h"
#include "state/stream.h"

/* ---- Reading ---- */

struct backup { /* a whole, verified one */
    struct stream_origin origin;
    struct stream_head head; /* its membership is in `membership` */
    struct blob *membership;
    struct state *state;
    uint64_t bytes; /* of the file */
};

/* All of it, verified: checksums, order, length, and that the rows have the digest. `name` is what errors
 * call the file; they tell the offset. 0, or a negative code and nothing to free. */
int backup_load(const char *path, const char *name, struct backup *out, struct ctl_error *e);
void backup_done(struct backup *b);

/* ---- Writing ---- */

struct backup_writer {
    const char *path; /* wanted; borrowed */
    char *temporary;  /* the name until then */
    int fd;
    uint64_t bytes;
};

int backup_create(struct backup_writer *w, const char *path, struct ctl_error *e);
int backup_add(struct backup_writer *w, const void *piece, size_t size, struct ctl_error *e);
/* Verified as backup_load() does, synced, and under its name. What was read is the caller's. */
int backup_commit(struct backup_writer *w, struct backup *out, struct ctl_error *e);
void backup_close(struct backup_writer *w); /* what was not committed is gone */

#endif
