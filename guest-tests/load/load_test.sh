#!/usr/bin/env bash
# The load guest under minivmm on this machine's KVM: a few requests of each kind, every status
# looked at; data that arrives; and failures that it notices. Nothing is timed. Skipped, with the
# reason, only where there is no /dev/kvm to use.
# shellcheck disable=SC2054 # commas as the program wants them
set -u
# shellcheck source=guest-tests/need_kvm.sh
source guest-tests/need_kvm.sh
minivmm=$(realpath "$1")
guest=$(realpath "$2")
cd "$TEST_TMPDIR" || exit 1
failures=0

# expect STATUS TEXT WORDS BLOCKDEV: the guest with these words ends minivmm with this status and
# says this, a regular expression.
expect() {
  local output status
  output=$("$minivmm" --kernel "$guest" --append "$3" -m 64 --no-reboot --blockdev "node-name=d0,$4" \
    --device virtio-blk-pci,drive=d0,num-queues=4 --device "isa-debug-exit,iobase=0xf4,iosize=4" \
    </dev/null 2>&1)
  status=$?
  if [[ $status == "$1" && $output =~ $2 ]]; then return; fi
  failures=$((failures + 1))
  printf 'FAILED: %s on %s: status %s, expected %s and the text: %s\n%s\n' "$3" "$4" "$status" "$1" "$2" "$output"
}

head -c 16M /dev/zero | tr '\0' '\377' >disk.img
null=driver=null-co,size=67108864
file=driver=file,filename=disk.img
succeeded='@load requests=[1-9][0-9]* ns=[1-9]'

expect 33 '@load requests=10[0-9][0-9][0-9] ns=' "op=read requests=10000" "$null"
expect 33 "$succeeded" "op=read size=512 depth=32 requests=1000" "$null"
expect 33 '@load requests=[56] ns=' "op=read depth=1 requests=5" "$null"
expect 33 "$succeeded" "op=read queues=4 depth=16 requests=1000" "$null"
expect 33 "$succeeded" "op=read size=131072 requests=1000" "$file"
if (($(tr -d '\377' <disk.img | wc -c) != 0)); then
  failures=$((failures + 1))
  echo "FAILED: reads changed the disk"
fi
expect 33 "$succeeded" "op=write queues=2 requests=1000" "$file"
if (($(tr -d '\377' <disk.img | wc -c) == 0)); then
  failures=$((failures + 1))
  echo "FAILED: writes did not change the disk"
fi

expect 35 '@load failed: a request ended with status 1' "op=write requests=1000" "$file,read-only=on"
expect 35 '@load failed: queues= is' "queues=5" "$null"
expect 35 'cannot read the command line from here on: depth=x' "depth=x" "$null"
expect 33 '' "op=exit" "$null"

if ((failures > 0)); then exit 1; fi
echo "all as expected"
