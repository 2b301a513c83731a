/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "host.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct SpiceTimer {
    SpiceTimer *next;
    SpiceTimerFunc func;
    void *opaque;
    int64_t deadline; /* -1: not running */
    bool removed;
};

struct SpiceWatch {
    SpiceWatch *next;
    SpiceWatchFunc func;
    void *opaque;
    int fd;
    int mask;
    short ready;
    bool removed;
};

static SpiceTimer *timers;
static SpiceWatch *watches;
static int dispatching;
static pthread_t main_thread;
static int wake_fd = -1;
static pthread_mutex_t complaint_lock = PTHREAD_MUTEX_INITIALIZER;
static char complaint[256];
static struct host_event *events;
static int n_events;

void (*host_on_channel_event)(int event, const SpiceChannelEventInfo *info);

void host_complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&complaint_lock);
    if (!complaint[0])
        vsnprintf(complaint, sizeof complaint, fmt, ap);
    pthread_mutex_unlock(&complaint_lock);
    va_end(ap);
}

const char *host_violation(void)
{
    return complaint[0] ? complaint : NULL;
}

void host_assert_main_thread(const char *where)
{
    if (!pthread_equal(pthread_self(), main_thread))
        host_complain("%s called on another thread", where);
}

/* ---- objects ---- */

static bool timer_known(const SpiceTimer *timer, const char *where)
{
    host_assert_main_thread(where);
    for (SpiceTimer *t = timers; t; t = t->next)
        if (t == timer && !t->removed)
            return true;
    host_complain("%s on a timer that does not exist", where);
    return false;
}

static bool watch_known(const SpiceWatch *watch, const char *where)
{
    host_assert_main_thread(where);
    for (SpiceWatch *w = watches; w; w = w->next)
        if (w == watch && !w->removed)
            return true;
    host_complain("%s on a watch that does not exist", where);
    return false;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    host_assert_main_thread("timer_add");
    SpiceTimer *t = calloc(1, sizeof *t);
    *t = (SpiceTimer){ .next = timers, .func = func, .opaque = opaque, .deadline = -1 };
    timers = t;
    return t;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    if (timer_known(timer, "timer_start"))
        timer->deadline = tap_now() + ms;
}

static void timer_cancel(SpiceTimer *timer)
{
    if (timer_known(timer, "timer_cancel"))
        timer->deadline = -1;
}

/* Objects are freed between turns only: a callback may remove what the turn
 * has still to look at. */
static void sweep(void)
{
    if (dispatching)
        return;
    for (SpiceTimer **p = &timers; *p;) {
        SpiceTimer *t = *p;
        if (t->removed) {
            *p = t->next;
            free(t);
        } else {
            p = &t->next;
        }
    }
    for (SpiceWatch **p = &watches; *p;) {
        SpiceWatch *w = *p;
        if (w->removed) {
            *p = w->next;
            free(w);
        } else {
            p = &w->next;
        }
    }
}

static void timer_remove(SpiceTimer *timer)
{
    if (!timer_known(timer, "timer_remove"))
        return;
    timer->removed = true;
    sweep();
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    host_assert_main_thread("watch_add");
    SpiceWatch *w = calloc(1, sizeof *w);
    *w = (SpiceWatch){ .func = func, .opaque = opaque, .fd = fd, .mask = mask };
    /* The oldest first, as GLib's loop under QEMU has it. */
    SpiceWatch **end = &watches;
    while (*end)
        end = &(*end)->next;
    *end = w;
    return w;
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    if (watch_known(watch, "watch_update_mask"))
        watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    if (!watch_known(watch, "watch_remove"))
        return;
    watch->removed = true;
    sweep();
}

/* ---- channel events ---- */

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    host_assert_main_thread("channel_event");
    if (event < SPICE_CHANNEL_EVENT_CONNECTED || event > SPICE_CHANNEL_EVENT_DISCONNECTED)
        host_complain("channel event %d does not exist", event);
    events = realloc(events, sizeof *events * (size_t)(n_events + 1));
    events[n_events++] = (struct host_event){ .event = event, .info = info, .copy = *info };
    if (host_on_channel_event)
        host_on_channel_event(event, info);
}

