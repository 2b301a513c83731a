/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream device: its channels, what their clients get of formats and frames, the
 * pace, several clients, the end.
 */
#define _GNU_SOURCE
#include "differences.h"
#include "stream.h"

#include <poll.h>
#include <stdlib.h>

static void channels_for_the_first_client(void)
{
    struct bench b;
    struct client c;
    struct message m;
    open_bench(&b);
    EXPECT_EQ(b.d.n_states, 1);
    EXPECT_EQ(b.d.states[0], 1);
    say_format(&b.d, 640, 480, 1);
    EXPECT_EQ(b.d.reads, 0);
    rig_connect(&b.r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    EXPECT_EQ(get32(m.body + 4), 0);
    message_free(&m);
    EXPECT(client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_DISPLAY, 0));
    EXPECT(message_lists(&m, CH_CURSOR, 0));
    message_free(&m);
    hear_nothing(&b);
    client_close(&c);
    close_bench(&b);
}

static void channels_when_the_port_opens(void)
{
    struct bench b;
    struct chardev other;
    struct viewer v = { .display.fd = -1, .cursor.fd = -1 };
    struct message m;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    b = (struct bench){ 0 };
    rig_open(&b.r);
    join(&b, &v);
    EXPECT(client_send(&v.main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&v.main_channel, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    chardev_prepare(&b.d, "port", STREAM_PORT);
    EXPECT_EQ(chardev_add(&b.d, b.r.server), 0);
    EXPECT(client_silent(&v.main_channel, 20));
    event(&b, OPENED);
    EXPECT_EQ(b.d.n_states, 2);
    for (int i = 0; i < 2; i++) {
        client_expect(&v.main_channel, S_MAIN_CHANNELS_LIST, &m);
        EXPECT_EQ(m.size, 6);
        EXPECT(message_lists(&m, i ? CH_CURSOR : CH_DISPLAY, 0));
        message_free(&m);
    }
    /* once made they stay */
    event(&b, CLOSED);
    event(&b, OPENED);
    EXPECT(client_silent(&v.main_channel, 20));
    /* and another device has the next number */
    chardev_prepare(&other, "port", STREAM_PORT);
    EXPECT_EQ(chardev_add(&other, b.r.server), 0);
    spice_server_port_event(&other.sin, OPENED);
    client_expect(&v.main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_DISPLAY, 1));
    message_free(&m);
    chardev_remove(&other);
    leave(&v);
    close_bench(&b);
}

static void port_events(void)
{
    struct bench b;
    open_bench(&b);
    event(&b, OPENED);
    EXPECT_EQ(b.d.n_states, 2);
    event(&b, CLOSED);
    EXPECT_EQ(b.d.n_states, 3);
    event(&b, BREAK);
    EXPECT_EQ(b.d.n_states, 3);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(b.d.states[i], 1);
    hear_nothing(&b);
    close_bench(&b);
}

static void links_of_both_channels(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    open_bench(&b);
    event(&b, OPENED);
    join(&b, &v);
    watch(&b, &v, 0, CAPS_ALL);
    EXPECT_EQ(v.display.reply.n_channel, 1);
    EXPECT_EQ(v.display.reply.caps[1], 0x1012);
    hear_codecs(&b, "12345");
    EXPECT(client_silent(&v.display, 20));
    rig_channel(&b.r, &v.cursor, CH_CURSOR, 0, v.session);
    EXPECT_EQ(v.cursor.reply.n_channel, 0);
    client_expect(&v.cursor, S_SET_ACK, &m);
    EXPECT_EQ(get32(m.body), 1);
    EXPECT_EQ(get32(m.body + 4), 20);
    message_free(&m);
    client_expect(&v.cursor, C_INIT, &m);
    static const uint8_t none[] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0 };
    EXPECT_EQ(m.size, sizeof none);
    EXPECT(!memcmp(m.body, none, sizeof none));
    message_free(&m);
    hear_nothing(&b);
    close_watched(&b, &v);
}

