/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream device: what the guest says in which pieces and sizes, what is refused, the
 * pointer, what the agent is told.
 */
#define _GNU_SOURCE
#include "differences.h"
#include "stream.h"

#include <stdlib.h>

/* Whatever pieces the guest's bytes come in. */
static void bytes_one_by_one(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    b.d.read_chunk = 1;
    b.d.wakeup_in_read = true;
    say_format(&b.d, 640, 480, 1);
    expect_surface(&v.display, 640, 480, 0);
    expect_empty(&v.display, D_MARK);
    expect_stream(&v.display, 0, 1, 640, 480, 0);
    for (int i = 0; i < 3; i++) {
        say_frame(&b.d, "a frame in pieces");
        expect_frame(&v.display, 0, "a frame in pieces");
    }
    close_watched(&b, &v);
}

static void largest_frame(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    start_stream(&b, &v);
    generate_frame(&b.d, 32 * MIB);
    EXPECT(all_read(&b.d));
    expect_pattern(&v.display, 32 * MIB);
    generate_frame(&b.d, 100001);
    EXPECT(all_read(&b.d));
    expect_pattern(&v.display, 100001);
    close_watched(&b, &v);
}

/* ---- the pointer ---- */

static void expect_picture(const uint8_t *shape, uint16_t width, uint16_t height, uint8_t type,
                           uint32_t n)
{
    EXPECT_EQ(get16(shape), 0);
    EXPECT_EQ(get64(shape + 2), 0);
    EXPECT_EQ(shape[10], type);
    EXPECT_EQ(get16(shape + 11), width);
    EXPECT_EQ(get16(shape + 13), height);
    EXPECT_EQ(get16(shape + 15), 1);
    EXPECT_EQ(get16(shape + 17), 2);
    for (uint32_t i = 0; i < n; i++)
        EXPECT_EQ(shape[19 + i], (uint8_t)i);
}

static void expect_cursor(struct client *c, uint16_t width, uint16_t height, uint8_t type,
                          uint32_t n)
{
    struct message m;
    client_expect(c, C_SET, &m);
    EXPECT_EQ(m.size, 5 + 19 + n);
    EXPECT_EQ(get32(m.body), 0);
    EXPECT_EQ(m.body[4], 1);
    expect_picture(m.body + 5, width, height, type, n);
    message_free(&m);
}

static void pointer_and_its_place(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    open_watched(&b, &v, 0);
    link_cursor(&b, &v, &m);
    message_free(&m);
    say_cursor(&b.d, 4, 3, 0, 4 * 4 * 3);
    expect_cursor(&v.cursor, 4, 3, 0, 4 * 4 * 3);
    say_place(&b.d, 7, -16);
    expect_place(&v.cursor, 7, -16);
    /* the channel has 16 bits */
    say_place(&b.d, 70000, 5);
    expect_place(&v.cursor, 70000 - 65536, 5);
    /* a place is not part of a picture */
    say_cursor(&b.d, 3, 3, 5, 30);
    expect_cursor(&v.cursor, 3, 3, 5, 29);
    say_cursor(&b.d, 2, 2, 6, 17);
    expect_cursor(&v.cursor, 2, 2, 6, 17);
    hang_up(&v.cursor);
    link_cursor(&b, &v, &m);
    EXPECT_EQ(m.size, 9 + 19 + 17);
    EXPECT_EQ(get16(m.body), 70000 - 65536);
    EXPECT_EQ(get16(m.body + 2), 5);
    EXPECT_EQ(get32(m.body + 4), 0);
    EXPECT_EQ(m.body[8], 1);
    expect_picture(m.body + 9, 2, 2, 6, 17);
    message_free(&m);
    say_cursor(&b.d, 1024, 1024, 0, 4 * MIB);
    expect_cursor(&v.cursor, 1024, 1024, 0, 4 * MIB);
    say_cursor(&b.d, 0, 0, 0, 0);
    expect_cursor(&v.cursor, 0, 0, 0, 0);
    hear_nothing(&b);
    close_watched(&b, &v);
}

static void pointers_that_are_refused(void)
{
    static const struct {
        uint16_t width, height;
        uint8_t type;
        uint32_t n;
    } bad[] = {
        { 2, 2, 1, 100 },  { 2, 2, 2, 100 },     { 2, 2, 3, 100 }, { 2, 2, 4, 100 },
        { 2, 2, 7, 100 },  { 1025, 1, 0, 4100 }, { 1, 1025, 0, 4100 }, { 2, 2, 0, 15 },
        { 2, 2, 5, 12 },   { 2, 2, 6, 16 },      { 65535, 65535, 0, 100 },
    };
    struct bench b;
    struct viewer v;
    struct message m;
    open_watched(&b, &v, 0);
    link_cursor(&b, &v, &m);
    message_free(&m);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        say_cursor(&b.d, bad[i].width, bad[i].height, bad[i].type, bad[i].n);
        hear_error(&b);
        event(&b, OPENED);
        hear_codecs(&b, "1");
    }
    EXPECT(client_silent(&v.cursor, 20));
    close_watched(&b, &v);
}

