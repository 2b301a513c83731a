/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "backend.h"

#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

/* Processes that were told to end and have not yet. */
static pid_t *ending;
static size_t n_ending;

/* ---- processes ---- */

/** In the child: its own signals, and the shell with the command. */
static void run(const char *command)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGHUP);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void close_pair(const int pair[2])
{
    int error = errno;
    close(pair[0]);
    close(pair[1]);
    errno = error;
}

static bool open_exec(struct backend *b, const char *command)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return false;
    if (pipe2(out, O_CLOEXEC) < 0) {
        close_pair(in);
        return false;
    }
    pid_t pid = fork();
    if (pid < 0) {
        close_pair(in);
        close_pair(out);
        return false;
    }
    if (pid == 0) {
        setsid();
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        run(command);
    }
    close(in[0]);
    close(out[1]);
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    *b = (struct backend){ .in = in[1], .out = out[0], .pid = pid };
    return true;
}

static bool open_pty(struct backend *b, const char *command)
{
    int master;
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    if (pid < 0)
        return false;
    if (pid == 0)
        run(command);
    fcntl(master, F_SETFL, O_NONBLOCK);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    *b = (struct backend){ .in = master, .out = master, .pid = pid, .is_pty = true };
    return true;
}

/* ---- sockets ---- */

/** Connects, without waiting for the other end to answer. */
static bool open_socket(struct backend *b, const struct sockaddr *address, socklen_t length)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    if (connect(fd, address, length) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return false;
    }
    *b = (struct backend){ .in = fd, .out = fd };
    return true;
}

static bool open_unix(struct backend *b, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] != '@')
        return open_socket(b, (struct sockaddr *)&address, sizeof address);
    address.sun_path[0] = '\0'; /* the abstract namespace: its names have no NUL at the end */
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return open_socket(b, (struct sockaddr *)&address, size);
}

/** HOST:PORT, or [ADDRESS]:PORT. */
static bool open_tcp(struct backend *b, const char *text)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (length > 1 && text[0] == '[' && colon[-1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof host) {
        errno = EINVAL;
        return false;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        errno = EHOSTUNREACH;
        return false;
    }
    bool done = false;
    for (struct addrinfo *at = found; at && !done; at = at->ai_next)
        done = open_socket(b, at->ai_addr, at->ai_addrlen);
    int error = errno;
    freeaddrinfo(found);
    errno = error;
    return done;
}

/* ---- files ---- */

static bool open_file(struct backend *b, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *b = (struct backend){ .in = -1, .out = fd };
    return fd >= 0;
}

static bool open_save(struct backend *b, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
    *b = (struct backend){ .in = fd, .out = -1 };
    return fd >= 0;
}

const struct backend_kind *backend_kind(const char *name)
{
    static const struct backend_kind kinds[] = {
        { "exec", open_exec, false }, { "pty", open_pty, false },   { "unix", open_unix, false },
        { "tcp", open_tcp, false },   { "file", open_file, false }, { "save", open_save, true },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    return NULL;
}

/* ---- their ends ---- */

void backend_end_input(struct backend *b)
{
    if (b->in < 0)
        return;
    if (b->is_pty) {
        struct termios settings;
        if (tcgetattr(b->in, &settings) == 0) {
            char end = (char)settings.c_cc[VEOF];
            /* A terminal that is full has a program that does not read. */
            ssize_t written = write(b->in, &end, 1);
            (void)written;
        }
    } else if (b->in == b->out) {
        shutdown(b->in, SHUT_WR);
    } else {
        close(b->in);
    }
    b->in = -1;
}

void backend_close(struct backend *b)
{
    if (b->in >= 0 && b->in != b->out)
        close(b->in);
    if (b->out >= 0)
        close(b->out);
    if (b->pid > 0) {
        /* Its whole group, and itself in case it has not made one yet. */
        kill(-b->pid, SIGHUP);
        kill(b->pid, SIGHUP);
        ending = loop_realloc(ending, (n_ending + 1) * sizeof *ending);
        ending[n_ending++] = b->pid;
    }
    *b = (struct backend){ .in = -1, .out = -1 };
}

void backend_reaped(pid_t pid)
{
    for (size_t i = 0; i < n_ending; i++)
        if (ending[i] == pid)
            ending[i--] = ending[--n_ending];
}

void backend_kill_all(void)
{
    for (size_t i = 0; i < n_ending; i++)
        kill(-ending[i], SIGKILL);
}

void backend_free(void)
{
    free(ending);
    ending = NULL;
    n_ending = 0;
}
