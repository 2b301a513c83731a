/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Char devices: byte streams between the guest and the client. The instance's
 * subtype decides what the stream is (agent, smartcard, usbredir, port, ...).
 */
#ifndef SPICE_CHAR_H_
#define SPICE_CHAR_H_

#include "spice-core.h"

SPICE_BEGIN_DECLS

#define SPICE_INTERFACE_CHAR_DEVICE "char_device"
#define SPICE_INTERFACE_CHAR_DEVICE_MAJOR 1
#define SPICE_INTERFACE_CHAR_DEVICE_MINOR 3
typedef struct SpiceCharDeviceInterface SpiceCharDeviceInterface;
typedef struct SpiceCharDeviceInstance SpiceCharDeviceInstance;
typedef struct SpiceCharDeviceState SpiceCharDeviceState;

typedef enum {
    /** The device calls spice_server_char_device_wakeup() when it can take
     * bytes again after a short write. Without this bit the library tries
     * again every 100 ms. */
    SPICE_CHAR_DEVICE_NOTIFY_WRITABLE = 1 << 0,
} spice_char_device_flags;

/** The device as the library uses it. No member may block. The library may
 * call write and read from inside spice_server_add_interface(),
 * spice_server_char_device_wakeup(), spice_server_port_event() and
 * spice_server_vm_start(), and the device may call the library from inside
 * write and read. */
struct SpiceCharDeviceInterface {
    SpiceBaseInterface base;

    /** Tells the device whether somebody is at the other end: 1 a client is
     * there, 0 it left or the device sent something it must not. */
    void (*state)(SpiceCharDeviceInstance *sin, int connected);
    /** Hands `len` bytes to the guest. Returns how many were taken, less than
     * `len` or 0 when the device is full, negative on error. */
    int (*write)(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len);
    /** Fetches at most `len` bytes that the guest wrote. Returns how many,
     * 0 when there are none, negative on error. */
    int (*read)(SpiceCharDeviceInstance *sin, uint8_t *buf, int len);

    /** An event of the client's side of a port (SPICE_PORT_EVENT_*). May be
     * NULL. Since minor version 2. */
    void (*event)(SpiceCharDeviceInstance *sin, uint8_t event);
    /** What the device can do. Since minor version 3. */
    spice_char_device_flags flags;
};

struct SpiceCharDeviceInstance {
    SpiceBaseInstance base;
    /** What the stream is: "vdagent", "smartcard", "usbredir", "port". Other
     * names are accepted and never served. */
    const char *subtype;
    /** The library's; not NULL while the device is in use. */
    SpiceCharDeviceState *st;
    /** For "port": the name the client knows the stream by, for example
     * "org.spice-space.webdav.0". */
    const char *portname;
};

/** The device has bytes to read, or room after a short write: the library
 * reads and writes before it returns. */
void spice_server_char_device_wakeup(SpiceCharDeviceInstance *sin);

/** Something happened on the guest's side of a port: tells the client.
 * `event` is one of SPICE_PORT_EVENT_*. Ignored for other subtypes. */
void spice_server_port_event(SpiceCharDeviceInstance *sin, uint8_t event);

/** The subtypes a host may offer to its users: a static, NULL-terminated
 * list, not to be changed. It does not name "port". Needs no server; any
 * thread. */
const char **spice_server_char_device_recognized_subtypes(void);

SPICE_END_DECLS

#endif /* SPICE_CHAR_H_ */
