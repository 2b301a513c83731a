/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU registers besides char devices and displays is accepted, works as
 * far as a host without clients can see, and is let go again.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "chardev.h"
#include "differences.h"
#include "rig.h"

static int add(struct rig *r, SpiceBaseInstance *sin)
{
    return spice_server_add_interface(r->server, sin);
}

static void input_devices(void)
{
    struct rig r;
    struct inputs in, second;
    rig_open(&r);
    inputs_add(&in, r.server);
    EXPECT(in.keyboard.st && in.mouse.st && in.tablet.st);
    inputs_prepare(&second);
    EXPECT_EQ(add(&r, &second.keyboard.base), -1);
    EXPECT_EQ(add(&r, &second.mouse.base), -1);
    EXPECT_EQ(add(&r, &second.tablet.base), -1);
    EXPECT_EQ(spice_server_kbd_leds(&in.keyboard, 0), 0);
    EXPECT_EQ(spice_server_kbd_leds(&in.keyboard, 7), 0);
    EXPECT_EQ(spice_server_is_server_mouse(r.server), 1);
    inputs_remove(&in);
    rig_close(&r);
}

static void tablet_comes_and_goes(void)
{
    struct rig r;
    struct inputs in;
    rig_open(&r);
    inputs_prepare(&in);
    EXPECT_EQ(spice_server_remove_interface(&in.tablet.base), -1);
    for (int i = 0; i < 20; i++) {
        EXPECT_EQ(add(&r, &in.tablet.base), 0);
        EXPECT_EQ(spice_server_remove_interface(&in.tablet.base), 0);
        EXPECT_EQ(spice_server_remove_interface(&in.tablet.base), -1);
    }
    rig_close(&r);
}

/* QEMU frees both after the call, so nothing may point there any more, and a
 * new one can be plugged in. */
static void keyboard_and_mouse_come_and_go(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    for (int i = 0; i < 5; i++) {
        struct inputs in;
        inputs_add(&in, r.server);
        inputs_remove(&in);
        memset(&in, 0x55, sizeof in);
        rig_main(&r, &c);
        client_close(&c);
    }
    rig_close(&r);
}

static void other_versions_are_refused(void)
{
    struct rig r;
    struct inputs in;
    struct audio a;
    struct migration m;
    rig_open(&r);
    inputs_prepare(&in);
    audio_prepare(&a);
    migration_prepare(&m);
    SpiceBaseInstance *const all[] = { &in.keyboard.base, &in.mouse.base,      &in.tablet.base,
                                       &a.playback.base,  &a.record.base, &m.sin.base };
    for (size_t i = 0; i < TAP_COUNT(all); i++) {
        /* the rest of an interface is not looked at when it is refused */
        SpiceBaseInterface wrong = *all[i]->sif;
        const SpiceBaseInterface *right = all[i]->sif;
        all[i]->sif = &wrong;
        wrong.minor_version++;
        EXPECT_MSG(add(&r, all[i]) == -1, "a newer minor of %s is accepted", wrong.type);
        wrong.minor_version--;
        wrong.major_version++;
        EXPECT_MSG(add(&r, all[i]) == -1, "a newer major of %s is accepted", wrong.type);
        wrong.major_version -= 2;
        EXPECT_MSG(add(&r, all[i]) == -1, "an older major of %s is accepted", wrong.type);
        all[i]->sif = right;
    }
    rig_close(&r);
}

static void unknown_interface_types(void)
{
    struct rig r;
    SpiceBaseInterface sif = { .type = "toaster", .description = "", .major_version = 1 };
    SpiceBaseInstance sin = { &sif };
    rig_open(&r);
    EXPECT_EQ(add(&r, &sin), 0);
    EXPECT_EQ(spice_server_remove_interface(&sin), -1);
    sif.type = SPICE_INTERFACE_CORE;
    EXPECT_EQ(add(&r, &sin), 0);
    EXPECT_EQ(spice_server_remove_interface(&sin), -1);
    rig_close(&r);
}

