/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TLS: settings and their errors, handshakes good and bad, channels over it. */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "rig.h"
#include "tls.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/** What a host may set; NULL where it sets nothing. */
struct settings {
    const char *password, *dh, *ciphers;
};

/** A server with a plain and a TLS port and one port device. */
struct bench {
    struct rig r;
    int tls_port;
    struct pki pki;
    struct chardev port;
};

static int set_tls(struct bench *b, const struct settings *s)
{
    static const struct settings none;
    s = s ? s : &none;
    b->tls_port = rig_free_port(AF_INET);
    return spice_server_set_tls(b->r.server, b->tls_port, b->pki.ca, b->pki.cert, b->pki.key,
                                s->password, s->dh, s->ciphers);
}

/** rig_new with certificates; a password for clients or noauth. */
static void new_bench(struct bench *b, const char *ticket)
{
    rig_new(&b->r);
    pki_make(&b->pki, "server", KEY_EC, NULL);
    if (ticket)
        EXPECT_EQ(spice_server_set_ticket(b->r.server, ticket, 0, 0, 0), 0);
    else
        EXPECT_EQ(spice_server_set_noauth(b->r.server), 0);
}

static void start(struct bench *b, const struct settings *s)
{
    EXPECT_EQ(set_tls(b, s), 0);
    rig_init_tcp(&b->r);
    chardev_add_port(&b->port, b->r.server, "org.example.0");
}

static void open_bench(struct bench *b)
{
    new_bench(b, NULL);
    start(b, NULL);
}

static void close_bench(struct bench *b)
{
    chardev_remove(&b->port);
    rig_close(&b->r);
}

/** A socket to the TLS port on which nothing has been said. */
static void reach(struct bench *b, struct client *c)
{
    client_init(c, connect_tcp(AF_INET, b->tls_port));
}

static void connect_tls(struct bench *b, struct client *c)
{
    struct tls_wants wants = { .ca = b->pki.ca };
    reach(b, c);
    tls_start(c, &wants);
}

/** Links a channel; main says INIT and gives the session. */
static uint32_t link_main(struct client *c, const char *password)
{
    struct message m;
    EXPECT_EQ(client_link(c, CH_MAIN, 0, 0, password), LINK_OK);
    client_expect(c, S_MAIN_INIT, &m);
    uint32_t session = get32(m.body);
    message_free(&m);
    return session;
}

static void link_port(struct client *c, uint32_t session)
{
    struct message m;
    EXPECT_EQ(client_link(c, CH_PORT, 0, session, ""), LINK_OK);
    client_expect(c, S_PORT_INIT, &m);
    message_free(&m);
}

static void open_channels(struct bench *b, struct client *main_channel, struct client *c)
{
    connect_tls(b, main_channel);
    uint32_t session = link_main(main_channel, "");
    connect_tls(b, c);
    link_port(c, session);
}

/** All is well: a client comes, and a byte goes each way. */
static void works(struct bench *b)
{
    struct client main_channel, c;
    struct message m;
    uint64_t before = b->port.in_len;
    open_channels(b, &main_channel, &c);
    EXPECT(client_send(&c, VMC_DATA, "!", 1));
    EXPECT(chardev_wait_input(&b->port, before + 1));
    chardev_say(&b->port, "?", 1);
    client_expect(&c, VMC_DATA, &m);
    EXPECT(m.size == 1 && m.body[0] == '?');
    message_free(&m);
    client_close(&c);
    client_close(&main_channel);
}

static uint64_t read_data(struct client *c, uint64_t n)
{
    struct message m;
    uint64_t got = 0, digest = 0;
    while (got < n) {
        client_expect(c, VMC_DATA, &m);
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
    }
    EXPECT_EQ(got, n);
    return digest;
}

/* ---- data ---- */

/* Around the size of a record, of a read and of what a device is asked for. */
static const uint32_t sizes[] = { 1,     2,     3,     255,   1000,  4093,   16378,  16383, 16384,
                                  16385, 32769, 65530, 65535, 65536, 65537, 131071, 300001 };

