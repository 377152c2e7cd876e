#!/bin/sh
# Installs what an image holds; Dockerfile and Singularity.def both run it.
#
#   install.sh dependencies ENV           what the lock files beside this script say
#   install.sh package SOURCE ENV PREFIX  bids-recon itself, to be run in ENV, into PREFIX
#
# TORCH_INDEX_URL is the package index that torch comes from: empty for the default one
# (CUDA), https://download.pytorch.org/whl/cpu for none, .../cu126 for older cards.
set -eu

here=$(dirname "$(readlink -f "$0")")
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"

install() {
    env=$1
    shift
    "$tools/bin/pip" --python "$env/bin/python" --no-cache-dir \
        --disable-pip-version-check install --quiet --no-compile --root-user-action=ignore "$@"
}

dependencies() {
    python3 -m venv --without-pip "$1"
    install "$1" --no-deps --require-hashes --requirement "$here/lock.txt"
    if [ -z "${TORCH_INDEX_URL:-}" ]; then
        install "$1" --no-deps --require-hashes --requirement "$here/lock-torch.txt"
    else
        # The other wheels of the same versions have checksums of their own.
        sed -n 's/^\(torch\(vision\)\{0,1\}==[^ ]*\).*/\1/p' "$here/lock-torch.txt" \
            >"$tools/torch.txt"
        install "$1" --index-url "$TORCH_INDEX_URL" --requirement "$tools/torch.txt"
    fi
    "$tools/bin/pip" --python "$1/bin/python" check
    strip_libraries "$1"/lib/python3*/site-packages
    compile "$1"
}

# What a run never reads: tests of libraries, and what programs are compiled with.
strip_libraries() {
    find "$1" -depth -type d \( -name tests -o -name test \) \
        ! -path '*/numpy/_core/tests' -exec rm -rf {} +
    rm -rf "$1"/torch/include "$1"/torch/share "$1"/nvidia/*/include \
        "$1"/nvidia/*/*/include
    find "$1" -type f \( -name '*.a' -o -name '*.pyx' \) -delete
}

# The root may be read-only, so that Python cannot keep what it compiled.
compile() {
    "$1/bin/python" -m compileall -qq -j 0 --invalidation-mode unchecked-hash \
        "$1"/lib/python3*/site-packages || true
}

package() {
    "$tools/bin/pip" --no-cache-dir --disable-pip-version-check install --quiet \
        --require-hashes --requirement "$here/lock-build.txt"
    "$tools/bin/pip" --no-cache-dir --disable-pip-version-check wheel --quiet \
        --no-deps --no-build-isolation --wheel-dir "$tools/wheel" "$1"
    # Scripts name the Python that runs them, which need not be whole here.
    [ -d "$2" ] || python3 -m venv --without-pip "$2"
    install "$2" --no-deps --prefix "$3" "$tools"/wheel/*.whl
    "$2/bin/python" -m compileall -qq --invalidation-mode unchecked-hash "$3"/lib
}

"$@"
