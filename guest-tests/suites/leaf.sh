# blockcore's own test of its host_device node, on zoned disks of null_blk.
# shellcheck shell=bash disable=SC2034,SC2154

# run_leaf: the test program on /dev/mvzoned.
run_leaf() {
  local summary
  MINIVMM_TEST_ZONED_DEVICE=/dev/mvzoned timeout 120 "$RIG_ZONED_TEST" --no-colors >"$work/leaf" 2>&1
  local status=$?
  summary=$(sed -n 's/.*\(test cases: .*\)/\1/p' "$work/leaf" | tr -s ' ')
  if ((status == 0)) && [[ $summary =~ \|\ ([1-9][0-9]*)\ passed ]]; then
    note "$suite/$boot: $summary"
    ok "host_device, ${BASH_REMATCH[1]} test cases"
  else
    not_ok host_device "ended with status $status; ${summary:-no summary}"
    tail -n 40 "$work/leaf" | sed 's/^/#   | /'
  fi
}

if [[ ! -e $RIG_ZONED_TEST ]]; then
  skip leaf "the test is not built: bazel build //blockcore:host_device_zoned_test"
else
  boot=limits
  make_zoned mvzoned size=64 zone_capacity=3 zone_nr_conv=2 zone_max_open=4 zone_max_active=6 && run_leaf
  boot=4k-blocks
  make_zoned mvzoned size=64 blocksize=4096 zone_nr_conv=1 && run_leaf
fi
