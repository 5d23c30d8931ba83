#!/usr/bin/env bash
# The first minutes on a GPU: builds gradkern, then checks and measures it, most important first, within eight minutes.
#
#   benchmarks/device_run.sh [--dry]     --dry: on a CPU, with small shapes and nothing built, to see that all of it runs
#
# Needed: Python, torch, NumPy, scikit-learn, pytest, cmake, ninja, pybind11, nvcc; no network. Every step writes its
# JSON to $OUT (default benchmarks/results) as it goes and is stopped when its time is up. A step that fails does not
# stop those behind it; once SECONDS_IN_ALL are over, the remaining steps are left out.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT="${OUT:-$PWD/benchmarks/results}" OMP_NUM_THREADS="${OMP_NUM_THREADS:-8}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
PYTHON="${PYTHON:-python3}"
SECONDS_IN_ALL="${SECONDS_IN_ALL:-470}"
dry=()
[[ "${1:-}" == --dry ]] && dry=(--dry)
mkdir -p "$OUT"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

left() { echo $((SECONDS_IN_ALL - SECONDS)); }

# step NAME SECONDS [COMMAND...]: a step of benchmarks/device.py, or a command whose end and status are recorded
step() {
  local name="$1" most="$2" rest
  shift 2
  rest="$(left)"
  ((rest < 5)) && { echo "== $name left out: no time is left"; return; }
  ((most > rest)) && most="$rest"
  echo "== $name, at most $most s, after $SECONDS s"
  if (($# == 0)); then
    timeout -k 5 "$most" "$PYTHON" -m benchmarks.device "$name" ${dry[@]+"${dry[@]}"} || echo "== $name ended with $?"
  else
    "$PYTHON" -m benchmarks.device "$name" ${dry[@]+"${dry[@]}"} --seconds "$most" -- "$@" || echo "== $name ended with $?"
  fi
}

cases="$scratch/device_cases"
if ((${#dry[@]})); then
  sanitize=(echo dry)
  profile=(echo dry)
else
  "$PYTHON" -m pip install --quiet --no-build-isolation --no-deps -e . || exit 1
  # without torch a pass of compute-sanitizer takes seconds; it is compiled while the GPU is busy with other steps
  nvcc -std=c++17 -O3 -lineinfo --expt-relaxed-constexpr -arch=native '-DGK_CUDA_ARCHITECTURES="x"' \
    -o "$cases" benchmarks/device_cases.cu csrc/cuda/*.cu > "$scratch/cases.log" 2>&1 &
  sanitize=(compute-sanitizer --error-exitcode 9)
  profile=(ncu --set full --kernel-name 'regex:sketch_|weigh_' --launch-count 6 --csv --page details)
fi

step ceilings 30
step errors 60
step pytest-gpu 120 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider tests
step times 100
wait
if ((${#dry[@]})); then cases=driver; fi
for tool in memcheck racecheck synccheck; do
  step "$tool" 40 "${sanitize[@]}" --tool "$tool" "$cases"
done
step ncu 45 "${profile[@]}" "$PYTHON" -m benchmarks.device profiled ${dry[@]+"${dry[@]}"}
step capture 60
step ridge 60
echo "== all of it took $SECONDS s; the results are in $OUT"
