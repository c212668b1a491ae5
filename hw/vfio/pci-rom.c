/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The expansion ROM.  Reading it can take long and some devices mind it, so it is read when the
 * guest first looks, once, unless a romfile takes its place.
 */
#include "hw/vfio/pci.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/hostcalls.h"
#include "util/trace.h"

#define ROM_SIZE_MIN 0x800U    /* the fewest address bits that the register has */
#define ROM_SIZE_MAX 0x1000000 /* PCI Local Bus 3.0, 6.2.5.2 */

/* What cannot be read stays all ones, as where there is no ROM. */
static void vfio_pci_load_rom(VFIOPCIDevice *vdev)
{
    const VFIORegion *region = &vdev->vbasedev->regions[VFIO_PCI_ROM_REGION_INDEX];
    VFIOROM *rom = &vdev->rom;
    size_t done = 0;

    rom->loaded = true;
    while (done < region->size) {
        ssize_t n = hostcalls->pread(vdev->vbasedev->fd, rom->data + done, region->size - done,
                                     (off_t)(region->offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            warn_report("vfio %s: its ROM can be read up to 0x%zx of 0x%" PRIx64 " only: %s",
                        vdev->vbasedev->name, done, region->size,
                        n ? g_strerror(errno) : "end of data");
            break;
        }
        done += (size_t)n;
    }
    TRACE("vfio_pci_load_rom", "%s 0x%zx bytes", vdev->vbasedev->name, done);
}

static uint64_t vfio_rom_read(void *opaque, uint64_t addr, unsigned size)
{
    VFIOPCIDevice *vdev = opaque;
    VFIOROM *rom = &vdev->rom;
    uint64_t val = 0;

    if (!vdev->vbasedev || addr >= rom->size || size > rom->size - addr) {
        return UINT64_MAX;
    }
    if (!rom->loaded) {
        vfio_pci_load_rom(vdev);
    }
    memcpy(&val, rom->data + addr, size);
    return GUINT64_FROM_LE(val);
}

static void vfio_rom_write(void *opaque, uint64_t addr, uint64_t data, unsigned size)
{
}

static const MemoryRegionOps vfio_rom_ops = { .read = vfio_rom_read, .write = vfio_rom_write };

static bool read_whole(int fd, char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, data + done, size - done, (off_t)done);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Never more than a ROM can have, whatever kind of file it is. */
static bool read_romfile(const char *path, char **file, size_t *size, GError **errp)
{
    autofd int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* nor wait for a FIFO's writer */
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        return error_set_errno(errp, errno, "cannot open romfile \"%s\"", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(errp, "romfile \"%s\" is not a regular file", path);
    }
    if (!st.st_size) {
        return error_set(errp, "romfile \"%s\" is empty", path);
    }
    if (st.st_size > ROM_SIZE_MAX) {
        return error_set(errp, "romfile \"%s\" has %jd bytes, which is more than a ROM can have",
                         path, (intmax_t)st.st_size);
    }
    *size = (size_t)st.st_size;
    *file = g_malloc(*size);
    errno = EIO; /* it has become shorter */
    return read_whole(fd, *file, *size) ||
           error_set_errno(errp, errno, "cannot read romfile \"%s\"", path);
}

/* What the ROM is to hold: a file's content, or later the device's; size 0: there is none. */
static bool rom_content(VFIOPCIDevice *vdev, char **file, size_t *size, GError **errp)
{
    const char *path = vdev->parent.romfile;

    *size = 0;
    if (!vdev->rombar || (path && !*path)) {
        return true;
    }
    if (!path) {
        *size = vdev->vbasedev->regions[VFIO_PCI_ROM_REGION_INDEX].size;
    } else if (!read_romfile(path, file, size, errp)) {
        return false;
    }
    return *size <= ROM_SIZE_MAX ||
           error_set(errp, "its ROM is 0x%zx bytes long, which is more than there can be", *size);
}

/* The BAR's size: as the user says, or what the content needs. */
static bool rom_size(VFIOPCIDevice *vdev, size_t content, size_t *size, GError **errp)
{
    uint32_t romsize = vdev->parent.romsize;

    *size = ROM_SIZE_MIN;
    while (*size < content) {
        *size *= 2;
    }
    if (romsize == UINT32_MAX) {
        return true;
    }
    if (romsize & (romsize - 1) || !romsize) {
        return error_set(errp, "ROM size %u is not a power of two", romsize);
    }
    if (romsize < *size || romsize > ROM_SIZE_MAX) {
        return error_set(errp, "ROM size %u cannot be: its ROM has %zu bytes, a BAR %u to %u",
                         romsize, content, ROM_SIZE_MIN, ROM_SIZE_MAX);
    }
    *size = romsize;
    return true;
}

bool vfio_rom_init(VFIOPCIDevice *vdev, GError **errp)
{
    g_autofree char *name = g_strdup_printf("%s ROM", vdev->vbasedev->name);
    g_autofree char *file = NULL;
    VFIOROM *rom = &vdev->rom;
    size_t content, size;

    pci_set_long(vdev->parent.config + PCI_ROM_ADDRESS, 0);
    if (!rom_content(vdev, &file, &content, errp) || !rom_size(vdev, content, &size, errp)) {
        return false;
    }
    if (!content) {
        return true;
    }
    rom->size = size;
    rom->data = g_malloc(rom->size);
    memset(rom->data, 0xff, rom->size);
    rom->loaded = file;
    if (file) {
        memcpy(rom->data, file, content);
    }
    memory_region_init_io(&rom->mr, G_OBJECT(vdev), &vfio_rom_ops, vdev, name, rom->size);
    pci_register_bar(&vdev->parent, PCI_ROM_SLOT, PCI_BASE_ADDRESS_SPACE_MEMORY, &rom->mr);
    return true;
}

void vfio_rom_fini(VFIOPCIDevice *vdev)
{
    VFIOROM *rom = &vdev->rom;

    if (rom->size) {
        vdev->parent.regions[PCI_ROM_SLOT].mr = NULL;
        memory_region_fini(&rom->mr);
        g_clear_pointer(&rom->data, g_free);
        rom->size = 0;
    }
}
