/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts allocations of a process, for LD_PRELOAD: all threads, from the first byte of data
 * on (bench-host says so by bench_count_from_here), told on stderr at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_ulong allocations, bytes;

void bench_count_from_here(void)
{
    allocations = bytes = 0;
}

static void count(size_t n)
{
    allocations++;
    bytes += n;
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t n)
{
    count(n);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    count(n);
    return __libc_realloc(p, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    count(n);
    *p = __libc_memalign(alignment, n);
    return *p ? 0 : ENOMEM;
}

void _exit(int status)
{
    fprintf(stderr, "allocations %lu bytes %lu\n", (unsigned long)allocations,
            (unsigned long)bytes);
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}
