/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small host: SpiceCoreInterface on poll(2).
 *
 * The core interface has no context argument, so there is one host per process
 * and its functions take none either.  Real time; one thread, the one that calls
 * host_init().  The loop only runs inside host_run_until() and its relatives, so
 * a test is a straight line of steps, each of which waits for what it needs.
 *
 * Semantics are QEMU's where it matters: one-shot timers, a readiness callback
 * per direction (READ then WRITE), hang-up and error reported as READ (and error
 * as WRITE too), a watch with mask 0 not polled at all, and anything may be added,
 * changed or removed from inside any callback.
 *
 * Everything the library does wrong towards the host is kept as a "violation":
 * a callback or a core function on another thread, use of a removed timer or
 * watch, an unknown channel event.  host_violation() tells the first.
 */
#ifndef HOST_H
#define HOST_H

#include <spice.h>
#include <stdbool.h>

/** Default deadline for things that must happen, in milliseconds (unscaled). */
enum { HOST_DEADLINE_MS = 10000 };

/** Prepares the process' host; the calling thread becomes the main thread. */
void host_init(void);

/** The interface to hand to spice_server_init(). */
SpiceCoreInterface *host_core(void);

/** Runs the loop until `done(opaque)` holds; false when `ms` passed before. */
bool host_run_until(bool (*done)(void *), void *opaque, int ms);

/** Runs the loop until `fd` has one of poll's `events` (or error/hang-up). */
bool host_wait_fd(int fd, short events, int ms);

/** Runs the loop for `ms` (to see that something does not happen). */
void host_run_for(int ms);

/** One turn: waits at most `ms` for something and dispatches it. */
void host_turn(int ms);

/** Runs the loop until nothing is ready any more. */
void host_drain(void);

/** Ends a wait of host_run_until early so that it looks at its condition again.
 *  The only function of the host that any thread may call. */
void host_wake(void);

/** Notes a violation unless the caller is the main thread. */
void host_assert_main_thread(const char *where);
/** Notes a violation. */
void host_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** The first violation, or NULL. */
const char *host_violation(void);

/** How many timers and watches exist (were added and not removed). */
int host_timers(void);
int host_watches(void);
/** How many timers are running. */
int host_armed_timers(void);
/** Milliseconds until the first running timer is due, -1 when none runs. */
int host_next_timer_ms(void);
/** Names what is left on stderr. */
void host_report_leftovers(void);

/** One recorded channel_event call. */
struct host_event {
    int event;
    const SpiceChannelEventInfo *info; /**< only for comparing pointers */
    SpiceChannelEventInfo copy;
};

int host_event_count(void);
const struct host_event *host_event(int i);
/** Number of recorded events of one kind and channel type (0 = any type). */
int host_events_of(int event, int type);
void host_forget_events(void);
/** The channel that is connected now, per INITIALIZED without DISCONNECTED. */
int host_connected_channels(void);

/** Called after each channel_event has been recorded; for tests that act inside. */
extern void (*host_on_channel_event)(int event, const SpiceChannelEventInfo *info);

#endif
