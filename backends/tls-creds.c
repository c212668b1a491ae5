/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS credentials; the files have QEMU's names. */
#include "backends/tls-creds.h"

#include <errno.h>
#include <unistd.h>

#include "util/error.h"

#define CA_CERT "ca-cert.pem"
#define CA_CRL  "ca-crl.pem"

enum { ENDPOINT_CLIENT, ENDPOINT_SERVER };
static const char *const endpoints[] = { "client", "server", NULL };

typedef struct TLSCredsX509 {
    UserObject parent;
    char *dir, *priority, *passwordid;
    int endpoint;
    bool verify_peer, sanity_check;
    GTlsDatabase *authority;
    GTlsCertificate *certificate; /* NULL: a client without */
} TLSCredsX509;

typedef UserObjectClass TLSCredsX509Class;
GType tls_creds_x509_get_type(void);
DEFINE_OBJECT_TYPE(TLSCredsX509, tls_creds_x509, "tls-creds-x509", TYPE_USER_OBJECT, 0)
#define TLS_CREDS_X509(o) G_TYPE_CHECK_INSTANCE_CAST((o), tls_creds_x509_get_type(), TLSCredsX509)

static const Property x509_properties[] = {
    PROP_STRING("dir", TLSCredsX509, dir,
                .help = "folder with " CA_CERT " and server- or client-cert.pem and -key.pem"),
    PROP_ENUM("endpoint", TLSCredsX509, endpoint, endpoints, ENDPOINT_CLIENT,
              .help = "which end of connections this is: client or server"),
    PROP_BOOL("verify-peer", TLSCredsX509, verify_peer, true,
              .help = "the other side needs a certificate of the authority"),
    PROP_BOOL("sanity-check", TLSCredsX509, sanity_check, true,
              .help = "only \"on\": certificates are checked when they are used"),
    PROP_STRING("priority", TLSCredsX509, priority, .help = "not supported"),
    PROP_STRING("passwordid", TLSCredsX509, passwordid, .help = "not supported"),
};

/* ---- loading ---- */

/* NULL, without an error if @optional and it is not there. */
static char *find(TLSCredsX509 *c, const char *prefix, const char *name, bool optional,
                  GError **errp)
{
    g_autofree char *file = g_strconcat(prefix, name, NULL);
    g_autofree char *path = g_build_filename(c->dir, file, NULL);

    if (access(path, R_OK) == 0) {
        return g_steal_pointer(&path);
    }
    if (!optional || errno != ENOENT) {
        error_set_errno(errp, errno, "Unable to access credentials %s", path);
    }
    return NULL;
}

static bool load_authority(TLSCredsX509 *c, GError **errp)
{
    g_autofree char *path = find(c, "", CA_CERT, false, errp);
    g_autofree char *revoked = find(c, "", CA_CRL, true, NULL);

    if (!path) {
        return false;
    }
    if (revoked) {
        return error_set(errp, "%s: revocation lists are not supported: GIO's TLS cannot use %s",
                         c->parent.id, revoked);
    }
    c->authority = g_tls_file_database_new(path, errp);
    if (!c->authority) {
        g_prefix_error(errp, "%s: %s: ", c->parent.id, path);
        return false;
    }
    return true;
}

static bool load_certificate(TLSCredsX509 *c, GError **errp)
{
    const char *prefix = endpoints[c->endpoint];
    bool optional = c->endpoint == ENDPOINT_CLIENT;
    g_autoptr(GError) err = NULL;
    g_autofree char *cert = find(c, prefix, "-cert.pem", optional, &err);
    g_autofree char *key = err ? NULL : find(c, prefix, "-key.pem", !cert, &err);

    if (err) {
        g_propagate_error(errp, g_steal_pointer(&err));
        return false;
    }
    if (!cert) {
        return !key ||
               error_set(errp, "%s: there is %s, but no certificate for it", c->parent.id, key);
    }
    c->certificate = g_tls_certificate_new_from_files(cert, key, errp);
    if (!c->certificate) {
        g_prefix_error(errp, "%s: %s: ", c->parent.id, cert);
        return false;
    }
    return true;
}

static bool x509_complete(UserObject *obj, GError **errp)
{
    TLSCredsX509 *c = TLS_CREDS_X509(obj);
    const char *unsupported = c->priority        ? "priority"
                              : c->passwordid    ? "passwordid"
                              : !c->sanity_check ? "sanity-check=off"
                                                 : NULL;

    if (unsupported) {
        return error_set(errp, "%s: '%s' is not supported: GIO's TLS has no such setting", obj->id,
                         unsupported);
    }
    if (!c->dir) {
        return error_set(errp, "%s: Missing 'dir' property value", obj->id);
    }
    if (!g_tls_backend_supports_tls(g_tls_backend_get_default())) {
        return error_set(errp, "%s: GIO has no TLS here: the package glib-networking is missing",
                         obj->id);
    }
    return load_authority(c, errp) && load_certificate(c, errp);
}

static void x509_finalize(GObject *obj)
{
    TLSCredsX509 *c = TLS_CREDS_X509(obj);

    g_clear_object(&c->authority);
    g_clear_object(&c->certificate);
    G_OBJECT_CLASS(tls_creds_x509_parent_class)->finalize(obj);
}

static void tls_creds_x509_init(TLSCredsX509 *c)
{
}

static void tls_creds_x509_class_init(TLSCredsX509Class *klass)
{
    klass->desc = "certificates for TLS connections";
    klass->complete = x509_complete;
    G_OBJECT_CLASS(klass)->finalize = x509_finalize;
    object_class_add_properties(klass, x509_properties, G_N_ELEMENTS(x509_properties));
}

