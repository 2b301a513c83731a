/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "differences.h"

#include <stdlib.h>
#include <string.h>

static const char *const reasons[DIFF_COUNT] = {
    [DIFF_REMOVE_INPUT] = "newer QEMU removes keyboard and mouse and frees them; "
                          "0.15.1 refuses and keeps the pointers",
    [DIFF_DESTROY_LEFTOVERS] = "0.15.1 forgets some objects in spice_server_destroy",
    [DIFF_LOG_LINE] = "0.15.1 drops some bad input without a word",
    [DIFF_SASL_WHILE_OFF] = "a mechanism that is off must not be usable",
    [DIFF_SASL_FILLER] = "spice-gtk must not wait for a message that it has read already",
    [DIFF_LONG_UNIX_PATH] = "0.15.1 cuts it and listens on another path",
    [DIFF_SCANOUT2] = "came with ABI level 0.16",
    [DIFF_SIGPIPE] = "0.15.1 writes with writev; QEMU ignores the signal",
    [DIFF_LATENCY_PINGS] = "nothing uses the latency of an idle channel; the main channel asks "
                           "every 15 s whether its client still lives",
    [DIFF_ANNOUNCED_MEMORY] = "0.15.1 takes memory for whatever is announced",
    [DIFF_COMPRESSED_TOKENS] = "0.15.1 takes no token for them, so that nothing bounds how many "
                               "wait for a slow device",
    [DIFF_LOCK_PREFIX] = "0.15.1 takes Ctrl+Break and Pause for scroll and num lock",
    [DIFF_DISPLAY_COUNT] = "0.15.1 looks only when a picture comes or goes",
    [DIFF_CARD_STAYS] = "0.15.1 leaves the guest with a card that nobody answers for; spice-gtk "
                        "sends READER_ADD in its first session only",
    [DIFF_ANSWERS] = "who asks for what is switched off is told so; 0.15.1 lets him wait",
    [DIFF_REMOVE_DETACHED] = "what was added can be removed; 0.15.1 has forgotten it",
    [DIFF_UNKNOWN_STREAM] = "a client that comes in mid-stream can do nothing with its frames",
    [DIFF_POINTERS_REPLACED] = "0.15.1 queues each one for a client that does not read",
    [DIFF_STATES_REPLACED] = "0.15.1 queues each one for a guest that does not read",
    [DIFF_MUTED_NEWCOMER] = "0.15.1 tells a newcomer neither as long as no volume was set",
    [DIFF_CURSOR_CACHE] = "each picture is sent whole: it is small, and changes seldom",
    [DIFF_TLS_GOODBYE] = "0.15.1 closes the socket without a word",
    [DIFF_EVENTS_OF_A_FLOOD] = "a flood must not reach the host's main thread; 0.15.1 tells each",
    [DIFF_BEGUN_HEAD] = "0.15.1 looks for it two bytes behind its place, and does not say how long "
                        "its chunk is",
    [DIFF_EARLY_MACHINE] = "interrupts to a processor that is loaded later would be lost; 0.15.1 "
                           "writes",
    [DIFF_LAST_PIECE] = "the client has used a token up for it; 0.15.1 does not count that",
    [DIFF_CLOSE_CODE] = "RFC 6455 wants the client's code back; 0.15.1 sends none",
};

/* What must not run on the reference, because it ends the process there, or
 * because the reference cannot do it at all. */
