//! What users of other tools reported in public, each as a small script in `tests/cases`: it prints `RIGHT` or `WRONG` lines.
//!
//! Each runs in mount and network namespaces of its own, so that ports and mounts are nobody else's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::clients::find;
use crate::world::skipped;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// Runs the case `name`; `clients` are the programs that its script calls.
fn is_right(name: &str, clients: &[&str]) {
    if ["unshare", "ip"].iter().chain(clients).map(|client| find(client)).any(|found| found.is_none()) {
        return;
    }
    let apart = |flags: &str, script: &str| {
        let mut command = Command::new("unshare");
        command.args([flags, "--fork", "--kill-child", "bash", "-c", script]);
        command
    };
    let flags = ["-mpn", "-Urmpn"];
    let possible = |flags: &&str| {
        let tried = apart(flags, "mount -t tmpfs none /mnt && ip link set lo up").output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(flags) = flags.into_iter().find(possible) else {
        let required = std::env::var_os("CREATEREPOD_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(!required, "namespaces are not allowed here and CREATEREPOD_REQUIRE_CLIENTS=1");
        return skipped(format!("cases::{name}: namespaces are not allowed here"));
    };
    let home = tempfile::TempDir::new().unwrap();
    let run = apart(flags, "ip link set lo up && mount -t proc proc /proc && exec bash \"$CASE/run.sh\"")
        .env("CASE", directory().join(name))
        .env("B", env!("CARGO_BIN_EXE_createrepod"))
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let right = said.lines().filter(|line| line.starts_with("RIGHT")).count();
    assert!(right > 0 && !said.contains("WRONG"), "{name}:\n{said}\n{errors}");
}

macro_rules! cases {
    ($($test:ident: $name:literal, $clients:expr;)*) => {
        $(#[test] fn $test() { is_right($name, &$clients); })*
        const CASES: &[&str] = &[$($name),*];
    };
}

cases! {
    base_url_with_a_path: "base-url-with-a-path", ["curl", "nginx", "rclone"];
    comps_that_clients_read: "comps-that-clients-read", [];
    createrepo_mergerepo_modifyrepo: "createrepo-mergerepo-modifyrepo", [];
    default_acl: "default-acl", ["curl", "setfacl"];
    directories_called_like_ours: "directories-called-like-ours", ["curl", "zstd"];
    dot_repo_for_zypper: "dot-repo-for-zypper", ["curl", "zypper"];
    dot_segments: "dot-segments", ["curl"];
    keyring_with_a_file_it_cannot_use: "keyring-with-a-file-it-cannot-use", ["curl", "gpg", "rpmsign"];
    latest_link: "latest-link", ["curl", "zstd"];
    log_reader_gone: "log-reader-gone", ["curl"];
    modules_control_characters: "modules-control-characters", ["dnf"];
    move_across_file_systems: "move-across-file-systems", ["curl"];
    nested_url_hides_packages: "nested-url-hides-packages", ["curl", "zstd"];
    one_repository_in_trouble_takes_all_down: "one-repository-in-trouble-takes-all-down", ["curl", "haproxy"];
    p521_tls_key: "p521-tls-key", ["openssl"];
    path_is_a_symlink_that_is_switched: "path-is-a-symlink-that-is-switched", ["curl"];
    setgid_tree_under_the_unit: "setgid-tree-under-the-unit", ["curl", "gcc"];
    treeinfo_is_hidden: "treeinfo-is-hidden", ["curl"];
    x_checksum_headers: "x-checksum-headers", ["curl"];
    xml_not_well_formed: "xml-not-well-formed", ["python3", "zypper"];
}

#[test]
fn every_case_is_run() {
    let there: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("run.sh").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, CASES.iter().map(|name| (*name).to_owned()).collect());
}
