# Zone 3 becomes read-only and zone 4 offline while the guest runs; zones 1 and 2 are so already.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

put 3 0 8 2>/dev/null
expect spoil-read-only spoilt "$(host spoil "$serial" readonly "$(zone_start 3)")"
expect_error becomes-read-only "Input/output error" put 3 8 8
expect becomes-read-only-shows ro "$(zone_condition 3)"
expect spoil-offline spoilt "$(host spoil "$serial" offline "$(zone_start 4)")"
expect_error becomes-offline "Input/output error" put 4 0 8
expect becomes-offline-shows of "$(zone_condition 4)"
check reset-all-passes-bad-zones blkzone reset "$disk"
expect reset-all-leaves-bad-zones "ro of ro of" "$(zone_condition 1) $(zone_condition 2) $(zone_condition 3) $(zone_condition 4)"
check others-still-work put 5 0 8
check others-still-read holds_what_was_put 5 0 8
