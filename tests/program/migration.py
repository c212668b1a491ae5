#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""migration.py PROGRAM: a VM moves between two processes, over each transport; and each way that it
can fail leaves it with the source, or says why."""

import os
import random
import socket
import struct
import sys
import tempfile
import time

from scenario import ROOT_PORT
from vm import VM, Gone, expect, start

program = sys.argv[1]
folder = tempfile.TemporaryDirectory(prefix="viaduct-migration-")
HEADER = struct.Struct("<IHHIIQ")
RECORDS = ["?", "hello", "machine", "ram", "device", "sync", "states", "end"]


def path(name):
    return os.path.join(folder.name, name)


def finish(*vms):
    for vm in vms:
        expect("end", vm.quit(), (0, ""))


def status(vm):
    return vm.ask("query-migrate").get("status")


PAGES = [0, 1, 2, 300, 301, 700, 4095]


def fill(vm):
    """Memory and registers that are not what they were at the start."""
    for n, page in enumerate(PAGES):
        vm.write(page * 4096 + 8 * n, 0xC0FFEE00 + n)
    vm.guest(f"memset {900 * 4096} {200 * 4096} 0xa5")
    vm.guest("outl 0xcf8 0x80001234")


def check(vm):
    for n, page in enumerate(PAGES):
        expect(f"page {page}", vm.read(page * 4096 + 8 * n), 0xC0FFEE00 + n)
    expect("page 999", vm.read(999 * 4096 + 40), 0xA5A5A5A5)
    expect("page 1200", vm.read(1200 * 4096), 0)
    expect("0xcf8", vm.guest("inl 0xcf8"), "0x80001234")


def migrate(source, uri):
    source.ask("migrate", uri=uri)
    return source.wait_status("completed", "failed")


def done(source, destination, info):
    expect("migrate", info["status"], "completed")
    expect("source", source.run_state(), "postmigrate")
    destination.wait_status("completed")
    expect("destination", destination.run_state(), "running")
    check(destination)


def test_transports():
    for name, uri, incoming in [
        ("unix", "unix:{0}", None),
        ("tcp", "tcp:127.0.0.1:{1}", "tcp:127.0.0.1:{1}"),
        ("file", "file:{0}", None),
        ("offset", "file:{0},offset=4096", None),
        ("exec", "exec:cat >{0}", "exec:cat {0}"),
    ]:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            words = path(name), sock.getsockname()[1]
        source = start(*ROOT_PORT, "-sandbox", "off" if name == "exec" else "on")
        fill(source)
        uri = uri.format(*words)
        if name in ("unix", "tcp"):
            destination = start(*ROOT_PORT, "-incoming", (incoming or uri).format(*words))
            expect("waits", destination.run_state(), "inmigrate")
            info = migrate(source, uri)
        else:
            info = migrate(source, uri)
            destination = start(*ROOT_PORT, "-sandbox", "off" if name == "exec" else "on",
                                "-incoming", (incoming or uri).format(*words))
        done(source, destination, info)
        print(name, {k: v for k, v in info["ram"].items() if v}, "downtime", info["downtime"])
        finish(source, destination)


def test_exec_in_sandbox():
    source = start()
    info = migrate(source, f"exec:cat >{path('confined')}")
    assert "-sandbox on lets no command start" in info["error-desc"], info
    finish(source)


def test_there_and_back():
    source = start(*ROOT_PORT)
    fill(source)
    source.ask("migrate-set-capabilities",
               capabilities=[{"capability": "events", "state": True}])
    for n in range(10):
        uri = f"unix:{path(f'round{n}')}"
        destination = start(*ROOT_PORT, "-incoming", "defer")
        destination.ask("migrate-set-capabilities",
                        capabilities=[{"capability": "events", "state": True}])
        destination.ask("migrate-incoming", uri=uri)
        source.ask("migrate", uri=uri)
        source.wait_event("STOP")
        destination.wait_event("RESUME")
        done(source, destination, source.wait_status("completed"))
        for vm, wanted in [(source, ["setup", "active", "device", "completed"]),
                           (destination, ["setup", "active", "completed"])]:
            got = [e["data"]["status"] for e in vm.events if e["event"] == "MIGRATION"]
            expect("MIGRATION", got, wanted)
            vm.events.clear()
        finish(source)
        source = destination
    finish(source)


def test_multifd():
    """The destination's channels are those that it has been told of when the source comes."""
    uri = f"unix:{path('multifd')}"
    for incoming in "defer", uri:
        source, destination = (start(*ROOT_PORT, *more) for more in ([], ["-incoming", incoming]))
        fill(source)
        for vm in source, destination:
            vm.ask("migrate-set-capabilities",
                   capabilities=[{"capability": "multifd", "state": True}])
            vm.ask("migrate-set-parameters", multifd_channels=3)
        if incoming == "defer":
            destination.ask("migrate-incoming", uri=uri)
        done(source, destination, migrate(source, uri))
        finish(source, destination)


