//! The real readers: dnf, zypper, createrepo_c 1.2 and libxml2 take what the daemon publishes.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::world::clients::{self, Dnf, Zypper, createrepo_c, rpms_below};
use crate::world::metadata::digest;
use crate::world::{Daemon, Metadata, Rpm, Tree, shared, skipped};

const PROFILES: [&str; 4] = ["zstd", "gzip", "el7", "el6"];

/// A tree that is closed under requirements, with two versions of something, and both deep and flat.
fn stocked() -> (Tree, Vec<Rpm>) {
    let tree = Tree::new();
    let rpms = vec![
        Rpm::new("base").file("/usr/bin/base").file("/etc/base.conf"),
        Rpm::new("base").version("2.0").file("/usr/bin/base"),
        Rpm::new("app").requires("base").requires("/usr/bin/base").arch("x86_64"),
        Rpm::new("lib").release("1.el9").payload(70_000).arch("x86_64"),
        Rpm::new("tilde").version("3.0~rc1").release("0.1"),
        Rpm::new("caret").version("3.0^git1"),
    ];
    for rpm in &rpms {
        tree.write(format!("Packages/{}/{}", &rpm.name[..1], rpm.file_name()), &rpm.build());
    }
    (tree, rpms)
}

fn serve_profile(tree: &Tree, profile: &str) -> Daemon {
    Daemon::configured(tree, "", &format!("metadata = \"{profile}\""))
}

/// The corpus of real packages, linked into a tree, or `None` after having said so.
/// All packages, and databases where the profile has them.
fn is_there(metadata: &Metadata, rpms: &[Rpm], profile: &str) -> bool {
    metadata.packages.len() == rpms.len()
        && metadata.records.contains_key("primary_db") == profile.starts_with("el")
}

fn corpus() -> Option<Tree> {
    let Some(shared) = shared() else {
        skipped("the corpus of real packages is not here (CREATEREPOD_SHARED)");
        return None;
    };
    let tree = Tree::new();
    let source = shared.join("corpus/rpms");
    crate::world::tree::cp([source.as_os_str(), tree.path("rpms").as_os_str(), "-r".as_ref()]);
    Some(tree)
}

#[test]
fn dnf_lists_and_downloads_everything_in_each_profile() {
    let (tree, rpms) = stocked();
    for profile in PROFILES {
        let daemon = serve_profile(&tree, profile);
        let metadata = daemon.until("all", |metadata| is_there(metadata, &rpms, profile));
        let Some(dnf) = Dnf::find() else { return };
        assert_eq!(dnf.nevras(&daemon.url()), metadata.nevras(), "{profile}");
        let built: BTreeSet<String> =
            rpms.iter().map(|rpm| digest("sha256", &rpm.build()).unwrap()).collect();
        assert_eq!(dnf.download_all(&daemon.url()), built, "{profile}: every package came with its bytes");
        // Files are found: those of primary, and those that only filelists has.
        let owner = dnf.repoquery(&daemon.url(), &["--qf", "%{name}\n", "--whatprovides", "/etc/base.conf"]);
        assert_eq!(owner.trim(), "base", "{profile}");
        let owner = dnf.repoquery(&daemon.url(), &["--qf", "%{name}\n", "--file", "/usr/share/lib/payload"]);
        assert_eq!(owner.trim(), "lib", "{profile}");
        daemon.stop();
    }
}

#[test]
fn zypper_lists_and_downloads_everything_in_each_profile() {
    let (tree, rpms) = stocked();
    for profile in PROFILES {
        let daemon = serve_profile(&tree, profile);
        daemon.until("all", |metadata| is_there(metadata, &rpms, profile));
        let Some(zypper) = Zypper::find() else { return };
        zypper.add(&daemon.url());
        let wanted: BTreeSet<String> = rpms.iter().map(Rpm::nvra).collect();
        assert_eq!(zypper.nevras(), wanted, "{profile}");
        for rpm in &rpms {
            zypper.download(&format!("{}={}-{}", rpm.name, rpm.version, rpm.release));
        }
        let downloaded = zypper.downloaded();
        let mut built: Vec<_> = rpms.iter().map(|rpm| (rpm.file_name(), rpm.build())).collect();
        built.sort();
        let names =
            |list: &[(String, Vec<u8>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&downloaded), names(&built), "{profile}");
        assert!(downloaded == built, "{profile}: every package came with its bytes");
        daemon.stop();
    }
}

