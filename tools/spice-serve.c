/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serves commands, terminals, sockets and files as SPICE ports, without a virtual machine.
 * Only upstream's C functions are used: it runs on any libspice-server.so.1. The manual is
 * man/spice-serve.1.
 */
#define _GNU_SOURCE
#include "loop.h"
#include "service.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "unknown"
#endif

enum { FAILED = 1, USAGE = 2, PASSWORD_MAX = 59 };

static const char usage[] =
    "usage: spice-serve [OPTION]... NAME=KIND:ARGUMENT...\n"
    "\n"
    "Serves things as SPICE ports, without a virtual machine. KIND:ARGUMENT is\n"
    "  exec:COMMAND    a command of the shell; its input and output are pipes\n"
    "  pty:COMMAND     the same on a terminal of its own\n"
    "  unix:PATH       a unix socket to connect to; @NAME: abstract\n"
    "  tcp:HOST:PORT   a TCP socket to connect to\n"
    "  file:PATH       the client gets what is in the file\n"
    "  save:PATH       the file gets what the client sends\n"
    "Each begins when a client comes to its port and ends when the client leaves.\n"
    "\n"
    "  --port PORT            listen on this TCP port\n"
    "  --tls-port PORT        listen on this TCP port with TLS\n"
    "  --addr ADDRESS         of this host; the default is 127.0.0.1\n"
    "  --unix PATH            listen on a unix socket instead\n"
    "  --cert FILE, --key FILE  the certificate chain and key for TLS (PEM)\n"
    "  --ca FILE              the authority of the certificate; the default is --cert's file\n"
    "  --password-file FILE   clients need the password in the first line of FILE\n"
    "  --no-password          whoever reaches an address that is not this host's own may come\n"
    "  --name NAME            what clients are told as the machine's name\n"
    "  -h, --help; -V, --version\n"
    "\n"
    "Status: 0 ended by SIGTERM or SIGINT, 1 cannot serve, 2 wrong arguments.\n";

struct options {
    int port, tls_port;
    const char *addr, *unix_path, *cert, *key, *ca, *name;
    bool no_password, has_password;
    char password[PASSWORD_MAX + 2];
};

static int complain(int status, const char *what, const char *about)
{
    fprintf(stderr, "spice-serve: %s%s%s\n", about ? about : "", about ? ": " : "", what);
    return status;
}

static bool port_number(const char *text, int *port)
{
    char *end;
    long number = strtol(text, &end, 10);
    *port = (int)number;
    if (*end || number < 1 || number > 65535)
        return complain(USAGE, "is no port number", text) == 0;
    return true;
}

static bool read_password(struct options *o, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return complain(USAGE, strerror(errno), path) == 0;
    size_t length = fread(o->password, 1, sizeof o->password - 1, file);
    fclose(file);
    o->password[length] = '\0';
    o->password[strcspn(o->password, "\r\n")] = '\0';
    o->has_password = true;
    if (!o->password[0])
        return complain(USAGE, "there is no password in it", path) == 0;
    if (strlen(o->password) > PASSWORD_MAX)
        return complain(USAGE, "the password is longer than 59 bytes", path) == 0;
    return true;
}

