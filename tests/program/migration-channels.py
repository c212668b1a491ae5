#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""migration-channels.py PROGRAM: what the channels of a migration can be told: TLS, direct-io, a
descriptor; and parameters that must not change under it."""

import array
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

from vm import VM

program = sys.argv[1]
folder = tempfile.TemporaryDirectory(prefix="viaduct-migration-")
# LLVM 14's leak checker mistakes the thread-local variables of a library that was loaded late.
os.environ["ASAN_OPTIONS"] = f"{os.environ.get('ASAN_OPTIONS', '')}:intercept_tls_get_addr=0"

CERTIFICATES = """
set -e; cd "$0"
leaf() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1-key.pem \\
        -out $1.csr -subj /CN=$1
    printf 'subjectAltName=DNS:%s.example\\nextendedKeyUsage=%sAuth\\n' $1 $1 >$1.ext
    openssl x509 -req -in $1.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial \\
        -out $1-cert.pem -days 2 -extfile $1.ext
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca-key.pem \\
    -out ca-cert.pem -subj /CN=authority -days 2
leaf server; leaf client
"""


def expect(what, got, wanted):
    assert got == wanted, f"{what}: {got!r}, not {wanted!r}"


def path(name):
    return os.path.join(folder.name, name)


def start(*args):
    vm = VM(program, (), [str(arg) for arg in args])
    vm.greet()
    return vm


def wait_status(vm, *wanted):
    for _ in range(3000):
        info = vm.ask("query-migrate")
        if info.get("status") in wanted:
            return info
        time.sleep(0.01)
    raise AssertionError(f"status {info}")


def refused(vm, wanted, command, **arguments):
    answer = vm.command(command, **arguments)
    assert wanted in answer.get("error", {}).get("desc", ""), answer


def migrate(source, uri, status="completed"):
    source.ask("migrate", uri=uri)
    info = wait_status(source, "completed", "failed")
    expect("migrate", info["status"], status)
    return info


def arrived(source, destination):
    wait_status(destination, "completed")
    expect("destination", destination.ask("query-status")["status"], "running")
    expect("memory", destination.read(0x5000), 0xC0FFEE)
    for vm in source, destination:
        expect("end", vm.quit(), (0, ""))


def creds(endpoint):
    return f"tls-creds-x509,id=tls,dir={folder.name},endpoint={endpoint}"


def tls_pair(*more):
    source = start("-object", creds("client"))
    destination = start("-object", creds("server"), "-incoming", "defer")
    source.write(0x5000, 0xC0FFEE)
    source.ask("migrate-set-parameters", **{"tls-creds": "tls", "tls-hostname": "server.example"})
    destination.ask("migrate-set-parameters", **{"tls-creds": "tls"})
    return source, destination


def test_tls():
    for multifd in False, True:
        source, destination = tls_pair()
        for vm in source, destination:
            vm.ask("migrate-set-capabilities",
                   capabilities=[{"capability": "multifd", "state": multifd}])
        uri = f"unix:{path('tls')}"
        destination.ask("migrate-incoming", uri=uri)
        migrate(source, uri)
        arrived(source, destination)


def test_credentials_in_use():
    """They stay while a channel may still come that needs them, on either side, and may go then."""
    source, destination = tls_pair()
    uri = f"unix:{path('in-use')}"
    destination.ask("migrate-incoming", uri=uri)
    source.ask("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.ask("migrate", uri=uri)
    wait_status(source, "pre-switchover")
    for vm in source, destination:
        refused(vm, "object 'tls' is in use, can not be deleted", "object-del", id="tls")
    source.ask("migrate-continue", state="pre-switchover")
    wait_status(source, "completed")
    wait_status(destination, "completed")
    for vm in source, destination:
        vm.ask("object-del", id="tls")
    arrived(source, destination)


def test_tls_other_host():
    source, destination = tls_pair()
    source.ask("migrate-set-parameters", **{"tls-hostname": "elsewhere.example"})
    destination.ask("migrate-incoming", **{"uri": f"unix:{path('other')}", "exit-on-error": False})
    info = migrate(source, f"unix:{path('other')}", "failed")
    print(info["error-desc"])
    assert "it is not for this host" in info["error-desc"], info
    expect("source", source.ask("query-status")["status"], "running")
    for vm in source, destination:
        vm.quit()


def test_direct_io():
    for offset in 0, 8192:
        uri = f"file:{path('direct')},offset={offset}"
        source = start()
        source.write(0x5000, 0xC0FFEE)
        source.ask("migrate-set-parameters", **{"direct-io": True})
        migrate(source, uri)
        arrived(source, start("-incoming", uri))


def give(vm, sock, name):
    """getfd"""
    request = json.dumps({"execute": "getfd", "arguments": {"fdname": name}, "id": name})
    rights = array.array("i", [sock.fileno()])
    vm.qmp.sock.sendmsg([request.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    while vm.message().get("id") != name:
        pass
    sock.close()


def test_fd():
    source, destination = start(), start("-incoming", "defer")
    source.write(0x5000, 0xC0FFEE)
    for vm, sock in zip((source, destination), socket.socketpair()):
        give(vm, sock, "way")
    refused(source, "File descriptor named 'other' not found", "migrate", uri="fd:other")
    destination.ask("migrate-incoming", uri="fd:way")
    migrate(source, "fd:way")
    refused(source, "not found", "closefd", fdname="way")
    arrived(source, destination)


def test_refused():
    """What a migration goes by and the machine stay as they are meanwhile; limits may change."""
    source, destination = start(), start("-incoming", f"unix:{path('refused')}")
    source.write(0x5000, 0xC0FFEE)
    source.ask("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.ask("migrate", uri=f"unix:{path('refused')}")
    wait_status(source, "pre-switchover")
    refused(source, "parameter 'tls-creds' cannot be set while a migration runs",
            "migrate-set-parameters", **{"tls-creds": "tls"})
    refused(source, "There's a migration process in progress", "migrate-set-capabilities",
            capabilities=[{"capability": "multifd", "state": True}])
    wait_status(destination, "active")
    for vm in source, destination:
        refused(vm, "device_add not allowed while migrating", "device_add",
                driver="pcie-root-port", id="late")
        refused(vm, "device_del not allowed while migrating", "device_del", id="late")
        refused(vm, "object 'pc.ram' is in use", "object-del", id="pc.ram")
    source.ask("migrate-set-parameters", **{"downtime-limit": 77, "max-bandwidth": 0})
    expect("limit", source.ask("query-migrate-parameters")["downtime-limit"], 77)
    source.ask("migrate-continue", state="pre-switchover")
    wait_status(source, "completed")
    arrived(source, destination)


def main():
    subprocess.run(["bash", "-c", CERTIFICATES, folder.name], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, fn in sorted(globals().items()):
        if name.startswith("test_"):
            fn()
            print("ok", name, flush=True)


main()
