/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Char devices of a program's own making: the C API that SPICE's server library
 * had inside, in its 0.12 series, for everything that reads and writes a char
 * device. Exported in the version node SPICE_CHAR_DEVICE_0.12.
 *
 * A device is made around an instance (spice-char.h) with a table of callbacks.
 * Bytes for the device go through write buffers: get, fill, add. Messages from
 * the device are read by a callback and sent to each client by another one. Tokens
 * limit both directions. The rules of spice.h hold here, too; where a function says
 * "logged", one line says what was wrong and nothing else happens.
 *
 * Made from the Rust source by tests/headers.rs; do not edit.
 */

#ifndef SPICE_CHAR_DEVICE_H_
#define SPICE_CHAR_DEVICE_H_

#include <stddef.h>
#include <stdint.h>
#include "spice-char.h"

/**
 * A client, as far as char devices are concerned: a pointer that tells clients
 * apart. The library compares it and hands it back in callbacks; it never looks
 * behind it, so any address that is not NULL will do.
 */
typedef struct RedClient RedClient;

/**
 * A message that is being built, or a part of one. The library's; only ever held by
 * pointer.
 */
typedef struct SpiceMarshaller SpiceMarshaller;

/**
 * The state of a char device on its way to another host, as it stands in a migration
 * message: 25 bytes, packed, little endian. The numbers are uint32_t except for
 * `connected`, which is one byte.
 *
 * | offset | field                                                            |
 * |--------|------------------------------------------------------------------|
 * | 0      | version: 1                                                       |
 * | 4      | connected: 1, or 0 for an empty block                            |
 * | 5      | num_client_tokens                                                |
 * | 9      | num_send_tokens                                                  |
 * | 13     | write_size: bytes that the device has not taken yet              |
 * | 17     | write_num_client_tokens: tokens that those bytes are worth       |
 * | 21     | write_data_ptr: where they are, counted from 8 bytes before this |
 * |        | block, which is where the message begins                         |
 */
typedef struct SpiceMigrateDataCharDevice SpiceMigrateDataCharDevice;

/**
 * A message from the device to its clients: whatever read_one_msg_from_device()
 * returns. The library never looks behind the pointer.
 */
typedef void SpiceCharDeviceMsgToClient;

/**
 * What a char device does. All but on_free_self_token() must be there.
 *
 * The library calls these on the thread that calls it (in QEMU: the main loop). A
 * callback may call every function of this header, for this device and others; a
 * device that is destroyed from inside a callback of its own gets no further
 * callback but unref_msg_to_client(). `opaque` is what
 * spice_char_device_state_create() was given.
 */
typedef struct SpiceCharDeviceCallbacks {
    /**
     * Takes one message for the clients out of the device, with the read function of
     * `sin`. NULL: there is none now. The library owns one reference of what is
     * returned.
     */
    SpiceCharDeviceMsgToClient *(*read_one_msg_from_device)(SpiceCharDeviceInstance *sin,
                                                            void *opaque);
    /**
     * Adds a reference to a message that has to wait for a client's token; returns
     * the pointer to remember, usually `msg`.
     */
    SpiceCharDeviceMsgToClient *(*ref_msg_to_client)(SpiceCharDeviceMsgToClient *msg,
                                                     void *opaque);
    /**
     * Drops a reference to a message.
     */
    void (*unref_msg_to_client)(SpiceCharDeviceMsgToClient *msg, void *opaque);
    /**
     * Sends a message to a client. Whoever keeps the message takes a reference of its
     * own: the library drops its own afterwards.
     */
    void (*send_msg_to_client)(SpiceCharDeviceMsgToClient *msg,
                               struct RedClient *client,
                               void *opaque);
    /**
     * Tells a client that it may send `tokens` more messages. Only called for clients
     * with flow control.
     */
    void (*send_tokens_to_client)(struct RedClient *client, uint32_t tokens, void *opaque);
    /**
     * A buffer that the server made is free again, and with it a token. May be NULL.
     */
    void (*on_free_self_token)(void *opaque);
    /**
     * Cut this client: it sent without a token, or its queue is full, or it gave no
     * token for 30 seconds while messages waited for it. The device's owner then
     * calls spice_char_device_client_remove(), at once or later. May be called from
     * inside spice_char_device_write_buffer_get().
     */
    void (*remove_client)(struct RedClient *client, void *opaque);
} SpiceCharDeviceCallbacks;

