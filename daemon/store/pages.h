/* pages.h - the pages of an LMDB file, looked at before LMDB does.
 *
 * LMDB follows what stands in a page without a doubt: one flipped bit in it may end the process by a
 * signal, bring back an older state, or let the next commit overwrite what is in use. So before an
 * environment is opened everything that leads from page to page is verified: both meta pages and that
 * they follow each other, all headers, nodes, sizes, the order of keys, the counts of each database, and
 * that no page is used twice or both used and free. What the records hold is judged by who reads them
 * (record.h: each has its own sum).
 *
 * Threads: any, while nobody writes to the file. It reads each page of a tree once, but no overflow page
 * beyond its header. */
#ifndef RAFTD_STORE_PAGES_H
#define RAFTD_STORE_PAGES_H

/* `path`: of the environment, a directory. No file, or an empty one, is sound. 0; after one log line that names
 * file, page and reason -RD_ECORRUPT, or the code of an error of the disk. */
int store_pages_check(const char *path);

#endif
