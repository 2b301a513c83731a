/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every interface starts with, and the one interface the library cannot
 * do without: the host's main loop.
 */
#ifndef SPICE_CORE_H_
#define SPICE_CORE_H_

#include <stdint.h>
#include <sys/socket.h>

#include <spice/macros.h>
#include <spice/qxl_dev.h>
#include <spice/vd_agent.h>

/* Programs that test the old functions on purpose define SPICE_SERVER_INTERNAL
 * before the first include to be spared the deprecation warnings. */
#ifdef SPICE_SERVER_INTERNAL
#undef SPICE_GNUC_DEPRECATED
#define SPICE_GNUC_DEPRECATED
#endif

SPICE_BEGIN_DECLS

typedef struct SpiceBaseInterface SpiceBaseInterface;
typedef struct SpiceBaseInstance SpiceBaseInstance;

/** The head of every interface: which one it is and in which version. */
struct SpiceBaseInterface {
    /** One of the SPICE_INTERFACE_* names. */
    const char *type;
    /** Free text for logs. */
    const char *description;
    /** Must equal the library's SPICE_INTERFACE_*_MAJOR. */
    uint32_t major_version;
    /** At most the library's SPICE_INTERFACE_*_MINOR. Members that came with a
     * later minor version are neither read nor called. */
    uint32_t minor_version;
};

/** The head of every instance, which is one device that speaks an interface. */
struct SpiceBaseInstance {
    const SpiceBaseInterface *sif;
};

#define SPICE_INTERFACE_CORE "core"
#define SPICE_INTERFACE_CORE_MAJOR 1
#define SPICE_INTERFACE_CORE_MINOR 3
typedef struct SpiceCoreInterface SpiceCoreInterface;

/** Bits of a watch's event mask. */
#define SPICE_WATCH_EVENT_READ  (1 << 0)
#define SPICE_WATCH_EVENT_WRITE (1 << 1)

/** Values of channel_event's first argument: the connection was accepted (no
 * byte read yet), its channel is authenticated, it is gone. */
#define SPICE_CHANNEL_EVENT_CONNECTED     1
#define SPICE_CHANNEL_EVENT_INITIALIZED   2
#define SPICE_CHANNEL_EVENT_DISCONNECTED  3

/** Bits of SpiceChannelEventInfo.flags. */
#define SPICE_CHANNEL_EVENT_FLAG_TLS      (1 << 0)
#define SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT (1 << 1)

/** Made by the host in watch_add; the library only hands it back. */
typedef struct SpiceWatch SpiceWatch;
/** `event` holds those SPICE_WATCH_EVENT_* bits that are ready on `fd`. */
typedef void (*SpiceWatchFunc)(int fd, int event, void *opaque);

/** Made by the host in timer_add; the library only hands it back. */
typedef struct SpiceTimer SpiceTimer;
typedef void (*SpiceTimerFunc)(void *opaque);

/** A connection, as channel_event is told of it. One connection has the same
 * structure in all its events; it is the library's and gone after
 * SPICE_CHANNEL_EVENT_DISCONNECTED. */
typedef struct SpiceChannelEventInfo {
    /** Names the client session; the same for all its channels. 0 before
     * SPICE_CHANNEL_EVENT_INITIALIZED. */
    int connection_id;
    /** SPICE_CHANNEL_*; 0 until INITIALIZED. */
    int type;
    /** Number of the channel among those of its type. */
    int id;
    /** SPICE_CHANNEL_EVENT_FLAG_* bits. */
    int flags;
    /** Local and peer address, cut to what a struct sockaddr holds. Too short
     * for IPv6: use the _ext members. */
    struct sockaddr laddr SPICE_GNUC_DEPRECATED;
    struct sockaddr paddr SPICE_GNUC_DEPRECATED;
    socklen_t llen SPICE_GNUC_DEPRECATED;
    socklen_t plen SPICE_GNUC_DEPRECATED;
    /** Local and peer address; valid with SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT. */
    struct sockaddr_storage laddr_ext;
    struct sockaddr_storage paddr_ext;
    /** Their lengths in bytes. */
    socklen_t llen_ext, plen_ext;
} SpiceChannelEventInfo;

/** The host's main loop. All members are called, and call back, on the thread
 * of spice_server_init(). */
struct SpiceCoreInterface {
    SpiceBaseInterface base;

    /** Makes a timer that is not running. */
    SpiceTimer *(*timer_add)(SpiceTimerFunc func, void *opaque);
    /** Lets the timer fire once, `ms` milliseconds from now; restarts it if it
     * is running. */
    void (*timer_start)(SpiceTimer *timer, uint32_t ms);
    /** Stops the timer; it may be started again. */
    void (*timer_cancel)(SpiceTimer *timer);
    /** Stops and frees the timer; its function is not called any more. */
    void (*timer_remove)(SpiceTimer *timer);

    /** Calls `func` whenever `fd` is ready for one of `event_mask`. A mask of
     * 0 is allowed: a watch that is asleep. */
    SpiceWatch *(*watch_add)(int fd, int event_mask, SpiceWatchFunc func, void *opaque);
    /** Replaces the mask. */
    void (*watch_update_mask)(SpiceWatch *watch, int event_mask);
    /** Frees the watch; its function is not called any more. The library
     * closes the fd itself. */
    void (*watch_remove)(SpiceWatch *watch);

    /** A client channel came, was authenticated, or went: SPICE_CHANNEL_EVENT_*.
     * May be NULL. Since minor version 3. May be called from inside
     * spice_server_add_client(). */
    void (*channel_event)(int event, SpiceChannelEventInfo *info);
};

SPICE_END_DECLS

#endif /* SPICE_CORE_H_ */
