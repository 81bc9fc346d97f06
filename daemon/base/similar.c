#include "base/similar.h"

#include <stddef.h>
#include <string.h>

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t similar_distance(const char *a, const char *b)
{
    uint32_t cost[SIMILAR_WORD_MAX + 1][SIMILAR_WORD_MAX + 1];
    size_t an = strnlen(a, SIMILAR_WORD_MAX);
    size_t bn = strnlen(b, SIMILAR_WORD_MAX);

    for (size_t i = 0; i <= an; i++) {
        for (size_t j = 0; j <= bn; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = (uint32_t)(i + j);
                continue;
            }
            uint32_t differ = a[i - 1] != b[j - 1];
            cost[i][j] =
                least(cost[i - 1][j - 1] + differ, least(cost[i - 1][j], cost[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
            }
        }
    }
    return cost[an][bn] + (uint32_t)(strlen(a + an) + strlen(b + bn));
}
