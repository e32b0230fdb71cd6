#!/usr/bin/env bash
# The zone load guest's own test: every step runs on a zoned image, and what cannot be run is said.
#
#   zone_load_test.sh MINIVMM GUEST MINIVMM_IMG
set -euo pipefail
# shellcheck source=guest-tests/need_kvm.sh
source guest-tests/need_kvm.sh

minivmm=$1 guest=$2 img=$3
work=${TEST_TMPDIR:?}
image=$work/disk.zbd
"$img" create -f zoned -o zone.size=1M,zone.conventional_zones=2,zone.mode=host-managed "$image" 24M

# run WORDS: the guest's answers, each step begun at once.
run() {
  yes '' | head -n 20 |
    timeout 60 "$minivmm" --kernel "$guest" -m 64 --no-reboot --append "$1" \
      --blockdev "driver=zoned,node-name=d0,file.driver=file,file.filename=$image" \
      --device virtio-blk-pci,drive=d0 --device isa-debug-exit,iobase=0xf4,iosize=4 2>&1 |
    tr -d '\r'
}

# expect PATTERN COUNT WORDS: the answers have so many lines that match.
expect() {
  local answers
  answers=$(run "$3") || true
  if [[ $(grep -cE "$1" <<<"$answers") != "$2" ]]; then
    printf 'FAILED: wanted %s lines like "%s" for "%s":\n%s\n' "$2" "$1" "$3" "$answers"
    exit 1
  fi
}

expect '^@ran [1-9][0-9]* [1-9][0-9]*$' 7 \
  "disk=0 conventional=2 ticks=1 depth=4 zones=4 op=write op=append op=conventional op=read \
size=65536 zones=1 op=write op=append op=report"
# One write in each of four zones.
expect '^@ran 4 ' 1 "disk=0 conventional=2 ticks=1 depth=4 zones=4 op=write"
"$img" report "$image" >"$work/report"
if [[ $(grep -c 'wptr 0x000008 .*SEQ_WRITE_REQUIRED' "$work/report") != 4 ]]; then
  printf 'FAILED: it is not four zones that hold one write each:\n'
  cat "$work/report"
  exit 1
fi
expect '^@failed the disk was full' 1 \
  "disk=0 conventional=2 ticks=1000000000000 size=65536 op=append"
expect '^@failed no virtio-blk function' 1 "disk=1 op=read"
expect '^@failed depth' 1 "disk=0 conventional=1 depth=65 op=read"
echo passed
