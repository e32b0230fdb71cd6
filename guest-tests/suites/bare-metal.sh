# The bare-metal guest's checks on two zoned disks: requests that Linux's own checks stop.
# shellcheck shell=bash disable=SC2034,SC2154
if have_bare_metal; then
  boot=null_blk
  make_zoned mvzoned size=64 zone_capacity=3 zone_nr_conv=2 zone_max_open=4 zone_max_active=6 && {
    run_bare_metal
    boot=null_blk-packed
    run_bare_metal --packed --only B-,Z-
  }
  boot=null_blk-4096
  make_zoned mvzoned size=62 blocksize=4096 zone_nr_conv=1 zone_max_open=6 && {
    host_spoil mvzoned readonly $((12 * 8192)) >/dev/null
    host_spoil mvzoned offline $((13 * 8192)) >/dev/null
    # Only the zones' checks: writes of single sectors to a disk with 4096-byte blocks are refused
    # by minivmm.
    run_bare_metal --only Z-
  }
fi
