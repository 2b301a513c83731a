/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests and clients that attack a graphics device: addresses that mean nothing, lists that
 * never end, sizes that lie, structures that change while they are read, clients that break
 * the protocol.  The device draws on afterwards, gives every command back, and has written
 * nowhere else.  SECURITY.md's known attacks are in test-cve.c.
 */
#define _GNU_SOURCE
#include "draw.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    W = 64,
    H = 48,
    SLOT_ID = 1,
    GENERATION = 1,
    MEMORY = 1 << 20,       /* of the guest, with as much on both sides that is not its own */
    COMMANDS = MEMORY / 2,  /* where its commands are */
    IN_FLIGHT = 32,
    D_INIT = 101,
    CAPS_COMMON = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
};

static struct painter p;
static uint8_t *memory; /* three times MEMORY, the guest's in the middle */

static uint64_t address_of(uint64_t offset)
{
    return (uint64_t)SLOT_ID << 56 | (uint64_t)GENERATION << 48 | offset;
}

static void *at(uint32_t offset)
{
    return memory + MEMORY + offset;
}

static void open_guest(void)
{
    painter_open(&p, SPICE_SURFACE_FMT_32_xRGB, W, H, 1);
    memory = malloc(3 * (size_t)MEMORY);
    memset(memory, 0x55, 3 * (size_t)MEMORY);
    memset(at(0), 0, MEMORY);
    uint64_t start = (uintptr_t)at(0);
    QXLDevMemSlot slot = { .slot_group_id = 1, .slot_id = SLOT_ID, .generation = GENERATION,
                           .virt_start = start, .virt_end = start + MEMORY, .addr_delta = start };
    spice_qxl_add_memslot(&p.q.sin, &slot);
}

/** The device draws what is good, has given everything back and kept to the surface. */
static void close_guest(void)
{
    painter_update(&p, 0, NULL, 0, 1);
    for (int i = 0; i < MEMORY; i++)
        EXPECT(memory[i] == 0x55 && memory[2 * MEMORY + i] == 0x55);
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_BLACKNESS);
    painter_noise(&p, 0);
    painter_draw(&p, &d, 0);
    for (int i = 0; i < W * H; i++)
        EXPECT((((uint32_t *)(void *)p.surface[0].pixels)[i] & 0xffffff) == 0);
    painter_close(&p);
    free(memory);
    tap_result("%s", "");
}

/** Gives the guest's drawable to the device.  The memory that it is in is free again when
 *  IN_FLIGHT others have been given. */
static QXLDrawable *give(const QXLDrawable *d)
{
    static uint32_t number;
    if (number % IN_FLIGHT == 0)
        painter_update(&p, 0, NULL, 0, 1);
    uint32_t offset = COMMANDS + number++ % IN_FLIGHT * QXL_GUEST_COMMAND;
    QXLDrawable *given = qxl_push_guest(&p.q, at(offset), address_of(offset), d);
    EXPECT(given);
    return given;
}

/** Inside, at the end, behind it, of no slot, of another generation, or anything. */
static uint64_t any_address(void)
{
    uint32_t offset = rnd(&p) % COMMANDS;
    switch (rnd(&p) % 10) {
    case 0: return 0;
    case 1: return address_of(MEMORY - 1 - rnd(&p) % 40);
    case 2: return address_of(MEMORY + rnd(&p) % 40);
    case 3: return address_of(offset) + ((uint64_t)1 << 48);
    case 4: return (uint64_t)(rnd(&p) % 256) << 56 | (uint64_t)GENERATION << 48 | offset;
    case 5: return ~(uint64_t)(rnd(&p) % 64);
    case 6: return (uint64_t)rnd(&p) << 32 | rnd(&p);
    default: return address_of(offset);
    }
}

static uint32_t any_size(void)
{
    static const uint32_t ends[] = { 0, 1, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff };
    return rnd(&p) % 3 ? rnd(&p) % 100 : ends[rnd(&p) % TAP_COUNT(ends)];
}