static void data_of_odd_sizes(void)
{
    struct bench b;
    struct client main_channel, c;
    static uint8_t data[300001];
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    chardev_fill(data, sizeof data, 0);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        uint64_t before = b.port.in_len;
        EXPECT(client_send(&c, VMC_DATA, data, sizes[i]));
        EXPECT_MSG(chardev_wait_input(&b.port, before + sizes[i]), "%u bytes stop", sizes[i]);
        EXPECT(!memcmp(b.port.in + before, data, sizes[i]));
        chardev_queue(&b.port, data, sizes[i]);
        chardev_pump(&b.port);
        EXPECT_EQ(read_data(&c, sizes[i]), chardev_digest(0, data, sizes[i]));
    }
    client_close(&c);
    client_close(&main_channel);
    close_bench(&b);
}

/* Every message and every record ends somewhere else than the one before. */
static void records_and_messages_cross(void)
{
    struct bench b;
    struct client main_channel, c;
    static uint8_t data[20000], wire[20000 + 6 * 700];
    size_t n = 0, at = 0, sent = 0;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    chardev_fill(data, sizeof data, 0);
    for (uint32_t size = 1; at < sizeof data; size = size % 97 + 1) {
        uint32_t part = size < sizeof data - at ? size : (uint32_t)(sizeof data - at);
        memcpy(put32(put16(wire + n, VMC_DATA), part), data + at, part);
        n += 6 + part;
        at += part;
    }
    for (size_t size = 1; sent < n; size = size % 61 + 1) {
        size_t part = size < n - sent ? size : n - sent;
        EXPECT(client_write(&c, wire + sent, part));
        sent += part;
    }
    EXPECT(chardev_wait_input(&b.port, sizeof data));
    EXPECT(!memcmp(b.port.in, data, sizeof data));
    client_close(&c);
    client_close(&main_channel);
    close_bench(&b);
}

enum { MUCH = 8 << 20 };

static bool is_readable(struct client *c)
{
    return poll(&(struct pollfd){ .fd = c->fd, .events = POLLIN }, 1, 0) == 1;
}

/* spice-gtk takes one message whenever its socket has bytes, and does not ask what is
 * left of the record it came in: no message may wait there without a next one. */
static void no_message_hides_behind_another(void)
{
    enum { BYTES = 100000 };
    struct bench b;
    struct client main_channel, c;
    struct message m;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    for (int chunk = 1000; chunk <= 7000; chunk += 3000) {
        uint64_t got = 0;
        b.port.read_chunk = chunk;
        chardev_generate(&b.port, BYTES);
        while (got < BYTES) {
            EXPECT_MSG(host_wait_fd(c.fd, POLLIN, 1000), "%d bytes hide", (int)(BYTES - got));
            while (is_readable(&c)) {
                client_expect(&c, VMC_DATA, &m);
                got += m.size;
                message_free(&m);
            }
        }
    }
    client_close(&c);
    client_close(&main_channel);
    close_bench(&b);
}

/* A client that does not read stops the device; then all comes, without a push. */
static void client_rests(void)
{
    struct bench b;
    struct client main_channel, c;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    chardev_generate(&b.port, MUCH);
    host_run_for(100);
    EXPECT(chardev_unread(&b.port) > 0);
    EXPECT_EQ(read_data(&c, MUCH), chardev_pattern_digest(MUCH));
    client_close(&c);
    client_close(&main_channel);
    close_bench(&b);
}

/* A device that does not take stops the client; then all comes, without a push. */
static void device_rests(void)
{
    enum { PART = 50000 };
    struct bench b;
    struct client main_channel, c;
    uint8_t *wire = malloc(MUCH + MUCH / PART * 6 + 6);
    size_t n = 0, sent;
    open_bench(&b);
    b.port.accept = 0;
    open_channels(&b, &main_channel, &c);
    for (uint64_t at = 0; at < MUCH; at += PART) {
        uint32_t part = MUCH - at < PART ? (uint32_t)(MUCH - at) : PART;
        put32(put16(wire + n, VMC_DATA), part);
        chardev_fill(wire + n + 6, part, at);
        n += 6 + part;
    }
    sent = client_write_some(&c, wire, n, 200);
    b.port.accept = CHARDEV_UNLIMITED;
    chardev_wakeup(&b.port);
    EXPECT(client_write(&c, wire + sent, n - sent));
    EXPECT(chardev_wait_input(&b.port, MUCH));
    EXPECT_EQ(b.port.in_digest, chardev_pattern_digest(MUCH));
    free(wire);
    client_close(&c);
    client_close(&main_channel);
    close_bench(&b);
}