static const struct {
    const char *suite;
    const char *name;
    const char *why;
} skips[] = {
    { "main", "unexpected_flush_mark", "ends the process" },
    { "port", "flush_mark_ends_the_channel", "ends the process" },
    { "flow", "client_data_survive_the_client",
      "uses the channel client that is gone when a token comes back" },
    { "devices", "keyboard_and_mouse_come_and_go", "keeps both for ever and uses freed memory" },
    { "devices", "removed_after_destroy", "reaches the server that is gone" },
    { "migrate", "a_client_does_not_arrive", "keeps the sockets of its other channels for ever" },
    { "migration-data", "a_full_queue", "reads no further, so that the flush mark never comes" },
    { "migration-data", "words_that_nobody_has_looked_at", "passes them on" },
    { "migration-data", "bad_bodies", "ends the process" },
    { "settings", "invalid_wan_compression", "ends the process" },
    { "listen", "server_ends_inside_an_event", "tells of no end" },
    { "cve", "CVE_2015_3247", "ends the process" },
    { "cve", "CVE_2016_0749", "takes memory for what is announced and waits" },
    { "cve", "CVE_2016_2150", "ends the process" },
    { "cve", "CVE_2018_10873", "ends the process" },
    { "cve", "CVE_2019_3813", "ends the process" },
    { "cve", "CVE_2020_14355", "ends the process" },
    { "cve", "requests_of_a_stopped_guest", "ends the process" },
    { "cve", "surfaces_to_wait_for", "ends the process" },
    { "cve", "clips_that_are_not_as_many_as_they_say", "ends the process" },
    { "badinput", "silent_links_end", "keeps them for ever" },
    { "badinput", "asks_and_never_reads", "its queue towards a client has no bound" },
    { "badinput", "port_announces_any_length", "allocates what is announced and ends the process" },
    { "badinput", "usbredir_announces_any_length", "the same" },
    { "badinput", "webdav_announces_any_length", "the same" },
    { "badinput", "full_headers_with_noise", "the same" },
    { "badinput", "noise_on_channels", "the same" },
    { "badinput", "too_long_ends_at_the_header", "waits for 4 GiB" },
    { "qxl", "unknown_commands_are_passed_over", "ends the process" },
    { "display", "second_init_ends_the_channel", "ends the process" },
    { "display", "absurd_caches", "ends the process" },
    { "display", "refused_messages", "ends the process" },
    { "display", "gone_at_any_moment", "its worker stands still until a client has said INIT" },
    { "display", "a_client_that_does_not_read", "keeps the guest's commands for it" },
    { "display", "jpeg_and_then_without_loss", "leaves it with the loss" },
    { "draw", "copies_of_low_bits_first", "ends the process" },
    { "quic", "wrong_images_are_not_drawn", "ends the process" },
    { "gl", "a_client_that_does_not_answer", "waits for it for ever" },
    { "gl", "done_without_a_draw", "ends the process" },
    { "gl", "a_draw_before_the_last_one_is_done", "ends the process" },
    { "gl", "ended_in_mid_draw", "a picture that comes while a draw is under way ends the process" },
    { "gl", "several_planes", "came with ABI level 0.16" },
    { "hostile-display", "random_addresses", "ends the process" },
    { "hostile-display", "chunks_without_an_end", "reads them for ever" },
    { "hostile-display", "sizes_that_lie", "ends the process" },
    { "hostile-display", "structures_that_change", "the same" },
    { "hostile-display", "clients_that_talk_nonsense", "the same" },
    { "compress", "attempts_become_rare", "compresses each block for ever" },
    { "bombs", "small_blocks_that_announce_much", "takes memory for it, up to 4 GiB" },
    { "bombs", "the_start_of_four_gigabytes", "waits for 2 GiB before the device sees a byte" },
    { "bombs", "long_messages_that_never_end", "the same" },
    { "bombs", "block_that_comes_to_nothing", "takes it for nothing" },
    { "bombs", "messages_of_any_announced_length",
      "takes memory for whatever is announced and waits for it" },
    { "inputs", "flush_mark_ends_the_channel", "ends the process" },
    { "inputs", "half_a_code_is_ended", "lets the guest wait for its end" },
    { "inputs", "removed_with_keys_held", "keeps the keyboard for ever" },
    { "inputs", "removed_inside_a_call", "the same" },
    { "inputs", "functions_may_be_missing", "calls them" },
    { "pointer", "buttons_of_a_lost_client", "leaves them pressed" },
    { "pointer", "pictures_of_another_thread", "decides on the worker's thread" },
    { "pointer", "the_last_display_goes", "does not look when a display goes" },
    { "pointer", "devices_go_while_they_move", "keeps the mouse for ever" },
    { "smartcard", "long_messages_from_the_device",
      "its buffer holds 282 bytes and does not grow: nothing more comes from the device" },
    { "smartcard", "a_client_that_never_reads", "the same, and writes past it" },
    { "smartcard", "a_device_that_announces_much", "the same" },
    { "smartcard", "a_client_is_held_up", "its queue towards a device has no bound" },
    { "smartcard", "asks_and_never_reads", "its queue towards a client has no bound" },
    { "smartcard", "longer_than_the_reader_takes", "takes memory for whatever is announced" },
    { "smartcard", "a_card_without_a_reader_ends_the_channel", "follows a null pointer" },
    { "smartcard", "flush_mark_ends_the_channel", "ends the process" },
    { "smartcard", "removal_ends_the_channel", "leaves its client with a device that is gone" },
    { "smartcard", "reader_comes_again", "the same, and ends the process at the next reader" },
    { "smartcard", "second_reader_is_refused", "ends the process" },
    { "audio", "wrong_order_is_harmless", "ends the process" },
    { "audio", "second_device_of_a_kind", "makes a second channel of the same type and id" },
    { "audio", "the_ring_goes_round", "garbles a message that crosses the ring's end" },
    { "audio", "flush_mark_ends_the_channel", "ends the process" },
    { "audio", "longer_than_the_ring", "takes memory for whatever is announced" },
    { "cursor", "wrong_pictures_are_dropped", "follows a null pointer" },
    { "agent", "empty_chunks", "reads nothing for ever" },
    { "agent", "read_fails", "counts a failed read backwards" },
    { "agent", "token_before_start", "ends the process" },
    { "agent", "capabilities_in_pieces", "changes bytes of pieces that are no announcement" },
    { "agent", "starts_in_the_middle", "gives the client the rest of the message" },
    { "agent", "server_goes_first", "reaches the server that is gone" },
    { "agent", "removed_inside_its_functions", "goes on with what is gone" },
    { "agent", "several_clients", "takes the pieces of all for those of one message" },
    { "agent", "one_of_several_without_tokens", "reads nothing while one has no tokens" },
    { "tls", "unfinished_handshakes_end", "keeps them for ever" },
    { "tls", "new_keys_without_end", "goes on for ever" },
    { "tls", "suites_of_tls_1_3", "takes no such list" },
    { "shield", "deadline_of_the_configuration", "has no configuration and no deadline" },
    { "shield", "oldest_of_an_address_makes_way", "has no limit" },
    { "shield", "who_has_spoken_stays", "the same" },
    { "shield", "full_house", "the same" },
    { "shield", "hosts_sockets_are_apart", "the same" },
    { "shield", "wrong_passwords_cost_time", "answers at once, always" },
    { "shield", "made_up_sessions_wait", "the same" },
    { "shield", "log_lines_of_a_flood", "writes a line for each" },
    { "sasl", "unix_sockets_too", "gives libsasl2 an address that it does not take" },
    { "sasl", "much_data_of_many", "takes memory for all" },
    { "sasl", "vouched_for", "wants SASL of everybody" },
    { "websocket", "request_in_pieces", "wants all of it with one read" },
    { "websocket", "longest_request", "takes 4095 bytes, which cookies can fill" },
    { "websocket", "frames_behind_the_request", "takes them for a part of the request" },
    { "websocket", "pings_and_never_reads", "keeps the latest and no more" },
    { "port", "port_without_name", "compares a null pointer" },
    { "port", "leaves_while_the_next_one_links", "refuses the next one, by the order of its watches" },
    { "stream", "removed_with_clients", "uses channels that are gone" },
    { "stream", "who_holds_up_alone_leaves", "reads no more until the port opens again" },
    { "stream-guest", "removed_after_a_fault", "uses channels that are gone" },
    { "stream-guest", "sizes_of_no_surface", "passes any size on to clients" },
};

