//! What is done with createrepo_c, sqliterepo_c and modifyrepo_c, and with ours.

/// Something done to a world: `w` is the tree, commands run beside it.
#[derive(Clone, Copy)]
pub enum Step {
    /// A run of the command, its options and directories.
    Run(&'static [&'static str]),
    /// The same for `sqliterepo_c`.
    Databases(&'static [&'static str]),
    /// The same for `modifyrepo_c`.
    Modify(&'static [&'static str]),
    /// The same for `mergerepo_c`.
    Merge(&'static [&'static str]),
    /// Seconds since the epoch.
    Touch(&'static str, u64),
    Remove(&'static str),
    Write(&'static str, &'static str),
    Put(&'static str, &'static str),
    MakeDirectory(&'static str),
    /// Makes a repository of metadata alone: its packages (see [`super::repositories`]), and types of other
    /// metadata with their files' names and texts.
    Repository(&'static str, &'static [&'static str], &'static [(&'static str, &'static str, &'static str)]),
}

use Step::{Databases, MakeDirectory, Modify, Put, Remove, Run, Touch, Write};

pub const COMPS: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comps><group><id>g</id></group></comps>\n";
const LISTED: &str = "a/x.rpm\nc/odd-richdeps-1.0-1.noarch.rpm\n";

const FOUND: Step = Write("w/modules.yaml", super::merge::MODULE);
const MORE_FOUND: Step = Write("w/a/more.modulemd.yaml", super::merge::MODULES);

/// Each case begins with a fresh world.
pub const CASES: &[(&str, &[Step])] = &[
    ("plain", &[Run(&["w"])]),
    ("versions", &[Run(&["--version"]), Run(&["-V"]), Modify(&["--version"]), Databases(&["--version"])]),
    ("basedir", &[Run(&["--basedir", "w", "."])]),
    ("basedir missing", &[Run(&["--basedir", "none", "w"])]),
    ("again", &[Run(&["w"]), Run(&["w"])]),
    ("quiet", &[Run(&["-q", "w"])]),
    ("verbose", &[Run(&["-v", "--workers", "2", "--error-exit-val", "w"])]),
    ("excludes", &[Run(&["-x", "x*", "--excludes=c/*", "w"])]),
    ("excludes by question mark", &[Run(&["-x", "?.rpm", "w"])]),
    ("baseurl", &[Run(&["-u", "http://h/a&b", "w"])]),
    ("location prefix", &[Run(&["--location-prefix", "p", "w"])]),
    ("cut dirs", &[Run(&["--cut-dirs", "1", "--location-prefix", "p/q/", "w"])]),
    ("groupfile", &[Write("comps.xml", COMPS), Write("w/comps.xml", COMPS), Run(&["-g", "comps.xml", "w"])]),
    ("groupfile missing", &[Run(&["-g", "none.xml", "w"])]),
    ("groupfile bz2", &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "--compress-type", "bz2", "w"])]),
    ("groupfile xz", &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "--xz", "w"])]),
    (
        "groupfile general",
        &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "--general-compress-type", "gz", "w"])],
    ),
    ("sha224", &[Run(&["-s", "sha224", "w"])]),
    ("sha384", &[Run(&["--checksum", "sha384", "w"])]),
    ("sha512", &[Run(&["--checksum", "sha512", "w"])]),
    ("repomd checksum", &[Run(&["--repomd-checksum", "sha512", "w"])]),
    ("unknown checksum", &[Run(&["--checksum", "crc32", "w"])]),
    ("no pretty", &[Run(&["--no-pretty", "w"])]),
    ("pretty", &[Run(&["--no-pretty", "-p", "w"])]),
    ("gz", &[Run(&["--general-compress-type", "gz", "w"])]),
    ("bz2", &[Run(&["--general-compress-type", "bz2", "w"])]),
    ("xz", &[Run(&["--general-compress-type=xz", "w"])]),
    ("zstd", &[Run(&["--general-compress-type", "zstd", "w"])]),
    ("unknown compression", &[Run(&["--general-compress-type", "rar", "w"])]),
    ("filelists-ext", &[Run(&["--filelists-ext", "w"])]),
    (
        "filelists-ext no more",
        &[Run(&["--filelists-ext", "w"]), Touch("w/a/x.rpm", 5), Run(&["--update", "w"])],
    ),
    ("database", &[Run(&["-d", "w"])]),
    ("database gz", &[Run(&["--database", "--compress-type", "gz", "w"])]),
    ("database xz and filelists-ext", &[Run(&["--database", "--xz", "--filelists-ext", "w"])]),
    ("database with base", &[Run(&["--database", "--local-sqlite", "-u", "http://h/", "--no-pretty", "w"])]),
    (
        "database on update",
        &[Run(&["-d", "w"]), Touch("w/c/odd-richdeps-1.0-1.noarch.rpm", 5), Run(&["-d", "--update", "w"])],
    ),
    ("database no more", &[Run(&["-d", "w"]), Run(&["--update", "w"])]),
    ("compatibility", &[Write("w/c.xml", COMPS), Run(&["--compatibility", "-g", "c.xml", "w"])]),
    (
        "compatibility retains",
        &[
            Run(&["--compatibility", "w"]),
            Touch("w/a/x.rpm", 5),
            Run(&["--compatibility", "--retain-old-md", "1", "w"]),
        ],
    ),
    ("modules", &[FOUND, MORE_FOUND, Run(&["w"])]),
    ("modules gz", &[FOUND, MORE_FOUND, Run(&["--compress-type", "gz", "--simple-md-filenames", "w"])]),
    ("modules general", &[FOUND, Run(&["--general-compress-type", "bz2", "-s", "sha512", "w"])]),
    ("modules xz", &[FOUND, Run(&["--xz", "w"])]),
    ("modules in compatibility", &[FOUND, Run(&["--compatibility", "w"])]),
    ("modules excluded", &[FOUND, MORE_FOUND, Run(&["-x", "*.modulemd.yaml", "w"])]),
    ("modules of a list", &[FOUND, Write("l", LISTED), Run(&["-i", "l", "w"])]),
    ("modules updated", &[FOUND, Run(&["w"]), MORE_FOUND, Run(&["--update", "w"])]),
    (
        "modules that are gone",
        &[FOUND, MORE_FOUND, Run(&["w"]), Remove("w/modules.yaml"), Run(&["--update", "w"])],
    ),
    (
        "all modules are gone",
        &[FOUND, Run(&["w"]), Remove("w/modules.yaml"), Touch("w/a/x.rpm", 5), Run(&["--update", "w"])],
    ),
    (
        "modules discarded",
        &[
            FOUND,
            MORE_FOUND,
            Run(&["w"]),
            Remove("w/modules.yaml"),
            Run(&["--update", "--discard-additional-metadata", "w"]),
        ],
    ),
    (
        "modules recycled",
        &[
            // It knows one of several packages with equal content only.
            Remove("w/b/x.rpm"),
            Remove("w/c/link.rpm"),
            FOUND,
            Run(&["w"]),
            MORE_FOUND,
            Run(&["--update", "--recycle-pkglist", "w"]),
        ],
    ),
    (
        "broken modules",
        &[FOUND, Run(&["--revision", "r", "w"]), Write("w/b/m.modulemd.yaml", "document: [x"), Run(&["w"])],
    ),
    ("databases afterwards", &[Run(&["--revision", "r", "w"]), Databases(&["w"])]),
    (
        "databases xz",
        &[Run(&["w"]), Databases(&["-q", "--xz", "--checksum", "sha512", "--local-sqlite", "w"])],
    ),
    ("databases verbosely", &[Run(&["w"]), Databases(&["-v", "w"])]),
    ("databases twice", &[Run(&["-d", "w"]), Databases(&["w"])]),
    ("databases by force", &[Run(&["-d", "w"]), Databases(&["--force", "--compress-type", "gz", "w"])]),
    (
        "databases by force, old ones kept",
        &[Run(&["-d", "w"]), Databases(&["-f", "--keep-old", "--compress-type", "gz", "w"])],
    ),
    ("databases of nothing", &[Databases(&["w"])]),
    (
        "databases of simple names",
        &[Run(&["--simple-md-filenames", "--content", "c", "w"]), Databases(&["w"])],
    ),
    ("databases without a directory", &[Databases(&[])]),
    (
        "modify",
        &[
            Run(&["--revision", "r", "--repo", "x", "w"]),
            Write("updateinfo.xml", "<updates/>"),
            Modify(&["updateinfo.xml", "w/repodata"]),
        ],
    ),
    (
        "modify plainly",
        &[
            Run(&["w"]),
            Write("productid", "p"),
            Modify(&["--no-compress", "--simple-md-filenames", "productid", "w/repodata"]),
        ],
    ),
    (
        "modify with everything",
        &[
            Run(&["w"]),
            Write("p", "p"),
            Modify(&[
                "--mdtype",
                "t",
                "--new-name",
                "n.txt",
                "-s",
                "sha512",
                "--compress-type",
                "bz2",
                "p",
                "w/repodata/",
            ]),
        ],
    ),
    (
        "modify replaces",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Write("v.xml", "<v/>"),
            Modify(&["--mdtype", "u", "u.xml", "w/repodata"]),
            Modify(&["--mdtype", "u", "v.xml", "w/repodata"]),
        ],
    ),
    (
        "modify removes",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Modify(&["u.xml", "w/repodata"]),
            Modify(&["--remove", "u", "w/repodata"]),
            Modify(&["--remove", "u", "w/repodata"]),
        ],
    ),
    (
        "modify by batch",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Write("v", "v"),
            Write(
                "batch",
                "[u.xml]\ntype=t\ncompress-type=gz\nunique-md-filenames=false\n[x]\npath=v\ncompress=false\nnew-name=n\n[other]\nremove=true\n",
            ),
            Modify(&["-f", "batch", "w/repodata"]),
        ],
    ),
    ("modify with nothing", &[Run(&["w"]), Modify(&["none", "w/repodata"]), Modify(&["w/repodata"])]),
    (
        "modify with defaults spelled out",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Modify(&["--verbose", "--compress", "--unique-md-filenames", "u.xml", "w/repodata"]),
        ],
    ),
    ("modify nothing", &[Write("u.xml", "<u/>"), Modify(&["u.xml", "w"])]),
    (
        "metadata of others are kept",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Modify(&["u.xml", "w/repodata"]),
            Touch("w/a/x.rpm", 5),
            Run(&["--update", "w"]),
        ],
    ),
    (
        "metadata of others are lost",
        &[Run(&["w"]), Write("u.xml", "<u/>"), Modify(&["u.xml", "w/repodata"]), Run(&["w"])],
    ),
    ("no database", &[Run(&["--no-database", "w"])]),
    (
        "compatibility without databases",
        &[Write("w/c.xml", COMPS), Run(&["--compatibility", "--no-database", "-g", "c.xml", "w"])],
    ),
    ("changelog limit", &[Run(&["--changelog-limit", "2", "w"])]),
    ("no changelog", &[Run(&["--changelog-limit", "0", "w"])]),
    ("whole changelog", &[Run(&["--changelog-limit=-1", "w"])]),
    ("bad changelog limit", &[Run(&["--changelog-limit=-7", "w"])]),
    ("bad workers", &[Run(&["--workers", "500", "w"])]),
    ("simple names", &[Run(&["--simple-md-filenames", "w"])]),
    (
        "simple names again",
        &[
            Run(&["--simple-md-filenames", "w"]),
            Touch("w/a/x.rpm", 1_000_000_000),
            Run(&["--simple-md-filenames", "--update", "w"]),
        ],
    ),
    ("unique names", &[Run(&["--simple-md-filenames", "--unique-md-filenames", "w"])]),
    (
        "tags",
        &[Run(&[
            "--distro",
            "cpe:/o:x,A & B",
            "--distro",
            "plain",
            "--content",
            "c1",
            "--content",
            "c2",
            "--repo",
            "r",
            "w",
        ])],
    ),
    ("revision", &[Run(&["--revision", "any text", "w"])]),
    ("timestamp", &[Run(&["--revision", "1234567", "--set-timestamp-to-revision", "w"])]),
    ("timestamp of text", &[Run(&["--revision", "text", "--set-timestamp-to-revision", "w"])]),
    ("outputdir", &[MakeDirectory("out"), Run(&["-o", "out", "w"])]),
    ("outputdir missing", &[Run(&["-o", "none", "w"])]),
    ("skip symlinks", &[Run(&["-S", "w"])]),
    ("pkglist", &[Write("list", LISTED), Run(&["-i", "list", "w"])]),
    (
        "pkglist with excludes",
        &[Write("list", LISTED), Run(&["-i", "list", "-x", "x.rpm", "-x", "c/*", "w"])],
    ),
    ("pkglist missing", &[Run(&["-i", "none", "w"])]),
    (
        "pkglist names what is not there",
        &[Write("list", "a/x.rpm\nnone.rpm\n./b/x.rpm\n"), Run(&["-i", "list", "w"])],
    ),
    ("includepkg", &[Run(&["-n", "a/x.rpm", "--includepkg", "b/x.rpm", "w"])]),
    ("read pkgs list", &[Run(&["--read-pkgs-list", "read", "w"])]),
    ("cachedir", &[Run(&["-c", "cache", "w"]), Run(&["-c", "cache", "w"])]),
    ("duplicates", &[Run(&["--duplicated-nevra", "keep", "w"])]),
    ("last duplicate", &[Run(&["--duplicated-nevra", "keep-last", "w"])]),
    ("odd duplicate", &[Run(&["--duplicated-nevra", "first", "w"])]),
    ("split", &[MakeDirectory("v"), Put("w/a/x.rpm", "v/z.rpm"), Run(&["--split", "w", "v"])]),
    ("several directories", &[MakeDirectory("v"), Run(&["w", "v"])]),
    ("no directory", &[Run(&[])]),
    ("missing directory", &[Run(&["none"])]),
    ("unknown option", &[Run(&["--none", "w"])]),
    ("deltas", &[Run(&["--deltas", "w"])]),
    (
        "how many deltas",
        &[
            Run(&["--oldpackagedirs", "w", "w"]),
            Run(&["--num-deltas", "2", "w"]),
            Run(&["--max-delta-rpm-size", "1000", "w"]),
        ],
    ),
    ("locked", &[MakeDirectory("w/.repodata"), Run(&["w"]), Run(&["--ignore-lock", "w"])]),
    ("bad package", &[Write("w/bad.rpm", "no package"), Run(&["w"])]),
    ("empty", &[Remove("w"), MakeDirectory("w"), Run(&["w"])]),
    ("update of nothing", &[Run(&["--update", "w"])]),
    (
        "update",
        &[Run(&["w"]), Touch("w/a/x.rpm", 1_000_000_000), Remove("w/b/x.rpm"), Run(&["--update", "w"])],
    ),
    ("update of everything", &[Run(&["w"]), Run(&["--update", "w"])]),
    ("update with another checksum", &[Run(&["w"]), Run(&["--update", "-s", "sha512", "w"])]),
    (
        "update with another compression",
        &[Run(&["w"]), Run(&["--update", "--general-compress-type", "gz", "w"])],
    ),
    (
        "update from elsewhere",
        &[MakeDirectory("out"), Run(&["w"]), Run(&["--update", "--update-md-path", "w", "-o", "out", "w"])],
    ),
    ("update path without update", &[Run(&["--update-md-path", "w", "w"])]),
    (
        "skip stat",
        &[
            Run(&["w"]),
            Touch("w/odd-weakdeps-1.0-1.noarch.rpm", 1_000_000_000),
            Run(&["--update", "--skip-stat", "w"]),
        ],
    ),
    (
        "base on update",
        &[
            Remove("w/b/x.rpm"),
            Remove("w/c/link.rpm"),
            Run(&["-u", "http://h/", "w"]),
            Run(&["--update", "w"]),
        ],
    ),
    ("new base on update", &[Run(&["-u", "http://h/", "w"]), Run(&["--update", "-u", "http://i/", "w"])]),
    ("prefix on update", &[Run(&["w"]), Run(&["--update", "--location-prefix", "p", "w"])]),
    (
        "recycled list",
        &[
            Remove("w/b/x.rpm"),
            Remove("w/c/link.rpm"),
            Run(&["w"]),
            Write("w/new.rpm", "not looked at"),
            Run(&["--update", "--recycle-pkglist", "w"]),
        ],
    ),
    (
        "recycled list with a missing package",
        &[
            Remove("w/b/x.rpm"),
            Run(&["w"]),
            Remove("w/a/x.rpm"),
            Run(&["--update", "--recycle-pkglist", "w"]),
        ],
    ),
    (
        "groups on update",
        &[
            Write("w/c.xml", COMPS),
            Run(&["-g", "c.xml", "w"]),
            Touch("w/a/x.rpm", 1),
            Run(&["--update", "w"]),
        ],
    ),
    ("groups on a full run", &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "w"]), Run(&["w"])]),
    (
        "discarded on update",
        &[
            Write("w/c.xml", COMPS),
            Run(&["-g", "c.xml", "w"]),
            Run(&["--update", "--discard-additional-metadata", "w"]),
        ],
    ),
    (
        "kept on update",
        &[
            Write("w/c.xml", COMPS),
            Run(&["-g", "c.xml", "w"]),
            Run(&["--update", "--keep-all-metadata", "w"]),
        ],
    ),
    (
        "groups replaced",
        &[
            Write("w/c.xml", COMPS),
            Write("w/d.xml", "<comps/>"),
            Run(&["-g", "c.xml", "w"]),
            Run(&["--update", "-g", "d.xml", "w"]),
        ],
    ),
    ("strangers stay", &[Run(&["w"]), Write("w/repodata/mine", "mine"), Touch("w/a/x.rpm", 1), Run(&["w"])]),
    ("retain all", &[Run(&["w"]), Touch("w/a/x.rpm", 1), Run(&["--retain-old-md", "1", "w"])]),
    ("retain none", &[Run(&["w"]), Touch("w/a/x.rpm", 1), Run(&["--retain-old-md", "0", "w"])]),
    ("retain both ways", &[Run(&["--retain-old-md", "1", "--retain-old-md-by-age", "1h", "w"])]),
    (
        "retain by age",
        &[Run(&["w"]), Touch("w/a/x.rpm", 1), Run(&["--update", "--retain-old-md-by-age", "1h", "w"])],
    ),
    ("retain by a strange age", &[Run(&["--retain-old-md-by-age", "5x", "w"])]),
];
