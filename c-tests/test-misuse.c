/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NULL at the C boundary: no crash, the documented failure value, one log line.
 *
 * One case per function and null argument.  Upstream checks almost none of them,
 * so most must not run there (differences.c).
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct rig r;
static struct inputs inputs;
static struct audio audio;
static struct qxl qxl;
static struct chardev port;
static struct migration migration;

/** A server with one of each device, for calls where only one argument is wrong. */
static SpiceServer *server(void)
{
    rig_open(&r);
    return r.server;
}

static void logged(void)
{
    if (!differs(DIFF_LOG_LINE, 0, 1))
        EXPECT_MSG(tap_log_lines("Spice") == 1, "%d log lines, expected one",
                   tap_log_lines("Spice"));
}

/** A call with a return value. */
#define RETURNS(name, call, value) \
    static void name(void) \
    { \
        host_init(); \
        EXPECT_EQ(call, value); \
        logged(); \
    }

/** A call without one. */
#define SURVIVES(name, call) \
    static void name(void) \
    { \
        host_init(); \
        call; \
        logged(); \
    }

/** A call on a living server; the value and the server's health count. */
#define RETURNS_LIVE(name, call, value) \
    static void name(void) \
    { \
        SpiceServer *s = server(); \
        tap_log_mark(); \
        EXPECT_EQ(call, value); \
        logged(); \
        struct client c; \
        rig_main(&r, &c); \
        client_close(&c); \
        rig_close(&r); \
    }

#define SURVIVES_LIVE(name, call) RETURNS_LIVE(name, ((call), 0), 0)

/* ---- the server argument ---- */

RETURNS(init_server, spice_server_init(NULL, host_core()), -1)
SURVIVES(destroy_server, spice_server_destroy(NULL))
RETURNS(set_compat_version_server, spice_server_set_compat_version(NULL, 1), -1)
RETURNS(set_port_server, spice_server_set_port(NULL, 1), -1)
SURVIVES(set_addr_server, spice_server_set_addr(NULL, "", 0))
RETURNS(set_listen_socket_fd_server, spice_server_set_listen_socket_fd(NULL, 0), -1)
RETURNS(set_exit_on_disconnect_server, spice_server_set_exit_on_disconnect(NULL, 0), -1)
RETURNS(set_noauth_server, spice_server_set_noauth(NULL), -1)
RETURNS(set_sasl_server, spice_server_set_sasl(NULL, 0), -1)
RETURNS(set_sasl_appname_server, spice_server_set_sasl_appname(NULL, "x"), -1)
RETURNS(set_ticket_server, spice_server_set_ticket(NULL, "x", 0, 0, 0), -1)
RETURNS(set_tls_server, spice_server_set_tls(NULL, 1, "", "", "", NULL, NULL, NULL), -1)
RETURNS(add_client_server, spice_server_add_client(NULL, 0, 0), -1)
RETURNS(add_ssl_client_server, spice_server_add_ssl_client(NULL, 0, 0), -1)
RETURNS(set_image_compression_server, spice_server_set_image_compression(NULL, 1), -1)
SURVIVES(get_image_compression_server, spice_server_get_image_compression(NULL))
RETURNS(set_jpeg_compression_server, spice_server_set_jpeg_compression(NULL, 1), -1)
RETURNS(set_zlib_glz_compression_server, spice_server_set_zlib_glz_compression(NULL, 1), -1)
RETURNS(set_channel_security_server, spice_server_set_channel_security(NULL, "main", 1), -1)
RETURNS(add_renderer_server, spice_server_add_renderer(NULL, "sw"), -1)
RETURNS(set_streaming_video_server, spice_server_set_streaming_video(NULL, 1), -1)
RETURNS(set_video_codecs_server, spice_server_set_video_codecs(NULL, "auto"), -1)
RETURNS(get_video_codecs_server, spice_server_get_video_codecs(NULL) == NULL, 1)
RETURNS(set_playback_compression_server, spice_server_set_playback_compression(NULL, 1), -1)
RETURNS(set_agent_mouse_server, spice_server_set_agent_mouse(NULL, 1), -1)
RETURNS(set_agent_copypaste_server, spice_server_set_agent_copypaste(NULL, 1), -1)
RETURNS(set_agent_file_xfer_server, spice_server_set_agent_file_xfer(NULL, 1), -1)
SURVIVES(is_server_mouse_server, spice_server_is_server_mouse(NULL))
SURVIVES(set_name_server, spice_server_set_name(NULL, "x"))
SURVIVES(set_uuid_server, spice_server_set_uuid(NULL, (const uint8_t *)"0123456789abcdef"))
SURVIVES(vm_start_server, spice_server_vm_start(NULL))
SURVIVES(vm_stop_server, spice_server_vm_stop(NULL))
RETURNS(migrate_connect_server, spice_server_migrate_connect(NULL, "h", 1, 1, NULL), -1)
RETURNS(migrate_info_server, spice_server_migrate_info(NULL, "h", 1, 1, NULL), -1)
RETURNS(migrate_start_server, spice_server_migrate_start(NULL), -1)
RETURNS(migrate_end_server, spice_server_migrate_end(NULL, 1), -1)
SURVIVES(migrate_switch_server, spice_server_migrate_switch(NULL))
SURVIVES(set_seamless_migration_server, spice_server_set_seamless_migration(NULL, 1))