#[test]
fn a_package_uploaded_a_second_earlier_is_installed() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let Some(dnf) = Dnf::find() else { return };
    for version in ["1.0", "2.0"] {
        let library = Rpm::new("hello-libs").version(version);
        let hello = Rpm::new("hello").version(version).requires("hello-libs").file("/usr/bin/hello");
        for rpm in [&library, &hello] {
            let answer = daemon.put_and_wait(&rpm.file_name(), &rpm.build());
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
        dnf.install(&daemon.url(), &format!("hello-{version}"));
        let text = fs::read_to_string(dnf.root().join("usr/bin/hello")).unwrap();
        assert!(text.contains(&format!("hello-{version}-1.noarch")), "{text}");
        assert!(dnf.root().join("usr/share/hello-libs/README").exists());
    }
    let Some(rpm) = clients::find("rpm") else { return };
    let installed = clients::output(Command::new(rpm).arg("--root").arg(dnf.root()).arg("-qa"));
    assert!(installed.contains("hello-2.0-1.noarch"), "{installed}");
}

#[test]
fn a_package_that_rpmbuild_has_built_is_uploaded_by_curl_and_installed() {
    let (Some(rpmbuild), Some(curl)) = (clients::find("rpmbuild"), clients::find("curl")) else { return };
    let tree = Tree::new();
    let spec = "Name: built\nVersion: 1.0\nRelease: 1\nSummary: S\nLicense: MIT\nBuildArch: noarch\n\
                %description\nD\n%install\nmkdir -p %{buildroot}/usr/share/built\n\
                echo works > %{buildroot}/usr/share/built/file\n%files\n/usr/share/built\n";
    let spec = tree.write_beside("built.spec", spec.as_bytes());
    let mut command = Command::new(rpmbuild);
    command
        .args(["--quiet", "-bb", "--define"])
        .arg(format!("_topdir {}", tree.beside("build").display()))
        .arg(spec);
    clients::output(&mut command);
    let built = tree.beside("build/RPMS/noarch/built-1.0-1.noarch.rpm");
    let daemon = Daemon::serve(&tree);
    let mut command = Command::new(curl);
    command.args(["-sS", "--fail", "-H", "Prefer: wait=60", "-T"]).arg(built).arg(daemon.url());
    clients::output(&mut command);
    let Some(dnf) = Dnf::find() else { return };
    dnf.install(&daemon.url(), "built");
    assert_eq!(fs::read_to_string(dnf.root().join("usr/share/built/file")).unwrap(), "works\n");
}

#[test]
fn a_dropped_package_is_installed() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let Some(dnf) = Dnf::find() else { return };
    let rpm = Rpm::new("dropped");
    tree.add(&rpm);
    daemon.until("the package", |metadata| metadata.has(&rpm.file_name()));
    dnf.install(&daemon.url(), "dropped");
    assert!(dnf.root().join("usr/share/dropped/README").exists());
}

#[test]
fn dnf_and_zypper_list_and_dnf_downloads_every_package_of_the_corpus() {
    let Some(tree) = corpus() else { return };
    let daemon = Daemon::serve(&tree);
    let present = rpms_below(tree.root());
    let known = |metadata: &Metadata| metadata.packages.len() + rejected(&daemon);
    let metadata = daemon.until("all read", |metadata| known(metadata) == present.len());
    // The corpus holds some that are broken on purpose; what is wrong with them is said.
    assert!(metadata.packages.len() >= 550, "{} are taken; {}", metadata.packages.len(), daemon.status());
    metadata.matches_tree(tree.root()).unwrap();
    if let Some(dnf) = Dnf::find() {
        // What dnf calls source packages has another architecture word, and its own list.
        let wanted: BTreeSet<String> = metadata.nevras();
        let listed = dnf.nevras(&daemon.url());
        let missing: Vec<_> = wanted.difference(&listed).collect();
        assert!(missing.is_empty(), "dnf does not list {missing:?}");
        let downloaded = dnf.download_all(&daemon.url());
        let missing: Vec<_> =
            metadata.packages.iter().filter(|package| !downloaded.contains(&package.pkgid)).collect();
        assert!(missing.is_empty(), "dnf did not download {missing:?}");
    }
    if let Some(zypper) = Zypper::find() {
        zypper.add(&daemon.url());
        assert!(!zypper.nevras().is_empty());
    }
}

