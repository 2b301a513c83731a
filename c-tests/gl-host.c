/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host whose graphics card is a piece of memory: what QEMU does with a card, where there
 * is none. It listens on the unix socket named by its argument. Each letter on its standard
 * input is an order: `s` shows a picture of another size, `d` draws all of it in another
 * shade and answers when that is done, `e` ends the picture; it ends with its input.
 * tests/e2e/test_gl.py connects a real SPICE client to it.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "host.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEIGHT = 48, XR24 = 0x34325258, TOP_DOWN = 1, FOREVER = 60000 };

static struct qxl q;
static uint32_t width = 64;
static uint8_t *pixels;
static uint8_t shade;

static void fill(void)
{
    memset(pixels, ++shade, width * HEIGHT * 4);
}

static void show(void)
{
    int fd = memfd_create("card", MFD_CLOEXEC);
    width += 16;
    if (fd < 0 || ftruncate(fd, width * HEIGHT * 4) < 0)
        exit(1);
    pixels = mmap(NULL, width * HEIGHT * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (pixels == MAP_FAILED)
        exit(1);
    fill();
    spice_qxl_gl_scanout(&q.sin, fd, width, HEIGHT, width * 4, XR24, TOP_DOWN);
}

static void draw(void)
{
    static uint64_t cookie;
    fill();
    spice_qxl_gl_draw_async(&q.sin, 0, 0, width, HEIGHT, ++cookie);
    printf("%s %u\n", qxl_wait_cookie(&q, cookie) ? "done" : "late", shade);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char order;
    if (argc != 2)
        return 2;
    host_init();
    SpiceServer *server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_addr(server, argv[1], SPICE_ADDR_FLAG_UNIX_ONLY);
    if (spice_server_init(server, host_core()) != 0)
        return 1;
    qxl_prepare(&q, 0);
    qxl_add(&q, server);
    spice_server_vm_start(server);
    puts("listening");
    fflush(stdout);
    while (host_wait_fd(STDIN_FILENO, POLLIN, FOREVER) && read(STDIN_FILENO, &order, 1) == 1) {
        if (order == 's')
            show();
        else if (order == 'd')
            draw();
        else if (order == 'e')
            spice_qxl_gl_scanout(&q.sin, -1, 0, 0, 0, 0, 0);
    }
    spice_server_vm_stop(server);
    qxl_remove(&q);
    spice_server_destroy(server);
    return host_violation() ? 1 : 0;
}