static void get_num_clients_server(void)
{
    /* documented: a question, not misuse */
    EXPECT_EQ(spice_server_get_num_clients(NULL), 0);
}

static void get_sock_info_server(void)
{
    EXPECT_EQ(spice_server_get_sock_info(NULL, NULL, NULL), -1);
    EXPECT_EQ(spice_server_get_peer_info(NULL, NULL, NULL), -1);
}

static void add_interface_server(void)
{
    inputs_prepare(&inputs);
    EXPECT_EQ(spice_server_add_interface(NULL, &inputs.keyboard.base), -1);
    logged();
}

/* ---- other pointers, on a living server ---- */

static void init_core(void)
{
    rig_new(&r);
    EXPECT_EQ(spice_server_init(r.server, NULL), -1);
    logged();
    rig_close(&r);
}

SURVIVES_LIVE(set_addr_address, spice_server_set_addr(s, NULL, 0))
SURVIVES_LIVE(set_uuid_uuid, spice_server_set_uuid(s, NULL))
RETURNS_LIVE(set_video_codecs_string, spice_server_set_video_codecs(s, NULL), -1)
RETURNS_LIVE(add_renderer_name, spice_server_add_renderer(s, NULL), -1)
RETURNS_LIVE(add_interface_instance, spice_server_add_interface(s, NULL), -1)
RETURNS(remove_interface_instance, spice_server_remove_interface(NULL), -1)
SURVIVES(wakeup_instance, spice_server_char_device_wakeup(NULL))
SURVIVES(port_event_instance, spice_server_port_event(NULL, 0))
SURVIVES(kbd_leds_instance, (void)spice_server_kbd_leds(NULL, 0))

static void set_name_name(void)
{
    struct client c;
    rig_open(&r);
    spice_server_set_name(r.server, "vm");
    /* no name: as before any was set */
    spice_server_set_name(r.server, NULL);
    rig_main(&r, &c);
    EXPECT(client_silent(&c, 50));
    client_close(&c);
    rig_close(&r);
}

static void free_video_codecs_null(void)
{
    rig_open(&r);
    spice_server_free_video_codecs(r.server, NULL);
    spice_server_free_video_codecs(NULL, NULL);
    rig_close(&r);
}

static void interface_without_sif(void)
{
    SpiceBaseInstance sin = { NULL };
    rig_open(&r);
    tap_log_mark();
    EXPECT_EQ(spice_server_add_interface(r.server, &sin), -1);
    logged();
    tap_log_mark();
    EXPECT_EQ(spice_server_remove_interface(&sin), -1);
    logged();
    rig_close(&r);
}

static void interface_without_type(void)
{
    SpiceBaseInterface sif = { .type = NULL };
    SpiceBaseInstance sin = { &sif };
    rig_open(&r);
    tap_log_mark();
    EXPECT_EQ(spice_server_add_interface(r.server, &sin), -1);
    logged();
    rig_close(&r);
}

static void char_device_without_subtype(void)
{
    rig_open(&r);
    chardev_prepare(&port, NULL, "org.example.0");
    tap_log_mark();
    EXPECT_EQ(chardev_add(&port, r.server), 0);
    EXPECT(!port.added);
    logged();
    rig_close(&r);
}

