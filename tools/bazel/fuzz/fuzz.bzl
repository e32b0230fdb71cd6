"""fuzz_target: one function that is fed bytes, built in two ways from one source.

    bazel test //blockcore:options_fuzz     a plain test: replays the seeds and a fixed sequence of
                                            mutations of them (replay_main.cc)
    tools/fuzz options                      libFuzzer with clang's sanitizers, --config=fuzz
"""

def fuzz_target(name, srcs, deps):
    """Defines the target.

    Args:
      name: ends in _fuzz; tools/fuzz takes it without that.
      srcs: a file that defines LLVMFuzzerTestOneInput.
      deps: what it tests. fuzz_input.h comes by itself.

    The seeds are the files in testdata/fuzz/NAME, at least one; *.hex are hexadecimal digits, with
    comments from # to the end of the line.
    """
    seeds = native.glob(["testdata/fuzz/%s/*" % name])
    if not seeds:
        fail("%s: there are no seeds in testdata/fuzz/%s" % (name, name))
    native.cc_test(
        name = name,
        size = "small",
        srcs = srcs,
        args = ["$(rootpath %s)" % seed for seed in seeds],
        data = seeds,
        linkstatic = True,
        tags = ["fuzz"],
        deps = deps + ["//tools/bazel/fuzz:fuzz_input"] + select({
            "//tools/bazel/fuzz:with_libfuzzer": ["//tools/bazel/fuzz:libfuzzer"],
            "//conditions:default": ["//tools/bazel/fuzz:replay_main"],
        }),
    )
