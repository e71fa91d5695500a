//! Whose word counts is asked when it matters, by the keyring of that moment.

use std::fs;
use std::io::Write as _;

use super::{NOW, Signed, built, joined, put_key, revoke, trusting};
use crate::world::clients::{self, Gpg};
use crate::world::daemon::{configuration, program};
use crate::world::header::{HeaderWriter, MAIN_REGION, SIGNATURE_REGION, package, signature};
use crate::world::metadata::digest;
use crate::world::{Daemon, PATIENCE, Tree, eventually, http};

/// Somebody with a key from 2020 on.
fn person() -> Option<Gpg> {
    let gpg = Gpg::find()?;
    clients::output(gpg.at("20200101T000000").args([
        "--quick-generate-key",
        "P <p@example.com>",
        "rsa2048",
        "sign",
        "never",
    ]));
    Some(gpg)
}

fn signed(gpg: &Gpg, name: &str) -> Vec<u8> {
    joined(&built(gpg, name, NOW, Signed::Header, true, b"payload"))
}

fn verify(config: &std::path::Path, more: &[&str]) -> (Option<i32>, String) {
    let output = program().args(["verify", "rpm", "--config"]).arg(config).args(more).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_key_that_is_taken_away_gets_nothing_in_that_was_on_its_way() {
    let (Some(alice), Some(bob)) = (person(), person()) else { return };
    let tree = Tree::new();
    put_key(&tree, "alice.asc", &alice.export());
    put_key(&tree, "bob.asc", &bob.export());
    let daemon = trusting(&tree);
    let batch = |name: &str, by: &Gpg| {
        let path = daemon.at(&format!("{name}.rpm"));
        let held = [("Createrepod-Batch", "b")];
        let answer = http::send(daemon.address(), "PUT", &path, &held, Some(&signed(by, name)));
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    let commit = || {
        let path = "/-/api/v1/repositories/rpm/batches/b/commit";
        http::send(daemon.address(), "POST", path, &[], Some(&[]))
    };
    batch("waiting-alice", &alice);
    batch("waiting-bob", &bob);
    assert_eq!(daemon.put_and_wait("published-bob.rpm", &signed(&bob, "published-bob")).status, 201);
    // Long enough to be staged while it comes.
    let late = joined(&built(&bob, "late-bob", NOW, Signed::Header, true, &vec![7; 3_000_000]));
    let (first, last) = late.split_at(late.len() - 1);
    let mut uploading = http::begin_upload(daemon.address(), &daemon.at("late-bob.rpm"), late.len(), first);
    eventually(PATIENCE, "the upload has begun", || daemon.stages_in(&tree).then_some(()));

    fs::remove_file(tree.beside("keyring/bob.asc")).unwrap();
    daemon.until_exactly(&[]);
    uploading.write_all(last).unwrap();
    let answer = http::receive(uploading, "PUT").unwrap();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("not in the keyring"), "{}", answer.text());
    let refused = commit();
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("waiting-bob.rpm") && refused.text().contains("not in the keyring"));
    assert!(!tree.path("waiting-alice.rpm").exists(), "all or nothing");

    // Who is trusted again gets it in.
    put_key(&tree, "bob.asc", &bob.export());
    daemon.until_exactly(&["published-bob.rpm"]);
    assert_eq!(commit().status, 200);
    daemon.until_exactly(&["published-bob.rpm", "waiting-alice.rpm", "waiting-bob.rpm"]);
    // What is renamed is read again, and stays.
    let moved = daemon.request(
        "MOVE",
        "waiting-bob.rpm",
        &[("Destination", &format!("{}moved.rpm", daemon.url()))],
        None,
    );
    assert_eq!(moved.status, 201, "{}", moved.text());
    daemon.until_exactly(&["moved.rpm", "published-bob.rpm", "waiting-alice.rpm"]);
    daemon.stop();

    // While nobody serves it, the keyring changes, too.
    let config = tree.beside("createrepod.toml");
    assert_eq!(verify(&config, &[]).0, Some(0), "{}", verify(&config, &[]).1);
    fs::remove_file(tree.beside("keyring/bob.asc")).unwrap();
    let (code, said) = verify(&config, &[]);
    assert_eq!(code, Some(1), "{said}");
    for name in ["moved.rpm", "published-bob.rpm"] {
        assert!(said.contains(&format!("untrusted: {name}: it is published, and no key")), "{said}");
    }
    assert!(!said.contains("waiting-alice"), "{said}");
    let (code, said) = verify(&config, &["--repair"]);
    assert_eq!(code, Some(0), "{said}");
    let daemon = Daemon::serve_config(&config, "/rpm/");
    daemon.until_exactly(&["waiting-alice.rpm"]);
    daemon.stop();
}

