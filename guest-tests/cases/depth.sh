# Random data written and verified with many requests in flight, and once more read on the host.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

run_fio() {
  fio --name=zbd --filename="$disk" --zonemode=zbd --direct=1 --ioengine=libaio --thread --iodepth=16 \
    --offset=$((conventional * zone_sectors * 512)) --max_open_zones=4 --randrepeat=0 --output=/tmp/fio.out \
    --minimal "$@" || return
  ! grep -q -e verify: -e 'err=' /tmp/fio.out
}

megabytes=${megabytes:-16}
check fio-random-verified run_fio --rw=randwrite --bs=16k --io_size="${megabytes}m" \
  --size=$((zone_sectors * 512 * 8)) --verify=crc32c --do_verify=1
same_report report-after-random
blkzone reset "$disk"
check fio-sequential-verified run_fio --rw=write --bs=64k --size=$((zone_sectors * 512 * 4)) \
  --verify=crc32c --do_verify=1

# Zone 1 is full now; of a zone with a rest unwritten only the part below the write pointer would
# have to agree.
flush
digest=$(dd if="$disk" bs=64k count=$((capacity_sectors / 128)) skip=$(($(zone_start 1) * 512)) \
  iflag=direct,skip_bytes status=none | md5sum | cut -d ' ' -f 1)
expect same-bytes-on-host "$(host bytes "$serial" "$(zone_start 1)" $((capacity_sectors / 128)))" "$digest"
check fio-mixed run_fio --rw=randrw --bs=4k --io_size=2m --size=$((zone_sectors * 512 * 6))
same_report report-after-fio
blkzone reset "$disk"
