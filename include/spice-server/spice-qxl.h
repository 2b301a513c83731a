/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Display devices. Each QXL instance has a worker thread in the library, which
 * fetches drawing commands from the host's rings and sends them to clients.
 *
 * Thread: the functions may be called from any thread, one at a time. Those
 * without _async return when the worker has done the work, unless marked
 * "does not wait". Those with _async return at once; the worker then calls
 * async_complete with the given cookie, exactly once.
 */
#ifndef SPICE_QXL_H_
#define SPICE_QXL_H_

#include "spice-core.h"

SPICE_BEGIN_DECLS

#ifndef SPICE_CAPABILITIES_SIZE
/** Bytes in the capability field that the guest reads: 58. */
#define SPICE_CAPABILITIES_SIZE (sizeof(((QXLRom *)0)->client_capabilities))
#endif

#define SPICE_INTERFACE_QXL "qxl"
#define SPICE_INTERFACE_QXL_MAJOR 3
#define SPICE_INTERFACE_QXL_MINOR 3

typedef struct QXLInterface QXLInterface;
typedef struct QXLInstance QXLInstance;
typedef struct QXLState QXLState;
typedef struct QXLWorker QXLWorker;
typedef struct QXLDevMemSlot QXLDevMemSlot;
typedef struct QXLDevSurfaceCreate QXLDevSurfaceCreate;

/** What the device looks like; asked for once, before the worker starts. */
typedef struct QXLDevInitInfo {
    /** Size of the memory slot table: groups times slots. */
    uint32_t num_memslots_groups;
    uint32_t num_memslots;
    /** A guest address is, from the top: slot number, generation, offset. */
    uint8_t memslot_gen_bits;
    uint8_t memslot_id_bits;
    /** Bytes of guest memory for drawing; clients size their caches by it. */
    uint32_t qxl_ram_size;
    /** Not read any more. */
    uint8_t internal_groupslot_id;
    /** How many surfaces the device can have. */
    uint32_t n_surfaces;
} QXLDevInitInfo;

/** A piece of host memory that commands may point into. */
struct QXLDevMemSlot {
    uint32_t slot_group_id;
    uint32_t slot_id;
    /** Addresses with another generation are refused. */
    uint32_t generation;
    /** First byte and one past the last, in the host's address space. A slot 0
     * from 0 to ~0 with addr_delta 0 makes its group one of plain pointers. */
    uintptr_t virt_start;
    uintptr_t virt_end;
    /** Added to the offset in a guest address gives the host address. */
    uint64_t addr_delta;
    /** Not read. */
    uint32_t qxl_ram_size;
};

/** A surface in memory of the caller's: the library draws there, and the
 * caller may read the picture after an update, flush, stop or destroy. */
struct QXLDevSurfaceCreate {
    /** In pixels. */
    uint32_t width;
    uint32_t height;
    /** Bytes from one line to the next; negative: the bottom line comes first. */
    int32_t stride;
    /** SPICE_SURFACE_FMT_*. */
    uint32_t format;
    /** Not read. */
    uint32_t position;
    /** Not 0: the device wants absolute pointer positions. */
    uint32_t mouse_mode;
    /** QXL_SURF_FLAG_*. */
    uint32_t flags;
    /** QXL_SURF_TYPE_*. */
    uint32_t type;
    /** Guest address (QXLPHYSICAL) of the pixels. */
    uint64_t mem;
    /** Memory slot group of that address. */
    uint32_t group_id;
};

/** The device as the library uses it. [M]: called on the thread of
 * spice_server_init(); [W]: called on the worker thread. Nothing is called
 * before attached_worker or after spice_server_remove_interface(). */
struct QXLInterface {
    SpiceBaseInterface base;

    __extension__ union {
        /** [M] The worker is there: memory slots and surfaces may be given. */
        void (*attached_worker)(QXLInstance *qin);
        /** Its name and form in old hosts. */
        void (*attache_worker)(QXLInstance *qin, QXLWorker *qxl_worker) SPICE_GNUC_DEPRECATED;
    };
    /** [M] How much a guest driver should compress: 0 or 1. */
    void (*set_compression_level)(QXLInstance *qin, int level);
    /** Never called. */
    void (*set_mm_time)(QXLInstance *qin, uint32_t mm_time) SPICE_GNUC_DEPRECATED;

    /** [M] Fills in what the device looks like. */
    void (*get_init_info)(QXLInstance *qin, QXLDevInitInfo *info);

