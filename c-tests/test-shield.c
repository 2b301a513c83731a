/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clients that have not authenticated: how long, how many, who makes way, what wrong
 * passwords cost, and what the host hears of a flood. The limits come from the
 * configuration file, which Debian's library does not know.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/** What a link may take that is not delayed, in ms. */
enum { AT_ONCE = 1000 };

static void configure(const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/config.toml", tap_directory());
    FILE *file = fopen(path, "w");
    EXPECT(file && fputs(text, file) >= 0 && !fclose(file));
    EXPECT(!setenv("SPICE_SERVER_CONFIG", path, 1));
}

/** A server on TCP; with a password unless it is NULL. */
static void open_with(struct rig *r, const char *configuration, const char *password)
{
    configure(configuration);
    rig_new(r);
    if (password)
        EXPECT_EQ(spice_server_set_ticket(r->server, password, 0, 0, 0), 0);
    else
        EXPECT_EQ(spice_server_set_noauth(r->server), 0);
    rig_init_tcp(r);
}

/** A connection from 127.0.0.`from`. */
static void connect_from(struct rig *r, struct client *c, int from)
{
    struct sockaddr_in own = { .sin_family = AF_INET,
                               .sin_addr = { htonl(0x7f000000U + (unsigned)from) } };
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)r->port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        FAIL("cannot connect from 127.0.0.%d", from);
    client_init(c, fd);
}

/** The same, and the server has accepted it. */
static void accepted_from(struct rig *r, struct client *c, int from)
{
    int events = host_event_count();
    connect_from(r, c, from);
    EXPECT(rig_wait_events(events + 1));
}