/**
 * The library's own use of a write buffer; not for callers.
 */
typedef struct SpiceCharDeviceLink {
    /**
     * Not for callers.
     */
    struct SpiceCharDeviceLink *prev;
    /**
     * Not for callers.
     */
    struct SpiceCharDeviceLink *next;
} SpiceCharDeviceLink;

/**
 * Bytes on their way to the device.
 *
 * Comes from spice_char_device_write_buffer_get() or
 * spice_char_device_write_buffer_get_server_no_token(). The caller fills
 * `buf[0]` to `buf[buf_size - 1]` as far as it likes, says in `buf_used` how many
 * bytes that are, and then calls exactly one of
 * spice_char_device_write_buffer_add() and
 * spice_char_device_write_buffer_release(). The other members are the library's:
 * they may be read, except `link`.
 */
typedef struct SpiceCharDeviceWriteBuffer {
    /**
     * Not for callers.
     */
    struct SpiceCharDeviceLink link;
    /**
     * Where the bytes come from: 0 unknown, because their client has left; 1 a
     * client; 2 the server; 3 the server, without a token.
     */
    int origin;
    /**
     * The client that sent them; NULL when the server made them.
     */
    struct RedClient *client;
    /**
     * The memory to fill.
     */
    uint8_t *buf;
    /**
     * How much of it there is, in bytes; at least what was asked for.
     */
    uint32_t buf_size;
    /**
     * How much of it is filled, in bytes; 0 in a fresh buffer.
     */
    uint32_t buf_used;
    /**
     * How many tokens this buffer is worth; 1.
     */
    uint32_t token_price;
    /**
     * How often the buffer has to be released until it is free; 1.
     */
    uint32_t refs;
} SpiceCharDeviceWriteBuffer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a char device of the caller's own, bound to the server most recently given
 * to spice_server_init().
 *
 * The device does not run yet, and the VM does not start or stop it: that is for the
 * caller to do, with spice_char_device_start() and spice_char_device_stop().
 *
 * @param sin the instance to read from and write to; its `st` is set. It stays the
 *   caller's and must be good until it is replaced, the device is reset or destroyed,
 *   or the server is destroyed. It is not to be given to spice_server_add_interface().
 * @param client_tokens_interval tokens are given back to a client in lots of at least
 *   this many; at most the number of tokens a client starts with, or it never gets one
 * @param self_tokens how many buffers made by the server may be under way at once
 * @param cbs copied; may be freed afterwards
 * @param opaque the first thing the callbacks want to know
 * @return the device, to be ended by spice_char_device_state_destroy(). NULL, logged,
 *   when no server is initialised, or `sin`, its interface, `cbs` or a callback other
 *   than on_free_self_token() is NULL.
 *
 * Main thread.
 */
SpiceCharDeviceState *spice_char_device_state_create(SpiceCharDeviceInstance *sin,
                                                     uint32_t client_tokens_interval,
                                                     uint32_t self_tokens,
                                                     struct SpiceCharDeviceCallbacks *cbs,
                                                     void *opaque);

/**
 * Gives a device another instance to read from and write to, as after a reset or
 * when the host replaced it. Its queues stay.
 *
 * @param sin as for spice_char_device_state_create(); its `st` is set. The `st` of
 *   the instance before is not touched: it may have been freed. NULL is refused and
 *   logged.
 *
 * Main thread.
 */
void spice_char_device_state_reset_dev_instance(SpiceCharDeviceState *dev,
                                                SpiceCharDeviceInstance *sin);

/**
 * Ends a device. What it queued is dropped, messages are unreferenced, and its clients
 * are forgotten without a callback. The instance is not touched, and may be gone
 * already; what is left in its `st` is refused from now on.
 *
 * Buffers that the caller has not added or released yet stay the caller's; they are
 * freed by spice_char_device_write_buffer_release() with a NULL device.
 *
 * May be called from inside a callback of this device. Destroying twice is detected:
 * refused and logged.
 *
 * Main thread.
 */
void spice_char_device_state_destroy(SpiceCharDeviceState *dev);

/**
 * The `opaque` that spice_char_device_state_create() was given. NULL for a device of
 * spicevmc_device_connect(), and, logged, for what is no device.
 *
 * Main thread.
 */
