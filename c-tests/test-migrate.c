/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients are told when their VM moves, on the host that is left and on the one that is
 * reached. What goes along with a channel is in test-migration-data.c. */
#define _GNU_SOURCE
#include "chardev.h"
#include "devices.h"
#include "differences.h"
#include "rig.h"

enum {
    BEGIN = 101,
    CANCEL = 102,
    SWITCH_HOST = 111,
    END = 112,
    BEGIN_SEAMLESS = 116,
    ACK = 117,
    NACK = 118,
    CONNECTED = 102,
    CONNECT_ERROR = 103,
    C_END = 109,
    DO_SEAMLESS = 110,
    CONNECTED_SEAMLESS = 111,
    SEMI = 1,
    SEAMLESS = 0xf,
    COMMON_CAPS = 0xb,
    SESSION = 0x1234,
    PORT = 5999,
    TIME_OUT = 10000,
};

struct bench {
    struct rig r;
    struct migration m;
    struct client c; /**< main */
};

static void prepare(struct bench *b, bool seamless)
{
    rig_open(&b->r);
    migration_prepare(&b->m);
    spice_server_set_seamless_migration(b->r.server, seamless);
    EXPECT_EQ(spice_server_add_interface(b->r.server, &b->m.sin.base), 0);
}

static int link_main(struct bench *b, uint32_t session, uint32_t caps)
{
    struct link l;
    link_init(&l, CH_MAIN, 0, session);
    link_set_caps(&l, COMMON_CAPS, caps);
    rig_connect(&b->r, &b->c);
    return client_link_with(&b->c, &l, "");
}

/** A host with a client that can so much. */
static void open_source(struct bench *b, bool seamless, uint32_t caps)
{
    struct message m;
    prepare(b, seamless);
    EXPECT_EQ(link_main(b, 0, caps), LINK_OK);
    client_expect(&b->c, S_MAIN_INIT, &m);
    message_free(&m);
}

static void close_bench(struct bench *b)
{
    spice_server_remove_interface(&b->m.sin.base);
    rig_close(&b->r);
}

static int announce(struct bench *b)
{
    return spice_server_migrate_connect(b->r.server, "there", PORT, -1, "CN=x");
}

/** The next message is of this type and says where. */
static void expect_announcement(struct bench *b, uint16_t type)
{
    struct message m;
    uint32_t fixed = type == BEGIN_SEAMLESS ? 24 : 20;
    client_expect(&b->c, type, &m);
    EXPECT_EQ(m.size, fixed + sizeof "there" + sizeof "CN=x");
    EXPECT_EQ(get16(m.body), PORT);
    EXPECT_EQ(get16(m.body + 2), 0xffff);
    EXPECT_EQ(get32(m.body + 4), sizeof "there");
    EXPECT_EQ(get32(m.body + 8), fixed);
    EXPECT_EQ(get32(m.body + 12), sizeof "CN=x");
    EXPECT_EQ(get32(m.body + 16), fixed + sizeof "there");
    if (type == BEGIN_SEAMLESS)
        EXPECT_EQ(get32(m.body + 20), 1);
    EXPECT(!memcmp(m.body + fixed, "there\0CN=x", sizeof "there" + sizeof "CN=x"));
    message_free(&m);
}

static void expect_empty(struct bench *b, uint16_t type)
{
    struct message m;
    client_expect(&b->c, type, &m);
    EXPECT_EQ(m.size, 0);
    message_free(&m);
}

static bool answered(void *m)
{
    return ((struct migration *)m)->connect_completes > 0;
}

static bool ended(void *m)
{
    return ((struct migration *)m)->end_completes > 0;
}

static void answer(struct bench *b, uint16_t type)
{
    EXPECT(client_send(&b->c, type, NULL, 0));
    EXPECT(host_run_until(answered, &b->m, tap_ms(HOST_DEADLINE_MS)));
    EXPECT_EQ(b->m.connect_completes, 1);
}

/** The VM is there now. */
static void complete(struct bench *b)
{
    EXPECT_EQ(spice_server_migrate_start(b->r.server), 0);
    EXPECT_EQ(spice_server_migrate_end(b->r.server, 1), 0);
    EXPECT_EQ(b->m.end_completes, 0);
}

