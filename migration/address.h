/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An address taken apart, for the transports. */
#ifndef VIADUCT_MIGRATION_ADDRESS_H
#define VIADUCT_MIGRATION_ADDRESS_H

#include <stdint.h>

#include "migration/channel.h"

typedef enum {
    TRANSPORT_TCP,
    TRANSPORT_UNIX,
    TRANSPORT_FD,
    TRANSPORT_EXEC,
    TRANSPORT_FILE,
    TRANSPORT__MAX,
} TransportKind;

struct MigrationAddress {
    TransportKind kind;
    char *name; /* as in messages: "tcp:HOST:PORT" */
    char *host;
    uint16_t port, last_port; /* the listener takes the first free one of these */
    bool only_ipv4, only_ipv6;
    char *path; /* of a socket or a file */
    bool abstract, tight;
    char *fd_text;
    int *fd; /* the address's until a channel takes it; then -1 */
    bool fd_is_socket;
    char **args; /* of a command */
    uint64_t offset;
};

/* Puts the port that was chosen into it. */
void migration_address_set_port(MigrationAddress *a, uint16_t port);
MigrationAddress *migration_address_copy(const MigrationAddress *a);

#endif