void *spice_char_device_state_opaque_get(SpiceCharDeviceState *dev);

/**
 * Stops a device, drops what is queued in both directions and forgets the instance.
 *
 * Tokens of dropped buffers are given back, which may call send_tokens_to_client()
 * and on_free_self_token(); messages that waited for clients are unreferenced. The
 * clients stay. To go on, give it an instance by
 * spice_char_device_state_reset_dev_instance() and start it.
 *
 * Main thread.
 */
void spice_char_device_reset(SpiceCharDeviceState *dev);

/**
 * Lets data flow: writes what is queued and reads what is there before it returns.
 *
 * Main thread.
 */
void spice_char_device_start(SpiceCharDeviceState *dev);

/**
 * Holds data back. The queues stay.
 *
 * Main thread.
 */
void spice_char_device_stop(SpiceCharDeviceState *dev);

/**
 * The device has data, or can take some again: writes, then reads, before it
 * returns. The same as spice_server_char_device_wakeup() with the device's instance.
 *
 * From inside read or write it returns at once, and the loop that called them goes
 * round once more.
 *
 * Main thread.
 */
void spice_char_device_wakeup(SpiceCharDeviceState *dev);

/**
 * Connects a client to a device, and then writes and reads the device.
 *
 * @param client tells the client apart; not NULL, never followed
 * @param do_flow_control not 0: the tokens below count, in both directions. 0: there
 *   is no limit, and they are ignored
 * @param max_send_queue_size how many messages may wait for this client's tokens
 *   before it is cut by remove_client()
 * @param num_client_tokens how many messages the client may send before it is given
 *   tokens back
 * @param num_send_tokens how many messages may be sent to the client before it gives
 *   tokens
 * @param wait_for_migrate_data not 0: the device is neither written nor read until
 *   spice_char_device_state_restore()
 * @return 1, or 0 when it is not added: NULL, a client that is there already (both
 *   logged), or one that waits for migration data while there are clients or data
 *   have moved already (logged)
 *
 * Main thread.
 */
int spice_char_device_client_add(SpiceCharDeviceState *dev,
                                 struct RedClient *client,
                                 int do_flow_control,
                                 uint32_t max_send_queue_size,
                                 uint32_t num_client_tokens,
                                 uint32_t num_send_tokens,
                                 int wait_for_migrate_data);

/**
 * Disconnects a client: messages that wait for it are unreferenced, its buffers that
 * are queued are dropped without a token, and one that is half written is written to
 * its end. A buffer that was taken for it and not added yet may still be released.
 * A client that is not there is refused and logged.
 *
 * Main thread.
 */
void spice_char_device_client_remove(SpiceCharDeviceState *dev, struct RedClient *client);

/**
 * Whether a client is connected: 1 or 0.
 *
 * Main thread.
 */
int spice_char_device_client_exists(SpiceCharDeviceState *dev, struct RedClient *client);

/**
 * A client gives tokens: it will take `tokens` more messages than before. What waits
 * for it is sent, and the device is read, before this returns. A client that is not
 * there is refused and logged.
 *
 * Main thread.
 */
void spice_char_device_send_to_client_tokens_add(SpiceCharDeviceState *dev,
                                                 struct RedClient *client,
                                                 uint32_t tokens);

/**
 * Like spice_char_device_send_to_client_tokens_add(), but the client will take
 * `tokens` messages in all, whatever it said before.
 *
 * Main thread.
 */
void spice_char_device_send_to_client_tokens_set(SpiceCharDeviceState *dev,
                                                 struct RedClient *client,
                                                 uint32_t tokens);

/**
 * Takes a buffer to be filled for the device.
 *
 * @param client who sent the bytes; takes one of its tokens if it is flow controlled.
 *   NULL: the server makes them; takes a self token
 * @param size how many bytes have room in it, 0 to 64 MiB
 * @return the buffer, with which exactly one of
 *   spice_char_device_write_buffer_add() and spice_char_device_write_buffer_release()
 *   is to be called. NULL when the server has no token left; and, logged, when the
 *   client has none (remove_client() was called for it) or is not there, when the
 *   size is out of bounds or memory is short.
 *
 * Buffers come from a pool of the device: in steady state no memory is allocated.
 *
 * Main thread.
 */
