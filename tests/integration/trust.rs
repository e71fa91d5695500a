//! `verify = "signature"`: only what a key of the keyring signed, all of it, gets in, however it comes.

mod today;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::world::clients::{self, Gpg};
use crate::world::daemon::rejected;
use crate::world::header::{HeaderWriter, MAIN_REGION, SIGNATURE_REGION, package, signature};
use crate::world::metadata::digest;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

/// A repository that takes what the keys in `keyring/` beside its tree have signed.
fn trusting(tree: &Tree) -> Daemon {
    let keyring = tree.beside("keyring");
    Daemon::configured(
        tree,
        // A daemon that has nothing to do with it may listen at the usual place.
        "control = \"\"",
        &format!("verify = \"signature\"\nkeyring = \"{}\"\noverwrite = \"allow\"", keyring.display()),
    )
}

fn put_key(tree: &Tree, name: &str, key: &str) {
    fs::create_dir_all(tree.beside("keyring")).unwrap();
    tree.write_beside(format!("keyring/{name}"), key.as_bytes());
}

impl Gpg {
    /// A binary detached signature as of this time, `YYYYMMDDTHHMMSS`.
    fn sign_at(&self, time: &str, bytes: &[u8]) -> Vec<u8> {
        let file = self.home().join("to-sign");
        fs::write(&file, bytes).unwrap();
        let out = self.home().join("to-sign.sig");
        let _ = fs::remove_file(&out);
        let mut command = self.command();
        command.arg(format!("--faked-system-time={time}!")).arg("--output").arg(&out);
        clients::output(command.args(["--digest-algo", "SHA256", "--detach-sign"]).arg(file));
        fs::read(out).unwrap()
    }

    fn at(&self, time: &str) -> Command {
        let mut command = self.command();
        command.arg(format!("--faked-system-time={time}!"));
        command
    }

    fn fingerprint(&self) -> String {
        let keys = self.show_keys();
        let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }
}

/// What of a package is signed.
enum Signed {
    Header,
    Whole,
    Nothing,
}

/// A package whose header may hold the payload's digest; `payload` is what it is built with.
fn built(
    gpg: &Gpg,
    name: &str,
    time: &str,
    signed: Signed,
    with_digest: bool,
    payload: &[u8],
) -> [Vec<u8>; 3] {
    let mut main = HeaderWriter::minimal(name);
    if with_digest {
        main.strings(5092, &[digest("sha256", payload).unwrap().as_bytes()]).int32(5093, &[8]);
    }
    let main = main.finish(Some(MAIN_REGION));
    let mut header = signature(&main, payload);
    match signed {
        Signed::Header => _ = header.binary(268, &gpg.sign_at(time, &main)),
        Signed::Whole => _ = header.binary(1002, &gpg.sign_at(time, &[&main[..], payload].concat())),
        Signed::Nothing => {}
    }
    [header.finish(Some(SIGNATURE_REGION)), main, payload.to_vec()]
}

fn joined([signature, main, payload]: &[Vec<u8>; 3]) -> Vec<u8> {
    package(signature, main, payload)
}

const NOW: &str = "20240101T000000";