static void codecs_of_all_clients(void)
{
    static const struct {
        uint32_t caps;
        const char *own, *together;
    } clients[] = {
        { 0, "1", "1" },
        { CAP_VP8 | CAP_H265, "125", "125" },
        { CAP_MULTI | CAP_VP8 | CAP_VP9, "124", "124" },
        { CAPS_ALL, "12345", "12345" },
    };
    struct bench b;
    struct viewer v[2];
    open_bench(&b);
    event(&b, OPENED);
    memset(v, -1, sizeof v);
    join(&b, &v[0]);
    join(&b, &v[1]);
    for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
        watch(&b, &v[0], 0, clients[i].caps);
        hear_codecs(&b, clients[i].own);
        watch(&b, &v[1], 0, CAPS_ALL);
        hear_codecs(&b, clients[i].together);
        client_close(&v[1].display);
        hear_nothing(&b);
        client_close(&v[0].display);
        hear_codecs(&b, "");
    }
    leave(&v[1]);
    close_watched(&b, &v[0]);
}

static uint32_t milliseconds(void)
{
    return (uint32_t)tap_now();
}

static void format_and_frames(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    open_watched(&b, &v, CAPS_ALL);
    uint8_t none = 0;
    say(&b.d, T_CAPABILITIES, &none, 1);
    say(&b.d, T_CAPABILITIES, NULL, 0);
    say_frame(&b.d, "before any stream");
    say_format(&b.d, 640, 480, 1);
    expect_surface(&v.display, 640, 480, CAPS_ALL);
    expect_empty(&v.display, D_MARK);
    expect_stream(&v.display, 0, 1, 640, 480, CAPS_ALL);
    uint32_t before = milliseconds();
    say_frame(&b.d, "frame");
    client_expect(&v.display, D_STREAM_DATA, &m);
    EXPECT_EQ(m.size, 12 + 5);
    EXPECT_EQ(get32(m.body), 0);
    uint32_t late = get32(m.body + 4) - before;
    EXPECT_MSG(late <= milliseconds() - before, "the frame's time is %d ms off", (int)late);
    EXPECT_EQ(get32(m.body + 8), 5);
    EXPECT(!memcmp(m.body + 12, "frame", 5));
    message_free(&m);
    for (int i = 0; i < 30; i++) {
        say_frame(&b.d, "more");
        expect_frame(&v.display, 0, "more");
    }
    EXPECT(client_silent(&v.display, 20));
    hear_nothing(&b);
    close_watched(&b, &v);
}

static void formats_follow_each_other(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    say_format(&b.d, 640, 480, 1);
    expect_surface(&v.display, 640, 480, 0);
    expect_empty(&v.display, D_MARK);
    expect_stream(&v.display, 0, 1, 640, 480, 0);
    say_format(&b.d, 640, 480, 3);
    expect_word(&v.display, D_STREAM_DESTROY, 0);
    expect_stream(&v.display, 1, 3, 640, 480, 0);
    say_format(&b.d, 320, 200, 9);
    expect_word(&v.display, D_STREAM_DESTROY, 1);
    expect_word(&v.display, D_SURFACE_DESTROY, 0);
    expect_surface(&v.display, 320, 200, 0);
    expect_empty(&v.display, D_MARK);
    expect_stream(&v.display, 2, 9, 320, 200, 0);
    say_frame(&b.d, "frame");
    expect_frame(&v.display, 2, "frame");
    /* the port closes, and what a new program in the guest says begins anew */
    event(&b, CLOSED);
    expect_word(&v.display, D_STREAM_DESTROY, 2);
    expect_word(&v.display, D_SURFACE_DESTROY, 0);
    hear_nothing(&b);
    event(&b, OPENED);
    hear_codecs(&b, "1");
    say_frame(&b.d, "before any stream");
    say_format(&b.d, 320, 200, 1);
    expect_surface(&v.display, 320, 200, 0);
    expect_empty(&v.display, D_MARK);
    expect_stream(&v.display, 0, 1, 320, 200, 0);
    close_watched(&b, &v);
}

