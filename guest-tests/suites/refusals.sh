# What minivmm must refuse before it starts anything: a busy, mounted or missing disk.
# shellcheck shell=bash disable=SC2034,SC2054,SC2154

# refuses NAME TEXT ARGUMENT...: the VMM ends with status 1 and says TEXT in one line.
refuses() {
  local name=$1 text=$2 output status
  shift 2
  output=$(timeout 20 "$RIG_VMM" --kernel "$RIG_KERNEL" "$@" </dev/null 2>&1)
  status=$?
  if ((status == 1)) && [[ ${output,,} == *"${text,,}"* && $(wc -l <<<"$output") == 1 ]]; then
    ok "$name"
  else
    not_ok "$name" "status $status, expected 1 and one line with '$text'; said: $(head -n 1 <<<"$output")"
  fi
}

if [[ $RIG_VMM_KIND != minivmm ]]; then
  skip refusals "these are minivmm's own messages"
elif make_zoned mvzoned size=64; then
  zoned=(--blockdev node-name=drive0,driver=host_device,filename=/dev/mvzoned --device virtio-blk-pci,drive=drive0)
  refuses missing-disk "/dev/nothing" --blockdev node-name=drive0,driver=host_device,filename=/dev/nothing \
    --device virtio-blk-pci,drive=drive0
  refuses not-a-disk "/dev/null" --blockdev node-name=drive0,driver=host_device,filename=/dev/null \
    --device virtio-blk-pci,drive=drive0
  refuses buffered-zoned "cache.direct" --blockdev \
    node-name=drive0,driver=host_device,filename=/dev/mvzoned,cache.direct=off --device virtio-blk-pci,drive=drive0
  refuses missing-drive "drive7" --device virtio-blk-pci,drive=drive7

  # Another program holds the disk exclusively, as a mount or a second VMM does; mount(8) would need
  # a file system on it.
  modprobe ext4
  mkdir "$work/held"
  mkdir -p /sys/kernel/config/nullb/mvplain
  echo 1 >/sys/kernel/config/nullb/mvplain/memory_backed
  echo 32 >/sys/kernel/config/nullb/mvplain/size
  echo 1 >/sys/kernel/config/nullb/mvplain/power
  if mkfs.ext4 -q -F /dev/mvplain && mount -t ext4 /dev/mvplain "$work/held"; then
    refuses mounted-disk "/dev/mvplain" --blockdev node-name=drive0,driver=host_device,filename=/dev/mvplain \
      --device virtio-blk-pci,drive=drive0
    umount "$work/held"
  else
    not_ok mounted-disk "cannot mount an ext4 file system on /dev/mvplain"
  fi
  remove_zoned mvplain

  if "$RIG_VMM" --kernel "$RIG_KERNEL" "${zoned[@]}" --dry-run </dev/null >"$work/dry-run" 2>&1; then
    ok dry-run-with-a-zoned-disk
  else
    not_ok dry-run-with-a-zoned-disk "$(tail -n 1 "$work/dry-run")"
  fi
fi
