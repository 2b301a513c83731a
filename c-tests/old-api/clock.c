/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long skipped_ms;
static atomic_long calls;
static _Atomic bool frozen;
static struct timespec frozen_at;

int clock_gettime(clockid_t id, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, id, now);
    if (result || id != CLOCK_MONOTONIC)
        return result;
    if (frozen)
        *now = frozen_at;
    long ms = atomic_load(&skipped_ms);
    now->tv_sec += ms / 1000;
    now->tv_nsec += ms % 1000 * 1000000;
    if (now->tv_nsec >= 1000000000) {
        now->tv_sec++;
        now->tv_nsec -= 1000000000;
    }
    atomic_fetch_add(&calls, 1);
    return 0;
}

void clock_freeze(void)
{
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &frozen_at);
    frozen = true;
}

void clock_skip_ms(int ms)
{
    atomic_fetch_add(&skipped_ms, ms);
}

long clock_calls(void)
{
    return atomic_load(&calls);
}
