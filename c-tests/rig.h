/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A server on the poll host, from spice_server_new to the audit after
 * spice_server_destroy.
 */
#ifndef RIG_H
#define RIG_H

#include "client.h"
#include "host.h"
#include "tap.h"

struct rig {
    SpiceServer *server;
    char path[108];          /**< unix socket, "" without one */
    int port;                /**< TCP port, 0 without one */
    int open_clients;        /**< client sockets a test holds across rig_close */
    struct tap_usage before; /**< before spice_server_new */
};

/** spice_server_new on a fresh host; settings can be made next. */
void rig_new(struct rig *r);
/** Listens on a unix socket in the program's own directory; init must succeed. */
void rig_init_unix(struct rig *r);
/** Listens on a free TCP port of 127.0.0.1. */
void rig_init_tcp(struct rig *r);
/** rig_new, noauth, unix socket. */
void rig_open(struct rig *r);
/** rig_new, noauth, TCP. */
void rig_open_tcp(struct rig *r);

/**
 * spice_server_destroy and the audit: no violation towards the host, no timer,
 * watch, descriptor or thread left, every CONNECTED has its DISCONNECTED.
 */
void rig_close(struct rig *r);

/** A socket path in the program's own directory. */
void rig_socket_path(char *path, size_t size, const char *name);
/** A TCP port of loopback that was free a moment ago. */
int rig_free_port(int family);

/** Connects a socket to the rig. */
void rig_connect(struct rig *r, struct client *c);
/** A whole main channel: link, INIT; returns the session id. */
uint32_t rig_main(struct rig *r, struct client *c);
/** Waits until `n` channel events have been recorded. */
bool rig_wait_events(int n);
/** Links another channel of that session; result 0 expected. */
void rig_channel(struct rig *r, struct client *c, int type, int id, uint32_t session);
/** The same with these words of common and channel capabilities. */
void rig_channel_caps(struct rig *r, struct client *c, int type, int id, uint32_t session,
                      uint32_t common, uint32_t channel);
/** The server's socket of this TCP connection: it is in this process too. */
int rig_server_end(const struct client *c);

#endif
