# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of live update share: a guest with an NVMe disk at work, and how its VMM is replaced."""

import os
import socket
import threading
import time

from vmm import PROGRAM, VMM, fail

NVME = "0000:00:02.0"

# How the disk is reached: options, and a property of the device's.
IOMMUFD = ["-object", "iommufd,id=iommufd0"], ",iommufd=iommufd0"
GROUP = [], ""
reached = IOMMUFD


def bind(device):
    path = f"/sys/bus/pci/devices/{device}"
    with open(f"{path}/driver_override", "w") as f:
        f.write("vfio-pci")
    if os.path.exists(f"{path}/driver"):
        with open(f"{path}/driver/unbind", "w") as f:
            f.write(device)
    with open("/sys/bus/pci/drivers_probe", "w") as f:
        f.write(device)


def start(name, *more, program=PROGRAM):
    objects, by = reached
    return VMM(name, "cpr", "-machine", "aux-ram-share=on", *objects,
               "-device", "pcie-root-port,id=rp,chassis=1", "-device",
               f"vfio-pci,id=disk,bus=rp,host={NVME}{by}", *more, program=program)


def address(kind, path):
    return {"channel-type": kind, "addr": {"transport": "socket", "type": "unix", "path": path}}


def listens(path):
    """The file alone is there before that."""
    with open("/proc/net/unix") as sockets:
        return any(line.split()[3] == "00010000" and line.endswith(f" {path}\n")
                   for line in sockets)


class Destination:
    """It has no monitor before the source has sent: started beside."""

    def __init__(self, name, *more, program=PROGRAM):
        self.main, self.cpr = f"/tmp/{name}.main", f"/tmp/{name}.cpr"
        self.vm = None
        options = []
        for channel in self.channels():
            options += ["-incoming", str(channel).replace("'", '"')]
        self.thread = threading.Thread(target=self._start, args=(name, *options, *more),
                                       kwargs={"program": program}, daemon=True)
        self.thread.start()
        while not listens(self.cpr):
            time.sleep(0.01)

    def _start(self, *args, **kwargs):
        self.vm = start(*args, **kwargs)

    def channels(self):
        return [address("main", self.main), address("cpr", self.cpr)]


def _time(vm, name):
    stamp = vm.event(name)["timestamp"]
    return stamp["seconds"] * 1000 + stamp["microseconds"] / 1000


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
                vm._message()
        except (EOFError, OSError):
            pass
        vm.qmp = server.accept()[0]
    vm.answers = vm.qmp.makefile("r")
    vm.qmp.settimeout(120)
    vm._message()
    vm.ask("qmp_capabilities")
    vm.migration("completed")
    return time.time() * 1000 - _time(vm, "STOP")


def update(old, name, *more, program=PROGRAM):
    """The new VMM, how long the guest stood still and how long all of it took, in ms. The old one
    has ended."""
    destination = Destination(name, *more, program=program)
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
    stood = _time(new, "RESUME") - _time(old, "STOP")
    if program == PROGRAM and "error" not in old.command("cont"):
        fail("the old process runs the VM that it has given away")
    old.quit()
    return new, stood, took
