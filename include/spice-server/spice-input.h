/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keyboard, mouse and tablet: what the client's user does, on its way to the
 * guest. At most one of each per server; a second one is refused.
 */
#ifndef SPICE_INPUT_H_
#define SPICE_INPUT_H_

#include "spice-core.h"

SPICE_BEGIN_DECLS

#define SPICE_INTERFACE_KEYBOARD "keyboard"
#define SPICE_INTERFACE_KEYBOARD_MAJOR 1
#define SPICE_INTERFACE_KEYBOARD_MINOR 1
typedef struct SpiceKbdInterface SpiceKbdInterface;
typedef struct SpiceKbdInstance SpiceKbdInstance;
typedef struct SpiceKbdState SpiceKbdState;

struct SpiceKbdInterface {
    SpiceBaseInterface base;

    /** One byte of a PC scan code (set 1), as a keyboard controller sees it:
     * 0xE0 prefixes come as bytes of their own, releases have bit 7 set. */
    void (*push_scan_freg)(SpiceKbdInstance *sin, uint8_t frag);
    /** The lamps as the guest has set them: SPICE_KEYBOARD_MODIFIER_FLAGS_*. */
    uint8_t (*get_leds)(SpiceKbdInstance *sin);
};

struct SpiceKbdInstance {
    SpiceBaseInstance base;
    /** The library's. */
    SpiceKbdState *st;
};

/** The guest changed the keyboard lamps (SPICE_KEYBOARD_MODIFIER_FLAGS_*):
 * tells all clients. Returns 0. */
int spice_server_kbd_leds(SpiceKbdInstance *sin, int leds);

#define SPICE_INTERFACE_MOUSE "mouse"
#define SPICE_INTERFACE_MOUSE_MAJOR 1
#define SPICE_INTERFACE_MOUSE_MINOR 1
typedef struct SpiceMouseInterface SpiceMouseInterface;
typedef struct SpiceMouseInstance SpiceMouseInstance;
typedef struct SpiceMouseState SpiceMouseState;

/** A pointer that moves by steps. Button masks: 1 left, 2 right, 4 middle,
 * 0x40 side, 0x80 extra. */
struct SpiceMouseInterface {
    SpiceBaseInterface base;

    /** Moved by dx to the right, dy down, dz wheel clicks towards the user. */
    void (*motion)(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t buttons_state);
    /** The buttons held changed. */
    void (*buttons)(SpiceMouseInstance *sin, uint32_t buttons_state);
};

struct SpiceMouseInstance {
    SpiceBaseInstance base;
    /** The library's. */
    SpiceMouseState *st;
};

#define SPICE_INTERFACE_TABLET "tablet"
#define SPICE_INTERFACE_TABLET_MAJOR 1
#define SPICE_INTERFACE_TABLET_MINOR 1
typedef struct SpiceTabletInterface SpiceTabletInterface;
typedef struct SpiceTabletInstance SpiceTabletInstance;
typedef struct SpiceTabletState SpiceTabletState;

/** A pointer that is somewhere. While one is there clients may show their own
 * cursor (client mouse mode). Button masks as for the mouse. */
struct SpiceTabletInterface {
    SpiceBaseInterface base;

    /** The extent, in pixels, of the coordinates given to position. */
    void (*set_logical_size)(SpiceTabletInstance *tablet, int width, int height);
    /** The pointer is at x, y. */
    void (*position)(SpiceTabletInstance *tablet, int x, int y, uint32_t buttons_state);
    /** The wheel turned: 1 towards the user, -1 away, 0 not at all. */
    void (*wheel)(SpiceTabletInstance *tablet, int wheel_motion, uint32_t buttons_state);
    /** The buttons held changed. */
    void (*buttons)(SpiceTabletInstance *tablet, uint32_t buttons_state);
};

struct SpiceTabletInstance {
    SpiceBaseInstance base;
    /** The library's. */
    SpiceTabletState *st;
};

SPICE_END_DECLS

#endif /* SPICE_INPUT_H_ */
