/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spicevmc_device_connect(): a channel for a device, with a real client. */
#define _GNU_SOURCE
#include "../chardev.h"
#include "../rig.h"

#include <spice-char-device.h>
#include <spice-server-rs.h>
#include <stdlib.h>

static struct rig r;
static struct client main_channel;
static struct chardev dev, second;
static uint32_t session;

#define REFUSED(call) \
    do { \
        tap_log_mark(); \
        call; \
        EXPECT_EQ(tap_log_lines("Spice"), 1); \
    } while (0)

static SpiceCharDeviceState *connect_device(struct chardev *d, uint8_t type)
{
    d->server = r.server;
    d->added = true; /* it may be called inside */
    SpiceCharDeviceState *st = spicevmc_device_connect(&d->sin, type);
    d->added = st != NULL;
    EXPECT(d->sin.st == st);
    return st;
}

static void disconnect_device(struct chardev *d)
{
    spicevmc_device_disconnect(&d->sin);
    EXPECT(!d->sin.st);
    d->added = false;
}

static void open_usb(void)
{
    rig_open(&r);
    chardev_prepare(&dev, "usbredir", NULL);
    EXPECT(connect_device(&dev, CH_USBREDIR) != NULL);
    session = rig_main(&r, &main_channel);
}

static void close_all(void)
{
    client_close(&main_channel);
    if (dev.added)
        disconnect_device(&dev);
    chardev_forget(&dev);
    rig_close(&r);
}

static void expect_data(struct client *c, const char *text)
{
    struct message m;
    size_t got = 0;
    while (got < strlen(text)) {
        client_expect(c, VMC_DATA, &m);
        EXPECT(m.size && got + m.size <= strlen(text));
        EXPECT(!memcmp(m.body, text + got, m.size));
        got += m.size;
        message_free(&m);
    }
}

static void link_and_data_both_ways(void)
{
    struct client c;
    open_usb();
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    EXPECT(chardev_wait_states(&dev, 1));
    EXPECT_EQ(dev.states[0], 1);
    chardev_say(&dev, "from the device", 15);
    expect_data(&c, "from the device");
    EXPECT(client_send(&c, VMC_DATA, "to the device", 13));
    EXPECT(chardev_wait_input(&dev, 13));
    EXPECT(!memcmp(dev.in, "to the device", 13));
    client_close(&c);
    EXPECT(chardev_wait_states(&dev, 2));
    EXPECT_EQ(dev.states[1], 0);
    close_all();
}

static void many_bytes_both_ways(void)
{
    enum { BYTES = 300000 };
    struct client c;
    struct message m;
    uint8_t chunk[10000];
    uint64_t digest = 0, got = 0;
    open_usb();
    dev.keep_input = false;
    dev.write_chunk = 777;
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    for (uint64_t sent = 0; sent < BYTES; sent += sizeof chunk) {
        chardev_fill(chunk, sizeof chunk, sent);
        EXPECT(client_send(&c, VMC_DATA, chunk, sizeof chunk));
    }
    EXPECT(chardev_wait_input(&dev, BYTES));
    EXPECT(dev.in_digest == chardev_pattern_digest(BYTES));
    chardev_generate(&dev, BYTES);
    while (got < BYTES) {
        client_expect(&c, VMC_DATA, &m);
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
    }
    EXPECT_EQ(got, BYTES);
    EXPECT(digest == chardev_pattern_digest(BYTES));
    client_close(&c);
    close_all();
}

static void the_next_client_may_come(void)
{
    struct client c;
    open_usb();
    for (int i = 0; i < 5; i++) {
        rig_channel(&r, &c, CH_USBREDIR, 0, session);
        EXPECT(client_send(&c, VMC_DATA, "x", 1));
        EXPECT(chardev_wait_input(&dev, (uint64_t)i + 1));
        client_close(&c);
        EXPECT(chardev_wait_states(&dev, 2 * i + 2));
    }
    close_all();
}

