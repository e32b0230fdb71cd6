# What the guest sees of the machine: processors, PCI, interrupts, time.
# shellcheck shell=dash disable=SC2154
disk=$(disk_with_serial mvzoned)
expect processors "${processors:-1}" "$(nproc)"

pci=$(readlink -f "/sys/block/${disk#/dev/}/device/..")
expect pci-vendor 0x1af4 "$(cat "$pci/vendor" 2>&1)"
case $(cat "$pci/device" 2>&1) in
  0x1042 | 0x1001) ok pci-device ;;
  *) not_ok pci-device "$(cat "$pci/device" 2>&1) is no virtio-blk function" ;;
esac
case $(cat "$pci/class" 2>&1) in
  0x01*) ok pci-class ;;
  *) not_ok pci-class "$(cat "$pci/class" 2>&1) is not mass storage" ;;
esac
for device in /sys/bus/pci/devices/*; do
  echo "@show pci ${device##*/} $(cat "$device/vendor"):$(cat "$device/device") class $(cat "$device/class")"
done

# interrupts_of DISK: how many its request queues have had.
interrupts_of() {
  virtio=$(basename "$(readlink -f "/sys/block/${1#/dev/}/device")")
  awk -v name="$virtio-req" '
    index($0, name) { for (i = 2; $i ~ /^[0-9]+$/; ++i) sum += $i }
    END { print sum + 0 }' /proc/interrupts
}
before=$(interrupts_of "$disk")
cpu=0
while [ "$cpu" -lt "${processors:-1}" ]; do
  mask=$(printf %x $((1 << cpu)))
  expect "runs-on-processor-$cpu" "$cpu" "$(taskset "$mask" sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status)"
  check "read-on-processor-$cpu" taskset "$mask" dd if="$disk" of=/dev/null bs=4k count=8 iflag=direct
  cpu=$((cpu + 1))
done
after=$(interrupts_of "$disk")
if [ "$after" -gt "$before" ]; then ok msix-interrupts; else not_ok msix-interrupts "still $after after reading"; fi
if grep -q "PCI-MSIX.*virtio.*-req.0" /proc/interrupts; then
  ok msix-in-use
else
  not_ok msix-in-use "/proc/interrupts: $(grep virtio /proc/interrupts | one_line)"
fi

expect clock kvm-clock "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
expect firmware-errors 0 "$(dmesg | grep -c -e 'ACPI Error' -e 'ACPI BIOS Error' -e '\[Firmware Bug\]')"
