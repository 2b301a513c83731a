/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QUIC images of guests. Those in tests/data/quic are what Debian's library makes of the
 * pictures below; QUIC_RECORD=DIRECTORY writes them anew.
 */
#define _GNU_SOURCE
#include "differences.h"
#include "draw.h"

#include <stdlib.h>
#include <string.h>

enum { W = 160, H = 100, D_INIT = 101, D_DRAW_COPY = 304 };

static const struct kind {
    const char *name;
    int format, bytes;
} kinds[] = {
    { "rgb16", SPICE_BITMAP_FMT_16BIT, 2 },
    { "rgb24", SPICE_BITMAP_FMT_24BIT, 3 },
    { "rgb32", SPICE_BITMAP_FMT_32BIT, 4 },
    { "rgba", SPICE_BITMAP_FMT_RGBA, 4 },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/** A channel of a pixel: 0 blue, 1 green, 2 red, 3 alpha. Flat places, slopes and some noise;
 *  src/canvas/quic/tests.rs has the same picture. */
static uint8_t shade(int x, int y, int channel)
{
    if ((x / 16 + y / 8) % 3 == 0)
        return (uint8_t)(40 * (channel + 1));
    return (uint8_t)(x * (channel + 2) + y * 3 + ((x * 7 ^ y * 13) & 7));
}

static uint16_t shade16(int x, int y)
{
    return (uint16_t)(shade(x, y, 2) >> 3 << 10 | shade(x, y, 1) >> 3 << 5 | shade(x, y, 0) >> 3);
}

static QXLImage *picture(struct painter *p, const struct kind *kind)
{
    static uint32_t unique;
    QXLImage *image = guest_alloc(p, sizeof *image);
    uint8_t *data = guest_alloc(p, (size_t)(W * H * kind->bytes));
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DEVICE, ++unique);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = image->bitmap.x = W;
    image->descriptor.height = image->bitmap.y = H;
    image->bitmap.format = (uint8_t)kind->format;
    image->bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    image->bitmap.stride = (uint32_t)(W * kind->bytes);
    image->bitmap.data = (uintptr_t)data;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++, data += kind->bytes)
            if (kind->bytes == 2)
                put16(data, shade16(x, y));
            else
                for (int c = 0; c < kind->bytes; c++)
                    data[c] = shade(x, y, c);
    return image;
}

static QXLDrawable copy_of(struct painter *p, QXLImage *image)
{
    QXLDrawable d = guest_drawable(p, 0, QXL_DRAW_COPY);
    d.effect = QXL_EFFECT_OPAQUE;
    d.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    d.u.copy.src_area.right = W;
    d.u.copy.src_area.bottom = H;
    d.u.copy.src_bitmap = (uintptr_t)image;
    return d;
}

static void record(const char *directory, const char *name, const uint8_t *data, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.quic", directory, name);
    FILE *file = fopen(path, "wb");
    EXPECT_MSG(file, "%s", path);
    EXPECT_EQ(fwrite(data, 1, size, file), size);
    fclose(file);
}

/** The next image for the client; other messages are passed over. */
static void next_copy(struct client *c, struct message *m)
{
    while (client_next(c, m) && m->type != D_DRAW_COPY)
        message_free(m);
    EXPECT_EQ(m->type, D_DRAW_COPY);
}

/** Debian's library makes the kept ones; ours sends the same pictures in another form. */
static void images_are_those_of_the_reference(void)
{
    struct painter p;
    struct client main_channel, display;
    struct message m;
    uint8_t init[14], *data = malloc(QUIC_LARGEST);
    painter_open_tcp(&p, SPICE_SURFACE_FMT_32_xRGB, W, H);
    EXPECT_EQ(spice_server_set_image_compression(p.r.server, SPICE_IMAGE_COMPRESSION_QUIC), 0);
    EXPECT_EQ(spice_server_set_streaming_video(p.r.server, SPICE_STREAM_VIDEO_OFF), 0);
    uint32_t session = rig_main(&p.r, &main_channel);
    rig_channel(&p.r, &display, CH_DISPLAY, 0, session);
    display.acknowledges = true;
    put32(put8(put64(put8(init, 1), 1 << 20), 1), 1 << 20);
    EXPECT(client_send(&display, D_INIT, init, sizeof init));
    next_copy(&display, &m); /* the whole surface */
    message_free(&m);
    for (int i = 0; i < KINDS; i++) {
        QXLDrawable d = copy_of(&p, picture(&p, &kinds[i]));
        EXPECT(qxl_push_drawable(&p.q, &d));
        spice_qxl_wakeup(&p.q.sin);
        next_copy(&display, &m);
        const uint8_t *image = m.body + get32(m.body + 21);
        if (!reference_library()) {
            EXPECT(image[8] != SPICE_IMAGE_TYPE_QUIC);
            message_free(&m);
            break;
        }
        size_t size = get32(image + 18);
        EXPECT_EQ(image[8], SPICE_IMAGE_TYPE_QUIC);
        if (getenv("QUIC_RECORD"))
            record(getenv("QUIC_RECORD"), kinds[i].name, image + 22, size);
        EXPECT_EQ(quic_file(kinds[i].name, data), size);
        EXPECT_MSG(!memcmp(data, image + 22, size), "%s is another image", kinds[i].name);
        message_free(&m);
        p.used = 0;
    }
    free(data);
    client_close(&display);
    client_close(&main_channel);
    painter_close(&p);
}

