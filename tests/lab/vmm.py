# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab's tests in Python share: a VMM (the program or, to compare, QEMU), its monitor, and
what its guest says."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.environ["LAB_ROOT"] + "/tests")
from monitor import Channel, Gone, Monitor  # noqa: E402

# As in lib.sh. And a guest's watchdog of clocksources reads two clocks one after the other: a vCPU that
# is put aside between them, as it is in the lab, has an unstable TSC for it, migrated or not.
CMDLINE = (
    "console=ttyS0 quiet panic=-1 lapic=notscdeadline tsc=nowatchdog "
    "8250.nr_uarts=1 initcall_blacklist=vt_init,vmx_init,svm_init,loop_init"
)
PROGRAM = os.environ["VIADUCT"]
PEER = os.environ.get("LAB_PEER")


def say(*words):
    print("host:", *words, flush=True)


def fail(*words):
    say("FAILED:", *words)
    sys.exit(1)


def hung(name):
    """The check tries once more."""
    say(f"HUNG: nothing is heard of the guest of {name} any more")
    sys.exit(124)


def touch_memory():
    """Memory that this lab has never touched costs page faults of the machine below: whoever came
    first would pay for all."""
    files = []
    for folder in "/tmp", "/run":  # each can have half of it
        files.append(f"{folder}/touched")
        with open("/proc/meminfo") as info, open(files[-1], "wb", buffering=0) as file:
            free = next(int(line.split()[1]) for line in info if line.startswith("MemAvailable"))
            total = os.statvfs(folder)
            for _ in range(min(free // 1024 - 500, total.f_bavail * total.f_bsize >> 20)):
                file.write(bytes(1 << 20))
    for file in files:
        os.unlink(file)


class VMM(Monitor):
    """A process whose guest runs tests/lab/guest/TEST; what it prints is shown with NAME before it
    and kept, with the time of each line, in .lines."""

    def __init__(self, name, test, *options, program=PROGRAM, memory="512M", smp=1, append="",
                 quiet=False, sandbox=True):
        super().__init__()
        self.name, self.quiet = name, quiet
        self.lines = []
        self.changed = threading.Condition()
        self.path = f"/tmp/{name}.qmp"
        with socket.socket(socket.AF_UNIX) as server:
            if os.path.exists(self.path):
                os.unlink(self.path)
            server.bind(self.path)
            server.listen(1)
            server.settimeout(60)
            self.process = subprocess.Popen(
                [program, "-machine", "q35,memory-backend=ram", "-accel", "kvm", "-cpu", "host",
                 "-object", f"memory-backend-memfd,id=ram,size={memory},share=on", "-m", memory,
                 "-sandbox", "on" if sandbox else "off", "-smp", str(smp), "-nodefaults",
                 "-display", "none", "-serial", "stdio",
                 "-qmp", f"unix:{self.path}", "-kernel", os.environ["LAB_KERNEL"],
                 "-initrd", os.environ["LAB_GUEST"], "-append", f"{CMDLINE} {append} test={test}",
                 *map(str, options), *os.environ.get("LAB_OPTS", "").split()],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            threading.Thread(target=self._read, daemon=True).start()
            self.qmp = Channel(server.accept()[0], 120)
        self.greet()

    def _read(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            with self.changed:
                self.lines.append((time.monotonic(), text))
                self.changed.notify_all()
            if not self.quiet:
                print(f"{self.name}: {text}", flush=True)

    def ask(self, name, **arguments):
        answer = self.command(name, **arguments)
        if "return" not in answer:
            fail(self.name, name, answer["error"]["desc"])
        return answer["return"]

    def said(self, text):
        with self.changed:
            return [line for _, line in self.lines if text in line]

    def wait(self, text, times=1, seconds=60):
        """Until its guest or itself has said so, so often."""
        end = time.monotonic() + seconds
        with self.changed:
            while sum(text in line for _, line in self.lines) < times:
                if not self.changed.wait(end - time.monotonic()) or self.process.poll() is not None:
                    if sum(text in line for _, line in self.lines) >= times:
                        return
                    silent = not self.lines or self.lines[-1][0] < time.monotonic() - seconds / 2
                    if self.process.poll() is None and silent:
                        hung(self.name)
                    fail(f"{self.name} did not say '{text}' {times} times")

    def status(self):
        return self.ask("query-status")["status"]

    def migration(self, *wanted, seconds=120):
        """query-migrate's answer, once its status is one of those."""
        end = time.monotonic() + seconds
        while True:
            info = self.ask("query-migrate")
            if info.get("status") in wanted:
                return info
            if time.monotonic() > end:
                fail(self.name, "migration:", json.dumps(info))
            time.sleep(0.005)

    def quit(self):
        try:
            self.command("quit")
        except Gone:
            pass
        status = self.process.wait(60)
        self.qmp.close()
        if status:
            fail(self.name, "ended with status", status)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.qmp.close()
