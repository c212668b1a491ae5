#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ioctls.py ROOT COMPILER…: util/ioctls.c names just the ioctls that the sources use."""

import pathlib
import re
import subprocess
import sys

ROOMS = ["accel", "backends", "core", "hw", "migration", "monitor", "system"]
HEADERS = ["linux/kvm.h", "util/linux-iommufd.h", "util/linux-vfio.h"]

root, compiler = pathlib.Path(sys.argv[1]), sys.argv[2:]
macros = subprocess.run(
    [*compiler, "-dM", "-E", "-x", "c", "-I", root / "include", "-"],
    input="".join(f'#include "{name}"\n' for name in HEADERS),
    check=True, text=True, stdout=subprocess.PIPE).stdout
ioctls = set(re.findall(r"^#define (\w+) _IO[RW]*\(", macros, re.M))


def named(paths):
    return {word for path in paths for word in re.findall(r"\w+", path.read_text())} & ioctls


used = named(path for room in ROOMS for path in (root / room).rglob("*.[ch]"))
listed = named([root / "util/ioctls.c"])
for name in sorted(used ^ listed):
    print(f"{name} is {'not in util/ioctls.c' if name in used else 'not used any more'}")
print(f"{len(used)} ioctls")
sys.exit(not used or used != listed)
