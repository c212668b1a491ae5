/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A structure is what its type defines, then its strings, each ended by a 0, and one more 0; a
 * field that is a string holds the string's number, from 1 on.  A structure's handle is the
 * number that others name it by.
 */
#include "hw/x86/smbios.h"

#include <string.h>

#define KIB (1ULL << 10)
#define MIB (1ULL << 20)

/* Of the specification whose lengths of structures these are. */
#define VERSION_MAJOR 3
#define VERSION_MINOR 0

/* Field values, as the specification numbers them. */
enum { OTHER = 1, UNKNOWN = 2, SAFE = 3 };
enum { NO_ERROR_INFORMATION = 0xfffe };

typedef struct __attribute__((packed)) SmbiosHeader {
    uint8_t type, length;
    uint16_t handle;
} SmbiosHeader;

typedef struct __attribute__((packed)) SmbiosBios {
    SmbiosHeader header;
    uint8_t vendor, version;
    uint16_t segment;
    uint8_t date, rom_size;
    uint64_t characteristics;
    uint8_t extension[2], major, minor, ec_major, ec_minor;
} SmbiosBios;
G_STATIC_ASSERT(sizeof(SmbiosBios) == 0x18);

enum { BIOS_NO_CHARACTERISTICS = 1 << 3, BIOS_IS_VIRTUAL_MACHINE = 1 << 4 };

typedef struct __attribute__((packed)) SmbiosSystem {
    SmbiosHeader header;
    uint8_t manufacturer, product, version, serial, uuid[16], wake_up, sku, family;
} SmbiosSystem;
G_STATIC_ASSERT(sizeof(SmbiosSystem) == 0x1b);

enum { WAKE_UP_POWER_SWITCH = 6 };

typedef struct __attribute__((packed)) SmbiosChassis {
    SmbiosHeader header;
    uint8_t manufacturer, type, version, serial, asset;
    uint8_t boot_state, power_state, thermal_state, security;
    uint32_t oem;
    uint8_t height, power_cords, elements, element_length, sku;
} SmbiosChassis;
G_STATIC_ASSERT(sizeof(SmbiosChassis) == 0x16);

typedef struct __attribute__((packed)) SmbiosProcessor {
    SmbiosHeader header;
    uint8_t socket, type, family, manufacturer;
    uint64_t id;
    uint8_t version, voltage;
    uint16_t clock, max_speed, speed;
    uint8_t status, upgrade;
    uint16_t cache[3];
    uint8_t serial, asset, part, cores, cores_enabled, threads;
    uint16_t characteristics, family2, cores2, cores_enabled2, threads2;
} SmbiosProcessor;
G_STATIC_ASSERT(sizeof(SmbiosProcessor) == 0x30);

enum { PROCESSOR_CENTRAL = 3, PROCESSOR_ENABLED = 0x41, PROCESSOR_UNKNOWN = 1 << 1 };

typedef struct __attribute__((packed)) SmbiosMemoryArray {
    SmbiosHeader header;
    uint8_t location, use, correction;
    uint32_t capacity; /* KiB, or the top bit: see .capacity_bytes */
    uint16_t error_handle, devices;
    uint64_t capacity_bytes;
} SmbiosMemoryArray;
G_STATIC_ASSERT(sizeof(SmbiosMemoryArray) == 0x17);

enum { ARRAY_SYSTEM_MEMORY = 3 };

typedef struct __attribute__((packed)) SmbiosMemoryDevice {
    SmbiosHeader header;
    uint16_t array, error_handle, total_width, data_width, size; /* MiB, or 0x7fff: .size_mib */
    uint8_t form, set, locator, bank, type;
    uint16_t detail, speed;
    uint8_t manufacturer, serial, asset, part, attributes;
    uint32_t size_mib;
    uint16_t configured_speed, voltage[3];
} SmbiosMemoryDevice;
G_STATIC_ASSERT(sizeof(SmbiosMemoryDevice) == 0x28);

enum { MEMORY_DIMM = 9, MEMORY_RAM = 7, MEMORY_DETAIL_OTHER = 1 << 1 };

