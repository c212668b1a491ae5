// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The IOMMU of the test bus: the kernel's generic page tables in AMD's format, walked by the
 * devices of the bus and nobody else.  A device's DMA is whole under vt_dma_lock; whoever waits for
 * that lock once knows that no walk is under way, which is what an IOTLB flush is for.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/irqdomain.h>
#include <linux/module.h>
#include <linux/msi.h>
#include <linux/property.h>
#include <linux/slab.h>

#include "../iommu/iommu-pages.h"
#include "../iommu/iommu-priv.h"
#include "vtest.h"

#define MSI_START 0xfee00000UL
#define MSI_SIZE  0x100000UL

struct vt_domain {
    union {
        struct iommu_domain domain;
        struct pt_iommu iommu;
        struct pt_iommu_amdv1 amdv1;
    };
    bool tracking; /* sets dirty bits */
};
PT_IOMMU_CHECK_DOMAIN(struct vt_domain, iommu, domain);
PT_IOMMU_CHECK_DOMAIN(struct vt_domain, amdv1.iommu, domain);

static struct iommu_device vt_iommu;
static struct notifier_block vt_notifier;
static DEFINE_SPINLOCK(vt_dma_lock);
static DEFINE_SPINLOCK(vt_top_lock);
static struct irq_domain *vt_msi;

/* With 4 KiB only, a dirty bit is one page's; that is what tests want first. */
static ulong page_sizes = 0x1000;
module_param(page_sizes, ulong, 0644);
MODULE_PARM_DESC(page_sizes,
                 "of domains made from now on, a bit for each size; 4 KiB is always in");

static ushort address_bits = 48;
module_param(address_bits, ushort, 0644);
MODULE_PARM_DESC(address_bits, "of IOVAs in domains made from now on (32 to 57)");

static struct vt_domain *to_domain(struct iommu_domain *domain)
{
    return container_of(domain, struct vt_domain, domain);
}

/* ---- DMA ---- */

/* One page's part at most. */
static int dma_piece(struct vt_domain *domain, u64 iova, void *data, size_t size, bool write)
{
    phys_addr_t at = iommu_iova_to_phys(&domain->domain, iova);
    int ret = 0;

    if (!at || !pfn_valid(PHYS_PFN(at)))
        return -EFAULT;
    if (!write) {
        memcpy(data, phys_to_virt(at), size);
        return 0;
    }
    memcpy(phys_to_virt(at), data, size);
    /* After the data: who clears the bit reads the page only then. */
    if (domain->tracking) {
        do {
            ret = domain->iommu.ops->set_dirty(&domain->iommu, iova);
        } while (ret == -EAGAIN);
    }
    return ret ? -EFAULT : 0;
}

int vt_dma(struct vt_node *node, u64 iova, void *data, size_t size, bool write)
{
    int ret = 0;

    while (!ret && size) {
        size_t piece = min(size, PAGE_SIZE - offset_in_page(iova));

        spin_lock(&vt_dma_lock);
        ret = node->domain ? dma_piece(node->domain, iova, data, piece, write) : -EFAULT;
        spin_unlock(&vt_dma_lock);
        iova += piece;
        data += piece;
        size -= piece;
    }
    return ret;
}

static void wait_for_dma(void)
{
    spin_lock(&vt_dma_lock);
    spin_unlock(&vt_dma_lock);
}

/* ---- domains ---- */

static int attach(struct iommu_domain *domain, struct device *dev, struct iommu_domain *old)
{
    struct vt_node *node = to_node(dev);

    if (domain->dirty_ops && !node->iommu_dirty)
        return -EINVAL;
    spin_lock(&vt_dma_lock);
    node->domain = to_domain(domain);
    spin_unlock(&vt_dma_lock);
    return 0;
}

static int block(struct iommu_domain *domain, struct device *dev, struct iommu_domain *old)
{
    spin_lock(&vt_dma_lock);
    to_node(dev)->domain = NULL;
    spin_unlock(&vt_dma_lock);
    return 0;
}

static void sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
    wait_for_dma();
    iommu_put_pages_list(&gather->freelist);
}

static void flush_all(struct iommu_domain *domain)
{
    wait_for_dma();
}

static bool enforce_coherency(struct iommu_domain *domain)
{
    return true; /* nothing here snoops or not */
}

static void domain_free(struct iommu_domain *domain)
{
    pt_iommu_deinit(&to_domain(domain)->iommu);
    kfree(to_domain(domain));
}

static int set_dirty_tracking(struct iommu_domain *domain, bool enable)
{
    spin_lock(&vt_dma_lock);
    to_domain(domain)->tracking = enable;
    spin_unlock(&vt_dma_lock);
    return 0;
}

static const struct iommu_domain_ops domain_ops = {
    IOMMU_PT_DOMAIN_OPS(amdv1),
    .attach_dev = attach,
    .iotlb_sync = sync,
    .flush_iotlb_all = flush_all,
    .enforce_cache_coherency = enforce_coherency,
    .free = domain_free,
};

static const struct iommu_dirty_ops dirty_ops = {
    IOMMU_PT_DIRTY_OPS(amdv1),
    .set_dirty_tracking = set_dirty_tracking,
};