static void disconnect_cuts_the_client(void)
{
    struct client c;
    open_usb();
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    EXPECT(chardev_wait_states(&dev, 1));
    disconnect_device(&dev);
    EXPECT(client_at_eof(&c));
    EXPECT_EQ(dev.n_states, 2);
    EXPECT_EQ(dev.states[1], 0);
    client_close(&c);
    /* and the channel is gone */
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_USBREDIR, 0, session, ""), LINK_CLOSED);
    client_close(&c);
    /* a wakeup that comes late does no harm */
    int reads = dev.reads;
    REFUSED(spice_server_char_device_wakeup(&dev.sin));
    EXPECT_EQ(dev.reads, reads);
    close_all();
}

static void clients_hear_of_the_channel(void)
{
    struct message m;
    open_usb();
    EXPECT(client_send(&main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_USBREDIR, 0));
    EXPECT(!message_lists(&m, CH_USBREDIR, 1));
    message_free(&m);
    chardev_prepare(&second, "usbredir", NULL);
    EXPECT(connect_device(&second, CH_USBREDIR) != NULL);
    client_expect(&main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_USBREDIR, 1));
    message_free(&m);
    disconnect_device(&second);
    chardev_forget(&second);
    close_all();
}

static void a_port_sends_its_name(void)
{
    struct client c;
    struct message m;
    rig_open(&r);
    chardev_prepare(&dev, "port", "org.example.vendor");
    EXPECT(connect_device(&dev, CH_PORT) != NULL);
    session = rig_main(&r, &main_channel);
    rig_channel(&r, &c, CH_PORT, 0, session);
    client_expect(&c, S_PORT_INIT, &m);
    EXPECT_EQ(m.size, 9 + sizeof "org.example.vendor");
    EXPECT(!memcmp(m.body + 9, "org.example.vendor", sizeof "org.example.vendor"));
    message_free(&m);
    chardev_say(&dev, "hello", 5);
    expect_data(&c, "hello");
    client_close(&c);
    close_all();
}

static void it_runs_while_the_vm_does(void)
{
    struct client c;
    open_usb();
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    EXPECT(chardev_wait_states(&dev, 1));
    spice_server_vm_stop(r.server);
    int reads = dev.reads;
    chardev_say(&dev, "later", 5);
    EXPECT_EQ(dev.reads, reads);
    spice_server_vm_start(r.server);
    expect_data(&c, "later");
    client_close(&c);
    close_all();
}

static void what_the_state_is_good_for(void)
{
    struct client c;
    open_usb();
    SpiceCharDeviceState *st = dev.sin.st;
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    EXPECT(chardev_wait_states(&dev, 1));
    chardev_queue(&dev, "a", 1);
    spice_char_device_wakeup(st);
    expect_data(&c, "a");
    spice_char_device_stop(st);
    chardev_say(&dev, "b", 1);
    EXPECT_EQ(chardev_unread(&dev), 1);
    spice_char_device_start(st);
    expect_data(&c, "b");
    EXPECT(!spice_char_device_state_opaque_get(st));
    RedClient *someone = (RedClient *)&r;
    SpiceMarshaller *m = spice_marshaller_new();
    REFUSED(EXPECT_EQ(spice_char_device_client_add(st, someone, 0, 0, 0, 0, 0), 0));
    REFUSED(spice_char_device_client_remove(st, someone));
    REFUSED(EXPECT_EQ(spice_char_device_client_exists(st, someone), 0));
    REFUSED(spice_char_device_send_to_client_tokens_add(st, someone, 1));
    REFUSED(spice_char_device_send_to_client_tokens_set(st, someone, 1));
    REFUSED(EXPECT(!spice_char_device_write_buffer_get(st, NULL, 1)));
    REFUSED(EXPECT(!spice_char_device_write_buffer_get_server_no_token(st, 1)));
    REFUSED(spice_char_device_state_migrate_data_marshall(st, m));
    REFUSED(spice_char_device_reset(st));
    REFUSED(spice_char_device_state_destroy(st));
    spice_marshaller_destroy(m);
    chardev_say(&dev, "c", 1);
    expect_data(&c, "c");
    client_close(&c);
    close_all();
}

