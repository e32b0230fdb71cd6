# One request queue per processor when the disk has that many.
# shellcheck shell=dash disable=SC2154
disk=$(disk_with_serial mvzoned)
expect queues "$queues" "$(find "/sys/block/${disk#/dev/}/mq" -mindepth 1 -maxdepth 1 | grep -c .)"
check parallel-reads fio --name=parallel --filename="$disk" --direct=1 --ioengine=libaio --thread --numjobs="$queues" \
  --cpus_allowed="0-$((queues - 1))" --cpus_allowed_policy=split --iodepth=4 --rw=randread --bs=4k --size=8m --io_size=1m --minimal
