#!/usr/bin/env bash
# minivmm-io from outside, in a temporary directory: what it prints for plain files, null-co and zoned images, its options, commands from
# a pipe, and a table of wrong input.
set -u
io=$(realpath "$1")
img=$(realpath "$2")
cd "$TEST_TMPDIR" || exit 1
failures=0

fail() {
  failures=$((failures + 1))
  printf 'FAILED: %s\n' "$*"
}

# Rates and times differ from run to run.
without_rates() {
  sed -E 's/([0-9]+) ops; [0-9:.]+( sec)? \([0-9.]+ [A-Za-z]+\/sec and [0-9.]+ ops\/sec\)/\1 ops/; s/^([0-9]+,[0-9]+),[0-9:.]+,[0-9.]+,[0-9.]+$/\1/'
}

# gives STATUS EXPECTED ARGUMENT...: exactly these lines on both streams, without rates.
gives() {
  local expected_status=$1 expected=$2 output status
  shift 2
  output=$(timeout 60 "$io" "$@" 2>&1 </dev/null)
  status=$?
  output=$(without_rates <<<"$output")
  [[ $status == "$expected_status" && $output == "$expected" ]] ||
    fail "minivmm-io $*: status $status, expected $expected_status; $(diff <(echo "$expected") <(echo "$output"))"
}

# refuses TEXT ARGUMENT...: one line that has the text, status 1.
refuses() {
  local expected=$1 output status
  shift
  output=$(timeout 60 "$io" "$@" 2>&1 </dev/null)
  status=$?
  [[ $status == 1 && $output == *"$expected"* && $output != *$'\n'* ]] ||
    fail "minivmm-io $*: expected status 1 and one line with '$expected'; status $status: $output"
}

# --- a plain file
truncate -s 8M plain
gives 0 "wrote 4096/4096 bytes at offset 0
4 KiB, 1 ops
read 4096/4096 bytes at offset 0
4 KiB, 1 ops
00000ff0:  cd cd cd cd cd cd cd cd cd cd cd cd cd cd cd cd  ................
00001000:  00 00 00 00  ....
read 20/20 bytes at offset 4080
20 bytes, 1 ops" -f raw -c "write 0 4k" -c "read -P 0xcd 0 4k" -c "read -v 4080 20" plain
gives 0 "8 MiB" plain -c length
gives 0 "1048576,1" -f raw -c "write -C -P 0x41 1M 1M" plain
gives 0 "" -f raw -c "r -q -P 0x41 1M 1M" -c "write -q -z 1M 512k" -c "read -q -P 0 1M 512k" -c flush plain
[[ $(stat -c %s plain) == 8388608 ]] || fail "the size of the file changed"
gives 1 "Pattern verification failed at offset 1049088, 512 bytes
read 4096/4096 bytes at offset 1048576
4 KiB, 1 ops" -f raw -c "read -P 1 -s 512 -l 512 1M 4k" plain
gives 0 "wrote 1536/1536 bytes at offset 512
1.500 KiB, 1 ops
read 1024/1024 bytes at offset 512
1 KiB, 1 ops" -f raw -c "writev -P 7 512 1k 512" -c "readv -P 7 512 512 512" plain
gives 0 "wrote 8192/8192 bytes at offset 65536
8 KiB, 1 ops
read 8192/8192 bytes at offset 65536
8 KiB, 1 ops" -f raw -c "aio_write -P 9 64k 4k 4k" -c aio_flush -c "aio_read -P 9 64k 8k" -c aio_flush plain
printf 'abc' >pattern
gives 0 "00020000:  61 62 63 61 62 63 61 62  abcabcab
read 8/8 bytes at offset 131072
8 bytes, 1 ops" -f raw -c "write -q -s pattern 128k 512" -c "read -v 128k 8" plain
exec {slow}< <(
  sleep 0.2
  head -c 4096 /dev/zero
)
gives 0 "" -f raw -c "write -q -s /dev/fd/$slow 128k 4k" -c "read -q -P 0 128k 4k" plain
exec {slow}<&-
gives 0 "8 MiB (0x800000) bytes     allocated at offset 0 bytes (0x0)
4194304/4194304 bytes allocated at offset 1 MiB" -f raw -c map -c "alloc 1M 4M" plain
gives 0 "discard 4096/4096 bytes at offset 0
4 KiB, 1 ops" -f raw -c "discard 0 4k" -c "read -q -P 0 0 4k" plain
for mode in none writeback writethrough directsync unsafe; do
  gives 0 "" -t "$mode" -f raw -c "write -q -P 5 0 4k" -c "write -q -f -P 6 4k 4k" -c "read -q -P 5 0 4k" -c "read -q -P 6 4k 4k" plain
