/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inputs channel: its life, keys and locks. test-pointer.c has the pointer. */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct desk {
    struct rig r;
    struct inputs in;
    struct client main, c;
    uint32_t session;
};

static void expect_locks(struct client *c, uint16_t type, int locks)
{
    struct message m;
    client_expect(c, type, &m);
    EXPECT_EQ(m.size, 2);
    EXPECT_EQ(get16(m.body), locks);
    message_free(&m);
}

static void link_inputs(struct desk *d, struct client *c, uint32_t session)
{
    rig_channel(&d->r, c, CH_INPUTS, 0, session);
    expect_locks(c, S_INPUTS_INIT, d->in.leds);
}

/** A server with all input devices and a client that has the channel. */
static void desk_open(struct desk *d)
{
    rig_open(&d->r);
    inputs_add(&d->in, d->r.server);
    d->session = rig_main(&d->r, &d->main);
    link_inputs(d, &d->c, d->session);
}

static void desk_close(struct desk *d)
{
    client_close(&d->c);
    client_close(&d->main);
    inputs_remove(&d->in);
    rig_close(&d->r);
}

static void send_code(struct client *c, uint16_t type, uint32_t code)
{
    uint8_t body[4];
    put32(body, code);
    EXPECT(client_send(c, type, body, sizeof body));
}

static void send_locks(struct client *c, uint16_t locks)
{
    uint8_t body[2];
    put16(body, locks);
    EXPECT(client_send(c, C_INPUTS_LOCKS, body, sizeof body));
}

static void send_bytes(struct client *c, const char *bytes, size_t n)
{
    EXPECT(client_send(c, C_INPUTS_SCANCODES, bytes, (uint32_t)n));
}
#define SEND_BYTES(c, text) send_bytes(c, text, sizeof text - 1)

struct told {
    struct inputs *in;
    size_t n;
};

static bool told_enough(void *opaque)
{
    struct told *told = opaque;
    return told->in->n_told >= told->n;
}

/** Waits until the devices were told exactly this since the last time. */
static void expect_told(struct inputs *in, const char *want)
{
    struct told told = { in, strlen(want) };
    host_run_until(told_enough, &told, HOST_DEADLINE_MS);
    EXPECT_MSG(!strcmp(in->told, want), "the devices were told \"%s\", expected \"%s\"", in->told,
               want);
    in->n_told = 0;
    in->told[0] = 0;
}

/** The same, and nothing but what a marker key says comes before the next message. */
static void expect_only(struct desk *d, const char *want)
{
    char all[sizeof d->in.told];
    SEND_BYTES(&d->c, "\x01\x81");
    snprintf(all, sizeof all, "%s01 81 ", want);
    expect_told(&d->in, all);
}

/* ---- the channel ---- */

static void offers_scancodes(void)
{
    struct desk d;
    desk_open(&d);
    EXPECT_EQ(d.c.reply.n_channel, 1);
    EXPECT_EQ(d.c.reply.caps[d.c.reply.n_common], 1);
    desk_close(&d);
}

static void init_tells_the_lamps(void)
{
    struct desk d;
    struct client again;
    rig_open(&d.r);
    inputs_prepare(&d.in);
    d.session = rig_main(&d.r, &d.main);
    link_inputs(&d, &d.c, d.session); /* no keyboard: none is lit */
    client_close(&d.c);
    EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.keyboard.base), 0);
    d.in.has_keyboard = true;
    d.in.leds = LOCK_SCROLL | LOCK_CAPS;
    link_inputs(&d, &again, d.session);
    EXPECT(client_silent(&again, 20));
    client_close(&again);
    desk_close(&d);
}

