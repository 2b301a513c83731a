/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "loop.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

struct SpiceTimer {
    SpiceTimerFunc func;
    void *opaque;
    double due; /* 0: not running */
    bool removed;
};

struct SpiceWatch {
    int fd, mask;
    SpiceWatchFunc func;
    void (*ready)(void *);
    void *opaque;
    bool removed;
};

enum { MOST = 1024 };

static struct {
    SpiceTimer *timers[MOST];
    int n_timers;
    SpiceWatch *watches[MOST];
    int n_watches;
    struct pollfd polled[MOST];
    SpiceWatch *polled_watch[MOST];
    int n_polled;
    bool changed;
    uint64_t wakeups;

    bool time_stays;
    double entered, longest;
} loop;

double seconds_on(int clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void loop_time_stays(void)
{
    loop.time_stays = true;
}

void stay_begin(void)
{
    if (loop.time_stays)
        loop.entered = seconds_on(CLOCK_THREAD_CPUTIME_ID);
}

void stay_end(void)
{
    if (!loop.time_stays)
        return;
    double stay = seconds_on(CLOCK_THREAD_CPUTIME_ID) - loop.entered;
    if (stay > loop.longest)
        loop.longest = stay;
}

double longest_stay(void)
{
    return loop.longest;
}

uint64_t loop_wakeups(void)
{
    return loop.wakeups;
}

static void *must(void *p)
{
    if (!p || loop.n_timers == MOST || loop.n_watches == MOST)
        abort();
    return p;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = must(calloc(1, sizeof *timer));
    timer->func = func;
    timer->opaque = opaque;
    return loop.timers[loop.n_timers++] = timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = seconds_on(CLOCK_MONOTONIC) + ms / 1e3;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->due = 0;
}

/* Freed at the end of the turn: whoever is being dispatched may still hold it. */
static void timer_remove(SpiceTimer *timer)
{
    timer->due = 0;
    timer->removed = true;
}

static SpiceWatch *watch_new(int fd, int mask, void *opaque)
{
    SpiceWatch *watch = must(calloc(1, sizeof *watch));
    watch->fd = fd;
    watch->mask = mask;
    watch->opaque = opaque;
    loop.changed = true;
    return loop.watches[loop.n_watches++] = watch;
}

static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *watch = watch_new(fd, mask, opaque);
    watch->func = func;
    return watch;
}

static void watch_update_mask(SpiceWatch *watch, int mask)
{
    loop.changed |= watch->mask != mask;
    watch->mask = mask;
}

static void watch_remove(SpiceWatch *watch)
{
    watch->removed = true;
    watch->mask = 0;
    loop.changed = true;
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    (void)event;
    (void)info;
}

SpiceCoreInterface *loop_core(void)
{
    static SpiceCoreInterface core = {
        .base = { .type = SPICE_INTERFACE_CORE,
                  .description = "bench loop",
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
    return &core;
}

void loop_watch(int fd, void (*ready)(void *), void *opaque)
{
    watch_new(fd, SPICE_WATCH_EVENT_READ, opaque)->ready = ready;
}

/* What was removed goes, and the list for poll is made anew. */
static void tidy(void)
{
    int kept = 0;
    for (int i = 0; i < loop.n_timers; i++) {
        if (loop.timers[i]->removed)
            free(loop.timers[i]);
        else
            loop.timers[kept++] = loop.timers[i];
    }
    loop.n_timers = kept;
    if (!loop.changed)
        return;
    loop.changed = false;
    kept = loop.n_polled = 0;
    for (int i = 0; i < loop.n_watches; i++) {
        SpiceWatch *watch = loop.watches[i];
        if (watch->removed) {
            free(watch);
            continue;
        }
        loop.watches[kept++] = watch;
        if (!watch->mask)
            continue;
        short events = 0;
        if (watch->mask & SPICE_WATCH_EVENT_READ)
            events |= POLLIN;
        if (watch->mask & SPICE_WATCH_EVENT_WRITE)
            events |= POLLOUT;
        loop.polled_watch[loop.n_polled] = watch;
        loop.polled[loop.n_polled++] = (struct pollfd){ .fd = watch->fd, .events = events };
    }
    loop.n_watches = kept;
}

static int patience(int ms)
{
    double next = 0;
    for (int i = 0; i < loop.n_timers; i++)
        if (loop.timers[i]->due && (!next || loop.timers[i]->due < next))
            next = loop.timers[i]->due;
    if (!next || ms == 0)
        return ms;
    double left = next - seconds_on(CLOCK_MONOTONIC);
    int until = left <= 0 ? 0 : (int)(left * 1e3) + 1;
    return ms < 0 || until < ms ? until : ms;
}

static void dispatch(SpiceWatch *watch, short happened)
{
    int event = 0;
    if (happened & (POLLIN | POLLHUP | POLLERR))
        event |= SPICE_WATCH_EVENT_READ;
    if (happened & (POLLOUT | POLLERR))
        event |= SPICE_WATCH_EVENT_WRITE;
    if (watch->ready) {
        watch->ready(watch->opaque);
        return;
    }
    /* As in QEMU, each direction by itself. */
    for (int one = SPICE_WATCH_EVENT_READ; one <= SPICE_WATCH_EVENT_WRITE; one <<= 1) {
        if (!(event & watch->mask & one))
            continue;
        stay_begin();
        watch->func(watch->fd, one, watch->opaque);
        stay_end();
    }
}

static void fire_timers(void)
{
    double now = 0;
    for (int i = 0; i < loop.n_timers; i++) {
        SpiceTimer *timer = loop.timers[i];
        if (!timer->due)
            continue;
        if (!now)
            now = seconds_on(CLOCK_MONOTONIC);
        if (timer->due > now)
            continue;
        timer->due = 0;
        stay_begin();
        timer->func(timer->opaque);
        stay_end();
    }
}

void loop_turn(int ms)
{
    tidy();
    int wait = patience(ms);
    int ready = poll(loop.polled, (nfds_t)loop.n_polled, wait);
    loop.wakeups += wait != 0;
    int polled = loop.n_polled;
    for (int i = 0; i < polled && ready > 0; i++) {
        if (!loop.polled[i].revents)
            continue;
        ready--;
        dispatch(loop.polled_watch[i], loop.polled[i].revents);
    }
    fire_timers();
}