struct SpiceCharDeviceWriteBuffer *spice_char_device_write_buffer_get(SpiceCharDeviceState *dev,
                                                                      struct RedClient *client,
                                                                      int size);

/**
 * Takes a buffer that the server fills, without a token.
 *
 * @param size how many bytes have room in it, 0 to 64 MiB
 * @return the buffer, as from spice_char_device_write_buffer_get(). NULL, logged, only
 *   for what is no device, for a size out of bounds, or when memory is short.
 *
 * Main thread.
 */
struct SpiceCharDeviceWriteBuffer *spice_char_device_write_buffer_get_server_no_token(SpiceCharDeviceState *dev,
                                                                                      int size);

/**
 * Queues a filled buffer behind those that wait for the device, and writes as much
 * as the device takes before it returns. The library owns the buffer from now on and
 * gives its token back when the last byte is written.
 *
 * A buffer without bytes is released instead; one whose client has left is dropped,
 * logged. Detected, refused and logged: a buffer that is not this device's, that was
 * added or released already, or NULL. A buffer whose `buf_used` is larger than the
 * library made it is released, logged.
 *
 * Main thread.
 */
void spice_char_device_write_buffer_add(SpiceCharDeviceState *dev,
                                        struct SpiceCharDeviceWriteBuffer *write_buf);

/**
 * Gives a buffer back without writing it. Its token is given back, too, which may
 * call send_tokens_to_client() or on_free_self_token().
 *
 * With a NULL device the buffer is freed without a token, logged, which is how buffers
 * go that outlived their device. With `refs` above 1 the buffer stays, with one reference less.
 *
 * Detected, refused and logged: a buffer that is not this device's, that was added or
 * released already, or NULL.
 *
 * Main thread.
 */
void spice_char_device_write_buffer_release(SpiceCharDeviceState *dev,
                                            struct SpiceCharDeviceWriteBuffer *write_buf);

/**
 * Appends the device's state to a migration message: the 25 bytes of
 * SpiceMigrateDataCharDevice, and, as a sub-part, the bytes that the device has not
 * taken yet. The message must begin at the marshaller's first byte, with the 8 bytes
 * (magic and version) that every migration message begins with.
 *
 * The device keeps what it has. There must be exactly one client, for which no
 * message waits; otherwise an empty block is appended, logged.
 *
 * Main thread.
 */
void spice_char_device_state_migrate_data_marshall(SpiceCharDeviceState *dev,
                                                   struct SpiceMarshaller *m);

/**
 * Appends an empty block to a migration message: version 1 and 21 bytes of 0, which
 * say that no client was connected.
 *
 * Main thread.
 */
void spice_char_device_state_migrate_data_marshall_empty(struct SpiceMarshaller *m);

/**
 * Goes on where the device on the other host stopped: takes over tokens and unwritten
 * bytes, and lets data flow. There must be exactly one client, and it must have been
 * added to wait for migration data.
 *
 * @param mig_data the block inside its message: the unwritten bytes are looked for
 *   `write_data_ptr - 8` bytes from here. The message's length is not known here, so
 *   the caller must have seen that they lie inside of it;
 *   spice_server_char_device_state_restore() does that itself. The bytes are copied.
 * @return 1, or, logged, 0 when the block cannot be used: NULL, another version, not
 *   connected, a wrong state of the device, counters that contradict each other, or
 *   more than 64 MiB of data. The device then still waits for migration data.
 *
 * Main thread.
 */
int spice_char_device_state_restore(SpiceCharDeviceState *dev,
                                    struct SpiceMigrateDataCharDevice *mig_data);

/**
 * Gives a char device a channel that carries its bytes as they are, on the server
 * most recently given to spice_server_init(). Clients hear of the channel at once and
 * may connect; one at a time. The device runs while the VM does.
 *
 * @param sin the device; its `st` is set. It stays the caller's and must be good until
 *   spicevmc_device_disconnect() or the end of the server.
 * @param channel_type the number clients know the channel by, such as 9 for USB
 *   redirection and 10 for a port; 1, the main channel, is refused. Whether the
 *   device's subtype and port name fit is the caller's business.
 * @return the device, the server's own: of the functions on devices it is good for
 *   start, stop, wakeup and opaque_get, and refused, logged, by the others. NULL,
 *   logged, when no server is initialised, `sin` or its interface is NULL or has a
 *   channel already, or no channel id of this type is left.
 *
 * Main thread.
 */
