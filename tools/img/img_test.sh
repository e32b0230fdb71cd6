#!/usr/bin/env bash
# minivmm-img from outside, in a temporary directory: the way of a disk through all commands, and a table of wrong input, each line of
# which must end with one line of text and status 1, with no file changed.
set -u
img=$(realpath "$1")
cd "$TEST_TMPDIR" || exit 1
failures=0

fail() {
  failures=$((failures + 1))
  printf 'FAILED: %s\n' "$*"
}

# run ARGUMENT...: must succeed; the output is in $output.
run() {
  output=$(timeout 60 "$img" "$@" 2>&1 </dev/null)
  local status=$?
  [[ $status == 0 ]] || fail "minivmm-img $*: status $status: $output"
}

# says TEXT ARGUMENT...
says() {
  local expected=$1
  shift
  run "$@"
  [[ $output == *"$expected"* ]] || fail "minivmm-img $*: expected '$expected' in: $output"
}

# refuses TEXT ARGUMENT...
refuses() {
  local expected=$1 status
  shift
  output=$(timeout 60 "$img" "$@" 2>&1 </dev/null)
  status=$?
  [[ $status == 1 && $output == "minivmm-img: "*"$expected"* && $output != *$'\n'* ]] ||
    fail "minivmm-img $*: expected status 1 and one line with '$expected'; status $status: $output"
}

same() { cmp -s "$1" "$2" || fail "'$1' and '$2' differ"; }

# --- create, info, report
says "host-managed, 30 TiB, 122880 zones of 256 MiB" create -f zoned -o zone.size=256M,zone.mode=host-managed large.zbd 30T
[[ $(stat -c %b large.zbd) -lt 32768 ]] || fail "a disk of 30 TiB takes more than 16 MiB when it is new"
[[ $("$img" report large.zbd | wc -l) == 122880 ]] || fail "the report of large.zbd lacks zones"
says "96858 zones of 256 MiB, 969 conventional, at most 128 open" create --preset smr-26t smr.zbd
says "logical, 4096 physical" info smr.zbd
says "904 zones of 2 GiB with 1.05 GiB each, at most 14 open, 14 active" create -preset=zns zns.zbd
says '"zone-capacity":1129316352' info --output json zns.zbd
says "host-aware" create --preset zns -o zone.mode=host-aware -o zone.conventional_zones=2 aware.zbd 20G
[[ $("$img" report aware.zbd | grep -c SEQ_WRITE_PREFERRED) == 8 ]] || fail "a host-aware disk of 10 zones, 2 conventional"
says "10 zones of 3 MiB" create --allow-any-zone-size -o zone.size=3M odd.zbd 30M

says "100 zones of 1 MiB, 7 conventional" create --force -o zone.size=1M,zone.conventional_zones=7% share.zbd 100M
says "3000 zones of 1 MiB, 33 conventional" create --force -o zone.size=1M,zone.conventional_zones=1.1% share.zbd 3000M
says "100 zones of 1 MiB, 2 conventional" create --force -o zone.size=1M,zone.conventional_zones=1.1% share.zbd 100M
rm -f share.zbd

run create -o zone.size=1M,zone.conventional_zones=1,zone.max_append_bytes=64k d.zbd 8704k
run report d.zbd
expected="  start: 0x000000000, len 0x000800, cap 0x000800, wptr 0x000000 reset:0 non-seq:0, zcond: 0(nw) [type: 1(CONVENTIONAL)]
  start: 0x000000800, len 0x000800, cap 0x000800, wptr 0x000000 reset:0 non-seq:0, zcond: 1(em) [type: 2(SEQ_WRITE_REQUIRED)]"
[[ $(head -n 2 <<<"$output") == "$expected" ]] || fail "the report is not like blkzone's: $output"
[[ $(tail -n 1 <<<"$output") == *"start: 0x000004000, len 0x000400, cap 0x000400,"* ]] || fail "the short last zone: $output"
says "8,8388608,524288,524288,8388608,SEQ_WRITE_REQUIRED,empty" report --output csv d.zbd
says '"zone":8,"start":8388608' report --output=json d.zbd
says "1 not-write-pointer, 8 empty" info d.zbd
says "no errors" check d.zbd

# --- set-zone
says "zones 2 to 3 are offline" set-zone d.zbd 2-3 offline
says "zone 4 is read-only" set-zone d.zbd 4 read-only
says "5 empty, 1 read-only, 2 offline" info d.zbd
run report d.zbd
[[ $output == *"zcond:15(of)"* && $output == *"zcond:13(ro)"* ]] || fail "conditions in: $output"
run set-zone d.zbd 2-4 online
says "8 empty" info d.zbd

