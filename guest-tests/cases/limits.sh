# One zone too many, open or active, gets the error that says so; nothing changes; freeing one makes
# room.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

too_many_open="Too many references: cannot splice"
too_many_active="Value too large for defined data type"

i=0
while [ "$i" -lt "$max_open" ]; do
  zone_op open "$i" || not_ok open-up-to-the-limit "zone $i of $max_open does not open"
  i=$((i + 1))
done
expect_error open-one-too-many "$too_many_open" zone_op open "$i"
expect_zone open-one-too-many-changes-nothing "$i" "em 0x000000"
expect_error write-without-open-resource "$too_many_open" put "$i" 0 8
resync "$i"
expect_zone write-without-open-resource-changes-nothing "$i" "em 0x000000"
zone_op close 0
check open-after-close zone_op open "$i"
blkzone reset "$disk"

# Zones opened by writing are closed by the device itself when another one needs the place.
i=0 failed=
while [ "$i" -le "$max_open" ]; do
  put "$i" 0 8 2>/tmp/put.out || failed="zone $i: $(one_line </tmp/put.out)"
  i=$((i + 1))
done
expect implicit-close "" "$failed"
expect implicit-close-count "$max_open" "$(zone_table "$disk" | grep -c ' oi 2$')"
same_report implicit-close-on-host

while [ "$i" -lt "$max_active" ]; do
  put "$i" 0 8 2>/dev/null
  i=$((i + 1))
done
i=0
while [ "$i" -lt "$max_active" ]; do
  zone_op close "$i"
  i=$((i + 1))
done
expect active-up-to-the-limit "$max_active" "$(zone_table "$disk" | grep -c ' cl 2$')"
expect_error open-beyond-active "$too_many_active" zone_op open "$i"
expect_error write-beyond-active "$too_many_active" put "$i" 0 8
resync "$i"
expect_zone write-beyond-active-changes-nothing "$i" "em 0x000000"
check write-to-closed-at-the-limit put 0 8 8
check finish-makes-room zone_op finish 1
check write-after-room put "$i" 0 8
same_report limits-on-host
blkzone reset "$disk"
