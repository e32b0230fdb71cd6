# minivmm-img between ordinary disks, zoned images and a real zoned device. No guest boots.
# shellcheck shell=bash disable=SC2154
# same_files NAME FILE FILE
same_files() {
  if cmp -s "$2" "$3"; then ok "$1"; else not_ok "$1" "$(basename "$2") and $(basename "$3") differ"; fi
}

# img NAME ARGUMENT...: minivmm-img succeeds.
img() {
  local name=$1 output
  shift
  if output=$("$RIG_IMG" "$@" 2>&1); then ok "$name"; else not_ok "$name" "$output"; fi
}

# io COMMAND: of minivmm-io, on the image c.zbd.
io() {
  local output
  output=$("$RIG_IO" -f zoned -c "$1" "$work/c.zbd" 2>&1) || not_ok io "$1: $output"
}

# refused_before_loss NAME TEXT: convert --force tells that the device cannot hold the image, and the
# zones of the device are what they were.
refused_before_loss() {
  local output before
  dd if=/dev/urandom of=/dev/mvzoned bs=4k count=1 oflag=direct 2>/dev/null
  before=$(zone_table /dev/mvzoned)
  if output=$("$RIG_IMG" convert -O host_device --force "$work/c.zbd" /dev/mvzoned 2>&1); then
    not_ok "$1" "it was converted"
  elif [[ $output == *"$2"* && $(zone_table /dev/mvzoned) == "$before" ]]; then
    ok "$1"
  else
    not_ok "$1" "$output"
  fi
}

if [[ $RIG_VMM_KIND != minivmm ]]; then
  skip images "minivmm-img is not QEMU's"
elif [[ ! -e $RIG_IMG || ! -e $RIG_IO ]]; then
  skip images "minivmm-img or minivmm-io is not built: bazel build //:minivmm-img //:minivmm-io"
elif make_zoned mvzoned size=18 zone_nr_conv=1; then
  # Zone 1 ends with zeroes, zone 2 has nothing else, the last one is short.
  {
    dd if=/dev/urandom bs=1M count=6
    dd if=/dev/zero bs=1M count=6
    dd if=/dev/urandom bs=1M count=6
  } 2>/dev/null >"$work/plain"
  img ordinary-to-image convert -f raw -O zoned -o zone.size=4M,zone.conventional_zones=1 \
    "$work/plain" "$work/a.zbd"
  # Its conventional zone, too, may hold something.
  if output=$("$RIG_IMG" convert -O host_device "$work/a.zbd" /dev/mvzoned 2>&1); then
    not_ok device-wants-force "it was overwritten"
  elif [[ $output == *"zone 0 of '/dev/mvzoned' is conventional"* ]]; then
    ok device-wants-force
  else
    not_ok device-wants-force "$output"
  fi
  img image-to-device convert -O host_device --force "$work/a.zbd" /dev/mvzoned
  img device-to-image convert -f host_device -O zoned /dev/mvzoned "$work/b.zbd"
  img device-to-ordinary convert -f host_device -O raw /dev/mvzoned "$work/from-device"
  img image-to-ordinary convert -O raw "$work/b.zbd" "$work/from-image"
  same_files device-has-the-data "$work/plain" "$work/from-device"
  same_files image-has-the-data "$work/plain" "$work/from-image"
  img check check "$work/b.zbd"
  for image in a b; do "$RIG_IMG" report "$work/$image.zbd" >"$work/$image.report"; done
  same_files zones-are-the-same "$work/a.report" "$work/b.report"
  rm -f "$work"/{plain,a.zbd,b.zbd,from-device,from-image}

  img image create -f zoned -o zone.size=4M "$work/c.zbd" 16M
  io "zap 4M 512"
  make_zoned mvzoned size=16 blocksize=4096 && refused_before_loss blocks-that-do-not-fit "zone 1 of the source ends in the middle"
  io "zf 4M 4M"
  make_zoned mvzoned size=16 blocksize=4096 && refused_before_loss full-zones-that-do-not-fit "zone 1 of the source ends in the middle"
  io "zrs 4M 4M"
  for start in 0 4M 8M 12M; do io "zap $start 4k"; done
  make_zoned mvzoned size=16 zone_max_active=3 && refused_before_loss too-many-active-zones "the source has 4 zones that are neither"
  # Nobody will write to these any more.
  img offline set-zone "$work/c.zbd" 1-2 offline
  img offline-zones-are-not-active convert -O host_device --force "$work/c.zbd" /dev/mvzoned
  rm "$work/c.zbd"
fi