static void stream_numbers_wrap(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    say_format(&b.d, 64, 64, 1);
    expect_surface(&v.display, 64, 64, 0);
    expect_empty(&v.display, D_MARK);
    expect_stream(&v.display, 0, 1, 64, 64, 0);
    for (uint32_t i = 1; i < 120; i++) {
        say_format(&b.d, 64, 64, 1);
        expect_word(&v.display, D_STREAM_DESTROY, (i - 1) % 50);
        expect_stream(&v.display, i % 50, 1, 64, 64, 0);
    }
    close_watched(&b, &v);
}

static void device_waits_for_the_client(void)
{
    enum { N = 40, SIZE = MIB };
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    start_stream(&b, &v);
    offer_frames(&b.d, N, SIZE);
    uint64_t unread;
    do {
        unread = chardev_unread(&b.d);
        host_run_for(50);
        chardev_wakeup(&b.d);
    } while (chardev_unread(&b.d) != unread);
    /* one frame is under way, and perhaps one that the socket's buffers took */
    EXPECT_MSG(unread >= (N - 3) * (uint64_t)SIZE, "%llu bytes are left",
               (unsigned long long)unread);
    /* nobody wakes the library */
    for (int i = 0; i < N; i++)
        expect_pattern(&v.display, SIZE);
    EXPECT_EQ(chardev_unread(&b.d), 0);
    close_watched(&b, &v);
}

static void device_waits_for_acknowledgements(void)
{
    struct bench b;
    struct viewer v;
    uint8_t sync[4];
    open_watched(&b, &v, 0);
    v.display.acknowledges = false;
    put32(sync, 2);
    EXPECT(client_send(&v.display, C_ACK_SYNC, sync, 4));
    start_stream(&b, &v);
    offer_frames(&b.d, 100, 10);
    /* SET_ACK, INVAL_ALL_PALETTES and three for the stream count as well */
    int got = 5;
    for (; got < 41; got++)
        expect_pattern(&v.display, 10);
    EXPECT(client_silent(&v.display, 50));
    uint64_t unread = chardev_unread(&b.d);
    EXPECT_EQ(unread, (100 - 37) * 18);
    /* an acknowledgement of another window is none */
    EXPECT(client_send(&v.display, C_ACK, NULL, 0));
    EXPECT(client_silent(&v.display, 50));
    put32(sync, 1);
    EXPECT(client_send(&v.display, C_ACK_SYNC, sync, 4));
    EXPECT(client_send(&v.display, C_ACK, NULL, 0));
    for (int i = 0; i < 20; i++, got++)
        expect_pattern(&v.display, 10);
    EXPECT(client_silent(&v.display, 50));
    for (; got < 105; got++) {
        if (got % 20 == 1)
            EXPECT(client_send(&v.display, C_ACK, NULL, 0));
        expect_pattern(&v.display, 10);
    }
    EXPECT_EQ(chardev_unread(&b.d), 0);
    close_watched(&b, &v);
}

/* The one that does not read goes: the others go on. */
static void who_holds_up_leaves(void)
{
    struct bench b;
    struct viewer v, idle = { .cursor.fd = -1 };
    struct message m;
    open_watched(&b, &v, 0);
    join(&b, &idle);
    watch(&b, &idle, 0, 0);
    hear_codecs(&b, "1");
    start_stream(&b, &v);
    offer_frames(&b.d, 10, MIB);
    int got = 0;
    while (host_wait_fd(v.display.fd, POLLIN, 100)) {
        client_expect(&v.display, D_STREAM_DATA, &m);
        message_free(&m);
        got++;
    }
    EXPECT_MSG(got < 5, "%d frames came although another client reads nothing", got);
    leave(&idle);
    for (; got < 10; got++)
        expect_pattern(&v.display, MIB);
    EXPECT(all_read_by_itself(&b.d));
    close_watched(&b, &v);
}