/** The main channel hears that the keyboard is plain to read. */
static void expect_warning(struct client *c)
{
    struct message m;
    struct timespec now;
    client_expect(c, S_NOTIFY, &m);
    clock_gettime(CLOCK_MONOTONIC, &now);
    EXPECT(m.size > 25);
    uint64_t age = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - get64(m.body);
    EXPECT_MSG(age < 10000000000, "the warning is %llu ns old", (unsigned long long)age);
    EXPECT_EQ(get32(m.body + 8), 1);  /* a warning */
    EXPECT_EQ(get32(m.body + 12), 2); /* for everybody to see */
    EXPECT_EQ(get32(m.body + 16), 0);
    EXPECT_EQ(get32(m.body + 20), m.size - 25);
    EXPECT_EQ(m.body[m.size - 1], 0);
    EXPECT_EQ(strlen((char *)m.body + 24), m.size - 25);
    EXPECT(strstr((char *)m.body + 24, "keyboard channel") != NULL);
    message_free(&m);
}

static void main_channel_is_warned(void)
{
    struct desk d;
    desk_open(&d);
    expect_warning(&d.main);
    client_close(&d.c);
    link_inputs(&d, &d.c, d.session);
    expect_warning(&d.main);
    EXPECT(client_silent(&d.main, 20));
    desk_close(&d);
}

static void one_link_for_each_client(void)
{
    struct desk d;
    struct client again;
    desk_open(&d);
    rig_connect(&d.r, &again);
    EXPECT_EQ(client_link(&again, CH_INPUTS, 0, d.session, ""), LINK_OK);
    EXPECT(client_at_eof(&again));
    client_close(&again);
    expect_only(&d, "");
    desk_close(&d);
}

/* Whoever links again right after leaving is not taken for a second link. */
static void links_again_at_once(void)
{
    struct desk d;
    desk_open(&d);
    for (int i = 0; i < 10; i++) {
        client_close(&d.c);
        link_inputs(&d, &d.c, d.session);
    }
    expect_only(&d, "");
    desk_close(&d);
}

static void listed_for_several_clients(void)
{
    struct desk d;
    struct client second;
    struct message m;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    desk_open(&d);
    rig_main(&d.r, &second);
    EXPECT(client_send(&second, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&second, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_INPUTS, 0));
    message_free(&m);
    client_close(&second);
    desk_close(&d);
}

static void expect_inputs_end(struct desk *d, uint16_t type, uint32_t announced, uint32_t sent)
{
    static const uint8_t zeros[4096];
    struct client c;
    client_close(&d->c);
    link_inputs(d, &c, d->session);
    EXPECT(client_send_header(&c, type, announced));
    EXPECT(client_write(&c, zeros, sent));
    EXPECT_MSG(client_at_eof(&c), "type %u of %u bytes does not end the channel", type, announced);
    client_close(&c);
    link_inputs(d, &d->c, d->session);
    expect_only(d, "");
    EXPECT_EQ(spice_server_get_num_clients(d->r.server), 1);
}

static void wrong_messages_end_the_channel(void)
{
    static const struct {
        uint16_t type;
        uint32_t size;
    } wrong[] = {
        { C_INPUTS_KEY_DOWN, 0 }, { C_INPUTS_KEY_DOWN, 3 },  { C_INPUTS_KEY_UP, 3 },
        { C_INPUTS_LOCKS, 1 },    { C_INPUTS_SCANCODES, 0 }, { C_INPUTS_MOTION, 9 },
        { C_INPUTS_POSITION, 10 }, { C_INPUTS_PRESS, 2 },    { C_INPUTS_RELEASE, 2 },
        { 105, 4 },               { 110, 16 },               { 115, 16 },
        { 100, 4 },               { 0, 0 },                  { 65535, 4 },
    };
    struct desk d;
    desk_open(&d);
    for (size_t i = 0; i < TAP_COUNT(wrong); i++)
        expect_inputs_end(&d, wrong[i].type, wrong[i].size, wrong[i].size);
    desk_close(&d);
}

static void too_long_ends_the_channel(void)
{
    struct desk d;
    desk_open(&d);
    expect_inputs_end(&d, C_INPUTS_SCANCODES, 2049, 2049);
    /* at the header, before a byte of it */
    expect_inputs_end(&d, C_INPUTS_SCANCODES, 2049, 0);
    expect_inputs_end(&d, C_INPUTS_KEY_DOWN, 0x7fffffff, 0);
    desk_close(&d);
}

