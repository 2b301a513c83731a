/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"
#include "differences.h"
#include "host.h"
#include "tap.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- keyboard, mouse, tablet ---- */

#define OWNER(sin, member) ((struct inputs *)((char *)(sin) - offsetof(struct inputs, member)))

static void __attribute__((format(printf, 2, 3))) note(struct inputs *in, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(in->told + in->n_told, sizeof in->told - in->n_told, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof in->told - in->n_told)
        in->n_told += (size_t)n;
    else
        host_complain("the input devices are told too much");
}

static void push_scan(SpiceKbdInstance *sin, uint8_t frag)
{
    struct inputs *in = OWNER(sin, keyboard);
    host_assert_main_thread("push_scan_freg");
    note(in, "%02x ", frag);
    if (in->on_scan)
        in->on_scan(in, frag);
}

static uint8_t get_leds(SpiceKbdInstance *sin)
{
    host_assert_main_thread("get_leds");
    return OWNER(sin, keyboard)->leds;
}

static void motion(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t buttons)
{
    host_assert_main_thread("motion");
    note(OWNER(sin, mouse), "motion:%d,%d,%d,%x ", dx, dy, dz, buttons);
}

static void mouse_buttons(SpiceMouseInstance *sin, uint32_t buttons)
{
    host_assert_main_thread("buttons");
    note(OWNER(sin, mouse), "buttons:%x ", buttons);
}

static void set_logical_size(SpiceTabletInstance *sin, int width, int height)
{
    struct inputs *in = OWNER(sin, tablet);
    host_assert_main_thread("set_logical_size");
    in->width = width;
    in->height = height;
}

static void position(SpiceTabletInstance *sin, int x, int y, uint32_t buttons)
{
    host_assert_main_thread("position");
    note(OWNER(sin, tablet), "at:%d,%d,%x ", x, y, buttons);
}

static void wheel(SpiceTabletInstance *sin, int dz, uint32_t buttons)
{
    host_assert_main_thread("wheel");
    note(OWNER(sin, tablet), "wheel:%d,%x ", dz, buttons);
}

static void tablet_buttons(SpiceTabletInstance *sin, uint32_t buttons)
{
    host_assert_main_thread("tablet buttons");
    note(OWNER(sin, tablet), "pen:%x ", buttons);
}

static const SpiceKbdInterface keyboard = {
    .base = { SPICE_INTERFACE_KEYBOARD, "keyboard", SPICE_INTERFACE_KEYBOARD_MAJOR,
              SPICE_INTERFACE_KEYBOARD_MINOR },
    .push_scan_freg = push_scan,
    .get_leds = get_leds,
};

static const SpiceMouseInterface mouse = {
    .base = { SPICE_INTERFACE_MOUSE, "mouse", SPICE_INTERFACE_MOUSE_MAJOR,
              SPICE_INTERFACE_MOUSE_MINOR },
    .motion = motion,
    .buttons = mouse_buttons,
};

static const SpiceTabletInterface tablet = {
    .base = { SPICE_INTERFACE_TABLET, "tablet", SPICE_INTERFACE_TABLET_MAJOR,
              SPICE_INTERFACE_TABLET_MINOR },
    .set_logical_size = set_logical_size,
    .position = position,
    .wheel = wheel,
    .buttons = tablet_buttons,
};

void inputs_prepare(struct inputs *in)
{
    *in = (struct inputs){ 0 };
    in->keyboard.base.sif = &keyboard.base;
    in->mouse.base.sif = &mouse.base;
    in->tablet.base.sif = &tablet.base;
}

void inputs_add(struct inputs *in, SpiceServer *server)
{
    inputs_prepare(in);
    EXPECT_EQ(spice_server_add_interface(server, &in->keyboard.base), 0);
    EXPECT_EQ(spice_server_add_interface(server, &in->mouse.base), 0);
    EXPECT_EQ(spice_server_add_interface(server, &in->tablet.base), 0);
    in->has_keyboard = in->has_mouse = in->has_tablet = true;
}

void inputs_remove(struct inputs *in)
{
    if (in->has_tablet)
        EXPECT_EQ(spice_server_remove_interface(&in->tablet.base), 0);
    if (in->has_mouse)
        EXPECT_EQ(spice_server_remove_interface(&in->mouse.base),
                  differs(DIFF_REMOVE_INPUT, 0, -1));
    if (in->has_keyboard)
        EXPECT_EQ(spice_server_remove_interface(&in->keyboard.base),
                  differs(DIFF_REMOVE_INPUT, 0, -1));
    in->has_tablet = in->has_mouse = in->has_keyboard = false;
}

/* ---- sound ---- */

static const SpicePlaybackInterface playback = {
    .base = { SPICE_INTERFACE_PLAYBACK, "playback", SPICE_INTERFACE_PLAYBACK_MAJOR,
              SPICE_INTERFACE_PLAYBACK_MINOR },
};

static const SpiceRecordInterface record = {
    .base = { SPICE_INTERFACE_RECORD, "record", SPICE_INTERFACE_RECORD_MAJOR,
              SPICE_INTERFACE_RECORD_MINOR },
};

void audio_prepare(struct audio *a)
{
    *a = (struct audio){ 0 };
    a->playback.base.sif = &playback.base;
    a->record.base.sif = &record.base;
}

/* ---- migration ---- */

static struct migration *of_migration(SpiceMigrateInstance *sin)
{
    return (struct migration *)((char *)sin - offsetof(struct migration, sin));
}

static void connect_complete(SpiceMigrateInstance *sin)
{
    host_assert_main_thread("migrate_connect_complete");
    of_migration(sin)->connect_completes++;
}

static void end_complete(SpiceMigrateInstance *sin)
{
    host_assert_main_thread("migrate_end_complete");
    of_migration(sin)->end_completes++;
}

static const SpiceMigrateInterface migration = {
    .base = { SPICE_INTERFACE_MIGRATION, "migration", SPICE_INTERFACE_MIGRATION_MAJOR,
              SPICE_INTERFACE_MIGRATION_MINOR },
    .migrate_connect_complete = connect_complete,
    .migrate_end_complete = end_complete,
};

void migration_prepare(struct migration *m)
{
    *m = (struct migration){ 0 };
    m->sin.base.sif = &migration.base;
}
