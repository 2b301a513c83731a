/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading back a recording of QXL commands (SPICE_WORKER_RECORD_FILENAME):
 * for tools that play it to a server without a guest.
 */
#ifndef SPICE_REPLAY_H_
#define SPICE_REPLAY_H_

#include <stdio.h>

#include "spice-core.h"
#include "spice-qxl.h"

SPICE_BEGIN_DECLS

typedef struct SpiceReplay SpiceReplay;

/** Opens a recording. `file` stays the caller's and must stay open;
 * `nsurfaces` is how many surfaces the replaying device has. NULL when the
 * file does not begin like a recording. */
SpiceReplay *spice_replay_new(FILE *file, int nsurfaces);
/** Reads up to the next command and returns it; events in between (surfaces
 * made and dropped) are applied to `instance`. NULL at the end of the file.
 * The command is to be freed by spice_replay_free_cmd(). */
QXLCommandExt *spice_replay_next_cmd(SpiceReplay *replay, QXLInstance *instance);
/** Frees a command after the server has released it. */
void spice_replay_free_cmd(SpiceReplay *replay, QXLCommandExt *cmd);
/** Ends the replay. The file is not closed. */
void spice_replay_free(SpiceReplay *replay);

SPICE_END_DECLS

#endif /* SPICE_REPLAY_H_ */
