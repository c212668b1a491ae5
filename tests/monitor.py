# SPDX-License-Identifier: GPL-2.0-or-later
"""A client's side of QMP, for all tests in Python."""

import json
import socket


class Gone(Exception):
    """The program has ended, or does not answer."""


class Channel:
    """One connection, and the lines that come over it."""

    def __init__(self, sock, timeout=30):
        self.sock = sock
        self.sock.settimeout(timeout)
        self.buffer = b""

    def send(self, line, fds=()):
        try:
            data = line.encode() + b"\n"
            if fds:
                data = data[socket.send_fds(self.sock, [data], fds):]
            self.sock.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def line(self):
        while b"\n" not in self.buffer:
            try:
                more = self.sock.recv(65536)
            except OSError as error:
                raise Gone(f"no answer: {error}") from error
            if not more:
                raise Gone("connection closed")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode().rstrip("\r")

    def close(self):
        self.sock.close()


def connect(path, timeout=60):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return Channel(sock, timeout)


class Monitor:
    """Commands over .qmp, a Channel; the events that came and that nobody has waited for yet are in
    .events."""

    def __init__(self, qmp=None):
        self.qmp = qmp
        self.events = []
        self.serial = 0

    def message(self):
        message = json.loads(self.qmp.line())
        if "event" in message:
            self.events.append(message)
        return message

    def greet(self):
        if not self.qmp:
            raise Gone("no connection")
        greeting = self.message()
        assert "QMP" in greeting, greeting
        self.ask("qmp_capabilities")

    def request(self, name, arguments):
        """Its text; what answer() waits for is the answer to the last one."""
        if not self.qmp:
            raise Gone("no connection")
        self.serial += 1
        request = {"execute": name, "id": self.serial}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        return json.dumps(request)

    def answer(self):
        while True:
            message = self.message()
            if message.get("id") == self.serial:
                return message

    def command(self, name, **arguments):
        """The whole answer."""
        self.qmp.send(self.request(name, arguments))
        return self.answer()

    def ask(self, name, **arguments):
        answer = self.command(name, **arguments)
        assert "return" in answer, f"{name}: {answer}"
        return answer["return"]

    def wait_event(self, name):
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            self.message()


# ---- channels of migration and CPR ----

def channel(kind, path):
    """One of QMP's migration channels: a socket."""
    return {"channel-type": kind, "addr": {"transport": "socket", "type": "unix", "path": path}}


def listens(path):
    """Whether somebody does there; the file alone is there before that."""
    with open("/proc/net/unix") as sockets:
        return any(line.split()[3] == "00010000" and line.endswith(f" {path}\n")
                   for line in sockets)
