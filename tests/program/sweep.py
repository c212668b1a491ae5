#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""sweep.py PROGRAM [N]: one scenario again and again, in which call N of the kernel fails, for each
N there is. Each run must end with a line that says why and status 1, or as a VM that answers and
quits with status 0; nothing may be left open in any. With N only that run, and all it says."""

import concurrent.futures
import os
import sys

from scenario import (DEVICES, IOMMUFD, ROOT_PORT, card, disable_msix, enable_msix, power_off,
                      power_on)
from vm import NVME, VM, Gone

program = sys.argv[1]
ARGS = IOMMUFD + ROOT_PORT + card("a", 7, ",addr=2.0") + card("b", 9, ",addr=3.0")


def play(vm):
    """The scenario. Any command may be refused; then the guest goes without what it asked for."""
    vm.greet()
    enable_msix(vm, 0, 2)
    added = vm.command("device_add", driver="vfio-pci", id="h", bus="rp", iommufd="i0",
                       sysfsdev=vm.sysfs[8])
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
    expect_answer = vm.ask("query-status")
    assert expect_answer["status"] in ("running", "internal-error", "prelaunch"), expect_answer


def run(nth):
    """What happened, whether the call was made, and what is wrong."""
    vm = VM(program, DEVICES, ARGS, fail=f"{nth}/{nth}")
    vm.refused = None
    wrong = None
    try:
        play(vm)
        alive = True
    except Gone as error:
        alive = False
        wrong = str(error)
    except Exception as error:
        alive = True
        wrong = repr(error)
    status, text = vm.quit() if alive else vm.end()
    said = [line for line in text.splitlines() if not line.startswith("sim: ")]
    failed = next((line for line in text.splitlines() if " fails: " in line), None)
    if not alive and status == 1 and said:
        wrong = None
    if alive and status != 0 or not alive and status != 1 or "Sanitizer" in text:
        wrong = f"status {status}; {wrong}"
    return nth, failed, wrong, alive, vm.refused, said, text


def report(result):
    nth, failed, wrong, alive, refused, said, text = result
    what = "goes on" if alive and not refused else "refused" if alive else "ends"
    print(f"{nth:4} {failed}: {what}; {refused or ''} {' | '.join(said[:3])}", flush=True)
    if wrong:
        print(f"FAIL {nth}: {wrong}\n{text}", flush=True)


def main():
    if len(sys.argv) > 2:
        result = run(int(sys.argv[2]))
        report(result)
        return 1 if result[2] else 0
    covered = {"goes on": 0, "refused": 0, "ends": 0}
    bad = 0
    batch = 8 * (os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        first = 1
        while True:
            results = list(pool.map(run, range(first, first + batch)))
            for result in results:
                _, failed, wrong, alive, refused, _, _ = result
                bad += bool(wrong)
                if wrong or failed:
                    report(result)
                if failed:
                    covered["goes on" if alive and not refused else "refused" if alive
                            else "ends"] += 1
            if not all(result[1] for result in results):
                break
            first += batch
    print(f"{sum(covered.values())} calls of the kernel failed once each: "
          f"{covered['ends']} times the program ended, {covered['refused']} times the hot-plug was "
          f"refused, {covered['goes on']} times it went on; {bad} bad")
    return bool(bad) or not covered["ends"] or not covered["refused"]


if __name__ == "__main__":
    sys.exit(main())
