# The bare-metal guest's checks on two zoned disks: requests that Linux's own checks stop.
# shellcheck shell=bash disable=SC2034,SC2154

# run_bare_metal OPTION...: one boot of that guest on /dev/mvzoned; passes its lines on.
run_bare_metal() {
  local line
  while read -r line; do
    case $line in
      "ok "* | "not ok "* | "skip "*) guest_line "$line" ;;
      *) note "${line#\# }" ;;
    esac
  done < <("$RIG_DIR/bare-metal/run" --vmm "$RIG_VMM_KIND" --binary "$RIG_VMM" --guest "$RIG_BARE_METAL_GUEST" \
    "$@" /dev/mvzoned 2>&1)
  wait $! || not_ok run "the run did not end well"
}

if [[ ! -e $RIG_BARE_METAL_GUEST ]]; then
  skip bare-metal "the guest is not built: bazel build //guest-tests/bare-metal:guest"
else
  boot=512
  make_zoned mvzoned size=64 zone_capacity=3 zone_nr_conv=2 zone_max_open=4 zone_max_active=6 && run_bare_metal
  boot=4096
  make_zoned mvzoned size=62 blocksize=4096 zone_nr_conv=1 zone_max_open=6 && {
    host_spoil mvzoned readonly $((12 * 8192)) >/dev/null
    host_spoil mvzoned offline $((13 * 8192)) >/dev/null
    # Only the zones' checks: writes of single sectors to a disk with 4096-byte blocks are refused
    # by minivmm.
    run_bare_metal --only Z-
  }
fi
