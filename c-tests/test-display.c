/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The display channel of a QXL device: what its clients are told, what they see in the end
 * (qxl_draw() and spice_qxl_wakeup()), and clients that are slow, wrong or gone.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <poll.h>
#include <stdlib.h>

enum {
    D_MARK = 102,
    D_INVAL_ALL_PALETTES = 108,
    D_DRAW_COPY = 304,
    D_SURFACE_CREATE = 314,
    D_SURFACE_DESTROY = 315,
    D_MONITORS_CONFIG = 317,
    D_INIT = 101,
    D_STREAM_REPORT = 102,
    D_PREFERRED_COMPRESSION = 103,
    D_GL_DRAW_DONE = 104,
    CAP_MONITORS = 1 << 1,
    CAPS_COMMON = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
    SIDE = 64,
};

struct bench {
    struct rig r;
    struct qxl q;
    int drawn; /* commands given */
};

/** A client: its channels, and what it would show. */
struct viewer {
    struct client main_channel, display;
    uint32_t session;
    uint32_t width, height;
    uint32_t *pixels; /* NULL without a surface */
    bool marked;
    int images;
};

static void open_bench(struct bench *b)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    *b = (struct bench){ 0 };
    rig_open(&b->r);
    EXPECT_EQ(spice_server_set_image_compression(b->r.server, SPICE_IMAGE_COMPRESSION_OFF), 0);
    EXPECT_EQ(spice_server_set_streaming_video(b->r.server, SPICE_STREAM_VIDEO_OFF), 0);
    qxl_prepare(&b->q, 0);
    qxl_add(&b->q, b->r.server);
}

static void open_running(struct bench *b)
{
    open_bench(b);
    qxl_create_primary(&b->q, SIDE, SIDE);
    spice_server_vm_start(b->r.server);
}

static void close_bench(struct bench *b)
{
    spice_server_vm_stop(b->r.server);
    spice_qxl_destroy_primary_surface(&b->q.sin, 0);
    qxl_remove(&b->q);
    rig_close(&b->r);
}

/** Draws a rectangle in this shade; the library has taken it when this returns. */
static void draw(struct bench *b, uint8_t shade, int left, int top, int right, int bottom)
{
    b->q.shade = shade;
    EXPECT(qxl_draw(&b->q, left, top, right, bottom));
    EXPECT(qxl_wait(&b->q, &b->q.fetched, ++b->drawn));
}

static void send_init(struct viewer *v, uint64_t cache, uint32_t window)
{
    uint8_t init[14], *p = put8(init, 1);
    put32(put8(put64(p, cache), 1), window);
    EXPECT(client_send(&v->display, D_INIT, init, sizeof init));
}

static void link_display(struct bench *b, struct viewer *v, uint32_t caps)
{
    memset(v, 0, sizeof *v);
    v->session = rig_main(&b->r, &v->main_channel);
    rig_channel_caps(&b->r, &v->display, CH_DISPLAY, 0, v->session, CAPS_COMMON, caps);
    v->display.acknowledges = true;
}

static void join(struct bench *b, struct viewer *v)
{
    link_display(b, v, CAP_MONITORS);
    send_init(v, 1 << 20, 1 << 20);
}

static void leave(struct viewer *v)
{
    client_close(&v->display);
    client_close(&v->main_channel);
    free(v->pixels);
    v->pixels = NULL;
}

/** An image of 32-bit pixels as they are, drawn on the surface. */
static void take_copy(struct viewer *v, const struct message *m)
{
    const uint8_t *p = m->body;
    uint32_t top = get32(p + 4), left = get32(p + 8);
    uint32_t bottom = get32(p + 12), right = get32(p + 16), at = get32(p + 21);
    EXPECT(v->pixels && right <= v->width && bottom <= v->height);
    if (!v->pixels || right > v->width || bottom > v->height)
        return;
    EXPECT_EQ(p[20], 0);
    const uint8_t *image = p + at;
    EXPECT_EQ(image[8], SPICE_IMAGE_TYPE_BITMAP);
    EXPECT_EQ(image[18], SPICE_BITMAP_FMT_32BIT);
    uint32_t stride = get32(image + 28);
    uint32_t from_top = get32(p + 25), from_left = get32(p + 29);
    bool top_down = image[19] & SPICE_BITMAP_FLAGS_TOP_DOWN;
    uint32_t lines = get32(image + 24);
    for (uint32_t y = top; y < bottom; y++)
        for (uint32_t x = left; x < right; x++) {
            uint32_t line = y - top + from_top;
            if (!top_down)
                line = lines - 1 - line;
            const uint8_t *pixel = image + 36 + line * stride + (x - left + from_left) * 4;
            v->pixels[y * v->width + x] = get32(pixel) & 0xffffff;
        }
    v->images++;
}