/* Upstream follows almost every null pointer; these cases it survives. */
static const char *const survived_misuse[] = {
    "add_client_server",
    "add_ssl_client_server",
    "get_num_clients_server",
    "get_sock_info_server",
    "set_addr_address",
    "set_video_codecs_string",
    "add_renderer_name",
    "remove_interface_instance",
    "set_name_name",
    "free_video_codecs_null",
    "char_device_never_added",
    "replay_of_another_file",
    "used_before_init",
};

static bool survives_misuse(const char *name)
{
    for (size_t i = 0; i < sizeof survived_misuse / sizeof survived_misuse[0]; i++)
        if (!strcmp(survived_misuse[i], name))
            return true;
    return false;
}

bool reference_library(void)
{
    const char *reference = getenv("REFERENCE");
    return reference && !strcmp(reference, "debian");
}

int64_t differs(enum difference d, int64_t ours, int64_t debian)
{
    return reasons[d] && reference_library() ? debian : ours;
}

bool reference_skips(const char *suite, const char *name)
{
    if (!reference_library())
        return false;
    if (!strcmp(suite, "misuse"))
        return !survives_misuse(name);
    for (size_t i = 0; i < sizeof skips / sizeof skips[0]; i++)
        if (!strcmp(skips[i].suite, suite) && !strcmp(skips[i].name, name))
            return true;
    return false;
}
