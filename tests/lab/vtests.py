# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with the lab's test devices (tests/lab/kmod), for tests in Python that migrate them. The
guest checks them all the time; here one waits for its verdicts."""

import os
import time

from vmm import VMM, fail, hung, say

FOLDER = "/sys/bus/viaduct_test/devices"
CLEAN = ": 0 mismatches, 0 gaps; "
WORK = "256:500:4:2:100"  # pages, a second, vectors, MiB of state, pages of it a second
ADDRESS = 5  # of the first device in the guest


def make(n):
    """So many devices, vtest0 and so on."""
    with open("/sys/module/viaduct_test/parameters/devices", "w") as file:
        file.write(str(n))
    if not os.path.exists(f"{FOLDER}/vtest{n - 1}/vfio-dev"):
        fail(f"there are no {n} test devices")


def turn(device, knob, value):
    with open(f"{FOLDER}/vtest{device}/{knob}", "w") as file:
        file.write(str(value))


def read(device, knob):
    with open(f"{FOLDER}/vtest{device}/{knob}") as file:
        return file.read().strip()


def misused(device):
    return int(dict(line.split() for line in read(device, "counters").splitlines())["misuse"])


class Guest(VMM):
    """With the devices of those numbers, in slots from ADDRESS on."""

    def __init__(self, name, devices, *options, work=WORK, append="", groups=False, each="",
                 **more):
        self.devices, self.shown = devices, 0
        self.checked = 1 if "peer" in append else len(devices)
        for i, n in enumerate(devices):
            options += ("-device", f"vfio-pci,id=vtest{i},addr={ADDRESS + i:x}," +
                        f"sysfsdev={FOLDER}/vtest{n}" + ("" if groups else ",iommufd=iommufd0") +
                        each)
        if not groups:
            options += ("-object", "iommufd,id=iommufd0")
        super().__init__(name, "migrate-vtest", *options, memory="256M", quiet=True,
                         append=f"vt={work} {append}", **more)

    def own_words(self):
        """What the program itself has said since the last time; iommufd wants dma-bufs of BARs."""
        with self.changed:
            lines = [line for _, line in self.lines[self.shown:]]
            self.shown = len(self.lines)
        return [line for line in lines if line.startswith("viaduct:") and
                "makes no dma-bufs" not in line]

    def trouble(self, *why):
        for _, line in self.lines[-12:]:
            say(f"{self.name}: {line}")
        fail(self.name, *why)

    def verdicts(self, i):
        return self.said(f"vtest 0000:00:{ADDRESS + i:02x}.0: checked")

    def goes_on(self, times=2, seconds=60):
        """The guest checks each device so often again, and finds nothing wrong. It may be slow, but not
        silent for so long."""
        before = [len(self.verdicts(i)) for i in range(self.checked)]
        began = time.monotonic()
        while any(len(self.verdicts(i)) < before[i] + times for i in range(self.checked)):
            bad = self.said("FAILED") or self.said("lockup") or self.said("BUG:")
            if bad or self.process.poll() is not None:
                self.trouble("its devices are not in order:", bad[:1])
            if time.monotonic() > max(began, self.lines[-1][0] if self.lines else 0) + seconds:
                if self.status() != "running":
                    self.trouble("is", self.status())
                hung(self.name)
            time.sleep(0.02)
        for i, n in enumerate(self.devices[:self.checked]):
            last = self.verdicts(i)[-1]
            say(f"{self.name}: {last}")
            if CLEAN not in last or not last.endswith(" 0 wrong") or misused(n):
                self.trouble("vtest", n, "is not in order; misused", misused(n), "times")
        if self.status() != "running":
            self.trouble("is", self.status())

    def set(self, multifd=0, **parameters):
        self.ask("migrate-set-capabilities",
                 capabilities=[{"capability": "multifd", "state": bool(multifd)}])
        self.ask("migrate-set-parameters", multifd_channels=multifd or 2, **parameters)

    def moves_to(self, destination, what, uri, times=2):
        """There, with all devices, for good; the source ends."""
        self.ask("migrate", uri=uri)
        info = self.migration("completed", "failed")
        if info["status"] == "failed":
            self.trouble(what, "failed:", info["error-desc"])
        destination.migration("completed")
        say(f"{what}: setup {info['setup-time']} ms, total {info['total-time']} ms, downtime {info['downtime']} ms,",
            f"{info['ram']['transferred'] >> 10} KiB, {info['vfio']['transferred'] >> 10} KiB of",
            f"devices', {info['ram']['dirty-sync-count']} passes")
        destination.goes_on(times)
        states = {read(n, "state") for n in self.devices}, {read(n, "state")
                                                           for n in destination.devices}
        if states != ({"STOP"}, {"RUNNING"}) or any(map(misused, self.devices)):
            fail("the devices are in", *states)
        for vm in self, destination:
            for line in vm.own_words():
                say(f"{vm.name} said: {line}")
        self.quit()
        return destination
