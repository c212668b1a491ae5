/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Properties as QMP describes them. */
#ifndef VIADUCT_MONITOR_PROPERTY_H
#define VIADUCT_MONITOR_PROPERTY_H

#include "core/object.h"

/* "uint32", "link<iommufd>"; g_free it. */
char *property_type_name(const Property *prop);
/* [{"name","type","description","default-value"}] of all that the type has. */
JsonArray *list_type_properties(GType type);

#endif
