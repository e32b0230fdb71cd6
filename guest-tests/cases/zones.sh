# Zone reports as one comparable line per zone; sourced on both sides of the machine's border, so
# that both read alike.
# shellcheck shell=dash

# zone_lines: makes of blkzone's report on standard input "start length capacity write-pointer
# condition type" of each zone, the numbers in sectors and hexadecimal, the write pointer relative
# to the start. Where virtio leaves the pointer undefined (not-wp, read-only, full, offline) it is
# "-".
zone_lines() {
  sed -n \
    -e 's/^ *start: \([^,]*\), len \([^,]*\), cap \([^,]*\), wptr \([^ ]*\) /\1 \2 \3 \4 /' \
    -e 's/reset:.*zcond: *[0-9]*(\(..\)) \[type: \([0-9]\).*/\1 \2/' \
    -e 's/^\([^ ]* [^ ]* [^ ]*\) [^ ]* \(nw\|ro\|fu\|of\) /\1 - \2 /' -e '/^0x/p'
}

# zone_table DEVICE [FIRST_SECTOR COUNT]: its zones as such lines.
zone_table() { blkzone report ${2:+-o "$2" -c "$3"} "$1" | zone_lines; }

# zone_state DEVICE FIRST_SECTOR: "condition write-pointer" of one zone.
zone_state() { zone_table "$1" "$2" 1 | { read -r _ _ _ wp condition _ && echo "$condition $wp"; }; }
