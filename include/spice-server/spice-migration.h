/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving clients to another host while the VM migrates there. The order is
 * migrate_connect, migrate_start, migrate_end; the two servers never talk to
 * each other, the client carries what must move.
 */
#ifndef SPICE_MIGRATION_H_
#define SPICE_MIGRATION_H_

#include "spice-core.h"
#include "spice-server.h"

SPICE_BEGIN_DECLS

#define SPICE_INTERFACE_MIGRATION "migration"
#define SPICE_INTERFACE_MIGRATION_MAJOR 1
#define SPICE_INTERFACE_MIGRATION_MINOR 1
typedef struct SpiceMigrateInterface SpiceMigrateInterface;
typedef struct SpiceMigrateInstance SpiceMigrateInstance;
typedef struct SpiceMigrateState SpiceMigrateState;

/** Hears when a step is over. At most one per server. */
struct SpiceMigrateInterface {
    SpiceBaseInterface base;

    /** All clients have tried to reach the target, or 10 s are over. */
    void (*migrate_connect_complete)(SpiceMigrateInstance *sin);
    /** All clients are on the target, or it is given up: the source may quit. */
    void (*migrate_end_complete)(SpiceMigrateInstance *sin);
};

struct SpiceMigrateInstance {
    SpiceBaseInstance base;
    /** The library's. */
    SpiceMigrateState *st;
};

/** Names the host that clients go to when spice_server_migrate_switch() is
 * called. For hosts without a migration interface. */
int spice_server_migrate_info(SpiceServer *s, const char *dest,
                              int port, int secure_port,
                              const char *cert_subject) SPICE_GNUC_DEPRECATED;
/** Sends the clients there; they start afresh. Returns 0. */
int spice_server_migrate_switch(SpiceServer *s) SPICE_GNUC_DEPRECATED;

/** Lets the clients connect to the target in advance. `port` and `secure_port`
 * -1: none, but not both; `cert_subject` may be NULL. Needs a migration
 * interface, whose migrate_connect_complete is always called, also before this
 * returns and also after -1 for a bad destination. */
int spice_server_migrate_connect(SpiceServer *s, const char *dest,
                                 int port, int secure_port,
                                 const char *cert_subject);
/** The VM's migration begins. -1 when no target was named. */
int spice_server_migrate_start(SpiceServer *s);
/** The VM's migration is over: `completed` 1, or failed: 0. Needs a migration
 * interface, whose migrate_end_complete is called for a completed one. -1 when
 * completed but no target was named; the clients are then cut off. */
int spice_server_migrate_end(SpiceServer *s, int completed);

/** Whether clients that can may keep their session (1) or are to start their
 * channels afresh on the target (0, the default). */
void spice_server_set_seamless_migration(SpiceServer *s, int enable);

SPICE_END_DECLS

#endif /* SPICE_MIGRATION_H_ */
