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

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

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