# --- convert: an ordinary disk to a zoned one and back
truncate -s 7340544 plain # 7 MiB and one sector
head -c 2500000 /dev/urandom | dd of=plain conv=notrunc status=none
head -c 1000 /dev/urandom | dd of=plain conv=notrunc status=none bs=1M seek=5 oflag=seek_bytes
head -c 1000 /dev/urandom | dd of=plain conv=notrunc status=none bs=1 seek=5300000
head -c 512 /dev/urandom | dd of=plain conv=notrunc status=none bs=1M seek=7
says "of data" convert -o zone.size=1M,zone.conventional_zones=1 plain z.zbd
says "no errors" check z.zbd
run report z.zbd
conditions=$(grep -o '([a-z][a-z])' <<<"$output" | tr -d '\n')
[[ $conditions == "(nw)(fu)(cl)(em)(em)(cl)(em)(fu)" ]] || fail "conditions after convert: $conditions"
run map z.zbd
[[ $(wc -l <<<"$output") == 6 ]] || fail "map must list 5 zones: $output"
says '"zone":7,"start":7340032,"length":512' map --output json z.zbd
run convert z.zbd back
same plain back
run convert -O zoned z.zbd copy.zbd
run convert copy.zbd back2
same plain back2
run create -o zone.size=1M,zone.max_active_zones=2 --force copy.zbd 8M
run convert -o zone.size=1M,zone.max_active_zones=2 plain active.zbd
run convert active.zbd back3
same plain back3
run convert -O zoned active.zbd active2.zbd
"$img" report active.zbd >active.report
"$img" report active2.zbd >active2.report
same active.report active2.report
[[ $(grep -c '(fu)' active.report) == 5 ]] || fail "zones beyond the limit of active ones are finished"
run create -o zone.size=1M,zone.capacity=768k,zone.conventional_zones=2 gaps.zbd 8M
run dump gaps.zbd gaps
run restore gaps2.zbd gaps
"$img" report gaps.zbd >gaps.report
"$img" report gaps2.zbd >gaps2.report
same gaps.report gaps2.report

# --- zeroes: a zone of them stays empty whether they are written or a hole, and full if it was full
head -c 4M /dev/zero >zeroes
truncate -s 4M hole
for source in zeroes hole; do
  run convert -O zoned -o zone.size=1M,zone.max_active_zones=2 $source $source.zbd
  "$img" report $source.zbd >$source.report
done
same hole.report zeroes.report
[[ $(grep -c '(em)' hole.report) == 4 ]] || fail "zones of zeroes are not empty"
run dump zeroes.zbd zeroes
printf '\16' | dd of=zeroes_zone_info.dump bs=1 seek=$((192 + 64 + 40)) conv=notrunc status=none
run restore full.zbd zeroes
says "3 empty, 1 full" info full.zbd
run convert -O zoned full.zbd full2.zbd
says "3 empty, 1 full" info full2.zbd
rm -f zeroes hole zeroes_zone_*.dump {zeroes,hole,full,full2}.zbd

# --- a full zone behind as many closed ones as may be active
truncate -s 8M busy
dd if=/dev/urandom of=busy bs=5000 count=1 seek=1048576 oflag=seek_bytes conv=notrunc status=none
dd if=/dev/urandom of=busy bs=5000 count=1 seek=2097152 oflag=seek_bytes conv=notrunc status=none
dd if=/dev/urandom of=busy bs=1M count=1 seek=3 conv=notrunc status=none
run convert -O zoned -o zone.size=1M busy busy.zbd
run dump busy.zbd busy
printf '\2\0\0\0' | dd of=busy_zone_info.dump bs=1 seek=96 conv=notrunc status=none
run restore limited.zbd busy
says "max active zones:   2" info limited.zbd
"$img" report busy.zbd >busy.report
"$img" report limited.zbd >limited.report
same busy.report limited.report
rm -f busy busy.zbd limited.zbd busy_zone_*.dump

# --- closed zones that are read-only, beside as many closed ones as may be active
truncate -s 8M worn
for zone in 0 1 2 3; do head -c 4096 /dev/urandom | dd of=worn bs=1M seek=$zone conv=notrunc status=none; done
run convert -O zoned -o zone.size=1M worn worn.zbd
run set-zone worn.zbd 0-1 read-only
run dump worn.zbd worn
printf '\2\0\0\0' | dd of=worn_zone_info.dump bs=1 seek=96 conv=notrunc status=none
run restore limited.zbd worn
for condition in read-only online; do
  run set-zone limited.zbd 0-1 $condition
  run convert --force -O zoned limited.zbd worn.zbd
  says "max active zones:   2" info worn.zbd
  "$img" report limited.zbd >limited.report
  "$img" report worn.zbd >worn.report
  same limited.report worn.report
