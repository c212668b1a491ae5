# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM of the program on the simulated kernel: its process, its QMP session, and the guest, which
this script plays by the qtest protocol."""

import functools
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from monitor import Channel, Gone, Monitor, channel, listens  # noqa: E402

MAJOR = 510  # of the simulated devices

# PCI, the standard header and MSI-X
COMMAND, BAR0, SECONDARY_BUS, MEMORY_WINDOW = 0x04, 0x10, 0x18, 0x20
MEMORY, MASTER = 2, 4
ECAM = 0xE0000000
NVME, INTX, MDEV = 0x00101B36, 0x00111B36, 0x00121B36


def expect(what, got, wanted):
    assert got == wanted, f"{what}: {got!r}, not {wanted!r}"


# One for all VMs: folders take longer to make and remove than a VM to come and go.
folder = tempfile.TemporaryDirectory(prefix="viaduct-program-")
numbers = itertools.count()


@functools.cache
def sysfs_device(minor):
    """What the program looks for below a device's folder."""
    top, name = folder.name, f"0000:{minor:02x}:00.0"
    place = os.path.join(top, name)
    cdev = os.path.join(place, "vfio-dev", f"vfio{minor}")
    os.makedirs(cdev)
    with open(os.path.join(cdev, "dev"), "w") as file:
        file.write(f"{MAJOR}:{minor}\n")
    group = os.path.join(top, "groups", str(minor))
    os.makedirs(os.path.join(group, "devices"))
    os.symlink(place, os.path.join(group, "devices", name))
    os.symlink(group, os.path.join(place, "iommu_group"))
    return place


def sysfs_devices(devices):
    """Their folders by their minor numbers."""
    return {minor: sysfs_device(minor) for _, minor, _ in devices}


class VM(Monitor):
    """Runs PROGRAM with DEVICES, a tuple of (kind, minor, iommu); ARGS may name {devMINOR}. With
    another accelerator than qtest the guest is nobody's: it has no kernel and halts. What has no
    monitor before somebody else has sent something is connected to later."""

    def __init__(self, program, devices, args, fail=None, accel="qtest", connect=True):
        self.sysfs = sysfs_devices(devices)
        self.paths = [os.path.join(folder.name, f"{name}{next(numbers)}")
                      for name in ("qmp", "qtest")]
        super().__init__()
        self.lines = []
        self.qtest = None
        env = dict(os.environ)
        env["VIADUCT_SIM"] = " ".join(f"{kind}={m}/{iommu}" for kind, m, iommu in devices)
        if fail:
            env["VIADUCT_SIM_FAIL"] = fail
        if accel != "qtest":
            del self.paths[1]
        options = [f"-qmp unix:{self.paths[0]}"]
        options += [f"-qtest-log none -qtest unix:{path}" for path in self.paths[1:]]
        self.servers = [self.listen(path) for path in self.paths]
        self.process = subprocess.Popen(
            [program, "-nodefaults", "-sandbox", "on", "-accel", accel, "-m", "16",
             *" ".join(options).split()]
            + [arg.format(**{f"dev{m}": path for m, path in self.sysfs.items()}) for arg in args],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True)
        if connect:
            self.connect()

    def connect(self):
        try:
            self.qmp, *qtest = [self.accept(server) for server in self.servers]
            self.qtest = qtest[0] if qtest else None
        finally:
            for server, path in zip(self.servers, self.paths):
                server.close()
                os.unlink(path)

    def listen(self, path):
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(1)
        return server

    def accept(self, server):
        """The program connects early; if it ends before, there is nothing to wait for."""
        for _ in range(300):
            if select.select([server], [], [], 0.1)[0]:
                return Channel(server.accept()[0])
            if self.process.poll() is not None:
                return None
        return None

    def wait_listening(self, path):
        while not listens(path) and self.process.poll() is None:
            time.sleep(0.01)

    def fail_from_now_on(self):
        """The count of calls begins: see tests/sim/program.c, VIADUCT_SIM_FAIL=@..."""
        self.process.send_signal(signal.SIGUSR1)

    # ---- QMP ----

    def wait_status(self, *wanted):
        """query-migrate's answer, when its status is one of these."""
        for _ in range(3000):
            info = self.ask("query-migrate")
            if info.get("status") in wanted:
                return info
            time.sleep(0.01)
        raise AssertionError(f"status {info}")

    def run_state(self):
        return self.ask("query-status")["status"]

    # ---- the guest ----

    def guest(self, line):
        """The answer without its OK."""
        if not self.qtest:
            raise Gone("no connection")
        self.qtest.send(line)
        while True:
            answer = self.qtest.line()
            if not answer.startswith("IRQ "):
                assert answer.split()[0] == "OK", f"{line}: {answer}"
                return answer[3:]
            self.lines.append(answer)

    def wait_line(self, line):
        """An interrupt line's change."""
        while line not in self.lines:
            self.lines.append(self.qtest.line())
        self.lines.remove(line)

    def read(self, addr, size=4):
        return int(self.guest(f"read{' bw l   q'[size]} {addr:#x}"), 0)

    def write(self, addr, value, size=4):
        self.guest(f"write{' bw l   q'[size]} {addr:#x} {value:#x}")

    def config(self, bus, slot, reg):
        return ECAM + (bus << 20) + (slot << 15) + reg

    def capability(self, bus, slot, wanted):
        at = self.read(self.config(bus, slot, 0x34), 1)
        while at:
            if self.read(self.config(bus, slot, at), 1) == wanted:
                return at
            at = self.read(self.config(bus, slot, at + 1), 1)
        raise AssertionError(f"no capability {wanted:#x}")

    # ---- the end ----

    def end(self, timeout=30):
        """Exit status and stderr."""
        try:
            _, text = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            _, text = self.process.communicate()
            text += "(it did not end by itself)\n"
        for channel in (self.qmp, self.qtest):
            if channel:
                channel.close()
        return self.process.returncode, text

    def quit(self):
        try:
            self.command("quit")
        except Gone:
            pass  # it may be faster than its answer
        return self.end()


def incoming(kind, path):
    """The same for -incoming, where VM() leaves braces alone."""
    return json.dumps(channel(kind, path)).replace("{", "{{").replace("}", "}}")


def start(*args, greet=True, connect=True):
    """A VM without devices, of the program that the script was told; @args are taken as they are."""
    vm = VM(sys.argv[1], (), [str(arg).replace("{", "{{").replace("}", "}}") for arg in args],
            connect=connect)
    if greet and connect:
        vm.greet()
    return vm
