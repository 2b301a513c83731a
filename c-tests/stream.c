/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "stream.h"

#include <stdlib.h>

/* ---- the guest ---- */

void queue_message(struct chardev *d, uint16_t type, const void *body, uint32_t n)
{
    uint8_t header[8];
    put32(put16(put8(put8(header, 1), 0), type), n);
    chardev_queue(d, header, sizeof header);
    if (n)
        chardev_queue(d, body, n);
}

void say(struct chardev *d, uint16_t type, const void *body, uint32_t n)
{
    queue_message(d, type, body, n);
    chardev_pump(d);
}

void say_format(struct chardev *d, uint32_t width, uint32_t height, uint8_t codec)
{
    uint8_t body[12] = { 0 };
    put8(put32(put32(body, width), height), codec);
    say(d, T_FORMAT, body, sizeof body);
}

void say_frame(struct chardev *d, const char *text)
{
    say(d, T_DATA, text, (uint32_t)strlen(text));
}

void say_cursor(struct chardev *d, uint16_t width, uint16_t height, uint8_t type, uint32_t n)
{
    uint8_t *body = calloc(1, 12 + (size_t)n);
    put8(put16(put16(put16(put16(body, width), height), 1), 2), type);
    for (uint32_t i = 0; i < n; i++)
        body[12 + i] = (uint8_t)i;
    say(d, T_CURSOR_SET, body, 12 + n);
    free(body);
}

void say_place(struct chardev *d, int32_t x, int32_t y)
{
    uint8_t body[8];
    put32(put32(body, (uint32_t)x), (uint32_t)y);
    say(d, T_CURSOR_MOVE, body, sizeof body);
}

const uint8_t *hear(struct bench *b, uint16_t type, uint32_t *n)
{
    EXPECT_MSG(chardev_wait_input(&b->d, b->heard + 8), "the guest hears nothing, expected %u",
               type);
    const uint8_t *header = b->d.in + b->heard;
    EXPECT_EQ(header[0], 1);
    EXPECT_EQ(header[1], 0);
    EXPECT_EQ(get16(header + 2), type);
    *n = get32(header + 4);
    EXPECT(chardev_wait_input(&b->d, b->heard + 8 + *n));
    const uint8_t *body = b->d.in + b->heard + 8;
    b->heard += 8 + *n;
    return body;
}

static void hear_capabilities(struct bench *b)
{
    uint32_t n;
    const uint8_t *body = hear(b, T_CAPABILITIES, &n);
    EXPECT_EQ(n, 1);
    EXPECT_EQ(body[0], 0);
}

void hear_codecs(struct bench *b, const char *codecs)
{
    char got[16] = "";
    uint32_t n;
    const uint8_t *body = hear(b, T_START_STOP, &n);
    EXPECT_EQ(n, 1u + body[0]);
    EXPECT(body[0] < sizeof got);
    for (int i = 0; i < body[0]; i++)
        got[i] = (char)('0' + body[1 + i]);
    EXPECT_MSG(!strcmp(got, codecs), "codecs %s, expected %s", got, codecs);
}

void hear_error(struct bench *b)
{
    uint32_t n;
    const uint8_t *body = hear(b, T_NOTIFY_ERROR, &n);
    EXPECT(n > 5);
    EXPECT_EQ(get32(body), 0);
    EXPECT_EQ(body[n - 1], 0);
    EXPECT_EQ(strlen((const char *)body + 4), n - 5);
}

void hear_nothing(struct bench *b)
{
    host_run_for(20);
    EXPECT_EQ(b->d.in_len, b->heard);
}

/* ---- clients ---- */

void join(struct bench *b, struct viewer *v)
{
    v->session = rig_main(&b->r, &v->main_channel);
}

void watch(struct bench *b, struct viewer *v, int id, uint32_t caps)
{
    struct message m;
    rig_channel_caps(&b->r, &v->display, CH_DISPLAY, id, v->session, CAPS_COMMON, caps);
    v->display.acknowledges = true;
    client_expect(&v->display, S_SET_ACK, &m);
    EXPECT_EQ(m.size, 8);
    EXPECT_EQ(get32(m.body), 1);
    EXPECT_EQ(get32(m.body + 4), 20);
    message_free(&m);
    client_expect(&v->display, D_INVAL_ALL_PALETTES, &m);
    EXPECT_EQ(m.size, 0);
    message_free(&m);
}

void expect_word(struct client *c, uint16_t type, uint32_t word)
{
    struct message m;
    client_expect(c, type, &m);
    EXPECT_EQ(m.size, 4);
    EXPECT_EQ(get32(m.body), word);
    message_free(&m);
}

void expect_surface(struct client *c, uint32_t width, uint32_t height, uint32_t caps)
{
    struct message m;
    client_expect(c, D_SURFACE_CREATE, &m);
    EXPECT_EQ(m.size, 20);
    uint32_t create[] = { 0, width, height, 32, caps & CAP_MULTI ? 3 : 1 };
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(get32(m.body + 4 * i), create[i]);
    message_free(&m);
    if (!(caps & CAP_MONITORS))
        return;
    client_expect(c, D_MONITORS_CONFIG, &m);
    EXPECT_EQ(m.size, 32);
    EXPECT_EQ(get16(m.body), 1);
    EXPECT_EQ(get16(m.body + 2), 1);
    uint32_t head[] = { 0, 0, width, height, 0, 0, 0 };
    for (int i = 0; i < 7; i++)
        EXPECT_EQ(get32(m.body + 4 + 4 * i), head[i]);
    message_free(&m);
}

void expect_empty(struct client *c, uint16_t type)
{
    struct message m;
    client_expect(c, type, &m);
    EXPECT_EQ(m.size, 0);
    message_free(&m);
}

