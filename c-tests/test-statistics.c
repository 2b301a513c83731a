/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is counted (docs/statistics.md): the numbers of flows that are known to the byte,
 * and the ways to read them: spice_server_statistics_json(), the unix socket, upstream's
 * file in shared memory. Not run on Debian's library.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "chardev.h"
#include "devices.h"
#include "rig.h"

#include <fcntl.h>
#include <poll.h>
#include <spice-server-rs.h>
#include <spice/stats.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MINI = 6, RESULT = 4, DOCUMENT = 65536 };

static struct rig r;
static struct chardev port;
static struct client main_channel, c;
static uint32_t session;
static char document[DOCUMENT];

/** The document as it is now. */
static void look(void)
{
    int length = spice_server_statistics_json(r.server, document, sizeof document);
    EXPECT(length > 0 && length < DOCUMENT);
    EXPECT_EQ(strlen(document), (size_t)length);
}

/** The text from behind `mark`, which stands behind `section`. */
static const char *behind(const char *section, const char *mark)
{
    const char *at = strstr(document, section);
    EXPECT_MSG(at, "no %s in %s", section, document);
    at = strstr(at + strlen(section), mark);
    EXPECT_MSG(at, "no %s behind %s in %s", mark, section, document);
    return at + strlen(mark);
}

/** The number behind `key`, which is the first of that name behind `section`. */
static uint64_t number(const char *section, const char *key)
{
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\":", key);
    return strtoull(behind(section, mark), NULL, 10);
}

static double seconds(const char *section, const char *key)
{
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\":", key);
    return strtod(behind(section, mark), NULL);
}

#define SERVER "\"host_thread_seconds\""
#define CHANNEL "\"port\":\"org.example.0\""
#define CLIENT "\"session\":"
/* Of the client's connections the port's comes last: it was made last. */
#define CONNECTION "\"name\":\"port:0\",\"type\":10,\"id\":0,\"encrypted\""

/* What the I/O thread counts wakes nobody here, so that it is looked at again and again. */
enum { LOOK_AGAIN = 2, PATIENCE = 5000 };

static void expect_number(const char *section, const char *key, uint64_t value)
{
    int64_t end = tap_now() + tap_ms(PATIENCE);
    for (look(); number(section, key) != value && tap_now() < end; look())
        host_run_for(LOOK_AGAIN);
    EXPECT_MSG(number(section, key) == value, "%s behind %s is %ju and not %ju", key, section,
               (uintmax_t)number(section, key), (uintmax_t)value);
}

static void expect_more(const char *section, const char *key, uint64_t value)
{
    int64_t end = tap_now() + tap_ms(PATIENCE);
    for (look(); number(section, key) <= value && tap_now() < end; look())
        host_run_for(LOOK_AGAIN);
    EXPECT_MSG(number(section, key) > value, "%s behind %s stays %ju", key, section,
               (uintmax_t)number(section, key));
}

/** A client on a port, which has been told its name. */
static void connect_port(void)
{
    struct message m;
    session = rig_main(&r, &main_channel);
    main_channel.answer_pings = true;
    rig_channel(&r, &c, CH_PORT, 0, session);
    client_expect(&c, S_PORT_INIT, &m);
    EXPECT_EQ(m.size, 9 + sizeof "org.example.0");
    message_free(&m);
    EXPECT(chardev_wait_states(&port, 1));
}

enum { PORT_INIT = MINI + 9 + sizeof "org.example.0" };

static void open_port(void)
{
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    connect_port();
}

static void close_port(void)
{
    client_close(&c);
    client_close(&main_channel);
    chardev_remove(&port);
    rig_close(&r);
}

static void read_messages(int count, uint64_t bytes)
{
    uint64_t got = 0;
    for (int i = 0; i < count; i++) {
        struct message m;
        client_expect(&c, VMC_DATA, &m);
        got += m.size;
        message_free(&m);
    }
    EXPECT_EQ(got, bytes);
}

/* ---- numbers ---- */

