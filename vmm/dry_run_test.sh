#!/usr/bin/env bash
# Lines that QEMU's users type, given to the real program with --dry-run: each must be understood, and what --print json prints must,
# read with --config, be the same machine.
# shellcheck disable=SC2054 # commas as the program wants them
set -euo pipefail
# shellcheck source=guest-tests/need_kvm.sh
source guest-tests/need_kvm.sh
minivmm=$(realpath "$1")
guest=$(realpath "$2")
cd "$TEST_TMPDIR"
failures=0

fail() {
  failures=$((failures + 1))
  printf 'FAILED: %s\n' "$*"
}

# understands TEXT ARGUMENT...: the description for people has the text.
understands() {
  local expected=$1 output printed again
  shift
  local line=("$minivmm" --kernel "$guest" --dry-run)
  output=$("${line[@]}" "$@" 2>&1 </dev/null) || fail "$*: $output"
  [[ $output == *"$expected"* ]] || fail "$* printed, without '$expected': $output"
  printed=$("${line[@]}" --print json "$@" 2>&1 </dev/null) || fail "$* as JSON: $printed"
  printf '%s\n' "$printed" >machine.json
  again=$("$minivmm" --config machine.json --dry-run --print json 2>&1) || fail "$* read again: $again"
  [[ $again == "$printed" ]] || fail "$* changed when read again: $printed, then $again"
  again=$("$minivmm" --config machine.json --dry-run 2>&1) || fail "$* read again: $again"
  [[ $again == "$output" ]] || fail "$* is another machine when read again: $output, then $again"
}

truncate -s 16M disk.img
truncate -s 8M other.img

understands "on drive virtio0: 16 MiB" -drive driver=file,file=disk.img,if=virtio,
understands "on drive virtio0: 16 MiB" -drive file=disk.img,if=virtio
understands "on drive virtio0: 1 MiB" -drive file=disk.img,format=raw,if=virtio,size=1M,cache=writethrough,aio=io_uring
understands "on drive d0: 16 MiB" -drive if=none,id=d0,file=disk.img,format=raw,cache=unsafe -device virtio-blk-pci,drive=d0
understands "on drive n0: 16 MiB" -drive if=none,id=d0,node-name=n0,file=disk.img,read-only=on -device virtio-blk,drive=d0
understands "on drive virtio0: 16 MiB" -drive file.driver=file,file.filename=disk.img,format=raw,if=virtio,discard=unmap
understands "on drive virtio0: 1 GiB" -drive driver=null-co,size=1G,if=virtio
understands "on drive drive0: 16 MiB" -blockdev node-name=drive0,driver=file,filename=disk.img, -device virtio-blk-pci,drive=drive0
understands "on drive top: 4 MiB" -blockdev node-name=low,driver=file,filename=disk.img \
  -blockdev driver=raw,node-name=top,size=4M,file=low -device virtio-blk-pci,drive=top,packed=on,queue_reset=off
understands "on drive d0: 16 MiB" -blockdev '{"node-name": "d0", "driver": "raw", "file": {"driver": "file", "filename": "disk.img"}}' \
  -device '{"driver": "virtio-blk-pci", "drive": "d0", "num-queues": 2, "write-cache": false}'
understands "memory    64 MiB" -enable-kvm -cpu host -nodefaults -no-user-config -display none -nographic -vga none -monitor none \
  -net none -nic none -name guest -no-reboot -S -m size=64M -smp cpus=2

# The first disk by bootindex is the first on the bus.
output=$("$minivmm" --kernel "$guest" --dry-run -drive if=none,id=a,file=disk.img -drive if=none,id=b,file=other.img \
  -device virtio-blk-pci,drive=a -device virtio-blk-pci,drive=b,bootindex=0 2>&1) || fail "bootindex: $output"
[[ $output == *"b on drive b: 8 MiB"*"a on drive a: 16 MiB"* ]] || fail "order by bootindex: $output"

# A file of arguments, with a comment and quotation marks, among others.
cat >arguments <<EOF
# the machine
--kernel '$guest' -m 128   # MiB
--append "console=ttyS0 quiet"
--drive file=disk.img,if=virtio
EOF
output=$("$minivmm" @arguments -m 64 --dry-run 2>&1) || fail "@arguments: $output"
[[ $output == *"memory    64 MiB"*"console=ttyS0 quiet"*"on drive virtio0"* ]] || fail "@arguments: $output"

if ((failures > 0)); then exit 1; fi
echo "all understood"