void expect_stream(struct client *c, uint32_t id, uint8_t codec, uint32_t width,
                          uint32_t height, uint32_t caps)
{
    struct message m;
    client_expect(c, D_STREAM_CREATE, &m);
    EXPECT_EQ(m.size, 51);
    EXPECT_EQ(get32(m.body), 0);
    EXPECT_EQ(get32(m.body + 4), id);
    EXPECT_EQ(m.body[8], 1);
    EXPECT_EQ(m.body[9], codec);
    EXPECT_EQ(get64(m.body + 10), 0);
    uint32_t sizes[] = { width, height, width, height, 0, 0, height, width };
    for (int i = 0; i < 8; i++)
        EXPECT_EQ(get32(m.body + 18 + 4 * i), sizes[i]);
    EXPECT_EQ(m.body[50], 0);
    message_free(&m);
    if (!(caps & CAP_REPORT))
        return;
    client_expect(c, D_ACTIVATE_REPORT, &m);
    EXPECT_EQ(m.size, 16);
    uint32_t report[] = { id, 1, 5, 1000 };
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(get32(m.body + 4 * i), report[i]);
    message_free(&m);
}

void expect_frame(struct client *c, uint32_t id, const char *text)
{
    struct message m;
    size_t n = strlen(text);
    client_expect(c, D_STREAM_DATA, &m);
    EXPECT_EQ(m.size, 12 + n);
    EXPECT_EQ(get32(m.body), id);
    EXPECT_EQ(get32(m.body + 8), n);
    EXPECT(!memcmp(m.body + 12, text, n));
    message_free(&m);
}

static bool all_noticed(void *opaque)
{
    return host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, 0) >= *(int *)opaque;
}

void hang_up(struct client *c)
{
    int gone = host_events_of(SPICE_CHANNEL_EVENT_DISCONNECTED, 0) + 1;
    if (c->fd < 0)
        return;
    client_close(c);
    EXPECT(host_run_until(all_noticed, &gone, HOST_DEADLINE_MS));
}

void leave(struct viewer *v)
{
    hang_up(&v->display);
    hang_up(&v->cursor);
    hang_up(&v->main_channel);
}

void open_bench(struct bench *b)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    *b = (struct bench){ 0 };
    rig_open(&b->r);
    chardev_prepare(&b->d, "port", STREAM_PORT);
    EXPECT_EQ(chardev_add(&b->d, b->r.server), 0);
    EXPECT(b->d.added);
}

void event(struct bench *b, uint8_t event)
{
    spice_server_port_event(&b->d.sin, event);
    if (event == OPENED)
        hear_capabilities(b);
}

void open_watched(struct bench *b, struct viewer *v, uint32_t caps)
{
    open_bench(b);
    event(b, OPENED);
    *v = (struct viewer){ .display.fd = -1, .cursor.fd = -1 };
    join(b, v);
    watch(b, v, 0, caps);
    uint32_t n;
    hear(b, T_START_STOP, &n);
}

void close_bench(struct bench *b)
{
    chardev_remove(&b->d);
    rig_close(&b->r);
}

void close_watched(struct bench *b, struct viewer *v)
{
    leave(v);
    close_bench(b);
}

void start_stream(struct bench *b, struct viewer *v)
{
    say_format(&b->d, 64, 64, 1);
    expect_surface(&v->display, 64, 64, 0);
    expect_empty(&v->display, D_MARK);
    expect_stream(&v->display, 0, 1, 64, 64, 0);
}

static bool said_when_woken(void *opaque)
{
    chardev_pump(opaque);
    return chardev_unread(opaque) == 0;
}

void generate_frame(struct chardev *d, uint32_t n)
{
    uint8_t header[8];
    d->generated = 0;
    put32(put16(put8(put8(header, 1), 0), T_DATA), n);
    chardev_queue(d, header, sizeof header);
    d->generate = n;
    chardev_pump(d);
}

void expect_pattern(struct client *c, uint32_t n)
{
    struct message m;
    client_expect(c, D_STREAM_DATA, &m);
    EXPECT_EQ(m.size, 12 + n);
    EXPECT_EQ(get32(m.body + 8), n);
    EXPECT(chardev_digest(0, m.body + 12, n) == chardev_pattern_digest(n));
    message_free(&m);
}

void link_cursor(struct bench *b, struct viewer *v, struct message *init)
{
    struct message m;
    rig_channel(&b->r, &v->cursor, CH_CURSOR, 0, v->session);
    v->cursor.acknowledges = true;
    client_expect(&v->cursor, S_SET_ACK, &m);
    message_free(&m);
    client_expect(&v->cursor, C_INIT, init);
}

void offer_frames(struct chardev *d, int n, uint32_t size)
{
    uint8_t *body = malloc(size);
    chardev_fill(body, size, 0);
    for (int i = 0; i < n; i++)
        queue_message(d, T_DATA, body, size);
    free(body);
    chardev_wakeup(d);
}

static bool said(void *opaque)
{
    return chardev_unread(opaque) == 0;
}

bool all_read(struct chardev *d)
{
    return host_run_until(said_when_woken, d, HOST_DEADLINE_MS);
}

bool all_read_by_itself(struct chardev *d)
{
    return host_run_until(said, d, HOST_DEADLINE_MS);
}

void expect_place(struct client *c, int16_t x, int16_t y)
{
    struct message m;
    client_expect(c, C_MOVE, &m);
    EXPECT_EQ(m.size, 4);
    EXPECT_EQ(get16(m.body), (uint16_t)x);
    EXPECT_EQ(get16(m.body + 2), (uint16_t)y);
    message_free(&m);
}
