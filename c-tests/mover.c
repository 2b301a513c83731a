/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "mover.h"

enum {
    MAIN_CAPS = 0xf,
    COMMON_CAPS = 0xb, /**< authentication, and mini headers */
};

static bool is_connected(void *m)
{
    return ((struct migration *)m)->connect_completes > 0;
}

static bool is_ended(void *m)
{
    return ((struct migration *)m)->end_completes > 0;
}

void mover_open_server(struct mover *b)
{
    *b = (struct mover){ 0 };
    rig_open(&b->a.r);
    migration_prepare(&b->m);
    spice_server_set_seamless_migration(b->a.r.server, 1);
    EXPECT_EQ(spice_server_add_interface(b->a.r.server, &b->m.sin.base), 0);
}

uint32_t mover_link_main(struct mover *b, uint32_t session)
{
    struct link l;
    struct message m;
    link_init(&l, CH_MAIN, 0, session);
    link_set_caps(&l, COMMON_CAPS, MAIN_CAPS);
    rig_connect(&b->a.r, &b->a.c);
    EXPECT_EQ(client_link_with(&b->a.c, &l, ""), LINK_OK);
    if (session)
        return session;
    client_expect(&b->a.c, S_MAIN_INIT, &m);
    session = get32(m.body);
    message_free(&m);
    return session;
}

void mover_find(struct client *c, uint16_t type, struct message *m)
{
    for (;;) {
        EXPECT_MSG(client_next(c, m), "no message, expected type %d", type);
        if (m->type == type)
            return;
        EXPECT_MSG(m->type != S_MIGRATE_DATA, "MIGRATE_DATA, expected %d", type);
        message_free(m);
    }
}

void mover_open_source(struct mover *b, const char *subtype, const char *port)
{
    mover_open_server(b);
    if (subtype) {
        chardev_prepare(&b->device, subtype, port);
        EXPECT_EQ(chardev_add(&b->device, b->a.r.server), 0);
    }
    spice_server_vm_start(b->a.r.server);
}

void mover_open_port(struct mover *b)
{
    mover_open_source(b, "port", "org.example.0");
    b->a.session = mover_link_main(b, 0);
    rig_channel(&b->a.r, &b->c, CH_PORT, 0, b->a.session);
}

void mover_begin(struct mover *b)
{
    struct message m;
    EXPECT_EQ(spice_server_migrate_connect(b->a.r.server, "127.0.0.1", 5999, -1, NULL), 0);
    mover_find(&b->a.c, S_MAIN_BEGIN_SEAMLESS, &m);
    message_free(&m);
    EXPECT(client_send(&b->a.c, C_MAIN_CONNECTED_SEAMLESS, NULL, 0));
    EXPECT(host_run_until(is_connected, &b->m, tap_ms(HOST_DEADLINE_MS)));
    spice_server_vm_stop(b->a.r.server);
    EXPECT_EQ(spice_server_migrate_end(b->a.r.server, 1), 0);
}

void mover_take_along(struct client *c, struct message *m)
{
    mover_find(c, S_MIGRATE, m);
    EXPECT_EQ(m->size, 4);
    EXPECT_EQ(get32(m->body), 3);
    message_free(m);
    EXPECT(client_send(c, C_FLUSH_MARK, NULL, 0));
    client_expect(c, S_MIGRATE_DATA, m);
}

void mover_ended(struct mover *b)
{
    EXPECT(host_run_until(is_ended, &b->m, tap_ms(HOST_DEADLINE_MS)));
}

static void close_host(struct mover *b)
{
    if (b->device.added)
        chardev_remove(&b->device);
    if (b->a.agent.added)
        chardev_remove(&b->a.agent);
    spice_server_remove_interface(&b->m.sin.base);
    rig_close(&b->a.r);
}

void mover_close_source(struct mover *b)
{
    client_close(&b->a.c);
    mover_ended(b);
    close_host(b);
}

void mover_open_target(struct mover *b)
{
    struct message m;
    uint8_t version[4];
    b->a.session = 0x12345678;
    mover_link_main(b, b->a.session);
    put32(version, 1);
    EXPECT(client_send(&b->a.c, C_MAIN_DO_SEAMLESS, version, 4));
    client_expect(&b->a.c, S_MAIN_SEAMLESS_ACK, &m);
    message_free(&m);
}

void mover_close_target(struct mover *b)
{
    client_close(&b->a.c);
    close_host(b);
}

void put_magic(uint8_t *body, const char *magic)
{
    memcpy(body, magic, 4);
    put32(body + 4, 1);
}

uint8_t *put_block(uint8_t *p, uint32_t client, uint32_t server, uint32_t size, uint32_t price,
                   uint32_t at)
{
    p = put8(put32(p, 1), 1);
    return put32(put32(put32(put32(put32(p, client), server), size), price), at);
}

void expect_moved(const struct message *m, const char *magic, const void *rest, size_t n)
{
    EXPECT(m->size >= 8 && !memcmp(m->body, magic, 4));
    EXPECT_EQ(get32(m->body + 4), 1);
    for (size_t i = 0; i < n && 8 + i < m->size; i++) {
        int got = m->body[8 + i], want = ((const uint8_t *)rest)[i];
        EXPECT_MSG(got == want, "byte %zu is %02x, not %02x", i, got, want);
    }
    EXPECT_EQ(m->size, 8 + n);
}
