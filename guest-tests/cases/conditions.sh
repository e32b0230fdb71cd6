# Zones that the host has made read-only or offline show so in the guest and refuse what they must;
# zone 1 is read-only and zone 2 offline from the start, zone 3 and zone 4 become so while the guest
# runs.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

# condition INDEX: as the guest sees it.
condition() { zone_state "$disk" "$(zone_start "$1")" | cut -d ' ' -f 1; }

expect read-only-shows ro "$(condition 1)"
expect offline-shows of "$(condition 2)"
same_report report-with-bad-zones
expect_error read-only-write "Input/output error" put 1 0 8
expect_error read-only-reset "Input/output error" zone_op reset 1
check read-only-reads get 1 0 8
expect_error offline-write "Input/output error" put 2 0 8
expect_error offline-open "Input/output error" zone_op open 2
expect_error offline-read "Input/output error" dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct,skip_bytes \
  skip=$(($(zone_start 2) * 512))

put 3 0 8 2>/dev/null
expect spoil-read-only spoilt "$(host spoil "$serial" readonly "$(zone_start 3)")"
expect_error becomes-read-only "Input/output error" put 3 8 8
expect becomes-read-only-shows ro "$(condition 3)"
expect spoil-offline spoilt "$(host spoil "$serial" offline "$(zone_start 4)")"
expect_error becomes-offline "Input/output error" put 4 0 8
expect becomes-offline-shows of "$(condition 4)"
check reset-all-passes-bad-zones blkzone reset "$disk"
expect reset-all-leaves-bad-zones "ro of ro of" "$(condition 1) $(condition 2) $(condition 3) $(condition 4)"
check others-still-work put 5 0 8
check others-still-read holds_what_was_put 5 0 8
