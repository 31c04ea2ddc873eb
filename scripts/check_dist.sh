#!/usr/bin/env bash
# Build wheel and sdist into dist/, and try them where there is no repository.
# Usage: scripts/check_dist.sh [--python PYTHON]... [--tests] [--image] [-- OPTIONS OF PIP]
#   --python PYTHON  try the wheel with this Python, in a fresh environment: the commands of the README, a plugin, a
#                    sweep. May be given several times; python3 by default. The first one builds.
#   --tests          run the test suite from the unpacked sdist, with the first Python
#   --image          do what deploy/Dockerfile does, with the first Python
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
pythons=() tests=false image=false
while [ $# -gt 0 ]; do
    case "$1" in
        --python) pythons+=("$(command -v "$2")"); shift 2 ;;
        --tests) tests=true; shift ;;
        --image) image=true; shift ;;
        --) shift; break ;;
        *) echo "unknown option $1; see the first lines of $0" >&2; exit 2 ;;
    esac
done
[ ${#pythons[@]} -gt 0 ] || pythons=("$(command -v python3)")
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"

pip_in() { # ENVIRONMENT ARGUMENTS...
    local environment="$1"
    shift
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

cd "$root"
rm -rf dist
"${pythons[0]}" -m venv "$work/build"
pip_in "$work/build" build twine
"$work/build/bin/python" -m build --outdir dist . >"$work/build.log" || { cat "$work/build.log"; exit 1; }
"$work/build/bin/python" -m twine check --strict dist/*

for number in "${!pythons[@]}"; do
    python="${pythons[$number]}" environment="$work/venv-$number"
    echo "== the wheel with $("$python" --version)"
    "$python" -m venv "$environment"
    pip_in "$environment" "$@" -c constraints.txt "$(echo dist/*.whl)[report,tune]" plugins/sedd-curriculum-sigmoid
    mkdir "$work/try-$number"
    (cd "$work/try-$number" && PATH="$environment/bin:$PATH" "$root/scripts/try_commands.sh" >"$work/try.log" 2>&1) ||
        { cat "$work/try.log"; exit 1; }
    rm -rf "$environment"
done
echo "The wheel works where there is no repository."

if $tests; then
    echo "== the test suite from the sdist"
    mkdir "$work/sdist"
    tar -xzf dist/*.tar.gz -C "$work/sdist" --strip-components 1
    "${pythons[0]}" -m venv "$work/sdist/.venv"
    (cd "$work/sdist" && pip_in .venv "$@" -c constraints.txt ".[dev]" && OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto)
fi

if $image; then
    echo "== the commands of the Dockerfile"
    "$work/build/bin/python" scripts/check_image.py "${pythons[0]}"
fi
