/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SPICE server library: include this one header.
 *
 * Rules for all of it, unless a function says otherwise:
 *
 * Thread: call from the thread that called spice_server_init() (in QEMU the
 * main loop). The spice_qxl_* functions may come from any thread as long as
 * the caller lets one call in at a time (in QEMU: the big lock). The library
 * calls back on the thread of spice_server_init(), except for the QXL
 * callbacks that spice-qxl.h marks as coming from a worker thread.
 *
 * Re-entry: every function may be called from inside a callback.
 *
 * Ownership: strings and structures passed in are copied during the call.
 * Interface structures and instances stay the caller's; they must live until
 * spice_server_remove_interface() or spice_server_destroy() has returned.
 *
 * Errors: an `int` function returns 0 for success and -1 for failure; a wrong
 * argument, NULL included, gives the failure value and one line in the log.
 */
#ifndef SPICE_H_
#define SPICE_H_

#include "spice-version.h"
#include "spice-core.h"
#include "spice-server.h"
#include "spice-qxl.h"
#include "spice-input.h"
#include "spice-audio.h"
#include "spice-char.h"
#include "spice-migration.h"
#include "spice-replay.h"

#endif /* SPICE_H_ */
