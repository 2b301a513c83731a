/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pointer: mouse, tablet, and who has it. */
#define _GNU_SOURCE
#include "chardev.h"
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct desk {
    struct rig r;
    struct inputs in;
    struct qxl q;
    struct client main, c;
    uint32_t session;
};

static void link_inputs(struct desk *d, struct client *c, uint32_t session)
{
    struct message m;
    rig_channel(&d->r, c, CH_INPUTS, 0, session);
    client_expect(c, S_INPUTS_INIT, &m);
    message_free(&m);
}

/** The next message about something else than the keyboard's safety and the agent. */
static void next_on_main(struct client *c, struct message *m)
{
    for (;;) {
        EXPECT(client_next(c, m));
        if (m->type != S_NOTIFY && m->type != S_MAIN_AGENT_CONNECTED_TOKENS &&
            m->type != S_MAIN_AGENT_DISCONNECTED)
            return;
        message_free(m);
    }
}

static void expect_mode(struct client *c, int supported, int current)
{
    struct message m;
    next_on_main(c, &m);
    EXPECT_EQ(m.type, S_MAIN_MOUSE_MODE);
    EXPECT_EQ(m.size, 4);
    EXPECT_EQ(get16(m.body), supported);
    EXPECT_EQ(get16(m.body + 2), current);
    message_free(&m);
}

static void request_mode(struct client *c, uint16_t mode)
{
    uint8_t body[2];
    put16(body, mode);
    EXPECT(client_send(c, C_MAIN_MOUSE_MODE_REQUEST, body, sizeof body));
}

