#!/usr/bin/env bash
# All that a GPU is needed for, in a quarter of an hour and without network: parts in turn, each with a time limit of its own.
# A part that fails stops no other.
#
# Before, with network:
#     bash benchmarks/gpu_wheels.sh
#     .venv/bin/python benchmarks/pack.py path/to/voc-animals/VOCdevkit .gpu/voc-animals.tar --limit 36
# Then, on the machine, with the checkout, .whl and .gpu:
#     bash benchmarks/gpu.sh            # all parts
#     bash benchmarks/gpu.sh animals    # some parts; animals resumes if its run is still in gpu-results
# Rehearsal on a CPU:
#     DEVICE=cpu QUICK=1 WHEELS=none PYTHON=.venv/bin/python bash benchmarks/gpu.sh
#
# Parts:
#     tests               tests/test_cuda.py
#     steps               a training step of each recipe in 16 bits
#     training-voc2012    training images a second beside the bare loop
#     training-resnet50   the same for the recipe voc2012-resnet50
#     mining              images mined a second beside the bare forward pass and other tools
#     animals             photographs of animals, from labels to scores of segmenters, as far as the time goes
#
# Results go to $OUT, or to gpu-results: a log of each part, summary.txt, and results.tar.gz with tables and figures.
# The exit status is 1 if a part failed; animals may run out of time.
#
# Variables, with their defaults:
#     ALL=840        seconds for everything; 570 where a command may take ten minutes, and a second call for the rest
#     TESTS=270 STEPS=120 TRAINING=120 MINING=120    seconds for a part; animals has what is left
#     PYTHON=python3 DEVICE=cuda
#     WHEELS=.whl    folder of wheels to install; none installs nothing
#     DATA=.gpu/voc-animals.tar    a tar from pack.py, or a devkit
#     RECIPE=photos IMAGES= SET= SEG_SET= MORE="--also 0"    for `ae-erasing reproduce`: SET="epochs=3 steps=2"
#     KEEP=gpu-results    folder of the run
set -uo pipefail
cd "$(dirname "$0")/.."
ALL=${ALL:-840}; TESTS=${TESTS:-270}; STEPS=${STEPS:-120}; TRAINING=${TRAINING:-120}; MINING=${MINING:-120}
PYTHON=${PYTHON:-python3}; DEVICE=${DEVICE:-cuda}; QUICK=${QUICK:-}; WHEELS=${WHEELS:-.whl}
DATA=${DATA:-.gpu/voc-animals.tar}; RECIPE=${RECIPE:-photos}; IMAGES=${IMAGES:-}
SET=${SET:-}; SEG_SET=${SEG_SET:-}; MORE=${MORE:---also 0}
KEEP=${KEEP:-gpu-results}; OUT=${OUT:-$KEEP}
RESERVE=25 # Seconds at the end, to stop a part and to pack
if [ -n "$QUICK" ]; then
    IMAGES=${IMAGES:-12}
    SET=${SET:-steps=2 epochs=1 size=64 mine_size=64 refine_size=64 bs=4}
    SEG_SET=${SEG_SET:-epochs=1 size=64 side=64 bs=4 width=16}
fi
say() { echo "$*" | tee -a "$OUT/summary.txt"; }
die() { echo "gpu.sh: $*" >&2; exit 2; }
left() { echo $((ALL-SECONDS)); }

known='tests steps training-voc2012 training-resnet50 mining animals'
for p in "$@"; do [[ " $known " == *" $p "* ]] || die "$p: is no part; there are $known"; done
mkdir -p "$KEEP/tables" "$OUT"

# --- packages