static void who_holds_up_alone_leaves(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    start_stream(&b, &v);
    offer_frames(&b.d, 10, MIB);
    host_run_for(50);
    EXPECT(chardev_unread(&b.d) > 6 * MIB);
    client_close(&v.display);
    hear_codecs(&b, "");
    /* nobody watches: frames are taken and dropped */
    EXPECT(all_read_by_itself(&b.d));
    watch(&b, &v, 0, 0);
    hear_codecs(&b, "1");
    EXPECT(client_silent(&v.display, 20));
    start_stream(&b, &v);
    close_watched(&b, &v);
}

/* ---- several clients ---- */

static void who_comes_late(void)
{
    struct bench b;
    struct viewer v, late = { .cursor.fd = -1 };
    struct message m;
    open_watched(&b, &v, 0);
    start_stream(&b, &v);
    say_frame(&b.d, "one");
    expect_frame(&v.display, 0, "one");
    join(&b, &late);
    EXPECT(client_send(&late.main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&late.main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_DISPLAY, 0));
    EXPECT(message_lists(&m, CH_CURSOR, 0));
    message_free(&m);
    watch(&b, &late, 0, CAP_MONITORS | CAP_REPORT);
    expect_surface(&late.display, 64, 64, CAP_MONITORS);
    client_expect(&late.display, D_DRAW_FILL, &m);
    EXPECT_EQ(m.size, 41);
    uint8_t fill[41] = { 0 };
    put32(put32(fill + 12, 64), 64);
    fill[21] = 1; /* one colour */
    fill[26] = 8; /* over what is there */
    EXPECT(!memcmp(m.body, fill, sizeof fill));
    message_free(&m);
    expect_empty(&late.display, D_MARK);
    /* the guest is asked for a new stream */
    hear_codecs(&b, "1");
    EXPECT(client_silent(&v.display, 20));
    say_frame(&b.d, "two");
    expect_frame(&v.display, 0, "two");
    if (differs(DIFF_UNKNOWN_STREAM, 0, 1))
        expect_frame(&late.display, 0, "two");
    EXPECT(client_silent(&late.display, 20));
    say_format(&b.d, 64, 64, 1);
    expect_word(&v.display, D_STREAM_DESTROY, 0);
    expect_stream(&v.display, 1, 1, 64, 64, 0);
    expect_stream(&late.display, 1, 1, 64, 64, CAP_REPORT);
    say_frame(&b.d, "three");
    expect_frame(&v.display, 1, "three");
    expect_frame(&late.display, 1, "three");
    /* one of them leaves: nothing changes for the other, nor for the guest */
    leave(&v);
    hear_nothing(&b);
    say_frame(&b.d, "four");
    expect_frame(&late.display, 1, "four");
    leave(&late);
    hear_codecs(&b, "");
    close_bench(&b);
}

static void one_channel_a_session(void)
{
    struct bench b;
    struct viewer v;
    struct client again;
    struct message m;
    open_watched(&b, &v, 0);
    link_cursor(&b, &v, &m);
    message_free(&m);
    rig_channel(&b.r, &again, CH_DISPLAY, 0, v.session);
    EXPECT(client_at_eof(&again));
    client_close(&again);
    rig_channel(&b.r, &again, CH_CURSOR, 0, v.session);
    EXPECT(client_at_eof(&again));
    client_close(&again);
    hear_nothing(&b);
    start_stream(&b, &v);
    say_place(&b.d, 1, 1);
    expect_place(&v.cursor, 1, 1);
    close_watched(&b, &v);
}