static void take(struct viewer *v, const struct message *m)
{
    switch (m->type) {
    case D_SURFACE_CREATE:
        EXPECT_MSG(!v->pixels, "a second surface");
        EXPECT_EQ(get32(m->body), 0);
        v->width = get32(m->body + 4);
        v->height = get32(m->body + 8);
        free(v->pixels);
        v->pixels = calloc((size_t)v->width * v->height, 4);
        break;
    case D_SURFACE_DESTROY:
        EXPECT(v->pixels);
        free(v->pixels);
        v->pixels = NULL;
        v->marked = false;
        break;
    case D_MARK:
        v->marked = true;
        break;
    case D_DRAW_COPY:
        take_copy(v, m);
        break;
    }
}

/** Takes messages until the pixel in the middle of the surface has this shade. */
static bool sees(struct viewer *v, uint8_t shade)
{
    struct message m;
    uint32_t wanted = shade * 0x010101u;
    while (!v->pixels || !v->marked ||
           v->pixels[v->height / 2 * v->width + v->width / 2] != wanted) {
        if (!client_next(&v->display, &m))
            return false;
        take(v, &m);
        message_free(&m);
    }
    return true;
}

static void expect(struct viewer *v, uint16_t type)
{
    struct message m;
    client_expect(&v->display, type, &m);
    take(v, &m);
    message_free(&m);
}

static void connect_sequence(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    open_running(&b);
    draw(&b, 0x55, 0, 0, SIDE, SIDE);
    link_display(&b, &v, CAP_MONITORS);
    EXPECT(client_silent(&v.display, 50));
    send_init(&v, 1 << 20, 1 << 20);
    v.display.acknowledges = false;
    client_expect(&v.display, S_SET_ACK, &m);
    EXPECT_EQ(get32(m.body), 1);
    EXPECT_EQ(get32(m.body + 4), 20);
    message_free(&m);
    client_expect(&v.display, D_INVAL_ALL_PALETTES, &m);
    EXPECT_EQ(m.size, 0);
    message_free(&m);
    client_expect(&v.display, D_SURFACE_CREATE, &m);
    static const uint8_t create[] = { 0, 0, 0, 0, SIDE, 0, 0, 0, SIDE, 0,
                                      0, 0, 32, 0, 0, 0, 1, 0, 0, 0 };
    EXPECT_EQ(m.size, sizeof create);
    EXPECT(!memcmp(m.body, create, sizeof create));
    take(&v, &m);
    message_free(&m);
    client_expect(&v.display, D_DRAW_COPY, &m);
    EXPECT_EQ(m.size, 57 + 18 + 18 + SIDE * SIDE * 4);
    EXPECT_EQ(get32(m.body + 12), SIDE);
    EXPECT_EQ(get32(m.body + 16), SIDE);
    take(&v, &m);
    message_free(&m);
    client_expect(&v.display, D_MONITORS_CONFIG, &m);
    uint8_t monitors[32] = { 1, 0, 1, 0, [12] = SIDE, [16] = SIDE };
    EXPECT_EQ(m.size, sizeof monitors);
    EXPECT(!memcmp(m.body, monitors, sizeof monitors));
    message_free(&m);
    expect(&v, D_MARK);
    EXPECT(sees(&v, 0x55));
    EXPECT(client_silent(&v.display, 50));
    leave(&v);
    close_bench(&b);
}

static void without_a_surface(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    spice_server_vm_start(b.r.server);
    join(&b, &v);
    qxl_create_primary(&b.q, SIDE, SIDE);
    draw(&b, 0x31, 0, 0, SIDE, SIDE);
    EXPECT(sees(&v, 0x31));
    leave(&v);
    close_bench(&b);
}

static void draws_are_seen(void)
{
    struct bench b;
    struct viewer v;
    open_running(&b);
    join(&b, &v);
    for (int i = 1; i < 100; i++) {
        draw(&b, (uint8_t)i, 8, 8, 56, 56);
        EXPECT(sees(&v, (uint8_t)i));
    }
    EXPECT_EQ(v.pixels[0], 0);
    EXPECT_EQ(v.pixels[7 * SIDE + 8], 0);
    EXPECT_EQ(v.pixels[8 * SIDE + 8], 99 * 0x010101);
    EXPECT_EQ(v.pixels[56 * SIDE + 8], 0);
    leave(&v);
    close_bench(&b);
}

