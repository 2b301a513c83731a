/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SASL with a database of its own: mechanisms, passwords, the security layer, sizes.
 * The client's side is libsasl2's too.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "rig.h"
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sasl/sasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER "somebody"
#define PASSWORD "open sesame"
#define SASLPASSWD "/usr/sbin/saslpasswd2"

enum { DATA_MAX = 1 << 20, INVALID_DATA = LINK_REFUSED + 3 };

/** A server that wants SASL, with a port device. */
struct bench {
    struct rig r;
    int tls_port;
    struct pki pki;
    struct chardev port;
};

/** A client with its half of the exchange. */
struct user {
    struct client c;
    const char *password;
    sasl_conn_t *sasl;
    sasl_callback_t callbacks[5]; /**< libsasl2 keeps the pointer */
    bool layer;            /**< bytes are wrapped from here on */
    bool filled;           /**< the first message was a long PING */
    char list[512];        /**< the server's mechanisms */
    uint8_t *plain;        /**< unwrapped and not read yet */
    size_t length;
};

/* ---- the server ---- */

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", tap_directory(), name);
    FILE *file = fopen(path, "we");
    EXPECT(file != NULL);
    fputs(text, file);
    EXPECT_EQ(fclose(file), 0);
}

/* saslpasswd2 makes the database, under this machine's name as the realm. */
static void make_database(const char *application)
{
    char command[512], text[512], name[64];
    if (access(SASLPASSWD, X_OK))
        FAIL("sasl2-bin is missing (scripts/install-deps test)");
    snprintf(command, sizeof command, "echo '%s' | %s -c -p -f %s/db %s", PASSWORD, SASLPASSWD,
             tap_directory(), USER);
    EXPECT_EQ(system(command), 0);
    snprintf(text, sizeof text,
             "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/db\n"
             "mech_list: digest-md5 scram-sha-1 scram-sha-256 plain\n",
             tap_directory());
    snprintf(name, sizeof name, "%s.conf", application);
    write_file(name, text);
    EXPECT_EQ(setenv("SASL_CONF_PATH", tap_directory(), 1), 0);
}

static void new_bench(struct bench *b, const char *application)
{
    make_database(application);
    rig_new(&b->r);
    EXPECT_EQ(spice_server_set_sasl(b->r.server, 1), 0);
}

static void started(struct bench *b)
{
    EXPECT_EQ(sasl_client_init(NULL), SASL_OK);
    chardev_add_port(&b->port, b->r.server, "org.example.0");
}

static void open_bench(struct bench *b)
{
    new_bench(b, "spice");
    rig_init_tcp(&b->r);
    started(b);
}

static void open_tls_bench(struct bench *b)
{
    new_bench(b, "spice");
    pki_make(&b->pki, "server", KEY_EC, NULL);
    b->tls_port = rig_free_port(AF_INET);
    EXPECT_EQ(spice_server_set_tls(b->r.server, b->tls_port, b->pki.ca, b->pki.cert, b->pki.key,
                                   NULL, NULL, NULL),
              0);
    rig_init_tcp(&b->r);
    started(b);
}

static void close_bench(struct bench *b)
{
    chardev_remove(&b->port);
    rig_close(&b->r);
}

/* ---- the client ---- */

static int give_name(void *opaque, int id, const char **result, unsigned *length)
{
    (void)opaque, (void)id;
    *result = USER;
    if (length)
        *length = sizeof USER - 1;
    return SASL_OK;
}

static int give_password(sasl_conn_t *sasl, void *opaque, int id, sasl_secret_t **secret)
{
    struct user *u = opaque;
    static union {
        sasl_secret_t secret;
        char room[128];
    } kept;
    (void)sasl, (void)id;
    kept.secret.len = strlen(u->password);
    memcpy(kept.secret.data, u->password, kept.secret.len + 1);
    *secret = &kept.secret;
    return SASL_OK;
}

static int give_realm(void *opaque, int id, const char **realms, const char **result)
{
    (void)opaque, (void)id;
    *result = realms ? realms[0] : "";
    return SASL_OK;
}

/* Their types differ by the id; gcc takes `void (*)(void)` for any. */
#define CALLBACK(function) ((int (*)(void))(void (*)(void))(function))