def test_not_blank():
    """Where the destination's memory holds something already, it is cleared."""
    ram = ("-machine", "memory-backend=ram", "-object",
           "memory-backend-memfd,id=ram,size=128M,prealloc=on", "-m", "128M")
    source = start(*ROOT_PORT, *ram)
    fill(source)
    for n in range(2):
        uri = f"unix:{path(f'blank{n}')}"
        destination = start(*ROOT_PORT, *ram, "-incoming", uri)
        if n:
            destination.guest(f"memset {1100 * 4096} {200 * 4096} 0x5a")
        done(source, destination, migrate(source, uri))
        finish(source)
        source = destination
    finish(source)


def test_stopped():
    """A VM that stands still is saved and goes on standing still."""
    source = start("-S")
    fill(source)
    expect("saved", migrate(source, f"file:{path('stopped')}")["status"], "completed")
    destination = start("-incoming", f"file:{path('stopped')}")
    destination.wait_status("completed")
    expect("state", destination.run_state(), "paused")
    check(destination)
    destination.ask("cont")
    finish(source, destination)


def test_pause_before_switchover():
    source, destination = start(), start("-incoming", f"unix:{path('pause')}")
    fill(source)
    source.ask("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.ask("migrate", uri=f"unix:{path('pause')}")
    source.wait_status("pre-switchover")
    expect("state", source.run_state(), "finish-migrate")
    answer = source.command("cont")
    assert "not finalized" in answer["error"]["desc"], answer
    answer = source.command("migrate-continue", state="device")
    assert "not in expected state" in answer["error"]["desc"], answer
    source.ask("migrate-continue", state="pre-switchover")
    done(source, destination, source.wait_status("completed"))
    finish(source, destination)


def test_other_machine():
    for name, args, wanted in [
        ("size", ["-m", "32"], "RAM block 'pc.ram' of 16777216 bytes"),
        ("more", ROOT_PORT, "pcie-slot"),
    ]:
        source, destination = start(), start(*args, "-incoming", f"unix:{path(name)}")
        fill(source)
        info = migrate(source, f"unix:{path(name)}")
        expect("migrate", info["status"], "failed")
        print(name, info["error-desc"])
        assert "the machines differ" in info["error-desc"] and wanted in info["error-desc"], info
        code, text = destination.end()
        expect("destination", (code, len(text.splitlines())), (1, 1))
        assert "the machines differ" in text, text
        expect("source", source.run_state(), "running")
        check(source)
        finish(source)


def test_nobody_there():
    vm = start()
    info = migrate(vm, f"unix:{path('nobody')}")
    expect("migrate", info["status"], "failed")
    print(info["error-desc"])
    expect("state", vm.run_state(), "running")
    for command, arguments in [
        ("migrate", {"uri": "nosuch:thing"}),
        ("migrate", {}),
        ("migrate", {"uri": "unix:/x", "channels": []}),
        ("migrate-incoming", {"uri": "unix:/x"}),
        ("migrate-continue", {"state": "device"}),
        ("migrate-start-postcopy", {}),
        ("migrate-recover", {"uri": "unix:/x"}),
    ]:
        answer = vm.command(command, **arguments)
        print(command, answer["error"]["desc"])
    vm.ask("migrate_cancel")
    finish(vm)


def deaf(name):
    """Somebody who takes the connection and then nothing."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path(name))
    server.listen(1)
    return server


def test_cancel():
    source = start()
    fill(source)
    source.guest(f"memset 0x500000 {10 << 20} 0x5a")
    for n in range(5):
        with deaf(f"deaf{n}") as server:
            source.ask("migrate", uri=f"unix:{path(f'deaf{n}')}")
            connection = server.accept()[0]
            time.sleep(n / 100)
            source.ask("migrate_cancel")
            source.wait_status("cancelled")
            connection.close()
        expect("state", source.run_state(), "running")
    with deaf("closes") as server:
        source.ask("migrate", uri=f"unix:{path('closes')}")
        server.accept()[0].close()
        print(source.wait_status("failed")["error-desc"])
    destination = start("-incoming", f"unix:{path('after')}")
    done(source, destination, migrate(source, f"unix:{path('after')}"))
    finish(source, destination)


def test_killed():
    """The destination dies at some moment: the VM is the source's."""
    source = start()
    fill(source)
    source.guest(f"memset 0x500000 {10 << 20} 0x5a")
    for n in range(8):
        destination = start("-incoming", f"unix:{path(f'killed{n}')}")
        source.ask("migrate", uri=f"unix:{path(f'killed{n}')}")
        time.sleep(n * n / 4000)
        destination.process.kill()
        destination.end()
        info = source.wait_status("completed", "failed")
        print(n, info["status"], info.get("error-desc"))
        if info["status"] == "failed":
            expect("state", source.run_state(), "running")
        else:
            expect("state", source.run_state(), "postmigrate")
            source.ask("cont")
    finish(source)


def test_last_word():
    """A destination takes no more, and its reason is a little later than the source knows that."""
    source = start()
    source.guest(f"memset 0x500000 {10 << 20} 0x5a")
    destination = start("-m", "32", "-incoming", f"unix:{path('refuses')}")
    with deaf("between") as server, socket.socket(socket.AF_UNIX) as there:
        source.ask("migrate", uri=f"unix:{path('between')}")
        here = server.accept()[0]
        there.connect(path("refuses"))
        there.sendall(here.recv(4096, socket.MSG_WAITALL))
        answer = there.recv(4096)
        here.shutdown(socket.SHUT_RD)
        while here.recv(1 << 20):  # room for more, which finds the pipe broken
            pass
        time.sleep(0.2)
        here.sendall(answer)
        info = source.wait_status("failed")
        here.close()
    print(info["error-desc"])
    assert info["error-desc"].startswith("destination: the machines differ"), info
    destination.end()
    finish(source)


def test_bandwidth():
    """max-bandwidth holds for memory, and a new value at once."""
    source = start()
    fill(source)
    source.guest(f"memset 0x500000 {10 << 20} 0x5a")
    source.ask("migrate-set-parameters", max_bandwidth=1 << 20)
    source.ask("migrate", uri=f"file:{path('slow')}")
    source.wait_status("active")
    time.sleep(1)
    info = source.ask("query-migrate")
    expect("status", info["status"], "active")
    print("after a second", info["ram"]["transferred"])
    assert info["ram"]["transferred"] < 4 << 20, info
    source.ask("migrate-set-parameters", max_bandwidth=1)
    time.sleep(0.5)
    source.ask("migrate-set-parameters", max_bandwidth=0)
    expect("status", source.wait_status("completed", "failed")["status"], "completed")
    finish(source)


def test_continue_too_early():
    """What is said before the VM waits is not for when it does."""
    source = start()
    source.guest(f"memset 0x500000 {10 << 20} 0x5a")
    source.ask("migrate-set-capabilities",
               capabilities=[{"capability": "pause-before-switchover", "state": True}])
    source.ask("migrate-set-parameters", max_bandwidth=1 << 20)
    source.ask("migrate", uri=f"file:{path('early')}")
    source.wait_status("active")
    source.ask("migrate-continue", state="active")
    source.ask("migrate-set-parameters", max_bandwidth=0)
    source.wait_status("pre-switchover", "completed", "failed")
    time.sleep(0.2)
    expect("status", status(source), "pre-switchover")
    source.ask("migrate-continue", state="pre-switchover")
    source.wait_status("completed")
    finish(source)


def test_try_again():
    """A destination that says that it failed takes the next one at once."""
    destination = start("-incoming", "defer")
    destination.ask("migrate-set-capabilities",
                    capabilities=[{"capability": "events", "state": True}])
    for n in range(30):
        name = path(f"again{n}")
        destination.ask("migrate-incoming", uri=f"unix:{name}", exit_on_error=False)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
        while destination.wait_event("MIGRATION")["data"]["status"] != "failed":
            pass
    destination.process.kill()
    destination.end()


def records(sock):
    """What a source sends on a channel until it waits for an answer: [(kind, bytes)]."""
    data, found = b"", []
    sock.settimeout(1)
    try:
        while more := sock.recv(1 << 16):
            data += more
    except TimeoutError:
        pass
    start_of_records = data.find(b"VDCT")
    if start_of_records:  # a channel of multifd says hello in its own way
        found.append(("hello", data[:start_of_records]))
        data = data[start_of_records:]
    while data:
        _, kind, _, length, _, _ = HEADER.unpack_from(data)
        found.append((RECORDS[kind], data[:HEADER.size + length]))
        data = data[HEADER.size + length:]
    return found


def test_wrong_channel():
    """Records of the main channel on another; an end while another waits for the main one."""
    capabilities = [{"capability": "multifd", "state": True}]
    source = start()
    source.ask("migrate-set-capabilities", capabilities=capabilities)
    source.ask("migrate-set-parameters", multifd_channels=1)
    with deaf("tap") as server:
        source.ask("migrate", uri=f"unix:{path('tap')}")
        socks = [server.accept()[0] for _ in range(2)]
        other = records(socks[1])
        main = records(socks[0])
        for sock in socks:
            sock.close()
    source.wait_status("failed")
    finish(source)
    main = dict(main)
    other = dict(other)
    print("main:", *main, "other:", *other)
    for name, on_main, on_other, wanted in [
        ("states", ["hello", "machine"], [other["hello"], main["states"]],
         b"a record 'states' comes too late or on the wrong channel"),
        ("end", ["hello", "machine"], [other["hello"], main["end"]],
         b"a record 'end' comes too late or on the wrong channel"),
        ("sync", ["hello", "machine", "states", "end"], [other["hello"], other["sync"]], b""),
    ]:
        destination = start("-incoming", "defer")
        destination.ask("migrate-set-capabilities", capabilities=capabilities)
        destination.ask("migrate-set-parameters", multifd_channels=1)
        destination.ask("migrate-incoming", uri=f"unix:{path(name)}")
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            first.connect(path(name))
            first.sendall(main["hello"])
            second.connect(path(name))
            second.sendall(b"".join(on_other))
            time.sleep(0.3)
            first.sendall(b"".join(main[kind] for kind in on_main[1:]))
            if not wanted:  # it has all, and says so
                first.settimeout(10)
                expect("answer", HEADER.unpack(first.recv(HEADER.size))[1], 10)
            else:
                time.sleep(0.3)
        code, text = destination.end()
        print(name, code, text.strip())
        expect("code", code, 1)
        assert wanted.decode() in text and "Sanitizer" not in text, text


def refused(name, data):
    """What the destination says of a stream."""
    with open(path(name), "wb") as file:
        file.write(data)
    try:
        vm = VM(program, (), ["-incoming", f"file:{path(name)}"])
        code, text = vm.end()
    except Gone as error:
        return str(error)
    assert code == 1 and len(text.splitlines()) == 1, (name, code, text)
    assert "Sanitizer" not in text, text
    return text.strip()


def test_damaged_streams():
    source = start()
    fill(source)
    expect("saved", migrate(source, f"file:{path('whole')}")["status"], "completed")
    finish(source)
    with open(path("whole"), "rb") as file:
        whole = file.read()
    at, places = 0, []
    while at < len(whole):
        magic, kind, section, length, _, _ = HEADER.unpack_from(whole, at)
        places.append((at, RECORDS[kind], length))
        at += HEADER.size + length
    print("the stream:", *places)
    expect("length", at, len(whole))
    for at, kind, length in places:
        for cut in at, at + 10, at + HEADER.size + length // 2:
            if cut < at + HEADER.size + length:
                print("cut in", kind, "-", refused("cut", whole[:cut]))
    generator = random.Random(1)
    for at, kind, length in places:
        for _ in range(3):
            damaged = bytearray(whole)
            where = at + generator.randrange(HEADER.size + length)
            damaged[where] ^= 1 << generator.randrange(8)
            print("bit in", kind, "-", refused("bit", damaged))


def main():
    tests = [fn for name, fn in globals().items() if name.startswith("test_")]
    for fn in tests:
        if len(sys.argv) > 2 and fn.__name__ not in sys.argv[2:]:
            continue
        print("#", fn.__name__, flush=True)
        fn()
    print(f"{len(tests)} tests of migration passed")


main()