static void surfaces_come_and_go(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    open_running(&b);
    draw(&b, 0x21, 0, 0, SIDE, SIDE);
    join(&b, &v);
    EXPECT(sees(&v, 0x21));
    for (uint32_t i = 1; i < 10; i++) {
        spice_qxl_destroy_primary_surface(&b.q.sin, 0);
        while (v.pixels && client_next(&v.display, &m)) {
            take(&v, &m);
            message_free(&m);
        }
        qxl_create_primary(&b.q, 10 * i, 7 * i);
        draw(&b, (uint8_t)(0x80 + i), 0, 0, 10 * (int)i, 7 * (int)i);
        EXPECT(sees(&v, (uint8_t)(0x80 + i)));
        EXPECT_EQ(v.width, 10 * i);
        EXPECT_EQ(v.height, 7 * i);
    }
    leave(&v);
    close_bench(&b);
}

static void stopped_and_started(void)
{
    struct bench b;
    struct viewer v;
    open_running(&b);
    draw(&b, 0x21, 0, 0, SIDE, SIDE);
    spice_server_vm_stop(b.r.server);
    join(&b, &v);
    EXPECT(sees(&v, 0x21));
    spice_server_vm_start(b.r.server);
    draw(&b, 0x22, 0, 0, SIDE, SIDE);
    EXPECT(sees(&v, 0x22));
    leave(&v);
    close_bench(&b);
}

static void two_clients(void)
{
    struct bench b;
    struct viewer v[2];
    open_running(&b);
    join(&b, &v[0]);
    draw(&b, 0x10, 0, 0, SIDE, SIDE);
    EXPECT(sees(&v[0], 0x10));
    join(&b, &v[1]);
    EXPECT(sees(&v[1], 0x10));
    for (int i = 0x11; i < 0x40; i++) {
        draw(&b, (uint8_t)i, 0, 0, SIDE, SIDE);
        EXPECT(sees(&v[i % 2], (uint8_t)i));
        EXPECT(sees(&v[(i + 1) % 2], (uint8_t)i));
    }
    leave(&v[0]);
    draw(&b, 0x77, 0, 0, SIDE, SIDE);
    EXPECT(sees(&v[1], 0x77));
    leave(&v[1]);
    close_bench(&b);
}

static void second_init_ends_the_channel(void)
{
    struct bench b;
    struct viewer v;
    open_running(&b);
    join(&b, &v);
    send_init(&v, 1 << 20, 1 << 20);
    EXPECT(client_closed(&v.display));
    leave(&v);
    close_bench(&b);
}

static void absurd_caches(void)
{
    static const uint64_t sizes[] = { 0, 1, INT64_MAX, UINT64_MAX, (uint64_t)INT64_MIN };
    struct bench b;
    open_running(&b);
    draw(&b, 0x35, 0, 0, SIDE, SIDE);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct viewer v;
        link_display(&b, &v, CAP_MONITORS);
        send_init(&v, sizes[i], (uint32_t)sizes[i]);
        EXPECT(sees(&v, 0x35));
        leave(&v);
    }
    close_bench(&b);
}

static void refused_messages(void)
{
    static const struct {
        uint16_t type;
        uint32_t size;
    } wrong[] = {
        { D_INIT, 13 }, { D_STREAM_REPORT, 31 }, { D_PREFERRED_COMPRESSION, 0 },
        { D_GL_DRAW_DONE, 0 }, { 99, 0 }, { 106, 0 }, { 1, 3 }, { D_INIT, 1025 },
    };
    struct bench b;
    open_running(&b);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        static const uint8_t body[1025];
        struct viewer v;
        join(&b, &v);
        client_send(&v.display, wrong[i].type, body, wrong[i].size);
        EXPECT_MSG(client_closed(&v.display), "message %d of %d bytes was taken", wrong[i].type,
                   (int)wrong[i].size);
        leave(&v);
    }
    close_bench(&b);
}

