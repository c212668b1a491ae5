/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live update of vfio-pci.  The device goes on working, so nothing is written to it and no interrupt
 * is set up anew: its driver in the kernel keeps the eventfds that it has, and what changes is who
 * takes their signals to the guest.  From when the old process lets go of them until the new one has
 * bound them they count, so nothing is lost.
 *
 * What this process emulates is the state that all migrations have (pci-migration.c); the eventfds,
 * and what the driver has of them, come beside it.
 */
#include "hw/vfio/pci.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "migration/cpr.h"
#include "util/error.h"
#include "util/hostcalls.h"
#include "util/trace.h"

typedef struct InterruptRecord {
    uint32_t interrupt, nr_enabled, nr_msi, msix_limit, nr_vectors;
    uint32_t intx_armed, intx_user_unmask;
} InterruptRecord;

#define VECTOR_ARMED  1
#define VECTOR_MISSED 2

static char *name_of(const VFIOPCIDevice *vdev, const char *what)
{
    return g_strdup_printf("%s/%s", vdev->vbasedev->cpr_name, what);
}

/* ---- who takes the signals to the guest ---- */

static void disconnect(VFIOPCIDevice *vdev)
{
    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        vfio_vector_disconnect(&vdev->vectors[i]);
    }
    vfio_intx_disconnect(vdev);
    vfio_notifiers_listen(vdev, false);
}

static bool is_masked(VFIOPCIDevice *vdev, unsigned nr)
{
    return vdev->interrupt == VFIO_INT_MSIX  ? msix_is_masked(&vdev->parent, nr)
           : vdev->interrupt == VFIO_INT_MSI ? msi_is_masked(&vdev->parent, nr)
                                             : true;
}

static void connect(void *opaque)
{
    VFIOPCIDevice *vdev = opaque;
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        if (vdev->vectors[i].trigger >= 0 && !is_masked(vdev, i)) {
            vfio_vector_connect(&vdev->vectors[i]);
        }
    }
    if (vdev->interrupt == VFIO_INT_INTx && !vfio_intx_connect(vdev, &err)) {
        vfio_pci_warn_interrupt(vdev, err);
    }
    vfio_notifiers_listen(vdev, true);
}

/* ---- the old process ---- */

static void save_fd(VFIOPCIDevice *vdev, const char *what, unsigned nr, int fd)
{
    g_autofree char *name = name_of(vdev, what);

    if (fd >= 0) {
        cpr_save_fd(name, nr, fd);
    }
}

static bool stop(void *opaque, GError **errp)
{
    VFIOPCIDevice *vdev = opaque;
    InterruptRecord record = {
        .interrupt = vdev->interrupt,
        .nr_enabled = vdev->nr_enabled,
        .nr_msi = vdev->nr_msi,
        .msix_limit = vdev->msix.limit,
        .nr_vectors = vdev->nr_vectors,
        .intx_armed = vdev->intx.armed,
        .intx_user_unmask = vdev->intx.user_unmask,
    };
    g_autofree char *name = name_of(vdev, "interrupts"), *flags_name = name_of(vdev, "vectors");
    g_autofree uint8_t *flags = g_malloc0(vdev->nr_vectors + 1);

    disconnect(vdev);
    for (unsigned i = 0; i < vdev->nr_vectors; i++) {
        const VFIOMSIVector *v = &vdev->vectors[i];

        flags[i] = (v->armed ? VECTOR_ARMED : 0) | (v->missed ? VECTOR_MISSED : 0);
        save_fd(vdev, "vector", i, v->trigger);
    }
    cpr_save_data(name, 0, &record, sizeof(record));
    cpr_save_data(flags_name, 0, flags, vdev->nr_vectors);
    save_fd(vdev, "intx-interrupt", 0, vdev->intx.trigger);
    save_fd(vdev, "intx-unmask", 0, vdev->intx.resample);
    save_fd(vdev, "err-notifier", 0, vdev->notifiers[VFIO_NOTIFIER_ERR].fd);
    save_fd(vdev, "req-notifier", 0, vdev->notifiers[VFIO_NOTIFIER_REQ].fd);
    return true;
}

/* ---- the new process ---- */

/* Whatever else it is might have whoever reads it wait, or always be readable. */
static bool is_eventfd(int fd)
{
    struct stat st;

    return !hostcalls->fstat(fd, &st) && !(st.st_mode & S_IFMT) &&
           hostcalls->fcntl(fd, F_GETFL, 0) & O_NONBLOCK;
}

/* *@fd is -1 if the old process had none. */
static bool take_eventfd(VFIOPCIDevice *vdev, const char *what, unsigned nr, int *fd, GError **errp)
{
    g_autofree char *name = name_of(vdev, what);

    *fd = cpr_find_fd(name, nr);
    if (*fd >= 0 && !is_eventfd(*fd)) {
        host_fd_close(fd);
        return error_set(errp, "what the old process gives for %s %u is no eventfd", what, nr);
    }
    return true;
}

