/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/qmp-client.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "util/fd.h"

void spin(void)
{
    for (int i = 0; i < 50; i++) {
        while (g_main_context_iteration(NULL, FALSE)) {
        }
    }
}

/* The monitor's end is as if it had been inherited, which is what fd= takes. */
void qmp_client_init(QMPClient *c)
{
    static int serial;
    g_autofree char *id = g_strdup_printf("mon%d", serial++), *fd = NULL;
    g_autoptr(JsonObject) opts = json_object_new();
    g_autoptr(GError) err = NULL;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    g_assert_cmpint(fcntl(pair[1], F_SETFD, 0), ==, 0);
    fd = g_strdup_printf("%d", pair[1]);
    json_object_set_string_member(opts, "backend", "socket");
    json_object_set_string_member(opts, "id", id);
    json_object_set_string_member(opts, "fd", fd);
    *c = (QMPClient) { pair[0], g_string_new(NULL), chardev_new(opts, &err) };
    g_assert_no_error(err);
    g_assert_true(monitor_init_qmp(c->chr, false, &err));
}

void qmp_client_clear(QMPClient *c)
{
    fd_close(&c->fd);
    g_string_free(c->in, TRUE);
    spin();
}

bool qmp_client_fill(QMPClient *c)
{
    char buf[4096];
    ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n > 0) {
        g_string_append_len(c->in, buf, n);
    }
    return n != 0;
}

JsonObject *qmp_client_receive(QMPClient *c)
{
    g_autoptr(JsonNode) node = NULL;
    g_autofree char *line = NULL;
    char *end;

    for (int i = 0; i < 100 && !strstr(c->in->str, "\r\n"); i++) {
        spin();
        qmp_client_fill(c);
    }
    end = strstr(c->in->str, "\r\n");
    if (!end) {
        return NULL;
    }
    line = g_strndup(c->in->str, (gsize)(end - c->in->str));
    g_string_erase(c->in, 0, end + 2 - c->in->str);
    node = json_from_string(line, NULL);
    g_assert_nonnull(node);
    return json_node_dup_object(node);
}