/** Nothing comes before the answer to a question. */
static void expect_no_mode(struct client *c)
{
    struct message m;
    EXPECT(client_send(c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    next_on_main(c, &m);
    EXPECT_EQ(m.type, S_MAIN_CHANNELS_LIST);
    message_free(&m);
}

/** All input devices, one display that shows a picture, one client; mode SERVER. */
static void desk_open(struct desk *d)
{
    rig_open(&d->r);
    inputs_add(&d->in, d->r.server);
    qxl_prepare(&d->q, 0);
    qxl_add(&d->q, d->r.server);
    d->session = rig_main(&d->r, &d->main);
    link_inputs(d, &d->c, d->session);
    qxl_create_primary(&d->q, 640, 480);
    expect_mode(&d->main, 3, 1);
}

static void desk_close(struct desk *d)
{
    client_close(&d->c);
    client_close(&d->main);
    inputs_remove(&d->in);
    qxl_remove(&d->q);
    rig_close(&d->r);
}

static void client_mode(struct desk *d)
{
    request_mode(&d->main, 2);
    expect_mode(&d->main, 3, 2);
    EXPECT_EQ(spice_server_is_server_mouse(d->r.server), 0);
}

static void send_motion(struct client *c, int32_t dx, int32_t dy, uint16_t buttons)
{
    uint8_t body[10];
    put16(put32(put32(body, (uint32_t)dx), (uint32_t)dy), buttons);
    EXPECT(client_send(c, C_INPUTS_MOTION, body, sizeof body));
}

static void send_position(struct client *c, uint32_t x, uint32_t y, uint16_t buttons)
{
    uint8_t body[11];
    put8(put16(put32(put32(body, x), y), buttons), 0);
    EXPECT(client_send(c, C_INPUTS_POSITION, body, sizeof body));
}

static void send_button(struct client *c, uint16_t type, uint8_t button, uint16_t buttons)
{
    uint8_t body[3];
    put16(put8(body, button), buttons);
    EXPECT(client_send(c, type, body, sizeof body));
}

struct told {
    struct inputs *in;
    size_t n;
};

static bool told_enough(void *opaque)
{
    struct told *told = opaque;
    return told->in->n_told >= told->n;
}

/** The devices were told exactly this before what a marker key says. */
static void expect_only(struct desk *d, const char *want)
{
    char all[sizeof d->in.told];
    int n = snprintf(all, sizeof all, "%s01 81 ", want);
    struct told told = { &d->in, (size_t)n };
    EXPECT(client_send(&d->c, C_INPUTS_SCANCODES, "\x01\x81", 2));
    host_run_until(told_enough, &told, HOST_DEADLINE_MS);
    EXPECT_MSG(!strcmp(d->in.told, all), "the devices were told \"%s\", expected \"%s\"",
               d->in.told, all);
    d->in.n_told = 0;
    d->in.told[0] = 0;
}

/* ---- what moves ---- */

static void movements_are_for_the_mouse(void)
{
    struct desk d;
    desk_open(&d);
    send_motion(&d.c, 3, -4, 0);
    expect_only(&d, "motion:3,-4,0,0 ");
    send_motion(&d.c, 0, 0, 1 | 4);
    send_motion(&d.c, INT32_MAX, INT32_MIN, 2);
    expect_only(&d, "motion:0,0,0,3 motion:2147483647,-2147483648,0,4 ");
    send_position(&d.c, 5, 6, 1);
    expect_only(&d, "");
    send_button(&d.c, C_INPUTS_PRESS, 1, 1);
    send_button(&d.c, C_INPUTS_RELEASE, 1, 0);
    expect_only(&d, "motion:0,0,0,1 buttons:0 ");
    desk_close(&d);
}

static void positions_are_for_the_tablet(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    send_position(&d.c, 5, 6, 1 | 4);
    expect_only(&d, "at:5,6,3 ");
    send_motion(&d.c, 3, -4, 0);
    expect_only(&d, "");
    send_button(&d.c, C_INPUTS_PRESS, 1, 1);
    send_button(&d.c, C_INPUTS_RELEASE, 1, 0);
    expect_only(&d, "wheel:0,1 pen:0 ");
    desk_close(&d);
}

/** PRESS and RELEASE of each button, and what the device is told. */
static void buttons(bool tablet)
{
    static const unsigned device[] = { 1, 4, 2, 0, 0, 0x40, 0x80 };
    struct desk d;
    desk_open(&d);
    if (tablet)
        client_mode(&d);
    for (int i = 0; i < 7; i++) {
        char want[80];
        int button = i + 1, dz = button == 4 ? -1 : button == 5 ? 1 : 0;
        send_button(&d.c, C_INPUTS_PRESS, (uint8_t)button, (uint16_t)(1 << i));
        send_button(&d.c, C_INPUTS_RELEASE, (uint8_t)button, 0);
        if (tablet)
            snprintf(want, sizeof want, "wheel:%d,%x pen:0 ", dz, device[i]);
        else
            snprintf(want, sizeof want, "motion:0,0,%d,%x buttons:0 ", dz, device[i]);
        expect_only(&d, want);
    }
    /* the wheel turns while all are held */
    send_button(&d.c, C_INPUTS_PRESS, 5, 0x7f);
    send_button(&d.c, C_INPUTS_RELEASE, 5, 0x6f);
    send_button(&d.c, C_INPUTS_PRESS, 0, 0);
    send_button(&d.c, C_INPUTS_PRESS, 255, 0);
    expect_only(&d, tablet ? "wheel:1,c7 pen:c7 wheel:0,0 wheel:0,0 "
                           : "motion:0,0,1,c7 buttons:c7 motion:0,0,0,0 motion:0,0,0,0 ");
    desk_close(&d);
}

static void buttons_of_the_mouse(void)
{
    buttons(false);
}

static void buttons_of_the_tablet(void)
{
    buttons(true);
}

/* the guest would go on dragging */
static void buttons_of_a_lost_client(void)
{
    struct desk d;
    desk_open(&d);
    send_button(&d.c, C_INPUTS_PRESS, 1, 1);
    expect_only(&d, "motion:0,0,0,1 ");
    client_close(&d.c);
    link_inputs(&d, &d.c, d.session);
    expect_only(&d, "buttons:0 ");
    desk_close(&d);
}

static void without_a_mouse(void)
{
    struct desk d;
    rig_open(&d.r);
    inputs_prepare(&d.in);
    EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.keyboard.base), 0);
    d.in.has_keyboard = true;
    qxl_prepare(&d.q, 0);
    qxl_add(&d.q, d.r.server);
    link_inputs(&d, &d.c, rig_main(&d.r, &d.main));
    send_motion(&d.c, 1, 2, 0);
    send_position(&d.c, 1, 2, 0);
    send_button(&d.c, C_INPUTS_PRESS, 1, 1);
    send_button(&d.c, C_INPUTS_RELEASE, 1, 0);
    expect_only(&d, "");
    desk_close(&d);
}