static void char_device_without_read_and_write(void)
{
    struct client c, d;
    rig_open(&r);
    chardev_prepare(&port, "port", "org.example.0");
    port.sif.read = NULL;
    port.sif.write = NULL;
    spice_server_add_interface(r.server, &port.sin.base);
    uint32_t session = rig_main(&r, &c);
    if (port.sin.st) {
        rig_channel(&r, &d, CH_PORT, 0, session);
        EXPECT(client_send(&d, VMC_DATA, "x", 1));
        spice_server_char_device_wakeup(&port.sin);
        host_run_for(20);
        client_close(&d);
        EXPECT_EQ(spice_server_remove_interface(&port.sin.base), 0);
    }
    client_close(&c);
    rig_close(&r);
}

/* ---- instances that were never added ---- */

static void sound_never_added(void)
{
    uint32_t *frame = (uint32_t *)&r, n = 7, samples[8];
    uint16_t volume[2] = { 0 };
    host_init();
    audio_prepare(&audio);
    spice_server_playback_start(&audio.playback);
    spice_server_playback_get_buffer(&audio.playback, &frame, &n);
    EXPECT(frame == NULL);
    EXPECT_EQ(n, 0);
    spice_server_playback_put_samples(&audio.playback, samples);
    spice_server_playback_set_volume(&audio.playback, 2, volume);
    spice_server_playback_set_mute(&audio.playback, 0);
    spice_server_playback_stop(&audio.playback);
    spice_server_set_playback_rate(&audio.playback, 48000);
    spice_server_record_start(&audio.record);
    EXPECT_EQ(spice_server_record_get_samples(&audio.record, samples, 8), 0);
    spice_server_record_set_volume(&audio.record, 2, volume);
    spice_server_record_set_mute(&audio.record, 0);
    spice_server_record_stop(&audio.record);
    spice_server_set_record_rate(&audio.record, 48000);
    EXPECT_EQ(spice_server_remove_interface(&audio.playback.base), -1);
    EXPECT_EQ(spice_server_remove_interface(&audio.record.base), -1);
}

static void qxl_never_added(void)
{
    QXLDevMemSlot slot = { 0 };
    QXLRect area = { .right = 1, .bottom = 1 };
    host_init();
    qxl_prepare(&qxl, 0);
    QXLInstance *q = &qxl.sin;
    QXLDevSurfaceCreate surface = qxl_surface(&qxl, 8, 8);
    spice_qxl_wakeup(q);
    spice_qxl_oom(q);
    spice_qxl_start(q);
    spice_qxl_stop(q);
    spice_qxl_add_memslot(q, &slot);
    spice_qxl_create_primary_surface(q, 0, &surface);
    spice_qxl_update_area(q, 0, &area, NULL, 0, 0);
    spice_qxl_destroy_primary_surface(q, 0);
    spice_qxl_destroy_surfaces(q);
    spice_qxl_set_max_monitors(q, 1);
    spice_qxl_driver_unload(q);
    EXPECT_EQ(spice_server_remove_interface(&q->base), -1);
    free(qxl.frame);
}

static void keyboard_never_added(void)
{
    host_init();
    inputs_prepare(&inputs);
    (void)spice_server_kbd_leds(&inputs.keyboard, 1);
    EXPECT_EQ(spice_server_remove_interface(&inputs.keyboard.base), -1);
    EXPECT_EQ(spice_server_remove_interface(&inputs.mouse.base), -1);
    EXPECT_EQ(spice_server_remove_interface(&inputs.tablet.base), -1);
}

static void char_device_never_added(void)
{
    host_init();
    chardev_prepare(&port, "port", "x");
    spice_server_char_device_wakeup(&port.sin);
    spice_server_port_event(&port.sin, 0);
    EXPECT_EQ(spice_server_remove_interface(&port.sin.base), -1);
    migration_prepare(&migration);
    EXPECT_EQ(spice_server_remove_interface(&migration.sin.base), -1);
}

/* ---- QXL: the instance, and pointers inside ---- */

#define QXL_NULL(name, call) SURVIVES(qxl_##name, call)

