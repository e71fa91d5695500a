//! Which architectures' packages also run on another: what mergerepo_c expands a list of architectures to.

const X86: &[&str] = &["i386", "i486", "i586", "i686", "athlon", "geode"];

/// What runs on `arch` beside its own packages and `noarch` ones. Found by asking mergerepo_c about each.
pub fn running_on(arch: &str) -> &'static [&'static str] {
    match arch {
        "i386" => X86,
        "x86_64" => &["i386", "i486", "i586", "i686", "athlon", "geode", "amd64", "ia32e"],
        "ppc64" => &["ppc", "ppc64pseries", "ppc64iseries"],
        "s390x" => &["s390"],
        "sparc" => &["sparcv8", "sparcv9", "sparcv9v"],
        "sparc64" => &["sparc64v"],
        "sh4" => &["sh4a"],
        "alpha" => &[
            "alphaev4",
            "alphaev45",
            "alphaev5",
            "alphaev56",
            "alphapca56",
            "alphaev6",
            "alphaev67",
            "alphaev68",
            "alphaev7",
        ],
        _ => &[],
    }
}