/* ---- acknowledgements ---- */

static void expect_acks(struct client *c, int n)
{
    struct message m;
    for (int i = 0; i < n; i++) {
        client_expect(c, S_INPUTS_MOTION_ACK, &m);
        EXPECT_EQ(m.size, 0);
        message_free(&m);
    }
}

static void every_fourth_movement_is_acknowledged(void)
{
    struct desk d;
    desk_open(&d);
    for (int i = 0; i < 3; i++)
        send_motion(&d.c, 1, 1, 0);
    for (int i = 0; i < 5; i++)
        send_button(&d.c, i % 2 ? C_INPUTS_RELEASE : C_INPUTS_PRESS, 1, 0);
    EXPECT(client_silent(&d.c, 20));
    send_motion(&d.c, 1, 1, 0);
    expect_acks(&d.c, 1);
    /* also those that do nothing in this mode */
    for (int i = 0; i < 6; i++)
        send_position(&d.c, 1, 1, 0);
    expect_acks(&d.c, 1);
    EXPECT(client_silent(&d.c, 20));
    for (int i = 0; i < 2; i++)
        send_motion(&d.c, 1, 1, 0);
    expect_acks(&d.c, 1);
    d.in.n_told = 0;
    client_mode(&d);
    for (int i = 0; i < 400; i++)
        send_position(&d.c, 1, 1, 0);
    expect_acks(&d.c, 100);
    EXPECT(client_silent(&d.c, 20));
    desk_close(&d);
}

static void each_client_has_its_own(void)
{
    struct desk d;
    struct client main, c;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    desk_open(&d);
    link_inputs(&d, &c, rig_main(&d.r, &main));
    for (int i = 0; i < 2; i++) {
        send_motion(&d.c, 1, 1, 0);
        send_motion(&c, 1, 1, 0);
    }
    EXPECT(client_silent(&d.c, 20));
    EXPECT(client_silent(&c, 20));
    for (int i = 0; i < 2; i++)
        send_motion(&c, 1, 1, 0);
    expect_acks(&c, 1);
    EXPECT(client_silent(&d.c, 20));
    client_close(&c);
    client_close(&main);
    desk_close(&d);
}

/* ---- who has the pointer ---- */

static void everybody_is_told(void)
{
    struct desk d;
    struct client second;
    struct message m;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    desk_open(&d);
    client_mode(&d);
    rig_connect(&d.r, &second);
    EXPECT_EQ(client_link(&second, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&second, S_MAIN_INIT, &m);
    EXPECT_EQ(get32(m.body + 8), 3);
    EXPECT_EQ(get32(m.body + 12), 2);
    message_free(&m);
    request_mode(&second, 1);
    expect_mode(&second, 3, 1);
    expect_mode(&d.main, 3, 1);
    request_mode(&d.main, 2);
    expect_mode(&second, 3, 2);
    expect_mode(&d.main, 3, 2);
    /* the mode is the server's, not the client's */
    client_close(&d.main);
    EXPECT(client_closed(&d.c));
    expect_no_mode(&second);
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 0);
    client_close(&second);
    desk_close(&d);
}

static void a_tablet_is_needed(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    EXPECT_EQ(d.in.width, 640);
    EXPECT_EQ(d.in.height, 480);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(spice_server_remove_interface(&d.in.tablet.base), 0);
        expect_mode(&d.main, 1, 1);
        EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 1);
        request_mode(&d.main, 2);
        expect_no_mode(&d.main);
        send_position(&d.c, 1, 1, 0);
        expect_only(&d, "");
        d.in.width = d.in.height = -1;
        EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.tablet.base), 0);
        EXPECT_EQ(d.in.width, 640);
        EXPECT_EQ(d.in.height, 480);
        expect_mode(&d.main, 3, 1);
        client_mode(&d);
    }
    desk_close(&d);
}

