# Finds what leave.sh left before the machine was powered off.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

same_report kept-report
expect_zone kept-closed 0 "cl 0x000080"
check kept-closed-data holds_known_data 0 0 128
expect_zone kept-full 1 "fu -"
check kept-full-data holds_known_data 1 0 64
# Behind what was written.
dd if=/dev/zero of=/tmp/put bs=4096 count=1 status=none
check kept-full-rest-is-zeroes holds_what_was_put 1 64 8
expect_zone kept-open-is-closed 2 "cl 0x000008"
check kept-open-data holds_known_data 2 0 8
expect_zone kept-open-without-data-is-empty 3 "em 0x000000"
if [ "$conventional" -gt 0 ]; then check kept-conventional-data holds_known_data -1 16 8; fi
check write-goes-on put 0 128 8
check write-goes-on-reads-back holds_what_was_put 0 128 8
expect_zone write-goes-on-seen 0 "oi 0x000088"
