#!/usr/bin/env bash
# Build wheel and sdist into dist/, and try the wheel where there is no repository: the commands of the README, a plugin.
# Usage: scripts/check_dist.sh PYTHON [OPTIONS OF PIP]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$(command -v "$1")"
shift
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$root"
rm -rf dist

"$python" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet --disable-pip-version-check build
"$work/build/bin/python" -m build --outdir dist . >"$work/build.log" || { cat "$work/build.log"; exit 1; }

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -c constraints.txt \
    "$(echo dist/*.whl)[report]" plugins/sedd-curriculum-*/
export XDG_CACHE_HOME="$work/cache" PATH="$work/venv/bin:$PATH"
cd "$work"
sedd --version
sedd env
sedd plugins >plugins.txt
sedd forecast quickstart >forecast.txt
sedd train quickstart training.n_iters=40 optim.warmup=10 curriculum.preschool_time=20 --device cpu --run run --quiet
sedd diagnose run
sedd sample run -n 2 --device cpu
sedd report run --quiet
test -s run/report.html
echo "The wheel works where there is no repository."