static const struct iommu_domain_ops blocking_ops = {
    .attach_dev = block,
};

static struct iommu_domain blocking_domain = {
    .type = IOMMU_DOMAIN_BLOCKED,
    .ops = &blocking_ops,
};

/* Walks begin at the table's own top: nothing holds a copy. */
static void change_top(struct pt_iommu *table, phys_addr_t top, unsigned int level)
{
}

static spinlock_t *get_top_lock(struct pt_iommu *table)
{
    return &vt_top_lock;
}

static const struct pt_iommu_driver_ops table_ops = {
    .change_top = change_top,
    .get_top_lock = get_top_lock,
};

static struct iommu_domain *domain_alloc(struct device *dev, u32 flags,
                                         const struct iommu_user_data *data)
{
    struct pt_iommu_amdv1_cfg cfg = {
        .common.features = BIT(PT_FEAT_DYNAMIC_TOP) | BIT(PT_FEAT_AMDV1_ENCRYPT_TABLES) |
                           BIT(PT_FEAT_AMDV1_FORCE_COHERENCE),
        .common.hw_max_vasz_lg2 = clamp(address_bits, 32, 57),
        .common.hw_max_oasz_lg2 = 52,
        .starting_level = 2,
    };
    struct vt_domain *domain;
    int ret;

    if (flags & ~IOMMU_HWPT_ALLOC_DIRTY_TRACKING || data)
        return ERR_PTR(-EOPNOTSUPP);
    if ((flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) && !to_node(dev)->iommu_dirty)
        return ERR_PTR(-EOPNOTSUPP);
    domain = kzalloc(sizeof(*domain), GFP_KERNEL);
    if (!domain)
        return ERR_PTR(-ENOMEM);
    domain->iommu.driver_ops = &table_ops;
    domain->iommu.nid = NUMA_NO_NODE;
    ret = pt_iommu_amdv1_init(&domain->amdv1, &cfg, GFP_KERNEL);
    if (ret) {
        kfree(domain);
        return ERR_PTR(ret);
    }
    domain->domain.ops = &domain_ops;
    domain->domain.pgsize_bitmap &= page_sizes | PAGE_SIZE;
    if (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
        domain->domain.dirty_ops = &dirty_ops;
    return &domain->domain;
}

/* ---- the IOMMU ---- */

static bool capable_of(struct device *dev, enum iommu_cap cap)
{
    switch (cap) {
    case IOMMU_CAP_CACHE_COHERENCY:
    case IOMMU_CAP_ENFORCE_CACHE_COHERENCY:
        return true;
    case IOMMU_CAP_DIRTY_TRACKING:
        return to_node(dev)->iommu_dirty;
    default:
        return false;
    }
}

static struct iommu_device *probe_device(struct device *dev)
{
    return dev->bus == &vt_bus ? &vt_iommu : ERR_PTR(-ENODEV);
}

/* As any IOMMU of an x86 has it. */
static void get_resv_regions(struct device *dev, struct list_head *head)
{
    struct iommu_resv_region *msi =
        iommu_alloc_resv_region(MSI_START, MSI_SIZE, 0, IOMMU_RESV_MSI, GFP_KERNEL);

    if (msi)
        list_add_tail(&msi->list, head);
}

static const struct iommu_ops vt_iommu_ops = {
    .owner = THIS_MODULE,
    .default_domain = &blocking_domain,
    .blocked_domain = &blocking_domain,
    .release_domain = &blocking_domain,
    .capable = capable_of,
    .probe_device = probe_device,
    .device_group = generic_device_group,
    .get_resv_regions = get_resv_regions,
    .domain_alloc_paging_flags = domain_alloc,
};

int vt_iommu_init(struct device *parent)
{
    static const struct irq_domain_ops no_interrupts;
    /* VFIO wants to know that a device's writes cannot pose as another's interrupts; these devices
       signal eventfds. */
    struct irq_domain_info info = {
        .fwnode = irq_domain_alloc_named_fwnode("viaduct_test"),
        .domain_flags = IRQ_DOMAIN_FLAG_ISOLATED_MSI,
        .ops = &no_interrupts,
    };
    int ret;

    if (!info.fwnode)
        return -ENOMEM;
    vt_msi = irq_domain_instantiate(&info);
    if (IS_ERR(vt_msi)) {
        irq_domain_free_fwnode(info.fwnode);
        return PTR_ERR(vt_msi);
    }
    ret = iommu_device_sysfs_add(&vt_iommu, parent, NULL, "viaduct_test");
    if (!ret) {
        ret = iommu_device_register_bus(&vt_iommu, &vt_iommu_ops, &vt_bus, &vt_notifier);
        if (ret)
            iommu_device_sysfs_remove(&vt_iommu);
    }
    if (ret) {
        irq_domain_remove(vt_msi);
        irq_domain_free_fwnode(info.fwnode);
    }
    return ret;
}

int vt_iommu_add(struct vt_node *node)
{
    dev_set_msi_domain(&node->dev, vt_msi);
    return iommu_mock_device_add(&node->dev, &vt_iommu);
}
