#!/usr/bin/env bash
# The real program with the bare-metal guest on this machine's KVM: a dry run, a whole run with its exit status, a reset, a stop by
# signal. Skipped, with the reason, only where there is no /dev/kvm to use.
# shellcheck disable=SC2054 # commas as the program wants them
set -u
# shellcheck source=guest-tests/need_kvm.sh
source guest-tests/need_kvm.sh
minivmm=$(realpath "$1")
guest=$(realpath "$2")
cd "$TEST_TMPDIR" || exit 1
failures=0

# expect WHAT STATUS WANTED_STATUS OUTPUT WANTED_TEXT
expect() {
  if [[ $2 == "$3" && $4 == *"$5"* ]]; then return; fi
  failures=$((failures + 1))
  printf 'FAILED: %s: status %s, expected %s and the text: %s\n%s\n' "$1" "$2" "$3" "$5" "$4"
}

head -c 1M /dev/zero >disk.img
arguments=(--kernel "$guest" --blockdev node-name=d0,driver=file,filename=disk.img
  --device virtio-blk-pci,drive=d0,num-queues=2 --smp 2)
exit_device=(--device isa-debug-exit,iobase=0xf4,iosize=4)

output=$("$minivmm" "${arguments[@]}" --serial file:console --dry-run 2>&1)
expect "dry run" $? 0 "$output" "d0 on drive d0: 1 MiB, blocks of 512 bytes, not zoned; 2 queues of 256"
if [[ -e console ]]; then expect "dry run" 0 0 "" "no file console"; fi

output=$("$minivmm" "${arguments[@]}" "${exit_device[@]}" --append only=P-01 </dev/null 2>&1)
expect "a guest that ends by isa-debug-exit" $? 33 "$output" " 0 failed"

output=$("$minivmm" "${arguments[@]}" "${exit_device[@]}" --append only=P-01 --serial file:console 2>&1)
expect "serial output in a file" $? 33 "$(<console)" " 0 failed"

output=$("$minivmm" "${arguments[@]}" --append only=P-01 --no-reboot </dev/null 2>&1)
expect "a reset with --no-reboot" $? 0 "$output" "resetting the machine"

yes old | head -c 1M >console
output=$("$minivmm" "${arguments[@]}" "${exit_device[@]}" --append only=P-01 --serial file:console 2>&1)
expect "a file of serial output is emptied first" $? 33 "lines: $(grep -c '^old$' console)." "lines: 0."

# What is printed must not land on a disk that got the number of a closed descriptor.
before=$(sha256sum disk.img)
"$minivmm" "${arguments[@]}" "${exit_device[@]}" --append only=P-01 <&- >&-
expect "no standard input and output" $? 33 "$(sha256sum disk.img)" "$before"
# The port is refused once the disk is open: behind the kernel and KVM it would have number 2, and the line about the port in it.
"$minivmm" "${arguments[@]}" --device isa-debug-exit,iobase=0xcf8 <&- >&- 2>&-
expect "no standard descriptor" $? 1 "$(sha256sum disk.img)" "$before"

output=$("$minivmm" "${arguments[@]}" --dry-run 2>&1 >/dev/full)
expect "a dry run into a full file" $? 1 "$output" "cannot write to standard output: No space left"

output=$(
  ulimit -S -n 64
  "$minivmm" --kernel "$guest" --blockdev node-name=d0,driver=null-co,size=1M "${exit_device[@]}" --append only=P-01 \
    --device virtio-blk-pci,drive=d0,num-queues=64 2>&1 </dev/null
)
expect "more queues than descriptors are usual" $? 33 "$output" " 0 failed"

coproc WAITING { exec "$minivmm" "${arguments[@]}" -S 2>&1; }
pid=$WAITING_PID
read -r -t 60 -u "${WAITING[0]}" line
expect "-S without --qmp" 0 0 "$line" "there is no --qmp to say it"
kill -TERM "$pid"
wait "$pid"

coproc VMM { exec "$minivmm" "${arguments[@]}" --append only=P-01 2>&1; }
pid=$VMM_PID
exec 9<&"${VMM[0]}"
starts=0
while read -r -t 60 -u 9 line; do
  if [[ $line == *"baremetal: started"* ]] && ((++starts == 3)); then break; fi
done
kill -TERM "$pid"
output=$(cat <&9)
wait "$pid"
expect "three starts by reset, then SIGTERM" $? 0 "$starts $output" "stopped by signal 15"
expect "three starts by reset" 0 0 "$starts" 3

# The same guest, which resets for ever, and its kernel's file is written anew meanwhile.
cp "$guest" kernel
coproc VMM { exec "$minivmm" "${arguments[@]}" --kernel kernel --append only=P-01 2>&1; }
pid=$VMM_PID
exec 9<&"${VMM[0]}"
read -r -t 60 -u 9 line
printf x >>kernel # to cut it could end minivmm by SIGBUS, in the moment between its look and its copy
output=$(cat <&9)
wait "$pid"
expect "a kernel file that changes" $? 1 "$output" "kernel 'kernel' has been written to since minivmm started"

if ((failures > 0)); then exit 1; fi
echo "all as expected"