int host_event_count(void)
{
    return n_events;
}

const struct host_event *host_event(int i)
{
    if (i < 0 || i >= n_events)
        FAIL("only %d channel events, number %d wanted", n_events, i);
    return &events[i];
}

int host_events_of(int event, int type)
{
    int n = 0;
    for (int i = 0; i < n_events; i++)
        n += events[i].event == event && (!type || events[i].copy.type == type);
    return n;
}

void host_forget_events(void)
{
    n_events = 0;
}

int host_connected_channels(void)
{
    int n = 0;
    for (int i = 0; i < n_events; i++) {
        if (events[i].event != SPICE_CHANNEL_EVENT_INITIALIZED)
            continue;
        bool gone = false;
        for (int j = i + 1; j < n_events && !gone; j++)
            gone = events[j].event == SPICE_CHANNEL_EVENT_DISCONNECTED &&
                   events[j].info == events[i].info;
        n += !gone;
    }
    return n;
}

/* ---- the loop ---- */

static SpiceCoreInterface core = {
    .base = { .type = SPICE_INTERFACE_CORE,
              .description = "poll host",
              .major_version = SPICE_INTERFACE_CORE_MAJOR,
              .minor_version = SPICE_INTERFACE_CORE_MINOR },
    .timer_add = timer_add,
    .timer_start = timer_start,
    .timer_cancel = timer_cancel,
    .timer_remove = timer_remove,
    .watch_add = watch_add,
    .watch_update_mask = watch_update_mask,
    .watch_remove = watch_remove,
    .channel_event = channel_event,
};

