/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings: which values are taken, which are refused, what the getters say. */
#define _GNU_SOURCE
#include "differences.h"
#include "rig.h"

#include <stdlib.h>
#include <string.h>

static void compat_version(void)
{
    struct rig r;
    rig_new(&r);
    EXPECT_EQ(spice_get_current_compat_version(), SPICE_COMPAT_VERSION_0_6);
    EXPECT_EQ(spice_server_set_compat_version(r.server, SPICE_COMPAT_VERSION_0_6), 0);
    EXPECT_EQ(spice_server_set_compat_version(r.server, SPICE_COMPAT_VERSION_0_4), -1);
    EXPECT_EQ(spice_server_set_compat_version(r.server, (spice_compat_version_t)2), -1);
    rig_close(&r);
}

static void image_compression(void)
{
    struct rig r;
    rig_new(&r);
    EXPECT_EQ(spice_server_get_image_compression(r.server), SPICE_IMAGE_COMPRESSION_AUTO_GLZ);
    for (int i = SPICE_IMAGE_COMPRESSION_OFF; i <= SPICE_IMAGE_COMPRESSION_LZ; i++) {
        EXPECT_EQ(spice_server_set_image_compression(r.server, (SpiceImageCompression)i), 0);
        EXPECT_EQ(spice_server_get_image_compression(r.server), i);
    }
    rig_close(&r);
}

static void wan_compression(void)
{
    struct rig r;
    rig_new(&r);
    for (int i = SPICE_WAN_COMPRESSION_AUTO; i <= SPICE_WAN_COMPRESSION_NEVER; i++) {
        EXPECT_EQ(spice_server_set_jpeg_compression(r.server, (spice_wan_compression_t)i), 0);
        EXPECT_EQ(spice_server_set_zlib_glz_compression(r.server, (spice_wan_compression_t)i), 0);
    }
    rig_close(&r);
}

static void invalid_wan_compression(void)
{
    struct rig r;
    rig_new(&r);
    EXPECT_EQ(spice_server_set_jpeg_compression(r.server, SPICE_WAN_COMPRESSION_INVALID), -1);
    EXPECT_EQ(spice_server_set_zlib_glz_compression(r.server, SPICE_WAN_COMPRESSION_INVALID), -1);
    rig_close(&r);
}

static void streaming_video(void)
{
    struct rig r;
    rig_new(&r);
    for (int i = -1; i <= 5; i++)
        EXPECT_EQ(spice_server_set_streaming_video(r.server, i), i >= 1 && i <= 3 ? 0 : -1);
    rig_close(&r);
}

static void switches(void)
{
    struct rig r;
    rig_new(&r);
    for (int i = 0; i <= 1; i++) {
        EXPECT_EQ(spice_server_set_playback_compression(r.server, i), 0);
        EXPECT_EQ(spice_server_set_agent_mouse(r.server, i), 0);
        EXPECT_EQ(spice_server_set_agent_copypaste(r.server, i), 0);
        EXPECT_EQ(spice_server_set_agent_file_xfer(r.server, i), 0);
        EXPECT_EQ(spice_server_set_exit_on_disconnect(r.server, i), 0);
        spice_server_set_seamless_migration(r.server, i);
    }
    EXPECT_EQ(spice_server_set_exit_on_disconnect(r.server, 0), 0);
    rig_close(&r);
}

static void channel_security(void)
{
    static const char *const names[] = { "main",   "display",   "inputs",   "cursor", "playback",
                                         "record", "smartcard", "usbredir", "port",   "webdav" };
    static const char *const wrong[] = { "", "Main", "tunnels", "main ", "vdagent", "default" };
    struct rig r;
    rig_new(&r);
    EXPECT_EQ(spice_server_set_channel_security(r.server, NULL, 3), 0);
    for (size_t i = 0; i < TAP_COUNT(names); i++)
        EXPECT_MSG(spice_server_set_channel_security(r.server, names[i], 1) == 0,
                   "%s is refused", names[i]);
    for (size_t i = 0; i < TAP_COUNT(wrong); i++)
        EXPECT_MSG(spice_server_set_channel_security(r.server, wrong[i], 1) == -1,
                   "\"%s\" is accepted", wrong[i]);
    rig_close(&r);
}

/* A channel that is for TLS only cannot be linked in the clear. */
static void secured_channel(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "main", SPICE_CHANNEL_SECURITY_SSL), 0);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_REFUSED + LINK_NEED_SECURED);
    EXPECT(client_at_eof(&c));
    client_close(&c);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "main", SPICE_CHANNEL_SECURITY_NONE), 0);
    rig_main(&r, &c);
    client_close(&c);
    /* the default concerns every channel without a setting of its own */
    EXPECT_EQ(spice_server_set_channel_security(r.server, NULL, SPICE_CHANNEL_SECURITY_SSL), 0);
    rig_main(&r, &c);
    client_close(&c);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_PORT, 0, 1, ""), LINK_REFUSED + LINK_NEED_SECURED);
    client_close(&c);
    rig_close(&r);
}