typedef struct __attribute__((packed)) SmbiosMappedAddress {
    SmbiosHeader header;
    uint32_t start, last; /* KiB, or all ones: see the bytes */
    uint16_t array;
    uint8_t partition_width;
    uint64_t start_bytes, last_bytes;
} SmbiosMappedAddress;
G_STATIC_ASSERT(sizeof(SmbiosMappedAddress) == 0x1f);

typedef struct __attribute__((packed)) SmbiosBootInformation {
    SmbiosHeader header;
    uint8_t reserved[6], status;
} SmbiosBootInformation;
G_STATIC_ASSERT(sizeof(SmbiosBootInformation) == 0x0b);

typedef struct __attribute__((packed)) SmbiosEntry {
    char anchor[5];
    uint8_t checksum, length, major, minor, revision, entry_revision, reserved;
    uint32_t max_size;
    uint64_t table;
} SmbiosEntry;
G_STATIC_ASSERT(sizeof(SmbiosEntry) == SMBIOS_ENTRY_SIZE);

typedef struct Table {
    GByteArray *out;
    uint16_t next; /* handle */
} Table;

#define HEADER(number, structure)                      \
    {                                                  \
        .type = (number), .length = sizeof(structure), \
    }

/* Appends the structure with its strings; returns its handle. */
static uint16_t put(Table *t, void *structure, const char *const *strings)
{
    SmbiosHeader *h = structure;

    h->handle = t->next++;
    g_byte_array_append(t->out, structure, h->length);
    for (size_t i = 0; strings && strings[i]; i++) {
        g_byte_array_append(t->out, (const guint8 *)strings[i], (guint)strlen(strings[i]) + 1);
    }
    g_byte_array_append(t->out, (const guint8[]) { 0, 0 }, strings ? 1 : 2);
    return h->handle;
}

#define STRINGS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/*
 * The date is the one that QEMU's guests see.  Linux goes by its year: from 2008 on it believes what
 * ACPI says of PCI, from 2015 on it would put idle PCIe ports to sleep.
 */
static void put_bios(Table *t)
{
    SmbiosBios bios = {
        .header = HEADER(0, bios),
        .vendor = 1,
        .version = 2,
        .segment = 0xf000,
        .date = 3,
        .characteristics = BIOS_NO_CHARACTERISTICS,
        .extension = { 0, BIOS_IS_VIRTUAL_MACHINE },
        .ec_major = 0xff, /* there is no embedded controller */
        .ec_minor = 0xff,
    };

    put(t, &bios, STRINGS("Viaduct", VIADUCT_VERSION, "04/01/2014"));
}

/* Without a UUID it stays 0, which says that there is none. */
static void put_system(Table *t, const MachineConfig *config)
{
    /* RFC 4122's first three fields, 4, 2 and 2 bytes, are little-endian here. */
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    SmbiosSystem system = {
        .header = HEADER(1, system),
        .manufacturer = 1,
        .product = 2,
        .version = 3,
        .wake_up = WAKE_UP_POWER_SWITCH,
    };

    for (size_t i = 0; config->uuid_set && i < sizeof(order); i++) {
        system.uuid[i] = config->uuid[order[i]];
    }
    put(t, &system, STRINGS("Viaduct", "Standard PC (Q35, 2026)", VIADUCT_VERSION));
}

static void put_chassis(Table *t)
{
    SmbiosChassis chassis = {
        .header = HEADER(3, chassis),
        .manufacturer = 1,
        .type = OTHER,
        .boot_state = SAFE,
        .power_state = SAFE,
        .thermal_state = SAFE,
        .security = UNKNOWN,
    };

    put(t, &chassis, STRINGS("Viaduct"));
}

