# A last zone of half the size, two conventional zones, a limit on open zones only.
# shellcheck shell=bash disable=SC2034
make_zoned mvzoned size=126 zone_nr_conv=2 zone_max_open=8 && disks=(/dev/mvzoned) &&
  boot_guest geometry,operations,pointer,depth
