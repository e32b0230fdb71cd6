"""Guests that run without an operating system: no C library, nothing of the host's."""

_COPTS = [
    "-O2",
    "-march=x86-64",
    "-ffreestanding",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-pic",
    "-fno-pie",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-strict-aliasing",
    "-fno-threadsafe-statics",
    "-fno-tree-loop-distribute-patterns",
    "-fno-asynchronous-unwind-tables",
    "-fno-omit-frame-pointer",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-U_FORTIFY_SOURCE",
]

_LINKOPTS = [
    "-nostdlib",
    "-static",
    "-no-pie",
    "-fno-sanitize=all",
    "-fuse-ld=bfd",
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    "-Wl,-z,max-page-size=4096",
    "-Wl,--no-warn-rwx-segments",
]

def bare_metal_guest(name, srcs):
    """An ELF file that a PVH loader starts.

    Built alike in every configuration, sanitizers included, so it turns off again what .bazelrc
    turns on.

    Args:
      name: of the ELF file.
      srcs: the guest's own files; GuestMain is in one of them.
    """
    linker_script = "//guest-tests/bare-metal:guest.lds"
    native.cc_binary(
        name = name,
        srcs = srcs + ["//guest-tests/bare-metal:machine"],
        copts = _COPTS,
        features = ["-pic"],
        linkopts = _LINKOPTS + ["-Wl,-T,$(location %s)" % linker_script],
        linkstatic = True,
        visibility = ["//visibility:public"],
        deps = [linker_script],
    )
