/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "tap.h"
#include "differences.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CASE_DEADLINE_MS = 60000, RESULT_SIZE = 256 };

static const char *current = "";
static int reason_fd = -1;   /* where a failing case leaves its reason */
static int log_fd = -1;      /* the case's stderr */
static off_t log_mark;
static bool no_fork;
static bool panics_wanted;
static char *result; /* what the case found, shared with its child */
static char directory[64] = "/tmp/spice-test.XXXXXX";

const char *tap_current(void)
{
    return current;
}

const char *tap_directory(void)
{
    return directory;
}

static void empty_directory(void)
{
    DIR *d = opendir(directory);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

int tap_ms(int ms)
{
    const char *scale = getenv("TAP_SCALE");
    return scale ? ms * atoi(scale) : ms;
}

int64_t tap_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void tap_fail(const char *file, int line, const char *fmt, ...)
{
    char text[1024];
    const char *base = strrchr(file, '/');
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char reason[1200];
    int n = snprintf(reason, sizeof reason, "%s (%s:%d)", text, base ? base + 1 : file, line);
    if (no_fork) {
        printf("not ok %s: %s\n", current, reason);
        fflush(stdout);
        _exit(1);
    }
    /* In a program that runs no cases there is nobody to tell but people. */
    if (write(reason_fd < 0 ? STDERR_FILENO : reason_fd, reason, (size_t)n) != n)
        perror("tap: write");
    _exit(1);
}

void tap_result(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(result, RESULT_SIZE, fmt, ap);
    va_end(ap);
}

static void print_ok(void)
{
    printf("ok %s%s%s\n", current, *result ? " " : "", result);
}

void tap_want_panics(void)
{
    panics_wanted = true;
}

void tap_log_mark(void)
{
    log_mark = lseek(log_fd, 0, SEEK_END);
}

int tap_log_lines(const char *needle)
{
    if (log_fd < 0)
        FAIL("the log can only be read in a forked case");
    off_t end = lseek(log_fd, 0, SEEK_END);
    size_t size = (size_t)(end - log_mark);
    char *text = malloc(size + 1);
    ssize_t got = pread(log_fd, text, size, log_mark);
    text[got < 0 ? 0 : got] = 0;
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (*line && (!needle || strstr(line, needle)))
            lines++;
    free(text);
    return lines;
}

static int count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return -1;
    int n = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

struct tap_usage tap_usage(void)
{
    struct tap_usage u = { .fds = count_entries("/proc/self/fd"),
                           .threads = count_entries("/proc/self/task") };
    FILE *f = fopen("/proc/self/statm", "r");
    long size, resident;
    if (f && fscanf(f, "%ld %ld", &size, &resident) == 2)
        u.rss_kib = resident * (sysconf(_SC_PAGESIZE) / 1024);
    if (f)
        fclose(f);
    return u;
}

void tap_peak_reset(void)
{
    mallopt(M_MMAP_THRESHOLD, 64 << 10);
    mallopt(M_TRIM_THRESHOLD, 64 << 10);
    malloc_trim(0);
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1)
        FAIL("cannot reset the peak of memory: %s", strerror(errno));
    close(fd);
}

long tap_peak_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    if (kib < 0)
        FAIL("/proc/self/status has no VmHWM");
    return kib;
}

void tap_list_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char path[300], target[256];
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n > 0) {
            target[n] = 0;
            fprintf(stderr, "tap: fd %s -> %s\n", e->d_name, target);
        }
    }
    closedir(d);
}

static void copy_to_stderr(int fd)
{
    char buf[4096];
    lseek(fd, 0, SEEK_SET);
    for (ssize_t n = read(fd, buf, sizeof buf); n > 0; n = read(fd, buf, sizeof buf))
        if (write(STDERR_FILENO, buf, (size_t)n) < 0)
            return;
}

/** Whether a line of the log has `needle` in it; the line is written to `found`. */
static bool in_log(int log, const char *needle, char *found, size_t size)
{
    FILE *f = fdopen(dup(log), "r");
    char line[1024];
    bool any = false;
    rewind(f);
    while (!any && fgets(line, sizeof line, f))
        any = strstr(line, needle) != NULL;
    fclose(f);
    if (any)
        snprintf(found, size, "%.*s", (int)strcspn(line, "\n"), line);
    return any;
}

