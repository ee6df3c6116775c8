#!/usr/bin/env bash
# On a machine with one NVIDIA card: install, run the tests marked gpu and every GPU path, print the
# figures of the GPU bars. Under eight minutes in all. From the repository's root:
#   tests/gpu/run.sh [FOLDER OF WHEELS]
# A PyTorch that the machine has and that sees the card is used; what else is missing comes from the
# folder of wheels, if one is named, or from the package registry. Figures also go to $OUT, if set.
set -euo pipefail
cd "$(dirname "$0")/../.."
start=$SECONDS
wheels=${1:-}
out=${OUT:-$(mktemp -d)}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
venv=$(mktemp -d)/venv
system=()
if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  system=(--system-site-packages)
fi
python3 -m venv "${system[@]}" "$venv"
source_options=()
if [ -n "$wheels" ]; then
  source_options=(--no-index --find-links "$wheels")
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${source_options[@]}" \
  -e '.[torch]' pytest pytest-timeout pytest-xdist hypothesis scikit-image
# Workers by dask-cuda where its wheels can be had; i2r's own workers pick the card otherwise.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${source_options[@]}" \
  -e '.[cuda]' || echo "dask-cuda can't be installed here: GPU workers are Dask's own"
echo "installed after $((SECONDS - start)) s"

status=0
"$venv/bin/python" -m tests.gpu 2>&1 | tee "$out/rehearsal.txt" || status=1
"$venv/bin/python" -m pytest -q -m gpu --deselect tests/gpu/test_rehearsal.py 2>&1 \
  | tee "$out/tests.txt" || status=1
echo "done after $((SECONDS - start)) s, $([ $status = 0 ] && echo passed || echo FAILED)"
exit $status
