#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""sweep.py PROGRAM [all | WAY [STRIDE | N ERROR]]: one scenario again and again, in which call N of
the kernel (or for memory or a thread) fails, for each N there is. Each run must end with a line that
says why and status 1, or as a VM that answers and quits with status 0; nothing may be left open in
any. Where a VM goes from one process to another (handovers.py), one of the two has it. "all": in all
ways, and with each error that is plausible for the call where otherwise it is one; WAY: only so, and
of the calls every STRIDE-th; WAY N ERROR: that run only."""

import concurrent.futures
import os
import sys

import handovers
from scenario import (DEVICES, IOMMUFD, ROOT_PORT, card, disable_msix, enable_msix, power_off,
                      power_on)
from vm import NVME, VM, Gone, sysfs_devices

program = sys.argv[1]
CPUS = os.cpu_count() or 1
BATCH = 8 * CPUS
# By iommufd, memory mapped behind the guest's boot or before it; by groups; "dead": all calls after
# the first that fails do so too; "kvm": the same devices with the real KVM.
WAYS = {
    "iommufd": (IOMMUFD, {"iommufd": "i0"}),
    "iommufd-dead": (IOMMUFD, {"iommufd": "i0"}),
    "map-wait": ([IOMMUFD[0], IOMMUFD[1] + ",map-wait=on"], {"iommufd": "i0"}),
    "group": ([], {}),
    "group-dead": ([], {}),
    "kvm": (IOMMUFD + ["-S", "-smp", "2"], {"iommufd": "i0"}),
}
# Unless all is asked for: of which calls every how many-th.
BRIEFLY = {"iommufd": 1, "group": 1, "iommufd-dead": 9, "group-dead": 9, "kvm": 3,
           "migrate-source": 8, "migrate-destination": 8, "cpr-old": 1, "cpr-new": 8,
           "exec-old": 1, "exec-new": 1}


def play(vm, properties):
    """The scenario. Any command may be refused; then the guest goes without what it asked for."""
    vm.greet()
    enable_msix(vm, 0, 2)
    added = vm.command("device_add", driver="vfio-pci", id="h", bus="rp",
                       sysfsdev=vm.sysfs[8], **properties)
    if "return" in added:
        bus = power_on(vm)
        assert vm.read(vm.config(bus, 0, 0)) == NVME
        enable_msix(vm, bus, 0)
        vm.ask("device_del", id="h")
        power_off(vm)
        vm.wait_event("DEVICE_DELETED")
    else:
        assert "\n" not in added["error"]["desc"], added
        vm.refused = added["error"]["desc"]
    disable_msix(vm, 0, 2)
    vm.ask("system_reset")
    vm.wait_event("RESET")
    vm.ask("query-pci")
    vm.ask("x-query-vfio")
    assert vm.ask("query-status")["status"] == "running"


def play_kvm(vm, properties):
    """Nobody plays the guest here. What fails in a reset or a start stops the VM, no more."""
    vm.greet()
    added = vm.command("device_add", driver="vfio-pci", id="h", bus="rp",
                       sysfsdev=vm.sysfs[8], **properties)
    if "return" in added:
        vm.ask("device_del", id="h")
        vm.wait_event("DEVICE_DELETED")
    else:
        assert "\n" not in added["error"]["desc"], added
        vm.refused = added["error"]["desc"]
    for name in "cont", "stop", "cont":
        vm.command(name)
    vm.ask("system_reset")
    vm.wait_event("RESET")
    vm.ask("query-cpus-fast")
    assert vm.ask("query-status")["status"] in ("running", "internal-error", "prelaunch")


def run(way, nth, choice):
    """The call that failed, what became of it, and what is wrong."""
    if way in handovers.HANDOVERS:
        return handovers.run(program, way, nth, choice)
    objects, properties = WAYS[way]
    dead = way.endswith("-dead")
    vm = VM(program, DEVICES, objects + ROOT_PORT + card("a", 7, ",addr=2.0", properties) +
            card("b", 9, ",addr=3.0", properties), fail=f"{nth}/{choice}{'+' if dead else ''}",
            accel="kvm" if way == "kvm" else "qtest")
    vm.refused = None
    wrong = None
    try:
        (play_kvm if way == "kvm" else play)(vm, properties)
        alive = True
    except Gone as error:
        alive = False
        wrong = str(error)
    except Exception as error:
        alive = True
        wrong = repr(error)
    status, text = vm.quit() if alive else vm.end()
    failed = next((line for line in text.splitlines() if " fails: " in line), None)
    said = [line for line in text.splitlines() if not line.startswith("sim: ")]
    if not alive and status == 1:
        # In a dead kernel there is a warning for each thing that it does not take back, and the
        # thread that maps memory may have an error of its own.
        errors = [line for line in said if not dead or ": warning: " not in line]
        wrong = None if 1 <= len(errors) <= 1 + dead else f"{len(errors)} lines say why"
    if status != (0 if alive else 1) or "Sanitizer" in text or "runtime error" in text:
        wrong = f"status {status}; {wrong}"
    what = "ends" if not alive else "refused" if vm.refused else "goes on"
    return failed, what, wrong, f"{vm.refused or ''} {' | '.join(said[:3])}", text


def report(place, result):
    """Whether it was bad."""
    failed, what, wrong, said, text = result
    print(*place, f"{failed}: {what}: {said}", flush=True)
    if wrong:
        print("FAIL", *place, f"{wrong}\n{text}", flush=True)
    return bool(wrong)


def sweep(pool, way, stride, step, covered):
    """Each call once, or every @stride-th. Returns how many runs were bad."""
    bad, first, more = 0, 1, True
    while more:
        places = [(way, nth, nth + step) for nth in range(first, first + BATCH * stride, stride)]
        results = list(pool.map(lambda place: run(*place), places))
        for place, result in zip(places, results):
            if result[0] or result[2]:
                bad += report(place, result)
                covered[result[1]] += 1
        more = all(result[0] for result in results)
        first += BATCH * stride
    return bad


def main():
    covered = dict.fromkeys(("ends", "refused", "goes on", "completed", "failed"), 0)
    if len(sys.argv) > 4:
        place = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
        return report(place, run(*place))
    ways, steps = dict(BRIEFLY), range(1)
    if sys.argv[2:] == ["all"]:
        ways, steps = dict.fromkeys([*WAYS, *handovers.HANDOVERS], 1), range(4)
    elif len(sys.argv) > 2:
        ways = {sys.argv[2]: int(sys.argv[3]) if len(sys.argv) > 3 else 1}
    if "kvm" in ways and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("kvm: skipped, there is no /dev/kvm to use")
        del ways["kvm"]
    sysfs_devices(DEVICES)  # before there are threads
    with concurrent.futures.ThreadPoolExecutor(max_workers=CPUS) as pool:
        bad = sum(sweep(pool, way, stride, step, covered)
                  for way, stride in ways.items() for step in steps)
    print(f"{sum(covered.values())} times a call of the kernel failed: {covered['ends']} times the "
          f"program ended, {covered['refused']} times the hot-plug was refused, "
          f"{covered['goes on']} times it went on; {covered['completed']} times the VM went over, "
          f"{covered['failed']} times it stayed; {bad} bad")
    return bool(bad) or not (len(ways) == 1 or all(covered.values()))


if __name__ == "__main__":
    sys.exit(main())
