/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the server itself says to the guest's agent, and the messages for the agent that
 * it takes: displays, monitors, the pointer.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "devices.h"
#include "differences.h"

#include <string.h>

/* ---- what the server says itself ---- */

/** Adds a display whose device is known to the guest by `address`. */
static void prepare_display(struct agent_bench *b, struct qxl *q, int id, const char *address,
                            uint32_t first, uint32_t count)
{
    qxl_prepare(q, id);
    qxl_add(q, b->r.server);
    if (address)
        spice_qxl_set_device_info(&q->sin, address, first, count);
}

static uint8_t *put_display(uint8_t *p, uint32_t channel, uint32_t monitor, uint32_t display,
                            const char *address)
{
    p = put32(put32(put32(p, channel), monitor), display);
    size_t n = strlen(address) + 1;
    p = put32(p, (uint32_t)n);
    memcpy(p, address, n);
    return p + n;
}

/** Adds the display and takes the news of its channel. */
static void add_display(struct agent_bench *b, struct qxl *q, int id, const char *address,
                        uint32_t first, uint32_t count)
{
    prepare_display(b, q, id, address, first, count);
    struct message m;
    for (int i = 0; i < 2; i++) { /* display and cursor */
        agent_expect(&b->c, S_MAIN_CHANNELS_LIST, &m);
        message_free(&m);
    }
}

static void announce(struct agent_bench *b, uint32_t word)
{
    uint8_t body[8];
    put32(put32(body, 0), word);
    agent_says(b, ANNOUNCE, body, sizeof body);
    client_gets(&b->c, ANNOUNCE, body, sizeof body);
}

static void graphics_device_info(void)
{
    static struct qxl first, second, third;
    struct agent_bench b;
    uint8_t body[256], *end;
    agent_open_talking(&b);
    /* nobody asked */
    announce(&b, 0xffff7fff);
    agent_got_nothing_more(&b);
    announce(&b, 0x8000);
    put32(body, 0);
    agent_gets_on(&b, PORT_SERVER, GRAPHICS_INFO, body, 4);
    add_display(&b, &first, 0, "pci/0000/02.0", 0, 2);
    end = put_display(put32(body, 2), 0, 0, 0, "pci/0000/02.0");
    end = put_display(end, 0, 1, 1, "pci/0000/02.0");
    agent_gets_on(&b, PORT_SERVER, GRAPHICS_INFO, body, (size_t)(end - body));
    add_display(&b, &second, 1, "pci/0000/03.0", 4, 1);
    end = put_display(put32(body, 3), 1, 0, 4, "pci/0000/03.0");
    end = put_display(end, 0, 0, 0, "pci/0000/02.0");
    end = put_display(end, 0, 1, 1, "pci/0000/02.0");
    agent_gets_on(&b, PORT_SERVER, GRAPHICS_INFO, body, (size_t)(end - body));
    /* of a device without an address nothing is known */
    add_display(&b, &third, 2, NULL, 0, 0);
    agent_start(&b.c, ALL_TOKENS);
    agent_gets_on(&b, PORT_SERVER, GRAPHICS_INFO, body, (size_t)(end - body));
    /* while one is on its way, the next one waits and is sent once */
    chardev_accept(&b.agent, 10);
    spice_qxl_set_device_info(&first.sin, "a", 7, 1);
    spice_qxl_set_device_info(&first.sin, "b", 8, 1);
    spice_qxl_set_device_info(&first.sin, "c", 9, 1);
    chardev_accept(&b.agent, CHARDEV_UNLIMITED);
    for (int i = 0; i < 2; i++) {
        end = put_display(put32(body, 2), 1, 0, 4, "pci/0000/03.0");
        end = put_display(end, 0, 0, i ? 9 : 7, i ? "c" : "a");
        agent_gets_on(&b, PORT_SERVER, GRAPHICS_INFO, body, (size_t)(end - body));
    }
    agent_got_nothing_more(&b);
    /* another agent has to say that it wants to know */
    chardev_remove(&b.agent);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    agent_add(&b);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_start(&b.c, ALL_TOKENS);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    qxl_remove(&third);
    qxl_remove(&second);
    qxl_remove(&first);
    agent_close(&b);
}

/* ---- monitors ---- */

