/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monotonic clock of a test program, which can be put forward.
 *
 * clock.c defines clock_gettime() in the program; the dynamic linker resolves the
 * library's calls to it too, so the host's loop and the library agree about the
 * time and a wait of 30 s costs nothing.
 */
#ifndef OLD_CLOCK_H
#define OLD_CLOCK_H

/** Stops the clock: from now on only clock_skip_ms() moves it. */
void clock_freeze(void);
/** Puts the clock forward; timers that are due then fire in the next turn. */
void clock_skip_ms(int ms);

/** How often anybody, the library included, has asked for the time. */
long clock_calls(void);

#endif
