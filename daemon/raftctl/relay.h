/* relay.h - the signals that raftctl gets and that mean the command it runs.
 *
 * From relay_open() on they are read from a descriptor, so none is lost between two states; what
 * was ignored when raftctl was started stays so. Threads: one. */
#ifndef RAFTD_RAFTCTL_RELAY_H
#define RAFTD_RAFTCTL_RELAY_H

#include <signal.h>
#include <stdbool.h>

struct relay {
    int fd;        /* readable: relay_next() has something */
    sigset_t mask; /* as it was found */
};

/* Catch those that end raftctl (HUP, INT, QUIT, TERM). 0, or -errno. */
int relay_open(struct relay *r);
/* The others from now on, too: there is a command they can mean. */
void relay_widen(struct relay *r);

/* The next one, 0 when there is none. */
int relay_next(const struct relay *r);

/* Who sends `number` to raftctl wants `first` sent to the command and, unless 0, `then`. */
struct relay_rule {
    int number, first, then;
};
const struct relay_rule *relay_rule(int number); /* never NULL for what relay_next() returned */

/* End as the signal would have ended raftctl. */
_Noreturn void relay_end_by(int number);

#endif
