# SPDX-License-Identifier: GPL-2.0-or-later
# What the guest's tests share. A test is sourced after this; it ends at its first failure.

disk=/dev/nvme0n1
pci=/sys/bus/pci/devices

say() { echo "guest: $*"; }
fail() { say "FAILED: $*"; exit 1; }

# The driver binds in its own time: wait for its disk.
disk_ready() {
    local i=0
    while [ ! -b $disk ]; do
        i=$((i + 1))
        [ $i -lt 300 ] || fail "no $disk after 30 s"
        usleep 100000
    done
    for device in /sys/bus/pci/drivers/nvme/0*; do
        say "nvme driver bound to ${device##*/} ($(cat "$device/vendor"):$(cat "$device/device"))"
    done
}

text_read() { say "disk says: $(dd if=$disk bs=512 count=1 iflag=direct status=none | head -n 1)"; }

# written [COUNT]: random megabytes to the second megabyte of the disk, and back, past the caches.
written() {
    local n=${1:-1} sum back
    dd if=/dev/urandom of=/tmp/data bs=1M count=$n status=none
    dd if=/tmp/data of=$disk bs=1M seek=1 oflag=direct conv=fsync status=none || fail "write"
    sum=$(sha256sum </tmp/data)
    back=$(dd if=$disk bs=1M skip=1 count=$n iflag=direct status=none | sha256sum)
    [ "$sum" = "$back" ] || fail "what was read back is not what was written"
    say "wrote $n MiB, read it back, compared: equal"
    say "sha256 ${sum%% *}"
}

interrupts() {
    local lines
    lines=$(grep nvme /proc/interrupts) || fail "no interrupt of the nvme in /proc/interrupts"
    echo "$lines" | awk -v cpus="$(nproc)" '{
        n = 0
        for (i = 2; i <= cpus + 1; i++) n += $i
        all += n
        print "guest: interrupts of " $NF ": " n
    } END { exit all == 0 }' || fail "the nvme never interrupted"
}

# interrupts_of NAME: how many came so far.
interrupts_of() {
    awk -v name="$1" -v cpus="$(nproc)" '$0 ~ name { for (i = 2; i <= cpus + 1; i++) n += $i }
        END { print n + 0 }' /proc/interrupts
}

# interrupt_lines NAME: as they are in /proc/interrupts, at least one, and all have come.
interrupt_lines() {
    local lines
    lines=$(grep -- "$1" /proc/interrupts) || fail "no interrupt of $1"
    echo "$lines" | sed 's/^/guest: interrupts: /'
    echo "$lines" | awk -v cpus="$(nproc)" '{ for (i = 2; i <= cpus + 1; i++) n += $i }
        { if (!n) exit 1; n = 0 }' || fail "an interrupt of $1 never came"
}

no_errors() {
    ! dmesg | grep -iE 'nvme.*(timeout|error|abort|reset)|I/O error' || fail "the kernel complains"
}

# nic_up: eth0 has link and an address, next to the lab host's.
nic_up() {
    local i=0
    [ -e /sys/class/net/eth0 ] || fail "no eth0"
    say "eth0 is $(basename "$(readlink /sys/class/net/eth0/device)")," \
        "driver $(basename "$(readlink /sys/class/net/eth0/device/driver)")"
    ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up
    while [ "$(cat /sys/class/net/eth0/carrier)" != 1 ]; do
        i=$((i + 1))
        [ $i -lt 100 ] || fail "no link after 10 s"
        usleep 100000
    done
    say "eth0 has link"
}

# exchange: packets small and large, and files by TCP, there and back.
exchange() {
    local peer=10.9.0.1 sum
    ping -A -c 20 -W 5 $peer >/tmp/ping || { cat /tmp/ping; fail "ping"; }
    say "ping: $(tail -n 2 /tmp/ping | head -n 1)"
    ping -A -c 20 -s 20000 -W 5 $peer >/tmp/ping || { cat /tmp/ping; fail "ping of 20000 bytes"; }
    say "ping of 20000 bytes: $(tail -n 2 /tmp/ping | head -n 1)"
    nc $peer 5001 </dev/null >/tmp/fetched || fail "nothing to fetch"
    sum=$(sha256sum </tmp/fetched)
    say "fetched $(($(wc -c </tmp/fetched) >> 20)) MiB, sha256 ${sum%% *}"
    nc $peer 5002 </tmp/fetched || fail "nobody takes it back"
}

# function_of VENDOR DEVICE [N]: the address of the first (N-th) such function.
function_of() {
    local device n=${3:-1}
    for device in $pci/*; do
        [ "$(cat $device/vendor) $(cat $device/device)" = "$1 $2" ] || continue
        n=$((n - 1))
        [ $n != 0 ] || { echo ${device##*/}; return; }
    done
    fail "there is no $1:$2" >&2
}

# userland_driver ADDRESS: the kernel's driver, if any, makes room for one in userland.
userland_driver() {
    echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
    echo vfio-pci >$pci/$1/driver_override
    [ ! -e $pci/$1/driver ] || echo $1 >$pci/$1/driver/unbind
    echo $1 >/sys/bus/pci/drivers_probe
    [ -e $pci/$1/iommu_group ] || fail "vfio-pci did not take $1"
    say "$1 ($(cat $pci/$1/vendor):$(cat $pci/$1/device)) is driven from userland"
}

# What SMBIOS says, if this kernel can tell.
dmi() {
    local id=/sys/class/dmi/id
    [ -e $id/product_uuid ] || return 0
    say "the machine is $(cat $id/sys_vendor) $(cat $id/product_name), UUID $(cat $id/product_uuid)"
}
