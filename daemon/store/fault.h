/* fault.h - what an error of LMDB or of a system call means for raftd, said once in the log.
 *
 * Threads: any. `rc` is an LMDB return code: a positive errno or a negative MDB_... code. */
#ifndef RAFTD_STORE_FAULT_H
#define RAFTD_STORE_FAULT_H

#include <stdint.h>

#include "base/err.h"

/* What to do about pages or records that were changed behind our back. */
#define STORE_FAULT_DAMAGED "check the disk; " RD_MAKE_ANEW

/* The negative RD_E... code of rc while a store is opened: what the operator may have got wrong
 * (permissions, a read-only file system, no memory for the map) is -RD_ECONFIG. `free_bytes` is what
 * the file system has left. LMDB turns a write cut short by a full file system into EIO, so EIO with
 * nothing left means full. */
int store_fault_code(int rc, uint64_t free_bytes);
/* The same for a store that was opened: never -RD_ECONFIG, -RD_EDISK instead. */
int store_fault_code_running(int rc, uint64_t free_bytes);

/* One error line: `what` failed on `path`, the cause, what to do. Returns the code of rc. */
int store_fault_report(const char *what, const char *path, int rc);
int store_fault_report_running(const char *what, const char *path, int rc);

/* From now on this process is a command on a directory, not raftd: it is told what to do as such, and what
 * it may not use is -RD_EPERMISSION. */
void store_fault_offline(void);

/* The latter, then the end of the process with the code's exit status: nothing that depended on the
 * operation can leave any more, and nothing is tried twice. */
_Noreturn void store_fault_die(const char *what, const char *path, int rc);

/* From now on a page of the mapped files that cannot be read (truncated file, bad sector: SIGBUS)
 * ends the process with one line that names the directory and exit status 81. Loop thread, before
 * the files are mapped; the last directory guarded is the one named. */
void store_fault_guard(const char *data_dir);

#endif
