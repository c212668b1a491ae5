#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""reboot.py PROGRAM: mode=cpr-reboot and x-ignore-shared. A VM is saved and goes on in another
process, its memory staying in its file; a file that is another one, or has other contents, is
refused."""

import os
import shutil
import socket
import struct
import sys
import tempfile

from scenario import IOMMUFD, ROOT_PORT, card
from vm import VM

program = sys.argv[1]
folder = tempfile.TemporaryDirectory(prefix="viaduct-reboot-")
PAGES = [0, 1, 300, 700, 4095]
MIB = 1 << 20
HEADER = struct.Struct("<IHHIIQ")  # of a record: magic, type, section, length, zero, sum
RAM = 3


def expect(what, got, wanted):
    assert got == wanted, f"{what}: {got!r}, not {wanted!r}"


def path(name):
    return os.path.join(folder.name, name)


def memory(name, size=16, share="on"):
    return ["-m", str(size), "-machine", "q35,memory-backend=m", "-object",
            f"memory-backend-file,id=m,size={size}M,mem-path={path(name)},share={share}"]


def start(*args):
    vm = VM(program, (), [*ROOT_PORT, *args])
    vm.greet()
    return vm


def finish(vm):
    expect("end", vm.quit(), (0, ""))


def wait_status(vm, *wanted):
    while True:
        info = vm.ask("query-migrate")
        if info.get("status") in wanted:
            return info


def status(vm):
    return vm.ask("query-status")["status"]


def states(vm):
    """What the user heard of the VM's stopping and running."""
    said = [e["event"] for e in vm.events if e["event"] in ("STOP", "RESUME")]
    vm.events.clear()
    return said


def set_up(vm, mode="cpr-reboot", ignore=True):
    vm.ask("migrate-set-capabilities",
           capabilities=[{"capability": "x-ignore-shared", "state": ignore}])
    vm.ask("migrate-set-parameters", mode=mode)


def fill(vm):
    vm.guest(f"memset {2 * MIB} {4 * MIB} 0xa5")
    for n, page in enumerate(PAGES):
        vm.write(page * 4096 + 8 * n, 0xC0FFEE00 + n)
    vm.guest("outl 0xcf8 0x80001234")


def check(vm):
    for n, page in enumerate(PAGES):
        expect(f"page {page}", vm.read(page * 4096 + 8 * n), 0xC0FFEE00 + n)
    expect("page 800", vm.read(800 * 4096 + 40), 0xA5A5A5A5)
    expect("0xcf8", vm.guest("inl 0xcf8"), "0x80001234")


def save(vm, uri, *wanted):
    vm.ask("migrate", uri=uri)
    info = wait_status(vm, "completed", "failed")
    expect("migrate", info["status"], *wanted or ["completed"])
    return info


def restored(uri, *args, state="running"):
    vm = start(*args, "-incoming", uri)
    expect("migrate", wait_status(vm, "completed", "failed")["status"], "completed")
    expect("state", status(vm), state)
    expect("mode", vm.ask("query-migrate-parameters")["mode"], "normal")
    check(vm)
    return vm


def test_memory_stays():
    vm = start(*memory("stays"))
    fill(vm)
    for n in range(3):
        uri = f"file:{path(f'states{n}')}"
        set_up(vm)
        expect("blocked", vm.ask("query-migrate").get("blocked-reasons", []), [])
        states(vm)
        info = save(vm, uri)
        expect("stopped", states(vm), ["STOP"])
        expect("state", status(vm), "postmigrate")
        ram, size = info["ram"], os.stat(uri[5:]).st_size
        expect("RAM", [ram[key] for key in ("normal", "duplicate", "total", "remaining",
                                            "dirty-sync-count")], [0] * 5)
        print("stream", size, "bytes, of a VM of", 16 * MIB)
        assert size < 64 << 10, size
        finish(vm)
        vm = restored(uri, *memory("stays"))
        # It is the same file still.
        vm.write(900 * 4096, 0xFEED0000 + n)
        with open(path("stays"), "rb") as file:
            file.seek(900 * 4096)
            expect("file", int.from_bytes(file.read(4), "little"), 0xFEED0000 + n)
    # One that stood still does so afterwards.
    vm.ask("stop")
    set_up(vm)
    save(vm, f"file:{path('paused')}")
    finish(vm)
    vm = restored(f"file:{path('paused')}", *memory("stays"), state="paused")
    finish(vm)


def test_memory_goes():
    """Whatever no file keeps is in the stream."""
    for args, ignore in [([], True), (memory("private", share="off"), True),
                         (memory("copied"), False)]:
        vm = start(*args)
        fill(vm)
        set_up(vm, ignore=ignore)
        info = save(vm, f"file:{path('all')}")
        size = os.stat(path("all")).st_size
        print("stream", size, "bytes:", *args[-1:])
        assert size > 4 * MIB and info["ram"]["normal"] >= 1024, info
        finish(vm)
        if "copied" in str(args):
            os.unlink(path("copied"))
        finish(restored(f"file:{path('all')}", *args))

    # Nor does a file keep it that nobody can open any more.
    vm = start(*memory("removed"))
    fill(vm)
    os.unlink(path("removed"))
    set_up(vm)
    assert save(vm, f"file:{path('all')}")["ram"]["normal"] >= 1024
    finish(vm)
    finish(vm)
    finish(restored(f"file:{path('all')}", *memory("removed")))


