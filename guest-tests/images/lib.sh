# Shared by the scripts that make the images of the guest tests: where the cache is, how to say what
# is going on, and how files are gathered for an initramfs. Sourced, not run.
# shellcheck shell=bash disable=SC2034

images_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_dir=$(cd "$images_dir/../.." && pwd)
cache_dir=${MINIVMM_CACHE:-$repo_dir/.cache}
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# need TOOL...: stops with one line when a tool is missing.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing: run tools/setup"
  done
}

# shared_libraries FILE...: the files, symbolic links resolved by name only, that the dynamic linker
# would load.
shared_libraries() {
  local file
  for file in "$@"; do
    ldd "$file" 2>/dev/null || true
  done | awk '/=> \// { print $3 } /^[[:space:]]*\/.*ld-linux/ { print $1 }' | sort -u
}

# install_programs ROOT FILE...: copies each program to ROOT/bin and its shared libraries to
# ROOT/lib. Debian's merged /usr makes /lib, /lib64 and /usr/lib one place; in the images all
# libraries lie in /lib and /lib64 points there.
install_programs() {
  local root=$1 library
  shift
  mkdir -p "$root/bin" "$root/lib"
  [[ -e $root/lib64 ]] || ln -s lib "$root/lib64"
  cp -L --update "$@" "$root/bin/"
  while read -r library; do
    [[ -e $root/lib/${library##*/} ]] || cp -L "$library" "$root/lib/"
  done < <(shared_libraries "$@")
}

# install_modules ROOT KERNEL_DIR MODULE...: the modules with all they depend on, uncompressed, and
# the index for modprobe.
install_modules() {
  local root=$1 kernel=$2 version module file
  shift 2
  version=$(<"$kernel/version")
  mkdir -p "$root/lib/modules/$version"
  cp "$kernel/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
  for module in "$@"; do
    modprobe -d "$kernel" -S "$version" --show-depends "$module" >/dev/null ||
      die "kernel $version has no module $module"
    while read -r _ file _; do
      file=${file#"$kernel"/}
      install -D -m 644 "$kernel/$file" "$root/$file"
    done < <(modprobe -d "$kernel" -S "$version" --show-depends "$module" | grep '^insmod ')
  done
  depmod -b "$root" "$version"
}

# install_busybox ROOT: busybox with a link for every tool it has, except those that ROOT already
# holds as programs.
install_busybox() {
  local root=$1 tool busybox
  busybox=$(command -v busybox)
  ldd "$busybox" >/dev/null 2>&1 && die "$busybox is not static: run tools/setup (package busybox-static)"
  cp -L "$busybox" "$root/bin/busybox"
  while read -r tool; do
    [[ -e $root/bin/$tool ]] || ln -s busybox "$root/bin/$tool"
  done < <("$busybox" --list)
}

# pack ROOT FILE: writes the directory as an uncompressed cpio archive, owned by root whoever runs
# this. The kernel accepts several archives one after the other, which is how a run adds its own
# files to a cached image.
pack() {
  (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --quiet) >"$2.new"
  mv "$2.new" "$2"
}

# fingerprint FILE...: a digest of names, sizes and times; cheap, and it changes when a package is
# upgraded.
fingerprint() { stat -L -c '%n %s %Y' "$@" | sha256sum | cut -c 1-16; }
