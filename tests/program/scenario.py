# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest of these tests does to its devices."""

import signal
import time

from vm import BAR0, COMMAND, ECAM, MASTER, MEMORY, MEMORY_WINDOW, SECONDARY_BUS, expect

DEVICES = (("nvme", 7, 0), ("nvme", 8, 1), ("intx", 9, 2), ("mdev", 10, 3), ("nvme", 11, 1))
MSIX, EXPRESS = 0x11, 0x10
SLOT_CONTROL, SLOT_STATUS = 0x18, 0x1A
SLOT_ON, SLOT_BLINKING, SLOT_OFF = 0x01C0, 0x02C0, 0x07C0
TABLE = 0x2000
MESSAGES = 0x100000  # RAM in which MSIs arrive
IOMMUFD = ["-object", "iommufd,id=i0"]
ROOT_PORT = ["-device", "pcie-root-port,id=rp,addr=4.0,chassis=1"]


def card(name, minor, more="", properties={"iommufd": "i0"}):
    """-device, on the root bus."""
    more += "".join(f",{key}={value}" for key, value in properties.items())
    return ["-device", f"vfio-pci,id={name},sysfsdev={{dev{minor}}}{more}"]


def bar0(vm, bus, slot):
    low, high = (vm.read(vm.config(bus, slot, BAR0 + at)) for at in (0, 4))
    return (low & ~0xF) | high << 32


def enable_msix(vm, bus, slot, vectors=2):
    at = vm.capability(bus, slot, MSIX)
    control = vm.config(bus, slot, at + 2)
    vm.write(vm.config(bus, slot, COMMAND), MEMORY | MASTER, 2)
    vm.write(control, 0xC000, 2)  # on, all masked
    for vector in range(vectors):
        entry = bar0(vm, bus, slot) + TABLE + 16 * vector
        vm.write(entry, MESSAGES + 4 * vector)
        vm.write(entry + 4, 0)
        vm.write(entry + 8, 0x4000 + vector)
        vm.write(entry + 12, 0)
    vm.write(control, 0x8000, 2)


def disable_msix(vm, bus, slot):
    vm.write(vm.config(bus, slot, vm.capability(bus, slot, MSIX) + 2), 0, 2)


def interrupted(vm):
    """Its devices' interrupts arrive as messages in memory."""
    vm.write(MESSAGES, 0)
    vm.process.send_signal(signal.SIGUSR2)
    for _ in range(3000):
        if vm.read(MESSAGES):
            break
        time.sleep(0.01)
    expect("message", vm.read(MESSAGES), 0x4000)


def slot_register(vm, reg):
    return vm.config(0, 4, vm.capability(0, 4, EXPRESS) + reg)


def power_on(vm):
    """The guest's driver of the port finds a card; gives it an address. Returns the card's bus."""
    vm.write(slot_register(vm, SLOT_CONTROL), SLOT_ON, 2)
    vm.write(slot_register(vm, SLOT_STATUS), 0x1F, 2)
    bus = vm.read(vm.config(0, 4, SECONDARY_BUS + 1), 1)
    window = (vm.read(vm.config(0, 4, MEMORY_WINDOW), 2) & 0xFFF0) << 16
    assert window < ECAM
    vm.write(vm.config(0, 4, COMMAND), MEMORY | MASTER, 2)
    vm.write(vm.config(bus, 0, BAR0), window)
    vm.write(vm.config(bus, 0, BAR0 + 4), 0)
    return bus


def power_off(vm):
    vm.write(slot_register(vm, SLOT_CONTROL), SLOT_BLINKING, 2)
    vm.write(slot_register(vm, SLOT_STATUS), 0x1F, 2)
    vm.write(slot_register(vm, SLOT_CONTROL), SLOT_OFF, 2)
