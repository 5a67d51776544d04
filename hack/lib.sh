# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the scripts in this directory: where we are, packages, short messages.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
cd "$ROOT"

say() { printf '\n== %s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# shellcheck disable=SC2034 # used by those who source this
BUILD_PACKAGES=(gcc cmake ninja-build pkg-config libmicrohttpd-dev libjansson-dev libyaml-dev
    libcurl4-gnutls-dev libsodium-dev libgnutls28-dev uthash-dev libpcre2-dev libseccomp-dev
    zlib1g-dev ca-certificates)
# shellcheck disable=SC2034
RUN_PACKAGES=(docker.io busybox-static procps)
# shellcheck disable=SC2034
TEST_PACKAGES=(clang-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev libcmocka-dev ccache
    python3-pytest python3-pytest-xdist python3-yaml openssl mount universal-ctags shellcheck codespell git curl unzip npm iproute2
    etcd-server etcd-client strace e2fsprogs openssh-server util-linux docker-registry podman runc
    golang-go golang-k8s-sigs-structured-merge-diff-dev golang-github-evanphx-json-patch-dev
    python3-jsonpatch python3-kubernetes nodejs openmpi-bin uidmap)

# shellcheck disable=SC2034
BENCH_PACKAGES=(wrk etcd-server nghttp2-client curl)

# Installs what is missing of the named packages; needs root only when something is.
need_packages() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    # npm may come with a node that was installed some other way.
    if command -v npm >/dev/null; then
        local keep=()
        for p in "${missing[@]}"; do [ "$p" = npm ] || keep+=("$p"); done
        missing=("${keep[@]}")
    fi
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || die "these packages are missing, run as root to install them: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # A container or build machine has no running init: packages must not start daemons here.
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

# The product's own C files (no tests), and all C files.
product_sources() { git ls-files --cached --others --exclude-standard -- 'lib/**.c' 'lib/**.h' 'apiserver/**.c' 'apiserver/**.h' 'controllers/**.c' 'controllers/**.h' 'runner/**.c' 'runner/**.h' 'cli/**.c' 'cli/**.h'; }
all_sources() {
    product_sources
    git ls-files --cached --others --exclude-standard -- 'tests/**.c' 'tests/**.h'
}

build_preset() { # build_preset <preset> [targets...]
    local preset=$1
    shift
    local launcher=()
    command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
    [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" "${launcher[@]}" >/dev/null
    cmake --build --preset "$preset" ${1:+--target "$@"} -- --quiet
}