done
gives 0 "8 MiB" -c length 'json:{"driver": "raw", "file": {"driver": "file", "filename": "plain"}}'
gives 0 "8 MiB" --image-opts -n -c length driver=raw,file.driver=file,file.filename=plain
gives 0 "8 MiB" --image-opts -c length '{"driver": "file", "filename": "plain"}'

# --- commands from a pipe; a failure before the end shows in the status
output=$(printf 'length\nfoo\n\nread -q 0 4k\nquit\nlength\n' | timeout 60 "$io" -f raw plain 2>/dev/null)
status=$?
[[ $status == 1 && $output == "8 MiB" ]] || fail "from a pipe: status $status: $output"
output=$(printf 'length' | timeout 60 "$io" -f raw plain 2>&1)
status=$?
[[ $status == 0 && $output == "8 MiB" ]] || fail "a line without an end: status $status: $output"

# --- at a prompt, in a terminal
if command -v script >/dev/null; then
  output=$(printf 'length\nhelp zone_rep\tX\nquit\n' | TERM=dumb timeout 60 script -qec "$io -f raw plain" /dev/null 2>&1)
  [[ $output == *"minivmm-io> "* && $output == *"8 MiB"* && $output == *"argument count"* ]] || fail "at a prompt: $output"
fi

# --- null-co
gives 0 "1 GiB
wrote 4096/4096 bytes at offset 0
4 KiB, 1 ops" --image-opts -c length -c "write 0 4k" driver=null-co,size=1G
output=$("$io" --image-opts -c "bench -C -w -n 500 -d 8" -c "bench -r -n 500 -b 64k" driver=null-co 2>&1 | without_rates)
[[ $output == "2048000,500
read 32768000/32768000 bytes at offset 0
31.250 MiB, 500 ops" ]] || fail "bench on null-co: $output"

# --- a zoned image: each command in a process of its own, as QEMU's zoned test does
"$img" create -o zone.size=4M,zone.capacity=3M,zone.conventional_zones=4,zone.max_open_zones=3,zone.max_active_zones=4,zone.write_granularity=4096 z.zbd 510M >/dev/null ||
  fail "minivmm-img create"
zoned=(--image-opts "driver=zoned,file.driver=file,file.filename=z.zbd")
gives 0 "start: 0x6000, len 0x2000, cap 0x2000, wptr 0x8000, zcond:0, [type: 1]
start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]" "${zoned[@]}" -c "zrp 12M 2"
gives 0 "start: 0xfe000, len 0x1000, cap 0x1000, wptr 0xfe000, zcond:1, [type: 2]" "${zoned[@]}" -c "zrp 508M 5"
gives 0 "" "${zoned[@]}" -c "zrp 510M 5" -c "zrp 1G 5" -c "zrp 0 0"
gives 0 "After zap done, the append sector is 0x8000" "${zoned[@]}" -c "zap -p 16M 0x1000 0x2000"
gives 0 "After zap done, the append sector is 0x8018
start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8020, zcond:2, [type: 2]" -f zoned z.zbd -c "zap -p 16M 4k" -c "zrp 16M 1"
gives 0 "start: 0x8000, len 0x2000, cap 0x1800, wptr 0xa000, zcond:14, [type: 2]
start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]" -f zoned z.zbd -c "zf 16M 4M" -c "zrp 16M 1" \
  -c "zrs 16M 4M" -c "zrp 16M 1"
gives 0 "16 MiB (0x1000000) bytes     allocated at offset 0 bytes (0x0)
4 MiB (0x400000) bytes not allocated at offset 16 MiB (0x1000000)
4 KiB (0x1000) bytes     allocated at offset 20 MiB (0x1400000)
489.996 MiB (0x1e9ff000) bytes not allocated at offset 20.004 MiB (0x1401000)
4096/8388608 bytes allocated at offset 16 MiB" -f zoned z.zbd -c "zap 20M 4k" -c map -c "alloc 16M 8M"
gives 0 "read 10485760/10485760 bytes at offset 15728640
10 MiB, 1 ops" -f zoned z.zbd -c "read 15M 10M"
# Each zone's part lands where it belongs: zone 5 has 4 KiB of what append writes by default.
gives 0 "" -f zoned z.zbd -c "read -q -P 0 -s 0 -l 5M 15M 10M" -c "read -q -P 0xcd -s 5M -l 4k 15M 10M" \
  -c "read -q -P 0 -s 5124k -l 5116k 15M 10M"
