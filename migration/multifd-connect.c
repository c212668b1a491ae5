/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/multifd-connect.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "migration/channel-private.h"
#include "util/error.h"

#define HELLO_MAGIC   0x434d4456u /* "VDMC" */
#define HELLO_VERSION 1

/* All little-endian. */
typedef struct ChannelHello {
    uint32_t magic, version;
    uint8_t uuid[16];
    uint32_t number; /* from 0 */
    uint32_t zero;
} ChannelHello;

static bool forget_all(MigrationChannel **channels, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_clear_pointer(&channels[i], migration_channel_free);
    }
    return false;
}

static bool say_hello(MigrationChannel *ch, const uint8_t *uuid, unsigned number, GError **errp)
{
    ChannelHello hello = {
        .magic = GUINT32_TO_LE(HELLO_MAGIC),
        .version = GUINT32_TO_LE(HELLO_VERSION),
        .number = GUINT32_TO_LE(number),
    };
    struct iovec iov = { &hello, sizeof(hello) };

    memcpy(hello.uuid, uuid, sizeof(hello.uuid));
    return migration_channel_writev(ch, &iov, 1, errp);
}

bool migration_connect_many(const MigrationAddress *a, const uint8_t *uuid, unsigned n,
                            MigrationChannel **channels, GCancellable *cancel, GError **errp)
{
    memset(channels, 0, n * sizeof(channels[0]));
    for (unsigned i = 0; i < n; i++) {
        channels[i] = migration_connect(a, cancel, errp);
        if (!channels[i] || !say_hello(channels[i], uuid, i, errp)) {
            return forget_all(channels, n);
        }
    }
    return true;
}

static bool wait_for_hello(MigrationChannel *ch, GError **errp)
{
    struct pollfd fds[] = { { .fd = ch->in, .events = POLLIN },
                            { .fd = ch->wake, .events = POLLIN } };
    int least = sizeof(ChannelHello), any = 1, n;

    if (ch->ops != &channel_fd_ops) {
        return true; /* TLS's handshake has shown that it is no stranger */
    }
    setsockopt(ch->in, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least));
    n = poll(fds, G_N_ELEMENTS(fds), MULTIFD_HELLO_SECONDS * 1000);
    setsockopt(ch->in, SOL_SOCKET, SO_RCVLOWAT, &any, sizeof(any));
    return n > 0 || channel_error(ch, n ? errno : ETIMEDOUT, "no word of who it is", errp);
}

static bool check_hello(const MigrationChannel *ch, const ChannelHello *hello, const uint8_t *uuid,
                        unsigned n, MigrationChannel *const *channels, GError **errp)
{
    unsigned number = GUINT32_FROM_LE(hello->number);
    const char *what = NULL;

    if (GUINT32_FROM_LE(hello->magic) != HELLO_MAGIC || hello->zero) {
        what = "it is no channel of a migration";
    } else if (GUINT32_FROM_LE(hello->version) != HELLO_VERSION) {
        what = "it speaks another version";
    } else if (memcmp(hello->uuid, uuid, sizeof(hello->uuid)) != 0) {
        what = "it belongs to another migration";
    } else if (number >= n) {
        what = "there are not so many channels";
    } else if (channels[number]) {
        what = "this channel is there already";
    }
    return !what || error_set(errp, "migration channel %s: %s", ch->name, what);
}

static void shut(GCancellable *cancel, gpointer ch)
{
    migration_channel_shutdown(ch);
}

/* Its number, or -1 and the error. */
static int take_hello(MigrationChannel *ch, const uint8_t *uuid, unsigned n,
                      MigrationChannel *const *channels, GCancellable *cancel, GError **errp)
{
    gulong id = cancel ? g_cancellable_connect(cancel, G_CALLBACK(shut), ch, NULL) : 0;
    ChannelHello hello;
    bool good = wait_for_hello(ch, errp) &&
                migration_channel_read(ch, &hello, sizeof(hello), errp) &&
                check_hello(ch, &hello, uuid, n, channels, errp);

    g_cancellable_disconnect(cancel, id);
    return good ? (int)GUINT32_FROM_LE(hello.number) : -1;
}

bool migration_accept_many(MigrationListener *l, const uint8_t *uuid, unsigned n,
                           MigrationChannel **channels, GCancellable *cancel, GError **errp)
{
    unsigned there = 0, strangers = 0;

    memset(channels, 0, n * sizeof(channels[0]));
    while (there < n) {
        g_autoptr(GError) err = NULL;
        g_autoptr(MigrationChannel) ch = migration_accept(l, cancel, &err);
        int number = ch ? take_hello(ch, uuid, n, channels, cancel, &err) : -1;

        if (number >= 0) {
            channels[number] = g_steal_pointer(&ch);
            there++;
            continue;
        }
        if (g_cancellable_is_cancelled(cancel) || ++strangers > MULTIFD_STRANGERS) {
            g_propagate_error(errp, g_steal_pointer(&err));
            return forget_all(channels, n);
        }
        warn_report("turned away: %s", err->message);
    }
    return true;
}