static void flush_mark_ends_the_channel(void)
{
    struct desk d;
    desk_open(&d);
    expect_inputs_end(&d, C_FLUSH_MARK, 0, 0);
    desk_close(&d);
}

static void longer_than_needed_is_good(void)
{
    static const uint8_t body[64] = { 0x1e };
    struct desk d;
    desk_open(&d);
    EXPECT(client_send(&d.c, C_INPUTS_KEY_DOWN, body, sizeof body));
    EXPECT(client_send(&d.c, C_DISCONNECTING, body, 12));
    EXPECT(client_send(&d.c, C_ACK, NULL, 0));
    expect_only(&d, "1e ");
    desk_close(&d);
}

/* ---- keys ---- */

static void codes_are_read_from_the_low_end(void)
{
    struct desk d;
    desk_open(&d);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    send_code(&d.c, C_INPUTS_KEY_UP, 0x9e);
    expect_only(&d, "1e 9e ");
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x4be0);
    send_code(&d.c, C_INPUTS_KEY_UP, 0xcbe0);
    expect_only(&d, "e0 4b e0 cb ");
    /* nothing is added: a key that goes up without its bit goes down */
    send_code(&d.c, C_INPUTS_KEY_UP, 0x1f);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x9f);
    expect_only(&d, "1f 9f ");
    /* a zero byte ends the code */
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x01001e);
    send_code(&d.c, C_INPUTS_KEY_UP, 0x9e);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e00);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0);
    expect_only(&d, "1e 9e ");
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x9fe01fe0);
    expect_only(&d, "e0 1f e0 9f ");
    desk_close(&d);
}

static void runs_of_codes_pass_as_they_are(void)
{
    struct desk d;
    char run[2048], want[sizeof d.in.told] = "";
    desk_open(&d);
    SEND_BYTES(&d.c, "\xe0\x1d\xe0\x9d\x1e\x9e");
    expect_only(&d, "e0 1d e0 9d 1e 9e ");
    SEND_BYTES(&d.c, "\x1e\x00\x9e");
    expect_only(&d, "1e 00 9e ");
    SEND_BYTES(&d.c, "\xe1\x1d\x45\xe1\x9d\xc5");
    expect_only(&d, "e1 1d 45 e1 9d c5 ");
    /* the longest that is taken */
    for (size_t i = 0; i < sizeof run; i++) {
        run[i] = (char)(i % 2 ? 0x9e : 0x1e);
        strcat(want, i % 2 ? "9e " : "1e ");
    }
    send_bytes(&d.c, run, sizeof run);
    expect_only(&d, want);
    desk_close(&d);
}

static void without_a_keyboard(void)
{
    struct desk d;
    rig_open(&d.r);
    inputs_prepare(&d.in);
    d.session = rig_main(&d.r, &d.main);
    link_inputs(&d, &d.c, d.session);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    SEND_BYTES(&d.c, "\x1e\xe0");
    send_locks(&d.c, LOCK_CAPS);
    EXPECT(client_silent(&d.c, 20));
    EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.keyboard.base), 0);
    d.in.has_keyboard = true;
    /* what came before it is not held on it */
    expect_only(&d, "");
    client_close(&d.c);
    link_inputs(&d, &d.c, d.session);
    expect_only(&d, "");
    desk_close(&d);
}

static void held_keys_are_let_go(void)
{
    struct desk d;
    desk_open(&d);
    SEND_BYTES(&d.c, "\x2a\x1e\xe0\x4b\xe0\x1d\x1d\x9d\x10\x90");
    expect_told(&d.in, "2a 1e e0 4b e0 1d 1d 9d 10 90 ");
    client_close(&d.c);
    expect_told(&d.in, "9e aa e0 9d e0 cb ");
    link_inputs(&d, &d.c, d.session);
    expect_only(&d, "");
    /* the whole client goes */
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1de0);
    expect_told(&d.in, "1e e0 1d ");
    client_close(&d.main);
    expect_told(&d.in, "9e e0 9d ");
    EXPECT(client_closed(&d.c));
    desk_close(&d);
}