done
[[ $(grep -c '(cl)' worn.report) == 4 ]] || fail "zones that were read-only and closed are not closed"
run convert --force worn.zbd back5
same worn back5
says "no errors" check worn.zbd
rm -f worn back5 worn.zbd limited.zbd worn_zone_*.dump

# --- dump, restore
run set-zone z.zbd 5 read-only
run set-zone z.zbd 6 offline
run dump z.zbd dumped
[[ $(stat -c %s dumped_zone_info.dump) == $((192 + 8 * 64)) ]] || fail "size of the info file"
[[ $(stat -c %s dumped_zone_data.dump) == 7340544 ]] || fail "size of the data file"
same plain dumped_zone_data.dump
[[ $(od -An -v -tu8 -j32 -N56 dumped_zone_info.dump | tr -s ' \n' ' ') == " 14337 14337 14337 1048576 2048 512 512 " ]] ||
  fail "the header of the info file"
[[ $(od -An -v -tu4 -j$((192 + 2 * 64 + 24)) -N20 dumped_zone_info.dump | tr -s ' \n' ' ') == " 2500096 0 0 2 4 " ]] ||
  fail "zone 2 of the info file"
run restore r.zbd dumped
"$img" report z.zbd >z.report
"$img" report r.zbd >r.report
same z.report r.report
says "1 read-only, 2 full, 1 offline" info r.zbd
run set-zone r.zbd 5 online
run convert r.zbd back4
same plain back4
# What a zone holds that is offline is left out.
cp r.zbd dead.zbd
run set-zone dead.zbd 2 offline
run dump dead.zbd dead
same <(head -c 1M /dev/zero) <(tail -c +$((2 * 1048576 + 1)) dead_zone_data.dump | head -c 1M)
same <(tail -c +$((3 * 1048576 + 1)) plain) <(tail -c +$((3 * 1048576 + 1)) dead_zone_data.dump)
rm -f dead.zbd dead_zone_*.dump
run dump --force r.zbd dumped
run restore --force r.zbd dumped
says "no errors" check r.zbd

# --- resize
says "600 zones of 1 MiB, 1 conventional" resize z.zbd 600M
[[ $("$img" report z.zbd | wc -l) == 600 ]] || fail "zones after resize"
head -n 7 z.report >before
"$img" report z.zbd | head -n 7 >after
same before after
says "no errors" check z.zbd

# --- damage
cp z.zbd hurt.zbd
printf 'x' | dd of=hurt.zbd bs=1 seek=4200 conv=notrunc status=none
output=$("$img" check hurt.zbd)
[[ $? == 2 && $output == *"repairable: copy 1 of the header"* ]] || fail "check of a damaged copy: $output"
says "repaired: copy 1" check -r hurt.zbd
says "no errors" check hurt.zbd
same z.zbd hurt.zbd
# It is a zoned image still, for those who only look what a file is.
printf 'x' | dd of=hurt.zbd bs=1 seek=0 conv=notrunc status=none
run convert hurt.zbd healed
"$img" convert z.zbd sound >/dev/null
same healed sound
rm -f healed sound
for place in 200 4200; do printf 'x' | dd of=hurt.zbd bs=1 seek=$place conv=notrunc status=none; done
cp hurt.zbd hurt2.zbd
output=$("$img" check -r hurt.zbd)
[[ $? == 2 && $output == *"error: "*"it cannot be repaired"* ]] || fail "check of a damaged header: $output"
same hurt.zbd hurt2.zbd

