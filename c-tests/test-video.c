/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Video streams on the display channel of a QXL device: when there is one, what a client is
 * told of it, that its frames are JPEG of the right size, and that the client sees each
 * pixel as it is in the end.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    D_MARK = 102,
    D_STREAM_CREATE = 122,
    D_STREAM_DATA = 123,
    D_STREAM_CLIP = 124,
    D_STREAM_DESTROY = 125,
    D_DRAW_COPY = 304,
    D_SURFACE_CREATE = 314,
    D_STREAM_DATA_SIZED = 316,
    D_ACTIVATE_REPORT = 319,
    D_INIT = 101,
    D_STREAM_REPORT = 102,
    CAP_SIZED = 1 << 0,
    CAP_REPORT = 1 << 4,
    CAP_MULTI_CODEC = 1 << 8,
    CAP_MJPEG = 1 << 9,
    CAP_VP8 = 1 << 10,
    CAPS_COMMON = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
    WIDTH = 640,
    HEIGHT = 480,
    STREAMS = 50,
    FRAME_MS = 40,
    /* Both libraries take less than half of it. */
    FRAMES = 80,
};

/** Where the video is. */
static const QXLRect video = { .left = 64, .top = 48, .right = 256, .bottom = 208 };

struct bench {
    struct rig r;
    struct qxl q;
    struct client main_channel, display;
    int drawn;
    uint32_t *pixels; /**< what the client shows, as far as it came without loss */
    bool streamed;    /**< a stream lives */
    uint32_t id, unique;
    QXLRect area; /**< its area */
    int creates, frames, sized, clips, destroys, reports, images;
};

static void open_bench(struct bench *b, int streaming, uint32_t caps)
{
    struct message m;
    uint8_t init[14], *p = put8(init, 1);
    *b = (struct bench){ 0 };
    rig_open_tcp(&b->r);
    EXPECT_EQ(spice_server_set_image_compression(b->r.server, SPICE_IMAGE_COMPRESSION_OFF), 0);
    EXPECT_EQ(spice_server_set_jpeg_compression(b->r.server, SPICE_WAN_COMPRESSION_NEVER), 0);
    EXPECT_EQ(spice_server_set_streaming_video(b->r.server, streaming), 0);
    qxl_prepare(&b->q, 0);
    qxl_add(&b->q, b->r.server);
    qxl_create_primary(&b->q, WIDTH, HEIGHT);
    spice_server_vm_start(b->r.server);
    uint32_t session = rig_main(&b->r, &b->main_channel);
    rig_channel_caps(&b->r, &b->display, CH_DISPLAY, 0, session, CAPS_COMMON, caps);
    b->display.acknowledges = true;
    b->pixels = calloc(WIDTH * HEIGHT, 4);
    put32(put8(put64(p, 1 << 20), 1), 1 << 20);
    EXPECT(client_send(&b->display, D_INIT, init, sizeof init));
    do {
        EXPECT(client_next(&b->display, &m));
        message_free(&m);
    } while (m.type != D_MARK);
    b->q.gradual = true;
}

static void close_bench(struct bench *b)
{
    client_close(&b->display);
    client_close(&b->main_channel);
    free(b->pixels);
    spice_server_vm_stop(b->r.server);
    spice_qxl_destroy_primary_surface(&b->q.sin, 0);
    qxl_remove(&b->q);
    rig_close(&b->r);
}

/** top, left, bottom, right */
static QXLRect get_rect(const uint8_t *p)
{
    return (QXLRect){ .top = (int32_t)get32(p),
                      .left = (int32_t)get32(p + 4),
                      .bottom = (int32_t)get32(p + 8),
                      .right = (int32_t)get32(p + 12) };
}

static uint16_t big16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/** A whole JPEG file with this size. */
static bool is_jpeg(const uint8_t *p, size_t n, uint32_t width, uint32_t height)
{
    if (n < 4 || big16(p) != 0xffd8 || big16(p + n - 2) != 0xffd9)
        return false;
    for (size_t at = 2; at + 9 < n; at += 2 + big16(p + at + 2)) {
        if (p[at] != 0xff)
            return false;
        if (p[at + 1] == 0xc0 || p[at + 1] == 0xc2)
            return big16(p + at + 5) == height && big16(p + at + 7) == width;
        if (p[at + 1] == 0xda)
            return false;
    }
    return false;
}

