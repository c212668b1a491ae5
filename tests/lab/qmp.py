# SPDX-License-Identifier: GPL-2.0-or-later
"""qmp SOCKET COMMAND [ARGUMENTS|-] [EVENT...]: run a QMP command, print its return, and wait for
the events on the same connection. Exit status 1: the command failed; 2: an event did not come."""

import json
import socket
import sys


def main(path, command, arguments="-", *events):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        lines = sock.makefile("rw")
        waiting = list(events)

        def message():
            line = lines.readline()
            if not line:
                return None
            reply = json.loads(line)
            if reply.get("event") in waiting:
                waiting.remove(reply["event"])
                print("event:", reply["event"], json.dumps(reply.get("data", {})), flush=True)
            return reply

        def execute(name, args=None):
            request = {"execute": name}
            if args:
                request["arguments"] = args
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            while True:
                reply = message()
                if reply is None:
                    # `quit` may close the connection before its answer is read.
                    return {"return": {}} if name == "quit" else {"error": "connection closed"}
                if "event" not in reply:
                    return reply

        if "QMP" not in message():
            sys.exit("qmp: no greeting")
        execute("qmp_capabilities")
        reply = execute(command, None if arguments == "-" else json.loads(arguments))
        print(json.dumps(reply.get("return", reply)), flush=True)
        if "error" in reply:
            return 1
        while waiting and message():
            pass
        if waiting:
            print("qmp: no event", *waiting, file=sys.stderr)
        return 2 if waiting else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except OSError as error:
        sys.exit(f"qmp: {error}")
