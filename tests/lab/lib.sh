# SPDX-License-Identifier: GPL-2.0-or-later
# What the lab's tests share. They run in the lab host, with the environment that
# scripts/lab/run gives them; only /tmp and /run can be written.

set -euo pipefail

edu=0000:00:01.0
nvme=0000:00:02.0
nic=0000:00:03.0
pci=/sys/bus/pci/devices
vtest=/sys/bus/viaduct_test/devices
log=/tmp/vmm.log
mem=512M
smp=1
# lapic=: an idle guest of the lab's KVM stands still for ever now and then when its timer is the TSC
# deadline, under any VMM (three of 45 tests in one check). The guest's own KVM looks for VMX and would
# complain; its KVM for SVM, its loop devices and seven serial ports take a fifth of its boot.
cmdline="console=ttyS0 quiet panic=-1 lapic=notscdeadline 8250.nr_uarts=1"
cmdline+=" initcall_blacklist=vt_init,vmx_init,svm_init,loop_init"

# vfio DEVICE…: the options that pass devices of the lab host through.
vfio() {
    local host
    echo -object iommufd,id=iommufd0
    for host in "$@"; do echo "-device vfio-pci,host=$host,iommufd=iommufd0"; done
}

say() { echo "host: $*"; }
fail() { say "FAILED: $*"; exit 1; }

# rebind DEVICE DRIVER
rebind() {
    echo "$2" >"$pci/$1/driver_override"
    [ ! -e "$pci/$1/driver" ] || echo "$1" >"$pci/$1/driver/unbind"
    echo "$1" >/sys/bus/pci/drivers_probe
    [ "$(basename "$(readlink -f "$pci/$1/driver")")" = "$2" ] || fail "$1 not bound to $2"
}

# bind DEVICE: hand a device over to vfio-pci.
bind() {
    rebind "$1" vfio-pci
    say "$1 ($(<"$pci/$1/vendor"):$(<"$pci/$1/device")) is bound to vfio-pci:" \
        "/dev/vfio/devices/$(ls "$pci/$1/vfio-dev")"
}

# vtest N: make test devices (tests/lab/kmod), vtest0 and so on in $vtest.
vtest() {
    echo "$1" >/sys/module/viaduct_test/parameters/devices
    [ -e "$vtest/vtest$(($1 - 1))/vfio-dev" ] || fail "there are no $1 test devices"
    say "test devices: $(ls -m "$vtest")"
}

# vmm_start TEST OPTION…: start the program with a guest that runs tests/lab/guest/TEST; what it
# prints comes live and goes to $log; $vmm is its process.
vmm_start() {
    local test=$1
    shift
    : >"$log"
    exec {out}> >(tee "$log" | tr -d '\r')
    tee=$!
    "$VIADUCT" -machine q35 -accel kvm -cpu host -nodefaults -display none -serial stdio \
        -sandbox on -m "$mem" -smp "$smp" -kernel "${kernel:-$LAB_KERNEL}" \
        -initrd "${initrd:-$LAB_GUEST}" \
        -append "$cmdline ${append:-} test=$test" \
        "$@" ${LAB_OPTS:-} </dev/null >&$out 2>&1 &
    vmm=$!
    exec {out}>&-
}

# vmm_end: wait for the program, which must exit with status 0.
vmm_end() {
    local status=0
    wait "$vmm" || status=$?
    wait "$tee"
    say "the VMM exited with status $status"
    [ $status = 0 ] || fail "it should have been 0"
    ! grep -q 'guest: .*FAILED' "$log" || fail "the guest's test failed"
}

vmm() {
    vmm_start "$@"
    vmm_end
}

# until_true SECONDS COMMAND…: until the command succeeds.
until_true() {
    local n=$(($1 * 10))
    shift
    while ! "$@"; do
        n=$((n - 1))
        [ $n -gt 0 ] || fail "waited in vain for: $*"
        sleep 0.1
    done
}

# seen TEXT [TIMES]: has the guest or the program said it (so often)?
seen() { [ "$(grep -c -- "$1" "$log")" -ge "${2:-1}" ]; }

# expect TEXT [TIMES]: it must have been said (so often).
expect() { seen "$@" || fail "not said: $*"; }

qmp() { python3 -IS "$LAB_ROOT/tests/lab/qmp.py" "$@"; }

# Whose descriptor is what. Processes come and go meanwhile: never a failure.
open_nodes() { ls -l /proc/[0-9]*/fd 2>/dev/null || true; }

# beyond_guest PID: KiB that a VMM uses beside the guest's memory, the one mapping that is as large.
beyond_guest() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / { large = 0 } /^Size:/ { large = $2 >= 262144 }
        /^Pss:/ && !large { n += $2 } END { print n }' "/proc/$1/smaps"
}

# free DEVICE: nobody has it open any more.
device_free() {
    local node
    node=/dev/vfio/devices/$(ls "$pci/$1/vfio-dev")
    [ -c "$node" ] || fail "$1 has no node in /dev/vfio/devices"
    ! open_nodes | grep -- "-> $node$" >&2 || fail "$node is still open"
    say "$1 is free again"
}

# refused WHAT PATTERN OPTION…: one line, which matches, and status 1.
refused() {
    local what=$1 pattern=$2 status=0
    shift 2
    timeout 20 "$VIADUCT" -machine q35 -accel kvm -cpu host -nodefaults -display none -serial none \
        -m 256M -kernel "$LAB_KERNEL" -append "$cmdline" "$@" </dev/null >/tmp/refused 2>&1 ||
        status=$?
    say "$what: $(</tmp/refused)"
    [ $status = 1 ] || fail "its status is $status"
    [ "$(wc -l </tmp/refused)" = 1 ] || fail "it said more than one line"
    grep -qE -- "$pattern" /tmp/refused || fail "it does not say '$pattern'"
}

# ---- a NIC that the lab host keeps, on the wire of one that a guest has ----

peer_address=10.9.0.1 # and the guest's is 10.9.0.2
mib=4

# interface_of DEVICE: the name of its network interface.
interface_of() { basename "$(compgen -G "$pci/$1/net/*" || compgen -G "$pci/$1/virtio*/net/*")"; }

peer_up() {
    local name
    name=$(interface_of "$1")
    ip address add $peer_address/24 dev "$name"
    ip link set "$name" up
    say "$1 ($name) stays here, as $peer_address"
}

# Files for one guest, on port 5001 to fetch, on port 5002 to give back.
serve_once() {
    rm -f /tmp/received
    dd if=/dev/urandom of=/tmp/sent bs=1M count=$mib status=none
    busybox nc -l -p 5001 -e sh -c 'exec cat /tmp/sent' &
    servers=$!
    busybox nc -l -p 5002 -e sh -c 'exec cat >/tmp/received' &
    servers+=" $!"
}

# Did the guest fetch what was sent, and did that come back?
served() {
    local sum
    sum=$(sha256sum </tmp/sent)
    expect "fetched $mib MiB, sha256 ${sum%% *}"
    wait $servers
    cmp /tmp/sent /tmp/received || fail "what came back differs"
    say "$mib MiB came back: equal"
}
