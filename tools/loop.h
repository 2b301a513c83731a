/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small main loop on poll(), in the form that the SPICE server library wants. */
#ifndef LOOP_H
#define LOOP_H

#include <spice.h>
#include <stdbool.h>

/** The loop as the library sees it. */
SpiceCoreInterface *loop_core(void);

/** Calls `func` when `fd` is ready for what is in `mask` (SPICE_WATCH_EVENT_*). An end or
 * an error of `fd` counts as ready. */
SpiceWatch *loop_watch(int fd, int mask, SpiceWatchFunc func, void *opaque);
void loop_set_mask(SpiceWatch *watch, int mask);
/** Also from inside callbacks. NULL is ignored. */
void loop_unwatch(SpiceWatch *watch);

/** Turns until loop_quit(); `after` is called at the end of each turn, when no callback of
 * the library is under way. */
void loop_run(void (*after)(void));
void loop_quit(void);

/** Frees all objects; none of them may be used afterwards. */
void loop_free(void);

/** realloc() that ends the process when memory is short. */
void *loop_realloc(void *memory, size_t size);

#endif
