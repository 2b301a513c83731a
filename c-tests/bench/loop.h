/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A main loop like QEMU's, for measuring: one thread, poll(2), SpiceCoreInterface, and
 * nothing that checks.  What the library costs is taken here, around each call to it.
 */
#ifndef LOOP_H
#define LOOP_H

#include <spice.h>
#include <stdbool.h>
#include <stdint.h>

/** The interface for spice_server_init(). */
SpiceCoreInterface *loop_core(void);

/** Calls `ready` while `fd` can be read, at end of file too. */
void loop_watch(int fd, void (*ready)(void *opaque), void *opaque);

/** One turn: waits at most `ms` milliseconds (-1: for ever) and dispatches. */
void loop_turn(int ms);

/** Turns that were not asked for with 0 milliseconds and so mean that something woke. */
uint64_t loop_wakeups(void);

/** From now on the thread's time in each stay is taken, which costs time itself. */
void loop_time_stays(void);
/** Around a call into the library from outside the loop's callbacks. */
void stay_begin(void);
void stay_end(void);
/** The longest stay so far, seconds of the thread's time. */
double longest_stay(void);

/** Seconds on one of the system's clocks. */
double seconds_on(int clock);

#endif