#[test]
fn a_revocation_counts_whatever_its_file_is_called() {
    let Some(gpg) = person() else { return };
    let tree = Tree::new();
    put_key(&tree, "m.asc", &gpg.export());
    let fingerprint = gpg.fingerprint();
    let package = signed(&gpg, "a");
    let daemon = trusting(&tree);
    assert_eq!(daemon.put_and_wait("a.rpm", &package).status, 201);
    let clean = |names: &[&str]| {
        names.iter().for_each(|name| fs::remove_file(tree.beside("keyring").join(name)).unwrap());
        daemon.until_exactly(&["a.rpm"]);
    };
    let hard = |what: &str| {
        daemon.until(what, |metadata| metadata.packages.is_empty());
        let answer = daemon.put("b.rpm", &signed(&gpg, "b"));
        assert_eq!(answer.status, 422, "{what}: {}", answer.text());
        assert!(answer.text().contains("was revoked"), "{what}: {}", answer.text());
    };
    // "No reason", gpg's default: nobody knows since when others have the key.
    let certificate = revoke(&gpg, &fingerprint, "0");
    let revoked = Gpg::find().unwrap();
    revoked.import(gpg.export().as_bytes());
    revoked.import(&certificate);
    for beside in ["a.asc", "z.asc"] {
        put_key(&tree, beside, &revoked.export());
        hard(beside);
        clean(&[beside]);
    }
    // The certificate of revocation alone.
    put_key(&tree, "rev.asc", &String::from_utf8(certificate).unwrap());
    hard("the certificate alone");
    clean(&["rev.asc"]);
    // As superseded, later than what it has signed: that stays.
    let superseded = String::from_utf8(revoke(&gpg, &fingerprint, "2")).unwrap();
    put_key(&tree, "rev.asc", &superseded);
    eventually(PATIENCE, "new signatures are refused", || {
        let late = joined(&built(&gpg, "late", "20240601T000000", Signed::Header, true, b"x"));
        let answer = daemon.put("late.rpm", &late);
        (answer.status == 422 && answer.text().contains("had been revoked when it signed")).then_some(())
    });
    daemon.stop();
}

#[test]
fn what_gpg_and_rpm_do_not_take_is_not_taken() {
    let Some(gpg) = person() else { return };
    let tree = Tree::new();
    put_key(&tree, "key.asc", &gpg.export());
    let daemon = trusting(&tree);
    let with = |name: &str, options: &[&str]| {
        let mut main = HeaderWriter::minimal(name);
        main.strings(5092, &[digest("sha256", b"payload").unwrap().as_bytes()]).int32(5093, &[8]);
        let main = main.finish(Some(MAIN_REGION));
        let (file, out) = (gpg.home().join("to-sign"), gpg.home().join("to-sign.sig"));
        fs::write(&file, &main).unwrap();
        let mut command = gpg.command();
        command.arg("--yes").args(options).arg("--output").arg(&out).arg("--detach-sign").arg(file);
        clients::output(&mut command);
        let mut header = signature(&main, b"payload");
        header.binary(268, &fs::read(out).unwrap());
        package(&header.finish(Some(SIGNATURE_REGION)), &main, b"payload")
    };
    let past = "--faked-system-time=20240101T000000!";
    for (name, options, why) in [
        ("plain", &[past][..], None),
        ("note", &[past, "--sig-notation", "x@example.com=yes"], None),
        ("until-later", &["--default-sig-expire", "100y"], None),
        ("critical", &[past, "--sig-notation", "!x@example.com=yes"], Some("a condition that is not known")),
        ("expired", &[past, "--default-sig-expire", "1d"], Some("counted only until 2024-01-02")),
        ("future", &["--faked-system-time=20800101T000000!"], Some("is in the future")),
    ] {
        let answer = daemon.put(&format!("{name}.rpm"), &with(name, options));
        match why {
            None => assert_eq!(answer.status, 201, "{name}: {}", answer.text()),
            Some(why) => {
                assert_eq!(answer.status, 422, "{name}: {}", answer.text());
                assert!(answer.text().contains(why), "{name}: {}", answer.text());
            }
        }
    }
    daemon.stop();
}

#[test]
fn a_file_that_is_no_key_is_named_and_the_others_count() {
    let (Some(alice), Some(bob)) = (person(), person()) else { return };
    let tree = Tree::new();
    put_key(&tree, "README", "keys of our builders");
    let lines = format!("verify = \"signature\"\nkeyring = \"{}\"", tree.beside("keyring").display());
    let config = configuration(&tree, "", &lines);
    // Without any key nothing can be taken, and that is said.
    let daemon = Daemon::serve_config_unready(&config, "/rpm/");
    let answer = daemon.put("a.rpm", &signed(&alice, "a"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("keyring"), "{}", answer.text());
    let words = "holds no key that can be used";
    eventually(PATIENCE, "it is told", || daemon.log().contains(words).then_some(()));

    put_key(&tree, "alice.asc", &alice.export());
    put_key(&tree, "bob.asc", &bob.export());
    eventually(PATIENCE, "the keys are taken up", || {
        (daemon.put_and_wait("a.rpm", &signed(&alice, "a")).status == 201).then_some(())
    });
    assert_eq!(daemon.get("-/packages.key").status, 200);
    let status = daemon.status();
    let warning = status["repositories"][0]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("README") && warning.contains("no OpenPGP public key"), "{warning}");
    assert!(daemon.log().contains("does without"), "{}", daemon.log());
    let output = program().args(["config", "check", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("README") && output.status.success(), "{said}");

    // A key that was good and is half-written takes nothing away.
    let bytes = bob.export();
    put_key(&tree, "bob.asc", &bytes[..bytes.len() / 2]);
    eventually(PATIENCE, "the half key is named", || {
        let status = daemon.status();
        let trouble = status["repositories"][0]["trouble"].as_str()?.to_owned();
        (trouble.contains("bob.asc") && trouble.contains("any more")).then_some(())
    });
    assert_eq!(daemon.metadata().hrefs(), ["a.rpm"]);
    assert_eq!(daemon.put("b.rpm", &signed(&bob, "b")).status, 503);
    put_key(&tree, "bob.asc", &bytes);
    eventually(PATIENCE, "it is whole again", || {
        (daemon.put_and_wait("b.rpm", &signed(&bob, "b")).status == 201).then_some(())
    });
    daemon.until_exactly(&["a.rpm", "b.rpm"]);
    daemon.stop();
}
