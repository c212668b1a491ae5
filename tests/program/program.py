#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""program.py PROGRAM: the whole program, from its command line to its exit status, on the simulated
kernel. Whatever it leaves open there makes its exit status 3, a leak of memory another one."""

import signal
import sys

from scenario import (DEVICES, IOMMUFD, MESSAGES, ROOT_PORT, bar0, card, disable_msix, enable_msix,
                      power_off, power_on)
from vm import COMMAND, INTX, MASTER, MDEV, MEMORY, NVME, VM

program = sys.argv[1]


def expect(what, got, wanted):
    assert got == wanted, f"{what}: {got!r}, not {wanted!r}"


def start(*args, **more):
    vm = VM(program, DEVICES, [arg for part in args for arg in part], **more)
    vm.greet()
    return vm


def finish(vm):
    status, text = vm.quit()
    expect("status", (status, text), (0, ""))


def pci_devices(vm):
    return {dev["qdev_id"]: dev for bus in vm.ask("query-pci") for dev in bus["devices"]}


def test_empty():
    vm = start(["-smp", "2"])
    expect("query-kvm", vm.ask("query-kvm"), {"enabled": False, "present": False})
    expect("vCPUs", [cpu["cpu-index"] for cpu in vm.ask("query-cpus-fast")], [0, 1])
    expect("state", vm.ask("query-status")["status"], "running")
    vm.ask("stop")
    vm.ask("cont")
    vm.ask("system_reset")
    vm.wait_event("RESET")
    vm.guest("outl 0xcf8 0x80000000")
    expect("host bridge", vm.guest("inl 0xcfc"), "0x29c08086")
    vm.guest("write 0x2000 0x4 0x01020304")
    expect("memory", vm.guest("read 0x2000 0x4"), "0x01020304")
    expect("memory", vm.guest("b64read 0x2000 0x4"), "AQIDBA==")
    vm.guest("memset 0x2001 0x2 0xff")
    expect("memory", vm.read(0x2000), 0x04FFFF01)
    finish(vm)


def test_protocol_errors():
    vm = start()
    for line, wanted in [
        ("nosuch", "FAIL Unknown command 'nosuch'"),
        ("", "FAIL Unknown command ''"),
        ("inb", "ERR inb: 1 arguments are wanted"),
        ("inb 0x10000", "ERR inb: a port is wanted"),
        ("readl -1", "ERR readl: an address is wanted"),
        ("read 0 0x7fffffffffffffff", "FAIL read: a size from 1 to 16777216 is wanted, within the "
         "address space"),
        ("read 0xffffffffffffffff 0x2", "FAIL read: a size from 1 to 16777216 is wanted, within "
         "the address space"),
        ("write 0 2 0x123", "ERR write: the data are wanted as 0x and two digits a byte"),
        ("write 0 1 1", "ERR write: the data are wanted as 0x and two digits a byte"),
        ("clock_step", "FAIL clock_step: the clock is the host's"),
        ("module_load a b", "FAIL module_load: there are no modules"),
        ("irq_intercept_in pic", "FAIL irq_intercept_in: there is no interrupt controller 'pic', "
         "only ioapic"),
        ("set_irq_in ioapic unnamed-gpio-in 24 1", "ERR set_irq_in: unnamed-gpio-in, a line from 0 "
         "to 23 and a level are wanted"),
    ]:
        vm.qtest.send(line)
        expect(line, vm.qtest.line(), wanted)
    finish(vm)


def test_refused():
    for args, wanted in [
        (["-device", "vfio-pci,sysfsdev={dev7},iommufd=nope"],
         "Device 'nope' not found"),
        (IOMMUFD + card("a", 7) + card("b", 7), "is attached already"),
        (["-machine", "q35,accel=kvm"], "accel=kvm is not supported, only accel=qtest"),
    ]:
        vm = VM(program, DEVICES, args)
        status, text = vm.end()
        expect(args, status, 1)
        expect(args, len(text.splitlines()), 1)
        assert wanted in text, text
        print("refused:", text.strip())


def test_msix():
    vm = start(IOMMUFD, card("a", 7, ",addr=2.0"), card("b", 8, ",addr=3.0"))
    devices = pci_devices(vm)
    expect("ids", [devices[d]["id"]["device"] for d in ("a", "b")], [0x10, 0x10])
    expect("BAR", devices["a"]["regions"][0]["address"], bar0(vm, 0, 2))
    query = vm.ask("x-query-vfio")
    names = sorted(dev["name"] for container in query for dev in container["devices"])
    expect("x-query-vfio", names, ["0000:07:00.0", "0000:08:00.0"])
    for slot in (2, 3):
        enable_msix(vm, 0, slot)
        vm.write(MESSAGES, 0)
        vm.process.send_signal(signal.SIGUSR2)
        while not vm.read(MESSAGES):
            pass
        expect("message", vm.read(MESSAGES), 0x4000)
        disable_msix(vm, 0, slot)
    vm.ask("system_reset")
    vm.wait_event("RESET")
    enable_msix(vm, 0, 2)
    finish(vm)


def test_intx():
    vm = start(IOMMUFD, card("a", 9, ",addr=2.0"))
    vm.write(vm.config(0, 2, COMMAND), MEMORY | MASTER, 2)
    vm.guest("irq_intercept_in ioapic")
    for _ in range(2):
        vm.process.send_signal(signal.SIGUSR2)
        vm.wait_line("IRQ raise 18")
        vm.guest("set_irq_in ioapic unnamed-gpio-in 18 0")
        vm.wait_line("IRQ lower 18")
    expect("id", vm.read(vm.config(0, 2, 0)), INTX)
    finish(vm)


def test_mdev():
    vm = start(IOMMUFD, card("a", 10, ",addr=2.0"))
    expect("id", vm.read(vm.config(0, 2, 0)), MDEV)
    finish(vm)


def test_hotplug():
    vm = start(IOMMUFD, ROOT_PORT, card("a", 7, ",addr=2.0"))
    for minor in (8, 11, 8):
        vm.ask("device_add", driver="vfio-pci", id="h", bus="rp", iommufd="i0",
               sysfsdev=vm.sysfs[minor])
        bus = power_on(vm)
        expect("id", vm.read(vm.config(bus, 0, 0)), NVME)
        enable_msix(vm, bus, 0)
        vm.ask("device_del", id="h")
        power_off(vm)
        expect("event", vm.wait_event("DEVICE_DELETED")["data"].get("device"), "h")
        expect("id", vm.read(vm.config(bus, 0, 0)), 0xFFFFFFFF)
    vm.ask("device_add", driver="vfio-pci", id="h", bus="rp", iommufd="i0", sysfsdev=vm.sysfs[8])
    answer = vm.command("device_add", driver="vfio-pci", id="h2", iommufd="i0",
                        sysfsdev=vm.sysfs[11])
    assert "error" in answer, answer
    finish(vm)


def test_signal():
    vm = start(["-S"], IOMMUFD, card("a", 7, ",addr=2.0"))
    vm.process.terminate()
    expect("reason", vm.wait_event("SHUTDOWN")["data"]["reason"], "host-signal")
    expect("status", vm.end(), (0, ""))


def test_cold_unplug():
    """Before a guest has run nobody need be asked."""
    vm = start(["-S"], IOMMUFD, ROOT_PORT, card("a", 7, ",addr=2.0"))
    for _ in range(2):
        vm.ask("device_add", driver="vfio-pci", id="h", bus="rp", iommufd="i0",
               sysfsdev=vm.sysfs[8])
        assert "error" in vm.command("object-del", id="i0")
        vm.ask("device_del", id="h")
        vm.wait_event("DEVICE_DELETED")
    expect("devices", sorted(pci_devices(vm)), ["", "a", "rp"])
    finish(vm)


def main():
    failed = 0
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            try:
                test()
                print("ok", name, flush=True)
            except Exception as error:  # the other tests say more
                failed += 1
                print("FAIL", name, repr(error), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