/// How many files the daemon lists as rejected.
fn rejected(daemon: &Daemon) -> usize {
    let status = daemon.status();
    crate::world::daemon::rejected(&status).len()
}

#[test]
fn createrepo_c_updates_from_what_is_published_and_mergerepo_c_merges_it() {
    let (Some(createrepo), Some(mergerepo)) = (createrepo_c("createrepo_c"), createrepo_c("mergerepo_c"))
    else {
        return;
    };
    for profile in PROFILES {
        let (tree, rpms) = stocked();
        let daemon = serve_profile(&tree, profile);
        let ours = daemon.until("all", |metadata| is_there(metadata, &rpms, profile));
        daemon.stop();
        let copy = tree.beside("copy");
        crate::world::tree::cp(["-a".as_ref(), tree.root().as_os_str(), copy.as_os_str()]);
        fs::remove_dir_all(copy.join(".createrepod")).unwrap();
        // With --update it takes over the entries of unchanged packages, without reading them again.
        let command = &mut Command::new(&createrepo);
        let said = command.arg("--update").arg("--verbose").arg(&copy).output().unwrap();
        let said =
            String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(!said.to_lowercase().contains("error"), "{profile}: {said}");
        let reused = said.matches("CACHE HIT").count();
        assert_eq!(reused, rpms.len(), "{profile}: every entry is reused: {said}");
        let theirs = Metadata::from_tree(&copy).unwrap();
        assert_eq!(theirs.nevras(), ours.nevras(), "{profile}");

        let merged = tree.beside("merged");
        let mut command = Command::new(&mergerepo);
        command.arg("--all").arg("--repo").arg(tree.root()).arg("-o").arg(&merged);
        clients::output(&mut command);
        assert_eq!(Metadata::from_tree(&merged).unwrap().nevras(), ours.nevras(), "{profile}");
    }
}

#[test]
fn createrepo_c_reads_what_is_published_over_http() {
    let Some(mergerepo) = createrepo_c("mergerepo_c") else { return };
    let (tree, rpms) = stocked();
    let daemon = Daemon::serve(&tree);
    let ours = daemon.until("all", |metadata| metadata.packages.len() == rpms.len());
    let merged = tree.beside("merged");
    clients::output(
        Command::new(&mergerepo).arg("--all").arg("--repo").arg(daemon.url()).arg("-o").arg(&merged),
    );
    assert_eq!(Metadata::from_tree(&merged).unwrap().nevras(), ours.nevras());
}

#[test]
fn xmllint_reads_every_file_of_the_gzip_profile_as_a_stream() {
    let Some(xmllint) = clients::find("xmllint") else { return };
    let (tree, _) = stocked();
    let daemon = serve_profile(&tree, "gzip");
    // Several chunks, and several publications.
    for number in 0..100 {
        tree.add(&Rpm::new(format!("extra{number:03}")));
    }
    let metadata = daemon.until("all", |metadata| metadata.packages.len() == 106);
    for record in metadata.records.values() {
        assert!(record.href.ends_with(".gz"), "{}", record.href);
        clients::output(Command::new(&xmllint).args(["--stream", "--noout"]).arg(tree.path(&record.href)));
    }
    clients::output(Command::new(&xmllint).arg("--noout").arg(tree.path("repodata/repomd.xml")));
}

#[test]
fn the_strict_reader_of_these_tests_takes_what_createrepo_c_writes() {
    let Some(createrepo) = createrepo_c("createrepo_c") else { return };
    let (tree, rpms) = stocked();
    for arguments in [&["--general-compress-type=zstd"][..], &["--general-compress-type=gz"]] {
        clients::output(Command::new(&createrepo).arg("--quiet").args(arguments).arg(tree.root()));
        let metadata = Metadata::from_tree(tree.root()).unwrap();
        assert_eq!(metadata.packages.len(), rpms.len());
        metadata.matches_tree(tree.root()).unwrap();
    }
    let Some(rpm) = clients::find("rpm") else { return };
    for built in &rpms {
        let path = tree.write_beside("checked.rpm", &built.build());
        let said = clients::output(Command::new(&rpm).args(["-K", "--nosignature"]).arg(path));
        assert!(said.contains("digests OK"), "{said}");
    }
}