static void ignored_messages(void)
{
    struct bench b;
    struct viewer v;
    uint8_t report[32] = { 7 }, wish[] = { 0, 1, 7, 8, 255 };
    open_running(&b);
    join(&b, &v);
    EXPECT(client_send(&v.display, D_STREAM_REPORT, report, sizeof report));
    for (size_t i = 0; i < sizeof wish; i++)
        if (wish[i] != 7)
            EXPECT(client_send(&v.display, D_PREFERRED_COMPRESSION, &wish[i], 1));
    draw(&b, 0x19, 0, 0, SIDE, SIDE);
    EXPECT(sees(&v, 0x19));
    leave(&v);
    close_bench(&b);
}

/** Who acknowledges nothing, or what was never sent, is told no more than fits a window;
 *  after that the newest picture. */
static void wrong_acks(void)
{
    struct bench b;
    struct viewer v;
    struct message m;
    uint32_t generation = 7;
    open_running(&b);
    join(&b, &v);
    v.display.acknowledges = false;
    EXPECT(client_send(&v.display, 1, &generation, 4));
    for (int i = 0; i < 10; i++)
        EXPECT(client_send(&v.display, 2, NULL, 0));
    int got = 0;
    for (int i = 0; i < 45; i++) {
        draw(&b, (uint8_t)(i + 1), 0, 0, SIDE, SIDE);
        while (got < 41 && host_wait_fd(v.display.fd, POLLIN, 30)) {
            EXPECT(client_next(&v.display, &m));
            take(&v, &m);
            message_free(&m);
            got++;
        }
    }
    EXPECT_EQ(got, 41);
    EXPECT(client_silent(&v.display, 50));
    generation = 1;
    EXPECT(client_send(&v.display, 1, &generation, 4));
    EXPECT(client_send(&v.display, 2, NULL, 0));
    EXPECT(sees(&v, 45));
    leave(&v);
    close_bench(&b);
}

static void gone_at_any_moment(void)
{
    struct bench b;
    open_running(&b);
    for (int i = 0; i < 40; i++) {
        struct viewer v;
        link_display(&b, &v, CAP_MONITORS);
        if (i % 4 > 0)
            send_init(&v, 1 << 20, 1 << 20);
        draw(&b, (uint8_t)(i + 1), 0, 0, SIDE, SIDE);
        if (i % 4 > 1)
            EXPECT(sees(&v, (uint8_t)(i + 1)));
        if (i % 8 == 3)
            spice_server_vm_stop(b.r.server);
        leave(&v);
        if (i % 8 == 3)
            spice_server_vm_start(b.r.server);
    }
    close_bench(&b);
}

/** A client that does not read holds up neither guest nor others, costs little, and sees
 *  the newest picture when it reads again. */
static void a_client_that_does_not_read(void)
{
    enum { LARGE = 512, N = 1000 };
    struct bench b;
    struct viewer v, other;
    open_bench(&b);
    qxl_create_primary(&b.q, LARGE, LARGE);
    spice_server_vm_start(b.r.server);
    join(&b, &v);
    join(&b, &other);
    draw(&b, 1, 0, 0, LARGE, LARGE);
    EXPECT(sees(&v, 1));
    EXPECT(sees(&other, 1));
    long before = tap_usage().rss_kib;
    for (int i = 0; i < N; i++) {
        draw(&b, (uint8_t)(2 + i % 200), 0, 0, LARGE, LARGE);
        if (i % 50 == 0)
            EXPECT(sees(&other, (uint8_t)(2 + i % 200)));
    }
    long grown = tap_usage().rss_kib - before;
    EXPECT_MSG(grown < 24 * 1024, "%ld KiB for a client that does not read", grown);
    EXPECT(qxl_wait(&b.q, &b.q.released, b.drawn));
    draw(&b, 0xee, 0, 0, LARGE, LARGE);
    EXPECT(sees(&v, 0xee));
    EXPECT_MSG(v.images < N / 2, "%d images", v.images);
    leave(&v);
    leave(&other);
    close_bench(&b);
}

