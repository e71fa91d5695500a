//! `config check`: what is written well and is of no use all the same.

use std::fs;

use crate::world::Tree;
use crate::world::daemon::{run, write_config};

/// The warnings, and whether it is fine otherwise.
fn check(tree: &Tree, text: &str) -> (Option<i32>, String, String) {
    let file = write_config(tree, text);
    let outcome = run(["config".as_ref(), "check".as_ref(), "--config".as_ref(), file.as_os_str()]);
    (outcome.status.code(), outcome.stdout, outcome.stderr)
}

#[test]
fn keys_are_tried_and_directories_looked_at() {
    let tree = Tree::new();
    let at = |name: &str| tree.beside(name).display().to_string();
    let [right, wrong, file] = ["right", "wrong", "file"].map(|name| {
        fs::write(tree.beside(name), format!("{name}\n")).unwrap();
        at(name)
    });
    let key = at("signing.asc");
    let made = run(["key", "generate", &key, "--ed25519", "--passphrase", &right]);
    assert!(made.status.success(), "{}", made.stderr);
    let public = at("public.asc");
    fs::write(&public, run(["key", "export", &key]).stdout).unwrap();
    fs::create_dir(tree.beside("keyring")).unwrap();
    fs::write(tree.beside("keyring/README"), "ours").unwrap();
    let path = tree.root().display();
    for (lines, told) in [
        (format!("path = \"{path}\"\nsign = {{ key = \"{key}\", passphrase = \"{right}\" }}"), None),
        (
            format!("path = \"{path}\"\nsign = {{ key = \"{key}\", passphrase = \"{wrong}\" }}"),
            Some("does not open the signing key"),
        ),
        (format!("path = \"{path}\"\nsign = {{ key = \"{key}\" }}"), Some("is protected by a passphrase")),
        (format!("path = \"{path}\"\nsign = {{ key = \"{public}\" }}"), Some("it is the public half")),
        (format!("path = \"{file}\""), Some("is no directory")),
        (
            format!("path = \"{path}\"\nverify = \"signature\"\nkeyring = \"{}\"", at("keyring")),
            Some("holds no key that can be used"),
        ),
        (
            format!("path = \"{path}\"\nadditional_metadata = {{ groups = \"a.xml\" }}"),
            Some("did you mean \"group\"?"),
        ),
    ] {
        let (code, out, err) = check(&tree, &format!("[repository.rpm]\n{lines}\n"));
        assert_eq!(code, Some(0), "{lines}: {out}{err}");
        match told {
            None => assert!(err.is_empty(), "{lines}: {err}"),
            Some(told) => assert!(err.contains(told) && err.contains("createrepod.toml:"), "{lines}: {err}"),
        }
    }
}

#[test]
fn what_is_served_by_nobody_is_told() {
    let tree = Tree::new();
    let (code, _, err) = check(&tree, "# nothing yet\n");
    assert!(code == Some(0) && err.contains("nothing is served"), "{err}");
    fs::create_dir(tree.beside("repos.d")).unwrap();
    for name in ["x.conf", "README", "old.toml.rpmsave", ".hidden"] {
        fs::write(tree.beside("repos.d").join(name), "").unwrap();
    }
    let inner = tree.beside("inner");
    fs::create_dir(&inner).unwrap();
    let text = format!(
        "[repository.a]\npath = \"{}\"\n[repository.b]\npath = \"{}\"\nurl = \"/a/b/\"\n\
         [grant.g]\nusers = [\"anna\"]\nrepositories = [\"c\"]\nscope = [\"read\"]\n",
        tree.root().display(),
        inner.display()
    );
    let (code, _, err) = check(&tree, &text);
    assert_eq!(code, Some(0), "{err}");
    for told in [
        "repos.d/x.conf: it is not read: only files whose names end in .toml are",
        "url: /a/b/ lies below /a/: a folder b/ of repository \"a\" could not be fetched",
        "repositories: no repository is called \"c\"",
    ] {
        assert!(err.contains(told), "{told}: {err}");
    }
    assert_eq!(err.lines().count(), 3, "{err}");
}

#[test]
fn a_token_for_a_repository_that_is_not_there_is_told_so() {
    let tree = Tree::new();
    fs::create_dir_all(tree.beside("trees/el9")).unwrap();
    let text = |more: &str| {
        format!(
            "[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\n{more}",
            tree.beside("state").display(),
            tree.root().display()
        )
    };
    let add = |name: &str, repository: &str, more: &str| {
        let file = write_config(&tree, &text(more));
        let words = ["token", "add", name, "--scope", "read", "--repository", repository, "--config"];
        let outcome = run(words.into_iter().chain([file.to_str().unwrap()]));
        (outcome.status.code(), outcome.stderr)
    };
    let trees =
        format!("[tree.el]\npath = \"{}\"\npattern = \"el{{release}}\"\n", tree.beside("trees").display());
    let (code, said) = add("a", "rpn", "");
    assert!(
        code == Some(3) && said.contains("no repository is called \"rpn\"; did you mean \"rpm\"?"),
        "{said}"
    );
    let (code, said) = add("b", "nosuch", &trees);
    assert!(code == Some(0) && said.contains("warning: no repository is called \"nosuch\" now"), "{said}");
    let (code, said) = add("c", "el-*", "");
    assert!(
        code == Some(0) && said.contains("warning: no repository is called as \"el-*\" says now"),
        "{said}"
    );
    let (code, said) = add("d", "el-el9,rpm,*", &trees);
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
}
