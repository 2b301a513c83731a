/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server object: made by spice_server_new(), set up, started once by
 * spice_server_init(), given its devices, freed by spice_server_destroy().
 */
#ifndef SPICE_SERVER_H_
#define SPICE_SERVER_H_

#include "spice-core.h"

SPICE_BEGIN_DECLS

typedef struct RedsState SpiceServer;

/** Makes a server with default settings. Never NULL. */
SpiceServer *spice_server_new(void);
/** Starts it: opens the listeners that the settings ask for. The calling
 * thread becomes the server's main thread. -1 when the core interface has the
 * wrong version or lacks a member, when it cannot listen, or when a TLS file is
 * bad; the server can then only be destroyed. */
int spice_server_init(SpiceServer *s, SpiceCoreInterface *core);
/** Cuts off all clients, ends all threads and frees the server. Instances that
 * are still added are let go without a call. NULL is ignored. */
void spice_server_destroy(SpiceServer *s);

/** Wire generations for migration from and to very old servers. */
typedef enum {
    SPICE_COMPAT_VERSION_0_4 = 0,
    SPICE_COMPAT_VERSION_0_6 = 1,
} spice_compat_version_t;

#define SPICE_COMPAT_VERSION_CURRENT SPICE_COMPAT_VERSION_0_6

/** SPICE_COMPAT_VERSION_CURRENT. Needs no server. */
spice_compat_version_t spice_get_current_compat_version(void);
/** Only SPICE_COMPAT_VERSION_CURRENT is possible; -1 for others. */
int spice_server_set_compat_version(SpiceServer *s,
                                    spice_compat_version_t version);

/* Where to listen: before spice_server_init(). */

/** Address family; 0 keeps the present one, at most one bit. */
#define SPICE_ADDR_FLAG_IPV4_ONLY (1 << 0)
#define SPICE_ADDR_FLAG_IPV6_ONLY (1 << 1)
#define SPICE_ADDR_FLAG_UNIX_ONLY (1 << 2)

/** TCP port without encryption, 0 to 65535 (0: any free one). -1 and no
 * change for others. By default there is none. */
int spice_server_set_port(SpiceServer *s, int port);
/** Address or host name to listen on, or with SPICE_ADDR_FLAG_UNIX_ONLY the
 * path of a unix socket ("@name": in the abstract namespace). At most 255
 * bytes. */
void spice_server_set_addr(SpiceServer *s, const char *addr, int flags);
/** Listens on a socket of the caller's, which the library never closes. */
int spice_server_set_listen_socket_fd(SpiceServer *s, int listen_fd) SPICE_GNUC_DEPRECATED;
/** TCP port with TLS, 1 to 65535, and its PEM files. `ca_cert_file`,
 * `certs_file` and `private_key_file` are required; `key_passwd`,
 * `dh_key_file` and `ciphersuite` (OpenSSL cipher list) may be NULL. The files
 * are read by spice_server_init(), and again when they change. At most 255
 * bytes each. */
int spice_server_set_tls(SpiceServer *s, int port,
                         const char *ca_cert_file, const char *certs_file,
                         const char *private_key_file, const char *key_passwd,
                         const char *dh_key_file, const char *ciphersuite);

/* Who may come. Until one of these is called nobody may. */

/** Everybody. */
int spice_server_set_noauth(SpiceServer *s);
/** Whoever knows `passwd` (at most 59 bytes; NULL: nobody) within `lifetime`
 * seconds from now (0: for ever). Clients that are there already: with
 * `fail_if_connected` the call returns -1 and changes nothing, else with
 * `disconnect_if_connected` they are cut off. Also at run time. */
int spice_server_set_ticket(SpiceServer *s, const char *passwd, int lifetime,
                            int fail_if_connected, int disconnect_if_connected);
/** Whoever SASL lets in. -1 when built without SASL. */
int spice_server_set_sasl(SpiceServer *s, int enabled);
/** Name of the SASL configuration; "spice" by default. Before
 * spice_server_init(). */
int spice_server_set_sasl_appname(SpiceServer *s, const char *appname);

/** Ways in which a channel may be connected; a mask. */
#define SPICE_CHANNEL_SECURITY_NONE (1 << 0)
#define SPICE_CHANNEL_SECURITY_SSL (1 << 1)

/** Allows the ways in `security` for the channel type named `channel` ("main",
 * "display", ...), or for all others when NULL. -1 for an unknown name. */
int spice_server_set_channel_security(SpiceServer *s, const char *channel, int security);
/** With `flag` not 0 the process exits when the last client leaves. */
int spice_server_set_exit_on_disconnect(SpiceServer *s, int flag);

/** Serves a connected socket as if a listener had accepted it; with `skip_auth`
 * without asking for a ticket. On 0 the library owns and closes the socket, on
 * -1 it stays the caller's. Callbacks may run before it returns. */
int spice_server_add_client(SpiceServer *s, int socket, int skip_auth);
/** The same with TLS on the socket; -1 also when TLS was not set up before
 * spice_server_init(). */
int spice_server_add_ssl_client(SpiceServer *s, int socket, int skip_auth);

/* Devices. */

/** Adds a device: an instance of one of the interfaces in these headers, after
 * spice_server_init(). -1 when its version does not fit or there is one too
 * many. A char device of unknown subtype gives 0 and is not served. The
 * library may call the instance before this returns. */
int spice_server_add_interface(SpiceServer *s, SpiceBaseInstance *sin);
/** Takes a device away; when it returns the instance is not used any more.
 * -1 for an instance that is not there and for kinds that cannot go. */
