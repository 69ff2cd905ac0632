#!/bin/busybox sh
# The first and only process of the emulated system: runs every program of /tests and switches off.
export PATH=/bin
busybox mount -t proc none /proc
busybox mount -t devtmpfs none /dev

has() { busybox grep -q -w "$1" /proc/cpuinfo; }

if has avx512f && has avx512bw && has avx512dq && has avx512vl; then
  echo "=== processor with AVX-512: $(busybox sed -n 's/^model name[^:]*: //p' /proc/cpuinfo)"
fi
cd /tmp
for test in /tests/*; do
  name=$(busybox basename "$test")
  echo "=== begin $name"
  "$test"
  status=$?
  # A trap or a page fault is told in the kernel's log alone.
  [ $status -lt 128 ] || busybox dmesg | busybox grep "$name\[" | busybox tail -n 1
  echo
  echo "=== end $name $status"
done
# Power goes off at once, whatever the serial line still holds: stty waits until it has been sent.
busybox stty -F /dev/ttyS0 sane
busybox poweroff -f