/** Where that is allowed a photograph comes as JPEG, and then as it is. */
static void jpeg_and_then_without_loss(void)
{
    enum { LARGE = 128, LZ_RGB = 101, JPEG = 105 };
    struct bench b = { 0 };
    struct viewer v;
    struct message m;
    rig_open_tcp(&b.r);
    EXPECT_EQ(spice_server_set_image_compression(b.r.server, SPICE_IMAGE_COMPRESSION_AUTO_LZ), 0);
    EXPECT_EQ(spice_server_set_jpeg_compression(b.r.server, SPICE_WAN_COMPRESSION_ALWAYS), 0);
    qxl_prepare(&b.q, 0);
    qxl_add(&b.q, b.r.server);
    qxl_create_primary(&b.q, LARGE, LARGE);
    spice_server_vm_start(b.r.server);
    join(&b, &v);
    do {
        EXPECT(client_next(&v.display, &m));
        message_free(&m);
    } while (m.type != D_MARK);
    b.q.gradual = true;
    draw(&b, 1, 0, 0, LARGE, LARGE);
    /* A part may come without loss before the next one comes at all. */
    uint32_t lossy = 0, lossless = 0;
    while (lossless < LARGE * LARGE) {
        client_expect(&v.display, D_DRAW_COPY, &m);
        uint32_t at = get32(m.body + 21);
        uint8_t type = m.body[at + 8];
        EXPECT_MSG(type == JPEG || type == LZ_RGB, "an image of type %d", type);
        if (type == JPEG)
            EXPECT_EQ(get16(m.body + at + 22), 0xd8ff);
        *(type == JPEG ? &lossy : &lossless) += get32(m.body + at + 10) * get32(m.body + at + 14);
        EXPECT(lossless <= lossy);
        message_free(&m);
    }
    EXPECT_EQ(lossy, LARGE * LARGE);
    EXPECT(client_silent(&v.display, 50));
    leave(&v);
    close_bench(&b);
}

static void monitors(void)
{
    struct {
        QXLMonitorsConfig config;
        QXLHead heads[3];
    } shown = { .config = { .count = 3, .max_allowed = 4 } };
    struct bench b;
    struct viewer v;
    struct message m;
    for (uint32_t i = 0; i < 3; i++)
        shown.heads[i] = (QXLHead){ .id = i, .width = i == 1 ? 0 : 32, .height = 16, .x = 32 * i };
    open_running(&b);
    join(&b, &v);
    draw(&b, 0x20, 0, 0, SIDE, SIDE);
    EXPECT(sees(&v, 0x20));
    spice_qxl_monitors_config_async(&b.q.sin, (uintptr_t)&shown, 0, 77);
    EXPECT(qxl_wait_cookie(&b.q, 77));
    client_expect(&v.display, D_MONITORS_CONFIG, &m);
    EXPECT_EQ(m.size, 4 + 2 * 28);
    EXPECT_EQ(m.body[0], 2);
    EXPECT_EQ(m.body[2], 4);
    EXPECT_EQ(get32(m.body + 4 + 28), 2);
    EXPECT_EQ(get32(m.body + 4 + 28 + 16), 64);
    message_free(&m);
    shown.config.count = 5;
    spice_qxl_monitors_config_async(&b.q.sin, (uintptr_t)&shown, 0, 78);
    EXPECT(qxl_wait_cookie(&b.q, 78));
    EXPECT(client_silent(&v.display, 50));
    leave(&v);
    close_bench(&b);
}

static void guest_hears_of_clients(void)
{
    struct bench b;
    struct viewer v;
    open_running(&b);
    EXPECT(qxl_wait(&b.q, &b.q.capabilities, 1));
    join(&b, &v);
    EXPECT(qxl_wait(&b.q, &b.q.capabilities, 2));
    leave(&v);
    EXPECT(qxl_wait(&b.q, &b.q.capabilities, 3));
    close_bench(&b);
}

static void removed_with_clients(void)
{
    struct bench b;
    struct viewer v;
    open_running(&b);
    join(&b, &v);
    draw(&b, 0x20, 0, 0, SIDE, SIDE);
    spice_server_vm_stop(b.r.server);
    qxl_remove(&b.q);
    EXPECT(client_closed(&v.display));
    leave(&v);
    rig_close(&b.r);
}

static const struct tap_case cases[] = {
    TAP_CASE(connect_sequence),
    TAP_CASE(without_a_surface),
    TAP_CASE(draws_are_seen),
    TAP_CASE(surfaces_come_and_go),
    TAP_CASE(stopped_and_started),
    TAP_CASE(two_clients),
    TAP_CASE(second_init_ends_the_channel),
    TAP_CASE(absurd_caches),
    TAP_CASE(refused_messages),
    TAP_CASE(ignored_messages),
    TAP_CASE(wrong_acks),
    TAP_CASE(gone_at_any_moment),
    TAP_CASE(a_client_that_does_not_read),
    TAP_CASE(jpeg_and_then_without_loss),
    TAP_CASE(monitors),
    TAP_CASE(guest_hears_of_clients),
    TAP_CASE(removed_with_clients),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "display", cases, TAP_COUNT(cases));
}