# --- wrong input
before=$(sha256sum ./*.zbd plain ./*.dump)
files=$(ls)
refuses "no command given"
refuses "did you mean 'create'?" creat x 1G
refuses "stands before the command" --output json info d.zbd
refuses "FILE is missing" info
refuses "no?thing" info $'no\nthing'
refuses "is one argument too many" info d.zbd z.zbd
refuses "did you mean 'output'?" info --outptu json d.zbd
refuses "--output 'xml' is unknown" info --output xml d.zbd
refuses "needs a value" info d.zbd --output
refuses "takes no value" check -r=yes d.zbd
refuses "exists already" create d.zbd 8M
refuses "SIZE is missing" create new
refuses "must be a size" create new 1X
refuses "unknown option 'zone.sise'" create -o zone.sise=1M new 8M
refuses "did you mean 'zone.size'?" create -o zone.sise=1M new 8M
refuses "did you mean 'smr-26t'?" create --preset smr-27t new
refuses "is no power of two, and Linux guests refuse such disks: choose 2 MiB or 4 MiB" create -o zone.size=3M new 30M
refuses "zone.size=1049600 bytes is no power of two" create -o zone.size=1025K new 30M
refuses "refuse such disks: choose 8 EiB, or give --allow-any-zone-size" create -o zone.size=9E new 30M
refuses "zone.size" create -o zone.size=0 new 8M
refuses "zone.capacity" create -o zone.size=1M,zone.capacity=2M new 8M
refuses "leaves no sequential zone" create -o zone.size=1M,zone.conventional_zones=100% new 8M
refuses "neither a number of zones nor a share" create -o zone.size=1M,zone.conventional_zones=many new 8M
refuses "must be one of: host-managed, host-aware" create -o zone.mode=host new 8M
refuses "more than zone.max_active_zones" create -o zone.max_open_zones=5,zone.max_active_zones=4 new 8G
refuses "zone.max_append_bytes" create -o zone.max_append_bytes=100 new 8G
refuses "unknown" create -f qcow2 new 8M
refuses "cannot create" create missing/new 8G
refuses "No such file" info missing
refuses "does not begin with the magic" info plain
refuses "does not begin with the magic" check plain
refuses "not a regular file" info /dev/null
refuses "neither a zone's number nor a range" set-zone d.zbd 3-1 offline
refuses "neither a zone's number nor a range" set-zone d.zbd -- -1 offline
refuses "has no zone 9: the last one is 8" set-zone d.zbd 5-9 offline
refuses "read-only, offline or online, not 'dead'" set-zone d.zbd 1 dead
refuses "a disk cannot shrink" resize d.zbd 4M
refuses "make a new image" resize d.zbd 1T
refuses "must be a multiple" resize d.zbd 8913001
refuses "exists already" dump z.zbd dumped
refuses "exists already" restore d.zbd dumped
refuses "No such file" restore new nothing
refuses "exists already" convert plain d.zbd
refuses "leave gaps" convert -o zone.size=1M,zone.capacity=512k plain new
refuses "leave -o and --preset out" convert -O zoned -o zone.size=1M d.zbd new
refuses "neither of the two has zones" convert -O raw plain new
refuses "is no block device" convert -O host_device d.zbd new
refuses "does not begin with the magic" convert -f zoned plain new
refuses "in use as a disk" convert -O zoned --force d.zbd d.zbd
head -c 300 dumped_zone_info.dump >cut_zone_info.dump
ln -s dumped_zone_data.dump cut_zone_data.dump
refuses "but 8 zones need" restore new cut
cp dumped_zone_info.dump cut_zone_info.dump
head -c 16 /dev/zero | dd of=cut_zone_info.dump bs=1 seek=72 conv=notrunc status=none # the block sizes
refuses "does not describe a zoned disk" restore new cut
rm cut_zone_info.dump cut_zone_data.dump

# hold FILE: as another program does that writes to it, until $held is closed.
hold() {
  exec {held}<>"$1"
  python3 -c 'import fcntl, struct, sys; fcntl.fcntl(int(sys.argv[1]), 37, struct.pack("hhqqi4x", 1, 0, 0, 0, 0))' "$held" || fail "no lock"
}
hold d.zbd
refuses "in use by a guest or another program" info d.zbd
refuses "in use by a guest or another program" set-zone d.zbd 1 offline
refuses "in use as a disk" create --force d.zbd 8M
exec {held}>&-
hold dumped_zone_data.dump
refuses "in use as a disk" dump --force z.zbd dumped
exec {held}>&-

run dump z.zbd wrong
printf '\144\0\40\0\0\0\0\0' | dd of=wrong_zone_info.dump bs=1 seek=$((192 + 2 * 64 + 24)) conv=notrunc status=none
refuses "zone 2 has its write pointer at byte" restore new wrong
rm wrong_zone_*.dump

# Where files may have 8 KiB. What could not be finished is removed, also if another was there before.
ulimit -S -f 8
refuses "File too large" create limited.zbd 8M
printf old >limited.zbd
refuses "File too large" create --force limited.zbd 8M
ulimit -S -f unlimited

[[ $(sha256sum ./*.zbd plain ./*.dump) == "$before" ]] || fail "a refused command changed a file"
[[ $(ls) == "$files" ]] || fail "a refused command left a file: $(ls)"

for command in "" create info report map check set-zone resize convert dump restore; do
  # shellcheck disable=SC2086 # no command is no word
  says "usage: minivmm-img" $command --help
  run --version
done

if [[ $failures != 0 ]]; then
  echo "$failures failures"
  exit 1
fi
echo "all passed"