static void a_flow_to_the_byte(void)
{
    static const uint32_t sizes[] = { 1, 100, 4096, 70000, 300000, 7 };
    uint64_t bytes = 0, n = TAP_COUNT(sizes), out = 0;
    uint8_t *data = calloc(1, 300000);
    open_port();
    for (size_t i = 0; i < n; i++) {
        EXPECT(client_send(&c, VMC_DATA, data, sizes[i]));
        bytes += sizes[i];
    }
    EXPECT(chardev_wait_input(&port, bytes));
    for (size_t i = 0; i < 3; i++) {
        chardev_say(&port, data, sizes[i]);
        out += sizes[i];
    }
    read_messages(3, out);
    static const char *const where[] = { CHANNEL, CONNECTION };
    for (size_t i = 0; i < TAP_COUNT(where); i++) {
        expect_number(where[i], "received_messages", n);
        expect_number(where[i], "received_bytes", bytes + n * MINI);
        expect_number(where[i], "in_data_bytes", bytes);
        expect_number(where[i], "in_compressed_bytes", 0);
        expect_number(where[i], "sent_messages", 1 + 3);
        expect_number(where[i], "sent_bytes", RESULT + PORT_INIT + out + 3 * MINI);
        expect_number(where[i], "out_data_bytes", out);
        expect_number(where[i], "out_compressed_bytes", 0);
        expect_number(where[i], "queued_bytes", 0);
    }
    expect_more(CONNECTION, "queued_bytes_highest", 0);
    EXPECT_EQ(number(CHANNEL, "connections"), 1);
    EXPECT_EQ(number("{", "session"), session);
    double idle = seconds(SERVER, "idle_seconds");
    EXPECT_MSG(idle >= 0 && idle < 5, "idle for %f s: %s", idle, document);
    /* the client has its main channel besides, and the server nobody else */
    uint64_t client = number(CLIENT, "received_bytes");
    EXPECT(client >= bytes + n * MINI);
    EXPECT_EQ(number(SERVER, "received_bytes"), client);
    /* who leaves takes nothing away */
    client_close(&c);
    EXPECT(chardev_wait_states(&port, 2));
    expect_number(CHANNEL, "connections", 0);
    expect_number(CHANNEL, "received_bytes", bytes + n * MINI);
    expect_number(CHANNEL, "out_data_bytes", out);
    expect_number(SERVER, "received_bytes", client);
    rig_channel(&r, &c, CH_PORT, 0, session);
    EXPECT(client_send(&c, VMC_DATA, data, 10));
    EXPECT(chardev_wait_input(&port, bytes + 10));
    expect_number(CHANNEL, "in_data_bytes", bytes + 10);
    expect_number(CONNECTION, "in_data_bytes", 10);
    free(data);
    close_port();
}

static void many_small_messages(void)
{
    enum { COUNT = 5000, SIZE = 64 };
    uint8_t *data = calloc(COUNT, MINI + SIZE);
    for (int i = 0; i < COUNT; i++) {
        data[i * (MINI + SIZE)] = VMC_DATA;
        data[i * (MINI + SIZE) + 2] = SIZE;
    }
    open_port();
    EXPECT(client_write(&c, data, COUNT * (MINI + SIZE)));
    EXPECT(chardev_wait_input(&port, COUNT * SIZE));
    expect_number(CONNECTION, "received_messages", COUNT);
    expect_number(CONNECTION, "received_bytes", COUNT * (MINI + SIZE));
    expect_number(CONNECTION, "in_data_bytes", COUNT * SIZE);
    free(data);
    close_port();
}

static void a_full_device_holds_messages_up(void)
{
    enum { SIZE = 60000, COUNT = 400 };
    uint8_t *data = calloc(1, MINI + SIZE);
    size_t sent = 0, some = MINI + SIZE;
    data[0] = VMC_DATA;
    data[2] = SIZE & 255;
    data[3] = SIZE >> 8;
    open_port();
    look();
    EXPECT(seconds(CONNECTION, "blocked_in_seconds") == 0);
    port.accept = 0;
    for (int i = 0; i < COUNT && some == MINI + SIZE; i++) {
        some = client_write_some(&c, data, MINI + SIZE, 100);
        sent += SIZE;
    }
    EXPECT_MSG(some < MINI + SIZE, "%zu bytes fit somewhere", sent);
    host_run_for(50);
    look();
    double held = seconds(CONNECTION, "blocked_in_seconds");
    EXPECT_MSG(held > 0.02 && held < 60, "held up for %f s", held);
    host_run_for(50);
    look();
    EXPECT(seconds(CONNECTION, "blocked_in_seconds") > held);
    /* it takes all, and the time stands still */
    port.accept = CHARDEV_UNLIMITED;
    chardev_wakeup(&port);
    EXPECT(client_write(&c, data + some, MINI + SIZE - some));
    EXPECT(chardev_wait_input(&port, sent));
    look();
    held = seconds(CONNECTION, "blocked_in_seconds");
    host_run_for(50);
    look();
    EXPECT(seconds(CONNECTION, "blocked_in_seconds") == held);
    EXPECT(seconds(CONNECTION, "blocked_out_seconds") == 0);
    free(data);
    close_port();
}

