# Sourced by the get-*.sh scripts beside it: unpacks Debian packages into a folder, without root and without touching the
# machine's own package state. The mirror is the one that the machine's apt is configured with.

# The suite that has CUDA 12.4, in its component for software with redistribution terms.
readonly debian_suite=trixie
readonly debian_component=non-free

fail() {
    echo "${0##*/}: $1" >&2
    exit "${2:-1}"
}

debian_mirror() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }'
}

# unpack_debian_packages FOLDER PACKAGE...: the folder appears whole or not at all.
unpack_debian_packages() {
    local folder=$1 mirror keyring work
    shift
    command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
        fail "needs apt-get and dpkg (a Debian machine); elsewhere install CUDA's NVRTC 12.4 or later and set ATTNCOMPOSE_NVRTC" 3
    [ "$(. /etc/os-release && echo "${ID:-}")" = debian ] ||
        fail "takes packages from a Debian mirror, and this is not Debian; install CUDA's NVRTC 12.4 or later and set ATTNCOMPOSE_NVRTC" 3
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || fail "found no Debian mirror in this machine's apt configuration" 3
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || fail "$keyring is missing (package debian-archive-keyring)" 3

    mkdir -p "$(dirname "$folder")"
    work=$(mktemp -d "$folder.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources" "$work/packages" "$work/root"
    printf 'deb [signed-by=%s] %s %s %s\n' "$keyring" "$mirror" "$debian_suite" "$debian_component" > "$work/sources/extra.list"
    local apt=(apt-get -q
        -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources" -o Dir::Etc::preferences=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache"
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Update::Error-Mode=any)
    "${apt[@]}" update >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "could not read the package list of $debian_suite" 4; }
    (cd "$work/packages" && "${apt[@]}" download "$@") >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "could not download $*" 4; }
    for package in "$work"/packages/*.deb; do
        dpkg -x "$package" "$work/root"
    done
    rm -rf "$folder"
    mv "$work/root" "$folder"
    chmod 755 "$folder"
}