static void any_bytes(void *into, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)into)[i] = rnd(&p) % 2 ? (uint8_t)rnd(&p) : 0;
}

/** An image, or nearly one; returns its address. */
static uint64_t any_image(void)
{
    uint32_t offset = rnd(&p) % (COMMANDS - 256);
    QXLImage *image = at(offset);
    memset(image, 0, sizeof *image);
    static const uint8_t types[] = { SPICE_IMAGE_TYPE_BITMAP, SPICE_IMAGE_TYPE_BITMAP,
                                     SPICE_IMAGE_TYPE_SURFACE, SPICE_IMAGE_TYPE_QUIC, 255 };
    image->descriptor.type = types[rnd(&p) % TAP_COUNT(types)];
    image->descriptor.flags = (uint8_t)rnd(&p);
    image->descriptor.width = any_size();
    image->descriptor.height = any_size();
    image->bitmap.format = (uint8_t)(rnd(&p) % 12);
    image->bitmap.flags = (uint8_t)rnd(&p);
    image->bitmap.x = rnd(&p) % 4 ? image->descriptor.width : any_size();
    image->bitmap.y = rnd(&p) % 4 ? image->descriptor.height : any_size();
    image->bitmap.stride = rnd(&p) % 4 ? image->bitmap.x * 4 : any_size();
    image->bitmap.data = any_address();
    image->bitmap.palette = any_address();
    return address_of(offset);
}

static uint64_t any_image_address(void)
{
    return rnd(&p) % 5 ? any_image() : any_address();
}

static void any_brush(QXLBrush *brush)
{
    brush->type = rnd(&p) % 4;
    brush->u.pattern.pat = any_image_address();
}

static QXLRect any_rect(void)
{
    if (rnd(&p) % 4)
        return guest_rect(&p, &p.surface[0]);
    return (QXLRect){ .left = (int32_t)any_size(), .top = (int32_t)any_size(),
                      .right = (int32_t)any_size(), .bottom = (int32_t)any_size() };
}

static QXLDrawable any_drawable(void)
{
    QXLDrawable d;
    any_bytes(&d, sizeof d);
    d.surface_id = rnd(&p) % 8 ? 0 : any_size();
    d.type = (uint8_t)(rnd(&p) % 16);
    d.effect = (uint8_t)(rnd(&p) % 9);
    d.self_bitmap = rnd(&p) % 8 == 0;
    d.self_bitmap_area = any_rect();
    d.bbox = any_rect();
    d.clip.type = rnd(&p) % 3;
    d.clip.data = any_address();
    for (int i = 0; i < 3; i++)
        d.surfaces_dest[i] = rnd(&p) % 2 ? -1 : (int32_t)any_size();
    switch (d.type) {
    case QXL_DRAW_FILL:
        any_brush(&d.u.fill.brush);
        d.u.fill.mask.bitmap = any_image_address();
        break;
    case QXL_DRAW_OPAQUE:
        d.u.opaque.src_bitmap = any_image_address();
        d.u.opaque.src_area = any_rect();
        any_brush(&d.u.opaque.brush);
        d.u.opaque.mask.bitmap = any_image_address();
        break;
    case QXL_DRAW_COPY:
    case QXL_DRAW_BLEND:
        d.u.copy.src_bitmap = any_image_address();
        d.u.copy.src_area = any_rect();
        d.u.copy.mask.bitmap = any_image_address();
        break;
    case QXL_DRAW_ROP3:
        d.u.rop3.src_bitmap = any_image_address();
        d.u.rop3.src_area = any_rect();
        any_brush(&d.u.rop3.brush);
        d.u.rop3.mask.bitmap = any_image_address();
        break;
    case QXL_DRAW_TRANSPARENT:
        d.u.transparent.src_bitmap = any_image_address();
        d.u.transparent.src_area = any_rect();
        break;
    case QXL_DRAW_ALPHA_BLEND:
        d.u.alpha_blend.src_bitmap = any_image_address();
        d.u.alpha_blend.src_area = any_rect();
        break;
    case QXL_DRAW_STROKE:
        d.u.stroke.path = any_address();
        d.u.stroke.attr.style = any_address();
        any_brush(&d.u.stroke.brush);
        break;
    case QXL_DRAW_TEXT:
        d.u.text.str = any_address();
        d.u.text.back_area = any_rect();
        any_brush(&d.u.text.fore_brush);
        any_brush(&d.u.text.back_brush);
        break;
    case QXL_DRAW_COMPOSITE:
        d.u.composite.src = any_image_address();
        d.u.composite.mask = any_image_address();
        d.u.composite.src_transform = any_address();
        d.u.composite.mask_transform = any_address();
        break;
    }
    return d;
}

