/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a server listens, what it takes over, and when spice_server_init fails. */
#define _GNU_SOURCE
#include "differences.h"
#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void new_noauth(struct rig *r)
{
    rig_new(r);
    EXPECT_EQ(spice_server_set_noauth(r->server), 0);
}

/** A main channel works over this socket. */
static void works(int fd)
{
    struct client c;
    struct message m;
    client_init(&c, fd);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    client_close(&c);
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
    if (fd >= 0)
        close(fd);
    if (!good)
        fprintf(stderr, "no IPv6 loopback here\n");
    return good;
}

static void refuses(int family, int port)
{
    int fd = connect_tcp(family, port);
    EXPECT_MSG(fd < 0, "connected over family %d", family);
}

static void init_on(struct rig *r, const char *addr, int flags, int family)
{
    for (int tries = 0; tries < 20; tries++) {
        r->port = rig_free_port(family);
        EXPECT_EQ(spice_server_set_port(r->server, r->port), 0);
        spice_server_set_addr(r->server, addr, flags);
        if (spice_server_init(r->server, host_core()) == 0)
            return;
    }
    FAIL("init fails on 20 free ports");
}

static void tcp_v4_only(void)
{
    struct rig r;
    new_noauth(&r);
    init_on(&r, "", SPICE_ADDR_FLAG_IPV4_ONLY, AF_INET);
    works(connect_tcp(AF_INET, r.port));
    if (has_ipv6())
        refuses(AF_INET6, r.port);
    rig_close(&r);
}

static void tcp_v6_only(void)
{
    struct rig r;
    if (!has_ipv6())
        return;
    new_noauth(&r);
    init_on(&r, "::1", SPICE_ADDR_FLAG_IPV6_ONLY, AF_INET6);
    works(connect_tcp(AF_INET6, r.port));
    refuses(AF_INET, r.port);
    rig_close(&r);
}

static void tcp_v6_any_takes_v4(void)
{
    struct rig r;
    if (!has_ipv6())
        return;
    new_noauth(&r);
    init_on(&r, "::", 0, AF_INET6);
    works(connect_tcp(AF_INET6, r.port));
    works(connect_tcp(AF_INET, r.port));
    rig_close(&r);
}

static void tcp_no_address(void)
{
    struct rig r;
    new_noauth(&r);
    for (int tries = 0; tries < 20; tries++) {
        r.port = rig_free_port(AF_INET);
        EXPECT_EQ(spice_server_set_port(r.server, r.port), 0);
        if (spice_server_init(r.server, host_core()) == 0)
            break;
    }
    works(connect_tcp(AF_INET, r.port));
    rig_close(&r);
}

static void tcp_loopback_address_only(void)
{
    struct rig r;
    new_noauth(&r);
    init_on(&r, "127.0.0.1", 0, AF_INET);
    works(connect_tcp(AF_INET, r.port));
    if (has_ipv6())
        refuses(AF_INET6, r.port);
    rig_close(&r);
}

/** The TCP port of a listening socket this process has, 0 without one. */
static int listening_port(void)
{
    for (int fd = 0; fd < 256; fd++) {
        int listening = 0;
        socklen_t len = sizeof listening;
        struct sockaddr_storage sa;
        socklen_t salen = sizeof sa;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
            getsockname(fd, (struct sockaddr *)&sa, &salen) == 0 && sa.ss_family != AF_UNIX)
            return ntohs(((struct sockaddr_in *)&sa)->sin_port);
    }
    return 0;
}

static void tcp_port_zero(void)
{
    struct rig r;
    new_noauth(&r);
    EXPECT_EQ(spice_server_set_port(r.server, 0), 0);
    spice_server_set_addr(r.server, "127.0.0.1", 0);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    int port = listening_port();
    EXPECT(port > 0);
    works(connect_tcp(AF_INET, port));
    rig_close(&r);
}

static void port_numbers(void)
{
    struct rig r;
    rig_new(&r);
    EXPECT_EQ(spice_server_set_port(r.server, -1), -1);
    EXPECT_EQ(spice_server_set_port(r.server, -70000), -1);
    EXPECT_EQ(spice_server_set_port(r.server, 65536), -1);
    EXPECT_EQ(spice_server_set_port(r.server, 0x7fffffff), -1);
    EXPECT_EQ(spice_server_set_port(r.server, 65535), 0);
    EXPECT_EQ(spice_server_set_port(r.server, 1), 0);
    rig_close(&r);
}

static void unix_path(void)
{
    struct rig r;
    rig_open(&r);
    works(connect_unix(r.path));
    rig_close(&r);
}

