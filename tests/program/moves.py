#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""moves.py PROGRAM: a VM moves between two processes, each with a device on the simulated
kernel: the device's content, its registers and its interrupts, and where it is when that fails."""

import os
import socket
import sys
import tempfile

from scenario import IOMMUFD, bar0, card, enable_msix, interrupted
from vm import VM, expect

SLOT = 3
program = sys.argv[1]
folder = tempfile.TemporaryDirectory(prefix="viaduct-migration-")
uri = f"unix:{folder.name}/socket"
os.environ["VIADUCT_SIM_CONTENT"] = "1"


def start(minor, *args, more="", count=1, kind="mover"):
    devices = tuple((kind, minor + i, 0) for i in range(count))
    cards = [word for i in range(count)
             for word in card(f"d{i}", minor + i, f",addr={SLOT + i}.0,migration-events=on{more}")]
    vm = VM(program, devices, ["-smp", "2", *IOMMUFD, *cards, *args])
    vm.greet()
    return vm


def states(vm, device="d0"):
    got = [e["data"]["device-state"] for e in vm.events
           if e["event"] == "VFIO_MIGRATION" and e["data"]["device-id"] == device]
    vm.events.clear()
    return got


def content(vm, status=0):
    """Of its devices, once it has ended."""
    got, text = vm.quit()
    assert got == status, f"status {got}, not {status}: {text}"
    lines = text.splitlines()
    assert all(line.startswith("sim: ") for line in lines), text
    return lines


def test_move():
    source = start(7)
    enable_msix(source, 0, SLOT)
    address = bar0(source, 0, SLOT)
    interrupted(source)
    destination = start(8, "-incoming", uri)
    source.ask("migrate", uri=uri)
    info = source.wait_status("completed", "failed")
    expect("migrate", info["status"], "completed")
    destination.wait_status("completed")
    expect("source", states(source),
           ["pre-copy", "pre-copy-p2p-prepare", "pre-copy-p2p", "stop-copy", "stop"])
    expect("destination", states(destination), ["resuming", "stop", "running-p2p", "running"])
    expect("BAR 0", bar0(destination, 0, SLOT), address)
    interrupted(destination)
    print(info["vfio"]["transferred"], "bytes of the device's, downtime", info["downtime"], "ms")
    expect("content", content(destination), content(source))


def test_restless():
    """What changes all the time does not keep a pass over memory from its end."""
    source, destination = start(40, kind="restless"), start(8, "-incoming", uri)
    source.ask("migrate", uri=uri)
    info = source.wait_status("completed", "failed")
    expect("migrate", info["status"], "completed")
    destination.wait_status("completed")
    print(f"{info['vfio']['transferred']} bytes of the device's,",
          f"{info['ram']['dirty-sync-count']} passes")
    assert info["vfio"]["transferred"] < 16 << 20, info
    expect("content", content(destination), content(source))


def test_several():
    source = start(16, count=3)
    destination = start(24, "-incoming", uri, count=3)
    source.ask("migrate", uri=uri)
    expect("migrate", source.wait_status("completed", "failed")["status"], "completed")
    destination.wait_status("completed")
    for device in "d0", "d1", "d2":
        got = [e["data"]["device-state"] for e in destination.events
               if e["event"] == "VFIO_MIGRATION" and e["data"]["device-id"] == device]
        expect(device, got, ["resuming", "stop", "running-p2p", "running"])
    expect("content", content(destination), content(source))


def test_fails():
    """The destination goes while it is sent, or has another device; then it works."""
    source = start(7)
    source.ask("migrate-set-parameters", max_bandwidth=1 << 20)
    destination = start(8, "-incoming", uri)
    source.ask("migrate", uri=uri)
    source.wait_status("active")
    destination.process.kill()
    expect("killed", source.wait_status("failed", "completed")["status"], "failed")
    expect("source", source.run_state(), "running")
    expect("states", states(source)[-1], "running")
    destination.end()
    source.ask("migrate-set-parameters", max_bandwidth=0)

    destination = start(8, "-incoming", uri, more=",x-pci-device-id=0x99")
    source.ask("migrate", uri=uri)
    info = source.wait_status("failed", "completed")
    print(info["error-desc"])
    status, text = destination.end()
    expect("status", status, 1)
    assert "configuration space at 0x2 is 0x10 there and 0x99 here" in text, text
    states(source)

    destination = start(8, "-incoming", uri)
    source.ask("migrate", uri=uri)
    expect("migrate", source.wait_status("completed", "failed")["status"], "completed")
    destination.wait_status("completed")
    expect("content", content(destination), content(source))


def test_reboot():
    """Saved while all stands still, and gone on with later; memory stays in its file."""
    memory = ["-machine", "q35,memory-backend=m", "-object",
              f"memory-backend-file,id=m,size=16M,share=on,mem-path={folder.name}/ram"]
    saved = f"file:{folder.name}/saved"
    source = start(7, *memory)
    enable_msix(source, 0, SLOT)
    interrupted(source)
    source.ask("migrate-set-capabilities",
               capabilities=[{"capability": "x-ignore-shared", "state": True}])
    source.ask("migrate-set-parameters", mode="cpr-reboot")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder.name}/deaf")
        server.listen(1)
        source.ask("migrate", uri=f"unix:{folder.name}/deaf")
        source.wait_event("STOP")
        server.accept()[0].close()
    expect("closed", source.wait_status("completed", "failed")["status"], "failed")
    expect("closed", states(source)[-2:], ["running-p2p", "running"])
    interrupted(source)
    source.ask("migrate", uri=saved)
    info = source.wait_status("completed", "failed")
    expect("migrate", info["status"], "completed")
    expect("RAM", info["ram"]["normal"] + info["ram"]["duplicate"], 0)
    expect("source", states(source), ["running-p2p", "stop", "stop-copy", "stop"])
    print(info["vfio"]["transferred"], "bytes of the device's, a stream of",
          os.stat(f"{folder.name}/saved").st_size)
    left = content(source)
    destination = start(8, *memory, "-incoming", "defer")
    destination.ask("migrate-incoming", uri=saved)
    expect("migrate", destination.wait_status("completed", "failed")["status"], "completed")
    expect("destination", states(destination), ["resuming", "stop", "running-p2p", "running"])
    interrupted(destination)
    expect("content", content(destination), left)


def test_blocked():
    source = start(7, more=",enable-migration=off")
    info = source.ask("query-migrate")
    print(info["blocked-reasons"])
    expect("blocked", info["blocked-reasons"], ["vfio 0000:07:00.0: enable-migration=off"])
    answer = source.command("migrate", uri=uri)["error"]["desc"]
    assert "enable-migration=off" in answer, answer
    content(source)


for name, fn in list(globals().items()):
    if name.startswith("test_"):
        print("#", name, flush=True)
        fn()
