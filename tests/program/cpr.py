#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""cpr.py PROGRAM: a VM goes over to a new process without its memory being sent; what cannot be is
refused by the old one, which runs on, and the new one ends and says why."""

import json
import os
import signal
import socket
import struct
import sys
import tempfile

from scenario import ROOT_PORT, card, enable_msix, interrupted
from vm import VM, channel, expect, start

program = sys.argv[1]
folder = tempfile.TemporaryDirectory(prefix="viaduct-cpr-")
numbers = iter(range(1000))
SHARED = ["-machine", "q35,aux-ram-share=on"]


class Destination:
    """It says nothing before the source has sent."""

    def __init__(self, *args, main=None):
        n = next(numbers)
        self.main, self.cpr = (os.path.join(folder.name, f"{kind}{n}") for kind in ("main", "cpr"))
        self.vm = start(*args, "-incoming", main or json.dumps(channel("main", self.main)),
                        "-incoming", json.dumps(channel("cpr", self.cpr)), connect=False)
        self.vm.wait_listening(self.cpr)

    def started(self, greet=True):
        self.vm.connect()
        if greet:
            assert self.vm.qmp, self.vm.end()
            self.vm.greet()
        return self.vm

    def channels(self):
        return [channel("main", self.main), channel("cpr", self.cpr)]


def refused(vm, why, **arguments):
    answer = vm.command("migrate", **arguments)
    assert why in answer.get("error", {}).get("desc", ""), f"{why}: {answer}"
    expect("status", vm.run_state(), "running")


PAGES = [0, 1, 300, 4095]


def test_there_and_back():
    vm = start(*ROOT_PORT, *SHARED)
    for n, page in enumerate(PAGES):
        vm.write(page * 4096 + 8 * n, 0xC0FFEE00 + n)
    vm.guest("outl 0xcf8 0x80001234")
    for n in range(4):
        defer, state = n == 1, "running"
        if n == 2:  # it sleeps meanwhile
            state = "suspended"
            vm.write(0xF008C, 0x9A000)  # in FACS: where it will wake up
            vm.guest("outw 0x604 0x2400")
            vm.wait_event("SUSPEND")
        destination = Destination(*ROOT_PORT, *SHARED, main="defer" if defer else None)
        vm.ask("migrate-set-parameters", mode="cpr-transfer")
        vm.ask("migrate", channels=destination.channels())
        new = destination.started()
        if defer:
            expect("deferred", new.run_state(), "inmigrate")
            expect("source", vm.run_state(), "running")
            assert "error" in new.command("system_wakeup")
            new.ask("migrate-incoming", channels=[channel("main", destination.main)])
        info = vm.wait_status("completed", "failed")
        expect("CPR", info["status"], "completed")
        expect("memory sent", info["ram"]["normal"] + info["ram"]["duplicate"], 0)
        new.wait_status("completed")
        expect("new", new.run_state(), state)
        if n == 2:
            new.ask("system_wakeup")
            new.wait_event("WAKEUP")
        for m, page in enumerate(PAGES):
            expect(f"page {page}", new.read(page * 4096 + 8 * m), 0xC0FFEE00 + m)
        expect("0xcf8", new.guest("inl 0xcf8"), "0x80001234")
        print("downtime", info["downtime"], "total", info["total-time"])

        # The memory is the other's now.
        expect("old", vm.run_state(), "postmigrate")
        assert "blocked-reasons" not in vm.ask("query-migrate")
        for command in "cont", "system_reset":
            assert "another process" in vm.command(command)["error"]["desc"]
        expect("device_add", vm.command("device_add", driver="nvme")["error"]["desc"],
               "another process has the VM, since the live update")
        expect("end", vm.quit(), (0, ""))
        expect("new", new.read(8 + 4096), 0xC0FFEE01)
        vm = new
    expect("mode", vm.ask("query-migrate-parameters")["mode"], "normal")
    expect("end", vm.quit(), (0, ""))


def test_refused():
    vm = start(*ROOT_PORT)
    both = [channel("main", "/tmp/x"), channel("cpr", "/tmp/y")]
    refused(vm, "a channel of type cpr needs mode=cpr-transfer", channels=both)
    vm.ask("migrate-set-parameters", mode="cpr-transfer")
    refused(vm, "aux-ram-share=on", channels=both)
    refused(vm, "missing 'cpr' migration channel", uri="unix:/tmp/x")
    refused(vm, "two channels of type cpr", channels=[*both, both[1]])
    vm.ask("migrate-set-parameters", mode="cpr-reboot")
    refused(vm, "a channel of type cpr needs mode=cpr-transfer", channels=both)
    expect("end", vm.quit(), (0, ""))

    vm = start(*SHARED, "-object", "memory-backend-ram,id=m,size=16M", *ROOT_PORT)
    vm.ask("migrate-set-parameters", mode="cpr-transfer")
    file = {"channel-type": "main", "addr": {"transport": "file", "filename": "/tmp/x",
                                             "offset": 0}}
    refused(vm, "with a way back", channels=[file, both[1]])
    vm.ask("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}])
    refused(vm, "no use for multifd", channels=both)
    vm.ask("migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": False}])
    vm.ask("migrate", channels=both)
    expect("nobody there", vm.wait_status("failed", "completed")["status"], "failed")
    expect("status", vm.run_state(), "running")
    expect("end", vm.quit(), (0, ""))


def fails(vm, why, says, *args):
    destination = Destination(*args)
    vm.ask("migrate", channels=destination.channels())
    info = vm.wait_status("failed", "completed")
    expect("CPR", info["status"], "failed")
    assert why in info["error-desc"], info
    expect("status", vm.run_state(), "running")
    code, text = destination.started(greet=False).end()
    expect("status of the new one", code, 1)
    assert says in text and text.count("\n") == 1, text
    print(info["error-desc"])


def test_misfits():
    vm = start(*ROOT_PORT, *SHARED)
    vm.write(4096, 0xFEED)
    vm.ask("migrate-set-parameters", mode="cpr-transfer")
    fails(vm, "size 0x2000000, but the old process has 0x1000000", "size 0x2000000", *ROOT_PORT,
          *SHARED, "-m", "32")
    fails(vm, "machines differ", "machines differ", *SHARED)
    fails(vm, "the old process has no such memory", "no such memory", *ROOT_PORT, *SHARED,
          "-object", "memory-backend-memfd,id=other,size=16M")
    fails(vm, "nosuch", "nosuch", *ROOT_PORT, *SHARED, "-device", "nosuch")
    expect("memory", vm.read(4096), 0xFEED)

    # Killed while it waits, and given up on while it waits.
    destination = Destination(*ROOT_PORT, *SHARED, main="defer")
    vm.ask("migrate", channels=destination.channels())
    new = destination.started()
    new.process.kill()
    new.end()
    # It is connected to only when somebody listens: the old one notices by the cpr channel.
    expect("killed", vm.wait_status("failed", "completed")["status"], "failed")
    destination = Destination(*ROOT_PORT, *SHARED, main="defer")
    vm.ask("migrate", channels=destination.channels())
    new = destination.started()
    expect("waits", new.run_state(), "inmigrate")
    vm.ask("migrate_cancel")
    expect("cancelled", vm.wait_status("cancelled", "failed")["status"], "cancelled")
    expect("given up", new.end(), (1, "viaduct-sim: CPR: the old process has given up\n"))
    expect("memory", vm.read(4096), 0xFEED)

    # And after all that it still works.
    destination = Destination(*ROOT_PORT, *SHARED)
    vm.ask("migrate", channels=destination.channels())
    expect("CPR", vm.wait_status("failed", "completed")["status"], "completed")
    new = destination.started()
    new.wait_status("completed")
    expect("memory", new.read(4096), 0xFEED)
    expect("end", vm.quit(), (0, ""))
    expect("end", new.quit(), (0, ""))


def test_strange_answer():
    """What the new process says is shown as one line of text."""
    vm = start(*ROOT_PORT, *SHARED)
    vm.ask("migrate-set-parameters", mode="cpr-transfer")
    path = os.path.join(folder.name, "strange")
    with listen(path) as server:
        vm.ask("migrate", channels=[channel("main", "/nonexistent"), channel("cpr", path)])
        sock = server.accept()[0]
        sock.sendall(struct.pack("<5I", 0x4D504356, 1, 4, 5, 0) + b"a\nb\xffc")
        info = vm.wait_status("failed", "completed")
        sock.close()
    expect("answer", info["error-desc"], "the new process: a?b?c")
    expect("status", vm.run_state(), "running")
    expect("end", vm.quit(), (0, ""))


def listen(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)
    return server


def test_exec():
    """The same process, with another program."""
    vm = start(*ROOT_PORT, *SHARED, "-sandbox", "off")
    vm.write(4096 * 300, 0xC0FFEE42)
    vm.ask("migrate-set-parameters", mode="cpr-exec")
    state = os.path.join(folder.name, "state")
    refused(vm, "needs the parameter cpr-exec-command", uri=f"file:{state}")
    vm.ask("migrate-set-parameters", cpr_exec_command=["/nonexistent"])
    refused(vm, "needs a file", uri=f"unix:{state}")
    vm.ask("migrate", uri=f"file:{state}")
    info = vm.wait_status("failed", "completed")
    assert "cannot execute '/nonexistent'" in info["error-desc"], info
    expect("status", vm.run_state(), "running")

    for n in range(3):
        paths = [os.path.join(folder.name, f"exec{n}{kind}") for kind in ("qmp", "qtest")]
        servers = [listen(path) for path in paths]
        vm.ask("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=[
            program, "-nodefaults", "-accel", "qtest", "-m", "16", *ROOT_PORT, *SHARED,
            "-qmp", f"unix:{paths[0]}", "-qtest-log", "none", "-qtest", f"unix:{paths[1]}",
            "-incoming", f"file:{state}"])
        fds = len(os.listdir(f"/proc/{vm.process.pid}/fd"))
        vm.command("migrate", uri=f"file:{state}")
        vm.qmp.close()
        vm.qtest.close()
        vm.qmp, vm.qtest = [vm.accept(server) for server in servers]
        vm.events.clear()
        assert vm.qmp, vm.end()
        vm.greet()
        vm.wait_status("completed")
        expect("status", vm.run_state(), "running")
        expect("memory", vm.read(4096 * 300), 0xC0FFEE42)
        expect("descriptors", len(os.listdir(f"/proc/{vm.process.pid}/fd")), fds)
        for server in servers:
            server.close()
    expect("end", vm.quit(), (0, ""))

    vm = start(*ROOT_PORT, *SHARED)  # in its sandbox
    vm.ask("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=[program])
    refused(vm, "-sandbox on lets no program start", uri=f"file:{state}")
    expect("status", vm.run_state(), "running")
    expect("end", vm.quit(), (0, ""))


def blocked(vm, mode):
    vm.ask("migrate-set-parameters", mode=mode)
    return vm.ask("query-migrate").get("blocked-reasons", [])


def test_blocked():
    """What would be refused is told before."""
    vm = start("-machine", "q35,memory-backend=m", "-object", "memory-backend-memfd,id=m,size=16M,"
               "share=off")
    expect("normal", blocked(vm, "normal"), [])
    reasons = blocked(vm, "cpr-transfer")
    print(*reasons, sep="\n")
    assert "aux-ram-share=on" in reasons[0], reasons
    assert len(reasons) > 1 and all("share=off" in r for r in reasons[1:]), reasons
    expect("exec", blocked(vm, "cpr-exec")[1:], reasons)
    expect("reboot", blocked(vm, "cpr-reboot"), [])
    expect("end", vm.quit(), (0, ""))

    vm = VM(program, (("mdev", 10, 3),), [*SHARED, *card("m", 10, ",addr=3.0", {})])
    vm.greet()
    os.makedirs(f"{vm.sysfs[10]}/mdev_type", exist_ok=True)
    reasons = blocked(vm, "cpr-transfer")
    expect("mdev", reasons, ["vfio 0000:0a:00.0: CPR does not hand over a mediated device"])
    refused(vm, reasons[0], channels=[channel("main", "/tmp/x"), channel("cpr", "/tmp/y")])
    expect("end", vm.quit(), (0, ""))

    vm = start(*ROOT_PORT, *SHARED)
    expect("nothing", blocked(vm, "cpr-transfer"), [])
    expect("end", vm.quit(), (0, ""))


def test_group():
    """A device of a group: what fails at the last moment leaves all of it here. (Nothing
    simulated outlives exec, so it cannot go further.)"""
    vm = VM(program, (("nvme", 7, 0),), [*SHARED, *card("d", 7, ",addr=3.0", {}), "-sandbox", "off"])
    vm.greet()
    enable_msix(vm, 0, 3)
    expect("nothing", blocked(vm, "cpr-exec"), [])
    before = vm.ask("x-query-vfio")
    expect("container", (before[0]["type"], before[0]["update-vaddr"]), ("type1", True))
    vm.ask("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=["/nonexistent"])
    for _ in range(3):
        vm.events.clear()
        vm.ask("migrate", uri=f"file:{os.path.join(folder.name, 'state')}")
        info = vm.wait_status("failed", "completed")
        assert "cannot execute '/nonexistent'" in info["error-desc"], info
        expect("stopped and started", [e["event"] for e in vm.events
                                       if e["event"] in ("STOP", "RESUME")], ["STOP", "RESUME"])
        expect("status", vm.run_state(), "running")
        expect("mapped", vm.ask("x-query-vfio"), before)
        interrupted(vm)
    expect("end", vm.quit(), (0, ""))


def test_waiting():
    """Signals end it while it waits; what is no CPR is refused."""
    destination = Destination(*SHARED)
    destination.vm.process.send_signal(signal.SIGTERM)
    vm = destination.started(greet=False)
    expect("signal", vm.end(), (0, ""))
    assert not os.path.exists(destination.cpr), "its socket stays behind"

    for bytes_sent in b"", b"nonsense", struct.pack("<5I", 0x4D504356, 1, 1, 3, 0) + b"abc":
        destination = Destination(*SHARED)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(destination.cpr)
            sock.sendall(bytes_sent)
        code, text = destination.started(greet=False).end()
        expect("nonsense", code, 1)
        assert text.count("\n") == 1 and "cpr" in text.lower(), text
        print(text, end="")

    for args, why in [
        (["-incoming", json.dumps(channel("cpr", "/tmp/x")),
          "-incoming", json.dumps(channel("cpr", "/tmp/y"))], "two channels"),
        (["-incoming", "unix:/tmp/x", "-incoming", "unix:/tmp/y"], "one channel of type main"),
    ]:
        code, text = start(*args, greet=False).end()
        expect("options", code, 1)
        assert why in text and text.count("\n") == 1, text


for name, test in list(globals().items()):
    if name.startswith("test_"):
        print(name, flush=True)
        test()