static void a_client_that_does_not_read(void)
{
    open_port();
    chardev_generate(&port, 4 << 20);
    expect_more(CONNECTION, "queued_bytes", 60000);
    host_run_for(50);
    look();
    EXPECT(number(CONNECTION, "queued_bytes") <= number(CONNECTION, "queued_bytes_highest"));
    double waited = seconds(CONNECTION, "blocked_out_seconds");
    EXPECT_MSG(waited > 0.02 && waited < 60, "waited for %f s", waited);
    uint64_t got = 0, count = 1;
    while (got < 4 << 20) {
        struct message m;
        client_expect(&c, VMC_DATA, &m);
        got += m.size;
        count++;
        message_free(&m);
    }
    expect_number(CONNECTION, "queued_bytes", 0);
    expect_number(CONNECTION, "out_data_bytes", 4 << 20);
    expect_number(CONNECTION, "sent_messages", count);
    expect_number(CONNECTION, "sent_bytes",
                  RESULT + PORT_INIT + (4 << 20) + (count - 1) * MINI);
    waited = seconds(CONNECTION, "blocked_out_seconds");
    host_run_for(50);
    look();
    EXPECT(seconds(CONNECTION, "blocked_out_seconds") == waited);
    close_port();
}

static void ends_have_their_reasons(void)
{
    struct message m;
    open_port();
    expect_number("\"endings\"", "by_client", 0);
    EXPECT(client_send_header(&c, C_PORT_EVENT, 1 << 30));
    EXPECT(client_closed(&c));
    expect_number("\"endings\"", "too_large", 1);
    client_close(&c);
    rig_channel(&r, &c, CH_PORT, 0, session);
    EXPECT(client_send(&c, VMC_DATA, NULL, 0));
    EXPECT(client_send(&c, C_PORT_EVENT, "", 0));
    EXPECT(client_closed(&c));
    expect_number("\"endings\"", "malformed", 1);
    client_close(&c);
    /* without having read all it would be a connection that was reset */
    rig_channel(&r, &c, CH_PORT, 0, session);
    client_expect(&c, S_PORT_INIT, &m);
    message_free(&m);
    client_close(&c);
    expect_number("\"endings\"", "by_client", 1);
    expect_number("\"endings\"", "by_server", 0);
    rig_channel(&r, &c, CH_PORT, 0, session);
    client_close(&main_channel);
    EXPECT(client_closed(&c));
    expect_number("\"endings\"", "by_server", 1);
    EXPECT(strstr(document, "\"clients\":[]"));
    close_port();
}

static void what_is_refused_is_counted(void)
{
    static const char REFUSALS[] = "\"refusals\"";
    /* to nobody: port 0 */
    static const uint8_t agent_chunk[8 + 20] = { [4] = 20 };
    /* a message of the stream device with another version of the protocol */
    static const uint8_t stream_message[8] = { 99 };
    struct chardev odd, agent, stream;
    struct client second;
    struct qxl q;
    open_port();
    look();
    EXPECT_EQ(number(REFUSALS, "graphics_command"), 0);

    rig_channel(&r, &second, CH_PORT, 0, session);
    EXPECT(client_at_eof(&second));
    client_close(&second);
    expect_number(REFUSALS, "channel_busy", 1);

    chardev_prepare(&odd, "unheard-of", NULL);
    chardev_add(&odd, r.server);
    expect_number(REFUSALS, "device", 1);

    chardev_prepare(&agent, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&agent, r.server), 0);
    agent_start(&main_channel, 10);
    chardev_say(&agent, agent_chunk, sizeof agent_chunk);
    expect_number(REFUSALS, "agent_message", 1);

    chardev_add_port(&stream, r.server, "org.spice-space.stream.0");
    spice_server_port_event(&stream.sin, 0);
    chardev_say(&stream, stream_message, sizeof stream_message);
    expect_number(REFUSALS, "stream_message", 1);

    qxl_prepare(&q, 1);
    qxl_add(&q, r.server);
    spice_server_vm_start(r.server);
    EXPECT(qxl_push_raw(&q, 99, 0));
    expect_number(REFUSALS, "graphics_command", 1);
    EXPECT(qxl_push_raw(&q, 99, 0));
    expect_number(REFUSALS, "graphics_command", 2);

    qxl_remove(&q);
    chardev_remove(&stream);
    chardev_forget(&agent);
    chardev_forget(&odd);
    close_port();
}