static void random_addresses(void)
{
    open_guest();
    for (int i = 0; i < 6000; i++) {
        if (i % 100 == 0)
            any_bytes(at(0), COMMANDS);
        QXLDrawable d = any_drawable();
        give(&d);
    }
    close_guest();
}

/** A copy of a whole image that is told of here. */
static QXLDrawable copy_of(uint64_t image)
{
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_COPY);
    d.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    d.u.copy.src_bitmap = image;
    d.u.copy.src_area = d.bbox;
    return d;
}

/** A good image of the surface's size, whose pixels are at this address. */
static uint64_t good_image(uint32_t offset, uint64_t pixels, uint8_t flags)
{
    QXLImage *image = at(offset);
    memset(image, 0, sizeof *image);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = image->bitmap.x = W;
    image->descriptor.height = image->bitmap.y = H;
    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.stride = W * 4;
    image->bitmap.flags = flags;
    image->bitmap.data = pixels;
    return address_of(offset);
}

static uint64_t surface_digest(void)
{
    uint64_t digest = 1;
    for (int i = 0; i < H * p.surface[0].stride; i++)
        digest = digest * 31 + p.surface[0].pixels[i];
    return digest;
}

static void chunk(uint32_t offset, uint32_t size, uint64_t next)
{
    QXLDataChunk *c = at(offset);
    c->data_size = size;
    c->prev_chunk = next;
    c->next_chunk = next;
}

/** Lists of chunks that come back to where they were, with and without bytes, as pixels,
 *  clip rectangles, path and string. */
static void chunks_without_an_end(void)
{
    enum { IMAGE = 0, FIRST = 4096, SECOND = 8192, OTHER = 16384 };
    static const uint32_t sizes[] = { 0, 1, 4, 100 };
    open_guest();
    uint64_t before = surface_digest();
    for (size_t i = 0; i < TAP_COUNT(sizes) * 2; i++) {
        uint32_t size = sizes[i / 2];
        chunk(FIRST, size, address_of(i % 2 ? SECOND : FIRST));
        chunk(SECOND, size, address_of(FIRST));
        QXLDrawable d = copy_of(good_image(IMAGE, address_of(FIRST), 0));
        give(&d);
        painter_update(&p, 0, NULL, 0, 1);
        if (size == 0)
            EXPECT(surface_digest() == before);

        d = guest_drawable(&p, 0, QXL_DRAW_WHITENESS);
        QXLClipRects *clip = at(OTHER);
        clip->num_rects = 0x10000;
        clip->chunk = *(QXLDataChunk *)at(FIRST);
        d.clip.type = SPICE_CLIP_TYPE_RECTS;
        d.clip.data = address_of(OTHER);
        give(&d);

        d = guest_drawable(&p, 0, QXL_DRAW_STROKE);
        QXLPath *path = at(OTHER);
        path->data_size = 0x7ffffffe;
        path->chunk = *(QXLDataChunk *)at(FIRST);
        d.u.stroke.path = address_of(OTHER);
        d.u.stroke.brush.type = SPICE_BRUSH_TYPE_SOLID;
        give(&d);

        d = guest_drawable(&p, 0, QXL_DRAW_TEXT);
        QXLString *string = at(OTHER);
        string->data_size = 0x7ffffffe;
        string->length = 0xffff;
        string->flags = SPICE_STRING_FLAGS_RASTER_A1;
        string->chunk = *(QXLDataChunk *)at(FIRST);
        d.u.text.str = address_of(OTHER);
        d.u.text.fore_brush.type = SPICE_BRUSH_TYPE_SOLID;
        give(&d);
        painter_update(&p, 0, NULL, 0, 1);
    }
    close_guest();
}

