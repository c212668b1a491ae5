/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server of the qtest protocol.  A request is a line of words; the answer begins with OK, with
 * FAIL for what cannot be done, or with ERR for what cannot be understood.  In between come, if
 * they were asked for, lines "IRQ raise N" and "IRQ lower N".
 */
#include "qtest-int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "util/error.h"

#define MAX_DATA (16u << 20)          /* bytes of one access */
#define MAX_LINE (2 * MAX_DATA + 128) /* as hexadecimal digits */

static struct {
    Chardev *chr;
    FILE *log;
    bool intercepting;
    GString *line;
    bool too_long; /* the rest of the line is dropped */
} server;

/* ---- output ---- */

static void say(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static void say(const char *fmt, ...)
{
    g_autoptr(GString) text = g_string_new(NULL);
    va_list ap;

    va_start(ap, fmt);
    g_string_append_vprintf(text, fmt, ap);
    va_end(ap);
    if (server.log) {
        fprintf(server.log, "[S] %s\n", text->str);
    }
    g_string_append_c(text, '\n');
    chardev_write(server.chr, text->str, text->len);
}

void qtest_server_irq(int line, bool level)
{
    if (server.intercepting) {
        say("IRQ %s %d", level ? "raise" : "lower", line);
    }
}

/* ---- arguments ---- */

static bool number(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = g_ascii_strtoull(text, &end, 0);
    return end != text && !*end && !errno && *text != '-';
}

/* The address and how many bytes; answers if there is something wrong with them. */
static bool range(char **words, uint64_t *addr, uint64_t *len)
{
    if (!number(words[1], addr) || !number(words[2], len)) {
        say("ERR %s: an address and a size are wanted", words[0]);
        return false;
    }
    if (!*len || *len > MAX_DATA || *addr + *len < *addr) {
        say("FAIL %s: a size from 1 to %u is wanted, within the address space", words[0], MAX_DATA);
        return false;
    }
    return true;
}

/* Registers take eight bytes at most. */
static void access_memory(uint64_t addr, uint8_t *buf, uint64_t len, bool is_write)
{
    while (len) {
        uint64_t n = MIN(len, 8 - addr % 8);

        address_space_rw(&address_space_memory, addr, buf, n, is_write);
        addr += n;
        buf += n;
        len -= n;
    }
}

/* ---- commands ---- */

typedef struct Command {
    const char *name;
    unsigned args;
    void (*fn)(const struct Command *c, char **words);
    unsigned size; /* of the access */
} Command;

static void port_in(const Command *c, char **words)
{
    uint64_t port;
    uint32_t value = 0;

    if (!number(words[1], &port) || port > 0xffff) {
        say("ERR %s: a port is wanted", c->name);
        return;
    }
    address_space_rw(&address_space_io, port, &value, c->size, false);
    say("OK 0x%04x", GUINT32_FROM_LE(value));
}

static void port_out(const Command *c, char **words)
{
    uint64_t port, wide;
    uint32_t value;

    if (!number(words[1], &port) || port > 0xffff || !number(words[2], &wide)) {
        say("ERR %s: a port and a value are wanted", c->name);
        return;
    }
    value = GUINT32_TO_LE((uint32_t)wide);
    address_space_rw(&address_space_io, port, &value, c->size, true);
    say("OK");
}

static void memory_in(const Command *c, char **words)
{
    uint64_t addr, value = 0;

    if (!number(words[1], &addr)) {
        say("ERR %s: an address is wanted", c->name);
        return;
    }
    address_space_rw(&address_space_memory, addr, &value, c->size, false);
    say("OK 0x%016" G_GINT64_MODIFIER "x", GUINT64_FROM_LE(value));
}

static void memory_out(const Command *c, char **words)
{
    uint64_t addr, value;

    if (!number(words[1], &addr) || !number(words[2], &value)) {
        say("ERR %s: an address and a value are wanted", c->name);
        return;
    }
    value = GUINT64_TO_LE(value);
    address_space_rw(&address_space_memory, addr, &value, c->size, true);
    say("OK");
}

static void read_hex(const Command *c, char **words)
{
    g_autoptr(GString) text = g_string_new("OK 0x");
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, len;

    if (!range(words, &addr, &len)) {
        return;
    }
    buf = g_malloc(len);
    access_memory(addr, buf, len, false);
    for (uint64_t i = 0; i < len; i++) {
        g_string_append_printf(text, "%02x", buf[i]);
    }
    say("%s", text->str);
}

static void write_hex(const Command *c, char **words)
{
    g_autofree uint8_t *buf = NULL;
    const char *digits = words[3] + 2;
    uint64_t addr, len;

    if (!range(words, &addr, &len)) {
        return;
    }
    if (!g_str_has_prefix(words[3], "0x") || strlen(digits) != 2 * len ||
        strspn(digits, "0123456789abcdefABCDEF") != 2 * len) {
        say("ERR %s: the data are wanted as 0x and two digits a byte", c->name);
        return;
    }
    buf = g_malloc(len);
    for (uint64_t i = 0; i < len; i++) {
        buf[i] = (uint8_t)(g_ascii_xdigit_value(digits[2 * i]) << 4 |
                           g_ascii_xdigit_value(digits[2 * i + 1]));
    }
    access_memory(addr, buf, len, true);
    say("OK");
}

static void read_base64(const Command *c, char **words)
{
    g_autofree uint8_t *buf = NULL;
    g_autofree char *text = NULL;
    uint64_t addr, len;

    if (!range(words, &addr, &len)) {
        return;
    }
    buf = g_malloc(len);
    access_memory(addr, buf, len, false);
    text = g_base64_encode(buf, len);
    say("OK %s", text);
}

static void write_base64(const Command *c, char **words)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, len;
    gsize n;

    if (!range(words, &addr, &len)) {
        return;
    }
    buf = g_base64_decode(words[3], &n);
    if (n != len) {
        say("ERR %s: the data are %zu bytes long", c->name, (size_t)n);
        return;
    }
    access_memory(addr, buf, len, true);
    say("OK");
}

