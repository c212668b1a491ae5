/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory backends: what is behind them, and what they refuse. */
#include "backends/hostmem.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/tls-creds.h"
#include "util/keyval.h"

#define MiB (1ULL << 20)

static char *dir;

/* NULL and the message that it is refused with. */
static HostMemoryBackend *add(const char *opts, char **why)
{
    g_autoptr(JsonObject) o = keyval_parse(opts, "qom-type", NULL, NULL);
    g_autoptr(GError) err = NULL;

    *why = user_object_add(o, &err) ? NULL : g_strdup(err->message);
    return *why ? NULL : HOST_MEMORY_BACKEND(object_resolve("m"));
}

static HostMemoryBackend *must(const char *opts)
{
    g_autofree char *why = NULL;
    HostMemoryBackend *be = add(opts, &why);

    g_assert_cmpstr(why, ==, NULL);
    return be;
}

static void refused(const char *opts, const char *message)
{
    g_autofree char *why = NULL;

    g_assert_null(add(opts, &why));
    g_assert_cmpstr(why, ==, message);
    g_assert_null(object_resolve("m"));
}

static void del(void)
{
    g_assert_true(user_object_del("m", NULL));
}

static void test_refused(void)
{
    refused("memory-backend-ram,id=m", "memory backend 'm': property 'size' is missing or zero");
    refused("memory-backend-ram,id=m,size=1000",
            "memory backend 'm': size 0x3e8 is not a multiple of the page size 0x1000");
    refused("memory-backend-ram,id=m,size=1M,host-nodes=0",
            "memory backend 'm': NUMA placement (host-nodes) is not supported");
    refused("memory-backend-ram,id=m,size=1M,policy=bind",
            "memory backend 'm': NUMA placement (policy) is not supported");
    refused("memory-backend-memfd,id=m,size=1M,hugetlbsize=2M",
            "memory backend 'm': hugetlbsize needs hugetlb=on");
    refused("memory-backend-memfd,id=m,size=3M,hugetlb=on,hugetlbsize=3M",
            "memory backend 'm': hugetlbsize is not a power of two");
    refused("memory-backend-file,id=m,size=1M",
            "memory backend 'm': property 'mem-path' is missing");
    refused("memory-backend-file,id=m,size=1M,mem-path=/nonexistent/x",
            "memory backend 'm': cannot open '/nonexistent/x': No such file or directory");
    refused("memory-backend-file,id=m,size=1M,mem-path=/dev/null",
            "cannot set up guest memory 'm': No such device");
}

/* Whatever this host has of them; of pages of that size it has none. */
static void test_huge_pages(void)
{
    g_autofree char *why = NULL;

    g_assert_null(add("memory-backend-memfd,id=m,size=1M,hugetlb=on,hugetlbsize=2M", &why));
    g_test_message("%s", why);
    g_assert_nonnull(strstr(why, "'m'"));
    g_clear_pointer(&why, g_free);
    g_assert_null(add("memory-backend-memfd,id=m,size=8K,hugetlb=on,hugetlbsize=8K", &why));
    g_test_message("%s", why);
    g_assert_nonnull(strstr(why, "'m'"));
}

/* The VmFlags of the mapping at @host. */
static char *flags_at(const void *host)
{
    g_autofree char *maps = NULL, *start = g_strdup_printf("\n%lx-", (unsigned long)host);
    const char *at;

    g_assert_true(g_file_get_contents("/proc/self/smaps", &maps, NULL, NULL));
    at = strstr(maps, start);
    g_assert_nonnull(at);
    at = strstr(at, "VmFlags:");
    g_assert_nonnull(at);
    return g_strndup(at, strcspn(at, "\n"));
}