def refused(why, *args):
    vm = VM(program, (), [*ROOT_PORT, *args, "-incoming", f"file:{path('misfit')}"])
    code, text = vm.end()
    expect("exit status", code, 1)
    assert why in text and text.count("\n") == 1, text
    print(text, end="")


def test_misfits():
    vm = start(*memory("one"))
    fill(vm)
    set_up(vm)
    save(vm, f"file:{path('misfit')}")
    finish(vm)
    shutil.copy(path("one"), path("two"))
    shutil.copy(path("one"), path("kept"))
    other = f"in the file {path('one')}"
    refused(other, *memory("two"))
    refused(other, *memory("one", share="off"))
    refused(other)
    os.truncate(path("one"), 32 * MIB)
    refused("of 33554432 bytes", *memory("one", size=32))
    os.truncate(path("one"), 8 * MIB)
    refused("has 0x800000 bytes, fewer than size", *memory("one"))

    differs = "is not what the source left in its files"
    os.unlink(path("one"))
    refused(differs, *memory("one"))  # an empty one is made
    shutil.copy(path("kept"), path("one"))
    with open(path("one"), "r+b") as file:
        file.seek(1000)
        file.write(b"!")
    refused(differs, *memory("one"))
    shutil.copy(path("kept"), path("one"))
    finish(restored(f"file:{path('misfit')}", *memory("one")))


def records(name):
    """(type, all of it) of each record of a stream."""
    with open(path(name), "rb") as file:
        while head := file.read(HEADER.size):
            fields = HEADER.unpack(head)
            yield fields[1], head + file.read(fields[3])


def test_spliced():
    """A stream that keeps memory in its file and sends it all the same."""
    for name, ignore in ("kept", True), ("misfit", False):
        vm = start(*memory("spliced"))
        fill(vm)
        set_up(vm, ignore=ignore)
        save(vm, f"file:{path(name)}")
        finish(vm)
    pages = [data for kind, data in records("misfit") if kind == RAM]
    kept = [data for _, data in records("kept")]
    with open(path("misfit"), "wb") as file:
        file.write(b"".join([*kept[:2], pages[0], *kept[2:]]))
    refused("a record of RAM block 'm', which stays in its file", *memory("spliced"))


def test_failure():
    """The VM runs on where it was."""
    vm = start(*memory("fails"))
    fill(vm)
    set_up(vm, ignore=False)
    for uri in "file:/nonexistent/x", "file:/dev/full":
        states(vm)
        print(save(vm, uri, "failed")["error-desc"])
        expect(uri, (status(vm), states(vm)), ("running", []))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path("deaf"))
        server.listen(1)
        vm.ask("migrate", uri=f"unix:{path('deaf')}")
        vm.wait_event("STOP")
        for command in "cont", "device_add":
            assert "error" in vm.command(command, **{"driver": "edu"} if "_" in command else {})
        vm.ask("migrate_cancel")
        wait_status(vm, "cancelled")
        vm.wait_event("RESUME")
        states(vm)
        vm.ask("migrate", uri=f"unix:{path('deaf')}")
        for _ in range(2):  # of which the first was cancelled
            taker = server.accept()[0]
        vm.wait_event("STOP")
        taker.close()
        print(wait_status(vm, "failed")["error-desc"])
        vm.wait_event("RESUME")
    check(vm)
    set_up(vm)
    save(vm, f"file:{path('fails.states')}")
    finish(vm)
    finish(restored(f"file:{path('fails.states')}", *memory("fails")))


def test_live():
    """In mode=normal, too: here the destination has the file at the same time."""
    vm = start(*memory("live"))
    fill(vm)
    set_up(vm, "normal")
    new = start(*memory("live"), "-incoming", f"unix:{path('live.sock')}")
    info = save(vm, f"unix:{path('live.sock')}")
    expect("RAM", info["ram"]["normal"] + info["ram"]["duplicate"], 0)
    wait_status(new, "completed")
    check(new)
    finish(vm)
    finish(new)


def test_blocked():
    """A device whose state cannot be had."""
    vm = VM(program, (("nvme", 7, 0),), [*IOMMUFD, *card("d", 7, ",addr=3.0"), *memory("blocked")])
    vm.greet()
    set_up(vm)
    reasons = vm.ask("query-migrate")["blocked-reasons"]
    print(*reasons, sep="\n")
    assert len(reasons) == 1 and "run state suspended" in reasons[0], reasons
    answer = vm.command("migrate", uri=f"file:{path('never')}")
    expect("migrate", answer["error"]["desc"], reasons[0])
    expect("state", (status(vm), states(vm)), ("running", []))
    assert not os.path.exists(path("never"))
    set_up(vm, "normal")
    reasons = vm.ask("query-migrate")["blocked-reasons"]
    assert len(reasons) == 1 and "suspended" not in reasons[0], reasons
    finish(vm)


for name, test in list(globals().items()):
    if name.startswith("test_"):
        print(name, flush=True)
        test()
