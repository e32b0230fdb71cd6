# Open, close, finish, reset and reset-all change the zones as they should, seen in the guest and on
# the host.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

check open zone_op open 0
expect_zone open-seen 0 "oe 0x000000"
check close-unwritten zone_op close 0
expect_zone close-unwritten-is-empty 0 "em 0x000000"

check write put 0 0 128
expect_zone write-opens-implicitly 0 "oi 0x000080"
check write-reads-back holds_what_was_put 0 0 128
check open-after-write zone_op open 0
expect_zone open-keeps-pointer 0 "oe 0x000080"
check close zone_op close 0
expect_zone close-seen 0 "cl 0x000080"
check close-again zone_op close 0
check write-to-closed put 0 128 64
expect_zone write-reopens 0 "oi 0x0000c0"

check finish zone_op finish 0
expect_zone finish-seen 0 "fu -"
check finish-empty zone_op finish 1
expect_zone finish-empty-seen 1 "fu -"
check finish-full zone_op finish 1
expect_error open-full "Input/output error" zone_op open 1
expect_error close-full "Input/output error" zone_op close 1
expect_error close-empty "Input/output error" zone_op close 2

check reset zone_op reset 0
expect_zone reset-seen 0 "em 0x000000"
check reset-empty zone_op reset 0
check write-after-reset put 0 0 64
check write-after-reset-reads-back holds_what_was_put 0 0 64

# Filling a zone to its capacity makes it full; in 128 KiB pieces, the last one as long as is left.
offset=0 failed=
while [ "$offset" -lt "$capacity_sectors" ]; do
  count=$((capacity_sectors - offset < 256 ? capacity_sectors - offset : 256))
  put 2 "$offset" "$count" 2>/tmp/fill.out || { failed="at sector $offset: $(one_line </tmp/fill.out)" && break; }
  offset=$((offset + count))
done
expect fill-to-capacity "" "$failed"
expect_zone fill-makes-full 2 "fu -"
check fill-reads-back holds_what_was_put 2 $((capacity_sectors - count)) "$count"
if [ "$capacity_sectors" -lt "$zone_sectors" ]; then
  put 3 0 8 2>/dev/null
  expect_error write-beyond-capacity "Input/output error" put 2 "$capacity_sectors" 8
fi
same_report report-mixed

if [ "$conventional" -gt 0 ]; then
  put -1 512 64 2>/dev/null
  put -1 16 8 2>/dev/null
  cp /tmp/put /tmp/conventional
  check conventional-write-anywhere holds_what_was_put -1 16 8
  expect_error conventional-open "Input/output error" zone_op open -1
  expect_error conventional-reset "Input/output error" zone_op reset -1
fi

# The last zone may be shorter than the others.
last=$((zone_count - conventional - 1))
check last-zone-write put "$last" 0 64
expect_zone last-zone-write-seen "$last" "oi 0x000040"
check last-zone-finish zone_op finish "$last"
expect_zone last-zone-finish-seen "$last" "fu -"
check last-zone-reset zone_op reset "$last"
expect_zone last-zone-reset-seen "$last" "em 0x000000"
last_length=$((disk_sectors - $(zone_start "$last")))
if [ "$last_length" -lt "$zone_sectors" ]; then
  offset=0
  while [ "$offset" -lt "$last_length" ] && put "$last" "$offset" 128 2>/dev/null; do offset=$((offset + 128)); done
  expect_zone short-last-zone-fills "$last" "fu -"
fi

check reset-all blkzone reset "$disk"
expect reset-all-in-guest 0 "$(zone_table "$disk" | grep -vc -e ' em 2$' -e ' nw 1$')"
same_report reset-all-on-host
if [ "$conventional" -gt 0 ]; then
  cp /tmp/conventional /tmp/put
  check reset-all-keeps-conventional holds_what_was_put -1 16 8
fi
