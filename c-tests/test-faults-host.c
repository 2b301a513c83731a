/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A panic in any step of what the host asks for: graphics devices, the configuration, the
 * C functions, the end (faults.h).
 */
#define _GNU_SOURCE
#include "faults.h"

/* ---- graphics devices ---- */

static struct qxl first, second;

static void open_displays(void)
{
    open_world();
    qxl_prepare(&first, 0);
    qxl_prepare(&second, 1);
    qxl_add(&first, r.server);
    qxl_add(&second, r.server);
    spice_server_vm_start(r.server);
    qxl_create_primary(&first, 64, 64);
    qxl_create_primary(&second, 64, 64);
}

/** Both devices take commands and answer requests. */
static void close_displays(bool stopped)
{
    struct qxl *both[] = { &first, &second };
    expect_faults(1);
    if (stopped)
        spice_server_vm_start(r.server);
    for (int i = 0; i < 2; i++) {
        int fetched = qxl_count(both[i], &both[i]->fetched);
        EXPECT(qxl_draw(both[i], 0, 0, 8, 8));
        EXPECT(qxl_wait(both[i], &both[i]->fetched, fetched + 1));
        spice_qxl_flush_surfaces_async(&both[i]->sin, 77);
        EXPECT(qxl_wait_cookie(both[i], 77));
        EXPECT_EQ(qxl_completed(both[i], 77), 1);
    }
    qxl_remove(&first);
    qxl_remove(&second);
    close_world();
}

static void qxl_request_with_a_cookie(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_destroy_surfaces_async(&first.sin, 5);
    EXPECT(qxl_wait_cookie(&first, 5));
    close_displays(false);
}

static void qxl_request_that_is_waited_for(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_reset_cursor(&first.sin);
    close_displays(false);
}

/* When the call returns the rings are not read, whatever happened. */
static void qxl_stop(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_stop(&first.sin);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    spice_qxl_reset_cursor(&first.sin);
    EXPECT_EQ(qxl_count(&first, &first.fetched), 0);
    spice_qxl_start(&first.sin);
    EXPECT(qxl_wait(&first, &first.fetched, 1));
    close_displays(false);
}

/* Memory that the host takes away is not used any more. */
static void qxl_slot_that_goes(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_del_memslot(&first.sin, 0, 0);
    spice_qxl_reset_cursor(&first.sin); /* waits, as del_memslot does not */
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    EXPECT(qxl_wait(&first, &first.fetched, 1));
    spice_qxl_reset_cursor(&first.sin);
    EXPECT_EQ(qxl_count(&first, &first.released), 0);
    qxl_write_off(&first);
    qxl_add_host_slot(&first);
    close_displays(false);
}

static void qxl_commands(void)
{
    open_displays();
    begin("QXL commands", 1);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    close_displays(false);
}

/* The command is given back to the guest, and the next one is found: no wakeup was asked for. */
static void qxl_command(void)
{
    open_displays();
    begin("QXL command", 1);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    EXPECT(qxl_wait(&first, &first.released, 1));
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    EXPECT(qxl_wait(&first, &first.released, 2));
    close_displays(false);
}

/* ---- the configuration ---- */

/* What it may forbid is not known: nobody is served. */
static void configuration(void)
{
    host_init();
    arm("the configuration", 1);
    SpiceServer *server = spice_server_new();
    EXPECT(server != NULL);
    spice_server_set_noauth(server);
    EXPECT_EQ(spice_server_init(server, host_core()), -1);
    expect_faults(1);
    spice_server_destroy(server);
    open_world();
    forget_faults();
    begin("nothing", 1);
    close_world();
}

/* ---- the C functions ---- */

static struct inputs inputs;

#define CALL(function) { #function, call_##function }

#define DEFINE_CALL(function, call, result) \
    static int call_##function(void) \
    { \
        return (call) == (result); \
    }

DEFINE_CALL(spice_server_set_ticket, spice_server_set_ticket(r.server, "x", 0, 0, 0), -1)
DEFINE_CALL(spice_server_set_noauth, spice_server_set_noauth(r.server), -1)
DEFINE_CALL(spice_server_set_channel_security,
            spice_server_set_channel_security(r.server, "main", 3), -1)
DEFINE_CALL(spice_server_init, spice_server_init(r.server, host_core()), -1)
DEFINE_CALL(spice_server_get_num_clients, spice_server_get_num_clients(r.server), 0)
DEFINE_CALL(spice_server_add_interface,
            spice_server_add_interface(r.server, &inputs.tablet.base), -1)
