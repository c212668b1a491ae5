#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""cpr-chardev.py PROGRAM: whoever is connected to a chardev with x-cpr=on does not notice that the
program is replaced: the monitor's session goes on where it was, the serial port's bytes come
once."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

from vm import Channel, Gone, Monitor, channel, expect, listens

PROGRAM = sys.argv[1]
COM1 = 0x3F8
TIMEOUT = 60
folder = tempfile.TemporaryDirectory(prefix="viaduct-kept-")
numbers = iter(range(1000))


def path(name):
    return os.path.join(folder.name, f"{name}{next(numbers)}")


def connect(where):
    for _ in range(6000):
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(where)
            return sock
        except OSError:
            sock.close()
            time.sleep(0.01)
    raise AssertionError(f"nobody at {where}")


class Guest:
    """Played by qtest: it uses the serial port."""

    def __init__(self, where):
        self.channel = Channel(connect(where), TIMEOUT)

    def ask(self, line):
        self.channel.send(line)
        while True:
            answer = self.channel.line()
            if not answer.startswith("IRQ "):
                return answer.split()[1:]

    def say(self, text):
        for byte in text.encode():
            self.ask(f"outb {COM1:#x} {byte:#x}")

    def hear(self):
        for _ in range(3000):
            if int(self.ask(f"inb {COM1 + 5:#x}")[0], 0) & 1:
                return chr(int(self.ask(f"inb {COM1:#x}")[0], 0))
            time.sleep(0.01)
        raise AssertionError("nothing comes over the serial port")

    def close(self):
        self.channel.close()


class Client(Monitor):
    """Of a monitor; all that it is told is in .log: events' names, answers' ids, greetings."""

    def __init__(self, where):
        super().__init__(Channel(connect(where), TIMEOUT))
        self.log = []
        self.greet()

    def message(self):
        message = super().message()
        if message.get("event") == "MIGRATION":
            self.log.append(message["data"]["status"])
        else:
            self.log.append(message.get("event") or message.get("id") or "greeting")
        return message

    def until(self, what):
        while what not in self.log:
            self.message()

    def status(self):
        return self.ask("query-status")["status"]

    def migration(self):
        for _ in range(6000):
            info = self.ask("query-migrate")
            if info.get("status") in ("completed", "failed"):
                return info
            time.sleep(0.01)
        raise AssertionError(info)


