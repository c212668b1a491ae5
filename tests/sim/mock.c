/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's test command: devices behind an imaginary IOMMU. */
#include "tests/sim/internal.h"

#include <string.h>
#include <unistd.h>

#include "tests/conformance/mock.h"

#define MOCK_IOMMU 1000 /* SimDevice.iommu */

static int add_reserved(struct iommu_test_cmd *c)
{
    Object *ioas = sim_object(c->id, OBJ_IOAS);
    Range r = { c->add_reserved.start, 0 };

    if (!c->add_reserved.length) {
        return fail(EINVAL);
    }
    if (__builtin_add_overflow(r.start, c->add_reserved.length - 1, &r.last)) {
        return fail(EOVERFLOW);
    }
    if (!ioas) {
        return fail(ENOENT);
    }
    if (sim_is_used(ioas, r)) {
        return fail(EADDRINUSE);
    }
    g_array_append_val(ioas->reserved, r);
    return 0;
}

static int new_device(struct iommu_test_cmd *c)
{
    uint32_t pt_id = c->id, mock, id;
    SimDevice *dev;
    int errnum;

    if (c->mock_domain_flags.dev_flags & ~MOCK_FLAGS_DEVICE_NO_DIRTY) {
        return fail(EINVAL);
    }
    dev = sim_device_new(0);
    dev->mock = true;
    dev->iommu = MOCK_IOMMU;
    dev->iommu_type = IOMMU_HW_INFO_TYPE_SELFTEST;
    dev->dirty_tracking = !c->mock_domain_flags.dev_flags;
    dev->aperture.first = MOCK_FIRST;
    dev->aperture.last = MOCK_LAST;
    dev->aperture.page = MOCK_PAGE;
    dev->aperture.large_page = 16384;
    dev->msi_first = 1;
    dev->msi_last = 0;
    mock = sim_object_new(OBJ_MOCK);
    id = sim_object_new(OBJ_DEVICE);
    sim_object(mock, OBJ_MOCK)->dev = dev;
    sim_object(id, OBJ_DEVICE)->dev = dev;
    dev->devid = id;
    errnum = sim_device_attach(dev, &pt_id);
    if (errnum) {
        sim_mock_free(dev);
        sim_object_free(sim_object(mock, OBJ_MOCK));
        return fail(errnum);
    }
    c->mock_domain_flags.out_stdev_id = mock;
    c->mock_domain_flags.out_hwpt_id = pt_id;
    c->mock_domain_flags.out_idev_id = id;
    return 0;
}

void sim_mock_free(SimDevice *dev)
{
    sim_device_detach(dev);
    sim_object_free(sim_object(dev->devid, OBJ_DEVICE));
    sim_device_free(dev);
}

static int replace(struct iommu_test_cmd *c)
{
    Object *mock = sim_object(c->id, OBJ_MOCK);
    uint32_t pt_id = c->mock_domain_replace.pt_id;
    int errnum = mock ? sim_device_attach(mock->dev, &pt_id) : ENOENT;

    sim_note("REPLACE %u to %u", c->id, c->mock_domain_replace.pt_id);
    c->mock_domain_replace.pt_id = pt_id;
    return errnum ? fail(errnum) : 0;
}

/* The memory of a file is compared by what is in it. */
static bool same_memory(const SimExtent *e, uint64_t iova, const char *memory)
{
    char page[MOCK_PAGE];
    uint64_t at = e->start + (iova - e->iova);

    return e->fd < 0 ? at == (uintptr_t)memory
                     : pread(e->fd, page, sizeof(page), (off_t)at) == sizeof(page) &&
                           !memcmp(page, memory, sizeof(page));
}

static int check_map(struct iommu_test_cmd *c)
{
    const Object *hwpt = sim_object(c->id, OBJ_HWPT);
    const char *memory = (const void *)(uintptr_t)c->check_map.uptr;

    if (!hwpt) {
        return fail(ENOENT);
    }
    for (uint64_t at = 0; at < c->check_map.length; at += MOCK_PAGE) {
        uint64_t iova = c->check_map.iova + at;
        const SimExtent *e = sim_extent(sim_object(hwpt->ioas, OBJ_IOAS), iova, iova);

        if (!e || !same_memory(e, iova, memory + at)) {
            return fail(EINVAL);
        }
    }
    return 0;
}

static int dirty(struct iommu_test_cmd *c)
{
    Object *hwpt = sim_object(c->id, OBJ_HWPT);
    const uint8_t *bitmap = (const void *)(uintptr_t)c->dirty.uptr;

    if (!c->dirty.page_size || !c->dirty.length ||
        (c->dirty.iova | c->dirty.length) % c->dirty.page_size) {
        return fail(EINVAL);
    }
    if (!hwpt) {
        return fail(ENOENT);
    }
    if (!hwpt->tracking) {
        return fail(EINVAL);
    }
    for (uint64_t i = 0; i < c->dirty.length / c->dirty.page_size; i++) {
        if (bitmap[i / 8] >> i % 8 & 1) {
            sim_hwpt_write(hwpt, c->dirty.iova + i * c->dirty.page_size);
            c->dirty.out_nr_dirty++;
        }
    }
    return 0;
}

int sim_mock(void *arg)
{
    struct iommu_test_cmd *c = arg;

    switch (c->op) {
    case IOMMU_TEST_OP_ADD_RESERVED:
        return add_reserved(c);
    case IOMMU_TEST_OP_MD_CHECK_MAP:
        return check_map(c);
    case IOMMU_TEST_OP_MD_CHECK_REFS: /* nothing is really pinned */
    case IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT:
        return 0;
    case IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE:
        return replace(c);
    case IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS:
        return new_device(c);
    case IOMMU_TEST_OP_DIRTY:
        return dirty(c);
    default:
        return fail(EOPNOTSUPP);
    }
}
