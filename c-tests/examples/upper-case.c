/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A char device of one's own on spice-char-device.h, to be copied.
 *
 * The guest answers in upper case. The client is standard input and output: each
 * line is a message to the guest. docs/char-device.md goes through this file; the
 * numbers in parentheses are its steps.
 */
#include "../host.h" /* a main loop on poll(); in your program, your own */

#include <ctype.h>
#include <spice-char-device.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 4, QUEUE = 8, MESSAGE = 32 };

/* (1) The device: what the guest has got and not answered yet, and how many more
 * messages the client may send. */
struct upper {
    SpiceCharDeviceInstance sin;
    SpiceCharDeviceState *state;
    char guest[10];
    size_t held;
    uint32_t window;
};

struct answer {
    int refs;
    int size;
    char text[MESSAGE];
};

/* (2) The guest takes what it has room for, and says when there is room again. */
static int upper_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    struct upper *u = (struct upper *)sin;
    size_t n = sizeof u->guest - u->held;
    if (n > (size_t)len)
        n = (size_t)len;
    memcpy(u->guest + u->held, buf, n);
    u->held += n;
    return (int)n;
}

static int upper_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    struct upper *u = (struct upper *)sin;
    size_t n = u->held < (size_t)len ? u->held : (size_t)len;
    for (size_t i = 0; i < n; i++)
        buf[i] = (uint8_t)toupper((unsigned char)u->guest[i]);
    memmove(u->guest, u->guest + n, u->held - n);
    u->held -= n;
    if (n)
        spice_server_char_device_wakeup(sin);
    return (int)n;
}

static SpiceCharDeviceInterface upper_interface = {
    .base = { SPICE_INTERFACE_CHAR_DEVICE, "upper case", SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
              SPICE_INTERFACE_CHAR_DEVICE_MINOR },
    .write = upper_write,
    .read = upper_read,
    .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
};

/* (3) A message for the clients, with one reference that is the library's, or NULL. */
static SpiceCharDeviceMsgToClient *read_answer(SpiceCharDeviceInstance *sin, void *opaque)
{
    (void)opaque;
    struct answer *a = malloc(sizeof *a);
    a->refs = 1;
    a->size = upper_read(sin, (uint8_t *)a->text, MESSAGE);
    if (a->size > 0)
        return a;
    free(a);
    return NULL;
}

static SpiceCharDeviceMsgToClient *ref_answer(SpiceCharDeviceMsgToClient *msg, void *opaque)
{
    (void)opaque;
    ((struct answer *)msg)->refs++;
    return msg;
}

static void unref_answer(SpiceCharDeviceMsgToClient *msg, void *opaque)
{
    (void)opaque;
    if (--((struct answer *)msg)->refs == 0)
        free(msg);
}

static void send_answer(SpiceCharDeviceMsgToClient *msg, RedClient *client, void *opaque)
{
    struct upper *u = opaque;
    struct answer *a = msg;
    fwrite(a->text, 1, (size_t)a->size, stdout);
    /* (4) This client has room again at once; others say so later. */
    spice_char_device_send_to_client_tokens_add(u->state, client, 1);
}

/* (5) Flow control towards the client, and its end. */
static void give_tokens(RedClient *client, uint32_t tokens, void *opaque)
{
    (void)client;
    ((struct upper *)opaque)->window += tokens;
}

static void cut_client(RedClient *client, void *opaque)
{
    spice_char_device_client_remove(((struct upper *)opaque)->state, client);
}

static SpiceCharDeviceCallbacks callbacks = {
    read_answer, ref_answer, unref_answer, send_answer, give_tokens, NULL, cut_client,
};

int main(void)
{
    struct upper u = { .sin = { .base = { &upper_interface.base }, .subtype = "upper" },
                       .window = WINDOW };
    RedClient *client = (RedClient *)stdin; /* any pointer that tells clients apart */
    char line[4096];
    host_init();
    SpiceServer *server = spice_server_new();
    /* (6) Tokens go back to the client one by one. */
    if (spice_server_init(server, host_core()) == 0)
        u.state = spice_char_device_state_create(&u.sin, 1, 0, &callbacks, &u);
    if (!u.state || !spice_char_device_client_add(u.state, client, 1, QUEUE, WINDOW, QUEUE, 0))
        return 1;
    spice_char_device_start(u.state);
    while (u.window && fgets(line, sizeof line, stdin)) {
        int size = (int)strlen(line);
        /* (7) get, fill, add: the device is written before add returns. */
        SpiceCharDeviceWriteBuffer *b = spice_char_device_write_buffer_get(u.state, client, size);
        if (!b)
            break;
        u.window--;
        memcpy(b->buf, line, (size_t)size);
        b->buf_used = (uint32_t)size;
        spice_char_device_write_buffer_add(u.state, b);
        spice_char_device_wakeup(u.state); /* the guest has answered */
    }
    /* (8) The device goes before the server. */
    spice_char_device_state_destroy(u.state);
    spice_server_destroy(server);
    return 0;
}
