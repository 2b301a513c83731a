/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "client.h"
#include "host.h"
#include "tap.h"
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- sockets ---- */

static int connect_to(int family, const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, sa, len) < 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

int connect_unix(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    return connect_to(AF_UNIX, (struct sockaddr *)&sa, sizeof sa);
}

int connect_abstract(const char *name)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    size_t n = strlen(name);
    memcpy(sa.sun_path + 1, name, n);
    return connect_to(AF_UNIX, (struct sockaddr *)&sa,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
}

int connect_tcp(int family, int port)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
                               .sin6_port = htons((uint16_t)port),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    if (family == AF_INET)
        return connect_to(family, (struct sockaddr *)&v4, sizeof v4);
    return connect_to(family, (struct sockaddr *)&v6, sizeof v6);
}

void client_init(struct client *c, int fd)
{
    if (fd < 0)
        FAIL("cannot connect: %s", strerror(errno));
    *c = (struct client){ .fd = fd, .mini = true };
}

void client_close(struct client *c)
{
    if (c->fd < 0)
        return; /* never opened, and so nothing else in it is set */
    tls_free(c);
    close(c->fd);
    c->fd = -1;
}

/* ---- bytes ---- */

/* Like send and recv, errno EAGAIN included. */

static ssize_t give(struct client *c, const void *data, size_t n)
{
    return c->tls ? tls_give(c, data, n) : send(c->fd, data, n, MSG_NOSIGNAL);
}

static ssize_t take(struct client *c, void *data, size_t n)
{
    return c->tls ? tls_take(c, data, n) : recv(c->fd, data, n, 0);
}

