# A write off the write pointer fails, changes nothing, and does not spoil the zone: the next one at
# the pointer succeeds.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

# The guest's kernel tracks no pointer for a zone before its first write, so this one reaches the
# device.
expect_error off-pointer-first "Input/output error" put 0 64 8
expect_zone off-pointer-first-changes-nothing 0 "em 0x000000"
check at-pointer-after-first put 0 0 8
check at-pointer-after-first-reads-back holds_what_was_put 0 0 8

expect_error off-pointer-ahead "Input/output error" put 0 64 8
resync 0
check at-pointer-after-ahead put 0 8 8
expect_error off-pointer-behind "Input/output error" put 0 0 8
resync 0
check at-pointer-after-behind put 0 16 8
check at-pointer-after-behind-reads-back holds_what_was_put 0 16 8
expect_zone off-pointer-end 0 "oi 0x000018"

# A full zone takes no write until it is reset.
zone_op finish 1
expect_error write-to-full "Input/output error" put 1 0 8
resync 1
expect_zone write-to-full-changes-nothing 1 "fu -"
zone_op reset 1
check write-after-full-and-reset put 1 0 8
blkzone reset "$disk"
same_report report-after-errors
