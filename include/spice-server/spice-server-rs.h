/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this library has and the upstream one does not. Exported in the version node
 * SPICE_SERVER_RS_1. The rules of spice.h hold here, too.
 *
 * Made from the Rust source by tests/headers.rs; do not edit.
 */

#ifndef SPICE_SERVER_RS_H_
#define SPICE_SERVER_RS_H_

#include <stddef.h>
#include <stdint.h>
#include "spice-server.h"
#include "spice-char-device.h"

/**
 * As the server's configuration has it.
 */
#define SPICE_SERVER_CHANNEL_DEFAULT 0

/**
 * LZ4 is offered to clients.
 */
#define SPICE_SERVER_COMPRESSION_ON 1

/**
 * Data go as they are.
 */
#define SPICE_SERVER_COMPRESSION_OFF 2

/**
 * A second client is refused, the first one stays.
 */
#define SPICE_SERVER_BUSY_REFUSE 1

/**
 * A second client takes over, the first one is cut.
 */
#define SPICE_SERVER_BUSY_TAKE_OVER 2

/**
 * A rule that says which devices get which channel. Zero or NULL is the default for
 * every member but `size` and the one that selects the devices.
 */
typedef struct SpiceServerChannelRule {
    /**
     * sizeof(SpiceServerChannelRule): later versions may have more members at the end.
     */
    uint32_t size;
    /**
     * The channel type, 12 to 255; for ports 10 and 11, too. 0: what the devices would
     * have had, which a new subtype does not have.
     */
    uint32_t channel_type;
    /**
     * For the port of this name; with a `*` at its end for all whose names begin so. NULL
     * when the rule is for a subtype.
     */
    const char *port_name;
    /**
     * For devices of this subtype (`-chardev spicevmc,name=...`). NULL when the rule is
     * for ports.
     */
    const char *subtype;
    /**
     * The channel's name in spice_server_set_channel_security() and in the log: 1 to 32
     * of the characters a-z, 0-9, '-', '_' and '.'. NULL: "channel-" and the type.
     */
    const char *name;
    /**
     * SPICE_SERVER_COMPRESSION_ON or _OFF.
     */
    uint32_t compression;
    /**
     * SPICE_SERVER_BUSY_REFUSE or _TAKE_OVER.
     */
    uint32_t busy;
    /**
     * Seconds, up to 86400, after which a client that cannot be reached any more is cut
     * (TCP only); -1: only the kernel's keepalive finds it, after ten minutes and more.
     */
    int32_t idle_timeout;
    /**
     * 0.
     */
    uint32_t reserved;
} SpiceServerChannelRule;

/**
 * What a channel of a char device has moved since the device was added, over all its
 * clients: bytes of data without headers.
 */
typedef struct SpiceServerChannelStatistics {
    /**
     * Set by the caller: sizeof(SpiceServerChannelStatistics). No more than so much is
     * written.
     */
    uint32_t size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * From clients, in messages that were not compressed.
     */
    uint64_t in_data;
    /**
     * From clients, compressed, as it came.
     */
    uint64_t in_compressed;
    /**
     * From clients, what the compressed bytes came to.
     */
    uint64_t in_decompressed;
    /**
     * From the device.
     */
    uint64_t out_data;
    /**
     * To clients, compressed, as it was sent.
     */
    uint64_t out_compressed;
    /**
     * To clients, what those bytes had been.
     */
    uint64_t out_uncompressed;
} SpiceServerChannelStatistics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Adds a rule that says which devices get which channel, for devices that are added
 * from now on. May be called before and after spice_server_init(). Rules of the
 * configuration file for the same devices come first: this one is refused then, or, if
 * the file's is in a section for this VM, dropped by spice_server_init() with a line in
 * the log.
 *
 * @param rule is copied, with its texts
 * @return 0; -1, logged, when a member is wrong, a rule for the same devices is there,
 *   or the type or the name is taken by another channel
 *
 * Main thread.
 */
int spice_server_register_channel(SpiceServer *server,
                                  const struct SpiceServerChannelRule *rule);

/**
 * Tells what a channel has moved.
 *
 * @param channel_type the channel's type, 9 for USB redirection and so on
 * @param id tells channels of one type apart; the first is 0
 * @param statistics where to write it; its `size` is set by the caller
 * @return 0; -1, logged, when there is no such channel of a char device, or
 *   `statistics` is NULL or too small
 *
 * Main thread.
 */
int spice_server_channel_statistics(SpiceServer *server,
                                    uint8_t channel_type,
                                    uint8_t id,
                                    struct SpiceServerChannelStatistics *statistics);

/**
 * Writes all statistics of a server as a JSON object, the one that the statistics socket
 * answers with (docs/statistics.md): numbers of the server, its channels, clients and
 * their connections. Later versions may have more names in it.
 *
 * @param buffer where to write it, with a NUL behind it; NULL only if `size` is 0
 * @param size bytes that `buffer` has. What does not fit is not written at all, but an
 *   empty string is, if that fits
 * @return the length of the object without the NUL, whether it was written or not; -1,
 *   logged, when `buffer` is NULL and should not be. It grows with every client and
 *   digit: ask again with room to spare
 *
 * Main thread.
 */
int spice_server_statistics_json(SpiceServer *server, char *buffer, size_t size);

/**
 * Like spice_char_device_state_create(), for a device of this server.
 *
 * @param server a server that was given to spice_server_init(); another one, or NULL,
 *   is refused: logged, NULL
 *
 * Main thread.
 */
SpiceCharDeviceState *spice_server_char_device_state_create(SpiceServer *server,
                                                            SpiceCharDeviceInstance *sin,
                                                            uint32_t client_tokens_interval,
                                                            uint32_t self_tokens,
                                                            SpiceCharDeviceCallbacks *cbs,
                                                            void *opaque);

/**
 * Like spice_char_device_state_restore(), for a block that came from elsewhere: where
 * the unwritten bytes lie is compared with the length of the message.
 *
 * @param message the whole body of a migration message, beginning with its 8 bytes of
 *   magic and version
 * @param size its length in bytes
 * @param offset where in it the block begins. The unwritten bytes are looked for
 *   `write_data_ptr` bytes from the message's beginning.
 * @return 1, or, logged, 0 when the block cannot be used
 *
 * Main thread.
 */
int spice_server_char_device_state_restore(SpiceCharDeviceState *dev,
                                           const uint8_t *message,
                                           size_t size,
                                           size_t offset);

/**
 * Like spicevmc_device_connect(), for a channel of this server.
 *
 * @param server a server that was given to spice_server_init(); another one, or NULL,
 *   is refused: logged, NULL
 *
 * Main thread.
 */
SpiceCharDeviceState *spice_server_spicevmc_device_connect(SpiceServer *server,
                                                           SpiceCharDeviceInstance *sin,
                                                           uint8_t channel_type);

/**
 * Like spicevmc_device_disconnect(), for a channel of this server; a channel of
 * another one is refused and logged.
 *
 * Main thread.
 */
void spice_server_spicevmc_device_disconnect(SpiceServer *server,
                                             SpiceCharDeviceInstance *sin);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SPICE_SERVER_RS_H_ */