export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PYTHONWARNINGS=${PYTHONWARNINGS:-ignore}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
install=(install -q --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir --upgrade)
if compgen -G "$WHEELS/*.whl" >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m pip "${install[@]}" --target "$site" "$WHEELS"/*.whl ||
        die "$WHEELS: holds wheels for another Python than $PYTHON; make others (benchmarks/gpu_wheels.sh) or set WHEELS=none"
    export PYTHONPATH=$PYTHONPATH:$site
fi
"$PYTHON" -c 'import fastai.vision.all, ae_erasing.cli' ||
    die "$PYTHON: cannot import the package; bring what is missing as wheels (benchmarks/gpu_wheels.sh) or set PYTHON"
"$PYTHON" - "$DEVICE" <<'END' || die "$DEVICE: PyTorch sees no GPU; run this where there is one, or rehearse with DEVICE=cpu QUICK=1"
import sys, torch
sys.exit(sys.argv[1].startswith('cuda') and not torch.cuda.is_available())
END

# --- running a part

# Tables and figures so far, in one file: machines give few files back
pack() {
    find "$KEEP/tables" "$KEEP/run" -type f \( -name '*.json' -o -name '*.csv' -o -name '*.md' \) -not -path '*/cache/*' 2>/dev/null |
        tar czf "$OUT/results.tar.gz" -T - 2>/dev/null
}

# NAME SECONDS COMMAND...: output to the log named by what stands before a hyphen, and a line to the summary
part() {
    local name=$1 most=$2 log=$OUT/${1%%-*}.log start=$SECONDS status=0 why='' room=$(($(left)-RESERVE))
    shift 2
    if [ "$room" -le 0 ]; then
        say "$(printf '%-18s %5d s  not run: no time is left' "$name" 0)"
        failed=1
        return
    fi
    [ "$most" -lt "$room" ] || most=$room
    echo "== $name, at most $most s: $*" | tee -a "$log"
    timeout --signal=INT --kill-after=15 "$most" "$@" 2>&1 | tee -a "$log" || status=$?
    case $status in
        0) ;;
        124|137) why=" (stopped after $most s)"; [ "$name" = animals ] || failed=1;;
        *) failed=1;;
    esac
    say "$(printf '%-18s %5d s  exit %d%s' "$name" $((SECONDS-start)) "$status" "$why")"
    pack
}

# NAME SECONDS SCRIPT ARGUMENTS...
bench() {
    local name=$1 most=$2 script=benchmarks/$3.py
    shift 3
    part "$name" "$most" "$PYTHON" "$script" --device "$DEVICE" --results "$KEEP/tables" ${QUICK:+--quick} "$@"
}

# --- the parts

tests() { part tests "$TESTS" "$PYTHON" -m pytest --cuda -q -p no:cacheprovider tests/test_cuda.py; }
steps() { bench steps "$STEPS" gpu_steps; }
training-voc2012() { bench training-voc2012 "$TRAINING" recipe --recipe voc2012 --name recipe-voc2012; }
training-resnet50() { bench training-resnet50 "$TRAINING" recipe --recipe voc2012-resnet50 --name recipe-voc2012-resnet50; }
mining() { bench mining "$MINING" mining --archs vgg16_largefov resnet50 tf_efficientnet_lite0; }
animals() {
    local data=$DATA args=() o
    if [ -f "$DATA" ]; then # beside the run, which looks for its images there when it resumes
        data=$KEEP/data
        [ -d "$data" ] || { mkdir -p "$data.part" && tar xf "$DATA" -C "$data.part" --strip-components 1 && mv "$data.part" "$data"; }
    fi
    for o in $SET; do args+=(--set "$o"); done
    for o in $SEG_SET; do args+=(--seg-set "$o"); done
    [ -z "$IMAGES" ] || args+=(--images "$IMAGES")
    args+=(--data "$data" --out "$KEEP/run" --device "$DEVICE")
    part animals "$(left)" "$PYTHON" -m ae_erasing.cli reproduce "$RECIPE" $MORE "${args[@]}" # MORE is several words
}

failed=0
versions='import platform, fastai, timm, torch
print("Python", platform.python_version(), "torch", torch.__version__, "fastai", fastai.__version__, "timm", timm.__version__)'
say "$(date '+%Y-%m-%d %H:%M'), $DEVICE, $ALL s: ${*:-$known}"
say "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi')"
say "$("$PYTHON" -c "$versions")"
for p in ${*:-$known}; do "$p"; done
echo
cat "$OUT/summary.txt"
exit "$failed"
