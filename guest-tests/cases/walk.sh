# A walk through a zone's life, for people to look at: each step with the zones as guest and host
# see them.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

# show TEXT...: a line for the reader.
show() { echo "@show $*"; }
# step TEXT: the heading of a step.
step() { show "" && show "== $*"; }
# summary: how many zones are in which condition.
summary() {
  show "$(zone_table "$disk" | awk '
    { ++count[$5] }
    END {
      split("nw em oi oe cl fu ro of", order)
      split("conventional empty implicitly-open explicitly-open closed full read-only offline", name)
      for (i = 1; i <= 8; ++i) if (count[order[i]]) printf "%d %s  ", count[order[i]], name[i]
    }')"
}

show "disk $disk, serial $serial: $(cat "$queue/zoned"), $zone_count zones of $((zone_sectors / 2048)) MiB, capacity \
$((capacity_sectors / 2048)) MiB, $conventional conventional, at most $max_open open and $max_active active, \
$block_bytes-byte blocks"
summary
same_report "guest and host see the same zones"

step "write 64 KiB at the write pointer of zone 0"
check "the write succeeds" put 0 0 128
expect_zone "the zone opens by itself, the pointer moves" 0 "oi 0x000080"
check "the data reads back" holds_what_was_put 0 0 128

step "write where the write pointer is not"
expect_error "the write is refused" "Input/output error" put 1 64 8
expect_zone "the zone is as it was" 1 "em 0x000000"
check "the next write at the pointer succeeds" put 1 0 8

step "open, close, finish"
check "open zone 2" zone_op open 2
expect_zone "open, explicitly" 2 "oe 0x000000"
put 2 0 8
check "close zone 2" zone_op close 2
expect_zone "closed, pointer kept" 2 "cl 0x000008"
check "finish zone 1" zone_op finish 1
expect_zone "full" 1 "fu -"
summary

step "one zone too many"
blkzone reset "$disk"
i=0
while [ "$i" -lt "$max_open" ]; do
  zone_op open "$i"
  i=$((i + 1))
done
expect_error "open a zone more than $max_open, the limit, gives ETOOMANYREFS" "Too many references: cannot splice" zone_op open "$i"
i=0
while [ "$i" -lt "$max_active" ]; do
  put "$i" 0 8
  zone_op close "$i"
  i=$((i + 1))
done
expect_error "write to a zone more than $max_active active ones gives EOVERFLOW" "Value too large for defined data type" put "$i" 0 8
resync "$i"
summary

step "random writes, 16 at a time, each block verified (fio)"
blkzone reset "$disk"
check "2 MiB written and verified" fio --name=walk --filename="$disk" --zonemode=zbd --direct=1 --ioengine=libaio --thread \
  --iodepth=16 --offset=$((conventional * zone_sectors * 512)) --max_open_zones=4 --rw=randwrite --bs=16k --io_size=2m \
  --size=$((zone_sectors * 512 * 4)) --verify=crc32c --do_verify=1 --minimal
same_report "guest and host still agree"
summary

step "reset all"
check "one command" blkzone reset "$disk"
expect "every zone is empty" 0 "$(zone_table "$disk" | grep -vc -e ' em 2$' -e ' nw 1$')"
same_report "on the host as well"
summary
