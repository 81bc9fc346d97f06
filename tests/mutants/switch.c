/* Which mutant is switched on (weave.py): RAFT_MUTANT in the environment. */
#include <stdlib.h>

extern int raft_mutant;
int raft_mutant;

__attribute__((constructor)) static void choose(void)
{
    const char *number = getenv("RAFT_MUTANT");

    raft_mutant = number ? (int)strtol(number, NULL, 10) : 0;
}