static void a_display_is_needed(void)
{
    struct desk d;
    struct message m;
    rig_open(&d.r);
    inputs_add(&d.in, d.r.server);
    d.in.width = -1;
    link_inputs(&d, &d.c, rig_main(&d.r, &d.main));
    request_mode(&d.main, 2);
    expect_no_mode(&d.main);
    EXPECT_EQ(d.in.width, -1);
    /* one that has never shown anything does not count */
    qxl_prepare(&d.q, 0);
    qxl_add(&d.q, d.r.server);
    for (int i = 0; i < 2; i++) { /* display and cursor */
        next_on_main(&d.main, &m);
        EXPECT_EQ(m.type, S_MAIN_CHANNELS_LIST);
        message_free(&m);
    }
    request_mode(&d.main, 2);
    expect_no_mode(&d.main);
    EXPECT_EQ(d.in.width, -1);
    qxl_create_primary(&d.q, 320, 200);
    expect_mode(&d.main, 3, 1);
    EXPECT_EQ(d.in.width, 320);
    desk_close(&d);
}

static bool has_size(void *opaque)
{
    const int *size = opaque;
    struct inputs *in = *(struct inputs **)(void *)(size + 2);
    return in->width == size[0] && in->height == size[1];
}

static void expect_size(struct inputs *in, int width, int height)
{
    struct {
        int size[2];
        struct inputs *in;
    } want = { { width, height }, in };
    host_run_until(has_size, &want, HOST_DEADLINE_MS);
    EXPECT_EQ(in->width, width);
    EXPECT_EQ(in->height, height);
}

static void the_tablet_follows_the_picture(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    /* without a picture nothing speaks against it */
    spice_qxl_destroy_primary_surface(&d.q.sin, 0);
    expect_size(&d.in, 0, 0);
    expect_no_mode(&d.main);
    qxl_create_primary(&d.q, 800, 600);
    expect_size(&d.in, 800, 600);
    expect_no_mode(&d.main);
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 0);
    desk_close(&d);
}

static void a_picture_may_say_no(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    spice_qxl_destroy_primary_surface(&d.q.sin, 0);
    expect_size(&d.in, 0, 0);
    QXLDevSurfaceCreate surface = qxl_surface(&d.q, 800, 600);
    surface.mouse_mode = 0;
    spice_qxl_create_primary_surface(&d.q.sin, 0, &surface);
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 1);
    expect_mode(&d.main, 1, 1);
    EXPECT_EQ(d.in.width, 0);
    request_mode(&d.main, 2);
    expect_no_mode(&d.main);
    spice_qxl_destroy_primary_surface(&d.q.sin, 0);
    expect_mode(&d.main, 3, 1);
    desk_close(&d);
}

/* The worker makes the surface; the main loop hears of it. */
static void pictures_of_another_thread(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    spice_qxl_destroy_primary_surface_async(&d.q.sin, 0, 1);
    EXPECT(qxl_wait_cookie(&d.q, 1));
    expect_size(&d.in, 0, 0);
    QXLDevSurfaceCreate surface = qxl_surface(&d.q, 1024, 768);
    surface.mouse_mode = 0;
    spice_qxl_create_primary_surface_async(&d.q.sin, 0, &surface, 2);
    EXPECT(qxl_wait_cookie(&d.q, 2));
    expect_mode(&d.main, 1, 1);
    spice_qxl_destroy_primary_surface_async(&d.q.sin, 0, 3);
    EXPECT(qxl_wait_cookie(&d.q, 3));
    expect_mode(&d.main, 3, 1);
    surface.mouse_mode = 1;
    spice_qxl_create_primary_surface_async(&d.q.sin, 0, &surface, 4);
    EXPECT(qxl_wait_cookie(&d.q, 4));
    expect_size(&d.in, 1024, 768);
    desk_close(&d);
}

static void a_scanout_says_yes(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    spice_qxl_gl_scanout(&d.q.sin, dup(0), 1920, 1080, 1920 * 4, 0x34325258, 0);
    expect_size(&d.in, 1920, 1080);
    spice_qxl_gl_scanout(&d.q.sin, -1, 0, 0, 0, 0, 0);
    expect_size(&d.in, 640, 480);
    expect_no_mode(&d.main);
    desk_close(&d);
}