static void unix_path_replaces_what_is_there(void)
{
    struct rig r;
    char path[108];
    rig_socket_path(path, sizeof path, "s");
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    EXPECT(file >= 0);
    close(file);
    rig_open(&r);
    works(connect_unix(r.path));
    rig_close(&r);
}

static void unix_abstract(void)
{
    struct rig r;
    char name[64];
    snprintf(name, sizeof name, "@spice-test-%d", (int)getpid());
    new_noauth(&r);
    spice_server_set_addr(r.server, name, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    works(connect_abstract(name + 1));
    rig_close(&r);
    EXPECT(connect_abstract(name + 1) < 0);
}

static void unix_path_in_no_directory(void)
{
    struct rig r;
    char path[108];
    new_noauth(&r);
    rig_socket_path(path, sizeof path, "no/such/place");
    spice_server_set_addr(r.server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r.server, host_core()), -1);
    rig_close(&r);
}

static void longest_unix_path(void)
{
    struct rig r;
    new_noauth(&r);
    size_t n = strlen(tap_directory());
    memcpy(r.path, tap_directory(), n);
    r.path[n++] = '/';
    memset(r.path + n, 'x', sizeof r.path - 1 - n);
    r.path[sizeof r.path - 1] = 0;
    spice_server_set_addr(r.server, r.path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    works(connect_unix(r.path));
    rig_close(&r);
}

/* Upstream cuts the path and listens somewhere else. */
static void too_long_unix_path(void)
{
    struct rig r;
    char path[200];
    new_noauth(&r);
    snprintf(path, sizeof path, "%s/", tap_directory());
    size_t n = strlen(path);
    memset(path + n, 'x', 150 - n);
    path[150] = 0;
    spice_server_set_addr(r.server, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r.server, host_core()), differs(DIFF_LONG_UNIX_PATH, -1, 0));
    rig_close(&r);
}