/** A socket to the plain or the TLS port. */
static void reach(struct bench *b, struct user *u, bool tls)
{
    *u = (struct user){ .password = PASSWORD };
    if (tls) {
        struct tls_wants wants = { .ca = b->pki.ca };
        client_init(&u->c, connect_tcp(AF_INET, b->tls_port));
        tls_start(&u->c, &wants);
    } else {
        rig_connect(&b->r, &u->c);
    }
}

static void leave(struct user *u)
{
    client_close(&u->c);
    sasl_dispose(&u->sasl);
    free(u->plain);
}

static void write_number(struct user *u, uint32_t number)
{
    uint8_t bytes[4];
    put32(bytes, number);
    EXPECT(client_write(&u->c, bytes, 4));
}

static uint32_t read_number(struct user *u)
{
    uint8_t bytes[4];
    EXPECT_EQ(client_read(&u->c, bytes, 4), 4);
    return get32(bytes);
}

static void write_counted(struct user *u, const void *data, uint32_t length)
{
    write_number(u, length);
    EXPECT(client_write(&u->c, data, length));
}

/** The link up to the list of mechanisms. */
static void begin(struct user *u, int type, int id, uint32_t session)
{
    struct link l;
    static const uint8_t none[PUBKEY_SIZE];
    link_init(&l, type, id, session);
    l.caps[0] |= CAP_AUTH_SASL;
    EXPECT(client_send_link(&u->c, &l));
    EXPECT(client_read_reply(&u->c));
    EXPECT_EQ(u->c.reply.error, 0);
    EXPECT(u->c.reply.caps[0] & CAP_AUTH_SASL);
    EXPECT(!(u->c.reply.caps[0] & CAP_AUTH_SPICE));
    EXPECT(!memcmp(u->c.reply.key, none, sizeof none));
    write_number(u, 2);
    uint32_t length = read_number(u);
    EXPECT(length > 2 && length < sizeof u->list);
    EXPECT_EQ(client_read(&u->c, u->list, length), length);
    EXPECT(u->list[0] == ',' && u->list[length - 1] == ',');
}

static bool offers(const struct user *u, const char *mechanism)
{
    char needle[64];
    snprintf(needle, sizeof needle, ",%s,", mechanism);
    return strstr(u->list, needle) != NULL;
}

/** The client's half and its first data. */
static void choose(struct user *u, const char *mechanism, const char **data, unsigned *length)
{
    sasl_callback_t callbacks[] = {
        { SASL_CB_USER, CALLBACK(give_name), u },
        { SASL_CB_AUTHNAME, CALLBACK(give_name), u },
        { SASL_CB_PASS, CALLBACK(give_password), u },
        { SASL_CB_GETREALM, CALLBACK(give_realm), u },
        { SASL_CB_LIST_END, NULL, NULL },
    };
    sasl_security_properties_t wants = { .max_ssf = u->c.tls ? 0 : 10000, .maxbufsize = 8192 };
    const char *chosen;
    char host[256];
    _Static_assert(sizeof callbacks == sizeof u->callbacks, "room for all");
    memcpy(u->callbacks, callbacks, sizeof callbacks);
    EXPECT_EQ(gethostname(host, sizeof host), 0);
    EXPECT_EQ(sasl_client_new("spice", host, NULL, NULL, u->callbacks, 0, &u->sasl), SASL_OK);
    EXPECT_EQ(sasl_setprop(u->sasl, SASL_SEC_PROPS, &wants), SASL_OK);
    int result = sasl_client_start(u->sasl, mechanism, NULL, data, length, &chosen);
    EXPECT_MSG(result == SASL_OK || result == SASL_CONTINUE, "%s: %s", mechanism,
               sasl_errdetail(u->sasl));
    write_counted(u, chosen, (uint32_t)strlen(chosen));
}

/** Data with a NUL behind them, or none. */
static void write_data(struct user *u, const char *data, unsigned length)
{
    if (!data) {
        write_number(u, 0);
        return;
    }
    write_number(u, length + 1);
    EXPECT(client_write(&u->c, data, length));
    EXPECT(client_write(&u->c, "", 1));
}

