/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "differences.h"

#include <stdlib.h>
#include <string.h>

static const char *const reasons[DIFF_COUNT] = {
    [DIFF_MAIN_CAPS] = "the migration bits are offered when migration exists; "
                       "0.15.1 offers all four",
    [DIFF_PORT_CAPS] = "LZ4 is offered when it exists",
    [DIFF_MM_TIME] = "ABI level 0.16 dropped the 400 ms that 0.15 subtracts",
    [DIFF_SERVED_CHANNELS] = "a channel that is not served is not announced",
    [DIFF_REMOVE_INPUT] = "newer QEMU removes keyboard and mouse and frees them; "
                          "0.15.1 refuses and keeps the pointers",
    [DIFF_DESTROY_LEFTOVERS] = "0.15.1 forgets some objects in spice_server_destroy",
    [DIFF_LOG_LINE] = "0.15.1 drops some bad input without a word",
    [DIFF_SASL_WHILE_OFF] = "a mechanism that is off must not be usable",
    [DIFF_LONG_UNIX_PATH] = "0.15.1 cuts it and listens on another path",
    [DIFF_SCANOUT2] = "came with ABI level 0.16",
};

/* What must not run on the reference. */
static const struct {
    const char *suite;
    const char *name;
    const char *why;
} skips[] = {
    { "main", "unexpected_flush_mark", "ends the process" },
    { "port", "flush_mark_ends_the_channel", "ends the process" },
    { "flow", "client_data_survive_the_client",
      "uses the channel client that is gone when a token comes back" },
    { "qxl", "unknown_commands_are_released", "ends the process" },
    { "port", "port_without_name", "compares a null pointer" },
};

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
    for (size_t i = 0; i < sizeof skips / sizeof skips[0]; i++)
        if (!strcmp(skips[i].suite, suite) && !strcmp(skips[i].name, name))
            return true;
    return false;
}