/* A position needs one display to be on. */
static void a_second_display_is_one_too_many(void)
{
    struct desk d;
    struct qxl second;
    desk_open(&d);
    client_mode(&d);
    qxl_prepare(&second, 1);
    qxl_add(&second, d.r.server);
    if (differs(DIFF_DISPLAY_COUNT, 0, 1))
        qxl_create_primary(&second, 64, 48);
    expect_mode(&d.main, 1, 1);
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 1);
    request_mode(&d.main, 2);
    expect_no_mode(&d.main);
    qxl_remove(&second);
    if (differs(DIFF_DISPLAY_COUNT, 0, 1)) {
        spice_qxl_destroy_primary_surface(&d.q.sin, 0);
        qxl_create_primary(&d.q, 640, 480);
    }
    expect_mode(&d.main, 3, 1);
    expect_size(&d.in, 640, 480);
    desk_close(&d);
}

static void the_last_display_goes(void)
{
    struct desk d;
    desk_open(&d);
    client_mode(&d);
    qxl_remove(&d.q);
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 1);
    expect_mode(&d.main, 1, 1);
    request_mode(&d.main, 2);
    expect_no_mode(&d.main);
    desk_close(&d);
}

/* ---- the agent ---- */

enum { MOUSE_STATE_SIZE = 8 + 20 + 13 };

/** The agent was told this place and these buttons. */
static void expect_agent_told(struct chardev *agent, uint32_t x, uint32_t y, uint32_t buttons)
{
    uint8_t want[MOUSE_STATE_SIZE], *p = want;
    p = put32(put32(p, 2), 20 + 13);                       /* from the server */
    p = put32(put64(put32(put32(p, 1), 1), 0), 13);        /* protocol, MOUSE_STATE, opaque */
    put8(put32(put32(put32(p, x), y), buttons), 0);        /* display 0 */
    EXPECT(chardev_wait_input(agent, MOUSE_STATE_SIZE));
    EXPECT_MSG(agent->in_len == MOUSE_STATE_SIZE && !memcmp(agent->in, want, sizeof want),
               "told %u,%u,%x in %llu bytes, expected %u,%u,%x", get32(agent->in + 28),
               get32(agent->in + 32), get32(agent->in + 36), (unsigned long long)agent->in_len, x, y,
               buttons);
    agent->in_len = 0;
}

static void agent_add(struct chardev *agent, struct desk *d)
{
    chardev_prepare(agent, "vdagent", NULL);
    agent->keep_input = true;
    EXPECT_EQ(chardev_add(agent, d->r.server), 0);
}

static void positions_are_for_the_agent(void)
{
    struct desk d;
    struct chardev agent;
    desk_open(&d);
    agent_add(&agent, &d);
    client_mode(&d);
    send_position(&d.c, 5, 6, 0);
    expect_agent_told(&agent, 5, 6, 0);
    send_button(&d.c, C_INPUTS_PRESS, 1, 1);
    expect_agent_told(&agent, 5, 6, 2);
    send_button(&d.c, C_INPUTS_PRESS, 3, 1 | 4);
    expect_agent_told(&agent, 5, 6, 2 | 8);
    send_button(&d.c, C_INPUTS_PRESS, 4, 1);
    expect_agent_told(&agent, 5, 6, 2 | 0x10);
    send_button(&d.c, C_INPUTS_PRESS, 5, 0x10);
    expect_agent_told(&agent, 5, 6, 0x20);
    send_button(&d.c, C_INPUTS_RELEASE, 5, 0x62);
    expect_agent_told(&agent, 5, 6, 4 | 0x40 | 0x80);
    send_motion(&d.c, 1, 1, 0);
    expect_only(&d, "");
    /* it may not: then the tablet, as before */
    EXPECT_EQ(spice_server_set_agent_mouse(d.r.server, 0), 0);
    send_position(&d.c, 7, 8, 1);
    expect_only(&d, "at:7,8,1 ");
    EXPECT_EQ(spice_server_set_agent_mouse(d.r.server, 1), 0);
    send_position(&d.c, 9, 10, 1);
    expect_agent_told(&agent, 9, 10, 2);
    chardev_remove(&agent);
    send_position(&d.c, 11, 12, 0);
    expect_only(&d, "at:11,12,0 ");
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 0);
    desk_close(&d);
}