/** 0: go on; otherwise the exit status and 1. */
static int parse(struct options *o, int argc, char **argv)
{
    enum { PORT = 256, TLS_PORT, ADDR, UNIX, CERT, KEY, CA, PASSWORD, NO_PASSWORD, NAME };
    static const struct option known[] = {
        { "port", required_argument, NULL, PORT },
        { "tls-port", required_argument, NULL, TLS_PORT },
        { "addr", required_argument, NULL, ADDR },
        { "unix", required_argument, NULL, UNIX },
        { "cert", required_argument, NULL, CERT },
        { "key", required_argument, NULL, KEY },
        { "ca", required_argument, NULL, CA },
        { "password-file", required_argument, NULL, PASSWORD },
        { "no-password", no_argument, NULL, NO_PASSWORD },
        { "name", required_argument, NULL, NAME },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    bool good = true;
    for (int option; (option = getopt_long(argc, argv, "hV", known, NULL)) != -1;) {
        switch (option) {
        case PORT: good &= port_number(optarg, &o->port); break;
        case TLS_PORT: good &= port_number(optarg, &o->tls_port); break;
        case ADDR: o->addr = optarg; break;
        case UNIX: o->unix_path = optarg; break;
        case CERT: o->cert = optarg; break;
        case KEY: o->key = optarg; break;
        case CA: o->ca = optarg; break;
        case PASSWORD: good &= read_password(o, optarg); break;
        case NO_PASSWORD: o->no_password = true; break;
        case NAME: o->name = optarg; break;
        case 'h': fputs(usage, stdout); return 1;
        case 'V': puts("spice-serve " VERSION); return 1;
        default: good = false;
        }
    }
    if (!good)
        return USAGE + 1;
    const char *wrong = NULL;
    bool tcp = o->port || o->tls_port;
    if (optind == argc)
        wrong = "NAME=KIND:ARGUMENT is missing (--help says more)";
    else if (!tcp == !o->unix_path)
        wrong = "--port, --tls-port or --unix is wanted";
    else if (o->tls_port && (!o->cert || !o->key))
        wrong = "--tls-port needs --cert and --key";
    else if (tcp && !o->has_password && !o->no_password && strncmp(o->addr, "127.", 4) &&
             strcmp(o->addr, "::1") && strcmp(o->addr, "localhost"))
        wrong = "others can reach this address: --password-file, or --no-password";
    if (wrong)
        return complain(USAGE, wrong, NULL) + 1;
    for (int i = optind; i < argc; i++)
        if (!service_add(argv[i]))
            return USAGE + 1;
    return 0;
}

static bool start(SpiceServer *server, struct options *o)
{
    if (o->unix_path)
        spice_server_set_addr(server, o->unix_path, SPICE_ADDR_FLAG_UNIX_ONLY);
    else
        spice_server_set_addr(server, o->addr, 0);
    if (o->port)
        spice_server_set_port(server, o->port);
    if (o->tls_port &&
        spice_server_set_tls(server, o->tls_port, o->ca ? o->ca : o->cert, o->cert, o->key, NULL,
                             NULL, NULL) < 0)
        return complain(FAILED, "the library does not take these files for TLS", NULL) == 0;
    if (o->has_password)
        spice_server_set_ticket(server, o->password, 0, 0, 0);
    else
        spice_server_set_noauth(server);
    explicit_bzero(o->password, sizeof o->password);
    spice_server_set_name(server, o->name);
    if (spice_server_init(server, loop_core()) < 0)
        return complain(FAILED, "the library cannot listen there", NULL) == 0;
    spice_server_vm_start(server);
    return service_start_all(server);
}

static void on_signal(int fd, int event, void *opaque)
{
    struct signalfd_siginfo info;
    (void)event;
    (void)opaque;
    while (read(fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            service_reap();
        else
            loop_quit();
    }
}

int main(int argc, char **argv)
{
    struct options o = { .addr = "127.0.0.1", .name = "spice-serve" };
    int status = parse(&o, argc, argv);
    if (status != 0) {
        service_stop_all();
        return status - 1;
    }
    /* Before there are threads, which inherit the mask. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return complain(FAILED, strerror(errno), "signalfd");
    loop_watch(fd, SPICE_WATCH_EVENT_READ, on_signal, NULL);
    SpiceServer *server = spice_server_new();
    bool started = start(server, &o);
    if (started) {
        complain(0, "ready", NULL);
        loop_run(service_settle_all);
    }
    service_stop_all();
    spice_server_destroy(server);
    if (started && o.unix_path && o.unix_path[0] != '@')
        unlink(o.unix_path);
    loop_free();
    close(fd);
    return started ? 0 : FAILED;
}
