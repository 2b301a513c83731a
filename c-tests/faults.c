/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "faults.h"

#include <linux/sockios.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* ---- the library's question ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { const char *step; int countdown; } armed[2];
static int fired;

int spice_test_fault(const char *step);

int spice_test_fault(const char *step)
{
    int now = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TAP_COUNT(armed); i++)
        if (armed[i].step && !strcmp(armed[i].step, step) && --armed[i].countdown == 0) {
            armed[i].step = NULL;
            fired++;
            now = 1;
        }
    pthread_mutex_unlock(&lock);
    if (now)
        host_wake();
    return now;
}

void arm(const char *step, int nth)
{
    pthread_mutex_lock(&lock);
    int i = armed[0].step != NULL;
    armed[i].step = step;
    armed[i].countdown = nth;
    pthread_mutex_unlock(&lock);
}

void disarm(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TAP_COUNT(armed); i++)
        armed[i].step = NULL;
    pthread_mutex_unlock(&lock);
}

int faults(void)
{
    pthread_mutex_lock(&lock);
    int n = fired;
    pthread_mutex_unlock(&lock);
    return n;
}

void forget_faults(void)
{
    pthread_mutex_lock(&lock);
    fired = 0;
    pthread_mutex_unlock(&lock);
}

static bool has_fired(void *opaque)
{
    return faults() >= *(int *)opaque;
}

static bool is_logged(void *opaque)
{
    return tap_log_lines("step abandoned") >= *(int *)opaque;
}

void expect_faults(int n)
{
    EXPECT_MSG(host_run_until(has_fired, &n, HOST_DEADLINE_MS), "the step was not reached");
    /* host_wake() ends no wait for the log: another thread may be writing it */
    for (int i = 0; i < 500 && !is_logged(&n); i++)
        host_run_until(is_logged, &n, 10);
    EXPECT_EQ(tap_log_lines("step abandoned"), n);
    EXPECT_EQ(faults(), n);
    EXPECT_EQ(tap_log_lines("panicked at"), 0);
}

/* ---- the world ---- */

/** Bytes that the bystander has under way. */
enum { UNDER_WAY = 200000 };

struct rig r;
struct chardev device, other;
struct client bystander_main, bystander;
struct client victim_main, victim;
uint32_t bystander_session, victim_session;
long rss;

bool on_thread(void)
{
    const char *home = getenv("SPICE_SERVER_IO_HOME");
    return home && !strcmp(home, "thread");
}

void main_is_served(struct client *c)
{
    struct message m;
    EXPECT(client_send(c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
}

void link_port(struct client *c, int id, uint32_t session)
{
    struct message m;
    rig_channel(&r, c, CH_PORT, id, session);
    client_expect(c, S_PORT_INIT, &m);
    message_free(&m);
}

void add_devices(void)
{
    chardev_add_port(&device, r.server, "org.example.victim");
    chardev_add_port(&other, r.server, "org.example.bystander");
    other.keep_input = false;
    other.echo = true;
    spice_server_vm_start(r.server);
}

void add_clients(void)
{
    bystander_session = rig_main(&r, &bystander_main);
    link_port(&bystander, 1, bystander_session);
    bystander_main.answer_pings = bystander.answer_pings = true;
    victim_session = rig_main(&r, &victim_main);
    victim_main.answer_pings = true;
    victim.fd = -1;
}

void open_world(void)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    rig_open(&r);
    add_devices();
    add_clients();
}

void open_port(void)
{
    open_world();
    link_port(&victim, 0, victim_session);
    EXPECT(chardev_wait_states(&device, 1));
}

void begin(const char *step, int nth)
{
    static uint8_t data[UNDER_WAY];
    int left = 1;
    chardev_fill(data, sizeof data, 0);
    other.accept = 0;
    for (size_t at = 0; at < sizeof data; at += 10000)
        EXPECT(client_send(&bystander, VMC_DATA, data + at, 10000));
    while (left > 0) {
        EXPECT_EQ(ioctl(bystander.fd, SIOCOUTQ, &left), 0);
        host_turn(left ? 1 : 0);
    }
    /* whichever thread has the connections has handled what it read before this */
    main_is_served(&bystander_main);
    main_is_served(&victim_main);
    host_drain();
    rss = tap_usage().rss_kib;
    tap_log_mark();
    arm(step, nth);
}

void bystander_is_served(void)
{
    size_t got = 0;
    struct message m;
    uint64_t digest = 0;
    other.accept = CHARDEV_UNLIMITED;
    chardev_wakeup(&other);
    while (got < UNDER_WAY) {
        client_expect(&bystander, VMC_DATA, &m);
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
        chardev_pump(&other);
    }
    EXPECT_EQ(got, UNDER_WAY);
    EXPECT(digest == chardev_pattern_digest(UNDER_WAY));
}

/** A later client has everything, in both directions. */
static void newcomer_is_served(void)
{
    struct client c, p;
    struct message m;
    uint64_t before = device.in_len;
    uint32_t session = rig_main(&r, &c);
    c.answer_pings = true;
    link_port(&p, 0, session);
    EXPECT(client_send(&p, VMC_DATA, "hello", 5));
    EXPECT(chardev_wait_input(&device, before + 5));
    chardev_say(&device, "welcome", 7);
    client_expect(&p, VMC_DATA, &m);
    EXPECT(m.size == 7 && !memcmp(m.body, "welcome", 7));
    message_free(&m);
    main_is_served(&c);
    int states = device.n_states;
    client_close(&p);
    EXPECT(chardev_wait_states(&device, states + 1));
    client_close(&c);
}

void close_world(void)
{
    bystander_is_served();
    main_is_served(&bystander_main);
    newcomer_is_served();
    long growth = tap_usage().rss_kib - rss;
    EXPECT_MSG(growth < 8 * 1024, "memory grew by %ld KiB", growth);
    client_close(&victim);
    client_close(&victim_main);
    client_close(&bystander);
    client_close(&bystander_main);
    chardev_remove(&device);
    chardev_remove(&other);
    rig_close(&r);
}

/* ---- how it ends ---- */

void ended(struct client *c)
{
    EXPECT_MSG(client_closed(c), "the connection stays");
    client_close(c);
}

void port_ends(void)
{
    ended(&victim);
    expect_faults(1);
    main_is_served(&victim_main);
    close_world();
}

void session_ends(void)
{
    ended(&victim_main);
    if (victim.fd >= 0)
        ended(&victim);
    expect_faults(1);
    close_world();
}

void device_ends(void)
{
    struct client c;
    ended(&victim);
    expect_faults(1);
    main_is_served(&victim_main);
    rig_connect(&r, &c);
    (void)client_link(&c, CH_PORT, 0, victim_session, "");
    ended(&c);
    chardev_wakeup(&device);
    chardev_remove(&device);
    chardev_add_port(&device, r.server, "org.example.victim");
    struct message m;
    /* clients that know the list are told of the new one */
    client_expect(&bystander_main, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    client_expect(&victim_main, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    close_world();
}

void newcomer_ends(int type, const char *step, int nth)
{
    struct client c;
    open_world();
    begin(step, nth);
    rig_connect(&r, &c);
    (void)client_link(&c, type, 0, type == CH_MAIN ? 0 : victim_session, "");
    ended(&c);
    expect_faults(1);
    main_is_served(&victim_main);
    close_world();
}