static int unix_listener(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    EXPECT_EQ(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    EXPECT_EQ(listen(fd, 16), 0);
    return fd;
}

static void given_listener(void)
{
    struct rig r;
    char path[108];
    rig_socket_path(path, sizeof path, "given");
    int fd = unix_listener(path);
    new_noauth(&r);
    EXPECT_EQ(spice_server_set_listen_socket_fd(r.server, fd), 0);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    works(connect_unix(path));
    works(connect_unix(path));
    rig_close(&r);
    /* it is still ours, and still a listener */
    EXPECT(fcntl(fd, F_GETFD) >= 0);
    int client = connect_unix(path);
    EXPECT(client >= 0);
    close(client);
    close(fd);
}

static void given_listener_and_port(void)
{
    struct rig r;
    char path[108];
    rig_socket_path(path, sizeof path, "given");
    int fd = unix_listener(path);
    new_noauth(&r);
    EXPECT_EQ(spice_server_set_listen_socket_fd(r.server, fd), 0);
    rig_init_tcp(&r);
    works(connect_unix(path));
    works(connect_tcp(AF_INET, r.port));
    rig_close(&r);
    close(fd);
}

static void no_listener_at_all(void)
{
    struct rig r;
    int pair[2];
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    EXPECT_EQ(listening_port(), 0);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(spice_server_add_client(r.server, pair[0], 0), 0);
    works(pair[1]);
    rig_close(&r);
}

/* The added socket may already hold the link message, and is blocking. */
static void added_client_with_waiting_bytes(void)
{
    struct rig r;
    int pair[2];
    struct client c;
    struct link l;
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    client_init(&c, pair[1]);
    link_init(&l, CH_MAIN, 0, 0);
    EXPECT(client_send_link(&c, &l));
    EXPECT_EQ(spice_server_add_client(r.server, pair[0], 0), 0);
    EXPECT(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
    EXPECT(client_read_reply(&c) && client_send_ticket(&c, ""));
    EXPECT_EQ(client_read_result(&c), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void added_tcp_client(void)
{
    struct rig r;
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof sa;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(listener, (struct sockaddr *)&sa, len), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    int client = connect_tcp(AF_INET, ntohs(sa.sin_port));
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    EXPECT(client >= 0 && accepted >= 0);
    EXPECT_EQ(spice_server_add_client(r.server, accepted, 0), 0);
    works(client);
    close(listener);
    rig_close(&r);
}

static void added_client_closed_at_once(void)
{
    struct rig r;
    int pair[2];
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    /* 0: the library owns it and notices the end by itself */
    EXPECT_EQ(spice_server_add_client(r.server, pair[0], 0), 0);
    host_run_for(50);
    rig_close(&r);
}

static struct rig *ended_inside;

static void destroy_inside(int event, const SpiceChannelEventInfo *info)
{
    (void)info;
    if (event == SPICE_CHANNEL_EVENT_CONNECTED && ended_inside) {
        SpiceServer *server = ended_inside->server;
        ended_inside = NULL;
        spice_server_destroy(server);
    }
}

/* The host hears of each end, wherever it was that it ended everything. */
static void server_ends_inside_an_event(void)
{
    struct rig r;
    int ends[2];
    rig_open(&r);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ended_inside = &r;
    host_on_channel_event = destroy_inside;
    spice_server_add_client(r.server, ends[1], 0);
    host_on_channel_event = NULL;
    EXPECT_EQ(host_events_of(SPICE_CHANNEL_EVENT_CONNECTED, 0), 1);
    EXPECT_EQ(host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, 0), 1);
    EXPECT_EQ(read(ends[0], &(char){ 0 }, 1), 0);
    close(ends[0]);
    r.server = NULL;
}

static void added_descriptor_that_is_none(void)
{
    struct rig r;
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    int closed = dup(0);
    close(closed);
    EXPECT_EQ(spice_server_add_client(r.server, closed, 0), -1);
    EXPECT_EQ(spice_server_add_client(r.server, -1, 0), -1);
    rig_close(&r);
}

static void added_tls_client_without_tls(void)
{
    struct rig r;
    int pair[2];
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(spice_server_add_ssl_client(r.server, pair[0], 0), -1);
    /* refused, so it is still the caller's */
    EXPECT(fcntl(pair[0], F_GETFD) >= 0);
    close(pair[0]);
    close(pair[1]);
    rig_close(&r);
}

static void port_taken(void)
{
    struct rig r;
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(fd, (struct sockaddr *)&sa, len), 0);
    EXPECT_EQ(listen(fd, 1), 0);
    EXPECT_EQ(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    new_noauth(&r);
    EXPECT_EQ(spice_server_set_port(r.server, ntohs(sa.sin_port)), 0);
    spice_server_set_addr(r.server, "127.0.0.1", 0);
    EXPECT_EQ(spice_server_init(r.server, host_core()), -1);
    rig_close(&r);
    close(fd);
}

static void address_that_is_none(void)
{
    struct rig r;
    new_noauth(&r);
    EXPECT_EQ(spice_server_set_port(r.server, rig_free_port(AF_INET)), 0);
    spice_server_set_addr(r.server, "256.1.1.1.", SPICE_ADDR_FLAG_IPV4_ONLY);
    EXPECT_EQ(spice_server_init(r.server, host_core()), -1);
    rig_close(&r);
}

static void zeroed_core(void)
{
    struct rig r;
    static SpiceCoreInterface zero;
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, &zero), -1);
    rig_close(&r);
}

static void core_of_another_major(void)
{
    struct rig r;
    SpiceCoreInterface core = *host_core();
    core.base.major_version = 2;
    new_noauth(&r);
    EXPECT_EQ(spice_server_init(r.server, &core), -1);
    core.base.major_version = 0;
    EXPECT_EQ(spice_server_init(r.server, &core), -1);
    rig_close(&r);
}

/* Xspice leaves the name out. */
static void core_without_a_name(void)
{
    struct rig r;
    static SpiceCoreInterface core;
    core = *host_core();
    core.base.type = NULL;
    new_noauth(&r);
    rig_socket_path(r.path, sizeof r.path, "s");
    spice_server_set_addr(r.server, r.path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r.server, &core), 0);
    works(connect_unix(r.path));
    rig_close(&r);
}

static void core_without_channel_event(void)
{
    struct rig r;
    static SpiceCoreInterface core;
    for (int minor = 2; minor <= 3; minor++) {
        core = *host_core();
        core.channel_event = NULL;
        core.base.minor_version = (uint32_t)minor;
        new_noauth(&r);
        rig_socket_path(r.path, sizeof r.path, "s");
        spice_server_set_addr(r.server, r.path, SPICE_ADDR_FLAG_UNIX_ONLY);
        EXPECT_EQ(spice_server_init(r.server, &core), 0);
        works(connect_unix(r.path));
        rig_close(&r);
    }
}

/* An older host's structure ends before channel_event. */
static void core_minor_2_gets_no_events(void)
{
    struct rig r;
    static SpiceCoreInterface core;
    core = *host_core();
    core.base.minor_version = 2;
    new_noauth(&r);
    rig_socket_path(r.path, sizeof r.path, "s");
    spice_server_set_addr(r.server, r.path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(r.server, &core), 0);
    works(connect_unix(r.path));
    EXPECT_EQ(host_event_count(), 0);
    rig_close(&r);
    EXPECT_EQ(host_event_count(), 0);
}

static void init_uses_the_core(void)
{
    struct rig r;
    rig_open(&r);
    EXPECT(host_watches() >= 1);
    rig_close(&r);
}