static void put_processor(Table *t, const MachineConfig *config, unsigned index)
{
    unsigned cores = config->smp.dies * config->smp.cores, threads = cores * config->smp.threads;
    g_autofree char *name = g_strdup_printf("CPU %u", index);
    SmbiosProcessor processor = {
        .header = HEADER(4, processor),
        .socket = 1,
        .type = PROCESSOR_CENTRAL,
        .family = UNKNOWN,
        .status = PROCESSOR_ENABLED,
        .upgrade = OTHER,
        .cache = { 0xffff, 0xffff, 0xffff }, /* CPUID tells of them */
        .cores = (uint8_t)MIN(cores, 0xff),  /* 0xff: the larger field has it */
        .cores_enabled = (uint8_t)MIN(cores, 0xff),
        .threads = (uint8_t)MIN(threads, 0xff),
        .characteristics = PROCESSOR_UNKNOWN,
        .family2 = UNKNOWN,
        .cores2 = (uint16_t)cores,
        .cores_enabled2 = (uint16_t)cores,
        .threads2 = (uint16_t)threads,
    };

    put(t, &processor, STRINGS(name));
}

static void put_mapped_address(Table *t, uint16_t array, uint64_t start, uint64_t size)
{
    uint64_t last = start + size - 1;
    bool wide = last / KIB >= UINT32_MAX;
    SmbiosMappedAddress mapped = {
        .header = HEADER(19, mapped),
        .start = wide ? UINT32_MAX : (uint32_t)(start / KIB),
        .last = wide ? UINT32_MAX : (uint32_t)(last / KIB),
        .array = array,
        .partition_width = 1,
        .start_bytes = wide ? start : 0,
        .last_bytes = wide ? last : 0,
    };

    put(t, &mapped, NULL);
}

/* All of RAM is one module. */
static void put_memory(Table *t, const X86Memory *mem)
{
    bool wide = mem->ram_size / KIB >= 0x80000000, large = mem->ram_size / MIB >= 0x7fff;
    SmbiosMemoryArray array = {
        .header = HEADER(16, array),
        .location = OTHER,
        .use = ARRAY_SYSTEM_MEMORY,
        .correction = UNKNOWN,
        .capacity = wide ? 0x80000000 : (uint32_t)(mem->ram_size / KIB),
        .error_handle = NO_ERROR_INFORMATION,
        .devices = 1,
        .capacity_bytes = wide ? mem->ram_size : 0,
    };
    SmbiosMemoryDevice device = {
        .header = HEADER(17, device),
        .array = put(t, &array, NULL),
        .error_handle = NO_ERROR_INFORMATION,
        .total_width = 0xffff, /* unknown */
        .data_width = 0xffff,
        .size = large ? 0x7fff : (uint16_t)(mem->ram_size / MIB),
        .form = MEMORY_DIMM,
        .locator = 1,
        .type = MEMORY_RAM,
        .detail = MEMORY_DETAIL_OTHER,
        .manufacturer = 2,
        .size_mib = large ? (uint32_t)MIN(mem->ram_size / MIB, INT32_MAX) : 0,
    };

    put(t, &device, STRINGS("DIMM 0", "Viaduct"));
    put_mapped_address(t, device.array, 0, mem->below_4g);
    if (mem->above_4g) {
        put_mapped_address(t, device.array, mem->above_4g_base, mem->above_4g);
    }
}

GByteArray *smbios_build(const MachineConfig *config, const X86Memory *mem)
{
    Table t = { .out = g_byte_array_new() };
    SmbiosBootInformation boot = { .header = HEADER(32, boot) }; /* no error */
    SmbiosHeader end = HEADER(127, end);

    put_bios(&t);
    put_system(&t, config);
    put_chassis(&t);
    for (unsigned i = 0; i < config->smp.sockets; i++) {
        put_processor(&t, config, i);
    }
    put_memory(&t, mem);
    put(&t, &boot, NULL);
    put(&t, &end, NULL);
    return t.out;
}

void smbios_build_entry(uint64_t addr, uint32_t len, uint8_t out[SMBIOS_ENTRY_SIZE])
{
    SmbiosEntry entry = {
        .anchor = { '_', 'S', 'M', '3', '_' },
        .length = sizeof(entry),
        .major = VERSION_MAJOR,
        .minor = VERSION_MINOR,
        .entry_revision = 1,
        .max_size = len,
        .table = addr,
    };

    entry.checksum = x86_checksum(&entry, sizeof(entry));
    memcpy(out, &entry, sizeof(entry));
}