/** The body for `n` monitors. */
static size_t monitors(uint8_t *body, uint32_t n, uint32_t flags)
{
    uint8_t *p = put32(put32(body, n), flags);
    for (uint32_t i = 0; i < n; i++)
        p = put32(put32(put32(put32(put32(p, 600 + i), 800 + i), 32), 800 * i), 0);
    for (uint32_t i = 0; i < n && flags & 2; i++)
        p = put16(put16(p, (uint16_t)(200 + i)), (uint16_t)(300 + i));
    return (size_t)(p - body);
}

static void monitors_for_the_agent(void)
{
    static struct qxl q;
    struct agent_bench b;
    uint8_t body[100];
    agent_open(&b);
    prepare_display(&b, &q, 0, NULL, 0, 0);
    agent_start(&b.c, ALL_TOKENS);
    size_t n = monitors(body, 2, 1);
    client_says(&b.c, MONITORS_CONFIG, body, n);
    agent_gets(&b, MONITORS_CONFIG, body, n);
    EXPECT_EQ(q.monitors_configs, 0);
    qxl_remove(&q);
    agent_close(&b);
}

static bool configured(void *opaque)
{
    struct qxl *q = opaque;
    return q->monitors_configs > 0;
}

static void monitors_for_the_display(void)
{
    static struct qxl q[2];
    static const uint32_t counts[] = { 0, 1, 2, 16, 256 };
    struct agent_bench b;
    uint8_t body[8192];
    agent_open(&b);
    for (int i = 0; i < 2; i++) {
        prepare_display(&b, &q[i], i, NULL, 0, 0);
        q[i].takes_monitors = true;
    }
    agent_start(&b.c, ALL_TOKENS);
    for (size_t i = 0; i < TAP_COUNT(counts); i++)
        for (uint32_t flags = 0; flags < 4; flags++) {
            q[0].monitors_configs = q[1].monitors_configs = 0;
            size_t n = monitors(body, counts[i], flags);
            client_says(&b.c, MONITORS_CONFIG, body, n);
            for (int d = 0; d < 2; d++) {
                EXPECT(host_run_until(configured, &q[d], HOST_DEADLINE_MS));
                EXPECT_EQ(q[d].monitors_size, n);
                EXPECT(!memcmp(q[d].monitors, body, n));
            }
        }
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    EXPECT_EQ(q[0].monitors_configs, 1);
    qxl_remove(&q[1]);
    qxl_remove(&q[0]);
    agent_close(&b);
}

static void bad_monitors(void)
{
    static struct qxl q;
    struct agent_bench b;
    uint8_t body[8192];
    agent_open(&b);
    prepare_display(&b, &q, 0, NULL, 0, 0);
    q.takes_monitors = true;
    for (int i = 0; i < 5; i++) {
        size_t n = monitors(body, 2, 3);
        switch (i) {
        case 0:
            n = monitors(body, 257, 3); /* more than is taken */
            break;
        case 1:
            n = 7; /* less than the fixed part */
            break;
        case 2:
            n--; /* the last size is cut */
            break;
        case 3:
            put32(body, 3); /* one more than there are */
            break;
        case 4:
            put32(body, 0xffffffff);
            break;
        }
        agent_start(&b.c, ALL_TOKENS);
        client_says(&b.c, MONITORS_CONFIG, body, n);
        EXPECT_MSG(client_closed(&b.c), "bad monitors %d are taken", i);
        client_close(&b.c);
        rig_main(&b.r, &b.c);
    }
    EXPECT_EQ(q.monitors_configs, 0);
    qxl_remove(&q);
    agent_close(&b);
}

/* ---- the pointer ---- */

static void position(struct client *c, uint32_t x, uint32_t y, uint16_t buttons, uint8_t display)
{
    uint8_t body[11];
    put8(put16(put32(put32(body, x), y), buttons), display);
    EXPECT(client_send(c, C_INPUTS_POSITION, body, sizeof body));
}

static void agent_gets_state(struct agent_bench *b, uint32_t x, uint32_t y, uint32_t buttons,
                             uint8_t display)
{
    uint8_t body[13];
    put8(put32(put32(put32(body, x), y), buttons), display);
    agent_gets_on(b, PORT_SERVER, MOUSE_STATE, body, sizeof body);
}