#[test]
fn what_is_signed_gets_in_and_what_is_not_is_refused_with_its_reason_both_ways() {
    let (Some(gpg), Some(stranger)) = (Gpg::find(), Gpg::find()) else { return };
    let tree = Tree::new();
    for (gpg, time) in [(&gpg, "20200101T000000"), (&stranger, "20200101T000000")] {
        clients::output(gpg.at(time).args([
            "--quick-generate-key",
            "P <p@example.com>",
            "rsa2048",
            "sign",
            "never",
        ]));
    }
    put_key(&tree, "packager.asc", &gpg.export());
    let daemon = trusting(&tree);
    let good = [
        ("header", joined(&built(&gpg, "header", NOW, Signed::Header, true, b"payload"))),
        ("whole", joined(&built(&gpg, "whole", NOW, Signed::Whole, false, b"payload"))),
        ("both", joined(&built(&gpg, "both", NOW, Signed::Whole, true, b"payload"))),
        // Comes in many blocks, which are summed side by side.
        ("large", joined(&built(&gpg, "large", NOW, Signed::Whole, true, &vec![7; 3_000_000]))),
    ];
    // The payload is another, and every unsigned digest says that this is right.
    let swapped = |name: &str, signed, with_digest| {
        let [_, main, _] = built(&gpg, name, NOW, Signed::Nothing, with_digest, b"payload");
        let mut header = signature(&main, b"hostile");
        match signed {
            Signed::Header => _ = header.binary(268, &gpg.sign_at(NOW, &main)),
            _ => _ = header.binary(1002, &gpg.sign_at(NOW, &[&main[..], b"payload"].concat())),
        }
        package(&header.finish(Some(SIGNATURE_REGION)), &main, b"hostile")
    };
    let mut tampered = built(&gpg, "tampered", NOW, Signed::Header, true, b"payload");
    let other = built(&gpg, "pampered", NOW, Signed::Header, true, b"payload");
    tampered[0] = {
        let mut header = signature(&tampered[1], b"payload");
        header.binary(268, &gpg.sign_at(NOW, &other[1]));
        header.finish(Some(SIGNATURE_REGION))
    };
    let bad = [
        (
            "unsigned",
            joined(&built(&gpg, "unsigned", NOW, Signed::Nothing, true, b"payload")),
            "it is not signed",
        ),
        (
            "stranger",
            joined(&built(&stranger, "stranger", NOW, Signed::Header, true, b"payload")),
            "which is not in the keyring",
        ),
        ("tampered", joined(&tampered), "made for other bytes"),
        (
            "headeronly",
            joined(&built(&gpg, "headeronly", NOW, Signed::Header, false, b"payload")),
            "covers the header only",
        ),
        ("swapped1", swapped("swapped1", Signed::Header, false), "covers the header only"),
        ("swapped2", swapped("swapped2", Signed::Header, true), "sha256 of its payload"),
        ("swapped3", swapped("swapped3", Signed::Whole, false), "made for other bytes"),
    ];
    for (name, bytes) in &good {
        let answer = daemon.put_and_wait(&format!("{name}-1.0-1.noarch.rpm"), bytes);
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        tree.write(format!("dropped/{name}.rpm"), bytes);
    }
    for (name, bytes, why) in &bad {
        let answer = daemon.put_and_wait(&format!("{name}-1.0-1.noarch.rpm"), bytes);
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert!(answer.text().contains(why), "{name}: {}", answer.text());
        assert!(!tree.path(format!("{name}-1.0-1.noarch.rpm")).exists(), "{name}");
        tree.write(format!("dropped/{name}.rpm"), bytes);
    }
    daemon.until("what is good", |metadata| metadata.packages.len() == 2 * good.len());
    let listed = eventually(PATIENCE, "what is bad is listed", || {
        let listed = rejected(&daemon.status());
        (listed.len() == bad.len()).then_some(listed)
    });
    for (name, _, why) in &bad {
        let at = format!("dropped/{name}.rpm");
        let (_, reason) = listed.iter().find(|(location, _)| *location == at).unwrap();
        assert!(reason.contains(why), "{name}: {reason}");
    }
    // Whoever trusts the stranger from now on takes what was rejected before …
    put_key(&tree, "stranger.asc", &stranger.export());
    daemon.until("the stranger's", |metadata| metadata.has("dropped/stranger.rpm"));
    // … and what a key signed that is trusted no more goes.
    fs::remove_file(tree.beside("keyring/packager.asc")).unwrap();
    daemon.until_exactly(&["dropped/stranger.rpm"]);
    daemon.stop();
}