/* The rule for a type is for those that a program connects by its number, too. */
static void a_registered_type(void)
{
    struct client c, newcomer;
    SpiceServerChannelRule rule = { .size = sizeof rule, .subtype = "camera", .channel_type = 120,
                                    .name = "camera", .busy = SPICE_SERVER_BUSY_TAKE_OVER,
                                    .compression = SPICE_SERVER_COMPRESSION_OFF };
    SpiceServerChannelStatistics moved = { .size = sizeof moved };
    rig_open(&r);
    EXPECT_EQ(spice_server_register_channel(r.server, &rule), 0);
    chardev_prepare(&dev, "camera", NULL);
    EXPECT(connect_device(&dev, 120) != NULL);
    chardev_prepare(&second, "camera", NULL);
    EXPECT(connect_device(&second, 121) != NULL);
    session = rig_main(&r, &main_channel);
    rig_channel(&r, &c, 121, 0, session);
    EXPECT_EQ(c.reply.n_channel ? c.reply.caps[1] : 0, VMC_CAP_LZ4);
    client_close(&c);
    rig_channel(&r, &c, 120, 0, session);
    EXPECT_EQ(c.reply.n_channel ? c.reply.caps[1] : 0, 0);
    EXPECT(chardev_wait_states(&dev, 1));
    rig_channel(&r, &newcomer, 120, 0, session);
    EXPECT(client_at_eof(&c));
    client_close(&c);
    chardev_say(&dev, "smile", 5);
    expect_data(&newcomer, "smile");
    EXPECT_EQ(spice_server_channel_statistics(r.server, 120, 0, &moved), 0);
    EXPECT_EQ(moved.out_data, 5);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "camera", SPICE_CHANNEL_SECURITY_SSL), 0);
    client_close(&newcomer);
    disconnect_device(&second);
    chardev_forget(&second);
    close_all();
}

static bool disconnect_now;

static void disconnect_inside(struct chardev *d)
{
    if (disconnect_now && d->sin.st) {
        spicevmc_device_disconnect(&d->sin);
        EXPECT(!d->sin.st);
    }
}

static void disconnect_inside_state(struct chardev *d, int connected)
{
    if (connected)
        disconnect_inside(d);
}

static void disconnect_inside_each_callback(void)
{
    rig_open(&r);
    session = rig_main(&r, &main_channel);
    for (int place = 0; place < 3; place++) {
        struct client c;
        chardev_prepare(&dev, "usbredir", NULL);
        dev.in_read = place == 0 ? disconnect_inside : NULL;
        dev.in_write = place == 1 ? disconnect_inside : NULL;
        dev.in_state = place == 2 ? disconnect_inside_state : NULL;
        disconnect_now = place == 2;
        EXPECT(connect_device(&dev, CH_USBREDIR) != NULL);
        int id = 0; /* the id is free again each time */
        rig_channel(&r, &c, CH_USBREDIR, id, session);
        EXPECT(chardev_wait_states(&dev, 1));
        disconnect_now = true;
        if (place == 0)
            chardev_say(&dev, "x", 1);
        if (place == 1)
            EXPECT(client_send(&c, VMC_DATA, "y", 1));
        EXPECT(client_closed(&c));
        EXPECT(!dev.sin.st);
        client_close(&c);
        dev.added = false;
        chardev_forget(&dev);
    }
    close_all();
}

