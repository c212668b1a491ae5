/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live update of groups: the descriptor, and which container it is in. */
#include "hw/vfio/group.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

static char *group_name(const VFIOGroup *g)
{
    return g_strdup_printf("group/%u", g->id);
}

static char *number_name(const VFIOGroup *g)
{
    return g_strdup_printf("group/%u/container", g->id);
}

static void group_save(void *opaque)
{
    const VFIOGroup *g = opaque;
    g_autofree char *name = group_name(g), *number = number_name(g);
    uint32_t n = vfio_type1_number(g->container);

    cpr_save_fd(name, 0, g->fd);
    cpr_save_data(number, 0, &n, sizeof(n));
}

static bool group_stop(void *opaque, GError **errp)
{
    VFIOGroup *g = opaque;

    vfio_forget_accel(g->fd, &g->accel_told);
    return true;
}

static void group_tell_accel(void *opaque)
{
    VFIOGroup *g = opaque;
    g_autofree char *what = g_strdup_printf("group %u", g->id);

    g->adopted = false;
    vfio_tell_accel(g->fd, &g->accel_told, what);
}

static const CprOps group_ops = {
    .save = group_save,
    .stop = group_stop,
    .undo = group_tell_accel,
    .finish = group_tell_accel,
};

void vfio_group_cpr_register(VFIOGroup *g)
{
    cpr_register(&group_ops, g);
}

void vfio_group_cpr_unregister(VFIOGroup *g)
{
    cpr_unregister(&group_ops, g);
}

/* Its number, where sysfs shows it. */
static bool is_group(const VFIOGroup *g, GError **errp)
{
    g_autofree char *link = NULL, *name = NULL;
    struct stat st;
    char *target;

    if (hostcalls->fstat(g->fd, &st)) {
        return error_set_errno(errp, errno, "cannot check it");
    }
    link = g_strdup_printf("%s/%u:%u", vfio_sysfs_dev_char, major(st.st_rdev), minor(st.st_rdev));
    target = S_ISCHR(st.st_mode) ? realpath(link, NULL) : NULL; /* malloc'ed */
    name = target ? g_path_get_basename(target) : g_strdup_printf("%u", g->id);
    free(target);
    return (S_ISCHR(st.st_mode) && strtoul(name, NULL, 10) == g->id) ||
           error_set(errp, "it is no descriptor of that group");
}

static bool is_in_container(const VFIOGroup *g, GError **errp)
{
    struct vfio_group_status status = { .argsz = sizeof(status) };

    if (hostcalls->ioctl(g->fd, VFIO_GROUP_GET_STATUS, &status)) {
        return error_set_errno(errp, errno, "VFIO_GROUP_GET_STATUS failed");
    }
    return status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET ||
           error_set(errp, "it is in no container");
}

bool vfio_group_cpr_find(VFIOGroup *g, GError **errp)
{
    g_autofree char *name = group_name(g), *number = number_name(g);
    const uint32_t *n = cpr_find_data(number, 0, sizeof(*n));

    g->fd = cpr_find_fd(name, 0);
    if (g->fd < 0) {
        return true;
    }
    g->adopted = n && is_group(g, errp) && is_in_container(g, errp);
    if (!g->adopted) {
        if (!n) {
            error_set(errp, "the old process does not say which container it is in");
        }
        g_prefix_error(errp, "group %u: ", g->id);
        return false;
    }
    g->number = *n;
    TRACE("vfio_cpr_find_group", "group %u fd %d container %u", g->id, g->fd, g->number);
    return true;
}