QXL_NULL(wakeup, spice_qxl_wakeup(NULL))
QXL_NULL(oom, spice_qxl_oom(NULL))
QXL_NULL(start, spice_qxl_start(NULL))
QXL_NULL(stop, spice_qxl_stop(NULL))
QXL_NULL(update_area, spice_qxl_update_area(NULL, 0, NULL, NULL, 0, 0))
QXL_NULL(add_memslot, spice_qxl_add_memslot(NULL, NULL))
QXL_NULL(del_memslot, spice_qxl_del_memslot(NULL, 0, 0))
QXL_NULL(reset_memslots, spice_qxl_reset_memslots(NULL))
QXL_NULL(destroy_surfaces, spice_qxl_destroy_surfaces(NULL))
QXL_NULL(destroy_primary_surface, spice_qxl_destroy_primary_surface(NULL, 0))
QXL_NULL(create_primary_surface, spice_qxl_create_primary_surface(NULL, 0, NULL))
QXL_NULL(reset_image_cache, spice_qxl_reset_image_cache(NULL))
QXL_NULL(reset_cursor, spice_qxl_reset_cursor(NULL))
QXL_NULL(destroy_surface_wait, spice_qxl_destroy_surface_wait(NULL, 0))
QXL_NULL(loadvm_commands, spice_qxl_loadvm_commands(NULL, NULL, 1))
QXL_NULL(update_area_async, spice_qxl_update_area_async(NULL, 0, NULL, 0, 1))
QXL_NULL(add_memslot_async, spice_qxl_add_memslot_async(NULL, NULL, 1))
QXL_NULL(destroy_surfaces_async, spice_qxl_destroy_surfaces_async(NULL, 1))
QXL_NULL(destroy_primary_surface_async, spice_qxl_destroy_primary_surface_async(NULL, 0, 1))
QXL_NULL(create_primary_surface_async, spice_qxl_create_primary_surface_async(NULL, 0, NULL, 1))
QXL_NULL(destroy_surface_async, spice_qxl_destroy_surface_async(NULL, 0, 1))
QXL_NULL(flush_surfaces_async, spice_qxl_flush_surfaces_async(NULL, 1))
QXL_NULL(monitors_config_async, spice_qxl_monitors_config_async(NULL, 0, 0, 1))
QXL_NULL(driver_unload, spice_qxl_driver_unload(NULL))
QXL_NULL(set_max_monitors, spice_qxl_set_max_monitors(NULL, 1))
QXL_NULL(gl_scanout, spice_qxl_gl_scanout(NULL, -1, 0, 0, 0, 0, 0))
QXL_NULL(gl_draw_async, spice_qxl_gl_draw_async(NULL, 0, 0, 0, 0, 1))
QXL_NULL(set_device_info, spice_qxl_set_device_info(NULL, "x", 0, 1))

typedef void scanout2(QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *,
                      const uint32_t *, uint32_t, uint32_t, uint64_t, int);

static void qxl_gl_scanout2(void)
{
    scanout2 *call = (scanout2 *)dlsym(RTLD_DEFAULT, "spice_qxl_gl_scanout2");
    host_init();
    EXPECT(call != NULL);
    call(NULL, NULL, 0, 0, NULL, NULL, 0, 0, 0, 0);
    logged();
}

/** Odd arguments on a device that lives; it must live on. */
static void qxl_null_pointers_inside(void)
{
    rig_open(&r);
    qxl_prepare(&qxl, 0);
    qxl_add(&qxl, r.server);
    QXLInstance *q = &qxl.sin;
    spice_server_vm_start(r.server);
    spice_qxl_add_memslot(q, NULL);
    spice_qxl_create_primary_surface(q, 0, NULL);
    spice_qxl_update_area(q, 0, NULL, NULL, 4, 0);
    spice_qxl_loadvm_commands(q, NULL, 3);
    spice_qxl_set_device_info(q, NULL, 0, 1);
    spice_qxl_add_memslot_async(q, NULL, 1);
    spice_qxl_create_primary_surface_async(q, 0, NULL, 2);
    spice_qxl_update_area_async(q, 0, NULL, 0, 3);
    /* whatever became of them, each async request completes */
    for (uint64_t cookie = 1; cookie <= 3; cookie++)
        EXPECT_MSG(qxl_wait_cookie(&qxl, cookie), "request %d never completes", (int)cookie);
    qxl_create_primary(&qxl, 32, 32);
    EXPECT(qxl_draw(&qxl, 0, 0, 8, 8));
    EXPECT(qxl_wait(&qxl, &qxl.fetched, 1));
    spice_server_vm_stop(r.server);
    EXPECT_EQ(qxl_count(&qxl, &qxl.released), 1);
    qxl_remove(&qxl);
    rig_close(&r);
}