static void links_are_counted(void)
{
    rig_new(&r);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    rig_init_unix(&r);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"), 7);
    client_close(&c);
    expect_number("\"links\"", "wrong_password", 1);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), 0);
    expect_number("\"links\"", "begun", 2);
    expect_number("\"links\"", "authenticated", 1);
    /* counted in ticks: one of many calls meets one */
    for (int64_t end = tap_now() + tap_ms(PATIENCE);
         seconds("{", "host_thread_seconds") == 0 && tap_now() < end;)
        look();
    EXPECT(seconds("{", "host_thread_seconds") > 0);
    client_close(&c);
    rig_close(&r);
}

/* ---- the call ---- */

static void the_call_and_its_buffer(void)
{
    char small[8] = "xxxxxxx";
    rig_new(&r);
    spice_server_set_name(r.server, "a \"vm\"");
    uint8_t uuid[16] = { 1, 2, 3 };
    spice_server_set_uuid(r.server, uuid);
    /* before init as well */
    look();
    EXPECT(strstr(document, "\"vm\":\"a \\\"vm\\\"\""));
    EXPECT(strstr(document, "\"uuid\":\"01020300-0000-0000-0000-000000000000\""));
    int length = spice_server_statistics_json(r.server, NULL, 0);
    EXPECT(length > 100);
    EXPECT(spice_server_statistics_json(r.server, small, sizeof small) > 100);
    EXPECT_MSG(!small[0] && small[1] == 'x', "an empty string and no more");
    EXPECT(spice_server_statistics_json(r.server, small + 1, 0) > 100);
    EXPECT(small[1] == 'x');
    tap_log_mark();
    EXPECT_EQ(spice_server_statistics_json(r.server, NULL, 5), -1);
    EXPECT_EQ(spice_server_statistics_json(NULL, document, sizeof document), -1);
    EXPECT_EQ(tap_log_lines("Spice"), 2);
    spice_server_set_noauth(r.server);
    rig_init_unix(&r);
    rig_close(&r);
}

/* ---- the socket ---- */

static void configure(const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/config.toml", tap_directory());
    FILE *file = fopen(path, "w");
    EXPECT(file && fputs(text, file) >= 0 && !fclose(file));
    EXPECT(!setenv("SPICE_SERVER_CONFIG", path, 1));
}

static void configure_socket(void)
{
    char text[512];
    snprintf(text, sizeof text, "[statistics]\nsocket = '%s/{name}.socket'\n", tap_directory());
    configure(text);
}