class Machine:
    """What all processes that one VM is in have in common."""

    def __init__(self, sandbox="on"):
        self.monitor, self.console = path("mon"), path("con")
        self.sandbox = sandbox

    def options(self, keep="mon0 con0"):
        def kept(name):
            return f",x-cpr={'on' if name in keep else 'off'}"
        return ["-machine", "q35,aux-ram-share=on", "-nodefaults", "-accel", "qtest", "-m", "16",
                "-sandbox", self.sandbox, "-chardev",
                f"socket,id=mon0,path={self.monitor},server=on,wait=off{kept('mon0')}",
                "-mon", "chardev=mon0,mode=control",
                "-serial", f"unix:{self.console},server=on,wait=off{kept('con0')}"]

    def start(self, *more, keep="mon0 con0"):
        """The process, and where its qtest listens."""
        qtest = path("qtest")
        process = subprocess.Popen(
            [PROGRAM, *self.options(keep), "-qtest-log", "none", "-qtest",
             f"unix:{qtest},server=on,wait=off", *more], env={**os.environ, "VIADUCT_SIM": ""},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return process, qtest

    def destination(self, *more, **of_it):
        """It makes nothing before the source has sent: with the channels to tell the source."""
        main, cpr = path("main"), path("cpr")
        channels = [channel("main", main), channel("cpr", cpr)]
        incoming = [word for one in channels for word in
                    ("-incoming", str(one).replace("'", '"'))]
        process, qtest = self.start(*incoming, *more, **of_it)
        while not listens(cpr):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        return process, qtest, channels


def ended(process, status=0):
    _, text = process.communicate(timeout=TIMEOUT)
    expect(f"end ({text})", process.returncode, status)
    return text


def quit(client, process):
    try:
        client.command("quit")
    except Gone:
        pass
    expect("said at the end", ended(process), "")


def receive(sock, wanted):
    """Exactly that, and nothing behind it."""
    got = b""
    sock.settimeout(TIMEOUT)
    while len(got) < len(wanted):
        more = sock.recv(65536)
        assert more, f"closed after {got!r}"
        got += more
    expect("over the serial port", got.decode(), wanted)
    assert not select.select([sock], [], [], 0.1)[0], sock.recv(100)


def reconnect(guest, where, old):
    """The next client; bytes are lost that the guest says before it is there."""
    old.close()
    sock = connect(where)
    sock.sendall(b"!")
    expect("heard", guest.hear(), "!")
    return sock


def lines(first, last):
    return "".join(f"line {n}\n" for n in range(first, last))


def test_goes_on():
    """One client of each, through three processes."""
    machine = Machine()
    process, qtest = machine.start()
    client, console, guest = Client(machine.monitor), connect(machine.console), Guest(qtest)
    client.ask("migrate-set-capabilities",
               capabilities=[{"capability": "events", "state": True}])
    console.sendall(b"ab")
    for n in range(3):
        # More than the socket takes while nobody reads.
        guest.say(lines(100 * n, 100 * n + 90))
        console.sendall(b"c")
        expect("heard", guest.hear(), "abcc"[n])
        new, qtest, channels = machine.destination()
        client.ask("migrate-set-parameters", mode="cpr-transfer")
        client.log.clear()
        # The next request is cut in the middle of a string's escape.
        first = client.request("migrate", {"channels": channels})
        second = client.request("query-status", {})
        half = second.index("query") + 3
        second = second.replace("query", "que\\u0072y")
        client.qmp.sock.sendall((first + second[:half + 4]).encode())
        client.until("RESUME")
        expect("status of the old one", ended(process), "")
        client.qmp.send(second[half + 4:])
        answer = client.answer()
        expect("answer", answer["return"]["status"], "running")
        expect("told", client.log, ["setup", client.serial - 1, "active", "STOP", "device",
                                    "RESUME", client.serial] if not n else
               [client.serial - 1, "STOP", "RESUME", client.serial])
        guest.close()
        process, guest = new, Guest(qtest)
        guest.say(lines(100 * n + 90, 100 * n + 100))
        expect("completed", client.migration()["status"], "completed")
    receive(console, lines(0, 300))
    expect("heard", guest.hear() + guest.hear(), "cc")

    # Both listen where the first process did, and clients come and go.
    client.qmp.close()
    client, console = Client(machine.monitor), reconnect(guest, machine.console, console)
    guest.say("again")
    receive(console, "again")
    guest.close()
    quit(client, process)
    for where in machine.monitor, machine.console:
        assert not os.path.exists(where), f"{where} stays behind"


def replace(machine, client):
    """The new process; the old one stays for the client, whose monitor is not kept."""
    new, _, channels = machine.destination()
    client.ask("migrate-set-parameters", mode="cpr-transfer")
    client.ask("migrate", channels=channels)
    expect("CPR", client.migration()["status"], "completed")
    expect("old", client.status(), "postmigrate")
    return new


def test_second_monitor():
    """Somebody else does the update, and nobody is connected; the old process stays for him."""
    machine = Machine()
    other = path("other")
    process, _ = machine.start("-qmp", f"unix:{other},server=on,wait=off")
    client = Client(other)
    new = replace(machine, client)
    waiting = Client(machine.monitor)
    expect("new", waiting.status(), "running")
    quit(client, process)
    expect("new", waiting.status(), "running")
    quit(waiting, new)


def test_not_kept():
    """Without x-cpr=on the new process opens its own, as ever."""
    machine = Machine()
    process, _ = machine.start(keep="")
    client = Client(machine.monitor)
    new = replace(machine, client)
    fresh = Client(machine.monitor)
    expect("new", fresh.status(), "running")
    quit(client, process)
    quit(fresh, new)


def test_fails():
    """Before the VM stops, and after it: the old process goes on with its clients."""
    machine = Machine(sandbox="off")
    process, qtest = machine.start()
    client, console, guest = Client(machine.monitor), connect(machine.console), Guest(qtest)
    guest.say(lines(0, 50))
    client.ask("migrate-set-parameters", mode="cpr-transfer")
    moved = Machine()
    moved.console = machine.console
    for other, keep, more, why in (
            (machine, "mon0", (), "chardev 'serial0': the old process has it with x-cpr=on"),
            (moved, "mon0 con0", (), f"the old process listens at '{machine.monitor}', not at"),
            (machine, "mon0 con0", ("-m", "32"), "size 0x2000000"),
            (machine, "mon0 con0", ("-device", "pcie-root-port,id=p,chassis=1"),
             "machines differ")):
        new, _, channels = other.destination(*more, keep=keep)
        client.ask("migrate", channels=channels)
        info = client.migration()
        expect("CPR", info["status"], "failed")
        assert why in info["error-desc"], (why, info)
        assert why in ended(new, 1)
        expect("old", client.status(), "running")

    # With everything let go of.
    client.ask("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=["/nonexistent"])
    client.log.clear()
    for _ in range(3):
        client.ask("migrate", uri=f"file:{path('state')}")
        info = client.migration()
        assert "cannot execute '/nonexistent'" in info["error-desc"], info
    expect("told", [word for word in client.log if word in ("STOP", "RESUME", "greeting")],
           ["STOP", "RESUME"] * 3)
    guest.say(lines(50, 60))
    receive(console, lines(0, 60))
    console.sendall(b"x")
    expect("heard", guest.hear(), "x")
    console = reconnect(guest, machine.console, console)
    guest.say("again")
    receive(console, "again")
    guest.close()
    quit(client, process)
    assert not os.path.exists(machine.monitor)


def test_in_between():
    """The client asks while neither process listens to it: who has the VM afterwards answers."""
    machine = Machine()
    process, qtest = machine.start()
    client, console, guest = Client(machine.monitor), connect(machine.console), Guest(qtest)
    client.ask("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": True} for name in ("events", "pause-before-switchover")])
    for dies in True, True, False:
        guest.say("before, ")
        client.ask("migrate-set-parameters", mode="cpr-transfer")
        new, qtest, channels = machine.destination()
        client.log.clear()
        client.ask("migrate", channels=channels)
        client.until("pre-switchover")
        new.send_signal(signal.SIGSTOP)
        client.ask("migrate-continue", state="pre-switchover")
        client.until("device")
        time.sleep(0.3)
        client.qmp.send(client.request("query-status", {}))
        assert not select.select([client.qmp.sock], [], [], 0.3)[0], client.message()
        if dies:
            new.kill()
            ended(new, -signal.SIGKILL)
        else:
            new.send_signal(signal.SIGCONT)
        answer = client.answer()
        expect("log", client.log[-4:], ["device", "RESUME", "failed", client.serial] if dies else
               [client.serial - 1, "device", "RESUME", client.serial])
        expect("status", answer["return"]["status"], "running")
        if not dies:
            ended(process)
            guest.close()
            process, guest = new, Guest(qtest)
        guest.say("after. ")
    receive(console, "before, after. " * 3)
    guest.close()
    quit(client, process)