/* The last words before the goodbye arrive. */
static void data_and_goodbye_at_once(void)
{
    struct bench b;
    struct client main_channel, c;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    EXPECT(client_send(&c, VMC_DATA, "last words", 10));
    SSL_shutdown(c.tls);
    client_close(&c);
    EXPECT(chardev_wait_input(&b.port, 10));
    client_close(&main_channel);
    close_bench(&b);
}

static void new_keys_meanwhile(void)
{
    struct bench b;
    struct client main_channel, c;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    for (int i = 0; i < 10; i++) {
        uint64_t before = b.port.in_len;
        EXPECT(tls_update_keys(&c));
        EXPECT(client_send(&c, VMC_DATA, "more", 4));
        EXPECT(chardev_wait_input(&b.port, before + 4));
        chardev_say(&b.port, "words", 5);
        EXPECT_EQ(read_data(&c, 5), chardev_digest(0, (const uint8_t *)"words", 5));
    }
    client_close(&c);
    client_close(&main_channel);
    close_bench(&b);
}

/* Each request costs an answer; who never reads them must not fill the memory. */
static void new_keys_without_end(void)
{
    enum { GROWTH_KIB = 16 * 1024 };
    struct bench b;
    struct client main_channel, c;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    tap_peak_reset();
    long before = tap_peak_kib();
    int updates = 0;
    while (updates < 2000000 && tls_update_keys(&c))
        if (++updates % 100 == 0)
            host_drain();
    EXPECT_MSG(updates < 2000000, "it goes on for ever");
    long growth = tap_peak_kib() - before;
    EXPECT_MSG(growth < GROWTH_KIB, "memory grew by %ld KiB", growth);
    client_close(&c);
    client_close(&main_channel);
    works(&b);
    close_bench(&b);
}

/* ---- events and rules ---- */

static void flags_of_events(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_tls(&b, &c);
    link_main(&c, "");
    client_close(&c);
    EXPECT(rig_wait_events(3));
    rig_connect(&b.r, &c);
    link_main(&c, "");
    client_close(&c);
    EXPECT(rig_wait_events(6));
    static const int events[] = { SPICE_CHANNEL_EVENT_CONNECTED, SPICE_CHANNEL_EVENT_INITIALIZED,
                                  SPICE_CHANNEL_EVENT_DISCONNECTED };
    for (int i = 0; i < 6; i++) {
        const struct host_event *e = host_event(i);
        int tls = i == 1 || i == 2 ? SPICE_CHANNEL_EVENT_FLAG_TLS : 0;
        EXPECT_EQ(e->event, events[i % 3]);
        EXPECT_EQ(e->copy.flags, SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT | tls);
        EXPECT(e->info == host_event(i / 3 * 3)->info);
    }
    /* a link that fails never gets so far */
    connect_tls(&b, &c);
    EXPECT(client_write(&c, "XXXX", 4) && client_closed(&c));
    client_close(&c);
    EXPECT(rig_wait_events(8));
    EXPECT_EQ(host_event(7)->event, SPICE_CHANNEL_EVENT_DISCONNECTED);
    EXPECT_EQ(host_event(7)->copy.flags, SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT);
    close_bench(&b);
}

static int try_link(struct bench *b, bool tls, int type, uint32_t session)
{
    struct client c;
    if (tls)
        connect_tls(b, &c);
    else
        rig_connect(&b->r, &c);
    int result = client_link(&c, type, 0, session, "");
    client_close(&c);
    return result;
}

static void serve(struct bench *b, const char *channel, int security)
{
    EXPECT_EQ(spice_server_set_channel_security(b->r.server, channel, security), 0);
}

