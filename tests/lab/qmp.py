# SPDX-License-Identifier: GPL-2.0-or-later
"""qmp SOCKET COMMAND [ARGUMENTS|-] [EVENT...]: run a QMP command, print its return, and wait for
the events on the same connection. Exit status 1: the command failed; 2: an event did not come."""

import json
import os
import sys

sys.path.insert(0, os.environ["LAB_ROOT"] + "/tests")
from monitor import Gone, Monitor, connect  # noqa: E402


def main(path, name, arguments="-", *events):
    monitor = Monitor(connect(path))
    monitor.greet()
    try:
        reply = monitor.command(name, **({} if arguments == "-" else json.loads(arguments)))
    except Gone:
        # `quit` may close the connection before its answer is read.
        reply = {"return": {}} if name == "quit" else {"error": "connection closed"}
    print(json.dumps(reply.get("return", reply)), flush=True)
    if "error" in reply:
        return 1
    for wanted in events:
        try:
            event = monitor.wait_event(wanted)
        except Gone:
            print("qmp: no event", wanted, file=sys.stderr)
            return 2
        print("event:", wanted, json.dumps(event.get("data", {})), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, Gone) as error:
        sys.exit(f"qmp: {error}")