static void qxl_wrong_values(void)
{
    char address[300];
    memset(address, 'a', sizeof address - 1);
    address[sizeof address - 1] = 0;
    rig_open(&r);
    qxl_prepare(&qxl, 0);
    qxl_add(&qxl, r.server);
    QXLInstance *q = &qxl.sin;
    spice_server_vm_start(r.server);
    QXLDevMemSlot slot = { .slot_group_id = 99, .slot_id = 99, .virt_end = 1 };
    spice_qxl_add_memslot(q, &slot);
    spice_qxl_del_memslot(q, 99, 0);
    spice_qxl_del_memslot(q, 0, 99);
    QXLDevSurfaceCreate surface = qxl_surface(&qxl, 32, 32);
    surface.format = 12345;
    spice_qxl_create_primary_surface(q, 0, &surface);
    surface = qxl_surface(&qxl, 32, 32);
    surface.stride = INT32_MIN;
    spice_qxl_create_primary_surface(q, 0, &surface);
    surface = qxl_surface(&qxl, 32, 32);
    surface.width = surface.height = 0xffffffff;
    spice_qxl_create_primary_surface(q, 0, &surface);
    surface = qxl_surface(&qxl, 32, 32);
    spice_qxl_create_primary_surface(q, 7, &surface);
    spice_qxl_destroy_primary_surface(q, 7);
    spice_qxl_destroy_primary_surface(q, 0);
    spice_qxl_destroy_surface_wait(q, 1);
    spice_qxl_destroy_surface_wait(q, 0xffffffff);
    spice_qxl_destroy_surface_async(q, 0xffffffff, 5);
    EXPECT(qxl_wait_cookie(&qxl, 5));
    QXLRect area = { .left = 5, .top = 5, .right = -5, .bottom = -5 };
    QXLRect dirty[2];
    spice_qxl_update_area(q, 0xffffffff, &area, dirty, 2, 1);
    spice_qxl_update_area(q, 0, &area, dirty, 2, 1);
    spice_qxl_update_area_async(q, 0xffffffff, &area, 1, 6);
    EXPECT(qxl_wait_cookie(&qxl, 6));
    spice_qxl_monitors_config_async(q, 0, 0, 7);
    EXPECT(qxl_wait_cookie(&qxl, 7));
    spice_qxl_monitors_config_async(q, 0, 99, 8);
    EXPECT(qxl_wait_cookie(&qxl, 8));
    spice_qxl_set_device_info(q, address, 0, 1);
    spice_qxl_set_device_info(q, "pci", 0, 17);
    spice_qxl_set_max_monitors(q, 0);
    spice_qxl_set_max_monitors(q, 0xffffffff);
    spice_qxl_gl_draw_async(q, 0, 0, 1, 1, 9);
    spice_qxl_gl_draw_async(q, 0, 0, 1, 1, 10);
    EXPECT(qxl_wait_cookie(&qxl, 9));
    EXPECT(qxl_wait_cookie(&qxl, 10));
    spice_server_vm_stop(r.server);
    spice_qxl_oom(q);
    spice_qxl_update_area(q, 0, &area, dirty, 2, 1);
    qxl_remove(&qxl);
    rig_close(&r);
}

/* Commands whose addresses and numbers are nonsense come from the guest. */
static void qxl_commands_of_a_bad_guest(void)
{
    rig_open(&r);
    qxl_prepare(&qxl, 0);
    qxl_add(&qxl, r.server);
    qxl_create_primary(&qxl, 64, 64);
    spice_server_vm_start(r.server);
    EXPECT(qxl_draw(&qxl, 0, 0, 8, 8));
    for (uint32_t group = 1; group < 6; group++)
        EXPECT(qxl_push_raw(&qxl, QXL_CMD_SURFACE, group * group - 1));
    EXPECT(qxl_wait(&qxl, &qxl.fetched, 6));
    spice_server_vm_stop(r.server);
    qxl_write_off(&qxl); /* a command at a bad address cannot be given back */
    qxl_remove(&qxl);
    rig_close(&r);
}