static void take_create(struct bench *b, const struct message *m)
{
    const uint8_t *p = m->body;
    EXPECT_MSG(!b->streamed, "a second stream");
    EXPECT_EQ(get32(p), 0);
    b->id = get32(p + 4);
    EXPECT(b->id < STREAMS);
    EXPECT_EQ(p[8], SPICE_STREAM_FLAGS_TOP_DOWN);
    EXPECT_EQ(p[9], SPICE_VIDEO_CODEC_TYPE_MJPEG);
    b->area = get_rect(p + 34);
    uint32_t width = (uint32_t)(b->area.right - b->area.left);
    uint32_t height = (uint32_t)(b->area.bottom - b->area.top);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(get32(p + 18 + 8 * i), width);
        EXPECT_EQ(get32(p + 22 + 8 * i), height);
    }
    EXPECT_EQ(m->size, p[50] == SPICE_CLIP_TYPE_NONE ? 51 : 55 + 16 * get32(p + 51));
    b->streamed = true;
    b->creates++;
}

static void take_frame(struct bench *b, const struct message *m)
{
    const uint8_t *p = m->body;
    bool sized = m->type == D_STREAM_DATA_SIZED;
    QXLRect area = sized ? get_rect(p + 16) : b->area;
    uint32_t width = (uint32_t)(area.right - area.left), head = sized ? 36 : 12;
    uint32_t height = (uint32_t)(area.bottom - area.top), size = get32(p + head - 4);
    EXPECT(b->streamed);
    EXPECT_EQ(get32(p), b->id);
    EXPECT_EQ(m->size, head + size);
    EXPECT(is_jpeg(p + head, size, width, height));
    int32_t age = (int32_t)((uint32_t)tap_now() - get32(p + 4));
    EXPECT_MSG(age >= 0 && age < tap_ms(10000), "the frame is %d ms old", age);
    *(sized ? &b->sized : &b->frames) += 1;
}

static void take_copy(struct bench *b, const struct message *m)
{
    const uint8_t *p = m->body;
    QXLRect area = get_rect(p + 4);
    /* What is behind the clip. It has never more in it than the video. */
    p += 21 + (p[20] == SPICE_CLIP_TYPE_NONE ? 0 : 4 + 16 * get32(p + 21));
    const uint8_t *image = m->body + get32(p);
    EXPECT_EQ(image[8], SPICE_IMAGE_TYPE_BITMAP);
    uint32_t stride = get32(image + 28), lines = get32(image + 24);
    QXLRect from = get_rect(p + 4);
    bool top_down = image[19] & SPICE_BITMAP_FLAGS_TOP_DOWN;
    for (int y = area.top; y < area.bottom; y++)
        for (int x = area.left; x < area.right; x++) {
            uint32_t line = (uint32_t)(y - area.top + from.top);
            if (!top_down)
                line = lines - 1 - line;
            uint32_t column = (uint32_t)(x - area.left + from.left);
            b->pixels[y * WIDTH + x] = get32(image + 36 + line * stride + column * 4) & 0xffffff;
        }
    b->images++;
}

static void take(struct bench *b)
{
    struct message m;
    if (!client_next(&b->display, &m))
        tap_fail(__FILE__, __LINE__, "no message");
    switch (m.type) {
    case D_STREAM_CREATE:
        take_create(b, &m);
        break;
    case D_STREAM_DATA:
    case D_STREAM_DATA_SIZED:
        take_frame(b, &m);
        break;
    case D_STREAM_CLIP:
        EXPECT_EQ(get32(m.body), b->id);
        b->clips++;
        break;
    case D_STREAM_DESTROY:
        EXPECT(b->streamed);
        EXPECT_EQ(get32(m.body), b->id);
        b->streamed = false;
        b->destroys++;
        break;
    case D_ACTIVATE_REPORT:
        EXPECT_EQ(m.size, 16);
        EXPECT_EQ(get32(m.body), b->id);
        EXPECT_EQ(get32(m.body + 8), 5);
        EXPECT_EQ(get32(m.body + 12), 1000);
        b->unique = get32(m.body + 4);
        b->reports++;
        break;
    case D_DRAW_COPY:
        take_copy(b, &m);
        break;
    }
    message_free(&m);
}