/** The exchange to its end; false when the server closes. */
static bool authenticate(struct user *u, const char *mechanism)
{
    const char *data;
    unsigned length;
    choose(u, mechanism, &data, &length);
    for (;;) {
        uint8_t bytes[4], step[8192], complete;
        write_data(u, data, length);
        if (client_read(&u->c, bytes, 4) != 4)
            return false;
        uint32_t size = get32(bytes);
        EXPECT(size <= sizeof step);
        EXPECT_EQ(client_read(&u->c, step, size), size);
        EXPECT(size == 0 || step[size - 1] == 0);
        EXPECT_EQ(client_read(&u->c, &complete, 1), 1);
        if (size > 0 || !complete) {
            int result = sasl_client_step(u->sasl, size ? (char *)step : NULL,
                                          size ? size - 1 : 0, NULL, &data, &length);
            EXPECT_MSG(result == SASL_OK || (result == SASL_CONTINUE && !complete), "%s: %s",
                       mechanism, sasl_errdetail(u->sasl));
        }
        if (complete)
            break;
    }
    EXPECT_EQ(read_number(u), 0);
    const void *strength;
    EXPECT_EQ(sasl_getprop(u->sasl, SASL_SSF, &strength), SASL_OK);
    u->layer = *(const sasl_ssf_t *)strength > 0;
    EXPECT_EQ(u->layer, !u->c.tls);
    return true;
}

static void say(struct user *u, const void *data, size_t length)
{
    const char *wrapped;
    unsigned size;
    if (!u->layer) {
        EXPECT(client_write(&u->c, data, length));
        return;
    }
    EXPECT_EQ(sasl_encode(u->sasl, data, (unsigned)length, &wrapped, &size), SASL_OK);
    EXPECT(client_write(&u->c, wrapped, size));
}

/** Exactly so many bytes of what the server says. */
static void hear(struct user *u, void *data, size_t length)
{
    if (!u->layer) {
        EXPECT_EQ(client_read(&u->c, data, length), length);
        return;
    }
    while (u->length < length) {
        uint8_t block[4 + 8192];
        const char *plain;
        unsigned size;
        EXPECT_EQ(client_read(&u->c, block, 4), 4);
        uint32_t rest = (uint32_t)block[0] << 24 | block[1] << 16 | block[2] << 8 | block[3];
        EXPECT_MSG(rest <= 8192, "a block of %u bytes", rest);
        EXPECT_EQ(client_read(&u->c, block + 4, rest), rest);
        EXPECT_EQ(sasl_decode(u->sasl, (char *)block, 4 + rest, &plain, &size), SASL_OK);
        u->plain = realloc(u->plain, u->length + size + 1);
        memcpy(u->plain + u->length, plain, size);
        u->length += size;
    }
    memcpy(data, u->plain, length);
    u->length -= length;
    memmove(u->plain, u->plain + length, u->length);
}

/** The next message: its type, and its body in `body`. */
static int hear_message(struct user *u, uint8_t *body, size_t room, uint32_t *size)
{
    uint8_t header[6];
    hear(u, header, 6);
    *size = get32(header + 2);
    EXPECT(*size <= room);
    hear(u, body, *size);
    return get16(header);
}

static void say_data(struct user *u, uint64_t offset, uint32_t length)
{
    uint8_t message[6 + 65536];
    EXPECT(length <= 65536);
    put32(put16(message, VMC_DATA), length);
    chardev_fill(message + 6, length, offset);
    say(u, message, 6 + length);
}

/**
 * A whole link; returns the session of a main channel.  With a layer the first message is a
 * long PING: spice-gtk reads 8 KiB at a time and waits for its socket after the link result.
 */
