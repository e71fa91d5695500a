//! repomd.xml is signed, and gpg, dnf and zypper say so; what a key that fails costs, and what a new one changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::clients::{Dnf, Gpg, Zypper};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, daemon, eventually, http};

/// Makes a key beside the tree with the program itself.
pub fn generate(tree: &Tree, name: &str, more: &[&str]) -> PathBuf {
    let path = tree.beside(name);
    let mut arguments =
        vec!["key", "generate", path.to_str().unwrap(), "--user-id", "Test <test@example.com>"];
    arguments.extend(more);
    let outcome = daemon::run(&arguments);
    assert!(outcome.status.success(), "{outcome:?}");
    path
}

pub fn export(key: &Path) -> String {
    let outcome = daemon::run(["key", "export", key.to_str().unwrap()]);
    assert!(outcome.status.success(), "{outcome:?}");
    outcome.stdout
}

/// `/rpm/` signed by this key.
pub fn signed_by(tree: &Tree, key: &Path) -> Daemon {
    Daemon::configured(tree, "", &format!("sign = {{ key = \"{}\" }}", key.display()))
}

/// The three files as they are served, over one connection each.
fn fetched(daemon: &Daemon) -> [Vec<u8>; 3] {
    ["repomd.xml", "repomd.xml.asc", "repomd.xml.key"].map(|name| {
        let answer = daemon.get(&format!("repodata/{name}"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        answer.body
    })
}

fn trouble(daemon: &Daemon, repository: &str) -> Option<String> {
    let status = daemon.status();
    let all = status["repositories"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == repository).unwrap();
    one["trouble"].as_str().map(str::to_owned)
}

#[test]
fn gpg_dnf_and_zypper_take_what_is_signed_and_refuse_what_was_tampered_with() {
    let tree = Tree::new();
    let hello = Rpm::new("hello");
    tree.add(&hello);
    // The default: what EL6 reads.
    let key = generate(&tree, "signing.asc", &[]);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = daemon::run(["key", "generate", key.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(4), "a key is not overwritten: {refused:?}");

    let daemon = signed_by(&tree, &key);
    daemon.until("hello", |metadata| metadata.has("hello-1.0-1.noarch.rpm"));
    let [repomd, signature, public] = fetched(&daemon);
    assert_eq!(String::from_utf8_lossy(&public), export(&key));
    for (name, served) in
        [("repomd.xml", &repomd), ("repomd.xml.asc", &signature), ("repomd.xml.key", &public)]
    {
        assert_eq!(&fs::read(tree.path("repodata").join(name)).unwrap(), served, "{name} on disk");
    }
    if let Some(gpg) = Gpg::find() {
        gpg.import(&public);
        let said = gpg.show_keys();
        assert!(said.contains(":4096:1:"), "RSA 4096: {said}");
        gpg.verify(&signature, &repomd).unwrap();
        let packets = gpg.list_packets(&signature);
        assert!(packets.contains("version 4") && packets.contains("digest algo 8"), "{packets}");
        let mut tampered = repomd.clone();
        tampered[60] ^= 1;
        gpg.verify(&signature, &tampered).unwrap_err();
    }
    let dot_repo = daemon.get("rpm.repo").text();
    assert!(dot_repo.contains("repo_gpgcheck=1\n"), "{dot_repo}");

    // A copy that somebody changed after it was signed.
    let copy = tree.beside("tampered");
    crate::world::tree::cp(["-a".as_ref(), tree.root().as_os_str(), copy.as_os_str()]);
    let text = String::from_utf8(repomd).unwrap();
    let (before, after) = text.split_once("<revision>").unwrap();
    fs::write(copy.join("repodata/repomd.xml"), format!("{before}<revision>9{after}")).unwrap();
    let url = format!("file://{}/", copy.display());
    let key_url = format!("file://{}/repodata/repomd.xml.key", copy.display());
    let tampered_repo =
        format!("[rpm]\nname=rpm\nbaseurl={url}\nenabled=1\ngpgcheck=0\nrepo_gpgcheck=1\ngpgkey={key_url}\n");

    if let Some(dnf) = Dnf::find() {
        let listed = dnf.checked(&dot_repo).unwrap();
        assert!(listed.contains("hello-0:1.0-1.noarch"), "{listed}");
        let why = Dnf::find().unwrap().checked(&tampered_repo).unwrap_err();
        assert!(why.to_lowercase().contains("gpg"), "{why}");
    }
    if let Some(zypper) = Zypper::find() {
        let listed = zypper.checked(&daemon.url()).unwrap();
        assert!(listed.contains("hello"), "{listed}");
        Zypper::find().unwrap().checked(&url).unwrap_err();
    }
    daemon.stop();
}

#[test]
fn an_ed25519_key_signs_for_gpg_and_dnf() {
    let tree = Tree::new();
    tree.add(&Rpm::new("hello"));
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let daemon = signed_by(&tree, &key);
    daemon.until("hello", |metadata| metadata.packages.len() == 1);
    let [repomd, signature, public] = fetched(&daemon);
    if let Some(gpg) = Gpg::find() {
        gpg.import(&public);
        assert!(gpg.show_keys().contains(":255:22:"), "{}", gpg.show_keys());
        gpg.verify(&signature, &repomd).unwrap();
    }
    if let Some(dnf) = Dnf::find() {
        assert!(dnf.checked(&daemon.get("rpm.repo").text()).unwrap().contains("hello"));
    }
}

#[test]
fn a_key_that_cannot_be_opened_breaks_its_repository_only_and_is_taken_up_once_it_is_mended() {
    let tree = Tree::new();
    tree.add(&Rpm::new("hello"));
    let passphrase = tree.write_beside("passphrase", b"correct horse\n");
    let key = generate(&tree, "signing.asc", &["--ed25519", "--passphrase", passphrase.to_str().unwrap()]);
    fs::write(&passphrase, "wrong\n").unwrap();
    fs::create_dir(tree.beside("other")).unwrap();
    let more = format!(
        "sign = {{ key = \"{}\", passphrase = \"{}\" }}\n[repository.other]\npath = \"{}\"",
        key.display(),
        passphrase.display(),
        tree.beside("other").display(),
    );
    // Ready only when every repository has published: this one never does.
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\n{more}\n",
        tree.beside("state").display(),
        tree.root().display(),
    );
    let daemon = Daemon::serve_config_unready(&daemon::write_config(&tree, &config), "/rpm/");
    let why = eventually(PATIENCE, "trouble with the key", || trouble(&daemon, "rpm"));
    assert!(why.contains("passphrase") && why.contains("does not open the signing key"), "{why}");
    eventually(PATIENCE, "the other one is published", || {
        let answer = http::send(daemon.address(), "GET", "/other/repodata/repomd.xml", &[], None);
        (answer.status == 200).then_some(())
    });
    assert_eq!(trouble(&daemon, "other"), None);
    assert_ne!(daemon.get("repodata/repomd.xml").status, 200, "nothing is published unsigned");

    fs::write(&passphrase, "correct horse\n").unwrap();
    daemon.until("hello", |metadata| metadata.packages.len() == 1);
    eventually(PATIENCE, "no more trouble", || trouble(&daemon, "rpm").is_none().then_some(()));
    let [repomd, signature, public] = fetched(&daemon);
    if let Some(gpg) = Gpg::find() {
        gpg.import(&public);
        gpg.verify(&signature, &repomd).unwrap();
    }
    daemon.stop();
}

#[test]
fn another_key_signs_anew_what_is_published_without_a_restart() {
    let Some(gpg) = Gpg::find() else { return };
    let tree = Tree::new();
    tree.add(&Rpm::new("hello"));
    let (first, second) =
        (generate(&tree, "first.asc", &["--ed25519"]), generate(&tree, "second.asc", &["--ed25519"]));
    let key = tree.beside("key.asc");
    fs::copy(&first, &key).unwrap();
    let daemon = signed_by(&tree, &key);
    daemon.until("hello", |metadata| metadata.packages.len() == 1);
    let [repomd, signature, public] = fetched(&daemon);
    assert_eq!(String::from_utf8_lossy(&public), export(&first));

    // Another file under the same name, as `mv` puts it there.
    let beside = tree.beside("key.new");
    fs::copy(&second, &beside).unwrap();
    fs::rename(beside, &key).unwrap();
    let wanted = export(&second);
    eventually(PATIENCE, "the second key signs", || {
        (daemon.get("repodata/repomd.xml.key").text() == wanted).then_some(())
    });
    let [same, renewed, public] = fetched(&daemon);
    assert_eq!(same, repomd, "repomd.xml itself stays");
    assert_ne!(renewed, signature);
    gpg.import(&public);
    gpg.verify(&renewed, &repomd).unwrap();
    assert_eq!(fs::read(tree.path("repodata/repomd.xml.asc")).unwrap(), renewed);

    // The configuration says that nobody signs any more: what we put there goes.
    let config = tree.beside("createrepod.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text: String =
        text.lines().filter(|line| !line.starts_with("sign")).map(|l| format!("{l}\n")).collect();
    daemon::write_config(&tree, &text);
    eventually(PATIENCE, "nothing is signed", || {
        (daemon.get("repodata/repomd.xml.asc").status == 404).then_some(())
    });
    assert!(!tree.path("repodata/repomd.xml.asc").exists());
    assert_eq!(daemon.get("repodata/repomd.xml").body, repomd);
}

#[test]
fn a_command_signs_and_one_that_signs_wrongly_or_not_at_all_is_not_believed() {
    let Some(gpg) = Gpg::find() else { return };
    let tree = Tree::new();
    tree.add(&Rpm::new("hello"));
    gpg.generate("Agent <agent@example.com>");
    let public = tree.write_beside("agent.pub", gpg.export().as_bytes());
    let sign = tree.write_beside(
        "sign.sh",
        format!(
            "#!/bin/sh\nexec gpg --homedir '{}' --batch --quiet --detach-sign --armor\n",
            gpg.home().display()
        )
        .as_bytes(),
    );
    fs::set_permissions(&sign, fs::Permissions::from_mode(0o755)).unwrap();
    let with = |script: &Path, public: &Path| {
        format!(
            "sign = {{ command = [\"{}\"], public_key = \"{}\", timeout = \"5s\" }}",
            script.display(),
            public.display()
        )
    };
    let daemon = Daemon::configured(&tree, "", &with(&sign, &public));
    daemon.until("hello", |metadata| metadata.packages.len() == 1);
    let [repomd, signature, _] = fetched(&daemon);
    gpg.verify(&signature, &repomd).unwrap();

    // From now on the command fails in every way it can; what is published stays.
    let other = generate(&tree, "other.asc", &["--ed25519"]);
    let other_public = tree.write_beside("other.pub", export(&other).as_bytes());
    let scripts = [
        ("#!/bin/sh\necho no card in the reader >&2; exit 3\n", "no card in the reader"),
        ("#!/bin/sh\ncat >/dev/null; echo hello\n", "not armored"),
        ("#!/bin/sh\nsleep 600 & sleep 600\n", "no signature within 5 s"),
    ];
    for (number, (script, expected)) in scripts.into_iter().enumerate() {
        fs::write(&sign, script).unwrap();
        tree.add(&Rpm::new(format!("more{number}")));
        let why =
            eventually(PATIENCE, expected, || trouble(&daemon, "rpm").filter(|why| why.contains(expected)));
        assert!(why.contains("sign.sh"), "{why}");
        assert_eq!(fetched(&daemon), [repomd.clone(), signature.clone(), fetched(&daemon)[2].clone()]);
    }
    daemon.stop();
    let sleeping = Command::new("pgrep").args(["-f", "^sleep 600$"]).output();
    if let Ok(found) = sleeping {
        assert!(found.stdout.is_empty(), "what the command started was ended with it");
    }
    // Signed by a key that is not the one clients are told of.
    let sign_by_gpg = format!(
        "#!/bin/sh\nexec gpg --homedir '{}' --batch --quiet --detach-sign --armor\n",
        gpg.home().display()
    );
    fs::write(&sign, sign_by_gpg).unwrap();
    let tree2 = Tree::new();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\n{}\n",
        tree2.beside("state").display(),
        tree2.root().display(),
        with(&sign, &other_public)
    );
    let daemon = Daemon::serve_config_unready(&daemon::write_config(&tree2, &config), "/rpm/");
    let why = eventually(PATIENCE, "the wrong key is noticed", || trouble(&daemon, "rpm"));
    assert!(why.contains("not in the keyring") || why.contains("not a signature of repomd.xml"), "{why}");
}

#[test]
fn a_signature_that_is_not_that_of_repomd_xml_is_made_again_at_the_start_and_while_we_run() {
    let Some(gpg) = Gpg::find() else { return };
    let tree = Tree::new();
    tree.add(&Rpm::new("hello"));
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let daemon = signed_by(&tree, &key);
    daemon.until("hello", |metadata| metadata.packages.len() == 1);
    let [repomd, signature, public] = fetched(&daemon);
    gpg.import(&public);
    daemon.kill();
    // As after a crash between the two renames: the signature of another repomd.xml.
    for wrong in [Some("-----BEGIN PGP SIGNATURE-----\n\nnone\n"), None] {
        match wrong {
            Some(text) => fs::write(tree.path("repodata/repomd.xml.asc"), text).unwrap(),
            None => fs::remove_file(tree.path("repodata/repomd.xml.asc")).unwrap(),
        }
        let daemon = Daemon::serve_config(&tree.beside("createrepod.toml"), "/rpm/");
        let [again, renewed, _] = fetched(&daemon);
        assert_eq!(again, repomd, "nothing else was published");
        gpg.verify(&renewed, &repomd).unwrap();
        eventually(PATIENCE, "the signature on disk is right", || {
            let on_disk = fs::read(tree.path("repodata/repomd.xml.asc")).ok()?;
            gpg.verify(&on_disk, &repomd).ok()
        });
        // And while we run, too.
        fs::write(tree.path("repodata/repomd.xml.asc"), "wrong").unwrap();
        eventually(PATIENCE, "the signature on disk is mended", || {
            let on_disk = fs::read(tree.path("repodata/repomd.xml.asc")).ok()?;
            gpg.verify(&on_disk, &repomd).ok()
        });
        daemon.stop();
    }
    assert_ne!(signature, Vec::<u8>::new());
}

#[test]
fn index_signs_once_without_a_daemon() {
    let tree = Tree::new();
    tree.add(&Rpm::new("hello"));
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let outcome = daemon::run(["index", tree.root().to_str().unwrap(), "--sign-key", key.to_str().unwrap()]);
    assert!(outcome.status.success(), "{outcome:?}");
    let read = |name: &str| fs::read(tree.path("repodata").join(name)).unwrap();
    let Some(gpg) = Gpg::find() else { return };
    gpg.import(&read("repomd.xml.key"));
    gpg.verify(&read("repomd.xml.asc"), &read("repomd.xml")).unwrap();
}