SpiceCharDeviceState *spicevmc_device_connect(SpiceCharDeviceInstance *sin,
                                              uint8_t channel_type);

/**
 * Takes the channel of spicevmc_device_connect() away: its client is cut, the device
 * is not called any more, and the instance's `st` becomes NULL. A device that has no
 * such channel is refused and logged.
 *
 * Main thread.
 */
void spicevmc_device_disconnect(SpiceCharDeviceInstance *char_device);

/**
 * Makes an empty message.
 *
 * @return to be ended by spice_marshaller_destroy(); never NULL
 *
 * Main thread, as all functions on marshallers.
 */
struct SpiceMarshaller *spice_marshaller_new(void);

/**
 * Ends a message with all its parts: their pointers, and every pointer into the
 * message, are no longer good. A part, and what is no marshaller, is refused and
 * logged; so is a second time.
 */
void spice_marshaller_destroy(struct SpiceMarshaller *m);

/**
 * Empties a message, to be built anew: its parts are gone, as after
 * spice_marshaller_destroy(), but `m` stays. A part is refused and logged.
 */
void spice_marshaller_reset(struct SpiceMarshaller *m);

/**
 * Appends one byte.
 *
 * @return where it lies in the message, until that is reset or destroyed; NULL,
 *   logged, for what is no marshaller or when the message would become larger than
 *   4 GiB
 */
void *spice_marshaller_add_uint8(struct SpiceMarshaller *m, uint8_t v);

/**
 * Appends two bytes, little endian; otherwise as spice_marshaller_add_uint8().
 */
void *spice_marshaller_add_uint16(struct SpiceMarshaller *m, uint16_t v);

/**
 * Appends four bytes, little endian; otherwise as spice_marshaller_add_uint8().
 */
void *spice_marshaller_add_uint32(struct SpiceMarshaller *m, uint32_t v);

/**
 * Appends eight bytes, little endian; otherwise as spice_marshaller_add_uint8().
 */
void *spice_marshaller_add_uint64(struct SpiceMarshaller *m, uint64_t v);

/**
 * Appends a copy of `size` bytes.
 *
 * @return as spice_marshaller_add_uint8(); also NULL, logged, for NULL data of a size
 *   above 0, and for more than 64 MiB at once
 */
uint8_t *spice_marshaller_add(struct SpiceMarshaller *m,
                              const uint8_t *data,
                              size_t size);

/**
 * Appends `size` bytes of 0, for the caller to write to.
 *
 * @return where they lie in the message, in one piece, until that is reset or
 *   destroyed; NULL, logged, as from spice_marshaller_add()
 */
uint8_t *spice_marshaller_reserve_space(struct SpiceMarshaller *m, size_t size);

/**
 * The size of the whole message in bytes, whichever part of it `m` is; 0, logged, for
 * what is no marshaller.
 */
size_t spice_marshaller_get_total_size(struct SpiceMarshaller *m);

/**
 * The message in one piece, from byte `skip` on, with the pointers to its parts filled
 * in.
 *
 * @param m the message; a part is refused and logged
 * @param len receives how many bytes that are
 * @param free_res receives 1 when the caller has to free() the result, 0 when the
 *   result lies in the message and is good until that is changed, reset or destroyed
 * @return NULL when there is nothing to return: no byte after `skip`, or, logged, a
 *   wrong argument or no memory; `len` and `free_res` are then 0
 */
uint8_t *spice_marshaller_linearize(struct SpiceMarshaller *m,
                                    size_t skip,
                                    size_t *len,
                                    int *free_res);

/**
 * Appends a pointer to a part of the message that is still to be filled.
 *
 * @param is_64bit not 0: the pointer takes eight bytes; 0: four
 * @return the part, good until the message is reset or destroyed. It comes after all
 *   of `m`'s own bytes and after the parts that were made before it. The pointer
 *   becomes the part's offset from the beginning of the message, or 0 if the part
 *   stays empty. NULL, logged, for what is no marshaller, when the message would
 *   become too large, and after a million parts.
 */
struct SpiceMarshaller *spice_marshaller_get_ptr_submarshaller(struct SpiceMarshaller *m,
                                                               int is_64bit);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SPICE_CHAR_DEVICE_H_ */
