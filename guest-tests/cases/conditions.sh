# Zones that the host has made read-only or offline show so in the guest and refuse what they must;
# zone 1 is read-only and zone 2 offline from the start.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

expect read-only-shows ro "$(zone_condition 1)"
expect offline-shows of "$(zone_condition 2)"
same_report report-with-bad-zones
expect_error read-only-write "Input/output error" put 1 0 8
expect_error read-only-reset "Input/output error" zone_op reset 1
check read-only-reads get 1 0 8
expect_error offline-write "Input/output error" put 2 0 8
expect_error offline-open "Input/output error" zone_op open 2
expect_error offline-read "Input/output error" dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct,skip_bytes \
  skip=$(($(zone_start 2) * 512))
check reset-all-passes blkzone reset "$disk"
expect reset-all-leaves "ro of" "$(zone_condition 1) $(zone_condition 2)"
check others-write put 5 0 8
check others-read holds_what_was_put 5 0 8
