#!/usr/bin/env bash
# Puts NVRTC 12.4 into .tools/nvrtc, for compiling the emitted CUDA on a machine without a GPU or a CUDA toolkit.
# Prints the folder that holds libnvrtc.so.12. Exit code 3: not possible on this machine; 4: no network or no such package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. eng/debian-packages.sh

destination=$PWD/.tools/nvrtc

library_folder() {
    local library
    # Both are needed: NVRTC opens its builtins by bare name, so the caller loads them first from this folder.
    library=$(find "$destination" -name 'libnvrtc.so.12' -print -quit 2>/dev/null)
    [ -n "$library" ] && [ -n "$(find "$destination" -name 'libnvrtc-builtins.so.12.*' -print -quit)" ] && dirname "$library"
}

library_folder || {
    unpack_debian_packages "$destination" libnvrtc12 libnvrtc-builtins12.4
    library_folder || fail "the packages hold no libnvrtc.so.12"
}