static void drawn_on(uint32_t surface, uint32_t mask)
{
    struct painter p;
    uint8_t *data = malloc(QUIC_LARGEST);
    painter_open(&p, surface, W, H, 1);
    for (int i = 0; i < KINDS; i++) {
        size_t size = quic_file(kinds[i].name, data);
        for (int high_bits = 0; high_bits < 2; high_bits++) {
            QXLImage *image = guest_quic(&p, data, size, W, H);
            if (high_bits)
                image->descriptor.flags = SPICE_IMAGE_FLAGS_HIGH_BITS_SET;
            QXLDrawable d = copy_of(&p, image);
            painter_draw(&p, &d, mask);
        }
    }
    free(data);
    painter_close(&p);
}

static void on_xrgb(void)
{
    drawn_on(SPICE_SURFACE_FMT_32_xRGB, 0xffffff);
}

static void on_argb(void)
{
    drawn_on(SPICE_SURFACE_FMT_32_ARGB, 0xffffffff);
}

static void on_555(void)
{
    drawn_on(SPICE_SURFACE_FMT_16_555, 0xffffffff);
}

/** Not only the same in both libraries: right. */
static void pixels_come_back(void)
{
    struct painter p;
    uint8_t *data = malloc(QUIC_LARGEST);
    painter_open(&p, SPICE_SURFACE_FMT_32_xRGB, W, H, 1);
    for (int i = 1; i < KINDS; i++) {
        QXLDrawable d = copy_of(&p, guest_quic(&p, data, quic_file(kinds[i].name, data), W, H));
        painter_noise(&p, 0);
        painter_draw(&p, &d, 0xffffff);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < 3; c++)
                    EXPECT_EQ(p.surface[0].pixels[y * p.surface[0].stride + 4 * x + c],
                              shade(x, y, c));
    }
    free(data);
    painter_close(&p);
}

/** What is wrong with an image costs the drawing, and a line in the log. */
static void wrong_images_are_not_drawn(void)
{
    struct painter p;
    uint8_t *data = malloc(QUIC_LARGEST), *before = malloc(W * H * 4);
    painter_open(&p, SPICE_SURFACE_FMT_32_xRGB, W, H, 1);
    memcpy(before, p.surface[0].pixels, W * H * 4);
    size_t size = quic_file(kinds[2].name, data);
    for (int wrong = 0; wrong < 7; wrong++) {
        QXLImage *image = guest_quic(&p, data, wrong == 0 ? 600 : size, W, H);
        uint8_t *head = ((QXLDataChunk *)image->quic.data)->data;
        if (wrong == 1)
            head[0] ^= 1; /* the magic word */
        if (wrong == 2)
            head[4] = 1; /* the version */
        if (wrong == 3)
            head[8] = 1; /* gray */
        if (wrong == 4)
            head[12]++; /* the width */
        if (wrong == 5)
            image->quic.data_size++;
        if (wrong == 6)
            image->descriptor.width = image->descriptor.height = 1 << 20;
        QXLDrawable d = copy_of(&p, image);
        painter_draw(&p, &d, 0xffffff);
        EXPECT_MSG(!memcmp(before, p.surface[0].pixels, W * H * 4), "%d was drawn", wrong);
    }
    EXPECT_EQ(tap_log_lines("drawable dropped"), 7);
    free(data);
    free(before);
    painter_close(&p);
    tap_result("%s", ""); /* runs on our library only */
}

static const struct tap_case cases[] = {
    TAP_CASE(images_are_those_of_the_reference),
    TAP_CASE(on_xrgb),
    TAP_CASE(on_argb),
    TAP_CASE(on_555),
    TAP_CASE(pixels_come_back),
    TAP_CASE(wrong_images_are_not_drawn),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "quic", cases, TAP_COUNT(cases));
}
