/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The descriptors behind a port, and how they are opened and closed. */
#ifndef BACKEND_H
#define BACKEND_H

#include <stdbool.h>
#include <sys/types.h>

/** Neither descriptor blocks; -1: there is none. Both may be the same one. */
struct backend {
    int in;      /* takes what the client sends */
    int out;     /* has what the client gets */
    pid_t pid;   /* the process behind them, 0 without one */
    bool is_pty;
};

struct backend_kind {
    const char *name;
    /** Opens it; `false` with errno: it cannot be had. */
    bool (*open)(struct backend *backend, const char *argument);
    /** Not to be opened before the client says something. */
    bool late;
};

/** The kind of this name, or NULL. */
const struct backend_kind *backend_kind(const char *name);

/** The client has nothing more to say. */
void backend_end_input(struct backend *backend);

/** Closes it; a process is told by SIGHUP. */
void backend_close(struct backend *backend);

/** This process is no more. */
void backend_reaped(pid_t pid);

/** Ends processes that are still there after backend_close(). */
void backend_kill_all(void);
void backend_free(void);

#endif