static void messages_from_clients(void)
{
    static const struct {
        bool cursor;
        uint16_t type;
        uint32_t size;
        bool good;
    } messages[] = {
        { false, 101, 14, true },   /* INIT */
        { false, 101, 13, false },
        { false, 102, 32, true },   /* STREAM_REPORT */
        { false, 102, 31, false },
        { false, 103, 1, true },    /* PREFERRED_COMPRESSION */
        { false, 104, 0, false },   /* GL_DRAW_DONE, which nobody waits for */
        { false, 105, 3, true },    /* PREFERRED_VIDEO_CODEC_TYPE */
        { false, 105, 2, false },
        { false, 106, 0, false },
        { false, C_PONG, 12, true },
        { false, C_DISCONNECTING, 12, true },
        { false, C_ACK_SYNC, 3, false },
        { false, 101, 1025, false },
        { true, 101, 14, false },
        { true, C_ACK_SYNC, 4, true },
        { true, C_PONG, 12, true },
        { true, C_PONG, 1025, false },
    };
    struct bench b;
    struct viewer v;
    struct message m;
    uint8_t body[1025] = { 2, 1, 3 };
    open_watched(&b, &v, 0);
    link_cursor(&b, &v, &m);
    message_free(&m);
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        struct client *c = messages[i].cursor ? &v.cursor : &v.display;
        EXPECT(client_send(c, messages[i].type, body, messages[i].size));
        if (messages[i].good) {
            EXPECT_MSG(client_silent(c, 20), "message %zu is not taken", i);
            continue;
        }
        EXPECT_MSG(client_closed(c), "message %zu is taken", i);
        client_close(c);
        if (messages[i].cursor) {
            link_cursor(&b, &v, &m);
            message_free(&m);
        } else {
            hear_codecs(&b, "");
            watch(&b, &v, 0, 0);
            hear_codecs(&b, "1");
        }
    }
    EXPECT(client_silent(&v.main_channel, 0));
    close_watched(&b, &v);
}

/* ---- the end ---- */

static void removed_with_clients(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    open_watched(&b, &v, 0);
    link_cursor(&b, &v, &m);
    message_free(&m);
    start_stream(&b, &v);
    offer_frames(&b.d, 5, MIB);
    EXPECT_EQ(spice_server_remove_interface(&b.d.sin.base), 0);
    b.d.added = false;
    chardev_forget(&b.d);
    int reads = b.d.reads, writes = b.d.writes, states = b.d.n_states;
    EXPECT(client_closed(&v.display));
    EXPECT(client_closed(&v.cursor));
    EXPECT(client_silent(&v.main_channel, 20));
    EXPECT_EQ(b.d.reads, reads);
    EXPECT_EQ(b.d.writes, writes);
    EXPECT_EQ(b.d.n_states, states);
    client_close(&v.display);
    client_close(&v.cursor);
    /* the next one has the number again */
    b.heard = 0;
    chardev_prepare(&b.d, "port", STREAM_PORT);
    EXPECT_EQ(chardev_add(&b.d, b.r.server), 0);
    event(&b, OPENED);
    watch(&b, &v, 0, 0);
    hear_codecs(&b, "1");
    start_stream(&b, &v);
    close_watched(&b, &v);
}

static void destroyed_with_clients(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    start_stream(&b, &v);
    offer_frames(&b.d, 5, MIB);
    spice_server_vm_stop(b.r.server);
    b.r.open_clients = 2;
    rig_close(&b.r);
    EXPECT(client_closed(&v.display));
    client_close(&v.display);
    client_close(&v.main_channel);
    chardev_forget(&b.d);
}

static void stopped_vm(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    spice_server_vm_stop(b.r.server);
    int reads = b.d.reads;
    say_format(&b.d, 64, 64, 1);
    EXPECT(client_silent(&v.display, 20));
    EXPECT_EQ(b.d.reads, reads);
    spice_server_vm_start(b.r.server);
    expect_surface(&v.display, 64, 64, 0);
    close_watched(&b, &v);
}