/* ---- what the guest must not say ---- */

static void messages_that_are_refused(void)
{
    static const struct {
        uint16_t type;
        uint32_t size;
    } bad[] = {
        { 0, 0 },
        { T_START_STOP, 1 },
        { T_NOTIFY_ERROR, 5 },
        { 9, 0 },
        { 10, 0 },
        { 0xffff, 0 },
        { T_CAPABILITIES, 1025 },
        { T_FORMAT, 0 },
        { T_FORMAT, 11 },
        { T_FORMAT, 13 },
        { T_DATA, 32 * MIB + 1 },
        { T_DATA, 0xffffffff },
        { T_CURSOR_SET, 11 },
        { T_CURSOR_SET, 12 + (4096 + 128) * 1024 + 1 },
        { T_CURSOR_MOVE, 7 },
        { T_CURSOR_MOVE, 9 },
        { T_DISPLAY_INFO, 12 + 257 },
    };
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    int states = b.d.n_states;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t header[8];
        start_stream(&b, &v);
        /* the version is not looked at */
        put32(put16(put8(put8(header, 77), 78), bad[i].type), bad[i].size);
        chardev_say(&b.d, header, sizeof header);
        hear_error(&b);
        /* the host is told, but not from inside the read */
        EXPECT(chardev_wait_states(&b.d, ++states));
        EXPECT_EQ(b.d.states[states - 1], 0);
        /* the picture stays until the guest begins anew */
        EXPECT(client_silent(&v.display, 0));
        event(&b, OPENED);
        EXPECT_EQ(b.d.states[states++], 1);
        hear_codecs(&b, "1");
        expect_word(&v.display, D_STREAM_DESTROY, 0);
        expect_word(&v.display, D_SURFACE_DESTROY, 0);
    }
    hear_nothing(&b);
    close_watched(&b, &v);
}

static void largest_sizes_are_taken(void)
{
    struct bench b;
    struct viewer v;
    uint8_t *zeros = calloc(1, 12 + (4096 + 128) * 1024);
    open_watched(&b, &v, 0);
    say(&b.d, T_CAPABILITIES, zeros, 1024);
    say(&b.d, T_CURSOR_SET, zeros, 12 + (4096 + 128) * 1024);
    say(&b.d, T_DISPLAY_INFO, zeros, 12 + 256);
    say(&b.d, T_DISPLAY_INFO, zeros, 11);
    start_stream(&b, &v);
    hear_nothing(&b);
    free(zeros);
    close_watched(&b, &v);
}

static void deaf_after_a_fault(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    say(&b.d, 9, "x", 1);
    hear_error(&b);
    for (int i = 0; i < 20; i++) {
        say_format(&b.d, 64, 64, 1);
        generate_frame(&b.d, 100000);
    }
    EXPECT(all_read(&b.d));
    EXPECT(client_silent(&v.display, 20));
    hear_nothing(&b);
    event(&b, OPENED);
    hear_codecs(&b, "1");
    start_stream(&b, &v);
    close_watched(&b, &v);
}

static void sizes_of_no_surface(void)
{
    static const uint32_t sizes[][2] = { { 0, 5 }, { 5, 0 }, { 0x20000000, 1 }, { 65536, 65536 } };
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        say_format(&b.d, sizes[i][0], sizes[i][1], 1);
        hear_error(&b);
        EXPECT(client_silent(&v.display, 0));
        event(&b, OPENED);
        hear_codecs(&b, "1");
    }
    close_watched(&b, &v);
}

static void half_a_message_is_forgotten(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    start_stream(&b, &v);
    queue_message(&b.d, T_DATA, NULL, 0);
    b.d.out[b.d.out_len - 4] = 100; /* of which 10 come */
    chardev_say(&b.d, "0123456789", 10);
    /* not before the client has got what came before */
    EXPECT(all_read(&b.d));
    event(&b, CLOSED);
    expect_word(&v.display, D_STREAM_DESTROY, 0);
    expect_word(&v.display, D_SURFACE_DESTROY, 0);
    event(&b, OPENED);
    hear_codecs(&b, "1");
    start_stream(&b, &v);
    say_frame(&b.d, "whole");
    expect_frame(&v.display, 0, "whole");
    close_watched(&b, &v);
}

/* A client of the cursor channel that reads nothing stops neither the device nor others,
 * and what waits for it does not grow. */