/* ---- sound, replay ---- */

SURVIVES(playback_start, spice_server_playback_start(NULL))
SURVIVES(playback_stop, spice_server_playback_stop(NULL))
SURVIVES(playback_put_samples, spice_server_playback_put_samples(NULL, NULL))
SURVIVES(playback_set_volume, spice_server_playback_set_volume(NULL, 0, NULL))
SURVIVES(playback_set_mute, spice_server_playback_set_mute(NULL, 0))
SURVIVES(set_playback_rate, spice_server_set_playback_rate(NULL, 48000))
SURVIVES(record_start, spice_server_record_start(NULL))
SURVIVES(record_stop, spice_server_record_stop(NULL))
SURVIVES(record_set_volume, spice_server_record_set_volume(NULL, 0, NULL))
SURVIVES(record_set_mute, spice_server_record_set_mute(NULL, 0))
SURVIVES(set_record_rate, spice_server_set_record_rate(NULL, 48000))
RETURNS(record_get_samples, spice_server_record_get_samples(NULL, NULL, 1), 0)

static void playback_get_buffer(void)
{
    uint32_t *frame = (uint32_t *)&r, n = 7;
    host_init();
    spice_server_playback_get_buffer(NULL, &frame, &n);
    EXPECT(frame == NULL);
    EXPECT_EQ(n, 0);
    logged();
    spice_server_playback_get_buffer(NULL, NULL, NULL);
}

RETURNS(replay_new_file, spice_replay_new(NULL, 1) == NULL, 1)
RETURNS(replay_next_cmd_null, spice_replay_next_cmd(NULL, NULL) == NULL, 1)

static void replay_free_null(void)
{
    spice_replay_free_cmd(NULL, NULL);
    spice_replay_free(NULL);
}

static void replay_of_another_file(void)
{
    FILE *f = tmpfile();
    fputs("not a recording\n", f);
    rewind(f);
    EXPECT(spice_replay_new(f, 1) == NULL);
    fclose(f);
}

/* ---- order of calls ---- */

static void initialized_twice(void)
{
    struct client c;
    rig_open(&r);
    tap_log_mark();
    EXPECT_EQ(spice_server_init(r.server, host_core()), -1);
    logged();
    rig_main(&r, &c);
    client_close(&c);
    rig_close(&r);
}