/** The mode becomes `current`; changes before that are passed over. */
static void wait_mode(struct client *c, int supported, int current)
{
    struct message m;
    bool reached = false;
    while (!reached) {
        EXPECT(client_next(c, &m));
        reached = m.type == S_MAIN_MOUSE_MODE && get16(m.body) == supported &&
                  get16(m.body + 2) == current;
        message_free(&m);
    }
}

static void agent_moves_the_pointer(void)
{
    static struct qxl q;
    struct agent_bench b;
    struct inputs in;
    struct client c;
    struct message m;
    uint8_t mode[2];
    agent_open(&b);
    inputs_add(&in, b.r.server);
    prepare_display(&b, &q, 0, NULL, 0, 0);
    qxl_create_primary(&q, 640, 480);
    rig_channel(&b.r, &c, CH_INPUTS, 0, b.session);
    client_expect(&c, S_INPUTS_INIT, &m);
    message_free(&m);
    agent_start(&b.c, ALL_TOKENS);
    put16(mode, 2);
    EXPECT(client_send(&b.c, C_MAIN_MOUSE_MODE_REQUEST, mode, 2));
    wait_mode(&b.c, 3, 2);
    position(&c, 10, 20, 0, 0);
    agent_gets_state(&b, 10, 20, 0, 0);
    position(&c, 11, 21, 1, 3);
    agent_gets_state(&b, 11, 21, 2, 3);
    /* one is on its way, and only the last one of the others counts */
    chardev_accept(&b.agent, 5);
    for (uint32_t i = 0; i < 50; i++)
        position(&c, i, 7, 4, 0);
    agent_settle(&b.c);
    EXPECT(client_send(&c, C_INPUTS_SCANCODES, "\x01\x81", 2));
    host_drain();
    chardev_accept(&b.agent, CHARDEV_UNLIMITED);
    agent_gets_state(&b, 0, 7, 8, 0);
    agent_gets_state(&b, 49, 7, 8, 0);
    agent_got_nothing_more(&b);
    /* what waits for an agent that goes is not for the next one */
    chardev_accept(&b.agent, 5);
    position(&c, 1, 1, 0, 0);
    position(&c, 2, 2, 0, 0);
    agent_settle(&b.c);
    host_drain();
    chardev_remove(&b.agent);
    agent_add(&b);
    agent_start(&b.c, ALL_TOKENS);
    host_drain();
    agent_got_nothing_more(&b);
    position(&c, 3, 3, 0, 0);
    agent_gets_state(&b, 3, 3, 0, 0);
    client_close(&c);
    client_close(&b.c);
    rig_main(&b.r, &b.c);
    agent_gets_on(&b, PORT_SERVER, CLIENT_DISCONNECTED, "", 0);
    inputs_remove(&in);
    qxl_remove(&q);
    agent_close(&b);
}

static void the_host_takes_the_pointer_away(void)
{
    static struct qxl q;
    struct agent_bench b;
    uint8_t mode[2];
    agent_open(&b);
    prepare_display(&b, &q, 0, NULL, 0, 0);
    qxl_create_primary(&q, 640, 480);
    put16(mode, 2);
    EXPECT(client_send(&b.c, C_MAIN_MOUSE_MODE_REQUEST, mode, 2));
    wait_mode(&b.c, 3, 2);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(spice_server_set_agent_mouse(b.r.server, 0), 0);
        wait_mode(&b.c, 1, 1);
        EXPECT_EQ(spice_server_is_server_mouse(b.r.server), 1);
        EXPECT_EQ(spice_server_set_agent_mouse(b.r.server, 1), 0);
        wait_mode(&b.c, 3, 1);
    }
    chardev_remove(&b.agent);
    wait_mode(&b.c, 1, 1);
    agent_add(&b);
    wait_mode(&b.c, 3, 1);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    qxl_remove(&q);
    agent_close(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(graphics_device_info),
    TAP_CASE(monitors_for_the_agent),
    TAP_CASE(monitors_for_the_display),
    TAP_CASE(bad_monitors),
    TAP_CASE(agent_moves_the_pointer),
    TAP_CASE(the_host_takes_the_pointer_away),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "agent-server", cases, TAP_COUNT(cases));
}
