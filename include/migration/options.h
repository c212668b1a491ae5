/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Capabilities and parameters of migration, by QEMU's names (qapi/migration.json).  Set while no
 * migration runs; the destination has its own, set before migrate-incoming.  Machine lock held;
 * a migration's threads may read what cannot change meanwhile, and downtime_limit, max_bandwidth and
 * avail_switchover_bandwidth, which can, with the getters.
 *
 * QEMU's zero-copy-send is refused: over loopback the kernel copies all the same, and needs twice the
 * time for it; with a network card whether it pays is not known yet.
 */
#ifndef VIADUCT_MIGRATION_OPTIONS_H
#define VIADUCT_MIGRATION_OPTIONS_H

#include <json-glib/json-glib.h>

#include "migration/migration.h"

/* Those that can be switched on; setting any other of QEMU's is refused, save to off. */
typedef enum {
    MIG_CAP_AUTO_CONVERGE,
    MIG_CAP_EVENTS,
    MIG_CAP_RETURN_PATH,
    MIG_CAP_PAUSE_BEFORE_SWITCHOVER,
    MIG_CAP_MULTIFD,
    MIG_CAP_SWITCHOVER_ACK,
    MIG_CAP_IGNORE_SHARED,
    MIG_CAP__MAX,
} MigCapability;

typedef struct MigrationParameters {
    uint64_t max_bandwidth;              /* bytes/s, 0: no limit */
    uint64_t avail_switchover_bandwidth; /* bytes/s to count with at switchover, 0: as measured */
    uint64_t downtime_limit;             /* ms */
    uint8_t multifd_channels;
    uint8_t throttle_trigger_threshold; /* all of these in percent */
    uint8_t cpu_throttle_initial, cpu_throttle_increment, max_cpu_throttle;
    bool cpu_throttle_tailslow;
    char *tls_creds, *tls_hostname, *tls_authz; /* "" means none */
    MigMode mode;
    bool direct_io;
    bool zero_page_detection; /* "none" is false */
    char **cpr_exec_command;  /* NULL: none */
} MigrationParameters;

extern MigrationParameters migration_parameters;

bool migration_capability(MigCapability cap);
/* Any thread. */
uint64_t migration_downtime_limit(void);
uint64_t migration_max_bandwidth(void);
uint64_t migration_avail_switchover_bandwidth(void);

/* migrate-set-capabilities' list; all of it or nothing. */
bool migration_set_capabilities(JsonArray *list, GError **errp);
JsonArray *migration_query_capabilities(void);
/* migrate-set-parameters' members; all of them or nothing.  While a migration runs only what has a
 * getter above can be set. */
bool migration_set_parameters(JsonObject *params, GError **errp);
JsonObject *migration_query_parameters(void);

#endif
