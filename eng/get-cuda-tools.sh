#!/usr/bin/env bash
# Puts ptxas, cuobjdump and nvdisasm of CUDA 12.4 into .tools/cuda, for looking at what a kernel became. Nothing in the
# build or the tests needs them. Prints the folder that holds them. Exit codes as get-nvrtc.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. eng/debian-packages.sh

destination=$PWD/.tools/cuda

tool_folder() {
    local tool
    tool=$(find "$destination" -name cuobjdump -type f -print -quit 2>/dev/null)
    [ -n "$tool" ] && dirname "$tool"
}

tool_folder || {
    unpack_debian_packages "$destination" nvidia-cuda-toolkit
    tool_folder || fail "the packages hold no cuobjdump"
}