/** Structures whose parts are larger than they, and numbers that overflow. */
static void sizes_that_lie(void)
{
    static const uint32_t sizes[] = { 0, 1, 3, 0x4000, 0x10000, 0x40000001, 0x7fffffff,
                                      0x80000000, 0xfffffffc, 0xffffffff };
    static const uint8_t formats[] = { 0, SPICE_BITMAP_FMT_1BIT_LE, SPICE_BITMAP_FMT_4BIT_BE,
                                       SPICE_BITMAP_FMT_8BIT, SPICE_BITMAP_FMT_16BIT,
                                       SPICE_BITMAP_FMT_24BIT, SPICE_BITMAP_FMT_32BIT, 11, 255 };
    open_guest();
    for (size_t i = 0; i < TAP_COUNT(sizes); i++)
        for (size_t f = 0; f < TAP_COUNT(formats); f++)
            for (int field = 0; field < 8; field++) {
                good_image(0, address_of(4096), field % 2 ? QXL_BITMAP_DIRECT : 0);
                QXLImage *image = at(0);
                QXLPalette *palette = at(MEMORY - 64);
                palette->num_ents = (uint16_t)sizes[i];
                image->bitmap.format = formats[f];
                image->bitmap.palette = f % 2 ? address_of(MEMORY - 64) : 0;
                chunk(4096, field == 6 ? sizes[i] : W * H * 4, 0);
                switch (field / 2) {
                case 0: image->bitmap.x = image->descriptor.width = sizes[i]; break;
                case 1: image->bitmap.y = image->descriptor.height = sizes[i]; break;
                case 2: image->bitmap.stride = sizes[i]; break;
                case 3: image->bitmap.data = address_of(MEMORY - 20); break;
                }
                QXLDrawable d = copy_of(address_of(0));
                give(&d);
                d.type = QXL_DRAW_FILL;
                memset(&d.u, 0, sizeof d.u);
                d.u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
                d.u.fill.brush.type = SPICE_BRUSH_TYPE_PATTERN;
                d.u.fill.brush.u.pattern.pat = address_of(0);
                give(&d);
                d.u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
                d.u.fill.mask.bitmap = address_of(0);
                give(&d);
            }
    close_guest();
}

static atomic_bool racing;
static _Atomic(uint8_t *) raced;

/** Changes bytes of what the device reads: of an image, its chunk and its palette all the
 *  time, and of the drawable that was given last. */
static void *race(void *opaque)
{
    uint32_t seed = 1;
    (void)opaque;
    while (racing) {
        seed = seed * 1664525 + 1013904223;
        volatile uint8_t *structures = at(0);
        structures[(seed >> 8) % 256] = (uint8_t)(seed >> 24);
        structures[4096 + (seed >> 9) % 24] = (uint8_t)(seed >> 20);
        volatile uint8_t *drawable = raced;
        if (drawable) /* not what the host goes by: the release info */
            drawable[8 + (seed >> 10) % (sizeof(QXLDrawable) - 8)] = (uint8_t)(seed >> 16);
    }
    return NULL;
}

