/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What drawing costs: the process's time for a drawable, on a surface of 1024 by 768 pixels
 * of 32 bits that nobody watches.
 *
 *     LD_LIBRARY_PATH=DIRECTORY draw-cost [CASE...]
 *
 * on the library in that directory; REFERENCE=debian for Debian's.
 */
#define _GNU_SOURCE
#include "draw.h"

#include <stdio.h>
#include <time.h>

enum { W = 1024, H = 768, SMALL = 10, IN_FLIGHT = 32 };

static double process_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/** Draws it so often, and says what one has cost. */
static void measure(struct painter *p, const QXLDrawable *d, int times)
{
    double pixels = (double)(d->bbox.right - d->bbox.left) * (d->bbox.bottom - d->bbox.top);
    /* Debian's library leaves out what is covered by what waits behind it. */
    int in_flight = pixels > SMALL * SMALL ? 1 : IN_FLIGHT;
    double begin = process_us();
    for (int i = 0; i < times; i++) {
        EXPECT(qxl_push_drawable(&p->q, d));
        if (i % in_flight == in_flight - 1)
            painter_update(p, 0, NULL, 0, 1);
    }
    painter_update(p, 0, NULL, 0, 1);
    double each = (process_us() - begin) / times;
    printf("%s: %.1f us each, %.0f million pixels a second\n", tap_current(), each, pixels / each);
    fflush(stdout);
    p->used = 0;
    painter_close(p);
    tap_result("%s", "");
}

static void open_screen(struct painter *p)
{
    painter_open(p, SPICE_SURFACE_FMT_32_xRGB, W, H, 1);
}

static void fill(int width, int height, int times)
{
    struct painter p;
    open_screen(&p);
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_FILL);
    d.bbox = (QXLRect){ .left = 3, .top = 3, .right = 3 + width, .bottom = 3 + height };
    d.u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    d.u.fill.brush.u.color = 0x123456;
    d.u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    measure(&p, &d, times);
}

static void copy(int width, int height, uint16_t rop, int times)
{
    struct painter p;
    open_screen(&p);
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_COPY);
    d.bbox = (QXLRect){ .right = width, .bottom = height };
    d.u.copy.src_area = d.bbox;
    d.u.copy.rop_descriptor = rop;
    d.u.copy.src_bitmap = (uintptr_t)guest_bitmap(&p, SPICE_BITMAP_FMT_32BIT, width, height,
                                                  QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN);
    measure(&p, &d, times);
}

static void fill_all(void)
{
    fill(W - 3, H - 3, 320);
}

static void fill_small(void)
{
    fill(SMALL, SMALL, 32000);
}

static void copy_all(void)
{
    copy(W, H, SPICE_ROPD_OP_PUT, 320);
}

static void copy_small(void)
{
    copy(SMALL, SMALL, SPICE_ROPD_OP_PUT, 32000);
}

static void xor_all(void)
{
    copy(W, H, SPICE_ROPD_OP_XOR, 320);
}

static void blend_all(void)
{
    struct painter p;
    open_screen(&p);
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_ALPHA_BLEND);
    d.u.alpha_blend.alpha = 255;
    d.u.alpha_blend.src_area = d.bbox;
    d.u.alpha_blend.src_bitmap = (uintptr_t)guest_bitmap(
        &p, SPICE_BITMAP_FMT_RGBA, W, H, QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN);
    measure(&p, &d, 160);
}

static void scroll_all(void)
{
    struct painter p;
    open_screen(&p);
    QXLDrawable d = guest_drawable(&p, 0, QXL_COPY_BITS);
    d.bbox.bottom = H - 16;
    d.u.copy_bits.src_pos.y = 16;
    measure(&p, &d, 320);
}

int main(int argc, char **argv)
{
    static const struct tap_case cases[] = {
        TAP_CASE(fill_all), TAP_CASE(fill_small), TAP_CASE(copy_all), TAP_CASE(copy_small),
        TAP_CASE(xor_all),  TAP_CASE(blend_all),  TAP_CASE(scroll_all),
    };
    return tap_main(argc, argv, "draw-cost", cases, TAP_COUNT(cases));
}
