/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the configuration file lets pass between clients and the guest's agent, what is
 * answered instead, and the audit. Only this library has it; not run on Debian's.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANCELLED = 1, FAILED = 2, SUCCESS = 3, DISABLED = 7 };

/** Writes the configuration file, as editors do: another file of the same name. */
static void configure(const char *text)
{
    char path[256], fresh[sizeof path + 4];
    snprintf(path, sizeof path, "%s/config.toml", tap_directory());
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *file = fopen(fresh, "w");
    EXPECT(file && fputs(text, file) >= 0 && !fclose(file));
    EXPECT(!rename(fresh, path));
    EXPECT(!setenv("SPICE_SERVER_CONFIG", path, 1));
}

/** Both sides know selections, the client details of failures as well. */
static void announce(struct agent_bench *b)
{
    uint8_t body[8];
    put32(put32(body, 0), 0x4068);
    agent_says(b, ANNOUNCE, body, sizeof body);
    client_gets(&b->c, ANNOUNCE, body, sizeof body);
    client_says(&b->c, ANNOUNCE, body, sizeof body);
    agent_gets(b, ANNOUNCE, body, sizeof body);
}

static void open_with(struct agent_bench *b, const char *text)
{
    configure(text);
    agent_open_talking(b);
    announce(b);
}

/** Body of a clipboard message: selection, type, data. */
static size_t clipboard(uint8_t *body, uint8_t selection, uint32_t type, size_t data)
{
    put32(put32(body, selection), type);
    chardev_fill(body + 8, data, 0);
    return 8 + data;
}

enum { DATA_MAX = 20000 };

static void client_may_not_paste(void)
{
    struct agent_bench b;
    uint8_t body[8 + DATA_MAX], none[8];
    open_with(&b, "[clipboard]\ndirection = 'to-guest'\n");
    for (uint8_t selection = 0; selection < 3; selection++) {
        clipboard(none, selection, 0, 0);
        size_t n = clipboard(body, selection, 1, 0);
        client_says(&b.c, REQUEST, body, n);
        client_gets(&b.c, CLIPBOARD, none, 8);
        agent_says(&b, GRAB, body, n);
        agent_says(&b, RELEASE, body, n);
        agent_says(&b, CLIPBOARD, body, clipboard(body, selection, 1, DATA_MAX));
        chardev_pump(&b.agent);
        client_gets(&b.c, CLIPBOARD, none, 8);
        /* the other way */
        n = clipboard(body, selection, 1, 0);
        client_says(&b.c, GRAB, body, n);
        agent_gets(&b, GRAB, body, n);
        agent_says(&b, REQUEST, body, n);
        client_gets(&b.c, REQUEST, body, n);
        n = clipboard(body, selection, 1, 1000);
        client_says(&b.c, CLIPBOARD, body, n);
        agent_gets(&b, CLIPBOARD, body, n);
    }
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    agent_close(&b);
}

static void guest_may_not_paste(void)
{
    struct agent_bench b;
    uint8_t body[8 + DATA_MAX], none[8];
    open_with(&b, "[clipboard]\ndirection = 'to-client'\n");
    clipboard(none, 1, 1, 0);
    size_t n = clipboard(body, 1, 1, 0);
    agent_says(&b, REQUEST, body, n);
    agent_gets(&b, CLIPBOARD, none, 8);
    client_says(&b.c, GRAB, body, n);
    client_says(&b.c, RELEASE, body, n);
    client_says(&b.c, CLIPBOARD, body, clipboard(body, 1, 1, DATA_MAX));
    agent_gets(&b, CLIPBOARD, none, 8);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    n = clipboard(body, 1, 1, 1000);
    agent_says(&b, CLIPBOARD, body, n);
    client_gets(&b.c, CLIPBOARD, body, n);
    agent_close(&b);
}

static void large_contents(void)
{
    struct agent_bench b;
    uint8_t body[8 + DATA_MAX], none[8];
    open_with(&b, "[clipboard]\nmax-size = 5000\n");
    clipboard(none, 0, 0, 0);
    for (size_t size = 4999; size < 5002; size++) {
        bool fits = size <= 5000;
        size_t n = clipboard(body, 0, 1, size);
        agent_says(&b, CLIPBOARD, body, n);
        chardev_pump(&b.agent);
        client_gets(&b.c, CLIPBOARD, fits ? body : none, fits ? n : 8);
    }
    size_t n = clipboard(body, 0, 2, 5001);
    client_says(&b.c, CLIPBOARD, body, n);
    clipboard(none, 0, 2, 0);
    agent_gets(&b, CLIPBOARD, none, 8);
    agent_close(&b);
}

