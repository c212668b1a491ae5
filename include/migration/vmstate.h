/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a part of the machine is, for another process to become it: a table of its fields, from which
 * one piece of code saves, measures, checks and loads.
 *
 * All states together are one self-describing buffer.  A section is one registered state: id,
 * instance, version, the fields one after the other, each with its name and size, and a checksum.
 * vmstate_load_all() checks everything (that the sections are just those registered here, their
 * versions, every field's name and size, booleans, checksums) before it changes anything; what it
 * refuses, it names.
 *
 * Machine lock held throughout, the vCPUs standing still.
 */
#ifndef VIADUCT_MIGRATION_VMSTATE_H
#define VIADUCT_MIGRATION_VMSTATE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    VMS_END,
    VMS_UINT,    /* little-endian numbers of @size bytes: 1, 2, 4, 8 */
    VMS_BOOL,    /* bytes that are 0 or 1 */
    VMS_BYTES,   /* as they are */
    VMS_POINTER, /* the field is a pointer to bytes; their number is the uint32_t at @count_at */
    VMS_BLOB,    /* the field is a GByteArray *, whose length may be any; loading fills it */
    VMS_STRUCT,  /* structs of @size bytes, whose fields are @fields */
} VMStateKind;

typedef struct VMStateField {
    const char *name;
    VMStateKind kind;
    size_t offset, size;
    unsigned count;
    size_t count_at;
    const struct VMStateField *fields;
    uint64_t max; /* of a number, or bytes of a blob; 0: any */
} VMStateField;

#define VMS_FIELD(type, field, k, ...)                                          \
    {                                                                           \
        .name = #field, .kind = k, .offset = offsetof(type, field), __VA_ARGS__ \
    }
#define VMS_SIZEOF(type, field) sizeof(((type *)NULL)->field)
/* One unsigned or signed integer or enum; an array of them. */
#define VMSTATE_UINT(type, field) \
    VMS_FIELD(type, field, VMS_UINT, .size = VMS_SIZEOF(type, field), .count = 1)
#define VMSTATE_UINT_ARRAY(type, field)                                  \
    VMS_FIELD(type, field, VMS_UINT, .size = VMS_SIZEOF(type, field[0]), \
              .count = VMS_SIZEOF(type, field) / VMS_SIZEOF(type, field[0]))
#define VMSTATE_BOOL(type, field) VMS_FIELD(type, field, VMS_BOOL, .size = 1, .count = 1)
/* A number that indexes something or is a length: the stream may not have more than @most. */
#define VMSTATE_UINT_MAX(type, field, most) \
    VMS_FIELD(type, field, VMS_UINT, .size = VMS_SIZEOF(type, field), .count = 1, .max = most)
/* An array or a struct of the kernel's, taken as bytes. */
#define VMSTATE_BYTES(type, field) \
    VMS_FIELD(type, field, VMS_BYTES, .size = 1, .count = VMS_SIZEOF(type, field))
#define VMSTATE_POINTER(type, field, number) \
    VMS_FIELD(type, field, VMS_POINTER, .size = 1, .count_at = offsetof(type, number))
#define VMSTATE_BLOB(type, field, most) VMS_FIELD(type, field, VMS_BLOB, .size = 1, .max = most)
#define VMSTATE_STRUCT_ARRAY(type, field, table)                           \
    VMS_FIELD(type, field, VMS_STRUCT, .size = VMS_SIZEOF(type, field[0]), \
              .count = VMS_SIZEOF(type, field) / VMS_SIZEOF(type, field[0]), .fields = table)
#define VMSTATE_STRUCT(type, field, table) \
    VMS_FIELD(type, field, VMS_STRUCT, .size = VMS_SIZEOF(type, field), .count = 1, .fields = table)
#define VMSTATE_END     \
    {                   \
        .kind = VMS_END \
    }

/* States are saved and loaded in this order; those of one priority in order of id and instance. */
typedef enum {
    VMS_PRIORITY_CHIPS, /* interrupt controllers, timers, the clock */
    VMS_PRIORITY_CPU,
    VMS_PRIORITY_BUS, /* bridges and ports, before what is behind them */
    VMS_PRIORITY_DEVICE,
    VMS_PRIORITY_LAST, /* what needs all others */
    VMS_PRIORITY__MAX,
} VMSPriority;

typedef struct VMState {
    const char *name;
    unsigned version; /* what is written, and the only one that is read */
    VMSPriority priority;
    const VMStateField *fields;
    /* Bring the fields up to date before they are saved.  May be NULL. */
    bool (*pre_save)(void *opaque, GError **errp);
    /* Acts on the fields that were loaded; false if they cannot be, or the kernel refuses. */
    bool (*post_load)(void *opaque, GError **errp);
} VMState;

/*
 * @id names the object for both sides ("0000:00:02.0", "serial", "cpu"), @instance tells several
 * apart; both must be the same where the state is loaded.  @opaque is what the fields' offsets
 * count from.
 */
void vmstate_register(const char *id, unsigned instance, const VMState *vms, void *opaque);
void vmstate_unregister(const VMState *vms, void *opaque);

/* Appends all states to @out. */
bool vmstate_save_all(GByteArray *out, GError **errp);
/* Checks; then loads, if @apply.  @data must be all that vmstate_save_all() made. */
bool vmstate_load_all(const uint8_t *data, size_t len, bool apply, GError **errp);
/* Appends "ID/NAME instance N version V" of each: what a peer must have too.  g_free it. */
char *vmstate_describe_all(void);

#endif