/** Sends a request and reads until a line ends, or until the end. */
static void ask(int fd, const char *request, bool to_the_end)
{
    EXPECT_EQ(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    size_t length = 0;
    for (;;) {
        EXPECT(host_wait_fd(fd, POLLIN, 5000));
        ssize_t n = read(fd, document + length, sizeof document - 1 - length);
        EXPECT(n >= 0);
        length += n;
        document[length] = 0;
        if (!n || (!to_the_end && length && document[length - 1] == '\n'))
            return;
    }
}

static void the_socket(void)
{
    char path[300];
    struct stat st;
    configure_socket();
    snprintf(path, sizeof path, "%s/a_vm.socket", tap_directory());
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    spice_server_set_name(r.server, "a/vm");
    rig_init_unix(&r);
    EXPECT(!stat(path, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    chardev_add_port(&port, r.server, "org.example.0");
    connect_port();
    EXPECT(client_send(&c, VMC_DATA, "hello", 5));
    EXPECT(chardev_wait_input(&port, 5));
    int fd = connect_unix(path);
    EXPECT(fd >= 0);
    ask(fd, "statistics\n", false);
    EXPECT_EQ(number(CONNECTION, "in_data_bytes"), 5);
    EXPECT(strstr(document, "\"vm\":\"a/vm\""));
    ask(fd, "\n", false);
    EXPECT_EQ(number(CHANNEL, "received_messages"), 1);
    ask(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", true);
    EXPECT(!strncmp(document, "HTTP/1.1 200 OK\r\n", 17));
    EXPECT(strstr(document, "\nspice_channel_in_data_bytes_total{vm=\"a/vm\","
                            "channel=\"port:0\",port=\"org.example.0\"} 5\n"));
    close(fd);
    fd = connect_unix(path);
    ask(fd, "nonsense\n", true);
    EXPECT(!strcmp(document, "{\"error\":\"unknown request nonsense\"}\n"));
    close(fd);
    close_port();
    EXPECT_MSG(stat(path, &st) == -1, "it goes with the server");
    unsetenv("SPICE_SERVER_CONFIG");
}

/* What stands in the way costs the socket and nothing else. */
static void a_socket_that_cannot_be(void)
{
    char path[300];
    struct stat st;
    configure_socket();
    snprintf(path, sizeof path, "%s/x.socket", tap_directory());
    EXPECT(!mkdir(path, 0700));
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    spice_server_set_name(r.server, "x");
    tap_log_mark();
    rig_init_unix(&r);
    EXPECT_EQ(tap_log_lines("no statistics at"), 1);
    rig_close(&r);
    EXPECT(!stat(path, &st) && S_ISDIR(st.st_mode));
    EXPECT(!rmdir(path));
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    spice_server_set_name(r.server, "x");
    rig_init_unix(&r);
    EXPECT(!stat(path, &st) && S_ISSOCK(st.st_mode));
    rig_close(&r);
    EXPECT_EQ(stat(path, &st), -1);
    unsetenv("SPICE_SERVER_CONFIG");
}

/* ---- shared memory ---- */

static const SpiceStat *stats;

/** The value of a path such as "spicevmc/in_data"; -1 when there is none. */
static int64_t value_of(const char *path)
{
    uint32_t at = stats->root_index;
    for (;;) {
        size_t length = strcspn(path, "/");
        while (at != UINT32_MAX && (strlen(stats->nodes[at].name) != length ||
                                    memcmp(stats->nodes[at].name, path, length)))
            at = stats->nodes[at].next_sibling_index;
        if (at == UINT32_MAX)
            return -1;
        const SpiceStatNode *node = &stats->nodes[at];
        EXPECT(at < stats->num_of_nodes);
        EXPECT((node->flags & SPICE_STAT_NODE_MASK_SHOW) == SPICE_STAT_NODE_MASK_SHOW);
        if (!path[length])
            return node->flags & SPICE_STAT_NODE_FLAG_VALUE ? (int64_t)node->value : -1;
        path += length + 1;
        at = node->first_child_index;
    }
}

static void upstream_s_file(void)
{
    char path[64];
    struct stat st;
    configure("[statistics]\nshared-memory = true\n");
    snprintf(path, sizeof path, "/dev/shm/spice.%d", (int)getpid());
    open_port();
    int fd = open(path, O_RDONLY);
    EXPECT(fd >= 0 && !fstat(fd, &st));
    EXPECT_EQ(st.st_mode & 0777 & ~0444, 0);
    EXPECT_EQ((st.st_size - sizeof(SpiceStat)) % sizeof(SpiceStatNode), 0);
    stats = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(stats != MAP_FAILED);
    close(fd);
    EXPECT(client_send(&c, VMC_DATA, "hello", 5));
    EXPECT(chardev_wait_input(&port, 5));
    for (int64_t end = tap_now() + tap_ms(PATIENCE);
         value_of("spicevmc/in_data") != 5 && tap_now() < end;)
        host_run_for(LOOK_AGAIN);
    EXPECT_EQ(value_of("spicevmc/in_data"), 5);
    EXPECT(stats->magic == SPICE_STAT_MAGIC && stats->version == SPICE_STAT_VERSION);
    EXPECT_EQ(value_of("port:0/in_messages"), 1);
    EXPECT_EQ(value_of("port:0/in_bytes"), 5 + MINI);
    EXPECT_EQ(value_of("spicevmc/out_bytes"), RESULT + PORT_INIT);
    EXPECT_EQ(value_of("spicevmc/in_compressed"), 0);
    EXPECT(value_of("main:0/out_messages") > 0);
    EXPECT_EQ(value_of("main:0"), -1);
    munmap((void *)stats, st.st_size);
    close_port();
    EXPECT_MSG(stat(path, &st) == -1, "it goes with the server");
    unsetenv("SPICE_SERVER_CONFIG");
}

static const struct tap_case cases[] = {
    TAP_CASE(a_flow_to_the_byte),
    TAP_CASE(many_small_messages),
    TAP_CASE(a_full_device_holds_messages_up),
    TAP_CASE(a_client_that_does_not_read),
    TAP_CASE(ends_have_their_reasons),
    TAP_CASE(what_is_refused_is_counted),
    TAP_CASE(links_are_counted),
    TAP_CASE(the_call_and_its_buffer),
    TAP_CASE(the_socket),
    TAP_CASE(a_socket_that_cannot_be),
    TAP_CASE(upstream_s_file),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "statistics", cases, TAP_COUNT(cases));
}