void host_init(void)
{
    main_thread = pthread_self();
    if (wake_fd < 0)
        wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

SpiceCoreInterface *host_core(void)
{
    return &core;
}

void host_wake(void)
{
    uint64_t one = 1;
    if (write(wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        host_complain("eventfd: %s", strerror(errno));
}

static int wait_ms(int ms)
{
    int64_t now = tap_now();
    for (SpiceTimer *t = timers; t; t = t->next) {
        if (t->removed || t->deadline < 0)
            continue;
        int64_t left = t->deadline > now ? t->deadline - now : 0;
        if (left < ms)
            ms = (int)left;
    }
    return ms;
}

static void dispatch_timers(void)
{
    int64_t now = tap_now();
    for (SpiceTimer *t = timers; t; t = t->next) {
        if (t->removed || t->deadline < 0 || t->deadline > now)
            continue;
        t->deadline = -1;
        t->func(t->opaque);
    }
}

static void dispatch_watches(void)
{
    for (SpiceWatch *w = watches; w; w = w->next) {
        short ready = w->ready;
        w->ready = 0;
        if (!w->removed && (w->mask & SPICE_WATCH_EVENT_READ) &&
            (ready & (POLLIN | POLLHUP | POLLERR)))
            w->func(w->fd, SPICE_WATCH_EVENT_READ, w->opaque);
        if (!w->removed && (w->mask & SPICE_WATCH_EVENT_WRITE) && (ready & (POLLOUT | POLLERR)))
            w->func(w->fd, SPICE_WATCH_EVENT_WRITE, w->opaque);
    }
}

/** One turn that also waits for `extra`; returns what poll said about it. */
static short turn(struct pollfd extra, int ms)
{
    size_t n = 2;
    for (SpiceWatch *w = watches; w; w = w->next)
        n++;
    struct pollfd *fds = calloc(n, sizeof *fds);
    SpiceWatch **owners = calloc(n, sizeof *owners);
    fds[0] = (struct pollfd){ .fd = wake_fd, .events = POLLIN };
    fds[1] = extra;
    n = 2;
    for (SpiceWatch *w = watches; w; w = w->next) {
        w->ready = 0;
        short want = (short)((w->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                             (w->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0));
        if (!want)
            continue;
        fds[n] = (struct pollfd){ .fd = w->fd, .events = want };
        owners[n++] = w;
    }
    int ready = poll(fds, n, wait_ms(ms));
    if (ready < 0 && errno != EINTR)
        FAIL("poll: %s", strerror(errno));
    if (ready > 0) {
        uint64_t ignored;
        if (fds[0].revents && read(wake_fd, &ignored, sizeof ignored) < 0 && errno != EAGAIN)
            FAIL("eventfd: %s", strerror(errno));
        for (size_t i = 2; i < n; i++) {
            if (fds[i].revents & POLLNVAL)
                host_complain("watch on closed descriptor %d", fds[i].fd);
            owners[i]->ready = fds[i].revents;
        }
    }
    short about_extra = ready > 0 ? fds[1].revents : 0;
    free(fds);
    free(owners);
    dispatching++;
    dispatch_timers();
    dispatch_watches();
    dispatching--;
    sweep();
    return about_extra;
}

static const struct pollfd NOTHING = { .fd = -1 };

void host_turn(int ms)
{
    turn(NOTHING, ms);
}

bool host_run_until(bool (*done)(void *), void *opaque, int ms)
{
    int64_t deadline = tap_now() + tap_ms(ms);
    for (;;) {
        if (done(opaque))
            return true;
        int64_t left = deadline - tap_now();
        if (left <= 0)
            return false;
        turn(NOTHING, (int)left);
    }
}

bool host_wait_fd(int fd, short wanted, int ms)
{
    int64_t deadline = tap_now() + tap_ms(ms);
    for (;;) {
        int64_t left = deadline - tap_now();
        if (turn((struct pollfd){ .fd = fd, .events = wanted }, left > 0 ? (int)left : 0))
            return true;
        if (left <= 0)
            return false;
    }
}

void host_run_for(int ms)
{
    int64_t deadline = tap_now() + ms;
    for (int64_t left = ms; left > 0; left = deadline - tap_now())
        turn(NOTHING, (int)left);
}

void host_drain(void)
{
    for (int i = 0; i < 1000; i++) {
        struct pollfd probe = NOTHING;
        bool busy = false;
        for (SpiceWatch *w = watches; w && !busy; w = w->next) {
            probe = (struct pollfd){ .fd = w->fd };
            probe.events = (short)((w->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                                   (w->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0));
            busy = probe.events && poll(&probe, 1, 0) > 0;
        }
        if (!busy)
            return;
        turn(NOTHING, 0);
    }
    host_complain("the loop never becomes idle");
}

/* ---- accounts ---- */

int host_timers(void)
{
    int n = 0;
    for (SpiceTimer *t = timers; t; t = t->next)
        n += !t->removed;
    return n;
}

int host_armed_timers(void)
{
    int n = 0;
    for (SpiceTimer *t = timers; t; t = t->next)
        n += !t->removed && t->deadline >= 0;
    return n;
}

int host_next_timer_ms(void)
{
    int64_t first = -1, now = tap_now();
    for (SpiceTimer *t = timers; t; t = t->next)
        if (!t->removed && t->deadline >= 0 && (first < 0 || t->deadline < first))
            first = t->deadline;
    return first < 0 ? -1 : first > now ? (int)(first - now) : 0;
}

int host_watches(void)
{
    int n = 0;
    for (SpiceWatch *w = watches; w; w = w->next)
        n += !w->removed;
    return n;
}

void host_report_leftovers(void)
{
    for (SpiceTimer *t = timers; t; t = t->next)
        fprintf(stderr, "host: timer left%s\n", t->deadline >= 0 ? ", running" : "");
    for (SpiceWatch *w = watches; w; w = w->next)
        fprintf(stderr, "host: watch left on descriptor %d, mask %d\n", w->fd, w->mask);
}