def test_exec():
    """The same process, with another program, and the same client."""
    machine = Machine(sandbox="off")
    process, qtest = machine.start()
    client, console, guest = Client(machine.monitor), connect(machine.console), Guest(qtest)
    fds = None
    for n in range(3):
        guest.say(lines(100 * n, 100 * n + 90))
        guest.close()
        qtest, state = path("qtest"), path("state")
        client.ask("migrate-set-parameters", mode="cpr-exec", cpr_exec_command=[
            PROGRAM, *machine.options(), "-qtest-log", "none", "-qtest",
            f"unix:{qtest},server=on,wait=off", "-incoming", f"file:{state}"])
        client.log.clear()
        client.ask("migrate", uri=f"file:{state}")
        client.until("RESUME")
        guest = Guest(qtest)
        guest.say(lines(100 * n + 90, 100 * n + 100))
        expect("completed", client.migration()["status"], "completed")
        assert "greeting" not in client.log, client.log
        expect("status", client.status(), "running")
        now = len(os.listdir(f"/proc/{process.pid}/fd"))
        expect("descriptors", now, fds or now)
        fds = now
    receive(console, lines(0, 300))
    guest.close()
    quit(client, process)
    assert not os.path.exists(machine.monitor)


def test_refused():
    for options, why in (
            (["-chardev", "null,id=c,x-cpr=on"],
             "chardev 'c': x-cpr=on: a live update can keep a socket, not a 'null'"),
            (["-chardev", f"file,id=c,path={path('file')},x-cpr=on"], "not a 'file'"),
            (["-chardev", "pty,id=c,x-cpr=on"], "not a 'pty'"),
            (["-chardev", "stdio,id=c,x-cpr=maybe"], "'x-cpr' expects 'on' or 'off'"),
            (["-chardev", f"socket,id={'c' * 201},path=/nowhere,x-cpr=on"],
             "x-cpr=on needs an id of at most 200 characters"),
            (["-accel", "qtest", "-qtest", f"unix:{path('qtest')},server=on,wait=off,x-cpr=on"],
             "x-cpr=on is for monitors and serial ports")):
        process = subprocess.run([PROGRAM, "-nodefaults", "-m", "16", *options], text=True,
                                 env={**os.environ, "VIADUCT_SIM": ""}, stderr=subprocess.PIPE)
        expect("status", process.returncode, 1)
        assert why in process.stderr and process.stderr.count("\n") == 1, process.stderr
        print(process.stderr, end="")


for name, test in list(globals().items()):
    if name.startswith("test_"):
        print(name, flush=True)
        test()
