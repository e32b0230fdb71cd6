# The disk is what the host says it is: limits, sizes, and every zone.
# shellcheck shell=dash disable=SC2154
if use_zoned_disk mvzoned; then
  for attribute in zoned chunk_sectors nr_zones max_open_zones max_active_zones logical_block_size zone_write_granularity; do
    expect "queue-$attribute" "$(host queue "$serial" "$attribute")" "$(cat "$queue/$attribute")"
  done
  expect size "$(host size "$serial")" "$disk_sectors"
  same_report report-fresh
fi
