/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registry.h"

#include <string.h>

struct rig r;
struct client main_channel;
uint32_t session;

rule port_rule(const char *name, uint32_t type)
{
    return (rule){ .size = sizeof(rule), .port_name = name, .channel_type = type };
}

void add_rule(rule what)
{
    EXPECT_EQ(spice_server_register_channel(r.server, &what), 0);
}

void connect_main(void)
{
    session = rig_main(&r, &main_channel);
    main_channel.answer_pings = true;
}

void link_to(struct client *c, int type, int id)
{
    rig_channel_caps(&r, c, type, id, session,
                     CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER, VMC_CAP_LZ4);
    c->answer_pings = true;
}

void expect_port_init(struct client *c, const char *name)
{
    struct message m;
    client_expect(c, S_PORT_INIT, &m);
    EXPECT_EQ(m.size, 9 + strlen(name) + 1);
    EXPECT(!memcmp(m.body + 9, name, strlen(name) + 1));
    message_free(&m);
}

void expect_data(struct client *c, const char *text)
{
    struct message m;
    client_expect(c, VMC_DATA, &m);
    EXPECT(m.size == strlen(text) && !memcmp(m.body, text, m.size));
    message_free(&m);
}

void add_device(struct chardev *d, const char *subtype, const char *portname)
{
    chardev_prepare(d, subtype, portname);
    EXPECT_EQ(chardev_add(d, r.server), 0);
    EXPECT_MSG(d->added, "%s %s is not served", subtype, portname ? portname : "");
}

void port_is_served(struct chardev *d, int type, int id)
{
    struct client c;
    int states = d->n_states;
    uint64_t before = d->in_len;
    link_to(&c, type, id);
    expect_port_init(&c, d->sin.portname);
    EXPECT(chardev_wait_states(d, states + 1));
    chardev_say(d, "from the device", 15);
    expect_data(&c, "from the device");
    EXPECT(client_send(&c, VMC_DATA, "to the device", 13));
    EXPECT(chardev_wait_input(d, before + 13));
    client_close(&c);
    EXPECT(chardev_wait_states(d, states + 2));
}
