/* lease.h - what raftd's answers to `hold` mean for who acts as leader: may it begin, until when
 * may it go on, is it over; and when to ask again.
 *
 * Pure: all times are arguments, on mono_now_ms()'s clock. A claim lasts from when the request was
 * *sent*: when the answer was made or read says nothing.
 *
 *      asked                          term_at        kill_at   ends_at
 *        |------ longest_ms --------------|- quarter ---|- tenth -|
 *
 * Threads: one. Ownership: plain data. */
#ifndef RAFTD_RAFTCTL_LEASE_H
#define RAFTD_RAFTCTL_LEASE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LEASE_PACE_MS = 5, /* between an answer and the next question, at least */
    LEASE_MARGIN_MIN_MS = 5,
};

struct lease_answer {
    bool is_leader;
    uint64_t fence; /* 0: none */
    uint64_t remaining_ms;
};

enum lease_verdict {
    LEASE_NONE,   /* this node does not lead (yet), or too little of its lease is left to begin */
    LEASE_BEGINS, /* from now on somebody may act, within the times below */
    LEASE_GOES_ON,
    LEASE_LOST, /* nobody may begin to act; who acts has to end. Final */
};

struct lease {
    uint64_t grace_ms;   /* that it may take to stop */
    uint64_t fence;      /* of the leadership that is held; 0: none */
    uint64_t longest_ms; /* claim that was told in it */
    uint64_t ends_at;    /* of the newest claim: nobody of ours may act any more */
    uint64_t asked_at;
    uint64_t ask_at; /* UINT64_MAX: not before lease_wake() */
    bool open;       /* asked, and not answered */
    bool lost;
};

void lease_init(struct lease *l, uint64_t grace_ms);

/* When to ask next: UINT64_MAX while that is open or not known, or leadership is lost. */
uint64_t lease_due(const struct lease *l);
/* Something has changed: ask as soon as the open request is answered. */
void lease_wake(struct lease *l);

void lease_asked(struct lease *l, uint64_t now);
enum lease_verdict lease_answered(struct lease *l, const struct lease_answer *a, uint64_t now);
/* Found out by other means: there will be no answer, or no use for it. */
void lease_lose(struct lease *l);

/* Without another answer: when to end by SIGTERM, and when by SIGKILL, so that it is done at the
 * end of the claim. */
uint64_t lease_term_at(const struct lease *l);
uint64_t lease_kill_at(const struct lease *l);
/* What is kept free between SIGKILL and the end of the claim. */
uint64_t lease_margin_ms(const struct lease *l);

#endif
