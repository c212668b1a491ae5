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
from vm import VM, expect

program = sys.argv[1]
folder = tempfile.TemporaryDirectory(prefix="viaduct-reboot-")
PAGES = [0, 1, 300, 700, 4095]
MIB = 1 << 20
HEADER = struct.Struct("<IHHIIQ")  # of a record: magic, type, section, length, zero, sum
RAM = 3


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
    info = vm.wait_status("completed", "failed")
    expect("migrate", info["status"], *wanted or ["completed"])
    return info


def restored(uri, *args, state="running"):
    vm = start(*args, "-incoming", uri)
    expect("migrate", vm.wait_status("completed", "failed")["status"], "completed")
    expect("state", vm.run_state(), state)
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
        expect("state", vm.run_state(), "postmigrate")
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
        expect(uri, (vm.run_state(), states(vm)), ("running", []))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path("deaf"))
        server.listen(1)
        vm.ask("migrate", uri=f"unix:{path('deaf')}")
        vm.wait_event("STOP")
        for command in "cont", "device_add":
            assert "error" in vm.command(command, **{"driver": "edu"} if "_" in command else {})
        vm.ask("migrate_cancel")
        vm.wait_status("cancelled")
        vm.wait_event("RESUME")
        states(vm)
        vm.ask("migrate", uri=f"unix:{path('deaf')}")
        for _ in range(2):  # of which the first was cancelled
            taker = server.accept()[0]
        vm.wait_event("STOP")
        taker.close()
        print(vm.wait_status("failed")["error-desc"])
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
    new.wait_status("completed")
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
    expect("state", (vm.run_state(), states(vm)), ("running", []))
    assert not os.path.exists(path("never"))
    set_up(vm, "normal")
    reasons = vm.ask("query-migrate")["blocked-reasons"]
    assert len(reasons) == 1 and "suspended" not in reasons[0], reasons
    finish(vm)


FACS_WAKING_VECTOR = 0xF008C
PM1_STATUS, PM1_CONTROL, SLEEP_S3 = 0x600, 0x604, 0x2400
COMMAND, MASTER = 4, 6


def with_disk(*args):
    vm = VM(program, (("nvme", 7, 0),), [*IOMMUFD, *card("d", 7, ",addr=3.0"), *args])
    vm.greet()
    return vm


def suspend(vm, vector=0x9A000):
    vm.write(FACS_WAKING_VECTOR, vector)
    vm.guest(f"outw {PM1_STATUS + 2:#x} 0x100")
    vm.guest(f"outw {PM1_CONTROL:#x} {SLEEP_S3:#x}")
    vm.wait_event("SUSPEND")
    expect("status", vm.ask("query-status"), {"running": False, "status": "suspended"})


def wake(vm, command="system_wakeup"):
    vm.ask(command)
    vm.wait_event("WAKEUP")
    expect("state", vm.run_state(), "running")
    expect("PM1 status and enable", vm.guest(f"inl {PM1_STATUS:#x}"), "0x8100")
    expect("PM1 control", vm.guest(f"inw {PM1_CONTROL:#x}"), "0x0001")


def test_suspended():
    """A device whose state cannot be had goes without it while the guest sleeps."""
    vm = with_disk(*memory("sleeps"))
    expect("support", vm.ask("query-current-machine"), {"wakeup-suspend-support": True})
    set_up(vm)
    command = vm.config(0, 3, COMMAND)
    for n in range(3):
        fill(vm)
        vm.write(command, MASTER, 2)
        suspend(vm)
        expect("blocked", vm.ask("query-migrate").get("blocked-reasons", []), [])
        if n == 1:
            vm.ask("stop")
            expect("state", vm.run_state(), "paused")
            expect("blocked", vm.ask("query-migrate").get("blocked-reasons", []), [])
        states(vm)
        save(vm, f"file:{path('asleep')}")
        expect("state", vm.run_state(), "postmigrate")
        assert "error" in vm.command("system_wakeup")
        finish(vm)
        vm = with_disk(*memory("sleeps"), "-incoming", f"file:{path('asleep')}")
        expect("migrate", vm.wait_status("completed", "failed")["status"], "completed")
        if n == 1:
            expect("state", vm.run_state(), "paused")
            vm.ask("cont")
        expect("state", vm.run_state(), "suspended")
        wake(vm, "system_powerdown" if n == 2 else "system_wakeup")
        check(vm)
        expect("COMMAND", vm.read(command, 2), 0)
        expect("BAR 0", vm.read(vm.config(0, 3, 0x10)) & ~0xF, 0)
        set_up(vm)
        expect("blocked", len(vm.ask("query-migrate")["blocked-reasons"]), 1)
    finish(vm)


def test_suspended_live():
    """It sleeps on at the destination; a device's state is of no less worth here."""
    vm = start()
    suspend(vm)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path("silent"))
        server.listen(1)
        set_up(vm)
        states(vm)
        vm.ask("migrate", uri=f"unix:{path('silent')}")
        vm.wait_event("STOP")
        vm.ask("migrate_cancel")
        vm.wait_status("cancelled")
        vm.wait_event("RESUME")
        expect("state", vm.run_state(), "suspended")
        # Awake and asleep again while its memory is being sent, to nobody who would take all of it.
        set_up(vm, "normal", ignore=False)
        fill(vm)
        vm.ask("migrate", uri=f"unix:{path('silent')}")
        vm.wait_status("active")
        wake(vm)
        suspend(vm)
        vm.ask("migrate_cancel")
        vm.wait_status("cancelled")
        expect("state", vm.run_state(), "suspended")
    new = start("-incoming", f"unix:{path('asleep.sock')}")
    set_up(vm, "normal", ignore=False)
    save(vm, f"unix:{path('asleep.sock')}")
    new.wait_status("completed")
    expect("state", new.run_state(), "suspended")
    wake(new)
    finish(vm)
    finish(new)
    vm = with_disk()
    suspend(vm)
    expect("blocked", len(vm.ask("query-migrate")["blocked-reasons"]), 1)
    finish(vm)


def test_bad_vector():
    """Nowhere to wake up is a reset, and what guests do beside it changes nothing."""
    for vector in 0, 0x100000, 0xFFFFFFFF:
        vm = with_disk()
        suspend(vm, vector)
        vm.ask("system_wakeup")
        vm.wait_event("RESET")
        expect("state", vm.run_state(), "running")
        expect("PM1 status", vm.guest(f"inw {PM1_STATUS:#x}"), "0x0000")
        suspend(vm)
        vm.ask("system_reset")
        vm.wait_event("RESET")
        expect("state", vm.run_state(), "prelaunch")
        vm.ask("cont")
        expect("state", vm.run_state(), "running")
        expect("vector", vm.read(FACS_WAKING_VECTOR), 0)
        suspend(vm)
        code, text = vm.quit()
        expect("exit status", code, 0)
        assert f"waking vector is {vector:#x}" in text and text.count("\n") == 1, text
        print(text, end="")


for name, test in list(globals().items()):
    if name.startswith("test_"):
        print(name, flush=True)
        test()
