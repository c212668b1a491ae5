/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object tls-creds-x509: certificates for one end of TLS connections.  GIO does TLS, with the
 * backend that the package glib-networking brings.
 *
 * Of QEMU's kinds tls-creds-psk is refused, and tls-creds-anon is not known: GIO's TLS has neither
 * shared keys nor connections without certificates.
 * Source: QEMU qapi/crypto.json.
 */
#ifndef VIADUCT_BACKENDS_TLS_CREDS_H
#define VIADUCT_BACKENDS_TLS_CREDS_H

#include <gio/gio.h>

#include "core/object.h"

/*
 * A TLS connection over @base, its handshake still to be done, with the credentials of this id,
 * which must be for a server or a client as @server says.  A client wants the certificate of
 * @host; without verify-peer it takes any, and @host may be NULL.  Machine lock held.
 */
GTlsConnection *tls_creds_connection(const char *id, GIOStream *base, bool server, const char *host,
                                     GError **errp);
/* Why the other side's certificate was not accepted, for a message; NULL: it was not that. */
const char *tls_creds_complaint(GTlsConnection *conn);

#endif