DEFINE_CALL(spice_server_remove_interface, spice_server_remove_interface(&device.sin.base), -1)
DEFINE_CALL(spice_server_char_device_wakeup, (spice_server_char_device_wakeup(&device.sin), 1), 1)
DEFINE_CALL(spice_server_port_event, (spice_server_port_event(&device.sin, 0), 1), 1)
DEFINE_CALL(spice_server_vm_start, (spice_server_vm_start(r.server), 1), 1)
DEFINE_CALL(spice_server_vm_stop, (spice_server_vm_stop(r.server), 1), 1)
DEFINE_CALL(spice_server_set_name, (spice_server_set_name(r.server, "vm"), 1), 1)
DEFINE_CALL(spice_server_migrate_switch, (spice_server_migrate_switch(r.server), 1), 1)
DEFINE_CALL(spice_qxl_wakeup, (spice_qxl_wakeup(&first.sin), 1), 1)
DEFINE_CALL(spice_qxl_start, (spice_qxl_start(&first.sin), 1), 1)
DEFINE_CALL(spice_qxl_reset_cursor, (spice_qxl_reset_cursor(&first.sin), 1), 1)
/* Nothing is done, so the next one ends the server. */
DEFINE_CALL(spice_server_destroy, (spice_server_destroy(r.server), 1), 1)

static const struct {
    const char *name;
    int (*call)(void);
} calls[] = {
    CALL(spice_server_set_ticket),
    CALL(spice_server_set_noauth),
    CALL(spice_server_set_channel_security),
    CALL(spice_server_init),
    CALL(spice_server_get_num_clients),
    CALL(spice_server_add_interface),
    CALL(spice_server_remove_interface),
    CALL(spice_server_char_device_wakeup),
    CALL(spice_server_port_event),
    CALL(spice_server_vm_start),
    CALL(spice_server_vm_stop),
    CALL(spice_server_set_name),
    CALL(spice_server_migrate_switch),
    CALL(spice_qxl_wakeup),
    CALL(spice_qxl_start),
    CALL(spice_qxl_reset_cursor),
    CALL(spice_server_destroy),
};

static void c_functions(void)
{
    open_displays();
    inputs_prepare(&inputs);
    begin("nothing", 1);
    disarm();
    for (size_t i = 0; i < TAP_COUNT(calls); i++) {
        arm(calls[i].name, 1);
        EXPECT_MSG(calls[i].call(), "%s returns something else", calls[i].name);
        EXPECT_MSG(faults() == (int)i + 1, "%s does not pass by its step", calls[i].name);
        EXPECT_MSG(tap_log_lines(calls[i].name) == 1, "%s is not in the log", calls[i].name);
    }
    main_is_served(&victim_main);
    qxl_remove(&first);
    qxl_remove(&second);
    close_world();
}

/* ---- the end ---- */

static void destroy_with(const char *step)
{
    open_port();
    begin(step, 1);
    spice_server_destroy(r.server);
    expect_faults(1);
    EXPECT(client_closed(&victim) && client_closed(&victim_main));
    EXPECT(client_closed(&bystander) && client_closed(&bystander_main));
    client_close(&victim);
    client_close(&victim_main);
    client_close(&bystander);
    client_close(&bystander_main);
    /* what rig_close() looks at, of another server that takes nothing over */
    chardev_forget(&device);
    chardev_forget(&other);
    struct tap_usage before = r.before;
    r.server = spice_server_new();
    r.before = before;
    rig_close(&r);
}

static void destroy_while_stopping_devices(void)
{
    destroy_with("stopping the devices");
}

static void destroy_while_cutting_clients(void)
{
    destroy_with("cutting the clients");
}

static void destroy_while_closing_a_channel(void)
{
    destroy_with("closing a channel");
}

static void destroy_while_removing_a_device(void)
{
    destroy_with("removing a device");
}

static const struct tap_case cases[] = {
    TAP_CASE(qxl_request_with_a_cookie),
    TAP_CASE(qxl_request_that_is_waited_for),
    TAP_CASE(qxl_stop),
    TAP_CASE(qxl_slot_that_goes),
    TAP_CASE(qxl_commands),
    TAP_CASE(qxl_command),
    TAP_CASE(configuration),
    TAP_CASE(c_functions),
    TAP_CASE(destroy_while_stopping_devices),
    TAP_CASE(destroy_while_cutting_clients),
    TAP_CASE(destroy_while_closing_a_channel),
    TAP_CASE(destroy_while_removing_a_device),
};

int main(int argc, char **argv)
{
    tap_want_panics();
    return tap_main(argc, argv, "faults-host", cases, TAP_COUNT(cases));
}