static void channels_by_transport(void)
{
    struct bench b;
    struct client main_channel;
    open_bench(&b);
    connect_tls(&b, &main_channel);
    uint32_t session = link_main(&main_channel, "");
    EXPECT_EQ(try_link(&b, false, CH_PORT, session), LINK_OK);
    EXPECT_EQ(try_link(&b, true, CH_PORT, session), LINK_OK);
    serve(&b, "port", SPICE_CHANNEL_SECURITY_SSL);
    EXPECT_EQ(try_link(&b, false, CH_PORT, session), LINK_REFUSED + LINK_NEED_SECURED);
    EXPECT_EQ(try_link(&b, true, CH_PORT, session), LINK_OK);
    serve(&b, "port", SPICE_CHANNEL_SECURITY_NONE);
    EXPECT_EQ(try_link(&b, false, CH_PORT, session), LINK_OK);
    EXPECT_EQ(try_link(&b, true, CH_PORT, session), LINK_REFUSED + LINK_NEED_UNSECURED);
    serve(&b, "main", SPICE_CHANNEL_SECURITY_SSL);
    EXPECT_EQ(try_link(&b, false, CH_MAIN, 0), LINK_REFUSED + LINK_NEED_SECURED);
    EXPECT_EQ(try_link(&b, true, CH_MAIN, 0), LINK_OK);
    serve(&b, NULL, SPICE_CHANNEL_SECURITY_NONE);
    EXPECT_EQ(try_link(&b, true, CH_USBREDIR, session), LINK_REFUSED + LINK_NEED_UNSECURED);
    client_close(&main_channel);
    close_bench(&b);
}

/* One session may have channels of both kinds. */
static void plain_and_encrypted_channels_of_one_client(void)
{
    struct bench b;
    struct client main_channel, c;
    open_bench(&b);
    rig_connect(&b.r, &main_channel);
    uint32_t session = link_main(&main_channel, "");
    connect_tls(&b, &c);
    link_port(&c, session);
    chardev_generate(&b.port, 100000);
    EXPECT_EQ(read_data(&c, 100000), chardev_pattern_digest(100000));
    EXPECT_EQ(spice_server_get_num_clients(b.r.server), 1);
    client_close(&main_channel);
    EXPECT(client_closed(&c));
    client_close(&c);
    close_bench(&b);
}

static void passwords(void)
{
    struct bench b;
    struct client c;
    new_bench(&b, "secret");
    start(&b, NULL);
    connect_tls(&b, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"), LINK_PERMISSION_DENIED);
    EXPECT(client_closed(&c));
    client_close(&c);
    connect_tls(&b, &c);
    link_main(&c, "secret");
    client_close(&c);
    close_bench(&b);
}

/* ---- ends ---- */

/* Whether a client can tell the end of a connection from a cut. */
static void server_says_goodbye(void)
{
    struct bench b;
    struct client refused, main_channel, c;
    bool goodbye = differs(DIFF_TLS_GOODBYE, 1, 0);
    open_bench(&b);
    connect_tls(&b, &refused);
    EXPECT(client_write(&refused, "XXXX", 4));
    EXPECT(client_closed(&refused));
    EXPECT_EQ(tls_ended_well(&refused), goodbye);
    client_close(&refused);
    open_channels(&b, &main_channel, &c);
    chardev_remove(&b.port);
    EXPECT(client_closed(&c));
    EXPECT_EQ(tls_ended_well(&c), goodbye);
    client_close(&c);
    /* a link under way: with its reply here, the server has finished its handshake too */
    struct link l;
    link_init(&l, CH_MAIN, 0, 0);
    connect_tls(&b, &refused);
    EXPECT(client_send_link(&refused, &l));
    EXPECT(client_read_reply(&refused));
    b.r.open_clients = 2;
    rig_close(&b.r);
    EXPECT(client_closed(&main_channel));
    EXPECT_EQ(tls_ended_well(&main_channel), goodbye);
    if (!differs(DIFF_DESTROY_LEFTOVERS, 0, 1)) {
        EXPECT(client_closed(&refused));
        EXPECT(tls_ended_well(&refused));
    }
    client_close(&main_channel);
    client_close(&refused);
}

/** So many bytes of a hello, then nothing more. */
static void begin_hello(struct bench *b, struct client *c, size_t n)
{
    struct client whole;
    uint8_t hello[2048];
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    client_init(&whole, pair[0]);
    tls_begin(&whole, NULL);
    SSL_do_handshake(whole.tls);
    ssize_t length = recv(pair[1], hello, sizeof hello, 0);
    EXPECT(length > 100);
    close(pair[1]);
    client_close(&whole);
    reach(b, c);
    EXPECT(client_write(c, hello, n < (size_t)length ? n : (size_t)length));
}

static void handshakes_that_break_off(void)
{
    static const size_t lengths[] = { 0, 1, 4, 5, 6, 50, 100, 2048 };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(lengths); i++) {
        int events = host_event_count();
        begin_hello(&b, &c, lengths[i]);
        if (lengths[i] == 2048)
            EXPECT(host_wait_fd(c.fd, POLLIN, HOST_DEADLINE_MS)); /* the server's answer */
        client_close(&c);
        EXPECT(rig_wait_events(events + 2));
    }
    works(&b);
    close_bench(&b);
}

