/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Test runner and reports.
 *
 * A test program is a table of cases handed to tap_main().  Each case runs in a
 * forked child, so that a crash, an abort or a hang of the library ends one case
 * only, and descriptors, threads and memory are counted from a clean start.
 *
 * stdout carries one deterministic line per case and a closing count; it is what
 * `scripts/differential` compares between two libraries:
 *
 *     ok NAME
 *     ok NAME RESULT       (tap_result(): what must be the same on both)
 *     not ok NAME: why
 *     skip NAME            (only with REFERENCE=debian, see differences.h)
 *
 * Environment:
 *     REFERENCE=debian   the library under test is upstream 0.15.1
 *     TAP_NO_FORK=1      run the cases in this process (debuggers, valgrind)
 *     TAP_SCALE=N        multiply every deadline by N (valgrind)
 *     TAP_LIBRARY=DIR    refuse to run on a libspice-server.so.1 from elsewhere
 *     TAP_VERBOSE=1      show the stderr of passing cases as well
 */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tap_case {
    const char *name;
    void (*run)(void);
};

#define TAP_CASE(fn) { #fn, fn }
#define TAP_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/** Runs the cases (all, or those named in argv) and returns the exit status. */
int tap_main(int argc, char **argv, const char *suite, const struct tap_case *cases, size_t n);

/** Ends the current case as failed. */
_Noreturn void tap_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** What the current case found; the last call counts. */
void tap_result(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** Name of the running case. */
const char *tap_current(void);

/** A directory of this program alone, emptied after each case. */
const char *tap_directory(void);

/** A deadline in milliseconds, scaled by TAP_SCALE. */
int tap_ms(int ms);

/** Milliseconds of the monotonic clock. */
int64_t tap_now(void);

/**
 * Log lines that the library wrote to stderr since the case began (or since
 * tap_log_mark()).  `needle` NULL counts every line.
 */
int tap_log_lines(const char *needle);
void tap_log_mark(void);

/** A panic inside the library, which it contains, ends a case as failed; not after this call,
 *  which comes before tap_main(). */
void tap_want_panics(void);

/** What the process owns; taken before a server exists and compared after it. */
struct tap_usage {
    int fds;
    int threads;
    long rss_kib;
};
struct tap_usage tap_usage(void);
/**
 * The most memory that was resident since tap_peak_reset(), in KiB.  From the first
 * reset on, what is freed goes back to the system at once, so that memory which lies
 * about in malloc() does not hide what is taken anew.
 */
void tap_peak_reset(void);
long tap_peak_kib(void);
/** Writes the open descriptors to stderr (to explain a failed comparison). */
void tap_list_fds(void);

#define FAIL(...) tap_fail(__FILE__, __LINE__, __VA_ARGS__)

#define EXPECT(cond) \
    do { \
        if (!(cond)) \
            FAIL("expected %s", #cond); \
    } while (0)

#define EXPECT_MSG(cond, ...) \
    do { \
        if (!(cond)) \
            FAIL(__VA_ARGS__); \
    } while (0)

#define EXPECT_EQ(got, want) \
    do { \
        long long got_ = (long long)(got), want_ = (long long)(want); \
        if (got_ != want_) \
            FAIL("%s is %lld, expected %lld", #got, got_, want_); \
    } while (0)

#endif