static void test_memfd(void)
{
    HostMemoryBackend *be = must("memory-backend-memfd,id=m,size=1M,policy=default");
    g_autofree char *flags = flags_at(be->block.host), *undumped = NULL;
    g_autoptr(GError) err = NULL;

    g_assert_cmphex(fcntl(be->block.fd, F_GET_SEALS), ==,
                    F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    g_assert_true(be->block.shared);
    g_assert_null(strstr(flags, " dd"));
    be->used = true;
    g_assert_false(user_object_del("m", &err));
    g_assert_cmpstr(err->message, ==, "object 'm' is in use, can not be deleted");
    be->used = false;
    del();

    be = must("memory-backend-memfd,id=m,size=1M,seal=off,dump=off,share=off,prealloc=on");
    g_assert_cmphex(fcntl(be->block.fd, F_GET_SEALS), ==, F_SEAL_SEAL);
    g_assert_false(be->block.shared);
    undumped = flags_at(be->block.host);
    g_assert_nonnull(strstr(undumped, " dd"));
    del();
}

static void test_file(void)
{
    g_autofree char *path = g_build_filename(dir, "ram", NULL);
    g_autofree char *opts =
        g_strdup_printf("memory-backend-file,id=m,size=1M,share=on,mem-path=%s", path);
    g_autofree char *larger = g_strdup_printf("memory-backend-file,id=m,size=2M,mem-path=%s", path);
    g_autofree char *unnamed = g_strdup_printf("memory-backend-file,id=m,size=1M,mem-path=%s", dir);
    g_autofree char *why =
        g_strdup_printf("memory backend 'm': '%s' has 0x100000 bytes, fewer than size", path);
    HostMemoryBackend *be = must(opts); /* made, and as large as it must be */
    char byte;

    ((char *)be->block.host)[MiB - 1] = 'x';
    g_assert_cmpint(pread(be->block.fd, &byte, 1, MiB - 1), ==, 1);
    g_assert_cmpint(byte, ==, 'x');
    del();
    be = must(opts); /* again, with what is in it */
    g_assert_cmpint(((char *)be->block.host)[MiB - 1], ==, 'x');
    del();
    refused(larger, why);
    g_unlink(path);

    be = must(unnamed);
    g_assert_false(be->block.shared);
    g_assert_cmpint(g_rmdir(dir), ==, 0); /* nothing is in it */
    del();
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
}

/* ---- credentials, where the file is what is wrong ---- */

static void test_credentials(void)
{
    g_autofree char *ca = g_build_filename(dir, "ca-cert.pem", NULL);
    g_autofree char *opts = g_strdup_printf("tls-creds-x509,id=t,dir=%s", dir);
    g_autofree char *why = NULL, *missing = g_strdup_printf("Unable to access credentials %s", ca);
    g_autofree char *prefix = g_strdup_printf("t: %s: ", ca);
    g_autoptr(GError) err = NULL;

    g_assert_null(add("tls-creds-x509,id=t", &why));
    if (strstr(why, "glib-networking")) {
        g_test_skip("GIO has no TLS here");
        return;
    }
    g_assert_cmpstr(why, ==, "t: Missing 'dir' property value");
    g_clear_pointer(&why, g_free);
    g_assert_null(add(opts, &why));
    g_assert_true(g_str_has_prefix(why, missing));
    g_clear_pointer(&why, g_free);
    g_assert_true(g_file_set_contents(ca, "no certificate", -1, NULL));
    g_assert_null(add(opts, &why));
    g_assert_true(g_str_has_prefix(why, prefix));
    g_unlink(ca);

    must("memory-backend-ram,id=m,size=1M");
    g_assert_null(tls_creds_connection("m", NULL, true, NULL, &err));
    g_assert_cmpstr(err->message, ==, "Object with id 'm' is not TLS credentials");
    del();
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("hostmem-XXXXXX", NULL);
    g_test_add_func("/hostmem/refused", test_refused);
    g_test_add_func("/hostmem/huge-pages", test_huge_pages);
    g_test_add_func("/hostmem/memfd", test_memfd);
    g_test_add_func("/hostmem/file", test_file);
    g_test_add_func("/tls-creds/files", test_credentials);
    status = g_test_run();
    rmdir(dir);
    g_free(dir);
    return status;
}