static void best_rates(void)
{
    struct rig r;
    struct audio a;
    EXPECT_EQ(spice_server_get_best_playback_rate(NULL), 48000);
    EXPECT_EQ(spice_server_get_best_record_rate(NULL), 48000);
    rig_open(&r);
    audio_prepare(&a);
    EXPECT_EQ(spice_server_get_best_playback_rate(&a.playback), 48000);
    EXPECT_EQ(spice_server_get_best_record_rate(&a.record), 48000);
    EXPECT_EQ(add(&r, &a.playback.base), 0);
    EXPECT_EQ(add(&r, &a.record.base), 0);
    EXPECT_EQ(spice_server_get_best_playback_rate(&a.playback), 48000);
    EXPECT_EQ(spice_server_get_best_record_rate(&a.record), 48000);
    spice_server_set_playback_rate(&a.playback, 44100);
    spice_server_set_record_rate(&a.record, 8000);
    spice_server_set_playback_rate(&a.playback, 48000);
    spice_server_set_record_rate(&a.record, 48000);
    EXPECT_EQ(spice_server_get_best_playback_rate(&a.playback), 48000);
    EXPECT_EQ(spice_server_remove_interface(&a.playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&a.record.base), 0);
    rig_close(&r);
}

static void sound_without_a_client(void)
{
    struct rig r;
    struct audio a;
    uint32_t *frame, n, samples[480];
    uint16_t volume[2] = { 1000, 2000 };
    rig_open(&r);
    audio_prepare(&a);
    EXPECT_EQ(add(&r, &a.playback.base), 0);
    EXPECT_EQ(add(&r, &a.record.base), 0);
    EXPECT(a.playback.st && a.record.st);
    for (int i = 0; i < 3; i++) {
        spice_server_playback_start(&a.playback);
        frame = (uint32_t *)&r;
        n = 77;
        spice_server_playback_get_buffer(&a.playback, &frame, &n);
        EXPECT(frame == NULL);
        EXPECT_EQ(n, 0);
        spice_server_playback_set_volume(&a.playback, 2, volume);
        spice_server_playback_set_mute(&a.playback, 1);
        spice_server_playback_stop(&a.playback);
        spice_server_record_start(&a.record);
        EXPECT_EQ(spice_server_record_get_samples(&a.record, samples, 480), 0);
        spice_server_record_set_volume(&a.record, 2, volume);
        spice_server_record_set_mute(&a.record, 1);
        spice_server_record_stop(&a.record);
    }
    /* a mono or mute-less host passes no channels at all */
    spice_server_playback_set_volume(&a.playback, 0, NULL);
    spice_server_record_set_volume(&a.record, 0, NULL);
    EXPECT_EQ(spice_server_remove_interface(&a.playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&a.record.base), 0);
    EXPECT_EQ(add(&r, &a.playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&a.playback.base), 0);
    rig_close(&r);
}

static void migration_without_clients(void)
{
    struct rig r;
    struct migration m, second;
    rig_open(&r);
    migration_prepare(&m);
    migration_prepare(&second);
    EXPECT_EQ(add(&r, &m.sin.base), 0);
    EXPECT(m.sin.st != NULL);
    EXPECT_EQ(add(&r, &second.sin.base), -1);
    EXPECT_EQ(spice_server_migrate_start(r.server), -1);
    EXPECT_EQ(spice_server_migrate_connect(r.server, NULL, 1, -1, NULL), -1);
    EXPECT_EQ(m.connect_completes, 1);
    EXPECT_EQ(spice_server_migrate_connect(r.server, "host", -1, -1, NULL), -1);
    EXPECT_EQ(m.connect_completes, 2);
    EXPECT_EQ(spice_server_migrate_connect(r.server, "host", 5900, -1, NULL), 0);
    EXPECT_EQ(m.connect_completes, 3);
    spice_server_vm_start(r.server);
    spice_server_vm_stop(r.server);
    EXPECT_EQ(spice_server_migrate_end(r.server, 1), 0);
    EXPECT_EQ(m.end_completes, 1);
    EXPECT_EQ(spice_server_migrate_end(r.server, 0), 0);
    EXPECT_EQ(m.end_completes, 2);
    EXPECT_EQ(m.connect_completes, 3);
    EXPECT_EQ(spice_server_remove_interface(&m.sin.base), -1);
    rig_close(&r);
}

