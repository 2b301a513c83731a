/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's clock, finer than its shell has it.  `clock` prints microseconds; `clock COUNT`
 * how late a timer of one millisecond is: the median, the 99th percentile and the worst of so
 * many, in microseconds.  Linked statically: the guest has no libraries. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int by_size(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct timespec next, now;
    if (argc < 2) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("%lld\n", now.tv_sec * 1000000LL + now.tv_nsec / 1000);
        return 0;
    }
    int count = atoi(argv[1]);
    long *late = calloc((size_t)count + 1, sizeof *late);
    if (!late || count < 1)
        return 2;
    for (int i = 0; i < count; i++) {
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_nsec += 1000000;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        late[i] = (now.tv_sec - next.tv_sec) * 1000000 + (now.tv_nsec - next.tv_nsec) / 1000;
    }
    qsort(late, (size_t)count, sizeof *late, by_size);
    printf("%ld %ld %ld\n", late[count / 2], late[count * 99 / 100], late[count - 1]);
    return 0;
}
