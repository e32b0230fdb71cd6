#!/usr/bin/env bash
# Wrong arguments, files and drives, given to the real program: each must end with one line that holds the expected text, with exit
# status 1, without output of a guest, and without having touched a file.
# shellcheck disable=SC2054 # commas as the program wants them
set -u
# shellcheck source=guest-tests/need_kvm.sh
source guest-tests/need_kvm.sh
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
printf old >old.img
before=$(sha256sum ./*.img "$guest" truncated text empty)

kernel=(--kernel "$guest")
disk=(--blockdev "node-name=d0,driver=file,filename=disk.img" --device virtio-blk-pci,drive=d0)

refuses "no kernel: say --kernel FILE"
refuses "did you mean 'kernel'?" --kernl x
refuses "cannot open kernel 'missing': No such file" --kernel missing
refuses "cannot open kernel 'a?b': No such file" --kernel $'a\nb'
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

refuses "there is no 'virtio-scsi-pci': disks are virtio-blk-pci" "${kernel[@]}" --device virtio-scsi-pci
refuses "did you mean 'drive'?" "${kernel[@]}" --device virtio-blk-pci,driv=d0
refuses "drive 'd1' not found; did you mean 'd0'?" "${kernel[@]}" "${disk[@]}" --device virtio-blk-pci,drive=d1
refuses "drive 'd0' is in use by another device" "${kernel[@]}" "${disk[@]}" --device virtio-blk-pci,drive=d0
refuses "overlaps serial port" "${kernel[@]}" --device isa-debug-exit,iobase=0x3f8 --serial stdio
refuses "overlaps PCI" "${kernel[@]}" --device isa-debug-exit,iobase=0xcf8 --serial file:old.img
for port in 0x1f 0x43 0x61 0xa1 0x4d0; do
  refuses "'s: choose another iobase" "${kernel[@]}" --device isa-debug-exit,iobase=$port
done
refuses "addr: '20' is not a PCI slot" "${kernel[@]}" --device virtio-blk-pci,drive=d0,addr=20
refuses "there is no 'nvme': disks are virtio-blk-pci" "${kernel[@]}" --device nvme,drive=d0
refuses "iothread=t is not there: each queue has its own I/O thread" "${kernel[@]}" --device virtio-blk-pci,drive=d0,iothread=t
refuses "disable-legacy=off is not there" "${kernel[@]}" --device virtio-blk-pci,drive=d0,disable-legacy=off
refuses "werror: 'pause' is not known: say report, ignore, enospc or stop" "${kernel[@]}" --device virtio-blk-pci,drive=d0,werror=pause
refuses "properties with x- are QEMU's" "${kernel[@]}" --device virtio-blk-pci,drive=d0,x-disable-pcie=on
refuses "did you mean 'write-cache'?" "${kernel[@]}" --device virtio-blk-pci,drive=d0,write-cach=on
refuses "packed: 'perhaps' is neither on nor off" "${kernel[@]}" --device virtio-blk-pci,drive=d0,packed=perhaps
refuses "is not a power of two from 512" "${kernel[@]}" --device virtio-blk-pci,drive=d0,logical_block_size=1000
refuses "is above physical_block_size=512" "${kernel[@]}" --device virtio-blk-pci,drive=d0,logical_block_size=4096,physical_block_size=512
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

# --drive
refuses "add if=virtio for a disk of the guest, or if=none" "${kernel[@]}" --drive file=disk.img
refuses "if=scsi is not there" "${kernel[@]}" --drive file=disk.img,if=scsi
refuses "no file: add file=PATH" "${kernel[@]}" --drive if=virtio
refuses "unknown key 'fil'; did you mean 'file'?" "${kernel[@]}" --drive fil=disk.img,if=virtio
refuses "cache=fast is not known" "${kernel[@]}" --drive file=disk.img,if=virtio,cache=fast
refuses "rerror: a read needs no space" "${kernel[@]}" --drive file=disk.img,if=virtio,rerror=enospc
refuses "throttling.iops-total is not there" "${kernel[@]}" --drive file=disk.img,if=virtio,throttling.iops-total=9
refuses "snapshot is not there" "${kernel[@]}" --drive file=disk.img,if=virtio,snapshot=on
refuses "media=cdrom is not there" "${kernel[@]}" --drive file=disk.img,if=virtio,media=cdrom
refuses "--drive file=missing.img,if=virtio: " "${kernel[@]}" --drive file=missing.img,if=virtio
refuses "'missing.img'" "${kernel[@]}" --drive file=missing.img,if=virtio,format=raw
refuses "qcow2" "${kernel[@]}" --drive file=disk.img,if=virtio,format=qcow2
refuses "not begin with the magic of a zoned image" "${kernel[@]}" --drive file=disk.img,if=virtio,format=zoned
refuses "aio=native is not there" "${kernel[@]}" --drive file=disk.img,if=virtio,aio=native
refuses "unknown option 'siz'" "${kernel[@]}" --drive file=disk.img,if=virtio,siz=1
refuses "drive 'd1' not found; did you mean 'd0'?" "${kernel[@]}" --drive file=disk.img,if=none,id=d0 --device virtio-blk-pci,drive=d1
refuses "id 'd0' is in use by another drive" "${kernel[@]}" --drive file=disk.img,if=none,id=d0 --drive file=other.img,if=none,id=d0
refuses "id 'virtio0' is the node-name of another node" "${kernel[@]}" --drive file=disk.img,if=virtio --blockdev node-name=virtio0,driver=null-co

# Options of QEMU
refuses "QEMU's option -machine is not there" "${kernel[@]}" -machine q35
refuses "each disk queue has its own I/O thread anyway" "${kernel[@]}" -object iothread,id=t
refuses "say --drive file=PATH,if=virtio" "${kernel[@]}" -hda disk.img
refuses "option -accel: 'tcg' is not there" "${kernel[@]}" -accel tcg
refuses "option -cpu: 'qemu64' is not there" "${kernel[@]}" -cpu qemu64
refuses "--smp: sockets is not there" "${kernel[@]}" -smp 4,sockets=2
refuses "-m: slots is not there" "${kernel[@]}" -m size=1G,slots=2

# --qmp
refuses "add --serial file:PATH, null or none" "${kernel[@]}" --qmp stdio
refuses "add server=on" "${kernel[@]}" --qmp unix:socket
refuses "say unix:PATH,server=on,wait=off or stdio" "${kernel[@]}" --qmp tcp:localhost:4444,server=on
refuses "has 200 bytes, at most 107" "${kernel[@]}" --qmp "unix:$(printf 'x%.0s' {1..200}),server=on"

# Files of options
printf '@loop @loop' >loop
printf -- "--append 'never closed" >quote
printf '{"kernel": "%s", "smp": 99}' "$guest" >smp.json
printf '{"kernal": "x"}' >misspelt.json
printf '{"kernel": ' >half.json
printf '[1]' >array.json
printf '{"config": "smp.json"}' >nested.json
refuses "@missing: cannot open 'missing': No such file" @missing
refuses "@directory: cannot read 'directory'" @directory
refuses "@loop: more than 64 files" @loop
refuses "@quote: a quotation mark ' is never closed" @quote
refuses "is no text file" @"$guest"
refuses "has more than 1 MiB" @large
refuses "--config missing: cannot open 'missing': No such file" --config missing
refuses "--config smp.json: --smp: '99' is not a number from 1 to 16" --config smp.json
refuses "--config misspelt.json: unknown option 'kernal'; did you mean 'kernel'?" --config misspelt.json
refuses "--config half.json: it is not valid JSON" --config half.json
refuses "--config array.json: it must be a JSON object" --config array.json
refuses "it cannot name another configuration, 'smp.json'" --config nested.json
refuses "--config disk.img: it is not valid JSON" --config disk.img
refuses "--print goes with --dry-run" "${kernel[@]}" --print json
refuses "say text or json" "${kernel[@]}" --dry-run --print xml
refuses "say --help, --help=man or --help=bash" --help=html
refuses "unknown option '--ker?nel'" --ker$'\n'nel x

if [[ $(sha256sum ./*.img "$guest" truncated text empty) != "$before" ]]; then
  failures=$((failures + 1))
  echo "FAILED: a file was changed"
fi
if ((failures > 0)); then exit 1; fi
echo "all refused"