/** The guest draws a frame; the client takes what comes until the next one. */
static void play(struct bench *b, const QXLRect *area)
{
    b->q.shade = (uint8_t)(1 + b->drawn * 5 % 200);
    EXPECT(qxl_draw(&b->q, area->left, area->top, area->right, area->bottom));
    EXPECT(qxl_wait(&b->q, &b->q.fetched, ++b->drawn));
    int64_t next = tap_now() + FRAME_MS, left;
    while ((left = next - tap_now()) > 0)
        if (host_wait_fd(b->display.fd, POLLIN, (int)left))
            take(b);
}

/** Until there is a stream, if one comes. */
static bool play_until_streamed(struct bench *b, const QXLRect *area)
{
    for (int i = 0; i < FRAMES && !b->streamed; i++)
        play(b, area);
    return b->streamed;
}

/** Whether the client shows the last frame of a video there, and nothing of it elsewhere. */
static bool shows(const struct bench *b, const QXLRect *area)
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            bool inside =
                x >= area->left && x < area->right && y >= area->top && y < area->bottom;
            uint8_t shade = (uint8_t)(x - area->left + (y - area->top) % 32 + b->q.shade);
            if (b->pixels[y * WIDTH + x] != (inside ? shade * 0x010101u : 0))
                return false;
        }
    return true;
}

static bool is_exact(const struct bench *b)
{
    return shows(b, &video);
}

static void a_video_is_a_stream(void)
{
    struct bench b;
    open_bench(&b, SPICE_STREAM_VIDEO_FILTER, 0);
    EXPECT(play_until_streamed(&b, &video));
    EXPECT_EQ(b.area.left, video.left);
    EXPECT_EQ(b.area.top, video.top);
    EXPECT_EQ(b.area.right, video.right);
    EXPECT_EQ(b.area.bottom, video.bottom);
    int images = b.images, frames = b.frames;
    for (int i = 0; i < 25; i++)
        play(&b, &video);
    EXPECT_MSG(b.frames - frames > 15, "%d frames of 25", b.frames - frames);
    EXPECT_EQ(b.images, images);
    EXPECT_EQ(b.reports, 0);
    EXPECT_EQ(b.sized, 0);
    EXPECT_EQ(b.creates, 1);
    close_bench(&b);
}

/** When it has come to rest, the stream ends and the picture is sent as it is. */
static void in_the_end_without_loss(void)
{
    struct bench b;
    open_bench(&b, SPICE_STREAM_VIDEO_FILTER, CAP_SIZED | CAP_REPORT | CAP_MULTI_CODEC | CAP_MJPEG);
    EXPECT(play_until_streamed(&b, &video));
    for (int i = 0; i < 10; i++)
        play(&b, &video);
    while (b.streamed || !is_exact(&b))
        take(&b);
    EXPECT_EQ(b.destroys, 1);
    EXPECT(client_silent(&b.display, 50));
    /* and it may begin again */
    EXPECT(play_until_streamed(&b, &video));
    while (b.streamed || !is_exact(&b))
        take(&b);
    close_bench(&b);
}

