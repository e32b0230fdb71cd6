# What suite `control` does to the machine from outside, as the guest meets it: the drivers are
# there, reading goes on until the power button is pressed, and the guest counts its own requests.
# shellcheck shell=dash disable=SC2154
check button-driver modprobe button
check pvpanic-driver modprobe pvpanic_mmio
modprobe evdev
if [ -e /sys/bus/platform/drivers/pvpanic-mmio/QEMU0001:00 ]; then
  ok pvpanic-bound
else
  not_ok pvpanic-bound "the driver has no device QEMU0001:00"
fi
[ "${wait_for:-}" = nothing ] && return

disk=$(disk_with_serial control.img)
events=$(awk '/Name="Power Button"/ { found = 1 } found && /^H:/ { match($0, /event[0-9]+/); print substr($0, RSTART, RLENGTH); exit }' \
  /proc/bus/input/devices)
if [ -c "/dev/input/$events" ]; then
  ok power-button-found
else
  not_ok power-button-found "no input device of that name in /proc/bus/input/devices"
  return
fi

check writes dd if=/dev/zero of="$disk" bs=4k count=50 oflag=direct conv=notrunc
check reads dd if="$disk" of=/dev/null bs=4k count=70 iflag=direct
# reads and writes that were answered; from here on there are no more writes
echo "@counts $(awk '{ print $1, $5 }' "/sys/block/${disk#/dev/}/stat")"
dd if="/dev/input/$events" of=/tmp/pressed bs=24 count=1 2>/dev/null &
button=$!
beats=0
while kill -0 $button 2>/dev/null; do
  dd if="$disk" of=/dev/null bs=4k count=8 iflag=direct 2>/dev/null || not_ok reads-under-way "beat $beats"
  beats=$((beats + 1))
  echo "@beat $beats $(cat "/sys/block/${disk#/dev/}/size") sectors"
done
# struct input_event: type 1 is a key, code 116 the power key, value 1 pressed
expect power-key "1 116 1" "$(od -A n -t u2 -j 16 -N 4 /tmp/pressed | awk '{ print $1, $2 }') $(od -A n -t u4 -j 20 -N 4 /tmp/pressed | tr -d ' ')"
expect no-lockup 0 "$(dmesg | grep -c -i -e 'soft lockup' -e 'rcu.*stall')"