/* ---- what cannot be had ---- */

typedef struct TLSCredsPsk {
    UserObject parent;
    char *dir, *username, *priority;
    int endpoint;
    bool verify_peer;
} TLSCredsPsk;

typedef UserObjectClass TLSCredsPskClass;
GType tls_creds_psk_get_type(void);
DEFINE_OBJECT_TYPE(TLSCredsPsk, tls_creds_psk, "tls-creds-psk", TYPE_USER_OBJECT, 0)

static const Property psk_properties[] = {
    PROP_STRING("dir", TLSCredsPsk, dir),
    PROP_STRING("username", TLSCredsPsk, username),
    PROP_STRING("priority", TLSCredsPsk, priority),
    PROP_ENUM("endpoint", TLSCredsPsk, endpoint, endpoints, ENDPOINT_CLIENT),
    PROP_BOOL("verify-peer", TLSCredsPsk, verify_peer, true),
};

static bool psk_complete(UserObject *obj, GError **errp)
{
    return error_set(errp,
                     "%s: tls-creds-psk is not supported: GIO's TLS has no shared keys; use "
                     "tls-creds-x509",
                     obj->id);
}

static void tls_creds_psk_init(TLSCredsPsk *c)
{
}

static void tls_creds_psk_class_init(TLSCredsPskClass *klass)
{
    klass->desc = "not supported; use tls-creds-x509";
    klass->complete = psk_complete;
    object_class_add_properties(klass, psk_properties, G_N_ELEMENTS(psk_properties));
}

/* ---- using them ---- */

/* Where a connection keeps what was wrong with the other side's certificate. */
#define ERRORS "viaduct-certificate-errors"

/* A client is asked when something is, a server always. */
static gboolean accept_certificate(GTlsConnection *conn, GTlsCertificate *peer,
                                   GTlsCertificateFlags errors, gpointer any)
{
    g_object_set_data(G_OBJECT(conn), ERRORS, GUINT_TO_POINTER(errors));
    return any || !errors;
}

static TLSCredsX509 *find_creds(const char *id, bool server, GError **errp)
{
    GObject *obj = object_resolve(id);
    TLSCredsX509 *c;

    if (!obj) {
        error_set(errp, "No TLS credentials with id '%s'", id);
        return NULL;
    }
    if (!G_TYPE_CHECK_INSTANCE_TYPE(obj, tls_creds_x509_get_type())) {
        error_set(errp, "Object with id '%s' is not TLS credentials", id);
        return NULL;
    }
    c = TLS_CREDS_X509(obj);
    if ((c->endpoint == ENDPOINT_SERVER) != server) {
        error_set(errp, "Expected TLS credentials for a %s endpoint", endpoints[server]);
        return NULL;
    }
    return c;
}

static GIOStream *new_connection(TLSCredsX509 *c, GIOStream *base, const char *host, GError **errp)
{
    g_autoptr(GSocketConnectable) identity = host ? g_network_address_new(host, 0) : NULL;
    GIOStream *conn;

    if (c->endpoint == ENDPOINT_SERVER) {
        conn = g_tls_server_connection_new(base, c->certificate, errp);
        if (conn && c->verify_peer) {
            g_object_set(conn, "authentication-mode", G_TLS_AUTHENTICATION_REQUIRED, NULL);
        }
        return conn;
    }
    conn = g_tls_client_connection_new(base, identity, errp);
    if (conn && c->certificate) {
        g_tls_connection_set_certificate(G_TLS_CONNECTION(conn), c->certificate);
    }
    return conn;
}

GTlsConnection *tls_creds_connection(const char *id, GIOStream *base, bool server, const char *host,
                                     GError **errp)
{
    TLSCredsX509 *c = find_creds(id, server, errp);
    GIOStream *conn;

    if (!c) {
        return NULL;
    }
    if (!server && c->verify_peer && !host) {
        error_set(errp, "no name to look for in the server's certificate: set 'tls-hostname'");
        return NULL;
    }
    conn = new_connection(c, base, host, errp);
    if (!conn) {
        return NULL;
    }
    g_tls_connection_set_database(G_TLS_CONNECTION(conn), c->authority);
    g_signal_connect(conn, "accept-certificate", G_CALLBACK(accept_certificate),
                     GINT_TO_POINTER(!c->verify_peer));
    return G_TLS_CONNECTION(conn);
}

const char *tls_creds_complaint(GTlsConnection *conn)
{
    static const struct {
        GTlsCertificateFlags flag;
        const char *text;
    } complaints[] = {
        { G_TLS_CERTIFICATE_UNKNOWN_CA, "it is not of the authority in " CA_CERT },
        { G_TLS_CERTIFICATE_BAD_IDENTITY, "it is not for this host" },
        { G_TLS_CERTIFICATE_NOT_ACTIVATED, "it is not valid yet" },
        { G_TLS_CERTIFICATE_EXPIRED, "it has expired" },
        { G_TLS_CERTIFICATE_REVOKED, "it was revoked" },
        { G_TLS_CERTIFICATE_INSECURE, "its algorithm is insecure" },
    };
    GTlsCertificateFlags errors = GPOINTER_TO_UINT(g_object_get_data(G_OBJECT(conn), ERRORS));

    for (size_t i = 0; i < G_N_ELEMENTS(complaints); i++) {
        if (errors & complaints[i].flag) {
            return complaints[i].text;
        }
    }
    return NULL;
}
