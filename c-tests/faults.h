/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A panic in any step of the library: what it happened to is closed, one line is logged,
 * and everything else goes on.
 *
 * Only for a library built with -Dfault_injection=true (scripts/faults), which asks
 * spice_test_fault() at each of its steps.  While it happens a bystander, which is
 * another client, has data under way to a device that does not take them yet; so nothing
 * else moves, and the step that panics is the victim's.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "chardev.h"
#include "devices.h"
#include "rig.h"

/* ---- the library's question ---- */

/** The `nth` time that the library comes to this step it panics. */
void arm(const char *step, int nth);
/** What is armed and has not happened does not happen. */
void disarm(void);
/** How many have happened, since the beginning or forget_faults(). */
int faults(void);
void forget_faults(void);
/** So many panics since begin(), and a line for each. */
void expect_faults(int n);

/* ---- the world: a server, two ports, two clients ---- */

extern struct rig r;
extern struct chardev device, other;
extern struct client bystander_main, bystander; /**< the other client, on `other` */
extern struct client victim_main, victim;       /**< the one on `device` */
extern uint32_t bystander_session, victim_session;
extern long rss; /**< resident KiB at begin() */

/** Whether connections are at home on the I/O thread. */
bool on_thread(void);

void add_devices(void);
/** The bystander with its port, the victim with its main channel. */
void add_clients(void);
/** A server on a unix socket with all of these. */
void open_world(void);
/** The victim has its port too, and its device's state has been told. */
void open_port(void);
void link_port(struct client *c, int id, uint32_t session);

/** The bystander sends; all of it is inside the library when this returns. */
void begin(const char *step, int nth);

/** A round trip on a main channel. */
void main_is_served(struct client *c);
/** What the bystander has under way comes back to it. */
void bystander_is_served(void);
/** Everybody who is left is served, a later client too; nothing is left behind. */
void close_world(void);

/* ---- how it ends ---- */

/** The connection is closed. */
void ended(struct client *c);
/** The victim's port is closed and its main channel is not; the device goes on. */
void port_ends(void);
/** All connections of the victim are closed. */
void session_ends(void);
/** The device takes no client any more, until it is plugged anew. */
void device_ends(void);
/** A client that is linking, to main or to the victim's port, is closed. */
void newcomer_ends(int type, const char *step, int nth);

#endif