/** Runs one case in a child; fills `reason` and returns false when it failed. */
static bool run_forked(const struct tap_case *c, char *reason, size_t size)
{
    int p[2];
    int log = memfd_create("case-stderr", MFD_CLOEXEC);
    if (log < 0 || pipe(p) < 0) {
        snprintf(reason, size, "cannot set up: %s", strerror(errno));
        return false;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        reason_fd = p[1];
        log_fd = log;
        dup2(log, STDERR_FILENO);
        setvbuf(stderr, NULL, _IONBF, 0);
        c->run();
        exit(0);
    }
    close(p[1]);
    struct pollfd pfd = { .fd = p[0], .events = POLLIN };
    bool hung = poll(&pfd, 1, tap_ms(CASE_DEADLINE_MS)) == 0;
    if (hung)
        kill(pid, SIGKILL);
    ssize_t n = hung ? 0 : read(p[0], reason, size - 1);
    reason[n > 0 ? n : 0] = 0;
    close(p[0]);
    int status;
    waitpid(pid, &status, 0);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && n == 0 && !hung;
    if (hung)
        snprintf(reason, size, "did not end within %d s", tap_ms(CASE_DEADLINE_MS) / 1000);
    else if (WIFSIGNALED(status))
        snprintf(reason, size, "died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (!good && n <= 0)
        snprintf(reason, size, "exit status %d", WEXITSTATUS(status));
    if (good && !panics_wanted && in_log(log, "internal error", reason, size))
        good = false;
    if (!good || getenv("TAP_VERBOSE")) {
        fprintf(stderr, "--- stderr of %s\n", c->name);
        copy_to_stderr(log);
    }
    close(log);
    return good;
}

static bool wanted(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return argc < 2;
}

/** Whether the library under test comes from where it should. */
static bool right_library(void)
{
    const char *want = getenv("TAP_LIBRARY");
    bool found = !want;
    char line[512], real[PATH_MAX];
    FILE *maps = want && realpath(want, real) ? fopen("/proc/self/maps", "r") : NULL;
    while (maps && fgets(line, sizeof line, maps)) {
        const char *file = strstr(line, "/libspice-server.so.1");
        const char *path = strchr(line, '/');
        found = found || (file && (size_t)(file - path) == strlen(real) &&
                          !strncmp(path, real, strlen(real)));
    }
    if (maps)
        fclose(maps);
    if (!found)
        printf("# libspice-server.so.1 does not come from %s\n", want);
    return found;
}

int tap_main(int argc, char **argv, const char *suite, const struct tap_case *cases, size_t n)
{
    int passed = 0, failed = 0, skipped = 0;
    if (!right_library())
        return 1;
    no_fork = getenv("TAP_NO_FORK") != NULL;
    /* The library must not raise SIGPIPE, and the host must not hide it if it does. */
    signal(SIGPIPE, differs(DIFF_SIGPIPE, 0, 1) ? SIG_IGN : SIG_DFL);
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    result = mmap(NULL, RESULT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED) {
        perror("tap: mmap");
        return 1;
    }
    printf("# %s\n", suite);
    for (size_t i = 0; i < n; i++) {
        char reason[1400] = "";
        if (!wanted(argc, argv, cases[i].name))
            continue;
        current = cases[i].name;
        *result = 0;
        if (reference_skips(suite, current)) {
            printf("skip %s\n", current);
            skipped++;
        } else if (no_fork) {
            cases[i].run();
            print_ok();
            passed++;
        } else if (run_forked(&cases[i], reason, sizeof reason)) {
            print_ok();
            passed++;
        } else {
            printf("not ok %s: %s\n", current, reason);
            failed++;
        }
        fflush(stdout);
        empty_directory();
    }
    rmdir(directory);
    printf("# %s: %d cases, %d failed\n", suite, passed + failed + skipped, failed);
    if (passed + failed + skipped == 0)
        printf("# no such case\n");
    return failed || passed + skipped == 0;
}