/* An answer never falls into another message. */
static void answers_come_between_messages(void)
{
    struct agent_bench b;
    uint8_t body[8], none[8];
    open_with(&b, "[clipboard]\ndirection = 'off'\n");
    clipboard(body, 0, 1, 0);
    clipboard(none, 0, 0, 0);
    uint8_t *bytes = agent_message(REPLY, NULL, 100);
    /* the agent asks while the client is saying something */
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, 50));
    agent_gets_chunk(&b, PORT_CLIENT, bytes, 50);
    agent_says(&b, REQUEST, body, 8);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + 50, 70));
    agent_gets_chunk(&b, PORT_CLIENT, bytes + 50, 70);
    agent_gets(&b, CLIPBOARD, body, 8);
    /* the client asks while the agent is saying something */
    agent_say_chunk(&b, PORT_CLIENT, bytes, 50);
    client_gets_bytes(&b.c, bytes, 50);
    client_says(&b.c, REQUEST, body, 8);
    agent_settle(&b.c);
    agent_say_chunk(&b, PORT_CLIENT, bytes + 50, 70);
    client_gets_bytes(&b.c, bytes + 50, 70);
    client_gets(&b.c, CLIPBOARD, none, 8);
    /* inside a message that does not go on there is room */
    uint8_t *grab = agent_message(GRAB, NULL, 100);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, grab, 50));
    agent_settle(&b.c);
    agent_says(&b, REQUEST, body, 8);
    agent_gets(&b, CLIPBOARD, body, 8);
    free(grab);
    free(bytes);
    agent_close(&b);
}

static void answers_cost_tokens(void)
{
    struct agent_bench b;
    uint8_t body[4], none[4];
    configure("[clipboard]\ndirection = 'off'\n");
    agent_open(&b);
    agent_start(&b.c, 1);
    put32(body, 1);
    put32(none, 0);
    for (int i = 0; i < 1000; i++) {
        client_says(&b.c, REQUEST, body, 4);
        if (!i)
            client_gets(&b.c, CLIPBOARD, none, 4);
        agent_settle(&b.c);
    }
    EXPECT(client_send(&b.c, C_MAIN_AGENT_TOKEN, "\1\0\0\0", 4));
    client_gets(&b.c, CLIPBOARD, none, 4);
    agent_settle(&b.c);
    agent_close(&b);
}

/* The agent asks and asks, and does not take the answers. */
static void agent_that_does_not_listen(void)
{
    struct agent_bench b;
    uint8_t body[8];
    open_with(&b, "[clipboard]\ndirection = 'off'\n");
    clipboard(body, 0, 1, 0);
    chardev_accept(&b.agent, 0);
    for (int i = 0; i < 100000; i++)
        agent_says(&b, REQUEST, body, 8);
    EXPECT_EQ(chardev_unread(&b.agent), 0);
    chardev_accept(&b.agent, CHARDEV_UNLIMITED);
    agent_settle(&b.c);
    EXPECT(b.agent.in_len < 100000);
    agent_gets(&b, CLIPBOARD, body, 8);
    agent_close(&b);
}

static size_t file_start(uint8_t *body, uint32_t id, unsigned size)
{
    char *text = (char *)put32(body, id);
    return 4 + (size_t)sprintf(text, "[vdagent-file-xfer]\nname=secret.txt\nsize=%u\n", size);
}

static size_t file_data(uint8_t *body, uint32_t id, size_t size)
{
    chardev_fill(put64(put32(body, id), size), size, 0);
    return 12 + size;
}

static size_t file_status(uint8_t *body, uint32_t id, uint32_t result)
{
    return (size_t)(put32(put32(body, id), result) - body);
}

static void no_files(void)
{
    struct agent_bench b;
    uint8_t body[1000], status[8];
    open_with(&b, "[file-transfer]\ndirection = 'off'\n");
    client_says(&b.c, FILE_START, body, file_start(body, 5, 100));
    file_status(status, 5, DISABLED);
    client_gets(&b.c, FILE_STATUS, status, 8);
    client_says(&b.c, FILE_DATA, body, file_data(body, 5, 100));
    /* another client may not know that result */
    put32(put32(body, 0), 0x68);
    client_says(&b.c, ANNOUNCE, body, 8);
    agent_gets(&b, ANNOUNCE, body, 8);
    client_says(&b.c, FILE_START, body, file_start(body, 6, 100));
    file_status(status, 6, FAILED);
    client_gets(&b.c, FILE_STATUS, status, 8);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    agent_close(&b);
}

static void large_files(void)
{
    struct agent_bench b;
    uint8_t body[4000], status[8];
    open_with(&b, "[file-transfer]\nmax-size = 5000\n");
    client_says(&b.c, FILE_START, body, file_start(body, 1, 5001));
    file_status(status, 1, CANCELLED);
    client_gets(&b.c, FILE_STATUS, status, 8);
    size_t n = file_start(body, 2, 5000);
    client_says(&b.c, FILE_START, body, n);
    agent_gets(&b, FILE_START, body, n);
    n = file_data(body, 2, 1500);
    for (int i = 0; i < 3; i++) {
        client_says(&b.c, FILE_DATA, body, n);
        agent_gets(&b, FILE_DATA, body, n);
    }
    /* it said less than it has */
    client_says(&b.c, FILE_DATA, body, n);
    file_status(status, 2, CANCELLED);
    client_gets(&b.c, FILE_STATUS, status, 8);
    agent_gets(&b, FILE_STATUS, status, 8);
    client_says(&b.c, FILE_DATA, body, n);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    agent_close(&b);
}

