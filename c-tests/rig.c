/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "rig.h"
#include "differences.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void rig_new(struct rig *r)
{
    host_init();
    *r = (struct rig){ .before = tap_usage() };
    r->server = spice_server_new();
    EXPECT(r->server != NULL);
}

void rig_socket_path(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", tap_directory(), name);
}

void rig_init_unix(struct rig *r)
{
    rig_socket_path(r->path, sizeof r->path, "s");
    spice_server_set_addr(r->server, r->path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r->server, host_core()), 0);
}

int rig_free_port(int family)
{
    struct sockaddr_storage any = { .ss_family = (sa_family_t)family };
    socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&any, &len) < 0)
        FAIL("no free port: %s", strerror(errno));
    close(fd);
    /* the port stands at the same place in both address structures */
    return ntohs(((struct sockaddr_in *)&any)->sin_port);
}

void rig_init_tcp(struct rig *r)
{
    /* Another process may take the port between the look and the bind. */
    for (int tries = 0; tries < 20; tries++) {
        r->port = rig_free_port(AF_INET);
        spice_server_set_port(r->server, r->port);
        spice_server_set_addr(r->server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
        if (spice_server_init(r->server, host_core()) == 0)
            return;
    }
    FAIL("spice_server_init fails on 20 free ports");
}

void rig_open(struct rig *r)
{
    rig_new(r);
    EXPECT_EQ(spice_server_set_noauth(r->server), 0);
    rig_init_unix(r);
}

void rig_open_tcp(struct rig *r)
{
    rig_new(r);
    EXPECT_EQ(spice_server_set_noauth(r->server), 0);
    rig_init_tcp(r);
}

void rig_close(struct rig *r)
{
    spice_server_destroy(r->server);
    r->server = NULL;
    if (r->path[0])
        unlink(r->path);
    EXPECT_MSG(!host_violation(), "%s", host_violation());
    host_report_leftovers();
    if (!differs(DIFF_DESTROY_LEFTOVERS, 0, 1)) {
        int opened = host_events_of(SPICE_CHANNEL_EVENT_CONNECTED, 0);
        int closed = host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, 0);
        EXPECT_MSG(opened == closed, "%d CONNECTED, %d DISCONNECTED events", opened, closed);
        EXPECT_EQ(host_watches(), 0);
        EXPECT_EQ(host_timers(), 0);
        struct tap_usage now = tap_usage();
        /* A thread that was joined stays listed for a moment: the kernel wakes the
         * joining thread before it takes the ended one off the list. */
        for (int i = 0; i < 1000 && now.threads > r->before.threads; i++) {
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
            now = tap_usage();
        }
        now.fds -= r->open_clients;
        if (now.fds != r->before.fds)
            tap_list_fds();
        EXPECT_MSG(now.fds == r->before.fds, "%d descriptors left", now.fds - r->before.fds);
        EXPECT_MSG(now.threads == r->before.threads, "%d threads left",
                   now.threads - r->before.threads);
    }
}

void rig_connect(struct rig *r, struct client *c)
{
    client_init(c, r->port ? connect_tcp(AF_INET, r->port) : connect_unix(r->path));
}

uint32_t rig_main(struct rig *r, struct client *c)
{
    struct message m;
    rig_connect(r, c);
    EXPECT_EQ(client_link(c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(c, S_MAIN_INIT, &m);
    EXPECT_EQ(m.size, 32);
    uint32_t session = get32(m.body);
    message_free(&m);
    return session;
}

void rig_channel(struct rig *r, struct client *c, int type, int id, uint32_t session)
{
    rig_connect(r, c);
    EXPECT_EQ(client_link(c, type, id, session, ""), LINK_OK);
}

void rig_channel_caps(struct rig *r, struct client *c, int type, int id, uint32_t session,
                      uint32_t common, uint32_t channel)
{
    struct link l;
    link_init(&l, type, id, session);
    link_set_caps(&l, common, channel);
    rig_connect(r, c);
    EXPECT_EQ(client_link_with(c, &l, ""), LINK_OK);
}

static bool enough_events(void *opaque)
{
    return host_event_count() >= *(int *)opaque;
}

bool rig_wait_events(int n)
{
    return host_run_until(enough_events, &n, HOST_DEADLINE_MS);
}

int rig_server_end(const struct client *c)
{
    struct sockaddr_in own, peer;
    socklen_t len = sizeof own;
    EXPECT_EQ(getsockname(c->fd, (struct sockaddr *)&own, &len), 0);
    for (int fd = 0; fd < 1024; fd++) {
        len = sizeof peer;
        if (fd != c->fd && getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
            peer.sin_family == AF_INET && peer.sin_port == own.sin_port)
            return fd;
    }
    FAIL("the server's socket is not found");
}
