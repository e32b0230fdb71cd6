#!/usr/bin/env bash
# Wrong arguments, files and drives, given to the real program: each must end with one line that holds the expected text, with exit
# status 1, without output of a guest, and without having touched a file.
# shellcheck disable=SC2054 # commas as the program wants them
set -u
minivmm=$(realpath "$1")
guest=$(realpath "$2")
cd "$TEST_TMPDIR" || exit 1
failures=0

# refuses TEXT ARGUMENT...
refuses() {
  local expected=$1 output status
  shift
  output=$(timeout 20 "$minivmm" "$@" 2>&1 </dev/null)
  status=$?
  if [[ $status == 1 && $output == "minivmm: "*"$expected"* && $output != *$'\n'* ]]; then return; fi
  failures=$((failures + 1))
  printf 'FAILED: minivmm %s\n  expected status 1 and one line with: %s\n  status %s, output: %s\n' \
    "$*" "$expected" "$status" "$output"
}

head -c 1M /dev/zero >disk.img
head -c 1M /dev/urandom >other.img
head -c 4000 "$guest" >truncated
printf 'text' >text
: >empty
truncate -s 64M large
mkdir directory
before=$(sha256sum ./*.img "$guest" truncated text empty)

kernel=(--kernel "$guest")
disk=(--blockdev "node-name=d0,driver=file,filename=disk.img" --device virtio-blk-pci,drive=d0)

refuses "no kernel: say --kernel FILE"
refuses "did you mean 'kernel'?" --kernl x
refuses "cannot open kernel 'missing': No such file" --kernel missing
refuses "'directory' as kernel: it is a directory" --kernel directory
refuses "'empty' as kernel: the file is empty" --kernel empty
refuses "neither an ELF vmlinux nor a bzImage" --kernel text
refuses "neither an ELF vmlinux nor a bzImage" --kernel other.img
refuses "kernel 'truncated'" --kernel truncated
refuses "cannot open initrd 'missing': No such file" "${kernel[@]}" --initrd missing
refuses "initrd 'large'" "${kernel[@]}" --initrd large -m 16
refuses "no memory" "${kernel[@]}" -m 0
refuses "is not a size of memory" "${kernel[@]}" -m lots
refuses "is not a number from 1 to 16" "${kernel[@]}" --smp 17
refuses "say stdio, file:PATH, null or none" "${kernel[@]}" --serial pty
refuses "--serial: cannot open '/missing/log': No such file" "${kernel[@]}" --serial file:/missing/log

refuses "unknown device 'virtio-scsi-pci'" "${kernel[@]}" --device virtio-scsi-pci
refuses "did you mean 'drive'?" "${kernel[@]}" --device virtio-blk-pci,driv=d0
refuses "drive 'd1' not found; did you mean 'd0'?" "${kernel[@]}" "${disk[@]}" --device virtio-blk-pci,drive=d1
refuses "drive 'd0' is in use by another device" "${kernel[@]}" "${disk[@]}" --device virtio-blk-pci,drive=d0
refuses "overlaps serial port" "${kernel[@]}" --device isa-debug-exit,iobase=0x3f8
refuses "addr" "${kernel[@]}" --device virtio-blk-pci,drive=d0,addr=32
refuses "id=d1: " "${kernel[@]}" --blockdev driver=null-co,node-name=d0 --blockdev driver=null-co,node-name=d1 \
  --device virtio-blk-pci,drive=d0,addr=3 --device virtio-blk-pci,drive=d1,addr=3

refuses "node-name 'd0' is given twice" "${kernel[@]}" "${disk[@]}" --blockdev node-name=d0,driver=null-co
refuses "unknown block driver 'qcow2'" "${kernel[@]}" --blockdev node-name=d0,driver=qcow2,filename=disk.img
refuses "did you mean 'read-only'?" "${kernel[@]}" --blockdev node-name=d0,driver=file,filename=disk.img,read-onyl=on
refuses "did you mean 'filename'?" "${kernel[@]}" --blockdev node-name=d0,driver=file,filname=disk.img
refuses "unknown option 'fil.driver' for driver 'raw'" "${kernel[@]}" --blockdev node-name=d0,driver=raw,fil.driver=file,fil.filename=disk.img
refuses "'missing.img'" "${kernel[@]}" --blockdev node-name=d0,driver=file,filename=missing.img
refuses "'directory'" "${kernel[@]}" --blockdev node-name=d0,driver=file,filename=directory
refuses "'disk.img'" "${kernel[@]}" --blockdev node-name=d0,driver=host_device,filename=disk.img
refuses "'/dev/nosuchdisk'" "${kernel[@]}" --blockdev node-name=d0,driver=host_device,filename=/dev/nosuchdisk
refuses "'/dev/null'" "${kernel[@]}" --blockdev node-name=d0,driver=host_device,filename=/dev/null
refuses "--blockdev {" "${kernel[@]}" --blockdev '{"node-name": "d0", "driver":'

if [[ $(sha256sum ./*.img "$guest" truncated text empty) != "$before" ]]; then
  failures=$((failures + 1))
  echo "FAILED: a file was changed"
fi
if ((failures > 0)); then exit 1; fi
echo "all refused"