static void leave(struct bench *b)
{
    client_close(&b->c);
    EXPECT(host_run_until(ended, &b->m, tap_ms(HOST_DEADLINE_MS)));
    EXPECT_EQ(b->m.end_completes, 1);
    EXPECT_EQ(spice_server_migrate_start(b->r.server), -1);
    close_bench(b);
}

static void a_client_begins_anew_there(void)
{
    struct bench b;
    open_source(&b, false, SEMI);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN);
    EXPECT_EQ(b.m.connect_completes, 0);
    answer(&b, CONNECTED);
    EXPECT(client_silent(&b.c, 50));
    complete(&b);
    expect_empty(&b, END);
    leave(&b);
}

/** It has asked the other host, which does not know how. */
static void a_session_cannot_go_on_there(void)
{
    struct bench b;
    open_source(&b, true, SEAMLESS);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN_SEAMLESS);
    answer(&b, CONNECTED);
    complete(&b);
    expect_empty(&b, END);
    leave(&b);
}

static void a_session_goes_on_there(void)
{
    struct bench b;
    struct message m;
    open_source(&b, true, SEAMLESS);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN_SEAMLESS);
    answer(&b, CONNECTED_SEAMLESS);
    complete(&b);
    client_expect(&b.c, S_MIGRATE, &m);
    EXPECT_EQ(m.size, 4);
    EXPECT_EQ(get32(m.body), 3);
    message_free(&m);
    leave(&b);
}

static void seamless_is_off(void)
{
    struct bench b;
    open_source(&b, false, SEAMLESS);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN);
    answer(&b, CONNECTED);
    complete(&b);
    expect_empty(&b, END);
    leave(&b);
}

static void the_other_host_is_not_reached(void)
{
    struct bench b;
    open_source(&b, true, SEAMLESS);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN_SEAMLESS);
    answer(&b, CONNECT_ERROR);
    complete(&b);
    expect_announcement(&b, SWITCH_HOST);
    leave(&b);
}

static void an_old_client(void)
{
    struct bench b;
    open_source(&b, true, 0);
    EXPECT_EQ(announce(&b), 0);
    EXPECT_EQ(b.m.connect_completes, 1);
    EXPECT(client_silent(&b.c, 50));
    complete(&b);
    expect_announcement(&b, SWITCH_HOST);
    leave(&b);
}

/** Clients come back, and their session goes on here. */
static void the_migration_fails(void)
{
    struct bench b;
    struct message m;
    open_source(&b, true, SEAMLESS);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN_SEAMLESS);
    answer(&b, CONNECTED_SEAMLESS);
    EXPECT_EQ(spice_server_migrate_end(b.r.server, 0), 0);
    EXPECT_EQ(b.m.end_completes, 0);
    expect_empty(&b, CANCEL);
    EXPECT_EQ(spice_server_migrate_start(b.r.server), -1);
    EXPECT(client_send(&b.c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&b.c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    /* and may go again */
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN_SEAMLESS);
    client_close(&b.c);
    close_bench(&b);
}

static void it_fails_before_the_answer(void)
{
    struct bench b;
    open_source(&b, false, SEMI);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN);
    EXPECT_EQ(spice_server_migrate_end(b.r.server, 0), 0);
    EXPECT_EQ(b.m.connect_completes, 1);
    EXPECT(client_silent(&b.c, 50));
    EXPECT(client_send(&b.c, CONNECTED, NULL, 0));
    expect_empty(&b, CANCEL);
    client_close(&b.c);
    close_bench(&b);
}

static void two_announcements(void)
{
    struct bench b;
    open_source(&b, false, SEMI);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN);
    answer(&b, CONNECTED);
    b.m.connect_completes = 0;
    EXPECT_EQ(announce(&b), 0);
    expect_empty(&b, CANCEL);
    expect_announcement(&b, BEGIN);
    answer(&b, CONNECTED);
    complete(&b);
    expect_empty(&b, END);
    leave(&b);
}

static void the_client_goes_meanwhile(void)
{
    struct bench b;
    open_source(&b, false, SEMI);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN);
    client_close(&b.c);
    EXPECT(host_run_until(answered, &b.m, tap_ms(HOST_DEADLINE_MS)));
    EXPECT_EQ(spice_server_migrate_end(b.r.server, 1), 0);
    EXPECT_EQ(b.m.end_completes, 1);
    close_bench(&b);
}

