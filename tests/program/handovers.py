# SPDX-License-Identifier: GPL-2.0-or-later
"""Two processes and a VM that goes from one to the other, for the sweep: a call of one of them
fails. Whatever it is, one has the VM afterwards, and says so; the other has ended, or can."""

import itertools
import os

from scenario import IOMMUFD, card, enable_msix, interrupted
from vm import VM, Gone, channel, expect, folder, incoming, listens

SHARED = ["-machine", "q35,aux-ram-share=on"]
MARK = 300 * 4096
numbers = itertools.count()


def cards(minors):
    return [word for slot, minor in zip(Handover.slots, minors)
            for word in card(f"d{slot}", minor, f",addr={slot}.0")]


def path(name):
    return os.path.join(folder.name, f"{name}{next(numbers)}")


class Handover:
    """What all kinds share: the VM that has it at first is `old`, the other `new`."""

    slots = 2, 3  # of the devices

    def __init__(self):
        self.main = path("main")
        self.completed = self.unheard = False
        self.reason = ""

    def prepare(self):
        self.old.greet()
        for slot in self.slots:
            enable_msix(self.old, 0, slot)
        self.old.write(MARK, 0xC0FFEE)

    def hand_over(self, **arguments):
        """Whether it has gone over."""
        answer = self.old.command("migrate", **arguments)
        if "error" in answer:
            return self.said(answer["error"]["desc"])
        info = self.old.wait_status("completed", "failed")
        self.completed = info["status"] == "completed"
        return self.completed or self.said(info.get("error-desc", ""))

    def said(self, text):
        self.reason = text
        assert text and "\n" not in text, f"no reason, or a long one: {text!r}"
        return False

    def check_owner(self):
        """One has the VM, its memory and its devices, and not both."""
        if self.completed and self.new is not self.old:
            expect("old", self.old.run_state(), "postmigrate")
            self.new.wait_status("completed")
        owner = self.new if self.completed else self.old
        if owner.run_state() != "running":
            owner.ask("cont")
        expect("owner", owner.run_state(), "running")
        expect("memory", owner.read(MARK), 0xC0FFEE)
        for slot in self.slots:
            assert owner.read(owner.config(0, slot, 0)) & 0xFFFF == 0x1B36, "a device is gone"
        if owner is self.old and self.slots:
            interrupted(self.old)
        owner.ask("system_reset")
        owner.wait_event("RESET")
        owner.ask("query-pci")


class Migration(Handover):
    """Devices with their states."""

    def __init__(self, program, fail_old, fail_new):
        super().__init__()
        self.old = VM(program, tuple(("mover", minor, 0) for minor in (7, 8)),
                      IOMMUFD + cards((7, 8)), fail=fail_old)
        self.new = VM(program, tuple(("mover", minor, 0) for minor in (9, 11)),
                      IOMMUFD + cards((9, 11)) + ["-incoming", "defer"], fail=fail_new)

    def play(self, failing):
        self.prepare()
        self.new.greet()
        failing(self).fail_from_now_on()
        uri = f"unix:{self.main}"
        answer = self.new.command("migrate-incoming", uri=uri)
        if "error" in answer:
            self.said(answer["error"]["desc"])
        self.hand_over(uri=uri)
        self.check_owner()

    def end_new(self):
        return self.new.quit()


class LiveUpdate(Handover):
    """cpr-transfer: of the new process all calls count, for it begins with what it was given."""

    def __init__(self, program, fail_old, fail_new):
        super().__init__()
        self.cpr = path("cpr")
        devices = ("nvme", 7, 0), ("nvme", 9, 1)
        args = SHARED + IOMMUFD + cards((7, 9))
        self.old = VM(program, devices, args, fail=fail_old)
        self.new = VM(program, devices, args + ["-incoming", incoming("main", self.main),
                                                "-incoming", incoming("cpr", self.cpr)],
                      fail=fail_new, connect=False)

    def play(self, failing):
        self.prepare()
        self.new.wait_listening(self.cpr)
        if failing(self) is self.old:
            self.old.fail_from_now_on()
        self.old.ask("migrate-set-parameters", mode="cpr-transfer")
        over = self.hand_over(channels=[channel("main", self.main), channel("cpr", self.cpr)])
        if over:
            self.new.connect()
            self.new.greet()
        self.check_owner()

    def end_new(self):
        """One that was told why not ends by itself; one that nobody has spoken to waits."""
        if self.new.qmp:
            return self.new.quit()
        if listens(self.cpr):
            self.new.process.terminate()
        return self.new.end()