bool client_write(struct client *c, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t w = give(c, p, n);
        if (w > 0) {
            p += w;
            n -= (size_t)w;
        } else if (errno == EAGAIN) {
            if (!host_wait_fd(c->fd, POLLOUT, HOST_DEADLINE_MS))
                return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

size_t client_write_some(struct client *c, const void *data, size_t n, int quiet)
{
    const uint8_t *p = data;
    size_t sent = 0;
    while (sent < n) {
        ssize_t w = give(c, p + sent, n - sent);
        if (w > 0)
            sent += (size_t)w;
        else if (errno == EAGAIN && !host_wait_fd(c->fd, POLLOUT, quiet))
            break;
        else if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return sent;
}

/** recv that waits; 0 = closed, -1 = deadline. */
static ssize_t receive(struct client *c, void *data, size_t n, int ms)
{
    for (;;) {
        ssize_t r = take(c, data, n);
        if (r >= 0)
            return r;
        if (errno == EAGAIN) {
            if (!host_wait_fd(c->fd, POLLIN, ms))
                return -1;
        } else if (errno != EINTR) {
            return 0; /* reset: closed with unread bytes */
        }
    }
}

size_t client_read(struct client *c, void *data, size_t n)
{
    uint8_t *p = data;
    size_t got = 0;
    while (got < n) {
        ssize_t r = receive(c, p + got, n - got, HOST_DEADLINE_MS);
        if (r <= 0)
            break;
        got += (size_t)r;
    }
    return got;
}

bool client_at_eof(struct client *c)
{
    uint8_t byte;
    return receive(c, &byte, 1, HOST_DEADLINE_MS) == 0;
}

bool client_closed(struct client *c)
{
    uint8_t buf[4096];
    ssize_t r;
    do
        r = receive(c, buf, sizeof buf, HOST_DEADLINE_MS);
    while (r > 0);
    return r == 0;
}

bool client_silent(struct client *c, int ms)
{
    uint8_t byte;
    return receive(c, &byte, 1, ms) == -1;
}

/* ---- link ---- */

void link_init(struct link *l, int type, int id, uint32_t connection_id)
{
    *l = (struct link){ .magic = { 'R', 'E', 'D', 'Q' },
                        .major = 2,
                        .minor = 2,
                        .connection_id = connection_id,
                        .type = (uint8_t)type,
                        .id = (uint8_t)id,
                        .caps_offset = 18 };
    /* main: NAME_AND_UUID and the three others; channels of their own: none */
    link_set_caps(l, CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
                  type == CH_MAIN ? 0x0f : 0);
}

void link_set_caps(struct link *l, uint32_t common, uint32_t channel)
{
    l->caps[0] = common;
    l->caps[1] = channel;
    l->n_caps = 2;
    l->n_common = l->n_channel = 1;
    l->size = 18 + 8;
}

size_t link_bytes(const struct link *l, uint8_t *buf)
{
    uint8_t *p = buf;
    memcpy(p, l->magic, 4);
    p = put32(put32(put32(p + 4, l->major), l->minor), l->size);
    p = put8(put8(put32(p, l->connection_id), l->type), l->id);
    p = put32(put32(put32(p, l->n_common), l->n_channel), l->caps_offset);
    for (size_t i = 0; i < l->n_caps; i++)
        p = put32(p, l->caps[i]);
    return (size_t)(p - buf);
}

bool client_send_link(struct client *c, const struct link *l)
{
    uint8_t buf[LINK_BYTES_MAX];
    c->mini = l->n_common && (l->caps[0] & CAP_MINI_HEADER);
    return client_write(c, buf, link_bytes(l, buf));
}

bool client_read_reply(struct client *c)
{
    struct link_reply *r = &c->reply;
    uint8_t buf[16 + 178 + sizeof r->caps];
    if (client_read(c, buf, 16) != 16)
        return false;
    if (memcmp(buf, "REDQ", 4))
        FAIL("the reply does not begin with REDQ");
    *r = (struct link_reply){ .major = get32(buf + 4),
                              .minor = get32(buf + 8),
                              .size = get32(buf + 12) };
    if (r->size < 178 || r->size > sizeof buf - 16)
        FAIL("the reply announces %u bytes", r->size);
    if (client_read(c, buf, r->size) != r->size)
        return false;
    r->error = get32(buf);
    memcpy(r->key, buf + 4, PUBKEY_SIZE);
    r->n_common = get32(buf + 166);
    r->n_channel = get32(buf + 170);
    r->caps_offset = get32(buf + 174);
    for (uint32_t i = 0; i < (r->size - 178) / 4; i++)
        r->caps[i] = get32(buf + 178 + 4 * i);
    return true;
}

void client_make_ticket(struct client *c, const char *password, size_t len,
                        uint8_t ticket[TICKET_SIZE])
{
    const uint8_t *der = c->reply.key;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &der, PUBKEY_SIZE);
    if (!key || der != c->reply.key + PUBKEY_SIZE || EVP_PKEY_get_bits(key) != 1024)
        FAIL("the reply carries no 1024-bit RSA key of %d bytes", PUBKEY_SIZE);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    size_t size = TICKET_SIZE;
    if (EVP_PKEY_encrypt_init(ctx) <= 0 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) <= 0 ||
        EVP_PKEY_encrypt(ctx, ticket, &size, (const uint8_t *)password, len) <= 0 ||
        size != TICKET_SIZE)
        FAIL("cannot encrypt the ticket");
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
}

bool client_send_ticket(struct client *c, const char *password)
{
    uint8_t buf[4 + TICKET_SIZE];
    put32(buf, 1);
    client_make_ticket(c, password, strlen(password) + 1, buf + 4);
    return client_write(c, buf, sizeof buf);
}

int client_read_result(struct client *c)
{
    uint8_t buf[4];
    if (client_read(c, buf, 4) != 4)
        return -1;
    return (int)get32(buf);
}

int client_link_with(struct client *c, const struct link *l, const char *password)
{
    if (!client_send_link(c, l) || !client_read_reply(c))
        return LINK_CLOSED;
    if (c->reply.error)
        return LINK_REFUSED + (int)c->reply.error;
    if (!client_send_ticket(c, password))
        return LINK_CLOSED_AFTER_REPLY;
    int result = client_read_result(c);
    return result < 0 ? LINK_CLOSED_AFTER_REPLY : result;
}

int client_link(struct client *c, int type, int id, uint32_t session, const char *password)
{
    struct link l;
    link_init(&l, type, id, session);
    return client_link_with(c, &l, password);
}

/* ---- messages ---- */

void message_free(struct message *m)
{
    free(m->body);
    m->body = NULL;
}

bool message_lists(const struct message *m, int type, int id)
{
    uint32_t n = get32(m->body);
    EXPECT_EQ(m->size, 4 + 2 * n);
    for (uint32_t i = 0; i < n; i++)
        if (m->body[4 + 2 * i] == type && m->body[5 + 2 * i] == id)
            return true;
    return false;
}

static size_t header_bytes(struct client *c, uint8_t *buf, uint16_t type, uint32_t size)
{
    if (c->mini)
        return (size_t)(put32(put16(buf, type), size) - buf);
    return (size_t)(put32(put32(put16(put64(buf, ++c->serial), type), size), 0) - buf);
}

bool client_send_header(struct client *c, uint16_t type, uint32_t size)
{
    uint8_t buf[18];
    return client_write(c, buf, header_bytes(c, buf, type, size));
}

bool client_send(struct client *c, uint16_t type, const void *body, uint32_t size)
{
    uint8_t *buf = malloc(18 + (size_t)size);
    size_t n = header_bytes(c, buf, type, size);
    if (size)
        memcpy(buf + n, body, size);
    bool good = client_write(c, buf, n + size);
    free(buf);
    return good;
}

static bool read_message(struct client *c, struct message *m)
{
    uint8_t buf[18];
    size_t header = c->mini ? 6 : 18;
    *m = (struct message){ 0 };
    if (client_read(c, buf, header) != header)
        return false;
    c->received++;
    if (c->mini) {
        m->type = get16(buf);
        m->size = get32(buf + 2);
    } else {
        m->serial = get64(buf);
        m->type = get16(buf + 8);
        m->size = get32(buf + 10);
        m->sub_list = get32(buf + 14);
    }
    if (m->size > 64u << 20)
        FAIL("message %u of %u bytes from the server", m->type, m->size);
    m->body = malloc(m->size + 1);
    if (client_read(c, m->body, m->size) == m->size)
        return true;
    message_free(m);
    return false;
}

static bool acknowledge(struct client *c, const struct message *m)
{
    if (m->type == S_SET_ACK) {
        c->window = get32(m->body + 4);
        c->unacknowledged = 0;
        return client_send(c, C_ACK_SYNC, m->body, 4);
    }
    if (!c->window || ++c->unacknowledged < c->window)
        return true;
    c->unacknowledged = 0;
    return client_send(c, C_ACK, NULL, 0);
}

bool client_next(struct client *c, struct message *m)
{
    while (read_message(c, m)) {
        if (c->acknowledges && !acknowledge(c, m)) {
            message_free(m);
            return false;
        }
        if (!c->answer_pings || m->type != S_PING)
            return true;
        bool sent = client_send(c, C_PONG, m->body, 12);
        message_free(m);
        if (!sent)
            return false;
    }
    return false;
}

void client_expect(struct client *c, uint16_t type, struct message *m)
{
    if (!client_next(c, m))
        FAIL("no message, expected type %u", type);
    if (m->type != type)
        FAIL("message of type %u, expected %u", m->type, type);
}