static void fill(const Command *c, char **words)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, len, value;

    if (!range(words, &addr, &len)) {
        return;
    }
    if (!number(words[3], &value)) {
        say("ERR %s: a value is wanted", c->name);
        return;
    }
    buf = g_malloc(len);
    memset(buf, (uint8_t)value, len);
    access_memory(addr, buf, len, true);
    say("OK");
}

static void say_endianness(const Command *c, char **words)
{
    say("OK little");
}

/* Answers unless it is one that a test can follow or set. */
static bool is_irqchip(const Command *c, const char *name)
{
    if (!qtest_irq_present()) {
        say("FAIL %s: the accelerator is not qtest", c->name);
        return false;
    }
    if (!g_str_equal(name, "ioapic")) {
        say("FAIL %s: there is no interrupt controller '%s', only ioapic", c->name, name);
        return false;
    }
    return true;
}

static void intercept(const Command *c, char **words)
{
    if (is_irqchip(c, words[1])) {
        server.intercepting = true;
        say("OK");
    }
}

static void set_irq(const Command *c, char **words)
{
    uint64_t line, level;

    if (!is_irqchip(c, words[1])) {
        return;
    }
    if (!g_str_equal(words[2], "unnamed-gpio-in") || !number(words[3], &line) ||
        line >= QTEST_LINES || !number(words[4], &level)) {
        say("ERR %s: unnamed-gpio-in, a line from 0 to %d and a level are wanted", c->name,
            QTEST_LINES - 1);
        return;
    }
    qtest_irq_set((int)line, level);
    say("OK");
}

static void no_clock(const Command *c, char **words)
{
    say("FAIL %s: the clock is the host's", c->name);
}

static void no_outputs(const Command *c, char **words)
{
    say("FAIL %s: only the inputs of ioapic can be intercepted", c->name);
}

static void no_modules(const Command *c, char **words)
{
    say("FAIL %s: there are no modules", c->name);
}

