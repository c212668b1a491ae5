# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of live update share: guests with devices at work, and how their VMM is replaced."""

import json
import os
import socket
import threading
import time

from vmm import PROGRAM, VMM, fail  # and where monitor is
from monitor import Channel, Gone, channel, listens

NVME = "0000:00:02.0"


def bind(device):
    path = f"/sys/bus/pci/devices/{device}"
    with open(f"{path}/driver_override", "w") as f:
        f.write("vfio-pci")
    if os.path.exists(f"{path}/driver"):
        with open(f"{path}/driver/unbind", "w") as f:
            f.write(device)
    with open("/sys/bus/pci/drivers_probe", "w") as f:
        f.write(device)


# What a guest is made by: start(name, *options, program=…) gives a VMM, with .start, which makes the
# one that replaces it.
def machine(test, *options, **of_it):
    """A guest that runs that test, on a machine that can be handed over."""
    def start(name, *more, program=PROGRAM):
        vm = VMM(name, test, "-machine", "aux-ram-share=on", *options, *more, program=program,
                 **of_it)
        vm.start = start
        return vm
    return start


def passed_through(device, by, bus):
    """Its options; @by: iommufd or group."""
    return ["-device", f"pcie-root-port,id={bus},chassis={bus[2:]}", "-device",
            f"vfio-pci,id=at-{bus},bus={bus},host={device}" +
            (",iommufd=iommufd0" if by == "iommufd" else "")]


def disk(by="iommufd", **of_it):
    objects = ["-object", "iommufd,id=iommufd0"] if by == "iommufd" else []
    return machine("cpr", *objects, *passed_through(NVME, by, "rp1"), **of_it)


class Destination:
    """It has no monitor before the source has sent: started beside."""

    def __init__(self, start, name, *more, program=PROGRAM):
        self.start = start
        self.main, self.cpr = f"/tmp/{name}.main", f"/tmp/{name}.cpr"
        self.vm = None
        options = []
        for one in self.channels():
            options += ["-incoming", json.dumps(one)]
        self.thread = threading.Thread(target=self._start, args=(name, *options, *more),
                                       kwargs={"program": program}, daemon=True)
        self.thread.start()
        while not listens(self.cpr):
            time.sleep(0.01)

    def _start(self, *args, **kwargs):
        self.vm = self.start(*args, **kwargs)

    def channels(self):
        return [channel("main", self.main), channel("cpr", self.cpr)]


def when(vm, name):
    """When the VM said that, in ms."""
    stamp = vm.wait_event(name)["timestamp"]
    return stamp["seconds"] * 1000 + stamp["microseconds"] / 1000


def in_use(vm):
    """Descriptors, of which kinds, and what is mapped."""
    folder = f"/proc/{vm.process.pid}/fd"
    links = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    kinds = {kind: sum(kind in link for link in links)
             for kind in ("eventfd", "dmabuf", "/dev/vfio", "/dev/iommu", "memfd")}
    query = vm.ask("x-query-vfio")
    return len(links), kinds, [(c.get("ioas-id"), c["extents"], c["mapped"]) for c in query]


def execute(vm):
    """The same process with the program executed anew; how long it took from STOP until the new one
    has said that it is done, in ms: its RESUME comes before its monitor has anybody to tell."""
    with open(f"/proc/{vm.process.pid}/cmdline") as f:
        old = f.read().split("\0")[:-1]
    command = []
    while old:
        word = old.pop(0)
        if word == "-incoming":
            old.pop(0)
        else:
            command.append(word)
    vm.events.clear()
    vm.ask("migrate-set-parameters", mode="cpr-exec",
           cpr_exec_command=[*command, "-incoming", "file:/tmp/exec.state"])
    os.unlink(vm.path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(vm.path)
        server.listen(1)
        server.settimeout(60)
        vm.ask("migrate", uri="file:/tmp/exec.state")
        try:
            while True:
                vm.message()
        except Gone:
            pass
        vm.qmp = Channel(server.accept()[0], 120)
    vm.greet()
    vm.migration("completed")
    return time.time() * 1000 - when(vm, "STOP")


def update(old, name, *more, program=PROGRAM):
    """The new VMM, how long the guest stood still and how long all of it took, in ms. The old one
    has ended."""
    destination = Destination(old.start, name, *more, program=program)
    old.events.clear()
    old.ask("migrate-set-parameters", mode="cpr-transfer")
    t0 = time.monotonic()
    old.ask("migrate", channels=destination.channels())
    info = old.migration("completed", "failed")
    took = (time.monotonic() - t0) * 1000
    if info["status"] == "failed":
        fail("CPR:", info["error-desc"])
    destination.thread.join()
    new = destination.vm
    new.migration("completed")
    new.stood = when(old, "STOP"), when(new, "RESUME")
    stood = new.stood[1] - new.stood[0]
    if program == PROGRAM and "error" not in old.command("cont"):
        fail("the old process runs the VM that it has given away")
    old.quit()
    return new, stood, took