static void no_announcement(void)
{
    struct bench b;
    open_source(&b, true, SEAMLESS);
    EXPECT_EQ(spice_server_migrate_end(b.r.server, 1), -1);
    EXPECT_EQ(b.m.end_completes, 1);
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    close_bench(&b);
}

/** Ten seconds for an answer, and ten for leaving. */
static void nobody_waits_for_ever(void)
{
    struct bench b;
    open_source(&b, false, SEMI);
    EXPECT_EQ(announce(&b), 0);
    expect_announcement(&b, BEGIN);
    int64_t begun = tap_now();
    EXPECT(host_run_until(answered, &b.m, TIME_OUT + tap_ms(HOST_DEADLINE_MS)));
    EXPECT(tap_now() - begun >= TIME_OUT - 100);
    EXPECT(client_send(&b.c, CONNECTED, NULL, 0));
    expect_empty(&b, CANCEL);
    complete(&b);
    expect_announcement(&b, SWITCH_HOST);
    begun = tap_now();
    EXPECT(host_run_until(ended, &b.m, TIME_OUT + tap_ms(HOST_DEADLINE_MS)));
    EXPECT(tap_now() - begun >= TIME_OUT - 100);
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    close_bench(&b);
}

/** Without a migration interface. */
static void the_old_way(void)
{
    struct bench b;
    struct message m;
    rig_open(&b.r);
    EXPECT_EQ(link_main(&b, 0, SEMI), LINK_OK);
    client_expect(&b.c, S_MAIN_INIT, &m);
    message_free(&m);
    EXPECT_EQ(spice_server_migrate_info(b.r.server, NULL, PORT, -1, NULL), -1);
    EXPECT_EQ(spice_server_migrate_info(b.r.server, "there", PORT, -1, "CN=x"), 0);
    EXPECT(client_silent(&b.c, 50));
    EXPECT_EQ(spice_server_migrate_switch(b.r.server), 0);
    expect_announcement(&b, SWITCH_HOST);
    client_close(&b.c);
    rig_close(&b.r);
}

/* ---- the host that is reached ---- */

static void open_target(struct bench *b, struct chardev *port)
{
    prepare(b, true);
    spice_server_set_name(b->r.server, "vm");
    chardev_add_port(port, b->r.server, "org.example.0");
    EXPECT_EQ(link_main(b, SESSION, SEAMLESS), LINK_OK);
}

static void close_target(struct bench *b, struct chardev *port, struct client *channel)
{
    client_close(channel);
    client_close(&b->c);
    chardev_remove(port);
    close_bench(b);
}

static void expect_port(struct client *channel)
{
    struct message m;
    client_expect(channel, S_PORT_INIT, &m);
    message_free(&m);
}

/** Silent until the client says that the VM is here. */
static void a_client_begins_here(void)
{
    struct bench b;
    struct chardev port;
    struct client channel;
    struct message m;
    open_target(&b, &port);
    rig_channel(&b.r, &channel, CH_PORT, 0, SESSION);
    EXPECT(client_silent(&b.c, 50));
    EXPECT(client_silent(&channel, 50));
    EXPECT(client_send(&b.c, C_END, NULL, 0));
    client_expect(&b.c, S_MAIN_INIT, &m);
    EXPECT_EQ(get32(m.body), SESSION);
    message_free(&m);
    EXPECT(client_silent(&b.c, 50)); /* neither NAME nor the network's test */
    expect_port(&channel);
    EXPECT(client_send(&channel, VMC_DATA, "abc", 3));
    EXPECT(chardev_wait_input(&port, 3));
    close_target(&b, &port, &channel);
}

static void an_unknown_version(void)
{
    struct bench b;
    struct chardev port;
    struct client channel;
    struct message m;
    uint8_t version[4];
    put32(version, 2);
    open_target(&b, &port);
    EXPECT(client_send(&b.c, DO_SEAMLESS, version, 4));
    expect_empty(&b, NACK);
    rig_channel(&b.r, &channel, CH_PORT, 0, SESSION);
    EXPECT(client_silent(&channel, 50));
    EXPECT(client_send(&b.c, C_END, NULL, 0));
    client_expect(&b.c, S_MAIN_INIT, &m);
    message_free(&m);
    expect_port(&channel);
    close_target(&b, &port, &channel);
}