static void held_keys_are_let_go_at_the_end(void)
{
    struct desk d;
    desk_open(&d);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    expect_told(&d.in, "1e ");
    d.r.open_clients = 2;
    rig_close(&d.r);
    EXPECT(!strcmp(d.in.told, "9e "));
    client_close(&d.c);
    client_close(&d.main);
}

/* A wrong message is an end like any other. */
static void held_keys_are_let_go_when_cut(void)
{
    struct desk d;
    desk_open(&d);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    EXPECT(client_send(&d.c, 999, NULL, 0));
    expect_told(&d.in, "1e 9e ");
    EXPECT(client_at_eof(&d.c));
    desk_close(&d);
}

static void any_client_that_goes_lets_go(void)
{
    struct desk d;
    struct client main, c;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    desk_open(&d);
    uint32_t session = rig_main(&d.r, &main);
    link_inputs(&d, &c, session);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    expect_told(&d.in, "1e ");
    client_close(&c);
    expect_told(&d.in, "9e ");
    client_close(&main);
    desk_close(&d);
}

/* The guest still waits for the second byte, and must not take the next one for it. */
static void half_a_code_is_ended(void)
{
    struct desk d;
    desk_open(&d);
    SEND_BYTES(&d.c, "\x1e\xe0");
    expect_told(&d.in, "1e e0 ");
    client_close(&d.c);
    expect_told(&d.in, "aa 9e ");
    desk_close(&d);
}

/* ---- locks ---- */

static void lamps_are_told_at_once(void)
{
    struct desk d;
    desk_open(&d);
    for (int leds = 7; leds >= 0; leds--) {
        EXPECT_EQ(spice_server_kbd_leds(&d.in.keyboard, leds), 0);
        expect_locks(&d.c, S_INPUTS_LOCKS, leds);
    }
    EXPECT(client_silent(&d.c, 20));
    desk_close(&d);
}

static void clients_locks_press_keys(void)
{
    struct desk d;
    desk_open(&d);
    send_locks(&d.c, LOCK_SCROLL | LOCK_NUM | LOCK_CAPS);
    expect_only(&d, "46 c6 45 c5 3a ba ");
    send_locks(&d.c, LOCK_SCROLL | LOCK_NUM | LOCK_CAPS);
    expect_only(&d, "");
    send_locks(&d.c, LOCK_NUM);
    expect_only(&d, "46 c6 3a ba ");
    /* what the device says counts */
    EXPECT_EQ(spice_server_kbd_leds(&d.in.keyboard, LOCK_CAPS), 0);
    expect_locks(&d.c, S_INPUTS_LOCKS, LOCK_CAPS);
    send_locks(&d.c, LOCK_CAPS | LOCK_NUM);
    expect_only(&d, "45 c5 ");
    /* a lock key that is held is left alone */
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x3a);
    expect_only(&d, "3a ");
    send_locks(&d.c, LOCK_SCROLL | LOCK_CAPS);
    expect_only(&d, "46 c6 45 c5 ");
    send_code(&d.c, C_INPUTS_KEY_UP, 0xba);
    send_locks(&d.c, 0);
    expect_only(&d, "ba 46 c6 ");
    desk_close(&d);
}

/* A lamp that is lit when the keyboard comes has not been told yet. */
static void lamps_before_a_change(void)
{
    struct desk d;
    rig_open(&d.r);
    inputs_add(&d.in, d.r.server);
    d.in.leds = LOCK_NUM;
    d.session = rig_main(&d.r, &d.main);
    link_inputs(&d, &d.c, d.session);
    send_locks(&d.c, LOCK_NUM);
    expect_only(&d, "45 c5 ");
    desk_close(&d);
}

