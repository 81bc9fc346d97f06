#include "base/stdfd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int stdfd_ensure(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            continue;
        }
        /* The lowest free number is taken: this one. Programs we start inherit it, as they should.
         * NOLINTNEXTLINE(android-cloexec-open) */
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) {
            return -errno;
        }
    }
    return 0;
}