static uint32_t enter(struct bench *b, struct user *u, const char *mechanism, bool tls, int type,
                      uint32_t session)
{
    uint8_t body[65536], result[4], answer[6 + 12] = { C_PONG };
    uint32_t size;
    reach(b, u, tls);
    begin(u, type, 0, session);
    EXPECT_MSG(authenticate(u, mechanism), "%s is refused", mechanism);
    hear(u, result, 4);
    EXPECT_EQ(get32(result), LINK_OK);
    int first = hear_message(u, body, sizeof body, &size);
    if (u->layer) {
        EXPECT_EQ(first == S_PING && size > 8192, differs(DIFF_SASL_FILLER, 1, 0));
        u->filled = first == S_PING;
    }
    if (u->filled) {
        put32(answer + 2, 12);
        memcpy(answer + 6, body, 12);
        say(u, answer, sizeof answer);
        first = hear_message(u, body, sizeof body, &size);
    }
    EXPECT_EQ(first, type == CH_MAIN ? S_MAIN_INIT : S_PORT_INIT);
    return get32(body);
}

/** A client with both channels: bytes pass both ways, in pieces of odd sizes. */
static void works(struct bench *b, const char *mechanism, bool tls)
{
    static const uint32_t sizes[] = { 1, 7, 1000, 8191, 8192, 8193, 20011, 65535 };
    uint8_t body[65536];
    struct user main_channel, u;
    uint64_t said = 0, heard = 0, digest = 0;
    uint64_t before = b->port.in_len;
    uint32_t size;
    uint32_t session = enter(b, &main_channel, mechanism, tls, CH_MAIN, 0);
    enter(b, &u, mechanism, tls, CH_PORT, session);
    b->port.in_digest = 0;
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        say_data(&u, said, sizes[i]);
        said += sizes[i];
    }
    EXPECT(chardev_wait_input(&b->port, before + said));
    EXPECT_EQ(b->port.in_digest, chardev_pattern_digest(said));
    b->port.generated = 0;
    b->port.read_chunk = 4999;
    chardev_generate(&b->port, 300001);
    while (heard < 300001) {
        if (hear_message(&u, body, sizeof body, &size) != VMC_DATA)
            continue;
        digest = chardev_digest(digest, body, size);
        heard += size;
    }
    EXPECT_EQ(digest, chardev_pattern_digest(300001));
    leave(&u);
    leave(&main_channel);
}

/* ---- cases ---- */

