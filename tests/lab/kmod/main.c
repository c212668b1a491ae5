// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bus, its driver, and viaduct_test.devices=N: as many devices as that are made, at the boot or
 * when the parameter is written.  They stay until the kernel goes.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vtest.h"

#define MAX_DEVICES 16

static bool iommu_dirty = true, dma_logging = true;
module_param(iommu_dirty, bool, 0644);
MODULE_PARM_DESC(iommu_dirty, "the IOMMU of devices made from now on can track what is dirty");
module_param(dma_logging, bool, 0644);
MODULE_PARM_DESC(dma_logging, "devices made from now on can log their DMA");

static unsigned int wanted, made;
static bool booted;
static struct device *parent;
static DEFINE_MUTEX(making);

/* ---- the VFIO device ---- */

static void vt_free(struct vt_device *vt)
{
    for (unsigned int i = 0; i < ARRAY_SIZE(vt->bar2); i++) {
        if (vt->bar2[i])
            __free_page(vt->bar2[i]);
    }
    vfree(vt->records);
    vfio_put_device(&vt->vdev);
}

static int vt_fill(struct vt_device *vt)
{
    vt->records = vzalloc(VT_MAX_PAGES * sizeof(u64));
    if (!vt->records)
        return -ENOMEM;
    for (unsigned int i = 0; i < ARRAY_SIZE(vt->bar2); i++) {
        vt->bar2[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
        if (!vt->bar2[i])
            return -ENOMEM;
    }
    return 0;
}

static int vt_probe(struct device *dev)
{
    struct vt_node *node = to_node(dev);
    struct vt_device *vt = vfio_alloc_device(vt_device, vdev, dev, &vt_ops);
    int ret;

    if (IS_ERR(vt))
        return PTR_ERR(vt);
    vt->node = node;
    mutex_init(&vt->lock);
    vt_log_init(&vt->log);
    vt_knobs_init(&vt->knobs);
    vt_engine_init(vt);
    vt->vdev.migration_flags =
        VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY;
    vt->vdev.mig_ops = &vt_migration_ops;
    vt->vdev.log_ops = dma_logging ? &vt_log_ops : NULL;
    ret = vt_fill(vt);
    if (!ret) {
        vt_reset(vt);
        node->vt = vt;
        ret = vfio_register_group_dev(&vt->vdev);
    }
    if (ret) {
        node->vt = NULL;
        vt_free(vt);
    }
    return ret;
}

static struct device_driver vt_driver = {
    .name = "vtest-vfio",
    .owner = THIS_MODULE,
    .bus = &vt_bus,
    .probe = vt_probe,
    .suppress_bind_attrs = true,
};

/* ---- the bus ---- */

const struct bus_type vt_bus = {
    .name = "viaduct_test",
};

static void vt_node_release(struct device *dev)
{
    kfree(to_node(dev));
}

static int vt_make(unsigned int id)
{
    struct vt_node *node = kzalloc(sizeof(*node), GFP_KERNEL);
    int ret;

    if (!node)
        return -ENOMEM;
    node->id = id;
    node->iommu_dirty = iommu_dirty;
    device_initialize(&node->dev);
    node->dev.parent = parent;
    node->dev.bus = &vt_bus;
    node->dev.release = vt_node_release;
    ret = dev_set_name(&node->dev, "vtest%u", id);
    if (!ret)
        ret = vt_iommu_add(node);
    if (ret) {
        put_device(&node->dev);
        return ret;
    }
    if (!node->vt) {
        dev_err(&node->dev, "its driver did not take it\n");
        return -ENODEV;
    }
    /* Only now there is what they are about. */
    return device_add_groups(&node->dev, vt_groups);
}

static int vt_begin(void)
{
    int ret;

    parent = root_device_register("viaduct_test");
    if (IS_ERR(parent))
        return PTR_ERR(parent);
    ret = bus_register(&vt_bus);
    if (ret)
        goto no_bus;
    ret = vt_iommu_init(parent);
    if (ret)
        goto no_iommu;
    ret = driver_register(&vt_driver);
    if (!ret)
        return 0;
    /* The IOMMU stays: it has no devices, and there is no way to take it back. */
    return ret;
no_iommu:
    bus_unregister(&vt_bus);
no_bus:
    root_device_unregister(parent);
    parent = NULL;
    return ret;
}

static int vt_make_wanted(void)
{
    int ret = 0;

    mutex_lock(&making);
    if (wanted && !parent)
        ret = vt_begin();
    while (!ret && made < wanted) {
        ret = vt_make(made);
        if (!ret)
            made++;
    }
    mutex_unlock(&making);
    return ret;
}

/* ---- the parameter ---- */

static int devices_set(const char *value, const struct kernel_param *kp)
{
    unsigned int n;
    int ret = kstrtouint(value, 0, &n);

    if (ret)
        return ret;
    if (n > MAX_DEVICES || n < made)
        return -EINVAL;
    wanted = n;
    return booted ? vt_make_wanted() : 0;
}

static int devices_get(char *buffer, const struct kernel_param *kp)
{
    return sysfs_emit(buffer, "%u\n", made);
}

static const struct kernel_param_ops devices_ops = {
    .set = devices_set,
    .get = devices_get,
};
module_param_cb(devices, &devices_ops, NULL, 0644);
MODULE_PARM_DESC(devices, "how many test devices there are; it can grow");

static int __init vt_init(void)
{
    booted = true;
    return vt_make_wanted();
}
/* VFIO and iommufd come first. */
late_initcall(vt_init);

MODULE_IMPORT_NS("IOMMUFD");
MODULE_IMPORT_NS("GENERIC_PT_IOMMU");
MODULE_DESCRIPTION("Viaduct's migratable test device");
MODULE_LICENSE("GPL");
