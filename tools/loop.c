/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct SpiceTimer {
    SpiceTimer *next;
    SpiceTimerFunc func;
    void *opaque;
    int64_t deadline; /* milliseconds; -1: not running */
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
static bool quitting;
static struct pollfd *polled;
static SpiceWatch **owners;
static size_t room;

void *loop_realloc(void *memory, size_t size)
{
    void *new = realloc(memory, size);
    if (!new) {
        perror("spice-serve");
        exit(1);
    }
    return new;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = loop_realloc(NULL, sizeof *timer);
    *timer = (SpiceTimer){ .next = timers, .func = func, .opaque = opaque, .deadline = -1 };
    timers = timer;
    return timer;
}

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->deadline = now_ms() + ms;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->deadline = -1;
}

static void timer_remove(SpiceTimer *timer)
{
    timer->removed = true;
}

SpiceWatch *loop_watch(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *watch = loop_realloc(NULL, sizeof *watch);
    *watch = (SpiceWatch){
        .next = watches, .func = func, .opaque = opaque, .fd = fd, .mask = mask
    };
    watches = watch;
    return watch;
}

void loop_set_mask(SpiceWatch *watch, int mask)
{
    watch->mask = mask;
}

void loop_unwatch(SpiceWatch *watch)
{
    if (watch)
        watch->removed = true;
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
                  .description = "spice-serve",
                  .major_version = SPICE_INTERFACE_CORE_MAJOR,
                  .minor_version = SPICE_INTERFACE_CORE_MINOR },
        .timer_add = timer_add,
        .timer_start = timer_start,
        .timer_cancel = timer_cancel,
        .timer_remove = timer_remove,
        .watch_add = loop_watch,
        .watch_update_mask = loop_set_mask,
        .watch_remove = loop_unwatch,
        .channel_event = channel_event,
    };
    return &core;
}

/** Frees what was removed, or everything. Between turns only: a callback may remove what
 * the turn has still to look at. */
static void sweep(bool all)
{
    for (SpiceTimer **at = &timers; *at;) {
        SpiceTimer *timer = *at;
        if (all || timer->removed) {
            *at = timer->next;
            free(timer);
        } else {
            at = &timer->next;
        }
    }
    for (SpiceWatch **at = &watches; *at;) {
        SpiceWatch *watch = *at;
        if (all || watch->removed) {
            *at = watch->next;
            free(watch);
        } else {
            at = &watch->next;
        }
    }
}

static int patience(void)
{
    int64_t now = now_ms(), least = -1;
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->deadline < 0)
            continue;
        int64_t left = timer->deadline > now ? timer->deadline - now : 0;
        if (least < 0 || left < least)
            least = left;
    }
    return least > 60000 ? 60000 : (int)least;
}

static void wait_for_watches(void)
{
    size_t count = 0;
    for (SpiceWatch *watch = watches; watch; watch = watch->next) {
        watch->ready = 0;
        if (!watch->mask)
            continue;
        if (count == room) {
            room = room ? 2 * room : 16;
            polled = loop_realloc(polled, room * sizeof *polled);
            owners = loop_realloc(owners, room * sizeof *owners);
        }
        short wanted = (short)((watch->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                               (watch->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0));
        polled[count] = (struct pollfd){ .fd = watch->fd, .events = wanted };
        owners[count++] = watch;
    }
    if (poll(polled, count, patience()) < 0) {
        if (errno == EINTR)
            return;
        perror("spice-serve: poll");
        exit(1);
    }
    for (size_t i = 0; i < count; i++)
        owners[i]->ready = polled[i].revents;
}

void loop_run(void (*after)(void))
{
    while (!quitting) {
        wait_for_watches();
        int64_t now = now_ms();
        for (SpiceTimer *timer = timers; timer; timer = timer->next) {
            if (timer->removed || timer->deadline < 0 || timer->deadline > now)
                continue;
            timer->deadline = -1;
            timer->func(timer->opaque);
        }
        for (SpiceWatch *watch = watches; watch; watch = watch->next) {
            short ready = watch->ready;
            bool ended = ready & (POLLHUP | POLLERR);
            if (!watch->removed && (watch->mask & SPICE_WATCH_EVENT_READ) &&
                (ended || (ready & POLLIN)))
                watch->func(watch->fd, SPICE_WATCH_EVENT_READ, watch->opaque);
            if (!watch->removed && (watch->mask & SPICE_WATCH_EVENT_WRITE) &&
                (ended || (ready & POLLOUT)))
                watch->func(watch->fd, SPICE_WATCH_EVENT_WRITE, watch->opaque);
        }
        after();
        sweep(false);
    }
}

void loop_quit(void)
{
    quitting = true;
}

void loop_free(void)
{
    sweep(true);
    free(polled);
    free(owners);
    polled = NULL;
    owners = NULL;
    room = 0;
}