/* The order of a QEMU that starts, runs and ends, with all it has. */
static void everything_at_once(void)
{
    static const uint8_t uuid[16] = { 1, 2, 3 };
    struct rig r;
    struct qxl q;
    struct inputs in;
    struct audio a;
    struct migration m;
    struct chardev agent, port, usb;
    struct client c;
    rig_new(&r);
    SpiceServer *s = r.server;
    EXPECT_EQ(spice_server_set_noauth(s), 0);
    EXPECT_EQ(spice_server_set_image_compression(s, SPICE_IMAGE_COMPRESSION_AUTO_GLZ), 0);
    EXPECT_EQ(spice_server_set_jpeg_compression(s, SPICE_WAN_COMPRESSION_AUTO), 0);
    EXPECT_EQ(spice_server_set_zlib_glz_compression(s, SPICE_WAN_COMPRESSION_AUTO), 0);
    EXPECT_EQ(spice_server_set_streaming_video(s, SPICE_STREAM_VIDEO_OFF), 0);
    EXPECT_EQ(spice_server_set_agent_mouse(s, 1), 0);
    EXPECT_EQ(spice_server_set_playback_compression(s, 1), 0);
    spice_server_set_seamless_migration(s, 0);
    spice_server_set_name(s, "vm");
    spice_server_set_uuid(s, uuid);
    rig_init_unix(&r);
    migration_prepare(&m);
    EXPECT_EQ(add(&r, &m.sin.base), 0);
    inputs_add(&in, s);
    audio_prepare(&a);
    EXPECT_EQ(add(&r, &a.playback.base), 0);
    spice_server_set_playback_rate(&a.playback, spice_server_get_best_playback_rate(NULL));
    EXPECT_EQ(add(&r, &a.record.base), 0);
    spice_server_set_record_rate(&a.record, spice_server_get_best_record_rate(NULL));
    qxl_prepare(&q, 0);
    qxl_add(&q, s);
    spice_qxl_set_device_info(&q.sin, "pci/0000/02.0", 0, 1);
    qxl_create_primary(&q, 640, 480);
    chardev_prepare(&agent, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&agent, s), 0);
    chardev_add_port(&port, s, "org.example.0");
    chardev_add_usbredir(&usb, s);
    spice_server_vm_start(s);
    rig_main(&r, &c);
    for (int i = 0; i < 20; i++)
        EXPECT(qxl_draw(&q, 0, 0, 640, 480));
    EXPECT(qxl_wait(&q, &q.fetched, 20));
    EXPECT_EQ(spice_server_get_num_clients(s), 1);
    EXPECT_EQ(spice_server_kbd_leds(&in.keyboard, 2), 0);
    spice_server_vm_stop(s);
    EXPECT_EQ(qxl_count(&q, &q.released), 20);
    spice_server_vm_start(s);
    spice_server_vm_stop(s);
    spice_qxl_destroy_primary_surface(&q.sin, 0);
    spice_qxl_del_memslot(&q.sin, 0, 0);
    chardev_remove(&usb);
    chardev_remove(&port);
    if (agent.added)
        chardev_remove(&agent);
    qxl_remove(&q);
    inputs_remove(&in);
    EXPECT_EQ(spice_server_remove_interface(&a.playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&a.record.base), 0);
    client_close(&c);
    rig_close(&r);
}

/* Newer QEMU destroys the server with these still registered and removes them
 * afterwards: the calls must not reach the server that is gone. */
static void removed_after_destroy(void)
{
    struct rig r;
    struct audio a;
    struct chardev port;
    struct client c;
    rig_open(&r);
    audio_prepare(&a);
    EXPECT_EQ(add(&r, &a.playback.base), 0);
    EXPECT_EQ(add(&r, &a.record.base), 0);
    chardev_add_port(&port, r.server, "org.example.0");
    rig_main(&r, &c);
    r.open_clients = 1;
    rig_close(&r);
    EXPECT(client_closed(&c));
    client_close(&c);
    spice_server_remove_interface(&port.sin.base);
    spice_server_remove_interface(&a.playback.base);
    spice_server_remove_interface(&a.record.base);
    spice_server_char_device_wakeup(&port.sin);
    EXPECT_EQ(port.n_states, 0);
    port.added = false;
    chardev_forget(&port);
}

static const struct tap_case cases[] = {
    TAP_CASE(input_devices),
    TAP_CASE(tablet_comes_and_goes),
    TAP_CASE(keyboard_and_mouse_come_and_go),
    TAP_CASE(other_versions_are_refused),
    TAP_CASE(unknown_interface_types),
    TAP_CASE(best_rates),
    TAP_CASE(sound_without_a_client),
    TAP_CASE(migration_without_clients),
    TAP_CASE(everything_at_once),
    TAP_CASE(removed_after_destroy),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "devices", cases, TAP_COUNT(cases));
}