refuses "read failed: Input/output error" -f raw -c "read 9M 4k" plain
refuses "discard failed: Input/output error" -f raw -c "discard 9M 4k" plain
refuses "zone open failed: Too many references: cannot splice: zone 7 at 0x1c00000" -f zoned z.zbd -c "zo 16M 16M"
refuses "zones 4 to 6 were opened before" -f zoned z.zbd -c "zo 16M 16M"
refuses "write failed: Input/output error: zone 4 at 0x1000000 (empty, write pointer 0x1000000): write at 0x1000000" \
  -f zoned z.zbd -c "write 17M 4096"
for condition in read-only offline; do
  "$img" set-zone z.zbd 0 "$condition" >/dev/null || fail "minivmm-img set-zone"
  refuses "write failed: Input/output error: zone 0 at 0x0 ($condition)" -f zoned z.zbd -c "write 0 4k"
done
"$img" set-zone z.zbd 0 online >/dev/null || fail "minivmm-img set-zone"
refuses "zone append failed: Bad file descriptor" -r -f zoned z.zbd -c "zap 16M 4k"
refuses "zone report failed: Operation not supported" -f raw plain -c "zrp 0 1"
"$img" check z.zbd >/dev/null || fail "the image is damaged"

# --- no standard descriptors: what is printed must not land on the disk
before=$(sha256sum <plain)
"$io" -f raw -c "read 0 4k" plain <&- >&-
"$io" -f raw -c nonsense -c "read 0 4k" -c nonsense plain <&- >&- 2>&-
[[ $(sha256sum <plain) == "$before" ]] || fail "the disk was printed on"

# --- wrong input
refuses "minivmm-io: can't open device nothing" -c length nothing
refuses "minivmm-io: can't open device no?thing" -c length $'no\nthing'
refuses "looks like a zoned image" -c length z.zbd
refuses "mutually exclusive" -f raw --image-opts -c length driver=null-co
refuses "exclude each other" -f raw -c length 'json:{"driver":"null-co"}'
refuses "json:" -c length json:driver=null-co
refuses "Invalid cache option: foo" -t foo -c length plain
refuses "unknown" -f qcow2 -c length plain
refuses "'more' is one argument too many" -c length plain more
refuses "io_uring" -i threads -c length plain
refuses "io_uring" -k -c length plain
refuses "--misalign" -m -c length plain
refuses "--snapshot" -s -c length plain
refuses "-r" -U -c length plain
refuses "no file open" -c length
refuses 'command "lenght" not found; did you mean' -c lenght
refuses "lenght" --image-opts -c lenght driver=null-co,lenght=5
refuses "sleep" -c sleep
refuses "abc is not a valid number" -c "sleep abc"
refuses "length cannot exceed 2147483136, given 3G" -f raw -c "read 0 3G" plain
refuses "Only one of -z, -P, and -s" -f raw -c "write -z -P 1 0 4k" plain
refuses "-u requires -z" -f raw -c "write -u 0 4k" plain
refuses "nonexistent: No such file" -f raw -c "write -s nonexistent 0 4k" plain
refuses "pattern verification range exceeds" -f raw -c "read -P 1 -s 4k -l 4k 0 4k" plain
refuses "write failed: Operation not permitted" -r -f raw -c "write 0 4k" plain
refuses "write failed: Input/output error: 4096 bytes at 0x900000 reach behind the end" -f raw -c "write 9M 4k" plain

# --- help
"$io" --help | grep -q -- --image-opts || fail "--help"
"$io" --help=man | grep -q '^\.SH' || fail "--help=man"
"$io" --help=bash | bash -n || fail "--help=bash"
"$io" -c help | grep -qx "zone_report offset number -- .*" || fail "help"
"$io" -c "help zap" | grep -q "zap -p" || fail "help zap"
[[ $("$io" -V) == "minivmm-io "* ]] || fail "-V"

((failures == 0)) && echo "all passed"
exit $((failures > 0))