static void renderers(void)
{
    struct rig r;
    rig_new(&r);
    EXPECT_EQ(spice_server_add_renderer(r.server, "SW"), -1);
    EXPECT_EQ(spice_server_add_renderer(r.server, "cairo"), -1);
    EXPECT_EQ(spice_server_add_renderer(r.server, "sw"), 0);
    rig_close(&r);
}

static void addresses(void)
{
    struct rig r;
    struct sockaddr sa;
    socklen_t len = sizeof sa;
    rig_open(&r);
    EXPECT_EQ(spice_server_get_sock_info(r.server, &sa, &len), -1);
    EXPECT_EQ(spice_server_get_peer_info(r.server, &sa, &len), -1);
    rig_close(&r);
}

/* Any combination but a single flag leaves the family as it was. */
static void address_flags(void)
{
    struct rig r;
    rig_new(&r);
    spice_server_set_noauth(r.server);
    rig_socket_path(r.path, sizeof r.path, "s");
    spice_server_set_addr(r.server, r.path, SPICE_ADDR_FLAG_UNIX_ONLY);
    spice_server_set_addr(r.server, r.path, 0);
    spice_server_set_addr(r.server, r.path, SPICE_ADDR_FLAG_IPV4_ONLY | SPICE_ADDR_FLAG_IPV6_ONLY);
    spice_server_set_addr(r.server, r.path, 8);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    struct client c;
    rig_main(&r, &c);
    client_close(&c);
    rig_close(&r);
}

static void tls_arguments(void)
{
    struct rig r;
    rig_new(&r);
    static const int ports[] = { -1, 0, 65536, 70000 };
    for (size_t i = 0; i < TAP_COUNT(ports); i++)
        EXPECT_EQ(spice_server_set_tls(r.server, ports[i], "ca", "cert", "key", NULL, NULL, NULL),
                  -1);
    EXPECT_EQ(spice_server_set_tls(r.server, 5901, NULL, "cert", "key", NULL, NULL, NULL), -1);
    EXPECT_EQ(spice_server_set_tls(r.server, 5901, "ca", NULL, "key", NULL, NULL, NULL), -1);
    EXPECT_EQ(spice_server_set_tls(r.server, 5901, "ca", "cert", NULL, NULL, NULL, NULL), -1);
    EXPECT_EQ(spice_server_init(r.server, host_core()), 0);
    rig_close(&r);
}

/* Files that do not exist: accepted as a setting, and then init fails. */
static void tls_without_files(void)
{
    struct rig r;
    rig_new(&r);
    spice_server_set_addr(r.server, "127.0.0.1", 0);
    int set = spice_server_set_tls(r.server, rig_free_port(AF_INET), "/no/ca", "/no/cert",
                                   "/no/key", NULL, NULL, NULL);
    EXPECT_EQ(set, 0);
    EXPECT_EQ(spice_server_init(r.server, host_core()), -1);
    rig_close(&r);
}

static void video_codecs(void)
{
    struct rig r;
    rig_open(&r);
    const char *all = spice_server_get_video_codecs(r.server);
    EXPECT(all && strstr(all, "spice:mjpeg"));
    spice_server_free_video_codecs(r.server, all);
    EXPECT_EQ(spice_server_set_video_codecs(r.server, "nonsense"), -1);
    EXPECT_EQ(spice_server_set_video_codecs(r.server, "x:mjpeg;spice:avi"), -1);
    EXPECT_EQ(spice_server_set_video_codecs(r.server, ""), -1);
    EXPECT_EQ(spice_server_set_video_codecs(r.server, "spice:mjpeg;nonsense"), 0);
    all = spice_server_get_video_codecs(r.server);
    EXPECT(all && !strcmp(all, "spice:mjpeg"));
    spice_server_free_video_codecs(r.server, all);
    EXPECT_EQ(spice_server_set_video_codecs(r.server, "auto"), 0);
    rig_close(&r);
}

static void counters(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    EXPECT_EQ(spice_server_get_num_clients(r.server), 0);
    EXPECT_EQ(spice_server_is_server_mouse(r.server), 1);
    rig_main(&r, &c);
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    client_close(&c);
    EXPECT(rig_wait_events(3));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 0);
    rig_close(&r);
}

static void long_strings(void)
{
    struct rig r;
    struct client c;
    char name[5000];
    struct message m;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    rig_open(&r);
    spice_server_set_name(r.server, name);
    rig_main(&r, &c);
    client_expect(&c, S_MAIN_NAME, &m);
    EXPECT_EQ(get32(m.body), sizeof name);
    EXPECT(!memcmp(m.body + 4, name, sizeof name));
    message_free(&m);
    client_close(&c);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(compat_version),
    TAP_CASE(image_compression),
    TAP_CASE(wan_compression),
    TAP_CASE(invalid_wan_compression),
    TAP_CASE(streaming_video),
    TAP_CASE(switches),
    TAP_CASE(channel_security),
    TAP_CASE(secured_channel),
    TAP_CASE(renderers),
    TAP_CASE(addresses),
    TAP_CASE(address_flags),
    TAP_CASE(tls_arguments),
    TAP_CASE(tls_without_files),
    TAP_CASE(video_codecs),
    TAP_CASE(counters),
    TAP_CASE(long_strings),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "settings", cases, TAP_COUNT(cases));
}