static void garbage_instead_of_a_handshake(void)
{
    static const char garbage[][19] = {
        "REDQ\2\0\0\0\2\0\0\0\x1a\0\0\0",
        "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        "\x17\x03\x03\x00\x05hello",
        "\x80\x2e\x01\x00\x02",
        "\x16\x03\x01\x00\x04\xff\xff\xff\xff",
    };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(garbage); i++) {
        int events = host_event_count();
        reach(&b, &c);
        EXPECT(client_write(&c, garbage[i], sizeof garbage[i]));
        shutdown(c.fd, SHUT_WR);
        EXPECT_MSG(client_closed(&c), "garbage %zu is taken", i);
        client_close(&c);
        EXPECT(rig_wait_events(events + 2));
    }
    works(&b);
    close_bench(&b);
}

/* What breaks the encryption of a connection ends it, and nothing else. */
static void garbage_after_the_handshake(void)
{
    struct bench b;
    struct client main_channel, c;
    open_bench(&b);
    open_channels(&b, &main_channel, &c);
    EXPECT_EQ(send(c.fd, "\x17\x03\x03\x00\x20 this is not what was agreed. ", 37, 0), 37);
    EXPECT(client_closed(&c));
    client_close(&c);
    EXPECT_EQ(spice_server_get_num_clients(b.r.server), 1);
    client_close(&main_channel);
    works(&b);
    close_bench(&b);
}

static void tls_on_the_plain_port(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    rig_connect(&b.r, &c);
    tls_begin(&c, NULL);
    EXPECT(!tls_handshake(&c));
    client_close(&c);
    works(&b);
    close_bench(&b);
}

static void unfinished_handshakes_end(void)
{
    struct bench b;
    struct client silent, half, idle;
    open_bench(&b);
    reach(&b, &silent);
    begin_hello(&b, &half, 50);
    connect_tls(&b, &idle); /* and then says nothing */
    EXPECT(host_wait_fd(silent.fd, POLLIN, 30000));
    EXPECT(client_at_eof(&silent));
    EXPECT(client_at_eof(&half));
    EXPECT(client_at_eof(&idle) && tls_ended_well(&idle));
    client_close(&silent);
    client_close(&half);
    client_close(&idle);
    works(&b);
    close_bench(&b);
}

/* ---- versions and suites ---- */

static void versions(void)
{
    static const struct {
        int version;
        bool spoken;
    } versions[] = {
        { TLS1_VERSION, false }, { TLS1_1_VERSION, false },
        { TLS1_2_VERSION, true }, { TLS1_3_VERSION, true },
    };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(versions); i++) {
        int v = versions[i].version;
        struct tls_wants wants = { .oldest = v, .newest = v, .ciphers = "ALL:@SECLEVEL=0" };
        reach(&b, &c);
        tls_begin(&c, &wants);
        EXPECT_EQ(tls_handshake(&c), versions[i].spoken);
        if (versions[i].spoken) {
            EXPECT_EQ(SSL_version(c.tls), v);
            EXPECT(!SSL_get_current_compression(c.tls));
            link_main(&c, "");
        }
        client_close(&c);
    }
    close_bench(&b);
}

