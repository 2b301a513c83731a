/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other devices a host registers: a QXL display, keyboard, mouse, tablet,
 * sound in and out, migration.
 *
 * The QXL device is like QEMU's simple display: memory group 0 holds plain
 * pointers, one primary surface, a ring of DRAW_COPY commands made from a frame
 * buffer.  Its callbacks may come from any thread (the library's display worker);
 * the struct is guarded by a lock and the host's loop is woken after each change.
 * Use qxl_wait_*() and qxl_count() to look at it.
 */
#ifndef DEVICES_H
#define DEVICES_H

#include <pthread.h>
#include <spice.h>
#include <stdbool.h>

enum { QXL_RING = 64, QXL_COOKIES = 256, QXL_GUEST_COMMAND = 512 };

struct qxl_command; /* one command on the ring, with its release info */

struct qxl {
    QXLInstance sin;
    bool added;
    uint32_t ram_size;
    uint32_t n_surfaces;
    uint8_t *frame; /**< memory of the primary surface, 32-bit xRGB */
    uint32_t width, height;
    uint8_t shade;  /**< of what qxl_draw() draws, in each byte of a pixel; 0 means 0x40 */
    bool gradual;   /**< it draws what looks like a photograph instead, lighter by the shade */

    pthread_mutex_t lock;
    struct qxl_command *ring[QXL_RING];
    struct qxl_command *cursor_ring[QXL_RING];
    unsigned head, tail;               /**< display ring: taken, given */
    unsigned cursor_head, cursor_tail;
    int live;             /**< commands allocated and not freed */
    int fetched;          /**< commands taken by the library */
    int released;         /**< release_resource calls */
    int twice;            /**< releases of something already released */
    int notified;         /**< req_cmd_notification calls that armed it */
    bool armed, cursor_armed; /**< the rings whose next command is told of */
    int attached;         /**< attached_worker calls */
    int init_infos;
    int compression_levels;
    int updates;          /**< notify_update calls */
    int flushes;          /**< flush_resources calls */
    int area_updates;     /**< update_area_complete calls */
    QXLRect area_rects[8]; /**< of the last one, as far as they fit */
    int n_area_rects;
    int capabilities;     /**< set_client_capabilities calls */
    bool takes_monitors;  /**< client_monitors_config says so */
    int monitors_configs; /**< how often it got monitors */
    uint8_t monitors[8192];
    size_t monitors_size; /**< of the last VDAgentMonitorsConfig */
    uint64_t cookies[QXL_COOKIES];
    int n_cookies;
    bool removed;         /**< callbacks are violations from now on */
};

void qxl_prepare(struct qxl *q, int id);
/** add_interface, expected to work; then memory slot 0 of group 0 as QEMU makes it. */
void qxl_add(struct qxl *q, SpiceServer *server);
/** Slot 0 of group 0: start 0, end ~0, delta 0. */
void qxl_add_host_slot(struct qxl *q);
/** Primary surface on fresh memory. */
void qxl_create_primary(struct qxl *q, uint32_t width, uint32_t height);
/** The description qxl_create_primary() uses (memory is allocated). */
QXLDevSurfaceCreate qxl_surface(struct qxl *q, uint32_t width, uint32_t height);
/** remove_interface when it was added; afterwards every command must be back. */
void qxl_remove(struct qxl *q);

/** Puts a DRAW_COPY of a rectangle of the frame on the ring; false when full. */
bool qxl_draw(struct qxl *q, int left, int top, int right, int bottom);
/** Puts a drawable on the ring whose addresses are plain pointers; false when full. */
bool qxl_push_drawable(struct qxl *q, const QXLDrawable *drawable);
/** The same in the guest's own memory, which has room for QXL_GUEST_COMMAND bytes there and
 *  goes by this address in group 1, as all that the drawable points to.  NULL when full. */
QXLDrawable *qxl_push_guest(struct qxl *q, void *memory, uint64_t address,
                            const QXLDrawable *drawable);
/** The same in the layout of old drivers. */
bool qxl_push_compat(struct qxl *q, const QXLCompatDrawable *drawable, uint32_t flags);
/** Puts a surface command on the ring. */
bool qxl_push_surface(struct qxl *q, const QXLSurfaceCmd *command);
/** Puts a raw command on the ring. */
bool qxl_push_raw(struct qxl *q, uint32_t type, uint32_t group);
/** Puts a cursor SET or MOVE on the cursor ring. */
bool qxl_cursor(struct qxl *q, uint8_t type, int x, int y);

/** A pointer's picture. */
struct qxl_pointer {
    uint64_t unique;
    uint16_t type, width, height, hot_x, hot_y;
    const void *data;
    size_t size;
    size_t pieces;              /**< how many chunks it is in; 0: one */
    void (*spoil)(QXLCursor *); /**< changes the structure before it is given */
};
/** Puts a cursor SET with a picture on the cursor ring. */
bool qxl_shape(struct qxl *q, const struct qxl_pointer *p, int x, int y, bool visible);
/** Puts a cursor TRAIL on the cursor ring. */
bool qxl_trail(struct qxl *q, uint16_t length, uint16_t frequency);

/** Forgets the commands that were fetched and cannot come back. */
void qxl_write_off(struct qxl *q);

/** A guarded look at one of the counters. */
int qxl_count(struct qxl *q, const int *counter);
/** Waits until `*counter >= n`. */
bool qxl_wait(struct qxl *q, const int *counter, int n);
/** How often this cookie was completed. */
int qxl_completed(struct qxl *q, uint64_t cookie);
/** Waits until it was completed at least once. */
bool qxl_wait_cookie(struct qxl *q, uint64_t cookie);

struct inputs {
    SpiceKbdInstance keyboard;
    SpiceMouseInstance mouse;
    SpiceTabletInstance tablet;
    bool has_keyboard, has_mouse, has_tablet;
    int width, height; /**< last set_logical_size */
    uint8_t leds;      /**< what get_leds answers */
    /** What the devices were told, a word each, with a blank behind it: `1e` a byte of
     *  a scan code; `motion:DX,DY,DZ,BUTTONS`, `buttons:B` the mouse; `at:X,Y,BUTTONS`,
     *  `wheel:DZ,BUTTONS`, `pen:BUTTONS` the tablet. */
    char told[16384];
    size_t n_told;
    /** Called inside push_scan_freg, after the byte was noted. */
    void (*on_scan)(struct inputs *in, uint8_t byte);
};

void inputs_prepare(struct inputs *in);
/** Adds all three. */
void inputs_add(struct inputs *in, SpiceServer *server);
/** Removes what is there (keyboard and mouse as newer QEMU does). */
void inputs_remove(struct inputs *in);

struct audio {
    SpicePlaybackInstance playback;
    SpiceRecordInstance record;
};

void audio_prepare(struct audio *a);

struct migration {
    SpiceMigrateInstance sin;
    int connect_completes, end_completes;
};

void migration_prepare(struct migration *m);

#endif
