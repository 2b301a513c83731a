/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tickets: passwords, lifetimes and what happens to clients that are there. */
#define _GNU_SOURCE
#include "chardev.h"
#include "rig.h"

#include <sys/socket.h>
#include <unistd.h>

static const char sixty_one[] = "1234567890123456789012345678901234567890123456789012345678901";

/** Link result of a main channel with this password. */
static int try(struct rig *r, const char *password)
{
    struct client c;
    rig_connect(r, &c);
    int result = client_link(&c, CH_MAIN, 0, 0, password);
    if (result != LINK_OK)
        EXPECT(client_at_eof(&c));
    client_close(&c);
    return result;
}

/** Link result of a main channel with these ticket bytes before encryption. */
static int try_text(struct rig *r, const char *text, size_t len)
{
    struct client c;
    struct link l;
    uint8_t auth[4 + TICKET_SIZE] = { 1 };
    link_init(&l, CH_MAIN, 0, 0);
    rig_connect(r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    client_make_ticket(&c, text, len, auth + 4);
    EXPECT(client_write(&c, auth, sizeof auth));
    int result = client_read_result(&c);
    client_close(&c);
    return result;
}

static void open_with(struct rig *r, const char *password, int lifetime)
{
    rig_new(r);
    EXPECT_EQ(spice_server_set_ticket(r->server, password, lifetime, 0, 0), 0);
    rig_init_unix(r);
}

static void default_refuses_everybody(void)
{
    struct rig r;
    rig_new(&r);
    rig_init_unix(&r);
    EXPECT_EQ(try(&r, ""), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "guess"), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void right_and_wrong_passwords(void)
{
    struct rig r;
    open_with(&r, "secret", 0);
    EXPECT_EQ(try(&r, "secret"), LINK_OK);
    EXPECT_EQ(try(&r, ""), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "secre"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "secrets"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "Secret"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "secret"), LINK_OK);
    rig_close(&r);
}

static void text_ends_at_the_first_nul(void)
{
    struct rig r;
    open_with(&r, "secret", 0);
    EXPECT_EQ(try_text(&r, "secret\0junk", 12), LINK_OK);
    EXPECT_EQ(try_text(&r, "\0secret", 8), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void longest_text(void)
{
    char text[86];
    struct rig r;
    open_with(&r, "secret", 0);
    memset(text, 'x', sizeof text);
    EXPECT_EQ(try_text(&r, text, sizeof text), LINK_PERMISSION_DENIED);
    memset(text, 0, sizeof text);
    EXPECT_EQ(try_text(&r, text, sizeof text), LINK_PERMISSION_DENIED);
    memcpy(text, "secret", 6);
    EXPECT_EQ(try_text(&r, text, sizeof text), LINK_OK);
    rig_close(&r);
}

static void garbage_ticket(void)
{
    struct rig r;
    struct client c;
    struct link l;
    uint8_t auth[4 + TICKET_SIZE] = { 1 };
    open_with(&r, "secret", 0);
    for (int fill = 0; fill < 256; fill += 85) {
        memset(auth + 4, fill, TICKET_SIZE);
        link_init(&l, CH_MAIN, 0, 0);
        rig_connect(&r, &c);
        EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
        EXPECT(client_write(&c, auth, sizeof auth));
        EXPECT_EQ(client_read_result(&c), LINK_PERMISSION_DENIED);
        EXPECT(client_at_eof(&c));
        client_close(&c);
    }
    rig_close(&r);
}

/* A ticket that was recorded on one link is worthless on the next. */
static void fresh_key_for_each_link(void)
{
    struct rig r;
    struct client c;
    struct link l;
    uint8_t auth[4 + TICKET_SIZE] = { 1 };
    uint8_t keys[8][PUBKEY_SIZE];
    open_with(&r, "secret", 0);
    link_init(&l, CH_MAIN, 0, 0);
    for (size_t i = 0; i < TAP_COUNT(keys); i++) {
        rig_connect(&r, &c);
        EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
        memcpy(keys[i], c.reply.key, PUBKEY_SIZE);
        for (size_t j = 0; j < i; j++)
            EXPECT_MSG(memcmp(keys[i], keys[j], PUBKEY_SIZE), "links %zu and %zu share a key", i, j);
        if (i == 0)
            client_make_ticket(&c, "secret", 7, auth + 4);
        EXPECT(client_write(&c, auth, sizeof auth));
        EXPECT_EQ(client_read_result(&c), i == 0 ? LINK_OK : LINK_PERMISSION_DENIED);
        client_close(&c);
    }
    rig_close(&r);
}

static void null_password(void)
{
    struct rig r;
    open_with(&r, "secret", 0);
    EXPECT_EQ(spice_server_set_ticket(r.server, NULL, 0, 0, 0), 0);
    EXPECT_EQ(try(&r, "secret"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, ""), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void empty_password(void)
{
    struct rig r;
    open_with(&r, "", 0);
    EXPECT_EQ(try(&r, ""), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "x"), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void password_of_59(void)
{
    struct rig r;
    char text[62];
    open_with(&r, "short", 0);
    memcpy(text, sixty_one, sizeof text);
    text[59] = 0;
    EXPECT_EQ(spice_server_set_ticket(r.server, text, 0, 0, 0), 0);
    EXPECT_EQ(try(&r, text), LINK_OK);
    EXPECT_EQ(try(&r, sixty_one), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

/* 60 characters are accepted but stored without the last: nobody who types the
 * password gets in. */
static void password_of_60(void)
{
    struct rig r;
    char text[62];
    open_with(&r, "short", 0);
    memcpy(text, sixty_one, sizeof text);
    text[60] = 0;
    EXPECT_EQ(spice_server_set_ticket(r.server, text, 0, 0, 0), 0);
    EXPECT_EQ(try(&r, text), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "short"), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void password_of_61(void)
{
    struct rig r;
    open_with(&r, "short", 0);
    EXPECT_EQ(spice_server_set_ticket(r.server, sixty_one, 0, 0, 0), -1);
    EXPECT_EQ(try(&r, sixty_one), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

/* The refused call has already switched ticketing on; the password is the old one. */
static void password_of_61_ends_noauth(void)
{
    struct rig r;
    rig_open(&r);
    EXPECT_EQ(try(&r, ""), LINK_OK);
    EXPECT_EQ(spice_server_set_ticket(r.server, sixty_one, 0, 0, 0), -1);
    EXPECT_EQ(try(&r, ""), LINK_PERMISSION_DENIED);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    EXPECT_EQ(try(&r, ""), LINK_OK);
    rig_close(&r);
}

static void lifetime_ends(void)
{
    struct rig r;
    open_with(&r, "secret", tap_ms(1000) / 1000);
    EXPECT_EQ(try(&r, "secret"), LINK_OK);
    /* whole seconds: it ends between one and two seconds from now */
    int64_t deadline = tap_now() + tap_ms(10000);
    int result = LINK_OK;
    while (result == LINK_OK && tap_now() < deadline) {
        host_run_for(100);
        result = try(&r, "secret");
    }
    EXPECT_EQ(result, LINK_PERMISSION_DENIED);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    EXPECT_EQ(try(&r, "secret"), LINK_OK);
    rig_close(&r);
}

static void lifetime_is_for_connecting_only(void)
{
    struct rig r;
    struct client c;
    open_with(&r, "secret", tap_ms(1000) / 1000);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), LINK_OK);
    struct message m;
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    int64_t deadline = tap_now() + tap_ms(10000);
    struct client probe;
    int result = LINK_OK;
    /* a channel of the session, not a main one that would take over */
    struct chardev port;
    chardev_add_port(&port, r.server, "org.example.0");
    while (result != LINK_PERMISSION_DENIED && tap_now() < deadline) {
        host_run_for(100);
        rig_connect(&r, &probe);
        result = client_link(&probe, CH_PORT, 0, 1, "secret");
        client_close(&probe);
    }
    EXPECT_EQ(result, LINK_PERMISSION_DENIED);
    EXPECT(client_silent(&c, 20));
    client_close(&c);
    chardev_remove(&port);
    rig_close(&r);
}

static void negative_lifetime(void)
{
    struct rig r;
    open_with(&r, "secret", -5);
    EXPECT_EQ(try(&r, "secret"), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void fail_if_connected(void)
{
    struct rig r;
    struct client c;
    open_with(&r, "old", 0);
    EXPECT_EQ(spice_server_set_ticket(r.server, "old", 0, 1, 0), 0);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "old"), LINK_OK);
    EXPECT_EQ(spice_server_set_ticket(r.server, "new", 0, 1, 0), -1);
    EXPECT_EQ(spice_server_set_ticket(r.server, "new", 0, 1, 1), -1);
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    EXPECT_EQ(try(&r, "new"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "old"), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void disconnect_if_connected(void)
{
    struct rig r;
    struct client c;
    struct message m;
    open_with(&r, "old", 0);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "old"), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    EXPECT_EQ(spice_server_set_ticket(r.server, "new", 0, 0, 1), 0);
    EXPECT(client_at_eof(&c));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 0);
    EXPECT_EQ(try(&r, "old"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try(&r, "new"), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

/** Whether somebody comes in whose ticket had come before the rule was changed. */
static void changed_on_the_way(const char *before, const char *after, int fail, int disconnect)
{
    struct rig r;
    struct client c;
    struct link l;
    uint8_t auth[4 + TICKET_SIZE] = { 1 };
    rig_new(&r);
    if (before)
        EXPECT_EQ(spice_server_set_ticket(r.server, before, 0, 0, 0), 0);
    else
        EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    rig_init_unix(&r);
    rig_connect(&r, &c);
    link_init(&l, CH_MAIN, 0, 0);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    client_make_ticket(&c, before ? before : "", strlen(before ? before : "") + 1, auth + 4);
    EXPECT(client_write(&c, auth, sizeof auth));
    usleep(200000); /* the host is busy; other threads are not */
    EXPECT_EQ(spice_server_set_ticket(r.server, after, 0, fail, disconnect), 0);
    EXPECT(client_read_result(&c) != LINK_OK);
    client_close(&c);
    if (after)
        EXPECT_EQ(try(&r, after), LINK_OK);
    rig_close(&r);
}

static void noauth_ends_on_the_way(void)
{
    changed_on_the_way(NULL, "new", 0, 0);
}

static void password_changes_on_the_way(void)
{
    changed_on_the_way("old", "new", 0, 0);
    changed_on_the_way("old", "new", 0, 1);
    changed_on_the_way("old", "new", 1, 0);
    changed_on_the_way("old", NULL, 0, 1);
}

static struct rig *changed_inside;

static void change_inside(int event, const SpiceChannelEventInfo *info)
{
    if (event == SPICE_CHANNEL_EVENT_INITIALIZED && info->type == CH_PORT && changed_inside)
        EXPECT_EQ(spice_server_set_ticket(changed_inside->server, "new", 0, 0, 1), 0);
}

/* The host ends the session when it hears of a channel; of its end it hears, too. */
static void disconnected_inside_an_event(void)
{
    struct rig r;
    struct chardev port;
    struct client main_channel, c;
    open_with(&r, "old", 0);
    chardev_add_port(&port, r.server, "org.example.0");
    rig_connect(&r, &main_channel);
    EXPECT_EQ(client_link(&main_channel, CH_MAIN, 0, 0, "old"), LINK_OK);
    struct message m;
    client_expect(&main_channel, S_MAIN_INIT, &m);
    uint32_t session = get32(m.body);
    message_free(&m);
    changed_inside = &r;
    host_on_channel_event = change_inside;
    rig_connect(&r, &c);
    client_link(&c, CH_PORT, 0, session, "old");
    EXPECT(rig_wait_events(6));
    host_on_channel_event = NULL;
    changed_inside = NULL;
    EXPECT_EQ(host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, CH_PORT), 1);
    EXPECT_EQ(host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, CH_MAIN), 1);
    client_close(&c);
    client_close(&main_channel);
    chardev_remove(&port);
    rig_close(&r);
}

static void plain_change_leaves_the_client(void)
{
    struct rig r;
    struct client c;
    struct message m;
    open_with(&r, "old", 0);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "old"), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    EXPECT_EQ(spice_server_set_ticket(r.server, "new", 0, 0, 0), 0);
    EXPECT(client_silent(&c, 50));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    client_close(&c);
    rig_close(&r);
}

static void ticket_after_noauth_disconnects(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_main(&r, &c);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    EXPECT(client_at_eof(&c));
    client_close(&c);
    EXPECT_EQ(try(&r, "secret"), LINK_OK);
    rig_close(&r);
}

static void noauth_after_ticket(void)
{
    struct rig r;
    open_with(&r, "secret", 0);
    EXPECT_EQ(try(&r, "x"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    EXPECT_EQ(try(&r, "x"), LINK_OK);
    rig_close(&r);
}

static void every_channel_needs_the_ticket(void)
{
    struct rig r;
    struct client c, port_client;
    struct chardev port;
    struct message m;
    open_with(&r, "secret", 0);
    chardev_add_port(&port, r.server, "org.example.0");
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    uint32_t session = get32(m.body);
    message_free(&m);
    rig_connect(&r, &port_client);
    EXPECT_EQ(client_link(&port_client, CH_PORT, 0, session, "wrong"), LINK_PERMISSION_DENIED);
    EXPECT(client_at_eof(&port_client));
    client_close(&port_client);
    EXPECT_EQ(port.n_states, 0);
    rig_connect(&r, &port_client);
    EXPECT_EQ(client_link(&port_client, CH_PORT, 0, session, "secret"), LINK_OK);
    EXPECT(chardev_wait_states(&port, 1));
    client_close(&port_client);
    client_close(&c);
    chardev_remove(&port);
    rig_close(&r);
}

/** A link over a socket pair given with add_client. */
static int try_added(struct rig *r, int skip_auth, const char *password)
{
    int pair[2];
    struct client c;
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(spice_server_add_client(r->server, pair[0], skip_auth), 0);
    client_init(&c, pair[1]);
    int result = client_link(&c, CH_MAIN, 0, 0, password);
    client_close(&c);
    return result;
}

static void skip_auth(void)
{
    struct rig r;
    open_with(&r, "secret", 0);
    EXPECT_EQ(try_added(&r, 0, "wrong"), LINK_PERMISSION_DENIED);
    EXPECT_EQ(try_added(&r, 0, "secret"), LINK_OK);
    EXPECT_EQ(try_added(&r, 1, "wrong"), LINK_OK);
    EXPECT_EQ(try_added(&r, 1, ""), LINK_OK);
    /* it is for that link only */
    EXPECT_EQ(try(&r, "wrong"), LINK_PERMISSION_DENIED);
    rig_close(&r);
}

static void wrong_password_takes_nothing_over(void)
{
    struct rig r;
    struct client c;
    struct message m;
    open_with(&r, "secret", 0);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    EXPECT_EQ(try(&r, "wrong"), LINK_PERMISSION_DENIED);
    EXPECT(client_silent(&c, 20));
    EXPECT(client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    client_close(&c);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(default_refuses_everybody),
    TAP_CASE(right_and_wrong_passwords),
    TAP_CASE(text_ends_at_the_first_nul),
    TAP_CASE(longest_text),
    TAP_CASE(garbage_ticket),
    TAP_CASE(fresh_key_for_each_link),
    TAP_CASE(null_password),
    TAP_CASE(empty_password),
    TAP_CASE(password_of_59),
    TAP_CASE(password_of_60),
    TAP_CASE(password_of_61),
    TAP_CASE(password_of_61_ends_noauth),
    TAP_CASE(lifetime_ends),
    TAP_CASE(lifetime_is_for_connecting_only),
    TAP_CASE(negative_lifetime),
    TAP_CASE(fail_if_connected),
    TAP_CASE(disconnect_if_connected),
    TAP_CASE(noauth_ends_on_the_way),
    TAP_CASE(password_changes_on_the_way),
    TAP_CASE(disconnected_inside_an_event),
    TAP_CASE(plain_change_leaves_the_client),
    TAP_CASE(ticket_after_noauth_disconnects),
    TAP_CASE(noauth_after_ticket),
    TAP_CASE(every_channel_needs_the_ticket),
    TAP_CASE(skip_auth),
    TAP_CASE(wrong_password_takes_nothing_over),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "ticket", cases, TAP_COUNT(cases));
}