static const Command commands[] = {
    { "inb", 1, port_in, 1 },
    { "inw", 1, port_in, 2 },
    { "inl", 1, port_in, 4 },
    { "outb", 2, port_out, 1 },
    { "outw", 2, port_out, 2 },
    { "outl", 2, port_out, 4 },
    { "readb", 1, memory_in, 1 },
    { "readw", 1, memory_in, 2 },
    { "readl", 1, memory_in, 4 },
    { "readq", 1, memory_in, 8 },
    { "writeb", 2, memory_out, 1 },
    { "writew", 2, memory_out, 2 },
    { "writel", 2, memory_out, 4 },
    { "writeq", 2, memory_out, 8 },
    { "read", 2, read_hex },
    { "write", 3, write_hex },
    { "b64read", 2, read_base64 },
    { "b64write", 3, write_base64 },
    { "memset", 3, fill },
    { "endianness", 0, say_endianness },
    { "irq_intercept_in", 1, intercept },
    { "irq_intercept_out", 1, no_outputs },
    { "set_irq_in", 4, set_irq },
    { "clock_step", 0, no_clock },
    { "clock_set", 0, no_clock },
    { "module_load", 0, no_modules },
};

static void carry_out(const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    unsigned n = g_strv_length(words);

    if (server.log) {
        fprintf(server.log, "[R] %s\n", line);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!words[0] || !g_str_equal(words[0], commands[i].name)) {
            continue;
        }
        if (n - 1 < commands[i].args) {
            say("ERR %s: %u arguments are wanted", words[0], commands[i].args);
            return;
        }
        commands[i].fn(&commands[i], words);
        return;
    }
    say("FAIL Unknown command '%s'", words[0] ?: "");
}

/* ---- the connection ---- */

static size_t can_read(void *opaque)
{
    return 4096;
}

static void take_line(void)
{
    if (server.line->len && server.line->str[server.line->len - 1] == '\r') {
        g_string_truncate(server.line, server.line->len - 1);
    }
    if (server.too_long) {
        say("ERR a line of more than %u characters", MAX_LINE);
    } else {
        carry_out(server.line->str);
    }
    g_string_truncate(server.line, 0);
    server.too_long = false;
}

static void take_bytes(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] == '\n') {
            take_line();
        } else if (server.line->len < MAX_LINE) {
            g_string_append_c(server.line, (char)buf[i]);
        } else {
            server.too_long = true;
        }
    }
}

static void on_event(void *opaque, ChardevEvent event)
{
    server.intercepting = false;
    server.too_long = false;
    g_string_truncate(server.line, 0);
    if (server.log) {
        fprintf(server.log, "[I] %s\n", event == CHARDEV_OPENED ? "OPENED" : "CLOSED");
    }
}

static bool open_log(const char *name, GError **errp)
{
    if (!name) {
        server.log = stderr;
    } else if (!g_str_equal(name, "none")) {
        server.log = fopen(name, "we");
        if (!server.log) {
            return error_set_errno(errp, errno, "cannot open the log '%s'", name);
        }
        setvbuf(server.log, NULL, _IOLBF, 0);
    }
    return true;
}

bool qtest_server_init(Chardev *chr, const char *log, GError **errp)
{
    static const ChardevFrontend frontend = {
        .can_read = can_read,
        .read = take_bytes,
        .event = on_event,
    };

    if (!open_log(log, errp)) {
        return false;
    }
    server.line = g_string_new(NULL);
    server.chr = chr;
    if (!chardev_attach(chr, &frontend, NULL, errp)) {
        server.chr = NULL;
        return false;
    }
    chardev_set_queue_limit(chr, SIZE_MAX);
    return true;
}

void qtest_server_cleanup(void)
{
    server.intercepting = false;
    if (server.chr) {
        chardev_detach(server.chr);
        server.chr = NULL;
    }
    if (server.line) {
        g_string_free(server.line, TRUE);
        server.line = NULL;
    }
    if (server.log && server.log != stderr) {
        fclose(server.log);
    }
    server.log = NULL;
}