/** A channel that is linked before the question, and one that is linked after it. */
static void a_session_goes_on_here(void)
{
    static const uint8_t data[33] = { 'S', 'V', 'M', 'D', 1, 0, 0, 0, 1, 0, 0, 0, 1,
                                      255, 255, 255, 255, 255, 255, 255, 255 };
    struct bench b;
    struct chardev port, other;
    struct client channel, later;
    uint8_t version[4];
    put32(version, 1);
    prepare(&b, true);
    chardev_add_port(&port, b.r.server, "org.example.0");
    chardev_add_port(&other, b.r.server, "org.example.1");
    EXPECT_EQ(link_main(&b, SESSION, SEAMLESS), LINK_OK);
    rig_channel(&b.r, &channel, CH_PORT, 0, SESSION);
    EXPECT(client_send(&b.c, DO_SEAMLESS, version, 4));
    expect_empty(&b, ACK);
    rig_channel(&b.r, &later, CH_PORT, 1, SESSION);
    spice_server_vm_start(b.r.server);
    struct client *const both[] = { &channel, &later };
    struct chardev *const devices[] = { &port, &other };
    for (int i = 0; i < 2; i++) {
        expect_port(both[i]);
        EXPECT(client_send(both[i], C_MIGRATE_DATA, data, sizeof data));
        EXPECT(client_send(both[i], VMC_DATA, "abc", 3));
        EXPECT(chardev_wait_input(devices[i], 3));
    }
    client_close(&later);
    chardev_remove(&other);
    close_target(&b, &port, &channel);
}

/** What waits goes with the session. */
static void a_client_does_not_arrive(void)
{
    struct bench b;
    struct chardev port;
    struct client channel;
    open_target(&b, &port);
    rig_channel(&b.r, &channel, CH_PORT, 0, SESSION);
    client_close(&b.c);
    EXPECT(client_closed(&channel));
    EXPECT_EQ(link_main(&b, SESSION, SEAMLESS), LINK_OK);
    close_target(&b, &port, &channel);
}

/** Whoever is here makes way for the session that comes. */
static void somebody_is_here(void)
{
    struct bench b;
    struct client before;
    open_source(&b, true, SEAMLESS);
    before = b.c;
    EXPECT_EQ(link_main(&b, SESSION, SEAMLESS), LINK_OK);
    EXPECT(client_closed(&before));
    client_close(&before);
    EXPECT(client_send(&b.c, C_END, NULL, 0));
    struct message m;
    client_expect(&b.c, S_MAIN_INIT, &m);
    message_free(&m);
    client_close(&b.c);
    close_bench(&b);
}

/** The VM goes on before its client has come. */
static void a_client_goes_on_at_once(void)
{
    struct bench b;
    struct message m;
    prepare(&b, true);
    EXPECT_EQ(link_main(&b, SESSION, SEAMLESS), LINK_OK);
    EXPECT_EQ(announce(&b), 0);
    EXPECT(client_silent(&b.c, 50));
    EXPECT(client_send(&b.c, C_END, NULL, 0));
    client_expect(&b.c, S_MAIN_INIT, &m);
    message_free(&m);
    expect_announcement(&b, BEGIN_SEAMLESS);
    answer(&b, CONNECTED_SEAMLESS);
    client_close(&b.c);
    close_bench(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(a_client_begins_anew_there),
    TAP_CASE(a_session_cannot_go_on_there),
    TAP_CASE(a_session_goes_on_there),
    TAP_CASE(seamless_is_off),
    TAP_CASE(the_other_host_is_not_reached),
    TAP_CASE(an_old_client),
    TAP_CASE(the_migration_fails),
    TAP_CASE(it_fails_before_the_answer),
    TAP_CASE(two_announcements),
    TAP_CASE(the_client_goes_meanwhile),
    TAP_CASE(no_announcement),
    TAP_CASE(nobody_waits_for_ever),
    TAP_CASE(the_old_way),
    TAP_CASE(a_client_begins_here),
    TAP_CASE(an_unknown_version),
    TAP_CASE(a_session_goes_on_here),
    TAP_CASE(a_client_does_not_arrive),
    TAP_CASE(somebody_is_here),
    TAP_CASE(a_client_goes_on_at_once),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "migrate", cases, TAP_COUNT(cases));
}