static void lock_keys_are_told_after_a_while(void)
{
    struct desk d;
    struct client main, c;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    desk_open(&d);
    uint32_t session = rig_main(&d.r, &main);
    link_inputs(&d, &c, session);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    expect_told(&d.in, "1e ");
    EXPECT_EQ(host_armed_timers(), 0);
    int64_t begin = tap_now();
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x3a);
    send_code(&d.c, C_INPUTS_KEY_UP, 0xba);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x46);
    expect_told(&d.in, "3a ba 46 ");
    EXPECT_EQ(host_armed_timers(), 1);
    /* the time that the guest has to light its lamps; it does not */
    expect_locks(&d.c, S_INPUTS_LOCKS, LOCK_CAPS | LOCK_SCROLL);
    expect_locks(&c, S_INPUTS_LOCKS, LOCK_CAPS | LOCK_SCROLL);
    int64_t took = tap_now() - begin;
    EXPECT_MSG(took >= 1990, "told after %lld ms", (long long)took);
    EXPECT_EQ(host_armed_timers(), 0);
    client_close(&c);
    client_close(&main);
    desk_close(&d);
}

static bool armed_anew(void *opaque)
{
    return host_next_timer_ms() > *(int *)opaque;
}

static void lock_keys_put_the_telling_off(void)
{
    struct desk d;
    desk_open(&d);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x45);
    expect_told(&d.in, "45 ");
    int left = host_next_timer_ms();
    EXPECT_MSG(left > 1000 && left <= 2000, "%d ms are left", left);
    /* as long as it is down it counts once, and other keys do not count */
    host_run_for(60);
    left = host_next_timer_ms() + 20;
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x45);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x1e);
    expect_told(&d.in, "45 1e ");
    EXPECT(host_next_timer_ms() < left);
    send_code(&d.c, C_INPUTS_KEY_UP, 0xc5);
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x45);
    expect_told(&d.in, "c5 45 ");
    EXPECT(host_next_timer_ms() > left);
    /* a client's locks put it off, whether they change something or not */
    host_run_for(60);
    left = host_next_timer_ms() + 20;
    send_locks(&d.c, 0);
    EXPECT(host_run_until(armed_anew, &left, HOST_DEADLINE_MS));
    desk_close(&d);
}

/* Ctrl+Break and Pause carry the numbers of scroll and num lock behind a prefix. */
static void prefixed_codes_are_no_lock_keys(void)
{
    struct desk d;
    desk_open(&d);
    SEND_BYTES(&d.c, "\xe0\x46\xe0\xc6\xe1\x1d\x45\xe1\x9d\xc5");
    expect_told(&d.in, "e0 46 e0 c6 e1 1d 45 e1 9d c5 ");
    EXPECT_EQ(host_armed_timers(), differs(DIFF_LOCK_PREFIX, 0, 1));
    send_locks(&d.c, 0);
    expect_only(&d, differs(DIFF_LOCK_PREFIX, 0, 1) ? "46 c6 45 c5 " : "");
    desk_close(&d);
}

static void light_caps(struct inputs *in, uint8_t byte)
{
    if (byte == 0x3a)
        spice_server_kbd_leds(&in->keyboard, LOCK_CAPS);
}

/* The guest lights the lamp inside the call: it knows better than who guesses. */
static void lamps_change_inside_the_call(void)
{
    struct desk d;
    desk_open(&d);
    d.in.on_scan = light_caps;
    send_code(&d.c, C_INPUTS_KEY_DOWN, 0x3a);
    send_code(&d.c, C_INPUTS_KEY_UP, 0xba);
    expect_told(&d.in, "3a ba ");
    expect_locks(&d.c, S_INPUTS_LOCKS, LOCK_CAPS);
    send_locks(&d.c, LOCK_CAPS);
    expect_only(&d, "");
    desk_close(&d);
}

/* ---- the keyboard goes ---- */

static void removed_with_keys_held(void)
{
    struct desk d;
    struct inputs gone;
    struct message m;
    desk_open(&d);
    SEND_BYTES(&d.c, "\x1e\x3a\xe0");
    expect_told(&d.in, "1e 3a e0 ");
    inputs_remove(&d.in);
    EXPECT(!d.in.keyboard.st && !d.in.mouse.st && !d.in.tablet.st);
    EXPECT_EQ(host_armed_timers(), 0);
    gone = d.in;
    memset(&d.in, 0x55, sizeof d.in); /* QEMU frees it */
    EXPECT_EQ(spice_server_kbd_leds(&d.in.keyboard, 7), 0);
    send_code(&d.c, C_INPUTS_KEY_UP, 0x9e);
    for (int i = 0; i < 4; i++)
        EXPECT(client_send(&d.c, C_INPUTS_MOTION, "\1\0\0\0\1\0\0\0\0", 10));
    client_expect(&d.c, S_INPUTS_MOTION_ACK, &m);
    message_free(&m);
    client_close(&d.c);
    d.in = gone;
    inputs_add(&d.in, d.r.server);
    link_inputs(&d, &d.c, d.session);
    expect_only(&d, "");
    EXPECT(!d.in.told[0]);
    desk_close(&d);
}