static void used_before_init(void)
{
    rig_new(&r);
    int pair = open("/dev/null", O_RDWR);
    EXPECT_EQ(spice_server_add_client(r.server, pair, 0), -1);
    spice_server_vm_stop(r.server);
    spice_server_vm_start(r.server);
    EXPECT_EQ(spice_server_get_num_clients(r.server), 0);
    close(pair);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(init_server),
    TAP_CASE(destroy_server),
    TAP_CASE(set_compat_version_server),
    TAP_CASE(set_port_server),
    TAP_CASE(set_addr_server),
    TAP_CASE(set_listen_socket_fd_server),
    TAP_CASE(set_exit_on_disconnect_server),
    TAP_CASE(set_noauth_server),
    TAP_CASE(set_sasl_server),
    TAP_CASE(set_sasl_appname_server),
    TAP_CASE(set_ticket_server),
    TAP_CASE(set_tls_server),
    TAP_CASE(add_client_server),
    TAP_CASE(add_ssl_client_server),
    TAP_CASE(set_image_compression_server),
    TAP_CASE(get_image_compression_server),
    TAP_CASE(set_jpeg_compression_server),
    TAP_CASE(set_zlib_glz_compression_server),
    TAP_CASE(set_channel_security_server),
    TAP_CASE(add_renderer_server),
    TAP_CASE(set_streaming_video_server),
    TAP_CASE(set_video_codecs_server),
    TAP_CASE(get_video_codecs_server),
    TAP_CASE(set_playback_compression_server),
    TAP_CASE(set_agent_mouse_server),
    TAP_CASE(set_agent_copypaste_server),
    TAP_CASE(set_agent_file_xfer_server),
    TAP_CASE(is_server_mouse_server),
    TAP_CASE(set_name_server),
    TAP_CASE(set_uuid_server),
    TAP_CASE(vm_start_server),
    TAP_CASE(vm_stop_server),
    TAP_CASE(migrate_connect_server),
    TAP_CASE(migrate_info_server),
    TAP_CASE(migrate_start_server),
    TAP_CASE(migrate_end_server),
    TAP_CASE(migrate_switch_server),
    TAP_CASE(set_seamless_migration_server),
    TAP_CASE(get_num_clients_server),
    TAP_CASE(get_sock_info_server),
    TAP_CASE(add_interface_server),
    TAP_CASE(init_core),
    TAP_CASE(set_addr_address),
    TAP_CASE(set_uuid_uuid),
    TAP_CASE(set_video_codecs_string),
    TAP_CASE(add_renderer_name),
    TAP_CASE(add_interface_instance),
    TAP_CASE(remove_interface_instance),
    TAP_CASE(wakeup_instance),
    TAP_CASE(port_event_instance),
    TAP_CASE(kbd_leds_instance),
    TAP_CASE(set_name_name),
    TAP_CASE(free_video_codecs_null),
    TAP_CASE(interface_without_sif),
    TAP_CASE(interface_without_type),
    TAP_CASE(char_device_without_subtype),
    TAP_CASE(char_device_without_read_and_write),
    TAP_CASE(sound_never_added),
    TAP_CASE(qxl_never_added),
    TAP_CASE(keyboard_never_added),
    TAP_CASE(char_device_never_added),
    TAP_CASE(qxl_wakeup),
    TAP_CASE(qxl_oom),
    TAP_CASE(qxl_start),
    TAP_CASE(qxl_stop),
    TAP_CASE(qxl_update_area),
    TAP_CASE(qxl_add_memslot),
    TAP_CASE(qxl_del_memslot),
    TAP_CASE(qxl_reset_memslots),
    TAP_CASE(qxl_destroy_surfaces),
    TAP_CASE(qxl_destroy_primary_surface),
    TAP_CASE(qxl_create_primary_surface),
    TAP_CASE(qxl_reset_image_cache),
    TAP_CASE(qxl_reset_cursor),
    TAP_CASE(qxl_destroy_surface_wait),
    TAP_CASE(qxl_loadvm_commands),
    TAP_CASE(qxl_update_area_async),
    TAP_CASE(qxl_add_memslot_async),
    TAP_CASE(qxl_destroy_surfaces_async),
    TAP_CASE(qxl_destroy_primary_surface_async),
    TAP_CASE(qxl_create_primary_surface_async),
    TAP_CASE(qxl_destroy_surface_async),
    TAP_CASE(qxl_flush_surfaces_async),
    TAP_CASE(qxl_monitors_config_async),
    TAP_CASE(qxl_driver_unload),
    TAP_CASE(qxl_set_max_monitors),
    TAP_CASE(qxl_gl_scanout),
    TAP_CASE(qxl_gl_draw_async),
    TAP_CASE(qxl_set_device_info),
    TAP_CASE(qxl_gl_scanout2),
    TAP_CASE(qxl_null_pointers_inside),
    TAP_CASE(qxl_wrong_values),
    TAP_CASE(qxl_commands_of_a_bad_guest),
    TAP_CASE(playback_start),
    TAP_CASE(playback_stop),
    TAP_CASE(playback_put_samples),
    TAP_CASE(playback_set_volume),
    TAP_CASE(playback_set_mute),
    TAP_CASE(set_playback_rate),
    TAP_CASE(record_start),
    TAP_CASE(record_stop),
    TAP_CASE(record_set_volume),
    TAP_CASE(record_set_mute),
    TAP_CASE(set_record_rate),
    TAP_CASE(record_get_samples),
    TAP_CASE(playback_get_buffer),
    TAP_CASE(replay_new_file),
    TAP_CASE(replay_next_cmd_null),
    TAP_CASE(replay_free_null),
    TAP_CASE(replay_of_another_file),
    TAP_CASE(initialized_twice),
    TAP_CASE(used_before_init),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "misuse", cases, TAP_COUNT(cases));
}