static void structures_that_change(void)
{
    pthread_t racer;
    open_guest();
    racing = true;
    raced = NULL;
    EXPECT_EQ(pthread_create(&racer, NULL, race, NULL), 0);
    for (int i = 0; i < 6000; i++) {
        static const int types[] = { QXL_DRAW_COPY, QXL_DRAW_FILL, QXL_DRAW_STROKE, QXL_DRAW_TEXT,
                                     QXL_DRAW_COMPOSITE, QXL_DRAW_ALPHA_BLEND };
        int type = types[i % (int)TAP_COUNT(types)];
        QXLDrawable d = guest_drawable(&p, 0, type);
        good_image(0, address_of(4096), i % 2 ? QXL_BITMAP_DIRECT : 0);
        chunk(4096, W * H * 4, 0);
        switch (type) {
        case QXL_DRAW_COPY:
            d = copy_of(address_of(0));
            break;
        case QXL_DRAW_FILL:
            d.u.fill.brush.type = SPICE_BRUSH_TYPE_PATTERN;
            d.u.fill.brush.u.pattern.pat = address_of(0);
            break;
        case QXL_DRAW_STROKE:
            d.u.stroke.path = address_of(4096);
            d.u.stroke.brush.type = SPICE_BRUSH_TYPE_SOLID;
            break;
        case QXL_DRAW_TEXT:
            d.u.text.str = address_of(4096);
            d.u.text.fore_brush.type = SPICE_BRUSH_TYPE_SOLID;
            break;
        case QXL_DRAW_COMPOSITE:
            d.u.composite.src = address_of(0);
            d.u.composite.src_transform = address_of(4096);
            break;
        case QXL_DRAW_ALPHA_BLEND:
            d.u.alpha_blend.src_bitmap = address_of(0);
            d.u.alpha_blend.src_area = d.bbox;
            break;
        }
        raced = (uint8_t *)give(&d);
    }
    raced = NULL;
    racing = false;
    pthread_join(racer, NULL);
    close_guest();
}

/* ---- clients ---- */

static void join(struct client *main_channel, struct client *display)
{
    uint32_t session = rig_main(&p.r, main_channel);
    rig_channel_caps(&p.r, display, CH_DISPLAY, 0, session, CAPS_COMMON, 0);
}

/** Who says nothing is cut after half a minute, as upstream does it. */
static void no_init(void)
{
    struct client main_channel, display;
    open_guest();
    join(&main_channel, &display);
    int64_t begin = tap_now();
    while (tap_now() - begin < 29000 && client_silent(&display, 1000))
        ;
    EXPECT(tap_now() - begin >= 29000);
    EXPECT(client_closed(&display));
    EXPECT(tap_now() - begin < tap_ms(40000));
    client_close(&display);
    client_close(&main_channel);
    close_guest();
}

/** Noise of all kinds after INIT: each client is cut or ignored, nobody else suffers. */
static void clients_that_talk_nonsense(void)
{
    open_guest();
    for (int i = 0; i < 60; i++) {
        struct client main_channel, display;
        uint8_t init[14], noise[1024];
        join(&main_channel, &display);
        any_bytes(init, sizeof init);
        client_send(&display, D_INIT, init, sizeof init);
        for (int n = 0; n < 20; n++) {
            uint32_t size = rnd(&p) % 64;
            any_bytes(noise, sizeof noise);
            if (!client_send(&display, (uint16_t)(n % 4 ? 101 + rnd(&p) % 5 : rnd(&p) % 120), noise,
                             n % 5 ? size : 32))
                break;
        }
        QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_WHITENESS);
        EXPECT(qxl_push_drawable(&p.q, &d));
        painter_update(&p, 0, NULL, 0, 1);
        client_close(&display);
        client_close(&main_channel);
    }
    close_guest();
}

static const struct tap_case cases[] = {
    TAP_CASE(random_addresses),
    TAP_CASE(chunks_without_an_end),
    TAP_CASE(sizes_that_lie),
    TAP_CASE(structures_that_change),
    TAP_CASE(no_init),
    TAP_CASE(clients_that_talk_nonsense),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "hostile-display", cases, TAP_COUNT(cases));
}