static void kinds_of_keys(void)
{
    static const enum key_kind kinds[] = { KEY_RSA, KEY_EC, KEY_ED25519 };
    static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    struct client c;
    for (size_t i = 0; i < TAP_COUNT(kinds); i++) {
        struct bench b;
        new_bench(&b, NULL);
        pki_make(&b.pki, "kind", kinds[i], NULL);
        start(&b, NULL);
        for (size_t k = 0; k < TAP_COUNT(versions); k++) {
            int v = versions[k];
            struct tls_wants wants = { .ca = b.pki.ca, .oldest = v, .newest = v };
            reach(&b, &c);
            tls_start(&c, &wants);
            link_main(&c, "");
            client_close(&c);
        }
        close_bench(&b);
    }
}

static void suites(void)
{
    struct bench b;
    struct client c;
    struct settings settings = { .ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" };
    new_bench(&b, NULL);
    start(&b, &settings);
    struct tls_wants same = { .newest = TLS1_2_VERSION };
    reach(&b, &c);
    tls_start(&c, &same);
    EXPECT(!strcmp(SSL_get_cipher_name(c.tls), settings.ciphers));
    link_main(&c, "");
    client_close(&c);
    struct tls_wants other = { .newest = TLS1_2_VERSION,
                               .ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305" };
    reach(&b, &c);
    tls_begin(&c, &other);
    EXPECT(!tls_handshake(&c));
    client_close(&c);
    /* those of TLS 1.3 are not touched by such a list */
    struct tls_wants newer = { .oldest = TLS1_3_VERSION,
                               .suites = "TLS_CHACHA20_POLY1305_SHA256" };
    reach(&b, &c);
    tls_start(&c, &newer);
    client_close(&c);
    close_bench(&b);
}

static void suites_of_tls_1_3(void)
{
    struct bench b;
    struct client c;
    struct settings settings = { .ciphers = "TLS_AES_128_GCM_SHA256" };
    new_bench(&b, NULL);
    start(&b, &settings);
    reach(&b, &c);
    tls_start(&c, NULL);
    EXPECT(!strcmp(SSL_get_cipher_name(c.tls), settings.ciphers));
    link_main(&c, "");
    client_close(&c);
    struct tls_wants older = { .newest = TLS1_2_VERSION };
    reach(&b, &c);
    tls_begin(&c, &older);
    EXPECT(!tls_handshake(&c));
    client_close(&c);
    close_bench(&b);
}

static void renegotiation_is_refused(void)
{
    struct bench b;
    struct client c;
    struct tls_wants wants = { .newest = TLS1_2_VERSION };
    open_bench(&b);
    reach(&b, &c);
    tls_start(&c, &wants);
    link_main(&c, "");
    EXPECT(!tls_renegotiates(&c));
    client_close(&c);
    works(&b);
    close_bench(&b);
}

/* ---- settings ---- */

/** What init says to these settings. */
static int init(struct bench *b, const struct settings *s)
{
    EXPECT_EQ(set_tls(b, s), 0);
    spice_server_set_addr(b->r.server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    return spice_server_init(b->r.server, host_core());
}

static void wrong_files(void)
{
    static const char *const about[] = {
        "no authority", "no certificate", "no key", "an empty authority", "an empty certificate",
        "an empty key", "the key of another", "a certificate for a key", "a key for a certificate",
    };
    struct bench b;
    struct pki other;
    char empty[128];
    for (size_t i = 0; i < TAP_COUNT(about); i++) {
        new_bench(&b, NULL);
        pki_make(&other, "other", KEY_EC, NULL);
        pki_make_file(empty, "empty", "");
        char *files[] = { b.pki.ca, b.pki.cert, b.pki.key };
        if (i < 3)
            strcat(files[i], ".missing");
        else if (i < 6)
            strcpy(files[i - 3], empty);
        else
            strcpy(files[i == 8 ? 1 : 2], i == 6 ? other.key : i == 7 ? other.cert : other.key);
        EXPECT_MSG(init(&b, NULL) == -1, "%s is taken", about[i]);
        rig_close(&b.r);
    }
}

static void key_password(void)
{
    struct settings settings[] = { { .password = "open sesame" }, { .password = "wrong" }, { 0 } };
    struct bench b;
    for (size_t i = 0; i < TAP_COUNT(settings); i++) {
        new_bench(&b, NULL);
        pki_make(&b.pki, "encrypted", KEY_EC, "open sesame");
        EXPECT_MSG(init(&b, &settings[i]) == (i == 0 ? 0 : -1), "password \"%s\"",
                   settings[i].password);
        if (i == 0) {
            chardev_add_port(&b.port, b.r.server, "org.example.0");
            works(&b);
            chardev_remove(&b.port);
        }
        rig_close(&b.r);
    }
}

static void diffie_hellman_file(void)
{
    struct bench b;
    struct client c;
    char dh[128];
    struct settings settings = { .dh = dh, .ciphers = "DHE-RSA-AES128-GCM-SHA256" };
    struct tls_wants wants = { .newest = TLS1_2_VERSION };
    new_bench(&b, NULL);
    pki_make(&b.pki, "rsa", KEY_RSA, NULL);
    pki_make_dh(dh, "dh");
    start(&b, &settings);
    reach(&b, &c);
    tls_start(&c, &wants);
    EXPECT(!strcmp(SSL_get_cipher_name(c.tls), settings.ciphers));
    link_main(&c, "");
    client_close(&c);
    close_bench(&b);
}

static void wrong_diffie_hellman_file(void)
{
    struct bench b;
    char dh[128];
    struct settings settings = { .dh = dh };
    for (int i = 0; i < 2; i++) {
        new_bench(&b, NULL);
        pki_make_file(dh, "nonsense", "nonsense\n");
        if (i)
            strcat(dh, ".missing");
        EXPECT_EQ(init(&b, &settings), -1);
        rig_close(&b.r);
    }
}

static void wrong_suites(void)
{
    struct bench b;
    struct settings settings = { .ciphers = "no-such-suite" };
    new_bench(&b, NULL);
    EXPECT_EQ(init(&b, &settings), -1);
    rig_close(&b.r);
}

static void taken_port(void)
{
    struct bench b;
    new_bench(&b, NULL);
    EXPECT_EQ(set_tls(&b, NULL), 0);
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)b.tls_port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    EXPECT_EQ(listen(fd, 1), 0);
    spice_server_set_addr(b.r.server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    EXPECT_EQ(spice_server_init(b.r.server, host_core()), -1);
    close(fd);
    rig_close(&b.r);
}

/* There is one path, and TLS takes it. */
static void unix_socket_with_tls(void)
{
    struct bench b;
    struct client c;
    new_bench(&b, NULL);
    EXPECT_EQ(set_tls(&b, NULL), 0);
    rig_init_unix(&b.r);
    rig_connect(&b.r, &c);
    tls_start(&c, NULL);
    link_main(&c, "");
    client_close(&c);
    rig_close(&b.r);
}

/* ---- descriptors of the host's ---- */

static void make_pair(int pair[2], struct client *c)
{
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    client_init(c, pair[1]);
}

static void added_client(void)
{
    struct bench b;
    struct client c;
    int pair[2];
    new_bench(&b, "secret");
    start(&b, NULL);
    for (int skip_auth = 0; skip_auth <= 1; skip_auth++) {
        make_pair(pair, &c);
        EXPECT_EQ(spice_server_add_ssl_client(b.r.server, pair[0], skip_auth), 0);
        tls_start(&c, &(struct tls_wants){ .ca = b.pki.ca });
        EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"),
                  skip_auth ? LINK_OK : LINK_PERMISSION_DENIED);
        client_close(&c);
    }
    EXPECT(rig_wait_events(5));
    EXPECT_EQ(host_event(3)->copy.flags,
              SPICE_CHANNEL_EVENT_FLAG_TLS | SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT);
    close_bench(&b);
}

/* The hello is there already, and the socket is blocking. */
static void added_client_with_waiting_hello(void)
{
    struct bench b;
    struct client c;
    int pair[2];
    open_bench(&b);
    make_pair(pair, &c);
    tls_begin(&c, NULL);
    SSL_do_handshake(c.tls);
    EXPECT_EQ(spice_server_add_ssl_client(b.r.server, pair[0], 0), 0);
    EXPECT(tls_handshake(&c));
    link_main(&c, "");
    client_close(&c);
    close_bench(&b);
}

/** Refused, and still the caller's. */
static void refused(struct bench *b, int fd, const char *about)
{
    EXPECT_MSG(spice_server_add_ssl_client(b->r.server, fd, 0) == -1, "%s is taken", about);
    EXPECT_MSG(fcntl(fd, F_GETFD) >= 0, "%s is closed", about);
}

static void added_clients_that_are_none(void)
{
    struct bench b;
    struct client c;
    int pair[2], pipes[2];
    open_bench(&b);
    make_pair(pair, &c);
    client_close(&c);
    refused(&b, pair[0], "a dead socket");
    close(pair[0]);
    make_pair(pair, &c);
    EXPECT(client_write(&c, "REDQ\2\0\0\0\2\0\0\0\x1a\0\0\0", 16));
    refused(&b, pair[0], "a plain client");
    close(pair[0]);
    client_close(&c);
    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    refused(&b, pipes[0], "a pipe");
    close(pipes[0]);
    close(pipes[1]);
    EXPECT_EQ(spice_server_add_ssl_client(b.r.server, pipes[0], 0), -1);
    EXPECT_EQ(spice_server_add_ssl_client(b.r.server, -1, 0), -1);
    works(&b);
    close_bench(&b);
}

/* Only what was set before init counts; otherwise the link would run in the clear. */
static void settings_after_init(void)
{
    struct bench b;
    struct client c;
    int pair[2];
    new_bench(&b, NULL);
    rig_init_tcp(&b.r);
    EXPECT_EQ(set_tls(&b, NULL), 0);
    make_pair(pair, &c);
    refused(&b, pair[0], "a client without TLS");
    close(pair[0]);
    client_close(&c);
    rig_close(&b.r);
}

static const struct tap_case cases[] = {
    TAP_CASE(data_of_odd_sizes),
    TAP_CASE(records_and_messages_cross),
    TAP_CASE(no_message_hides_behind_another),
    TAP_CASE(client_rests),
    TAP_CASE(device_rests),
    TAP_CASE(data_and_goodbye_at_once),
    TAP_CASE(new_keys_meanwhile),
    TAP_CASE(new_keys_without_end),
    TAP_CASE(flags_of_events),
    TAP_CASE(channels_by_transport),
    TAP_CASE(plain_and_encrypted_channels_of_one_client),
    TAP_CASE(passwords),
    TAP_CASE(server_says_goodbye),
    TAP_CASE(handshakes_that_break_off),
    TAP_CASE(garbage_instead_of_a_handshake),
    TAP_CASE(garbage_after_the_handshake),
    TAP_CASE(tls_on_the_plain_port),
    TAP_CASE(unfinished_handshakes_end),
    TAP_CASE(versions),
    TAP_CASE(kinds_of_keys),
    TAP_CASE(suites),
    TAP_CASE(suites_of_tls_1_3),
    TAP_CASE(renegotiation_is_refused),
    TAP_CASE(wrong_files),
    TAP_CASE(key_password),
    TAP_CASE(diffie_hellman_file),
    TAP_CASE(wrong_diffie_hellman_file),
    TAP_CASE(wrong_suites),
    TAP_CASE(taken_port),
    TAP_CASE(unix_socket_with_tls),
    TAP_CASE(added_client),
    TAP_CASE(added_client_with_waiting_hello),
    TAP_CASE(added_clients_that_are_none),
    TAP_CASE(settings_after_init),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "tls", cases, TAP_COUNT(cases));
}
