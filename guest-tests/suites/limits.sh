# 4 MiB zones of 3 MiB capacity, four conventional ones, at most 5 open and 7 active.
# shellcheck shell=bash disable=SC2034
make_zoned mvzoned size=128 zone_capacity=3 zone_nr_conv=4 zone_max_open=5 zone_max_active=7 &&
  disks=(/dev/mvzoned) && boot_guest geometry,operations,pointer,limits,depth