static void plain_connections_get_a_layer(void)
{
    struct bench b;
    open_bench(&b);
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

static void unix_sockets_too(void)
{
    struct bench b;
    new_bench(&b, "spice");
    rig_init_unix(&b.r);
    started(&b);
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

static void tls_needs_no_layer(void)
{
    static const char *const mechanisms[] = { "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256",
                                              "PLAIN" };
    struct bench b;
    open_tls_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(mechanisms); i++)
        works(&b, mechanisms[i], true);
    close_bench(&b);
}

static void mechanisms_that_do(void)
{
    struct bench b;
    struct user u;
    open_tls_bench(&b);
    reach(&b, &u, false);
    begin(&u, CH_MAIN, 0, 0);
    EXPECT(!strcmp(u.list, ",DIGEST-MD5,"));
    leave(&u);
    reach(&b, &u, true);
    begin(&u, CH_MAIN, 0, 0);
    EXPECT(offers(&u, "DIGEST-MD5") && offers(&u, "SCRAM-SHA-1"));
    EXPECT(offers(&u, "SCRAM-SHA-256") && offers(&u, "PLAIN"));
    leave(&u);
    close_bench(&b);
}

static void wrong_passwords(void)
{
    static const char *const mechanisms[] = { "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256",
                                              "PLAIN" };
    struct bench b;
    struct user u;
    open_tls_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(mechanisms); i++) {
        for (int tls = 0; tls < 2; tls++) {
            if (!tls && i > 0)
                continue;
            reach(&b, &u, tls);
            u.password = "wrong";
            begin(&u, CH_MAIN, 0, 0);
            EXPECT_MSG(!authenticate(&u, mechanisms[i]), "%s lets it in", mechanisms[i]);
            leave(&u);
        }
    }
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

/** The server answers with a refusing link reply, and closes. */
static void expect_refusal(struct user *u)
{
    EXPECT(client_read_reply(&u->c));
    EXPECT_EQ(u->c.reply.error, 3);
    EXPECT(client_at_eof(&u->c));
}

static void mechanisms_that_do_not(void)
{
    static const char *const names[] = { "PLAIN",           "SCRAM-SHA-1", "DIGEST-MD",
                                         "IGEST-MD5",       "DIGEST-MD5,", ",DIGEST-MD5",
                                         "ANONYMOUS",       ",",           "digest-md5" };
    struct bench b;
    struct user u;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(names); i++) {
        reach(&b, &u, false);
        begin(&u, CH_MAIN, 0, 0);
        write_counted(&u, names[i], (uint32_t)strlen(names[i]));
        expect_refusal(&u);
        leave(&u);
    }
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

static void wrong_sizes(void)
{
    static const uint32_t lengths[] = { 0, 101, 1000, DATA_MAX, UINT32_MAX };
    struct bench b;
    struct user u;
    const char *data;
    unsigned length;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(lengths); i++) {
        reach(&b, &u, false);
        begin(&u, CH_MAIN, 0, 0);
        write_number(&u, lengths[i]);
        EXPECT(client_at_eof(&u.c));
        leave(&u);
    }
    static const uint32_t too_long[] = { DATA_MAX + 1, INT32_MAX, UINT32_MAX };
    for (size_t i = 0; i < TAP_COUNT(too_long); i++) {
        reach(&b, &u, false);
        begin(&u, CH_MAIN, 0, 0);
        write_counted(&u, "DIGEST-MD5", 10);
        write_number(&u, too_long[i]);
        expect_refusal(&u);
        leave(&u);
        /* the same in a later step */
        reach(&b, &u, false);
        begin(&u, CH_MAIN, 0, 0);
        choose(&u, "DIGEST-MD5", &data, &length);
        write_data(&u, data, length);
        uint8_t step[8192];
        uint32_t size = read_number(&u);
        EXPECT(size < sizeof step);
        EXPECT_EQ(client_read(&u.c, step, size + 1), size + 1);
        write_number(&u, too_long[i]);
        EXPECT(client_at_eof(&u.c));
        leave(&u);
    }
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

/* As long as may be: read to its end, and no good. */
static void longest_data(void)
{
    struct bench b;
    struct user u;
    uint8_t *much = calloc(1, DATA_MAX);
    open_bench(&b);
    reach(&b, &u, false);
    begin(&u, CH_MAIN, 0, 0);
    write_counted(&u, "DIGEST-MD5", 10);
    write_counted(&u, much, DATA_MAX);
    EXPECT(client_closed(&u.c));
    leave(&u);
    free(much);
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

/** How many of these connections the server has not closed. */
static int count_open(struct user *u, int n)
{
    char byte;
    int open = 0;
    for (int i = 0; i < n; i++)
        open += recv(u[i].c.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    return open;
}

/* Nobody has authenticated, so all of them together may hold 16 MiB. */
static void much_data_of_many(void)
{
    enum { MANY = 60, MIB = 1024, MOST = 16 };
    struct bench b;
    static struct user u[MANY];
    uint8_t *much = malloc(DATA_MAX);
    memset(much, 'x', DATA_MAX);
    open_bench(&b);
    for (int i = 0; i < MANY; i++) {
        reach(&b, &u[i], false);
        begin(&u[i], CH_MAIN, 0, 0);
        write_counted(&u[i], "DIGEST-MD5", 10);
        write_number(&u[i], DATA_MAX);
    }
    tap_peak_reset();
    long before = tap_peak_kib();
    for (int i = 0; i < MANY; i++)
        (void)client_write(&u[i].c, much, DATA_MAX - 1);
    /* it may be long before the server has read what the kernel has taken */
    int64_t end = tap_now() + tap_ms(HOST_DEADLINE_MS);
    while (count_open(u, MANY) > MOST && tap_now() < end)
        host_run_for(10);
    long growth = tap_peak_kib() - before;
    EXPECT_MSG(growth < 24 * MIB, "%ld KiB for links that are not done", growth);
    works(&b, "DIGEST-MD5", false);
    int open = count_open(u, MANY);
    EXPECT_MSG(open >= 7 && open <= MOST, "%d of %d are left", open, MANY);
    for (int i = 0; i < MANY; i++)
        leave(&u[i]);
    free(much);
    close_bench(&b);
}

/* Wrapped bytes that were changed on the way end the connection. */
static void changed_bytes(void)
{
    struct bench b;
    struct user u;
    const char *wrapped;
    unsigned size;
    uint8_t block[256];
    open_bench(&b);
    enter(&b, &u, "DIGEST-MD5", false, CH_MAIN, 0);
    EXPECT_EQ(sasl_encode(u.sasl, "0123456789", 10, &wrapped, &size), SASL_OK);
    EXPECT(size < sizeof block);
    memcpy(block, wrapped, size);
    block[size / 2] ^= 1;
    EXPECT(client_write(&u.c, block, size));
    EXPECT(client_closed(&u.c));
    leave(&u);
    /* a block that is longer than was agreed on */
    enter(&b, &u, "DIGEST-MD5", false, CH_MAIN, 0);
    EXPECT(client_write(&u.c, "\xff\xff\xff\xff", 4));
    EXPECT(client_closed(&u.c));
    leave(&u);
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

static void passwords_do_not_count(void)
{
    struct bench b;
    struct client c;
    new_bench(&b, "spice");
    EXPECT_EQ(spice_server_set_ticket(b.r.server, "secret", 0, 0, 0), 0);
    rig_init_tcp(&b.r);
    started(&b);
    rig_connect(&b.r, &c);
    EXPECT(client_link(&c, CH_MAIN, 0, 0, "secret") != LINK_OK);
    client_close(&c);
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

static void passwords_count_again(void)
{
    struct bench b;
    struct client c;
    new_bench(&b, "spice");
    EXPECT_EQ(spice_server_set_sasl(b.r.server, 0), 0);
    EXPECT_EQ(spice_server_set_ticket(b.r.server, "secret", 0, 0, 0), 0);
    rig_init_tcp(&b.r);
    started(&b);
    rig_connect(&b.r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), LINK_OK);
    client_close(&c);
    close_bench(&b);
}

static void the_application_has_a_name(void)
{
    struct bench b;
    new_bench(&b, "another");
    EXPECT_EQ(spice_server_set_sasl_appname(b.r.server, "another"), 0);
    rig_init_tcp(&b.r);
    started(&b);
    works(&b, "DIGEST-MD5", false);
    close_bench(&b);
}

/* A client for which the host vouches sends any password. */
static void vouched_for(void)
{
    struct bench b;
    struct client c;
    int pair[2];
    open_bench(&b);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    EXPECT_EQ(spice_server_add_client(b.r.server, pair[0], 1), 0);
    client_init(&c, pair[1]);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_close(&c);
    close_bench(&b);
}

/* A client that waits for nothing. */
static void everything_at_once(void)
{
    struct bench b;
    struct user u;
    struct link l;
    uint8_t bytes[LINK_BYTES_MAX + 64], *p = bytes;
    open_bench(&b);
    reach(&b, &u, false);
    link_init(&l, CH_MAIN, 0, 0);
    l.caps[0] |= CAP_AUTH_SASL;
    p += link_bytes(&l, p);
    p = put32(put32(p, 2), 10);
    memcpy(p, "DIGEST-MD5", 10);
    p = put32(p + 10, 0);
    EXPECT(client_write(&u.c, bytes, (size_t)(p - bytes)));
    EXPECT(client_read_reply(&u.c));
    uint32_t length = read_number(&u);
    EXPECT(length < sizeof u.list);
    EXPECT_EQ(client_read(&u.c, u.list, length), length);
    EXPECT(read_number(&u) > 1);
    leave(&u);
    close_bench(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(plain_connections_get_a_layer),
    TAP_CASE(unix_sockets_too),
    TAP_CASE(tls_needs_no_layer),
    TAP_CASE(mechanisms_that_do),
    TAP_CASE(mechanisms_that_do_not),
    TAP_CASE(wrong_passwords),
    TAP_CASE(wrong_sizes),
    TAP_CASE(longest_data),
    TAP_CASE(much_data_of_many),
    TAP_CASE(changed_bytes),
    TAP_CASE(passwords_do_not_count),
    TAP_CASE(passwords_count_again),
    TAP_CASE(the_application_has_a_name),
    TAP_CASE(vouched_for),
    TAP_CASE(everything_at_once),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "sasl", cases, TAP_COUNT(cases));
}
