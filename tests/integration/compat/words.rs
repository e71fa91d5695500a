//! What the commands say, beside createrepo_c: scripts read its lines.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::world::{Rpm, clients};

const UPDATEINFO: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates></updates>\n";

/// A directory with `p` (one package), `d` (one NEVRA twice), `b` (a file that is no package), `e` (nothing).
fn world() -> TempDir {
    let world = TempDir::new().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = world.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("p/a.rpm", &Rpm::new("a").build());
    write("d/a.rpm", &Rpm::new("a").build());
    write("d/sub/a.rpm", &Rpm::new("a").salt(1).build());
    write("b/empty.rpm", b"");
    std::fs::create_dir(world.path().join("e")).unwrap();
    write("updateinfo.xml", UPDATEINFO.as_bytes());
    write("list", b"nosuch.modulemd.yaml\n");
    write("m/modules.yaml.magck", &[0x80; 100]);
    world
}

/// Lines without what differs by intent: the number of workers, and our reasons behind createrepo_c's words.
fn lines(text: &[u8]) -> Vec<String> {
    let plain = |line: &str| {
        let line = line.trim_end_matches('.');
        let line = line.split(" error: not an RPM").next().unwrap().trim_end_matches(" error");
        match line.split_once("Pool started") {
            Some(_) => "Pool started".to_owned(),
            None => line.to_owned(),
        }
    };
    // Modules in a list are looked for in the directory that is indexed; createrepo_c looks in the working directory.
    let text = String::from_utf8_lossy(text).replace("p/nosuch.modulemd", "nosuch.modulemd");
    text.lines().map(plain).map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn run(program: &dyn Fn(&str) -> Command, world: &Path, line: &str) -> Output {
    let mut words = line.split(' ');
    let mut command = program(words.next().unwrap());
    command.args(words).current_dir(world).env("LC_ALL", "C.UTF-8").output().unwrap()
}

/// Each world's commands in order.
const WORLDS: &[&[&str]] = &[
    &["createrepo_c p", "createrepo_c --update p", "createrepo_c -d p"],
    &["createrepo_c p", "createrepo_c --update --recycle-pkglist p"],
    &["createrepo_c e", "createrepo_c -o e p"],
    &["createrepo_c d"],
    &["createrepo_c b"],
    &["createrepo_c --update --update-md-path nowhere p"],
    &["createrepo_c --nosuch", "createrepo_c --checksum foo p", "createrepo_c --compress-type foo p"],
    &["createrepo_c --general-compress-type foo p", "createrepo_c --retain-old-md x p", "createrepo_c"],
    &["createrepo_c --retain-old-md-by-age 5Z p", "createrepo_c --retain-old-md-by-age abc p"],
    &["createrepo_c nosuch", "createrepo_c --compress-type", "createrepo_c --pkglist nosuch p"],
    &["createrepo_c --pkglist list p"],
    &["createrepo_c -q p", "modifyrepo_c --remove nosuch p/repodata", "modifyrepo_c nosuch p/repodata"],
    &["createrepo_c -q p", "modifyrepo_c --checksum foo updateinfo.xml p/repodata", "modifyrepo_c --nosuch"],
    &[
        "createrepo_c -q p",
        "sqliterepo_c --keep-old p",
        "sqliterepo_c p",
        "sqliterepo_c --checksum foo --force p",
    ],
    &["createrepo_c -q p", "mergerepo_c --repo p --repo p --arch-expand", "mergerepo_c --nosuch"],
    &[
        "createrepo_c -q p",
        "mergerepo_c --repo p --repo p --compress-type foo",
        "mergerepo_c --method foo -r p -r p",
    ],
];

#[test]
fn what_scripts_read_is_what_createrepo_c_says() {
    let Some(theirs) = clients::createrepo_c("createrepo_c") else { return };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_createrepod"));
    let mut wrong = Vec::new();
    for commands in WORLDS {
        let (one, other) = (world(), world());
        for line in *commands {
            let expected = run(&|name| Command::new(theirs.with_file_name(name)), one.path(), line);
            let called = |name: &str| {
                let mut command = Command::new(&ours);
                command.arg(name);
                command
            };
            let found = run(&called, other.path(), line);
            let all = |output: &Output| (output.status.code(), lines(&output.stdout), lines(&output.stderr));
            if all(&expected) != all(&found) {
                wrong.push(format!(
                    "{line}\n  createrepo_c: {:?}\n  ours:         {:?}",
                    all(&expected),
                    all(&found)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_older_names_and_help_all_work() {
    let world = world();
    let ours = env!("CARGO_BIN_EXE_createrepod");
    for (older, line) in [
        ("createrepo", "p"),
        ("mergerepo", "--repo p --repo p -o merged"),
        ("modifyrepo", "updateinfo.xml p/repodata"),
    ] {
        let link = world.path().join(older);
        std::os::unix::fs::symlink(ours, &link).unwrap();
        let done = run(&|_| Command::new(&link), world.path(), &format!("{older} {line}"));
        assert_eq!(done.status.code(), Some(0), "{older}: {}", String::from_utf8_lossy(&done.stderr));
        let help = run(&|_| Command::new(&link), world.path(), &format!("{older} --help-all"));
        assert_eq!(help.status.code(), Some(0), "{older} --help-all");
        let version = run(&|_| Command::new(&link), world.path(), &format!("{older} --version"));
        assert!(String::from_utf8_lossy(&version.stdout).starts_with("Version: 1."), "{older}");
    }
    assert!(
        world.path().join("p/repodata/repomd.xml").is_file() && world.path().join("merged/repodata").is_dir()
    );
}

#[test]
fn a_module_file_of_unknown_compression_ends_the_command() {
    let world = world();
    let done = run(
        &|name| {
            let mut c = Command::new(env!("CARGO_BIN_EXE_createrepod"));
            c.arg(name);
            c
        },
        world.path(),
        "createrepo_c m",
    );
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        said.contains("Could not load module index file") && said.contains("modules.yaml.magck"),
        "{said}"
    );
}

#[test]
fn what_is_kept_is_read_again_and_gets_a_zchunk_twin_and_keeps_its_base() {
    let world = world();
    let ours = |line: &str| {
        let program = |name: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
            command.arg(name);
            command
        };
        let done = run(&program, world.path(), line);
        assert_eq!(done.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let repomd = || std::fs::read_to_string(world.path().join("p/repodata/repomd.xml")).unwrap();
    ours("createrepo_c -q --simple-md-filenames p");
    ours("modifyrepo_c --simple-md-filenames --no-compress updateinfo.xml p/repodata");
    let kept = world.path().join("p/repodata/updateinfo.xml");
    std::fs::write(&kept, UPDATEINFO.replace("<updates>", "<updates><!-- edited -->")).unwrap();
    let said = ours("createrepo_c -q --update --simple-md-filenames --zck p");
    assert!(said.contains("was changed in its place"), "{said}");
    let sum = crate::world::metadata::digest("sha256", &std::fs::read(&kept).unwrap()).unwrap();
    assert!(repomd().contains(&sum), "{}", repomd());
    assert!(repomd().contains("<data type=\"updateinfo_zck\">"), "{}", repomd());

    let based = repomd().replace("<location href", "<location xml:base=\"http://m.example.com/x/\" href");
    let based =
        based.replace("<revision>", "<revision></revision><was>").replace("</revision>\n", "</was>\n");
    std::fs::write(world.path().join("p/repodata/repomd.xml"), &based).unwrap();
    let before = based.matches("xml:base=").count();
    ours("modifyrepo_c --simple-md-filenames --mdtype more updateinfo.xml p/repodata");
    assert_eq!(repomd().matches("xml:base=").count(), before, "{}", repomd());
    assert!(!repomd().contains("<revision></revision>"), "{}", repomd());
    ours("sqliterepo_c p");
    assert_eq!(repomd().matches("xml:base=").count(), before, "{}", repomd());
}