static void cursor_client_that_reads_nothing(void)
{
    enum { N = 60, PICTURE = 4 * 512 * 512 };
    struct bench b;
    struct viewer v;
    struct message m;
    open_watched(&b, &v, 0);
    link_cursor(&b, &v, &m);
    message_free(&m);
    tap_peak_reset();
    long before = tap_peak_kib();
    for (int i = 0; i < N; i++) {
        say_cursor(&b.d, 512, 512, 0, PICTURE);
        free(b.d.out);
        b.d.out = NULL;
        b.d.out_len = b.d.out_pos = 0;
        host_run_for(1);
    }
    start_stream(&b, &v);
    long grown = tap_peak_kib() - before;
    EXPECT_MSG(grown < differs(DIFF_POINTERS_REPLACED, 16, 100) << 10, "%ld KiB more", grown);
    say_place(&b.d, 9, 9);
    int pictures = 0;
    do {
        EXPECT(client_next(&v.cursor, &m));
        pictures += m.type == C_SET;
        message_free(&m);
    } while (m.type != C_MOVE);
    EXPECT_MSG(pictures < differs(DIFF_POINTERS_REPLACED, 10, N + 1), "%d pictures", pictures);
    close_watched(&b, &v);
}

static void removed_after_a_fault(void)
{
    struct bench b;
    struct viewer v;
    open_watched(&b, &v, 0);
    int states = b.d.n_states;
    say(&b.d, 9, "x", 1);
    EXPECT_EQ(spice_server_remove_interface(&b.d.sin.base), 0);
    b.d.added = false;
    chardev_forget(&b.d);
    /* the timer that would tell the host comes too late */
    host_run_for(20);
    EXPECT_EQ(b.d.n_states, states);
    EXPECT(client_closed(&v.display));
    client_close(&v.display);
    close_watched(&b, &v);
}

/* ---- the agent is told which device the pictures come from ---- */

static void display_info_for_the_agent(void)
{
    /* AGENT_START, then chunks of port 1 with VDAgentMessage: protocol 1, type 6 */
    enum { ANNOUNCE = 6, GRAPHICS_DEVICE_INFO = 16, CAP = 1 << 15 };
    struct bench b;
    struct viewer v;
    struct chardev agent;
    uint8_t start[4], caps[8 + 20 + 8], info[12 + 9] = { 0 };
    open_watched(&b, &v, 0);
    chardev_prepare(&agent, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&agent, b.r.server), 0);
    put32(start, 10);
    EXPECT(client_send(&v.main_channel, C_MAIN_AGENT_START, start, 4));
    EXPECT(chardev_wait_states(&agent, 1));
    put32(put32(put32(info, 3), 4), 9);
    memcpy(info + 12, "pci/0/2.0", 9);
    info[12 + 8] = 0;
    say(&b.d, T_DISPLAY_INFO, info, sizeof info);
    EXPECT(all_read(&b.d));
    uint8_t *p = put32(put32(caps, 1), 20 + 8);
    p = put32(put64(put32(put32(p, 1), ANNOUNCE), 0), 8);
    put32(put32(p, 0), CAP);
    chardev_say(&agent, caps, sizeof caps);
    /* chunk of port 2 with one display: channel, monitor, display, length, address */
    EXPECT(chardev_wait_input(&agent, 8 + 20 + 4 + 16 + 9));
    const uint8_t *m = agent.in;
    EXPECT_EQ(get32(m), 2);
    EXPECT_EQ(get32(m + 4), 20 + 4 + 16 + 9);
    EXPECT_EQ(get32(m + 8 + 4), GRAPHICS_DEVICE_INFO);
    uint32_t body[] = { 1, 0, 3, 4, 9 };
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(get32(m + 28 + 4 * i), body[i]);
    EXPECT(!memcmp(m + 48, "pci/0/2.", 9));
    /* and again when it changes */
    put32(info, 5);
    uint64_t before = agent.in_len;
    say(&b.d, T_DISPLAY_INFO, info, sizeof info);
    EXPECT(chardev_wait_input(&agent, before + 57));
    EXPECT_EQ(get32(agent.in + before + 36), 5);
    chardev_remove(&agent);
    close_watched(&b, &v);
}

static const struct tap_case cases[] = {
    TAP_CASE(bytes_one_by_one),
    TAP_CASE(largest_frame),
    TAP_CASE(pointer_and_its_place),
    TAP_CASE(pointers_that_are_refused),
    TAP_CASE(messages_that_are_refused),
    TAP_CASE(largest_sizes_are_taken),
    TAP_CASE(deaf_after_a_fault),
    TAP_CASE(sizes_of_no_surface),
    TAP_CASE(half_a_message_is_forgotten),
    TAP_CASE(cursor_client_that_reads_nothing),
    TAP_CASE(removed_after_a_fault),
    TAP_CASE(display_info_for_the_agent),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "stream-guest", cases, TAP_COUNT(cases));
}
