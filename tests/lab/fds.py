# SPDX-License-Identifier: GPL-2.0-or-later
"""fds SOCKET PID CDEV: give process PID, which a QMP monitor on SOCKET belongs to, descriptors of
/dev/iommu and CDEV, and see what becomes of them. The guest runs in the end."""

import json
import os
import sys

sys.path.insert(0, os.environ["LAB_ROOT"] + "/tests")
from monitor import Monitor, connect  # noqa: E402


class Giver(Monitor):
    def run(self, name, path=None, **arguments):
        """The reply to a command, which goes together with a descriptor of the file at @path."""
        fds = [os.open(path, os.O_RDWR)] if path else []
        self.qmp.send(self.request(name, arguments), fds)
        for fd in fds:
            os.close(fd)
        reply = self.answer()
        text = json.dumps(reply.get("return", reply.get("error")))
        sent = f" with {path}" if path else ""
        print(f"host: {name} {json.dumps(arguments)}{sent}: {text}", flush=True)
        return reply


def main(path, pid, cdev):
    monitor = Giver(connect(path))
    monitor.greet()

    def check(what, is_so):
        if not is_so:
            sys.exit(f"host: FAILED: {what}")

    def held(file):
        folder = f"/proc/{pid}/fd"
        return sum(os.readlink(f"{folder}/{fd}") == file for fd in os.listdir(folder))

    def good(*args, **arguments):
        reply = monitor.run(*args, **arguments)
        check(args[0], "return" in reply)
        return reply["return"]

    def bad(*args, **arguments):
        check(args[0], "error" in monitor.run(*args, **arguments))

    new = {"qom_type": "iommufd", "id": "iommufd0"}
    bad("getfd", fdname="iommu")
    bad("getfd", "/dev/iommu", fdname="1")
    check("nothing kept", held("/dev/iommu") == 0)
    good("getfd", "/dev/iommu", fdname="iommu")
    good("object-add", fd="iommu", **new)
    bad("closefd", fdname="iommu")
    check("one /dev/iommu", held("/dev/iommu") == 1)
    good("object-del", id="iommufd0")
    check("it is closed with the object", held("/dev/iommu") == 0)

    good("getfd", "/dev/null", fdname="null")
    bad("object-add", fd="null", **new)
    good("getfd", cdev, fdname="cdev")
    bad("object-add", fd="cdev", **new)
    check("what was of no use is closed", held(cdev) == 0)

    number = good("add-fd", "/dev/iommu", fdset_id=3, opaque="for all")["fd"]
    sets = [{"fdset-id": 3, "fds": [{"fd": number, "opaque": "for all"}]}]
    check("the set", good("query-fdsets") == sets)
    good("object-add", fd="/dev/fdset/3", **new)
    check("the set's and the object's", held("/dev/iommu") == 2)
    good("remove-fd", fdset_id=3)
    bad("remove-fd", fdset_id=3)
    check("the object's", held("/dev/iommu") == 1)

    good("getfd", cdev, fdname="disk")
    device = {"driver": "vfio-pci", "id": "disk", "bus": "port", "iommufd": "iommufd0"}
    bad("device_add", fd="nodisk", **device)
    reply = monitor.run("device_add", fd="disk", **device)
    check("device_add", "return" in reply)
    check("the device's own", held(cdev) == 1)
    bad("closefd", fdname="disk")
    good("cont")


if __name__ == "__main__":
    main(*sys.argv[1:])
