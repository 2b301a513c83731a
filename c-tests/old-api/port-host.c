/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A C program with a port channel of its own and no QEMU: what clients send comes
 * back. It listens on the unix socket named by its argument and ends with its
 * standard input. old-api/gtk-client connects a real SPICE client to it.
 */
#define _GNU_SOURCE
#include "../chardev.h"
#include "../host.h"

#include <spice-char-device.h>
#include <stdio.h>
#include <unistd.h>

#define CHANNEL_PORT 10

static bool ended;

static void on_input(int fd, int event, void *opaque)
{
    char byte;
    (void)event;
    (void)opaque;
    ended = read(fd, &byte, 1) == 0;
}

static bool input_ended(void *opaque)
{
    (void)opaque;
    return ended;
}

int main(int argc, char **argv)
{
    static struct chardev port;
    if (argc != 2)
        return 2;
    host_init();
    SpiceServer *server = spice_server_new();
    spice_server_set_noauth(server);
    spice_server_set_addr(server, argv[1], SPICE_ADDR_FLAG_UNIX_ONLY);
    if (spice_server_init(server, host_core()) != 0)
        return 1;
    chardev_prepare(&port, "port", "org.example.echo.0");
    port.echo = true;
    port.server = server;
    port.added = true;
    if (!spicevmc_device_connect(&port.sin, CHANNEL_PORT))
        return 1;
    spice_server_port_event(&port.sin, 0 /* opened: spice-gtk writes to open ports only */);
    puts("listening");
    fflush(stdout);
    SpiceWatch *input =
        host_core()->watch_add(STDIN_FILENO, SPICE_WATCH_EVENT_READ, on_input, NULL);
    host_run_until(input_ended, NULL, 60000);
    host_core()->watch_remove(input);
    spicevmc_device_disconnect(&port.sin);
    spice_server_destroy(server);
    return 0;
}