/** The same when the picture takes more than one image, and the socket less than one. */
static void in_the_end_without_loss_through_a_narrow_socket(void)
{
    static const QXLRect whole = { .right = WIDTH, .bottom = HEIGHT };
    struct bench b;
    int least = 1;
    open_bench(&b, SPICE_STREAM_VIDEO_FILTER, 0);
    EXPECT(play_until_streamed(&b, &whole));
    int server = rig_server_end(&b.display);
    EXPECT_EQ(setsockopt(server, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    for (int i = 0; i < 10; i++)
        play(&b, &whole);
    while (b.streamed || !shows(&b, &whole))
        take(&b);
    close_bench(&b);
}

static void reports_are_asked_for(void)
{
    struct bench b;
    uint8_t report[32];
    open_bench(&b, SPICE_STREAM_VIDEO_FILTER, CAP_REPORT);
    EXPECT(play_until_streamed(&b, &video));
    for (int i = 0; i < 5; i++)
        play(&b, &video);
    EXPECT_EQ(b.reports, 1);
    for (uint32_t i = 0; i < 20; i++) {
        /* good, bad, of no stream, of no report */
        uint32_t id = i % 4 == 2 ? (b.id + 1) % STREAMS : b.id, unique = b.unique + (i % 4 == 3);
        uint32_t lost = i % 4 == 1 ? UINT32_MAX : 0, now = (uint32_t)tap_now();
        uint8_t *p = put32(put32(put32(put32(report, id), unique), now - 200), now);
        put32(put32(put32(put32(p, 5), lost), i % 4 == 1 ? (uint32_t)-300 : 300), UINT32_MAX);
        EXPECT(client_send(&b.display, D_STREAM_REPORT, report, sizeof report));
        play(&b, &video);
    }
    while (b.streamed || !is_exact(&b))
        take(&b);
    close_bench(&b);
}

/** Nobody is sent what he cannot show, or what the host does not want. */
static void no_stream(int streaming, uint32_t caps, const QXLRect *area)
{
    struct bench b;
    open_bench(&b, streaming, caps);
    for (int i = 0; i < FRAMES / 2; i++)
        play(&b, area);
    EXPECT_EQ(b.creates, 0);
    EXPECT(b.images > 0);
    close_bench(&b);
}

static void none_when_switched_off(void)
{
    no_stream(SPICE_STREAM_VIDEO_OFF, 0, &video);
}

static void none_without_the_codec(void)
{
    no_stream(SPICE_STREAM_VIDEO_FILTER, CAP_MULTI_CODEC | CAP_VP8, &video);
}

static void none_of_a_small_area(void)
{
    static const QXLRect small = { .left = 64, .top = 48, .right = 128, .bottom = 112 };
    no_stream(SPICE_STREAM_VIDEO_FILTER, 0, &small);
}

/** Switched off while it lives, a stream ends. */
static void switched_off_meanwhile(void)
{
    struct bench b;
    open_bench(&b, SPICE_STREAM_VIDEO_ALL, 0);
    EXPECT(play_until_streamed(&b, &video));
    EXPECT_EQ(spice_server_set_streaming_video(b.r.server, SPICE_STREAM_VIDEO_OFF), 0);
    while (b.streamed || !is_exact(&b))
        take(&b);
    int frames = b.frames;
    for (int i = 0; i < 10; i++)
        play(&b, &video);
    EXPECT_EQ(b.frames, frames);
    close_bench(&b);
}

/** A surface that goes takes its stream along, and the client stays. */
static void a_surface_goes_in_the_middle(void)
{
    struct bench b;
    struct message m;
    open_bench(&b, SPICE_STREAM_VIDEO_ALL, 0);
    EXPECT(play_until_streamed(&b, &video));
    spice_qxl_destroy_primary_surface(&b.q.sin, 0);
    qxl_create_primary(&b.q, WIDTH, HEIGHT);
    do {
        EXPECT(client_next(&b.display, &m));
        message_free(&m);
    } while (m.type != D_SURFACE_CREATE);
    b.streamed = false;
    memset(b.pixels, 0, WIDTH * HEIGHT * 4);
    b.q.shade = 3;
    EXPECT(qxl_draw(&b.q, video.left, video.top, video.right, video.bottom));
    while (!is_exact(&b))
        take(&b);
    close_bench(&b);
}

/** A client that does not read while a video plays sees its last picture. */
static void who_does_not_read_sees_the_last_picture(void)
{
    struct bench b;
    open_bench(&b, SPICE_STREAM_VIDEO_FILTER, CAP_REPORT);
    EXPECT(play_until_streamed(&b, &video));
    for (int i = 0; i < 400; i++) {
        b.q.shade = (uint8_t)(1 + i % 200);
        EXPECT(qxl_draw(&b.q, video.left, video.top, video.right, video.bottom));
        EXPECT(qxl_wait(&b.q, &b.q.fetched, ++b.drawn));
        host_run_for(5);
    }
    int frames = b.frames;
    while (b.streamed || !is_exact(&b))
        take(&b);
    EXPECT_MSG(b.frames - frames < 100, "%d frames were queued", b.frames - frames);
    close_bench(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(a_video_is_a_stream),
    TAP_CASE(in_the_end_without_loss),
    TAP_CASE(in_the_end_without_loss_through_a_narrow_socket),
    TAP_CASE(reports_are_asked_for),
    TAP_CASE(none_when_switched_off),
    TAP_CASE(none_without_the_codec),
    TAP_CASE(none_of_a_small_area),
    TAP_CASE(switched_off_meanwhile),
    TAP_CASE(a_surface_goes_in_the_middle),
    TAP_CASE(who_does_not_read_sees_the_last_picture),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "video", cases, TAP_COUNT(cases));
}