/* A start in small pieces is held back until it is whole. */
static void start_in_pieces(void)
{
    struct agent_bench b;
    uint8_t body[3000];
    open_with(&b, "[file-transfer]\nmax-size = 5000\n");
    size_t n = file_start(body, 1, 5000);
    memset(body + n, '\n', sizeof body - n);
    uint8_t *bytes = agent_message(FILE_START, body, sizeof body);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, HEAD));
    for (size_t at = HEAD; at < HEAD + sizeof body; at += 100) {
        agent_settle(&b.c);
        agent_got_nothing_more(&b);
        EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + at, 100));
    }
    agent_gets_chunk(&b, PORT_CLIENT, bytes, PIECE);
    agent_gets_chunk(&b, PORT_CLIENT, bytes + PIECE, HEAD + sizeof body - PIECE);
    free(bytes);
    agent_close(&b);
}

static void audit(void)
{
    struct agent_bench b;
    uint8_t body[4000];
    open_with(&b, "[clipboard]\nmax-size = 3000\n[audit]\nlog = true\n");
    tap_log_mark();
    size_t n = clipboard(body, 0, 1, 1500);
    client_says(&b.c, CLIPBOARD, body, n);
    agent_gets(&b, CLIPBOARD, body, n);
    EXPECT_EQ(tap_log_lines("clipboard to the guest, type text, 1500 bytes, passed"), 1);
    agent_says(&b, CLIPBOARD, body, clipboard(body, 1, 2, 3001));
    EXPECT_EQ(tap_log_lines("clipboard to the client, primary selection, type png, 3001 bytes, "
                            "refused"), 1);
    n = file_start(body, 7, 300);
    client_says(&b.c, FILE_START, body, n);
    agent_gets(&b, FILE_START, body, n);
    n = file_data(body, 7, 300);
    client_says(&b.c, FILE_DATA, body, n);
    agent_gets(&b, FILE_DATA, body, n);
    EXPECT_EQ(tap_log_lines("audit"), 2);
    agent_says(&b, FILE_STATUS, body, file_status(body, 7, SUCCESS));
    EXPECT_EQ(tap_log_lines("file to the guest, 300 bytes, passed"), 1);
    n = file_start(body, 8, 300);
    client_says(&b.c, FILE_START, body, n);
    agent_gets(&b, FILE_START, body, n);
    struct message m;
    uint8_t none[8];
    clipboard(none, 1, 0, 0);
    client_gets(&b.c, CLIPBOARD, none, 8);
    agent_expect(&b.c, S_MAIN_AGENT_DATA, &m);
    message_free(&m);
    client_close(&b.c);
    rig_main(&b.r, &b.c);
    EXPECT_EQ(tap_log_lines("file to the guest, 0 bytes, not completed"), 1);
    EXPECT_EQ(tap_log_lines("audit"), 4);
    EXPECT_EQ(tap_log_lines("secret"), 0);
    agent_close(&b);
}

/** The client asks for the clipboard; whether the agent hears of it. */
static bool agent_is_asked(struct agent_bench *b)
{
    struct message m;
    uint8_t body[8];
    uint64_t before = b->agent.in_len;
    client_says(&b->c, REQUEST, body, clipboard(body, 0, 1, 0));
    EXPECT(client_send(&b->c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    for (bool done = false; !done;) {
        EXPECT(client_next(&b->c, &m));
        done = m.type == S_MAIN_CHANNELS_LIST;
        message_free(&m);
    }
    return b->agent.in_len > before;
}

/* The file may change while the machine runs. */
static void changed_at_run_time(void)
{
    static const char *const files[] = { "", "[clipboard]\ndirection = 'to-guest'\n", "" };
    struct agent_bench b;
    open_with(&b, "");
    for (size_t i = 0; i < TAP_COUNT(files); i++) {
        configure(files[i]);
        EXPECT_MSG(agent_is_asked(&b) == !*files[i], "file %zu is not obeyed", i);
    }
    agent_close(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(client_may_not_paste),
    TAP_CASE(guest_may_not_paste),
    TAP_CASE(large_contents),
    TAP_CASE(answers_come_between_messages),
    TAP_CASE(answers_cost_tokens),
    TAP_CASE(agent_that_does_not_listen),
    TAP_CASE(no_files),
    TAP_CASE(large_files),
    TAP_CASE(start_in_pieces),
    TAP_CASE(audit),
    TAP_CASE(changed_at_run_time),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "policy", cases, TAP_COUNT(cases));
}
