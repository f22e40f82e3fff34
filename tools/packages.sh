# Sourced by ./check and ./quickstart: what must be installed, and the installing of what is missing (Debian, Ubuntu).
# shellcheck shell=bash disable=SC2034

packages_build='gcc libc6-dev meson ninja-build pkg-config scdoc libsystemd-dev libmd-dev libjansson-dev libsqlite3-dev
    esbuild node-preact libzstd-dev libxxhash-dev libexpat1-dev libgnutls28-dev libmicrohttpd-dev libcurl4-gnutls-dev libcrypt-dev libpam0g-dev libcmocka-dev'
packages_run='openssh-client util-linux mount'
packages_test='clang clang-format valgrind strace python3 openssh-server iproute2 procps xfsprogs btrfs-progs e2fsprogs mmdebstrap dpkg-dev
    lintian curl openssl python3-proxmoxer python3-requests python3-prometheus-client prometheus'
packages_package='build-essential debhelper dpkg-dev meson ninja-build pkg-config scdoc esbuild node-preact libsystemd-dev libmd-dev
    libjansson-dev libsqlite3-dev libzstd-dev libxxhash-dev libexpat1-dev libgnutls28-dev libmicrohttpd-dev libcurl4-gnutls-dev libcrypt-dev libpam0g-dev'
packages_lab='mmdebstrap e2fsprogs xz-utils python3'
packages_lab_qemu='qemu-system-x86 qemu-utils openssh-client'
packages_lab_kernel='gcc make flex bison bc perl kmod libelf-dev'

# The sanitizers' and libFuzzer's run time belongs to the version of clang that `clang` stands for.
packages_of_clang() {
    local version
    version=$(clang -dumpversion 2>/dev/null) && echo "libclang-rt-${version%%.*}-dev"
}

# What the tests of the web panel want; npm also comes with a nodejs of somebody else's.
packages_of_browser() { # CHROMIUM
    echo "$1" nodejs
    command -v npm >/dev/null || echo npm
}

packages_missing() {
    local p
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

# Installs what is missing; says what is missing and fails where it cannot.
packages_install() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian or Ubuntu: install what the build says is missing by hand." >&2
        return 0
    fi
    mapfile -t missing < <(packages_missing "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "Not installed, and installing needs root: ${missing[*]}" >&2
        echo "    apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "Installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update >/dev/null || return 1
    apt-get -q install -y --no-install-recommends "${missing[@]}" >"${TMPDIR:-/tmp}/pvesr-apt.log" 2>&1 || {
        tail -30 "${TMPDIR:-/tmp}/pvesr-apt.log" >&2
        return 1
    }
}