/* A guest that reads nothing: what it is told does not pile up, and it is told the state
 * that counts in the end. */
static void guest_that_does_not_listen(void)
{
    struct bench b;
    struct viewer v = { .display.fd = -1, .cursor.fd = -1 };
    uint32_t n;
    open_bench(&b);
    event(&b, OPENED);
    b.d.accept = 0;
    join(&b, &v);
    for (int i = 0; i < 20; i++) {
        watch(&b, &v, 0, i % 2 ? CAPS_ALL : 0);
        int events = host_event_count();
        client_close(&v.display);
        EXPECT(rig_wait_events(events + 1));
    }
    watch(&b, &v, 0, CAP_VP8);
    chardev_accept(&b.d, CHARDEV_UNLIMITED);
    EXPECT(chardev_wait_input(&b.d, b.heard + 1));
    host_run_for(20);
    EXPECT_MSG(b.d.in_len - b.heard <= (uint64_t)differs(DIFF_STATES_REPLACED, 2, 42) * 16,
               "%llu bytes", (unsigned long long)(b.d.in_len - b.heard));
    const uint8_t *last = NULL;
    while (b.d.in_len > b.heard)
        last = hear(&b, T_START_STOP, &n);
    EXPECT(last && n == 3 && last[0] == 2 && last[1] == 1 && last[2] == 2);
    close_watched(&b, &v);
}

static void two_devices(void)
{
    struct bench b, other = { 0 };
    struct viewer v, w = { .cursor.fd = -1 };
    open_watched(&b, &v, 0);
    other.r = b.r;
    chardev_prepare(&other.d, "port", STREAM_PORT);
    EXPECT_EQ(chardev_add(&other.d, b.r.server), 0);
    event(&other, OPENED);
    w.session = v.session;
    watch(&other, &w, 1, CAP_VP8);
    hear_codecs(&other, "12");
    start_stream(&b, &v);
    say_format(&other.d, 32, 32, 2);
    expect_surface(&w.display, 32, 32, 0);
    expect_empty(&w.display, D_MARK);
    expect_stream(&w.display, 0, 2, 32, 32, 0);
    /* one client reads nothing of the second */
    offer_frames(&other.d, 5, MIB);
    say_frame(&b.d, "first");
    expect_frame(&v.display, 0, "first");
    for (int i = 0; i < 5; i++)
        expect_pattern(&w.display, MIB);
    say(&other.d, 9, "x", 1);
    hear_error(&other);
    say_frame(&b.d, "first");
    expect_frame(&v.display, 0, "first");
    hear_nothing(&b);
    hang_up(&w.display);
    chardev_remove(&other.d);
    say_frame(&b.d, "first");
    expect_frame(&v.display, 0, "first");
    close_watched(&b, &v);
}

static const struct tap_case cases[] = {
    TAP_CASE(channels_for_the_first_client),
    TAP_CASE(channels_when_the_port_opens),
    TAP_CASE(port_events),
    TAP_CASE(links_of_both_channels),
    TAP_CASE(codecs_of_all_clients),
    TAP_CASE(format_and_frames),
    TAP_CASE(formats_follow_each_other),
    TAP_CASE(stream_numbers_wrap),
    TAP_CASE(device_waits_for_the_client),
    TAP_CASE(device_waits_for_acknowledgements),
    TAP_CASE(who_holds_up_leaves),
    TAP_CASE(who_holds_up_alone_leaves),
    TAP_CASE(who_comes_late),
    TAP_CASE(one_channel_a_session),
    TAP_CASE(messages_from_clients),
    TAP_CASE(removed_with_clients),
    TAP_CASE(destroyed_with_clients),
    TAP_CASE(stopped_vm),
    TAP_CASE(guest_that_does_not_listen),
    TAP_CASE(two_devices),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "stream", cases, TAP_COUNT(cases));
}
