/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Things behind SPICE ports: commands, terminals, sockets, files. Each is begun when a
 * client comes to its port, and ended when the client leaves. */
#ifndef SERVICE_H
#define SERVICE_H

#include <spice.h>
#include <stdbool.h>

/** Takes NAME=KIND:ARGUMENT; `false`: it is none, and standard error says why. The text
 * must stay. */
bool service_add(char *text);

/** Gives the ports to a server. */
bool service_start_all(SpiceServer *server);

/** To be called when no callback of the library is under way: begins and ends what
 * clients that came or left ask for, and tells them of ends. */
void service_settle_all(void);

/** Forgets children that have ended. */
void service_reap(void);

/** Takes the ports away and ends everything behind them. */
void service_stop_all(void);

#endif