#[test]
fn expiry_and_revocation_are_judged_at_the_time_of_signing() {
    let Some(gpg) = Gpg::find() else { return };
    let tree = Tree::new();
    clients::output(gpg.at("20200101T000000").args([
        "--quick-generate-key",
        "P <p@example.com>",
        "ed25519",
        "sign",
        "never",
    ]));
    let early = joined(&built(&gpg, "early", "20200601T000000", Signed::Header, true, b"x"));
    let late = joined(&built(&gpg, "late", "20220601T000000", Signed::Header, true, b"x"));
    let fingerprint = gpg.fingerprint();
    let certificate = gpg.export();

    // Expired in 2021.
    clients::output(gpg.at("20200701T000000").args(["--quick-set-expire", &fingerprint, "20210101T000000"]));
    put_key(&tree, "key", &gpg.export());
    let daemon = trusting(&tree);
    assert_eq!(daemon.put_and_wait("early.rpm", &early).status, 201);
    let answer = daemon.put("late.rpm", &late);
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("had expired when it signed (on 2021-01-01)"), "{}", answer.text());

    // Revoked in 2021 as no longer used; and then as stolen.
    // An old copy of the key takes nothing of that back.
    put_key(&tree, "a-copy", &certificate);
    put_key(&tree, "z-copy", &certificate);
    for (reason, early_status, why) in [("3", 200, "had been revoked"), ("1", 422, "stolen")] {
        let revoked = Gpg::find().unwrap();
        for entry in fs::read_dir(gpg.home().join("private-keys-v1.d")).unwrap() {
            let entry = entry.unwrap();
            fs::create_dir_all(revoked.home().join("private-keys-v1.d")).unwrap();
            fs::copy(entry.path(), revoked.home().join("private-keys-v1.d").join(entry.file_name())).unwrap();
        }
        revoked.import(certificate.as_bytes());
        let revocation = revoke(&revoked, &fingerprint, reason);
        revoked.import(&revocation);
        put_key(&tree, "key", &revoked.export());
        eventually(PATIENCE, why, || {
            let answer = daemon.put("late.rpm", &late);
            // 503: the file of keys is being written just now.
            assert!(matches!(answer.status, 422 | 503), "{}", answer.text());
            answer.text().contains(why).then_some(())
        });
        assert_eq!(daemon.put("early.rpm", &early).status, early_status, "{why}");
    }
    daemon.until("nothing", |metadata| metadata.packages.is_empty());
}

/// A revocation certificate of 2021, for the reason that gpg's menu has under this number.
fn revoke(gpg: &Gpg, fingerprint: &str, reason: &str) -> Vec<u8> {
    use std::io::Write;
    let mut command = Command::new("gpg");
    command.env("LC_ALL", "C.UTF-8").arg("--homedir").arg(gpg.home());
    command.args(["--no-tty", "--command-fd", "0", "--pinentry-mode", "loopback", "--passphrase", ""]);
    command.args(["--faked-system-time=20210601T000000!", "--gen-revoke", fingerprint]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("y\n{reason}\n\ny\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"-----BEGIN PGP"), "no revocation certificate");
    output.stdout
}

#[test]
fn packages_that_rpmsign_has_signed_get_in() {
    let (Some(gpg), Some(rpmsign)) = (Gpg::find(), clients::find("rpmsign")) else { return };
    let tree = Tree::new();
    gpg.generate("Packager <packager@example.com>");
    put_key(&tree, "packager.asc", &gpg.export());
    let daemon = trusting(&tree);
    for (name, arguments) in [("header", &[][..]), ("whole", &["--rpmv3"])] {
        let rpm = Rpm::new(name);
        let path: PathBuf = tree.write_beside(rpm.file_name(), &rpm.build());
        let mut command = Command::new(&rpmsign);
        command
            .args([
                "--define",
                "_gpg_name Packager",
                "--define",
                "_gpg_sign_cmd_extra_args --batch --pinentry-mode loopback",
            ])
            .arg("--define")
            .arg(format!("__gpg {}", gpg.program().display()))
            .arg("--define")
            .arg(format!("_gpg_path {}", gpg.home().display()))
            .args(arguments)
            .arg("--addsign")
            .arg(&path);
        clients::output(&mut command);
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() > rpm.build().len(), "{name} is signed");
        let answer = daemon.put_and_wait(&rpm.file_name(), &bytes);
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        let answer = daemon.put(&format!("unsigned-{name}.rpm"), &rpm.build());
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
    }
    daemon.until("both", |metadata| metadata.packages.len() == 2);

    // The .repo file has clients check the same, by keys they get here, and these are the right ones.
    let dot_repo = daemon.get("rpm.repo").text();
    assert!(dot_repo.contains("gpgcheck=1\n"), "{dot_repo}");
    let key_url = format!("{}-/packages.key", daemon.url());
    assert!(dot_repo.contains(&format!("gpgkey={key_url}\n")), "{dot_repo}");
    let keys = daemon.get("-/packages.key");
    assert_eq!(keys.status, 200, "{}", keys.text());
    let checker = Gpg::find().unwrap();
    checker.import(&keys.body);
    assert_eq!(checker.fingerprint(), gpg.fingerprint());
    let Some(dnf) = clients::Dnf::find() else { return };
    let listed = dnf.checked(&dot_repo).unwrap();
    assert_eq!(listed.lines().filter(|line| line.ends_with("-0:1.0-1.noarch")).count(), 2, "{listed}");
}