static void unplug(struct inputs *in, uint8_t byte)
{
    (void)byte;
    in->on_scan = NULL;
    inputs_remove(in);
}

static void removed_inside_a_call(void)
{
    struct desk d;
    desk_open(&d);
    SEND_BYTES(&d.c, "\x1e");
    expect_told(&d.in, "1e ");
    d.in.on_scan = unplug;
    SEND_BYTES(&d.c, "\x2a\x10\x11");
    expect_told(&d.in, "2a ");
    /* and while keys are let go */
    struct inputs old = d.in;
    inputs_add(&d.in, d.r.server);
    SEND_BYTES(&d.c, "\x1e\x2a\x10");
    expect_told(&d.in, "1e 2a 10 ");
    d.in.on_scan = unplug;
    client_close(&d.c);
    expect_told(&d.in, "90 ");
    EXPECT(!old.told[0]);
    desk_close(&d);
}

/* ---- half a device ---- */

static void functions_may_be_missing(void)
{
    struct desk d;
    rig_open(&d.r);
    inputs_prepare(&d.in);
    SpiceKbdInterface keyboard = { .base = *d.in.keyboard.base.sif };
    SpiceMouseInterface mouse = { .base = *d.in.mouse.base.sif };
    d.in.keyboard.base.sif = &keyboard.base;
    d.in.mouse.base.sif = &mouse.base;
    EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.keyboard.base), 0);
    EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.mouse.base), 0);
    d.session = rig_main(&d.r, &d.main);
    link_inputs(&d, &d.c, d.session);
    SEND_BYTES(&d.c, "\x1e\x3a");
    EXPECT(client_send(&d.c, C_INPUTS_MOTION, "\1\0\0\0\1\0\0\0\0", 10));
    EXPECT(client_send(&d.c, C_INPUTS_RELEASE, "\1\0", 3));
    expect_locks(&d.c, S_INPUTS_LOCKS, LOCK_CAPS);
    desk_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(offers_scancodes),
    TAP_CASE(init_tells_the_lamps),
    TAP_CASE(main_channel_is_warned),
    TAP_CASE(one_link_for_each_client),
    TAP_CASE(links_again_at_once),
    TAP_CASE(listed_for_several_clients),
    TAP_CASE(wrong_messages_end_the_channel),
    TAP_CASE(too_long_ends_the_channel),
    TAP_CASE(flush_mark_ends_the_channel),
    TAP_CASE(longer_than_needed_is_good),
    TAP_CASE(codes_are_read_from_the_low_end),
    TAP_CASE(runs_of_codes_pass_as_they_are),
    TAP_CASE(without_a_keyboard),
    TAP_CASE(held_keys_are_let_go),
    TAP_CASE(held_keys_are_let_go_at_the_end),
    TAP_CASE(held_keys_are_let_go_when_cut),
    TAP_CASE(any_client_that_goes_lets_go),
    TAP_CASE(half_a_code_is_ended),
    TAP_CASE(lamps_are_told_at_once),
    TAP_CASE(clients_locks_press_keys),
    TAP_CASE(lamps_before_a_change),
    TAP_CASE(lock_keys_are_told_after_a_while),
    TAP_CASE(lock_keys_put_the_telling_off),
    TAP_CASE(prefixed_codes_are_no_lock_keys),
    TAP_CASE(lamps_change_inside_the_call),
    TAP_CASE(removed_with_keys_held),
    TAP_CASE(removed_inside_a_call),
    TAP_CASE(functions_may_be_missing),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "inputs", cases, TAP_COUNT(cases));
}
