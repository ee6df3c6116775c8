#!/bin/sh
# Runs a pipeline for a workflow manager: run-i2r.sh PIPELINE EXPERIMENT PROBLEMS [OPTION...]
#
# Exit code 3 of i2r (done, with failed units or excluded fields) ends with 0 here, and what failed
# is in PROBLEMS; I2R_STRICT=1 ends with 3. Every other code is passed on. Run again, it goes on where
# it stopped. With --array N on a batch system it waits until the last job gave the lock back, and
# runs once more for what is left.
set -u
pipeline=$1 experiment=$2 problems=$3
shift 3
i2r=${I2R:-i2r}

"$i2r" run "$pipeline" "$experiment" --yes "$@"
code=$?
case " $* " in
*" --array "*)
    if [ $code -eq 0 ] || [ $code -eq 3 ]; then
        while [ -e "$experiment/run.lock" ]; do sleep "${I2R_WAIT_S:-30}"; done
        "$i2r" run "$pipeline" "$experiment" --yes --cluster none
        code=$?
    fi
    ;;
esac

rm -f "$problems"
[ $code -eq 3 ] || exit $code
"$i2r" errors "$experiment" > "$problems"
echo "i2r: done with problems, see $problems" >&2
[ "${I2R_STRICT:-0}" = 1 ] && exit 3
exit 0
