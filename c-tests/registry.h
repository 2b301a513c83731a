/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What tests of spice_server_register_channel() share: rules, and whether a device is
 * served as they say. A program has one server.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "chardev.h"
#include "rig.h"

#include <spice-server-rs.h>

typedef SpiceServerChannelRule rule;

extern struct rig r;
extern struct client main_channel;
extern uint32_t session; /**< of main_channel */

/** A rule for ports with nothing else set. */
rule port_rule(const char *name, uint32_t type);
/** The rule must be taken. */
void add_rule(rule what);

void connect_main(void);
/** A channel of that session, for data with LZ4. */
void link_to(struct client *c, int type, int id);
void expect_port_init(struct client *c, const char *name);
/** The next message has these data. */
void expect_data(struct client *c, const char *text);

/** The device must be taken; `portname` NULL for others than ports. */
void add_device(struct chardev *d, const char *subtype, const char *portname);
/** A port that became this channel: its name comes first, then data go both ways. */
void port_is_served(struct chardev *d, int type, int id);

#endif