static bool is_open(struct client *c)
{
    host_drain();
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/** Link result of a main channel, within the time of one that is not delayed. */
static int link_at_once(struct rig *r, int from, const char *password)
{
    struct client c;
    int64_t begin = tap_now();
    connect_from(r, &c, from);
    int result = client_link(&c, CH_MAIN, 0, 0, password);
    EXPECT_MSG(tap_now() - begin < tap_ms(AT_ONCE), "the link took %d ms",
               (int)(tap_now() - begin));
    client_close(&c);
    return result;
}

static void close_all(struct client *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        client_close(&c[i]);
}

static void deadline_of_the_configuration(void)
{
    struct rig r;
    struct client silent, half;
    open_with(&r, "[link]\ndeadline = 1\n", NULL);
    int64_t begin = tap_now();
    connect_from(&r, &silent, 1);
    connect_from(&r, &half, 1);
    EXPECT(client_write(&half, "REDQ\2", 5));
    EXPECT(client_at_eof(&silent));
    EXPECT(client_at_eof(&half));
    int64_t ms = tap_now() - begin;
    EXPECT_MSG(ms >= 900 && ms < tap_ms(5000), "they ended after %d ms", (int)ms);
    client_close(&silent);
    client_close(&half);
    rig_close(&r);
}

static void oldest_of_an_address_makes_way(void)
{
    struct rig r;
    struct client c[6];
    open_with(&r, "[link]\npending-per-address = 4\n", NULL);
    for (size_t i = 0; i < TAP_COUNT(c); i++)
        accepted_from(&r, &c[i], 1);
    EXPECT(client_at_eof(&c[0]));
    EXPECT(client_at_eof(&c[1]));
    for (size_t i = 2; i < TAP_COUNT(c); i++)
        EXPECT(is_open(&c[i]));
    EXPECT_EQ(link_at_once(&r, 1, ""), LINK_OK);
    EXPECT(client_at_eof(&c[2]));
    EXPECT(is_open(&c[3]));
    close_all(c, TAP_COUNT(c));
    rig_close(&r);
}

static void who_has_spoken_stays(void)
{
    struct rig r;
    struct client speaks, c[5];
    struct link l;
    open_with(&r, "[link]\npending-per-address = 2\n", "secret");
    connect_from(&r, &speaks, 1);
    link_init(&l, CH_MAIN, 0, 0);
    EXPECT(client_send_link(&speaks, &l) && client_read_reply(&speaks));
    for (size_t i = 0; i < TAP_COUNT(c); i++)
        accepted_from(&r, &c[i], 1);
    for (size_t i = 0; i + 1 < TAP_COUNT(c); i++)
        EXPECT(client_at_eof(&c[i]));
    EXPECT(is_open(&c[TAP_COUNT(c) - 1]));
    EXPECT(client_send_ticket(&speaks, "secret"));
    EXPECT_EQ(client_read_result(&speaks), LINK_OK);
    client_close(&speaks);
    close_all(c, TAP_COUNT(c));
    rig_close(&r);
}

static void full_house(void)
{
    struct rig r;
    struct client many[3], other, fresh;
    open_with(&r, "[link]\npending = 4\npending-per-address = 3\n", NULL);
    accepted_from(&r, &other, 2);
    for (size_t i = 0; i < TAP_COUNT(many); i++)
        accepted_from(&r, &many[i], 1);
    accepted_from(&r, &fresh, 3);
    EXPECT(client_at_eof(&many[0]));
    EXPECT(is_open(&many[1]) && is_open(&many[2]) && is_open(&other) && is_open(&fresh));
    EXPECT_EQ(link_at_once(&r, 4, ""), LINK_OK);
    EXPECT(is_open(&other) && is_open(&fresh));
    client_close(&other);
    client_close(&fresh);
    close_all(many, TAP_COUNT(many));
    rig_close(&r);
}

/* Sockets that the host brings are none of an address. */
static void hosts_sockets_are_apart(void)
{
    struct rig r;
    struct client local, c[20];
    int pair[2];
    open_with(&r, "[link]\npending = 2\n", NULL);
    EXPECT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
    EXPECT_EQ(spice_server_add_client(r.server, pair[0], 0), 0);
    client_init(&local, pair[1]);
    for (size_t i = 0; i < TAP_COUNT(c); i++)
        accepted_from(&r, &c[i], (int)i + 1);
    EXPECT(client_at_eof(&c[0]));
    EXPECT_EQ(client_link(&local, CH_MAIN, 0, 0, ""), LINK_OK);
    client_close(&local);
    close_all(c, TAP_COUNT(c));
    rig_close(&r);
}

/* Whatever waits, somebody who means it comes in. */
static void many_silent_ones_hold_up_nobody(void)
{
    struct rig r;
    static struct client c[400];
    open_with(&r, "", "secret");
    for (size_t i = 0; i < TAP_COUNT(c); i++) {
        connect_from(&r, &c[i], 1);
        if (i % 2)
            EXPECT(client_write(&c[i], "REDQ", 4));
    }
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(link_at_once(&r, 1 + i % 2, "secret"), LINK_OK);
    close_all(c, TAP_COUNT(c));
    rig_close(&r);
}

static void wrong_passwords_cost_time(void)
{
    struct rig r;
    struct client main_channel, c;
    struct chardev port;
    struct message m;
    open_with(&r, "[link]\nfree-failures = 2\nlongest-delay = 2\n", "secret");
    chardev_add_port(&port, r.server, "org.example.0");
    connect_from(&r, &main_channel, 1);
    EXPECT_EQ(client_link(&main_channel, CH_MAIN, 0, 0, "secret"), LINK_OK);
    client_expect(&main_channel, S_MAIN_INIT, &m);
    uint32_t session = get32(m.body);
    message_free(&m);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(link_at_once(&r, 1, "wrong"), LINK_PERMISSION_DENIED);
    /* Now each further one waits, twice as long each time: 250, 500, 1000, 2000. */
    for (int delay = 250; delay <= 1000; delay *= 2) {
        int64_t begin = tap_now();
        connect_from(&r, &c, 1);
        EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"), LINK_PERMISSION_DENIED);
        EXPECT_MSG(tap_now() - begin >= delay, "%d ms instead of %d", (int)(tap_now() - begin),
                   delay);
        client_close(&c);
    }
    /* Nobody else does: not another address ... */
    EXPECT_EQ(link_at_once(&r, 2, "wrong"), LINK_PERMISSION_DENIED);
    /* ... and not the channels of a session. A right password ends it for all. */
    int64_t begin = tap_now();
    connect_from(&r, &c, 1);
    EXPECT_EQ(client_link(&c, CH_PORT, 0, session, "secret"), LINK_OK);
    EXPECT_MSG(tap_now() - begin < tap_ms(AT_ONCE), "%d ms", (int)(tap_now() - begin));
    EXPECT_EQ(link_at_once(&r, 1, "wrong"), LINK_PERMISSION_DENIED);
    client_close(&c);
    client_close(&main_channel);
    chardev_remove(&port);
    rig_close(&r);
}

/* A session that does not exist excuses nothing. */
static void made_up_sessions_wait(void)
{
    struct rig r;
    struct client c;
    open_with(&r, "[link]\nfree-failures = 0\nlongest-delay = 1\n", "secret");
    for (int i = 0; i < 3; i++) {
        int64_t begin = tap_now();
        connect_from(&r, &c, 1);
        EXPECT_EQ(client_link(&c, CH_MAIN, 0, 12345, "wrong"), LINK_PERMISSION_DENIED);
        EXPECT(i == 0 || tap_now() - begin >= 250);
        client_close(&c);
    }
    /* Who waits is not late. */
    connect_from(&r, &c, 1);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void unix_sockets_never_wait(void)
{
    struct rig r;
    struct client c;
    configure("[link]\nfree-failures = 0\nlongest-delay = 60\n");
    rig_new(&r);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    rig_init_unix(&r);
    for (int i = 0; i < 10; i++) {
        int64_t begin = tap_now();
        rig_connect(&r, &c);
        EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"), LINK_PERMISSION_DENIED);
        EXPECT(tap_now() - begin < tap_ms(AT_ONCE));
        client_close(&c);
    }
    rig_close(&r);
}

/* Each CONNECTED is one event of QEMU's, on its main thread. */
static void host_hears_of_so_many(void)
{
    enum { FLOOD = 1500, AT_FIRST = 256, PER_SECOND = 100 };
    struct rig r;
    struct client c;
    open_with(&r, "", NULL);
    int64_t begin = tap_now();
    for (int i = 0; i < FLOOD; i++) {
        connect_from(&r, &c, 1);
        EXPECT(client_write(&c, "nope", 4));
        EXPECT(client_closed(&c));
        client_close(&c);
    }
    int most = AT_FIRST + 1 + (int)((tap_now() - begin) * PER_SECOND / 1000);
    host_drain();
    int told = host_events_of(SPICE_CHANNEL_EVENT_CONNECTED, 0);
    EXPECT_MSG(differs(DIFF_EVENTS_OF_A_FLOOD, told >= AT_FIRST && told <= most, told == FLOOD),
               "%d events, %d at most", told, most);
    /* Of a client that comes in it hears everything, in order. */
    host_forget_events();
    connect_from(&r, &c, 1);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    EXPECT(rig_wait_events(2));
    const struct host_event *first = host_event(host_event_count() - 2), *last = first + 1;
    EXPECT_EQ(first->event, SPICE_CHANNEL_EVENT_CONNECTED);
    EXPECT_EQ(last->event, SPICE_CHANNEL_EVENT_INITIALIZED);
    EXPECT(first->info == last->info);
    client_close(&c);
    host_forget_events();
    rig_wait_events(1);
    EXPECT_EQ(host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, 0), 1);
    spice_server_destroy(r.server);
    EXPECT_MSG(!host_violation(), "%s", host_violation());
}

static void log_lines_of_a_flood(void)
{
    enum { FLOOD = 500, LINES = 20 };
    struct rig r;
    struct client c;
    open_with(&r, "", NULL);
    for (int i = 0; i < FLOOD; i++) {
        connect_from(&r, &c, 1);
        EXPECT(client_write(&c, "nope", 4));
        EXPECT(client_closed(&c));
        client_close(&c);
    }
    rig_close(&r);
    EXPECT_EQ(tap_log_lines("refused"), LINES);
    EXPECT_EQ(tap_log_lines("and 480 more links: bad bytes"), 1);
}

static const struct tap_case cases[] = {
    TAP_CASE(deadline_of_the_configuration),
    TAP_CASE(oldest_of_an_address_makes_way),
    TAP_CASE(who_has_spoken_stays),
    TAP_CASE(full_house),
    TAP_CASE(hosts_sockets_are_apart),
    TAP_CASE(many_silent_ones_hold_up_nobody),
    TAP_CASE(wrong_passwords_cost_time),
    TAP_CASE(made_up_sessions_wait),
    TAP_CASE(unix_sockets_never_wait),
    TAP_CASE(host_hears_of_so_many),
    TAP_CASE(log_lines_of_a_flood),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "shield", cases, TAP_COUNT(cases));
}