    /** [W] Fetches the next display command: 1 and *cmd, or 0 when there is
     * none. Does not block. */
    int (*get_command)(QXLInstance *qin, struct QXLCommandExt *cmd);
    /** [W] Asks for spice_qxl_wakeup() at the next command: 1, or 0 when one
     * has come meanwhile, which is to be fetched first. */
    int (*req_cmd_notification)(QXLInstance *qin);
    /** [W] The memory of a fetched command is not needed any more. Called once
     * for each. */
    void (*release_resource)(QXLInstance *qin, struct QXLReleaseInfoExt release_info);
    /** [W] The same two for cursor commands. */
    int (*get_cursor_command)(QXLInstance *qin, struct QXLCommandExt *cmd);
    int (*req_cursor_notification)(QXLInstance *qin);
    /** [W] An update command of the guest, with this id, is done. */
    void (*notify_update)(QXLInstance *qin, uint32_t update_id);
    /** [W] Lets the guest take back released memory; 0 when there was none. */
    int (*flush_resources)(QXLInstance *qin);
    /** [W] An _async call is done. Since minor version 1. */
    void (*async_complete)(QXLInstance *qin, uint64_t cookie);
    /** [W] The rectangles that spice_qxl_update_area_async() found changed;
     * before its async_complete. Since minor version 2. */
    void (*update_area_complete)(QXLInstance *qin, uint32_t surface_id,
                                 struct QXLRect *updated_rects,
                                 uint32_t num_updated_rects);
    /** [W] Whether a client is there, and what all clients can do: bit n of
     * SPICE_DISPLAY_CAP_* is at caps[n / 8], bit n % 8. May be NULL. Since minor
     * version 2. */
    void (*set_client_capabilities)(QXLInstance *qin,
                                    uint8_t client_present,
                                    uint8_t caps[SPICE_CAPABILITIES_SIZE]);
    /** [M] The client's user arranged the monitors so. Returns 1 when the
     * device can pass it on, 0 when not; NULL only asks. May be NULL itself.
     * Since minor version 3. */
    int (*client_monitors_config)(QXLInstance *qin,
                                  VDAgentMonitorsConfig *monitors_config);
};

struct QXLInstance {
    SpiceBaseInstance base;
    /** Number of the display channel: at least 0, and no other's. */
    int id;
    /** The library's. */
    QXLState *st;
};

/** Commands wait, after req_*_notification returned 1. Does not wait. */
void spice_qxl_wakeup(QXLInstance *instance);
/** The guest is out of memory: the library releases what it can and calls
 * flush_resources. Does not wait. */
void spice_qxl_oom(QXLInstance *instance);
/** Replaced by spice_server_vm_start(). Does not wait. */
void spice_qxl_start(QXLInstance *instance) SPICE_GNUC_DEPRECATED;
/** Replaced by spice_server_vm_stop(). */
void spice_qxl_stop(QXLInstance *instance) SPICE_GNUC_DEPRECATED;

/** Draws all commands so far as far as they touch `area` of the surface.
 * `dirty_rects` gets up to `num_dirty_rects` changed rectangles, unused ones
 * all zero; with `clear_dirty_region` they count as unchanged from then on. */
void spice_qxl_update_area(QXLInstance *instance, uint32_t surface_id,
                           struct QXLRect *area, struct QXLRect *dirty_rects,
                           uint32_t num_dirty_rects, uint32_t clear_dirty_region);
/** Adds or replaces a memory slot. */
void spice_qxl_add_memslot(QXLInstance *instance, QXLDevMemSlot *slot);
/** Forgets one. Does not wait. */
void spice_qxl_del_memslot(QXLInstance *instance, uint32_t slot_group_id, uint32_t slot_id);
/** Forgets all. Does not wait. */
void spice_qxl_reset_memslots(QXLInstance *instance);
/** Drops all surfaces, drawn to the end. */
void spice_qxl_destroy_surfaces(QXLInstance *instance);
/** Drops the primary surface; `surface_id` is 0. */
void spice_qxl_destroy_primary_surface(QXLInstance *instance, uint32_t surface_id);
/** Makes the primary surface; `surface_id` is 0. */
void spice_qxl_create_primary_surface(QXLInstance *instance, uint32_t surface_id,
                                      QXLDevSurfaceCreate *surface);
