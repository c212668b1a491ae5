/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of channels share: bytes that go there and back, and nothing that stays open. */
#ifndef VIADUCT_TESTS_CHANNEL_FIXTURE_H
#define VIADUCT_TESTS_CHANNEL_FIXTURE_H

#include <stdint.h>

#include "migration/channel.h"

#define MUCH ((size_t)5 << 20)

/* Of this run's files. */
extern char *channel_folder;
char *path_of(const char *name);

/* Runs the program's tests in a folder of its own, after @prepare, which may be NULL. */
int channel_test_run(void (*prepare)(void));

/* How many descriptors are open, once that number stands still. */
guint descriptors(void);
void assert_descriptors(guint wanted);

/* @len bytes that are always the same. */
uint8_t *pattern(size_t len, unsigned seed);
MigrationAddress *parse(const char *uri);
/* Single quotes stand for double ones. */
MigrationAddress *parse_json(const char *json, GError **errp);
/* Where a TCP listener can be reached. */
char *uri_of(MigrationListener *l);

/* In pieces of all sizes. */
void write_pieces(MigrationChannel *ch, const uint8_t *data, size_t len);
void read_pieces(MigrationChannel *ch, const uint8_t *data, size_t len);
void assert_end(MigrationChannel *ch);
/* Connects to @to, sends MUCH, hears an answer if @answer, finishes. */
void be_source(const MigrationAddress *to, bool answer);
/* That, from a thread, to this one at @l. */
void there_and_back(MigrationListener *l, const MigrationAddress *to, bool answer);

#endif
