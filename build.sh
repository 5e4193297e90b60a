#!/usr/bin/env bash
# The one door to this repository: sets up what it needs, then does one job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
export DOTNET_CLI_HOME="${DOTNET_CLI_HOME:-${HOME:-$PWD/artifacts/home}}"

usage() {
    cat <<'TEXT'
usage: ./build.sh demo [arguments]   answer long prompts dense and token-sparse, and say where the time went
       ./build.sh test               all tests, Release; the last line is "N passed, N failed, N skipped"
       ./build.sh pack               NuGet packages into artifacts/packages
       ./build.sh bench [arguments]  the benchmarks of benchmarks/RESULTS.md
TEXT
}

say() { printf '== %s\n' "$*"; }

fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

find_sdk() {
    local sdk_page="https://dotnet.microsoft.com/download/dotnet/10.0"
    if ! command -v dotnet >/dev/null 2>&1; then
        local root
        for root in "${DOTNET_ROOT:-}" "${HOME:-}/.dotnet" /usr/share/dotnet /usr/lib/dotnet /usr/local/share/dotnet; do
            if [ -n "$root" ] && [ -x "$root/dotnet" ]; then
                export DOTNET_ROOT="$root" PATH="$root:$PATH"
                break
            fi
        done
    fi
    command -v dotnet >/dev/null 2>&1 ||
        fail "dotnet was not found. AttnCompose needs the .NET 10 SDK: $sdk_page"
    local sdks
    sdks="$(dotnet --list-sdks | cut -d' ' -f1 | tr '\n' ' ')"
    case " $sdks" in
        *" "[1-9][0-9].*) ;;
        *) fail "the .NET 10 SDK is needed; this dotnet has: ${sdks:-no SDK}. Get it from $sdk_page" ;;
    esac
}

# Tests of the CUDA text need NVRTC but no GPU. Where it cannot be had they skip and say so, so this never fails.
get_nvrtc() {
    [ "$(uname -s)" = Linux ] && [ -f eng/get-nvrtc.sh ] || return 0
    say "NVRTC"
    bash eng/get-nvrtc.sh || echo "NVRTC could not be had; the tests that compile CUDA text will skip."
}

build() {
    say "build"
    mkdir -p artifacts
    dotnet build "$1" -c Release --tl:off -v q -clp:ErrorsOnly >artifacts/build.log 2>&1 || {
        cat artifacts/build.log >&2
        fail "the build of $1 failed"
    }
}

counter() { # a count of a test project's result file
    sed -n "s/.*<Counters [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$2"
}

test_project() { # runs one test project; its exit code goes into a file beside its results
    local name="$1" results="$2" status=0
    say "$name"
    dotnet test "artifacts/bin/$name/release/$name.dll" --nologo --logger "trx;LogFileName=$name.trx" \
        --results-directory "$results" || status=$?
    echo "$status" >"$results/$name.status"
}

run_tests() {
    get_nvrtc
    build AttnCompose.sln
    # The slowest project waits for compilers most of its time, so it runs beside the others and speaks when they are done.
    local results=artifacts/test-results slowest=AttnCompose.Cuda.Tests
    rm -rf "$results"
    mkdir -p "$results"
    local passed=0 failed=0 skipped=0 project name trx status
    local projects=(tests/*/*.Tests.csproj samples/*/Tests/*.Tests.csproj)
    test_project "$slowest" "$results" >"$results/$slowest.log" 2>&1 &
    for project in "${projects[@]}"; do
        name="$(basename "$project" .csproj)"
        [ "$name" = "$slowest" ] || test_project "$name" "$results"
    done
    wait
    cat "$results/$slowest.log"
    for project in "${projects[@]}"; do
        name="$(basename "$project" .csproj)"
        trx="$results/$name.trx"
        status="$(cat "$results/$name.status")"
        if [ ! -f "$trx" ]; then
            echo "$name left no results (exit code $status); counted as one failure."
            failed=$((failed + 1))
            continue
        fi
        local total executed ok
        total="$(counter total "$trx")"
        executed="$(counter executed "$trx")"
        ok="$(counter passed "$trx")"
        passed=$((passed + ok))
        skipped=$((skipped + total - executed))
        failed=$((failed + executed - ok))
        # A run that was cut short may count no failed test; its exit code still says so.
        if [ "$status" -ne 0 ] && [ "$executed" -eq "$ok" ]; then
            failed=$((failed + 1))
        fi
    done
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

pack() {
    local packages=artifacts/packages project
    rm -rf "$packages"
    say "pack"
    for project in Abstractions Cuda Pipelines Testing Models Cli; do
        dotnet pack "src/$project" -c Release -o "$packages" --tl:off -v q -clp:ErrorsOnly
    done
    ls "$packages"
}

run_project() {
    build "$1"
    shift
    say "run"
    dotnet "$@"
}

job="${1:-}"
[ $# -gt 0 ] && shift
case "$job" in
    test)
        find_sdk
        run_tests
        ;;
    demo)
        find_sdk
        run_project samples/LongContext artifacts/bin/LongContext/release/LongContext.dll "$@"
        ;;
    bench)
        find_sdk
        run_project benchmarks artifacts/bin/AttnCompose.Benchmarks/release/AttnCompose.Benchmarks.dll "$@"
        ;;
    pack)
        find_sdk
        pack
        ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
