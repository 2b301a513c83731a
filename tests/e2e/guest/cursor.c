/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's pointer by its kernel's graphics driver: does what the letters on its standard
 * input say. s: shows a picture of 64 by 64 pixels, with 3, 4 as the pixel that points;
 * m: moves it to 100, 120; h: hides it. Says "ok" after each, or what failed.
 *
 * Without a C library, so that it is small enough to be sent through a serial port:
 * tests/e2e/lib/guest_program.py builds it.
 */
#include <asm/unistd.h>
#include <linux/types.h>

/* The kernel's interface, whose header is not everywhere. */
struct drm_mode_card_res {
    __u64 fb_id_ptr, crtc_id_ptr, connector_id_ptr, encoder_id_ptr;
    __u32 count_fbs, count_crtcs, count_connectors, count_encoders;
    __u32 min_width, max_width, min_height, max_height;
};
struct drm_mode_create_dumb {
    __u32 height, width, bpp, flags, handle, pitch;
    __u64 size;
};
struct drm_mode_map_dumb {
    __u32 handle, pad;
    __u64 offset;
};
struct drm_mode_cursor2 {
    __u32 flags, crtc_id;
    __s32 x, y;
    __u32 width, height, handle;
    __s32 hot_x, hot_y;
};
#define DRM_IOCTL_MODE_GETRESOURCES 0xc04064a0
#define DRM_IOCTL_MODE_CREATE_DUMB 0xc02064b2
#define DRM_IOCTL_MODE_MAP_DUMB 0xc01064b3
#define DRM_IOCTL_MODE_CURSOR2 0xc02464bb
enum { DRM_MODE_CURSOR_BO = 1, DRM_MODE_CURSOR_MOVE = 2 };

enum { SIDE = 64, READ_WRITE = 2, PROT_READ_WRITE = 3, MAP_SHARED = 1 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void say(const char *text, long length)
{
    call(__NR_write, 1, (long)text, length, 0, 0, 0);
}

static void end(int status)
{
    call(__NR_exit, status, 0, 0, 0, 0, 0);
}

static long card;

/** Ends the program with the request's letter if the driver refuses it. */
static void ask(unsigned long request, void *what, char letter)
{
    if (call(__NR_ioctl, card, (long)request, (long)what, 0, 0, 0) < 0) {
        say(&letter, 1);
        say(" failed\n", 8);
        end(1);
    }
}

__attribute__((used)) static void run(void)
{
    __u32 crtcs[8] = { 0 };
    struct drm_mode_card_res resources = { 0 };
    struct drm_mode_create_dumb picture = { .width = SIDE, .height = SIDE, .bpp = 32 };
    struct drm_mode_map_dumb map = { 0 };
    char letter;

    card = call(__NR_open, (long)"/dev/dri/card0", READ_WRITE, 0, 0, 0, 0);
    resources.crtc_id_ptr = (__u64)crtcs;
    resources.count_crtcs = 8;
    ask(DRM_IOCTL_MODE_GETRESOURCES, &resources, 'r');
    ask(DRM_IOCTL_MODE_CREATE_DUMB, &picture, 'c');
    map.handle = picture.handle;
    ask(DRM_IOCTL_MODE_MAP_DUMB, &map, 'd');
    __u32 *pixels = (__u32 *)call(__NR_mmap, 0, (long)picture.size, PROT_READ_WRITE, MAP_SHARED,
                                  card, (long)map.offset);
    for (int i = 0; i < SIDE * SIDE; i++) /* red in the first half, then half of a blue */
        pixels[i] = i < SIDE * SIDE / 2 ? 0xffff0000 : 0x80000080;
    while (call(__NR_read, 0, (long)&letter, 1, 0, 0, 0) == 1) {
        struct drm_mode_cursor2 cursor = { .crtc_id = crtcs[0], .x = 100, .y = 120 };
        cursor.flags = letter == 'm' ? DRM_MODE_CURSOR_MOVE : DRM_MODE_CURSOR_BO;
        if (letter == 's') {
            cursor.width = cursor.height = SIDE;
            cursor.handle = picture.handle;
            cursor.hot_x = 3;
            cursor.hot_y = 4;
        }
        ask(DRM_IOCTL_MODE_CURSOR2, &cursor, letter);
        say("ok\n", 3);
    }
    end(0);
}

/* The stack is aligned here, and inside a function one word off. */
__asm__(".globl _start\n_start: call run\n");