static bool adopt_vectors(VFIOPCIDevice *vdev, GError **errp)
{
    g_autofree char *name = name_of(vdev, "vectors");
    const uint8_t *flags = cpr_find_data(name, 0, vdev->nr_vectors);

    if (!flags) {
        return error_set(errp, "the old process has another number of vectors than %u",
                         vdev->nr_vectors);
    }
    for (unsigned i = 0; vdev->interrupt >= VFIO_INT_MSI && i < vdev->nr_vectors; i++) {
        VFIOMSIVector *v = &vdev->vectors[i];

        if (!take_eventfd(vdev, "vector", i, &v->trigger, errp)) {
            return false;
        }
        v->armed = flags[i] & VECTOR_ARMED;
        v->missed = flags[i] & VECTOR_MISSED;
        if (v->armed && v->trigger < 0) {
            return error_set(errp, "the old process does not give vector %u", i);
        }
    }
    return true;
}

static bool can_have(const VFIOPCIDevice *vdev, uint32_t interrupt)
{
    return interrupt <= VFIO_INT_MSIX && (interrupt != VFIO_INT_MSIX || vdev->msix.cap) &&
           (interrupt != VFIO_INT_MSI || vdev->parent.msi_cap);
}

/* Eventfds of another kind than the one that is on nobody takes, which is refused. */
static bool adopt_interrupts(VFIOPCIDevice *vdev, GError **errp)
{
    g_autofree char *name = name_of(vdev, "interrupts");
    const InterruptRecord *r = cpr_find_data(name, 0, sizeof(*r));
    bool has_intx = r && r->interrupt == VFIO_INT_INTx;
    const struct {
        const char *what;
        int *fd;
    } fds[] = {
        { "intx-interrupt", has_intx ? &vdev->intx.trigger : NULL },
        { "intx-unmask", has_intx ? &vdev->intx.resample : NULL },
        { "err-notifier", &vdev->notifiers[VFIO_NOTIFIER_ERR].fd },
        { "req-notifier", vdev->req ? &vdev->notifiers[VFIO_NOTIFIER_REQ].fd : NULL },
    };

    if (!r || !can_have(vdev, r->interrupt) || r->nr_enabled > MAX(vdev->nr_vectors, 1) ||
        r->nr_msi > vdev->nr_vectors) {
        return error_set(errp, "the old process does not say which interrupts it has");
    }
    vdev->interrupt = (VFIOInterrupt)r->interrupt;
    vdev->nr_enabled = r->nr_enabled;
    vdev->nr_msi = r->nr_msi;
    vdev->msix.limit = r->msix_limit;
    vdev->intx.armed = r->intx_armed;
    vdev->intx.user_unmask = r->intx_user_unmask;
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i].fd && !take_eventfd(vdev, fds[i].what, 0, fds[i].fd, errp)) {
            return false;
        }
    }
    return adopt_vectors(vdev, errp);
}

/* Only what this process emulates must be the same; the device's own bits change all the time. */
static void allow_device_bits(VFIOPCIDevice *vdev)
{
    PCIDevice *pdev = &vdev->parent;
    uint16_t flags = pdev->msi_cap ? pci_get_word(pdev->config + pdev->msi_cap + PCI_MSI_FLAGS) : 0;

    for (uint32_t i = 0; i < pdev->config_size; i++) {
        pdev->varies[i] |= (uint8_t)~vdev->emulated_config_bits[i];
    }
    if (flags & PCI_MSI_FLAGS_MASKBIT) { /* brought up to date when they are read */
        memset(pdev->varies + pdev->msi_cap +
                   (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32),
               0xff, 4);
    }
}

bool vfio_pci_cpr_load(VFIOPCIDevice *vdev, GError **errp)
{
    if (!vdev->vbasedev->adopted) {
        return error_set(errp, "the old process has another device there");
    }
    allow_device_bits(vdev);
    if (!adopt_interrupts(vdev, errp) || !pci_device_post_load(vdev, errp) ||
        (vdev->interrupt == VFIO_INT_MSI && !vfio_msi_sync(vdev, errp))) {
        return false;
    }
    vdev->use = VFIO_IN_USE;
    TRACE("vfio_cpr_load", "%s interrupt %d, %u vectors", vdev->vbasedev->name, vdev->interrupt,
          vdev->nr_enabled);
    return true;
}

/* ---- life ---- */

static const CprOps cpr_ops = { .stop = stop, .undo = connect, .finish = connect };

bool vfio_pci_cpr_init(VFIOPCIDevice *vdev, GError **errp)
{
    if (vdev->vbasedev->cpr_name) {
        cpr_register(&cpr_ops, vdev);
    }
    return true;
}

void vfio_pci_cpr_fini(VFIOPCIDevice *vdev)
{
    cpr_unregister(&cpr_ops, vdev);
}
