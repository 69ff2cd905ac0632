#!/usr/bin/env bash
# Runs static native tests on an emulated processor with AVX-512 (see README.md beside this file).
#
#   native/emulation/run_avx512.sh BUILD_FOLDER [TEST_NAME...]
#
# Without names it takes every test_* of the build folder. The status is 0 if each of them ran and returned 0.
#
#   KERNEL   a Linux image (vmlinuz); default: the one in Debian's linux-image-cloud-amd64, fetched with apt-get
#   BOCHS    the emulator, a command or an absolute path; default: Debian's bochs-bin
#   DISPLAY_LIBRARY  which of its displays, where that Bochs has no text display; default: term
#   LIMIT    seconds until the emulator is stopped; default: 1800
set -euo pipefail

readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly BOCHS=${BOCHS:-bochs-bin}
readonly DISPLAY_LIBRARY=${DISPLAY_LIBRARY:-term}
readonly LIMIT=${LIMIT:-1800}

fail() {
  echo "run_avx512: $*" >&2
  exit 2
}

need() {
  local command=$1 package=$2
  command -v "$command" >/dev/null || fail "no $command: install the Debian package $package"
}

# The package is unpacked, not installed: an installed kernel would set up a boot loader on this machine.
fetch_kernel() {
  local folder=$1 package
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
  [[ -n $package ]] || fail "apt knows no linux-image-cloud-amd64: run 'apt-get update', or set KERNEL to a vmlinuz"
  (cd "$folder" && apt-get download -q -o APT::Sandbox::User=root "$package" >&2 && dpkg-deb -x linux-image-*.deb kernel)
  echo "$folder"/kernel/boot/vmlinuz-*
}

make_initrd() {
  local root=$1 image=$2
  shift 2
  mkdir -p "$root"/{bin,dev,proc,tmp,tests}
  cp "$(command -v busybox)" "$root/bin/busybox"
  install -m 755 "$HERE/init.sh" "$root/init"
  local test
  for test in "$@"; do
    if readelf -lW "$test" | grep -q INTERP; then
      fail "$test is not static: configure with -DCMAKE_EXE_LINKER_FLAGS=-static"
    fi
    strip -o "$root/tests/$(basename "$test")" "$test"
  done
  (cd "$root" && find . | cpio -o -H newc --quiet) >"$image"
}

make_boot_disc() {
  local folder=$1 image=$2
  mkdir -p "$folder/isolinux"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$HERE/isolinux.cfg" "$folder/isolinux/"
  xorriso -as mkisofs -quiet -o "$image" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$folder" 2>&1 | grep -v '^xorriso 1' >&2 || true
}

# Bochs reads and writes the files of bochsrc in its working folder. Its text display wants a terminal, which 'script'
# lends it; a build with the debugger (Debian's) waits for a command before it starts. An interrupt lets it write out
# what it holds of the serial line.
emulate() {
  local folder=$1 command status=0
  command="nice -n 15 timeout --foreground -s INT -k 20 $LIMIT '$BOCHS' -q -f '$HERE/bochsrc'"
  if [[ $("$BOCHS" --help 2>&1) == *"-rc filename"* ]]; then
    printf 'continue\nquit\n' >"$folder/debugger"
    command+=" -rc debugger"
  fi
  command+=" 'display_library: $DISPLAY_LIBRARY'"
  : >"$folder/serial"
  (cd "$folder" && TERM=linux script -qec "$command" /dev/null >screen </dev/null) || status=$?
  [[ $status -ne 124 && $status -ne 137 ]] || echo "run_avx512: stopped after $LIMIT seconds" >&2
}

verdict() {
  local serial=$1 name status failed=0
  shift
  grep -q '^=== processor with AVX-512' "$serial" || fail "the emulated system did not come up with AVX-512"
  for name in "$@"; do
    status=$(sed -n "s/^=== end $name //p" "$serial")
    echo "$name: ${status:-did not finish}"
    [[ $status == 0 ]] || failed=1
  done
  return $failed
}

main() {
  [[ $# -ge 1 ]] || fail "usage: $0 BUILD_FOLDER [TEST_NAME...]"
  local build=$1
  shift
  need "$BOCHS" "bochs (with bochs-term, bochsbios and vgabios)"
  need busybox busybox-static
  need cpio cpio
  need xorriso xorriso
  need readelf binutils
  [[ -e /usr/lib/ISOLINUX/isolinux.bin ]] || fail "no isolinux.bin: install the Debian package isolinux"
  [[ -e /usr/lib/syslinux/modules/bios/ldlinux.c32 ]] || fail "no ldlinux.c32: install the Debian package syslinux-common"

  local tests=() names=("$@") test
  if [[ ${#names[@]} -eq 0 ]]; then
    for test in "$build"/test_*; do [[ -f $test && -x $test ]] && names+=("$(basename "$test")"); done
  fi
  [[ ${#names[@]} -gt 0 ]] || fail "no test_* in $build: configure with -DSECATEUR_TESTS=ON"
  for test in "${names[@]}"; do
    [[ -x $build/$test ]] || fail "no $test in $build"
    tests+=("$build/$test")
  done

  # Not local: the trap runs after main has returned.
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir "$folder/disc"
  cp "${KERNEL:-$(fetch_kernel "$folder")}" "$folder/disc/vmlinuz"
  make_initrd "$folder/root" "$folder/disc/initrd" "${tests[@]}"
  make_boot_disc "$folder/disc" "$folder/boot.iso"
  emulate "$folder"
  tr -d '\r' <"$folder/serial" >"$folder/output"
  cat "$folder/output"
  echo
  verdict "$folder/output" "${names[@]}"
}

main "$@"