static void ids_run_out(void)
{
    enum { IDS = 256 };
    rig_open(&r);
    struct chardev *all = calloc(IDS + 1, sizeof *all);
    for (int i = 0; i <= IDS; i++) {
        chardev_prepare(&all[i], "usbredir", NULL);
        tap_log_mark();
        SpiceCharDeviceState *st = connect_device(&all[i], CH_USBREDIR);
        EXPECT_EQ(st != NULL, i < IDS);
        EXPECT_EQ(tap_log_lines("Spice"), i == IDS);
    }
    for (int i = 0; i < IDS; i++)
        disconnect_device(&all[i]);
    EXPECT(connect_device(&all[IDS], CH_USBREDIR) != NULL);
    disconnect_device(&all[IDS]);
    free(all);
    rig_close(&r);
}

static void misuse(void)
{
    host_init();
    chardev_prepare(&dev, "usbredir", NULL);
    REFUSED(EXPECT(!spicevmc_device_connect(&dev.sin, CH_USBREDIR)));
    REFUSED(EXPECT(!spice_server_spicevmc_device_connect(NULL, &dev.sin, CH_USBREDIR)));
    open_usb();
    REFUSED(EXPECT(!spicevmc_device_connect(NULL, CH_USBREDIR)));
    REFUSED(EXPECT(!spicevmc_device_connect(&dev.sin, CH_USBREDIR)));
    chardev_prepare(&second, "usbredir", NULL);
    REFUSED(EXPECT(!spicevmc_device_connect(&second.sin, CH_MAIN)));
    REFUSED(spicevmc_device_disconnect(NULL));
    REFUSED(spicevmc_device_disconnect(&second.sin));
    second.sin.st = (SpiceCharDeviceState *)&second;
    REFUSED(spicevmc_device_disconnect(&second.sin));
    second.sin.st = NULL;
    disconnect_device(&dev);
    REFUSED(spicevmc_device_disconnect(&dev.sin));
    chardev_forget(&second);
    close_all();
}

static void the_explicit_form(void)
{
    struct client c;
    rig_open(&r);
    chardev_prepare(&dev, "usbredir", NULL);
    dev.added = true;
    EXPECT(spice_server_spicevmc_device_connect(r.server, &dev.sin, CH_USBREDIR) != NULL);
    session = rig_main(&r, &main_channel);
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    EXPECT(chardev_wait_states(&dev, 1));
    SpiceServer *other = spice_server_new();
    REFUSED(spice_server_spicevmc_device_disconnect(other, &dev.sin));
    spice_server_destroy(other);
    spice_server_spicevmc_device_disconnect(r.server, &dev.sin);
    EXPECT(client_at_eof(&c));
    client_close(&c);
    dev.added = false;
    close_all();
}

static void the_server_may_go_first(void)
{
    struct client c;
    open_usb();
    rig_channel(&r, &c, CH_USBREDIR, 0, session);
    EXPECT(chardev_wait_states(&dev, 1));
    r.open_clients = 2;
    rig_close(&r);
    EXPECT(client_closed(&c));
    dev.added = false;
    REFUSED(spicevmc_device_disconnect(&dev.sin));
    client_close(&c);
    client_close(&main_channel);
    chardev_forget(&dev);
}

static const struct tap_case cases[] = {
    TAP_CASE(link_and_data_both_ways),
    TAP_CASE(many_bytes_both_ways),
    TAP_CASE(the_next_client_may_come),
    TAP_CASE(disconnect_cuts_the_client),
    TAP_CASE(clients_hear_of_the_channel),
    TAP_CASE(a_port_sends_its_name),
    TAP_CASE(it_runs_while_the_vm_does),
    TAP_CASE(what_the_state_is_good_for),
    TAP_CASE(a_registered_type),
    TAP_CASE(disconnect_inside_each_callback),
    TAP_CASE(ids_run_out),
    TAP_CASE(misuse),
    TAP_CASE(the_explicit_form),
    TAP_CASE(the_server_may_go_first),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-vmc", cases, TAP_COUNT(cases));
}