int spice_server_remove_interface(SpiceBaseInstance *sin);

/** The guest runs. A server counts as running from spice_server_init() on, but
 * for displays, whose rings wait for the first of these calls. */
void spice_server_vm_start(SpiceServer *s);
/** The guest stands still: char devices are neither read nor written, and no
 * display command is fetched. Waits for the display workers. */
void spice_server_vm_stop(SpiceServer *s);

/* How pictures and sound are sent. All of these also at run time. */

/** The names of these values before spice-protocol had them. */
typedef SpiceImageCompression spice_image_compression_t;
#define SPICE_IMAGE_COMPRESS_INVALID SPICE_IMAGE_COMPRESSION_INVALID
#define SPICE_IMAGE_COMPRESS_OFF SPICE_IMAGE_COMPRESSION_OFF
#define SPICE_IMAGE_COMPRESS_AUTO_GLZ SPICE_IMAGE_COMPRESSION_AUTO_GLZ
#define SPICE_IMAGE_COMPRESS_AUTO_LZ SPICE_IMAGE_COMPRESSION_AUTO_LZ
#define SPICE_IMAGE_COMPRESS_QUIC SPICE_IMAGE_COMPRESSION_QUIC
#define SPICE_IMAGE_COMPRESS_GLZ SPICE_IMAGE_COMPRESSION_GLZ
#define SPICE_IMAGE_COMPRESS_LZ SPICE_IMAGE_COMPRESSION_LZ
#define SPICE_IMAGE_COMPRESS_LZ4 SPICE_IMAGE_COMPRESSION_LZ4

/** Lossless compression of images. */
int spice_server_set_image_compression(SpiceServer *s,
                                       SpiceImageCompression comp);
/** The value in force. */
SpiceImageCompression spice_server_get_image_compression(SpiceServer *s);

/** AUTO: only for clients behind a slow line. */
typedef enum {
    SPICE_WAN_COMPRESSION_INVALID,
    SPICE_WAN_COMPRESSION_AUTO,
    SPICE_WAN_COMPRESSION_ALWAYS,
    SPICE_WAN_COMPRESSION_NEVER,
} spice_wan_compression_t;

/** JPEG, with loss, for images like photographs. */
int spice_server_set_jpeg_compression(SpiceServer *s, spice_wan_compression_t comp);
/** zlib on top of GLZ. */
int spice_server_set_zlib_glz_compression(SpiceServer *s, spice_wan_compression_t comp);

/** What becomes a video stream: nothing, everything that keeps changing, or of
 * that only what looks like a film. */
enum {
    SPICE_STREAM_VIDEO_INVALID,
    SPICE_STREAM_VIDEO_OFF,
    SPICE_STREAM_VIDEO_ALL,
    SPICE_STREAM_VIDEO_FILTER
};

/** `value` is SPICE_STREAM_VIDEO_OFF, _ALL or _FILTER; -1 for others. */
int spice_server_set_streaming_video(SpiceServer *s, int value);

/** Who encodes a stream. */
enum {
    SPICE_STREAMING_INVALID,
    SPICE_STREAMING_SPICE,
    SPICE_STREAMING_GSTREAMER
};

/** Encoders and codecs for streams, best first: "auto", or a list like
 * "spice:mjpeg;gstreamer:vp8". Unknown items are skipped; -1 and no change when
 * none is left. */
int spice_server_set_video_codecs(SpiceServer *s, const char *video_codecs);
/** The list in force, in the same form; to be given to
 * spice_server_free_video_codecs(). */
const char *spice_server_get_video_codecs(SpiceServer *s);
/** Frees what spice_server_get_video_codecs() returned. */
void spice_server_free_video_codecs(SpiceServer *s, const char *video_codecs);

/** Whether sound is compressed (default) for clients that come from now on. */
int spice_server_set_playback_compression(SpiceServer *s, int enable);
/** Only "sw" exists; needs no call. */
int spice_server_add_renderer(SpiceServer *s, const char *name) SPICE_GNUC_DEPRECATED;

/* What the agent in the guest may be used for; all on by default. Also at run
 * time. */

/** Pointer positions through the agent. */
int spice_server_set_agent_mouse(SpiceServer *s, int enable);
/** A common clipboard. */
int spice_server_set_agent_copypaste(SpiceServer *s, int enable);
/** Files dropped on the client's window. */
int spice_server_set_agent_file_xfer(SpiceServer *s, int enable);

/* What clients are told, and what there is to ask. */

/** Name of the VM, told to clients that come from now on. */
void spice_server_set_name(SpiceServer *s, const char *name);
/** The same for its UUID, 16 bytes. */
void spice_server_set_uuid(SpiceServer *s, const uint8_t uuid[16]);
/** 1 when the guest draws the pointer (relative motion), 0 when clients do. */
int spice_server_is_server_mouse(SpiceServer *s);
/** How many clients are connected; 0 for NULL. */
int spice_server_get_num_clients(SpiceServer *s) SPICE_GNUC_DEPRECATED;
/** Always -1. Addresses come with channel_event. */
int spice_server_get_sock_info(SpiceServer *s, struct sockaddr *sa, socklen_t *salen) SPICE_GNUC_DEPRECATED;
int spice_server_get_peer_info(SpiceServer *s, struct sockaddr *sa, socklen_t *salen) SPICE_GNUC_DEPRECATED;

SPICE_END_DECLS

#endif /* SPICE_SERVER_H_ */