class Exec(Handover):
    """cpr-exec, of memory alone: nothing simulated outlives exec. Both are one process, and of the
    new program all calls count."""

    slots = ()

    def __init__(self, program, fail_old, fail_new):
        super().__init__()
        self.old = VM(program, (), SHARED + ["-sandbox", "off"], fail=fail_old)
        self.again = [path("again") for _ in range(2)]
        self.servers = [self.old.listen(name) for name in self.again]
        self.command = ["env", f"VIADUCT_SIM_FAIL={fail_new or '@1'}", program, "-nodefaults",
                        "-accel", "qtest", "-m", "16", *SHARED,
                        "-qmp", f"unix:{self.again[0]}", "-qtest-log", "none",
                        "-qtest", f"unix:{self.again[1]}", "-incoming", f"file:{self.main}"]
        self.new = self.old

    def play(self, failing):
        self.prepare()
        if failing is old:
            self.old.fail_from_now_on()
        self.old.ask("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=self.command)
        try:
            self.hand_over(uri=f"file:{self.main}")
        except Gone:  # it is the new program, or has ended
            self.completed = True
            vm = self.old
            vm.qmp.close()
            vm.qtest.close()
            vm.qmp, vm.qtest = [vm.accept(server) for server in self.servers]
            vm.greet()
            vm.wait_status("completed")
        self.check_owner()

    def end_new(self):
        for server in self.servers:
            server.close()
        return 0, ""


def old(handover):
    return handover.old


def new(handover):
    return handover.new


HANDOVERS = {
    "migrate-source": (Migration, old, "@"),
    "migrate-destination": (Migration, new, "@"),
    "cpr-old": (LiveUpdate, old, "@"),
    "cpr-new": (LiveUpdate, new, ""),
    "exec-old": (Exec, old, "@"),
    "exec-new": (Exec, new, ""),
}


def complaints(text):
    return [line for line in text.splitlines()
            if not line.startswith("sim: ") and ": warning: " not in line]


def ended(what, status, text, may_fail):
    """What is wrong with a process's end."""
    if "Sanitizer" in text or "runtime error" in text or status not in (0, 1):
        return f"{what}: status {status}"
    if status and not may_fail:
        return f"{what}: status {status}, though the VM is its own or was"
    if status and len(complaints(text)) != 1:
        return f"{what}: {len(complaints(text))} lines say why it ended"
    return None


def run(program, way, nth, choice):
    """As sweep.py's run()."""
    kind, failing, begins = HANDOVERS[way]
    fail = f"{begins}{nth}/{choice}"
    h = kind(program, *((fail, None) if failing is old else (None, fail)))
    wrong = None
    try:
        h.play(failing)
    except Gone as error:
        # It was told to go and did not hear it, though what was sent is there: not so on Linux.
        h.unheard = h.completed
        wrong = None if h.unheard else f"gone: {error}"
    except Exception as error:
        wrong = repr(error)
    ends = [h.old.quit(), h.end_new()]
    texts = [text for _, text in ends]
    failed = next((line for line in "\n".join(texts).splitlines() if " fails: " in line), None)
    same = h.new is h.old  # a new program has no old one to fall back to
    wrong = (wrong or ended("old", *ends[0], same and h.unheard and failing is new) or
             ended("new", *ends[1], not h.completed or h.unheard))
    if (h.unheard and not same and
            ("readv" not in (failed or "") or "does not let go" not in texts[1])):
        wrong = wrong or "new: it was told to go, and has ended"
    if not failed and any(not line.startswith("sim: ") for line in "".join(texts).splitlines()):
        wrong = wrong or "it went well, and yet says something"
    said = [h.reason] + [line for text in texts for line in complaints(text)[:2]]
    return (failed, "completed" if h.completed else "failed", wrong,
            " | ".join(filter(None, said)), "\n-- new --\n".join(texts))
