/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's option strings, "vfio-pci,host=0000:02:00.0,id=a" and their JSON form
 * '{"driver":"vfio-pci",…}', as one JsonObject.  In the string form every value is a JSON string;
 * who sets the property converts it by the property's type.
 */
#ifndef VIADUCT_UTIL_KEYVAL_H
#define VIADUCT_UTIL_KEYVAL_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * JSON of any kind; the error begins with "JSON parse error".  A string with a NUL in it would end
 * there, silently, and an integer beyond 64 bits with a sign would become another: both are refused.
 */
JsonNode *json_parse(const char *text, GError **errp);

/*
 * @implied: the key of a first value without one ("driver" for -device), or NULL.  ",," stands for
 * a comma.  "flag" alone means flag=on.  A key given twice: the last one counts, as in QEMU.
 * "help" or "?" alone: *@help becomes true (an error when @help is NULL).
 * Returns a new reference, or NULL and the error.
 */
JsonObject *keyval_parse(const char *params, const char *implied, bool *help, GError **errp);

/* A scalar as text ("true", "3", the string), or NULL when @node is none.  g_free it. */
char *keyval_text(JsonNode *node);

/* on, yes, true, y or off, no, false, n; @name is what the message calls it. */
bool bool_parse(const char *name, const char *text, bool *value, GError **errp);

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"; the bytes in the order in which they are written. */
bool uuid_parse(const char *text, uint8_t uuid[16]);

/* A decimal or 0x number with an optional suffix b,k,M,G,T,P,E; @unit multiplies a bare number. */
bool size_parse(const char *text, uint64_t unit, uint64_t *bytes, GError **errp);

/*
 * Typed access to such an object.  A missing key leaves *@value as it is and is no error;
 * a value of another type is an error that names the key.
 */
bool keyval_get_bool(JsonObject *o, const char *key, bool *value, GError **errp);
bool keyval_get_uint(JsonObject *o, const char *key, uint64_t *value, GError **errp);
bool keyval_get_size(JsonObject *o, const char *key, uint64_t unit, uint64_t *value, GError **errp);
/* The string stays the object's. */
bool keyval_get_str(JsonObject *o, const char *key, const char **value, GError **errp);
/* Refuses any key that is not in the NULL-ended list: "Invalid parameter 'x'". */
bool keyval_check_keys(JsonObject *o, const char *const *known, GError **errp);

#endif
