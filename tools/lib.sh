# Shared by the scripts in tools: saying what is going on, and building. Sourced, not run.
# shellcheck shell=bash disable=SC2034

tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_dir=$(dirname "$tools_dir")
tool=$(basename "$0")
started=$SECONDS

say() { printf '%s: %s\n' "$tool" "$*"; }

die() {
  printf '%s: %s\n' "$tool" "$*" >&2
  exit 1
}

# with_progress TEXT COMMAND...: runs the command with its output in a file, says every ten seconds
# that it is still at it, and shows the end of the output if it fails.
with_progress() {
  local text=$1 log begun=$SECONDS pid status=0
  shift
  log=$(mktemp)
  say "$text ..."
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - begun >= 10 && (SECONDS - begun) % 10 == 0 && SECONDS != last_progress)); then
      last_progress=$SECONDS
      say "$text ... $((SECONDS - begun)) s"
    fi
  done
  wait "$pid" || status=$?
  if ((status)); then
    tail -n 40 "$log"
    say "$text: failed with status $status"
  else
    say "$text: done in $((SECONDS - begun)) s"
  fi
  last_output=$(<"$log")
  rm -f "$log"
  return "$status"
}
last_progress=-1

# build_programs: builds minivmm, minivmm-img, minivmm-io and what the guests' suites run beside them,
# optimized, and sets their paths.
build_programs() {
  with_progress "building minivmm" bazel build --config=opt \
    //vmm:minivmm //tools/img:minivmm-img //tools/io:minivmm-io //guest-tests/bare-metal:guest \
    //blockcore:host_device_zoned_test || return
  built=$(bazel info --config=opt bazel-bin 2>/dev/null)
  minivmm=$built/vmm/minivmm
  minivmm_img=$built/tools/img/minivmm-img
  bare_metal_guest=$built/guest-tests/bare-metal/guest
}