static void destroy_without_init(void)
{
    struct rig r;
    rig_new(&r);
    rig_close(&r);
    rig_new(&r);
    spice_server_set_name(r.server, "never started");
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 5, 0, 0), 0);
    rig_close(&r);
}

static void two_servers(void)
{
    struct rig a, b;
    struct client c, d;
    rig_open(&a);
    rig_new(&b);
    spice_server_set_noauth(b.server);
    rig_socket_path(b.path, sizeof b.path, "second");
    spice_server_set_addr(b.server, b.path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(b.server, host_core()), 0);
    uint32_t id_a = rig_main(&a, &c);
    uint32_t id_b = rig_main(&b, &d);
    EXPECT(id_a != id_b);
    EXPECT_EQ(spice_server_get_num_clients(a.server), 1);
    EXPECT_EQ(spice_server_get_num_clients(b.server), 1);
    EXPECT(client_silent(&c, 20));
    /* the second goes, the first stays in service */
    client_close(&d);
    spice_server_destroy(b.server);
    EXPECT(client_silent(&c, 20));
    client_close(&c);
    works(connect_unix(a.path));
    rig_close(&a);
}

/** The library's end of this TCP connection. */
static int server_end(int client)
{
    struct sockaddr_in mine, peer;
    socklen_t len = sizeof mine;
    EXPECT_EQ(getsockname(client, (struct sockaddr *)&mine, &len), 0);
    for (int fd = 0; fd < 256; fd++) {
        len = sizeof peer;
        if (fd != client && getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
            peer.sin_family == AF_INET && peer.sin_port == mine.sin_port)
            return fd;
    }
    FAIL("no socket connected to the client");
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    EXPECT_EQ(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void tcp_options(void)
{
    struct rig r;
    struct client c;
    new_noauth(&r);
    rig_init_tcp(&r);
    rig_main(&r, &c);
    int fd = server_end(c.fd);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 600);
    EXPECT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    client_close(&c);
    rig_close(&r);
}

static void burst_of_connections(void)
{
    enum { N = 64 };
    struct rig r;
    struct client c[N];
    rig_open(&r);
    for (int i = 0; i < N; i++)
        rig_connect(&r, &c[i]);
    /* all are served, in whatever order they are spoken to */
    for (int i = N - 1; i >= 0; i -= 7)
        EXPECT_EQ(client_link(&c[i], CH_MAIN, 0, 0, ""), LINK_OK);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    rig_close(&r);
}

/* Accepting fails while no descriptor is left, and works again afterwards. */
static void out_of_descriptors(void)
{
    struct rig r;
    struct rlimit old, low;
    int filler[256], n = 0;
    rig_open(&r);
    works(connect_unix(r.path));
    int waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 64;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int fd = dup(0); fd >= 0; fd = dup(0))
        filler[n++] = fd;
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", r.path);
    EXPECT_EQ(connect(waiting, (struct sockaddr *)&sa, sizeof sa), 0);
    host_run_for(50);
    while (n > 0)
        close(filler[--n]);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(waiting);
    works(connect_unix(r.path));
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(tcp_v4_only),
    TAP_CASE(tcp_v6_only),
    TAP_CASE(tcp_v6_any_takes_v4),
    TAP_CASE(tcp_no_address),
    TAP_CASE(tcp_loopback_address_only),
    TAP_CASE(tcp_port_zero),
    TAP_CASE(port_numbers),
    TAP_CASE(unix_path),
    TAP_CASE(unix_path_replaces_what_is_there),
    TAP_CASE(unix_abstract),
    TAP_CASE(unix_path_in_no_directory),
    TAP_CASE(longest_unix_path),
    TAP_CASE(too_long_unix_path),
    TAP_CASE(given_listener),
    TAP_CASE(given_listener_and_port),
    TAP_CASE(no_listener_at_all),
    TAP_CASE(added_client_with_waiting_bytes),
    TAP_CASE(added_tcp_client),
    TAP_CASE(added_client_closed_at_once),
    TAP_CASE(server_ends_inside_an_event),
    TAP_CASE(added_descriptor_that_is_none),
    TAP_CASE(added_tls_client_without_tls),
    TAP_CASE(port_taken),
    TAP_CASE(address_that_is_none),
    TAP_CASE(zeroed_core),
    TAP_CASE(core_of_another_major),
    TAP_CASE(core_without_a_name),
    TAP_CASE(core_without_channel_event),
    TAP_CASE(core_minor_2_gets_no_events),
    TAP_CASE(init_uses_the_core),
    TAP_CASE(destroy_without_init),
    TAP_CASE(two_servers),
    TAP_CASE(tcp_options),
    TAP_CASE(burst_of_connections),
    TAP_CASE(out_of_descriptors),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "listen", cases, TAP_COUNT(cases));
}
