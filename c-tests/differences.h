/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the two libraries are known to differ.
 *
 * The tests state what this project's library does.  With REFERENCE=debian the
 * library under test is upstream 0.15.1, and what it does otherwise stands here,
 * each with its reason, and nowhere else in the tests.
 */
#ifndef DIFFERENCES_H
#define DIFFERENCES_H

#include <stdbool.h>
#include <stdint.h>

enum difference {
    /** Capability word of the main channel in the link reply. */
    /** remove_interface of a keyboard or mouse. */
    DIFF_REMOVE_INPUT,
    /** Watches and timers that spice_server_destroy leaves behind. */
    DIFF_DESTROY_LEFTOVERS,
    /** A log line for misuse and bad input. */
    DIFF_LOG_LINE,
    /** Mechanism SASL is taken although SASL is off. */
    DIFF_SASL_WHILE_OFF,
    /** What follows a wrapped link result may hide from spice-gtk. */
    DIFF_SASL_FILLER,
    /** A unix socket path that does not fit its address. */
    DIFF_LONG_UNIX_PATH,
    /** spice_qxl_gl_scanout2 exists. */
    DIFF_SCANOUT2,
    /** TLS connections end with a close_notify. */
    DIFF_TLS_GOODBYE,
    /** A write to a peer that is gone raises SIGPIPE. */
    DIFF_SIGPIPE,
    /** Two PINGs for the latency once a channel has been idle. */
    DIFF_LATENCY_PINGS,
    /** Compressed messages from a client count like others. */
    DIFF_COMPRESSED_TOKENS,
    /** Memory for a message grows with what has arrived of it. */
    DIFF_ANNOUNCED_MEMORY,
    /** A lock key's number behind a prefix is another key. */
    DIFF_LOCK_PREFIX,
    /** How many displays there are counts when one comes or goes. */
    DIFF_DISPLAY_COUNT,
    /** remove_interface of an agent that was detached for what it said. */
    DIFF_REMOVE_DETACHED,
    /** What is switched off is answered. */
    DIFF_ANSWERS,
    /** Frames of a stream that a client was not told of are sent to it. */
    DIFF_UNKNOWN_STREAM,
    /** Pointers that wait for a client are replaced by newer ones. */
    DIFF_POINTERS_REPLACED,
    /** What a guest has still to be told of its stream is replaced by what is newer. */
    DIFF_STATES_REPLACED,
    /** A card without READER_ADD goes when its client goes. */
    DIFF_CARD_STAYS,
    /** Bytes of a close code in the answer to a WebSocket's close frame. */
    DIFF_CLOSE_CODE,
    /** Events of links that come to nothing, when there are very many. */
    DIFF_EVENTS_OF_A_FLOOD,
    /** Who comes while it is silent, and no volume was set, is told of the silence. */
    DIFF_MUTED_NEWCOMER,
    /** Pointers with a name are remembered by clients. */
    DIFF_CURSOR_CACHE,
    /** How the begun head of an agent's message moves to another host. */
    DIFF_BEGUN_HEAD,
    /** Tokens of the client behind the piece that it gets before it moves. */
    DIFF_LAST_PIECE,
    /** Devices of a VM that is being loaded are written already. */
    DIFF_EARLY_MACHINE,
    DIFF_COUNT
};

/** True when REFERENCE=debian. */
bool reference_library(void);

/** `ours` on this project's library, `debian` on the reference. */
int64_t differs(enum difference d, int64_t ours, int64_t debian);

/** True when this case must not run on the reference: it would abort or hang. */
bool reference_skips(const char *suite, const char *name);

#endif