static void an_agent_is_enough(void)
{
    struct desk d;
    struct qxl second;
    struct chardev agent;
    desk_open(&d);
    EXPECT_EQ(spice_server_remove_interface(&d.in.tablet.base), 0);
    d.in.has_tablet = false;
    expect_mode(&d.main, 1, 1);
    for (int i = 0; i < 2; i++) {
        agent_add(&agent, &d);
        expect_mode(&d.main, 3, 1);
        client_mode(&d);
        EXPECT_EQ(spice_server_set_agent_mouse(d.r.server, 0), 0);
        expect_mode(&d.main, 1, 1);
        EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 1);
        EXPECT_EQ(spice_server_set_agent_mouse(d.r.server, 1), 0);
        expect_mode(&d.main, 3, 1);
        client_mode(&d);
        chardev_remove(&agent);
        expect_mode(&d.main, 1, 1);
    }
    /* it knows where each display is */
    agent_add(&agent, &d);
    expect_mode(&d.main, 3, 1);
    client_mode(&d);
    qxl_prepare(&second, 1);
    qxl_add(&second, d.r.server);
    qxl_create_primary(&second, 64, 48);
    expect_no_mode(&d.main);
    EXPECT_EQ(spice_server_is_server_mouse(d.r.server), 0);
    qxl_remove(&second);
    chardev_remove(&agent);
    desk_close(&d);
}

/* An agent that is busy gets the newest place when it has time. */
static void places_of_a_busy_agent(void)
{
    struct desk d;
    struct chardev agent;
    struct message m;
    desk_open(&d);
    chardev_prepare(&agent, "vdagent", NULL);
    agent.keep_input = true;
    agent.accept = 0;
    EXPECT_EQ(chardev_add(&agent, d.r.server), 0);
    client_mode(&d);
    for (uint32_t i = 1; i <= 40; i++)
        send_position(&d.c, i, i, 0);
    for (int i = 0; i < 10; i++) {
        client_expect(&d.c, S_INPUTS_MOTION_ACK, &m);
        message_free(&m);
    }
    chardev_accept(&agent, MOUSE_STATE_SIZE);
    expect_agent_told(&agent, 1, 1, 0);
    chardev_accept(&agent, 1 << 20);
    expect_agent_told(&agent, 40, 40, 0);
    expect_only(&d, "");
    EXPECT_EQ(agent.in_len, 0);
    chardev_remove(&agent);
    desk_close(&d);
}

/* ---- the mouse goes ---- */

static void devices_go_while_they_move(void)
{
    struct desk d;
    desk_open(&d);
    send_motion(&d.c, 1, 0, 0);
    expect_only(&d, "motion:1,0,0,0 ");
    EXPECT_EQ(spice_server_remove_interface(&d.in.mouse.base), 0);
    send_motion(&d.c, 2, 0, 0);
    send_button(&d.c, C_INPUTS_PRESS, 1, 1);
    send_button(&d.c, C_INPUTS_RELEASE, 1, 0);
    expect_only(&d, "");
    EXPECT_EQ(spice_server_add_interface(d.r.server, &d.in.mouse.base), 0);
    send_motion(&d.c, 3, 0, 0);
    expect_only(&d, "motion:3,0,0,0 ");
    desk_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(movements_are_for_the_mouse),
    TAP_CASE(positions_are_for_the_tablet),
    TAP_CASE(buttons_of_the_mouse),
    TAP_CASE(buttons_of_the_tablet),
    TAP_CASE(buttons_of_a_lost_client),
    TAP_CASE(without_a_mouse),
    TAP_CASE(every_fourth_movement_is_acknowledged),
    TAP_CASE(each_client_has_its_own),
    TAP_CASE(everybody_is_told),
    TAP_CASE(a_tablet_is_needed),
    TAP_CASE(a_display_is_needed),
    TAP_CASE(the_tablet_follows_the_picture),
    TAP_CASE(a_picture_may_say_no),
    TAP_CASE(pictures_of_another_thread),
    TAP_CASE(a_scanout_says_yes),
    TAP_CASE(a_second_display_is_one_too_many),
    TAP_CASE(the_last_display_goes),
    TAP_CASE(positions_are_for_the_agent),
    TAP_CASE(an_agent_is_enough),
    TAP_CASE(places_of_a_busy_agent),
    TAP_CASE(devices_go_while_they_move),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "pointer", cases, TAP_COUNT(cases));
}
