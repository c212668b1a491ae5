# SPDX-License-Identifier: GPL-2.0-or-later
# What every script shares: where things are, progress, the cache, Debian's packages.
# Sourced, never run. Results go to stdout, progress to stderr: kernel=$(scripts/lab/kernel) works.

set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${VIADUCT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/viaduct}
mkdir -p "$cache"

# How meson builds the fuzz targets, with clang.
fuzz_options=(-Dwerror=true -Dfuzz=true -Db_lundef=false -Db_sanitize=address,undefined)

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# background LOG COMMAND…: start it as $pid, a process group that can be killed as a whole.
background() {
    local log=$1
    shift
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
}

# Logs of runs that were killed; those of the living are younger.
tidy() {
    find "${TMPDIR:-/tmp}" -maxdepth 1 -type f -name 'viaduct-*' -user "$(id -u)" -mtime +0 -delete
}

# attended COMMAND…: run it as it is; when we are told to end, so is it.
attended() {
    local status=0
    "$@" &
    pid=$!
    trap 'kill $pid; exit 130' INT TERM
    wait $pid || status=$?
    trap - INT TERM
    return $status
}

# step [-n LINES] WHAT COMMAND…: run it with its output in a log, show how far it is, and its log's
# tail when it fails. LINES is how many lines the command is known to print, for a percentage.
step() {
    local lines=0 what log pid status=0 t0=$SECONDS said=0 now far
    [ "$1" = -n ] && { lines=$2; shift 2; }
    what=$1; shift
    log=$(mktemp "${TMPDIR:-/tmp}/viaduct-step.XXXXXX")
    background "$log" "$@"
    trap 'kill -- -$pid; rm -f "$log"; exit 130' INT TERM
    while kill -0 $pid 2>/dev/null; do
        sleep 0.2
        now=$((SECONDS - t0))
        [ $now -gt $said ] || continue
        [ -t 2 ] || [ $((now - said)) -ge 15 ] || continue
        said=$now
        far=$(tail -c 300 "$log" | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c1-60)
        [ "$lines" = 0 ] || far="$(progress "$log" "$lines")%  $far"
        if [ -t 2 ]; then
            printf '\r\e[K%s  %s  %s' "$what" "$(clock $now)" "$far" >&2
        else
            say "$what  $(clock $now)  $far"
        fi
    done
    wait $pid || status=$?
    trap - INT TERM
    [ -t 2 ] && printf '\r\e[K' >&2
    if [ $status = 0 ]; then
        say "$what  $(clock $((SECONDS - t0)))  done"
    else
        say "$what  $(clock $((SECONDS - t0)))  FAILED ($status); its last lines:"
        tail -n 40 "$log" >&2
    fi
    rm -f "$log"
    return $status
}

progress() {
    local percent=$(($(wc -l <"$1") * 100 / $2))
    echo $((percent > 99 ? 99 : percent))
}

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# locked NAME COMMAND…: one at a time over all checkouts that share this cache. When COMMAND fails,
# the script ends, and the lock with it.
locked() {
    local name=$1 fd
    shift
    exec {fd}>"$cache/.$name.lock"
    flock -n $fd || { say "waiting for another run's $name"; flock $fd; }
    # A child that outlives us must not keep the lock.
    "$@" {fd}>&-
    exec {fd}>&-
}

# cached NAME KEY COMMAND…: print the folder NAME-KEY of the cache; when it is not there yet, run
# COMMAND FOLDER to fill one and publish it whole or not at all.
cached() {
    local name=$1 key=$2
    shift 2
    if [ ! -d "$cache/$name-$key" ]; then locked "$name" publish "$name" "$key" "$@" >&2; fi
    touch "$cache/$name-$key"
    echo "$cache/$name-$key"
}

publish() {
    local name=$1 key=$2 new
    shift 2
    if [ -d "$cache/$name-$key" ]; then return; fi
    # We hold the lock, so whatever is half made here was left by a run that is dead.
    rm -rf "$cache/.new-$name."*
    new=$(mktemp -d "$cache/.new-$name.XXXXXX")
    chmod 755 "$new"
    # In a subshell, so that what it does to variables and where it goes stays there.
    ("$@" "$new")
    find "$cache" -maxdepth 1 -name "$name-*" -mtime +14 -exec rm -rf {} +
    mv -T "$new" "$cache/$name-$key"
}

# fallback NAME: the newest folder NAME-* of the cache, for when the registry cannot be reached.
fallback() {
    local old
    old=$(ls -dt "$cache/$1"-* 2>/dev/null | head -n 1)
    [ -n "$old" ] || die "nothing in the cache, and the registry cannot be reached"
    echo "$old"
}

# The archive this machine is installed from, as its own apt knows it.
debian_uri() {
    local codename
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v r="$codename" '$1 == r { print $2; exit }'
}

debian_source() {
    printf '%s\n' 'Types: deb' "URIs: $(debian_uri)" "Suites: $*" 'Components: main' \
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg'
}

# An apt of our own with Debian 13's packages beside the machine's, which it neither reads nor
# changes. It believes that nothing is installed.
newer_apt() {
    local tool=$1 dir=$cache/apt
    shift
    "$tool" -o Dir::Etc::sourcelist="$dir/debian.sources" -o Dir::Etc::sourceparts=- \
        -o Dir::State="$dir" -o Dir::State::lists="$dir/lists" -o Dir::State::status="$dir/status" \
        -o Dir::Cache="$dir/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root \
        -o APT::Install-Recommends=false -o APT::Default-Release=trixie-backports \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 "$@"
}

# Look at most once a day; an old list does when the registry cannot be reached.
newer_lists() {
    local dir=$cache/apt
    [ -z "$(find "$dir/looked" -mmin -1440 2>/dev/null)" ] || return 0
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    : >"$dir/status"
    debian_source trixie trixie-backports >"$dir/debian.sources"
    if step "Debian 13's package lists" newer_apt apt-get update --error-on=any; then
        touch "$dir/looked"
    else
        [ -e "$dir/looked" ] || return 1
        # Not again within the hour.
        touch -d '-23 hours' "$dir/looked"
        say "the package lists stay as they were: the registry cannot be reached"
    fi
}

# remembered NAME COMMAND…: what the command says, from before if the lists have not changed since:
# apt needs most of a second for each question.
remembered() {
    local memo=$cache/apt/$1
    shift
    [ "$memo" -nt "$cache/apt/looked" ] || { "$@" >"$memo.$$" && mv "$memo.$$" "$memo"; }
    cat "$memo"
}

candidate() {
    newer_apt apt-cache policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

# newest PACKAGE: its newest version in trixie-backports (or trixie); nothing when there is none.
newest() {
    (locked apt newer_lists >&2) || return 0
    remembered "newest-$1" candidate "$1"
}

# fetch FOLDER PACKAGE…: the packages themselves, without what they need.
fetch() {
    local dir=$1
    shift
    (cd "$dir" && newer_apt apt-get download "$@")
}
