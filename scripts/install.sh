# Installs Debian packages, for scripts that need programs which are missing: . scripts/install.sh; install NEED PACKAGE...
# Without apt-get it prints NEED, which names the programs, and ends the script.
install() {
    if ! command -v apt-get >/dev/null; then
        echo "$1: please install what is missing." >&2
        exit 1
    fi
    shift
    root=""
    [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -qq
    # Services among the packages are not started.
    $root env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@"
}