/** Forgets the images that commands asked to keep. */
void spice_qxl_reset_image_cache(QXLInstance *instance);
/** No cursor any more. */
void spice_qxl_reset_cursor(QXLInstance *instance);
/** Drops a surface once everything that depends on it is drawn. */
void spice_qxl_destroy_surface_wait(QXLInstance *instance, uint32_t surface_id);
/** After the host restored a guest: `count` commands that make its surfaces
 * and its cursor again. */
void spice_qxl_loadvm_commands(QXLInstance *instance, struct QXLCommandExt *ext, uint32_t count);

/** The same as the functions above. */
void spice_qxl_update_area_async(QXLInstance *instance, uint32_t surface_id, QXLRect *qxl_area,
                                 uint32_t clear_dirty_region, uint64_t cookie);
void spice_qxl_add_memslot_async(QXLInstance *instance, QXLDevMemSlot *slot, uint64_t cookie);
void spice_qxl_destroy_surfaces_async(QXLInstance *instance, uint64_t cookie);
void spice_qxl_destroy_primary_surface_async(QXLInstance *instance, uint32_t surface_id,
                                             uint64_t cookie);
void spice_qxl_create_primary_surface_async(QXLInstance *instance, uint32_t surface_id,
                                            QXLDevSurfaceCreate *surface, uint64_t cookie);
void spice_qxl_destroy_surface_async(QXLInstance *instance, uint32_t surface_id, uint64_t cookie);
/** Draws everything, so that all guest memory of commands is released. */
void spice_qxl_flush_surfaces_async(QXLInstance *instance, uint64_t cookie);
/** The guest arranged its monitors: a QXLMonitorsConfig at a guest address in
 * slot group `group_id`. */
void spice_qxl_monitors_config_async(QXLInstance *instance, QXLPHYSICAL monitors_config,
                                     int group_id, uint64_t cookie);

/** The guest's driver is gone: monitors follow the primary surface again.
 * Does not wait. */
void spice_qxl_driver_unload(QXLInstance *instance);
/** Replaced by spice_qxl_set_device_info(). */
void spice_qxl_set_max_monitors(QXLInstance *instance,
                                unsigned int max_monitors) SPICE_GNUC_DEPRECATED;
/** Tells clients and the agent which guest device this is, so that they agree
 * on monitors.
 *
 * `device_address` is "pci/DDDD/SS.F", where DDDD is the PCI domain and SS.F
 * slot and function, all hexadecimal; a device behind bridges has one /SS.F for
 * each bridge before its own. At most 255 bytes.
 *
 * Monitor n of this instance is output `device_display_id_start` + n of that
 * device; it has `device_display_id_count` (at most 16). A device with three
 * outputs and one instance says 0, 3; one with an instance for each output says
 * 0, 1 then 1, 1 then 2, 1. */
void spice_qxl_set_device_info(QXLInstance *instance,
                               const char *device_address,
                               uint32_t device_display_id_start,
                               uint32_t device_display_id_count);

/* Pictures that stay on the graphics card: the scanout is a dma-buf, drawn by
 * the client itself. The two scanout calls do not wait; the library owns each
 * fd from the call on and closes it when the next scanout replaces it. */

/** One plane: `fd` is the buffer (-1: no scanout), `stride` its bytes per line,
 * `format` a DRM fourcc. `y_0_top` not 0: the first line is the top one. */
void spice_qxl_gl_scanout(QXLInstance *qxl,
                          int fd,
                          uint32_t width, uint32_t height,
                          uint32_t stride, uint32_t format,
                          int y_0_top);
/** Up to 4 planes, each with its fd, offset and stride in bytes, and a DRM
 * modifier. 0 planes, with NULL for the arrays, or a first fd of -1: no
 * scanout. Since 0.16. */
void spice_qxl_gl_scanout2(QXLInstance *qxl, const int *fd,
                           uint32_t width, uint32_t height,
                           const uint32_t *offset, const uint32_t *stride,
                           uint32_t num_planes,
                           uint32_t format, uint64_t modifier,
                           int y_0_top);
/** The rectangle of the scanout changed. async_complete, from either thread,
 * says that the buffer may be drawn to again; until then no second call. */
void spice_qxl_gl_draw_async(QXLInstance *qxl,
                             uint32_t x, uint32_t y,
                             uint32_t w, uint32_t h,
                             uint64_t cookie);

SPICE_END_DECLS

#endif /* SPICE_QXL_H_ */
