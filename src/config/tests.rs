use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::{AskAbout, Proxy};
use super::problem::{Origin, Problems};
use super::resolve::{Resolved, Source, Surroundings, directory, resolve};
use super::*;
use crate::rights::{Grant, Pattern, Permission};

fn source(file: &str, text: &str) -> Source {
    Source { file: file.into(), text: text.into() }
}

struct World {
    environment: Vec<(&'static str, &'static str)>,
    links: Vec<(&'static str, &'static str)>,
    listen: Vec<Listen>,
    serves: bool,
    asked: RefCell<Vec<String>>,
}

impl World {
    fn empty() -> Self {
        Self { environment: vec![], links: vec![], listen: vec![], serves: true, asked: RefCell::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let environment = |name: &str| {
            self.asked.borrow_mut().push(name.into());
            self.environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        let canonical = |path: &Path| {
            let link = self.links.iter().find_map(|(from, to)| Some((path.strip_prefix(from).ok()?, to)));
            link.map_or_else(|| path.to_owned(), |(rest, to)| Path::new(to).join(rest))
        };
        act(&Surroundings {
            environment: &environment,
            canonical: &canonical,
            listen: &self.listen,
            serves: self.serves,
        })
    }
}

fn read(text: &str) -> Result<Resolved, Problems> {
    World::empty().with(|s| resolve(Some(&source("/etc/c.toml", text)), &[], s))
}

fn complaints(text: &str) -> Vec<String> {
    read(text).expect_err("was accepted").0.iter().map(ToString::to_string).collect()
}

fn complaint(text: &str) -> String {
    let all = complaints(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].clone()
}

/// Nobody is known, and tokens lie in the default place.
fn access() -> AccessConfig {
    AccessConfig { state_dir: Some("/var/lib/createrepod".into()), ..AccessConfig::default() }
}

#[test]
fn a_path_is_all_a_repository_needs() {
    let config = read("[repository.rpm]\npath = '/srv/rpm'\n").unwrap().config;
    let expected = RepositoryConfig {
        state_dir: "/var/lib/createrepod/repositories/rpm".into(),
        ..RepositoryConfig::new("rpm", "/srv/rpm")
    };
    assert_eq!(config, Config { access: access(), repositories: vec![expected], ..Config::default() });
    assert_eq!(config.repositories[0].url, "/rpm/");
    assert_eq!(config.repositories[0].write, WriteAccess::Off, "nobody writes unless told");
}

#[test]
fn every_key_reaches_its_field() {
    let config = read(
        r#"
        [server]
        listen = ["0.0.0.0:80", "[::1]:0"]
        base_url = "https://repo.example.com/"
        max_upload = "100m"
        htpasswd = "/etc/createrepod/htpasswd"
        trusted_proxies = ["10.0.0.0/8", "unix"]
        [authorizer.ldap]
        url = "http://127.0.0.1:9000/may"
        remember = "1m"
        when_down = "remembered"
        timeout = "2s"
        ask = "repository"
        [grant.builders]
        users = ["alice", "bob"]
        certificates = ["builder.example.com", "sha256:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"]
        repositories = ["a", "el-*"]
        scope = ["read", "write"]
        [state]
        dir = "/state"
        [repository.b]
        path = "/b"
        url = "/el/9/x86_64/"
        write = "token"
        read = "ldap"
        batch_life = "10m"
        accept = "any"
        overwrite = "allow"
        verify = "header"
        metadata = "gzip"
        checksum = "sha512"
        changelog_limit = -1
        filelists_ext = true
        adopt = false
        additional_metadata = { group = "el9.xml" }
        symlinks = "never"
        rescan = "1h10m"
        verify_every = "never"
        settle = "500ms"
        settle_max = "1m"
        grace = "6h"
        grace_space = "5g"
        umask = "002"
        [repository.a]
        path = "/a"
        "#,
    )
    .unwrap()
    .config;
    let b = RepositoryConfig {
        metadata_dir: None,
        covered: Vec::new(),
        sign: None,
        name: "b".into(),
        path: "/b".into(),
        url: "/el/9/x86_64/".into(),
        state_dir: "/state/repositories/b".into(),
        write: WriteAccess::Token,
        read: ReadAccess::Authorizer("ldap".into()),
        batch_life: Duration::from_secs(600),
        accept: Accept::Any,
        overwrite: Overwrite::Allow,
        verify: Verify::Header,
        keyring: None,
        metadata: MetadataProfile::Gzip,
        checksum: ChecksumType::Sha512,
        adopt: false,
        filelists_ext: true,
        zchunk: false,
        additional_metadata: config.repositories[1].additional_metadata.clone(),
        changelog_limit: None,
        symlinks: Symlinks::Never,
        rescan: Duration::from_secs(4200),
        verify_every: None,
        settle: Duration::from_millis(500),
        settle_max: Duration::from_secs(60),
        grace: Duration::from_secs(6 * 3600),
        grace_space: Space::Bytes(5 << 30),
        umask: 0o002,
    };
    assert_eq!(config.repositories[1], b);
    assert_eq!(b.additional_metadata.spell(), r#"{ group = "el9.xml" }"#);
    assert_eq!(config.repositories[0].name, "a", "sorted by name");
    assert_eq!(config.server.listen, ["0.0.0.0:80".parse().unwrap(), "[::1]:0".parse().unwrap()]);
    assert_eq!(config.server.base_url.as_deref(), Some("https://repo.example.com/"));
    assert_eq!(config.server.max_upload, 100 << 20);
    let hex = "00112233445566778899aabbccddeeff";
    let expected = AccessConfig {
        state_dir: Some("/state".into()),
        htpasswd: Some("/etc/createrepod/htpasswd".into()),
        trusted_proxies: ["10.0.0.0/8", "unix"].map(|proxy| Proxy::parse(proxy).unwrap()).to_vec(),
        grants: vec![GrantConfig {
            name: "builders".into(),
            users: vec!["alice".into(), "bob".into()],
            certificates: vec!["builder.example.com".into(), format!("sha256:{hex}{hex}")],
            grant: Grant {
                scopes: [Permission::Read, Permission::Write].into_iter().collect(),
                repositories: ["a", "el-*"].map(|name| Pattern::parse(name).unwrap()).to_vec(),
            },
        }],
        authorizers: vec![AuthorizerConfig {
            remember: Duration::from_secs(60),
            when_down: WhenDown::Remembered,
            timeout: Duration::from_secs(2),
            ask: AskAbout::Repository,
            ..AuthorizerConfig::new("ldap", "http://127.0.0.1:9000/may")
        }],
    };
    assert_eq!(config.access, expected);
}

#[test]
fn a_rule_must_be_a_word_or_an_authorizer() {
    let repository = |rule: &str| format!("[repository.rpm]\npath = '/x'\n{rule}\n");
    assert_eq!(
        complaint(&repository("write = 'tokn'")),
        r#"/etc/c.toml:3: write: expected one of "off", "token", "anyone", or the name of an [authorizer.NAME], found "tokn" (did you mean "token"?)"#
    );
    assert!(complaint(&repository("read = 'ldap'")).contains("[authorizer.NAME]"));
    assert!(complaint(&repository("read = 'off'")).contains("leave out"));
    let authorizer = "[authorizer.ldap]\nurl = 'unix:/run/auth.sock:/may'\n";
    read(&format!("{authorizer}{}", repository("read = 'ldap'"))).unwrap();
    let secured = "[authorizer.a]\nurl = 'https://x/may'\nca = '/etc/ca.pem'\n";
    assert_eq!(read(secured).unwrap().config.access.authorizers[0].ca, Some("/etc/ca.pem".into()));
    for (text, why) in [
        ("[authorizer.token]\nurl = 'http://x/'", "rule already"),
        ("[authorizer.a]", "no url"),
        ("[authorizer.a]\nurl = 'ftp://x/'", "http://host"),
        ("[authorizer.a]\nurl = 'http://user:secret@x/'", "http://host"),
        ("[authorizer.a]\nurl = 'https:///x'", "http://host"),
        ("[authorizer.a]\nurl = 'http://x/'\nca = '/ca.pem'", "https://"),
        ("[authorizer.a]\nurl = 'https://x/'\nca = 'ca.pem'", "begins with /"),
        ("[authorizer.a]\nurl = 'http://x/'\ntimeout = '0s'", "timeout"),
        ("[authorizer.a]\nurl = 'http://x/'\nremember = '48h'", "at most"),
        ("[grant.a]\nusers = ['*']", "scope"),
        ("[grant.a]\nscope = ['write']", "nobody's"),
        ("[grant.a]\nscope = ['write']\nusers = ['a:b']", "user's name"),
        ("[grant.a]\nscope = ['rite']\nusers = ['a']", "\"write\""),
        ("[grant.a]\nscope = ['read']\ncertificates = ['sha256:12']", "64 hexadecimal"),
        ("[grant.a]\nscope = ['read']\nusers = ['*']\nrepositories = ['a/b']", "pattern"),
        ("[server]\ntrusted_proxies = ['localhost']", "network"),
        ("[server]\nhtpasswd = 'relative'", "begins with /"),
    ] {
        assert!(complaint(text).contains(why), "{text}: {}", complaint(text));
    }
}

#[test]
fn all_errors_are_shown_at_once_each_with_its_line() {
    let text = r#"[server]
lisen = ["127.0.0.1:80"]
max_upload = "2 gigs"

[repository.rpm]
path = "rpm"
settle = 2
verify = "sig"
colour = "red"

[repositry.x]
path = "/x"
"#;
    insta::assert_snapshot!(read(text).unwrap_err(), @r#"
    7 errors
      /etc/c.toml:2: unknown key "lisen" in [server]; did you mean "listen"?
      /etc/c.toml:3: max_upload: expected a size such as "512k", "100m" or "2g" (steps of 1024), found "2 gigs"
      /etc/c.toml:6: path: expected a path that begins with /, found "rpm"
      /etc/c.toml:7: settle: expected a time with its unit in quotes: write "2s"
      /etc/c.toml:8: verify: expected one of "header", "digest", "signature", found "sig"
      /etc/c.toml:9: unknown key "colour" in [repository.rpm]; known are path, metadata_dir, url, read, write, batch_life, accept, overwrite, verify, keyring, metadata, checksum, filelists_ext, zchunk, adopt, additional_metadata, changelog_limit, symlinks, rescan, verify_every, settle, settle_max, grace, grace_space, umask, sign
      /etc/c.toml:11: unknown key "repositry"; did you mean "repository"?
    "#);
}

#[test]
fn a_syntax_error_names_its_line_and_what_cannot_be_known_is_not_judged() {
    let all = complaints("[server]\nlisten = [\n[repository.rpm]\npath = \"rpm\"\n");
    assert!(all.iter().any(|line| line.starts_with("/etc/c.toml:")), "{all:#?}");
    let all = complaints("[server]\nmax_upload = 2g\n[repository.rpm]\npath = \"rpm\"\n");
    assert!(all.len() == 1 && all[0].starts_with("/etc/c.toml:2: "), "{all:#?}");
    // Another file's mistakes are told at once, unless they may come of this one.
    let (main, other) =
        (source("/c.toml", "[authorizer.a\nurl = 'http://x/'"), "[repository.a]\nread = 'a'\nsettle = 5\n");
    let problems = World::empty().with(|s| resolve(Some(&main), &[source("/d.toml", other)], s)).unwrap_err();
    let lines: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
    assert!(
        lines.len() == 3 && lines[0].starts_with("/c.toml:1: ") && lines[2].contains("\"5s\""),
        "{lines:#?}"
    );
}

/// Mistakes that are made again and again, each with what to write instead.
#[test]
fn a_mistake_says_what_to_write_instead() {
    let in_repository = |line: &str| format!("[repository.rpm]\npath = '/x'\n{line}\n");
    for (text, told) in [
        (
            "[server]\nwrite = 'off'\n".to_owned(),
            "/etc/c.toml:2: \"write\" belongs in [repository.NAME], not in [server]",
        ),
        ("[server]\npattern = 'x'\n".to_owned(), "\"pattern\" belongs in [tree.NAME], not in [server]"),
        (
            "listen = ['127.0.0.1:80']\n".to_owned(),
            "/etc/c.toml:1: \"listen\" belongs in [server]; write it below that line",
        ),
        (in_repository("idle = '5s'"), "\"idle\" belongs in [limits], not in [repository.rpm]"),
        ("[server]\nlisten = 8080\n".to_owned(), "write \"127.0.0.1:8080\" for this machine alone"),
        (
            "[server]\nlisten = ['localhost:8080']\n".to_owned(),
            "host names are not taken: write \"127.0.0.1:8080\"",
        ),
        ("[server]\nlisten = [':8080']\n".to_owned(), "\"0.0.0.0:8080\" for all its addresses"),
        ("[repository.a\npath = '/a'\n".to_owned(), "/etc/c.toml:1: "),
        (
            in_repository("umask = 022"),
            "/etc/c.toml:3: a number does not begin with 0; write umask = \"022\"",
        ),
        (in_repository("path = '/y'"), "/etc/c.toml:3: path stands twice; the first is on line 2"),
        (
            in_repository("[repository.rpm]"),
            "/etc/c.toml:3: [repository.rpm] stands twice; the first is on line 1",
        ),
        (in_repository("sign = '/x.asc'"), "sign: expected a table: write sign = { key = \"/x.asc\" }"),
        ("[server]\ntls = '/x.crt'\n".to_owned(), "write tls = { certificate = \"/x.crt\", key = \"/…\" }"),
        (
            in_repository("additional_metadata = { groups = 'a.xml', group = 5 }"),
            "group: expected a file in quotes",
        ),
        (
            in_repository("settle = 5"),
            "/etc/c.toml:3: settle: expected a time with its unit in quotes: write \"5s\"",
        ),
        (
            "[tree.el]\npath = '/x'\npattern = '/{release}'\n".to_owned(),
            "must not begin or end with /: write \"{release}\"",
        ),
        (
            "[grant.a]\nusers = 'anna'\nscope = ['read']\n".to_owned(),
            "users: expected a list: write [\"anna\"]",
        ),
    ] {
        let all = complaints(&text);
        assert!(all.len() == 1 && all[0].contains(told), "{text}{all:#?}");
    }
    let all = complaint("[server]\ntrusted_proxies = ['10.0.0.0/33', 'unix', 'proxy', '10.0.0.1/8']\n");
    for bad in ["10.0.0.0/33", "proxy", "10.0.0.1/8"] {
        assert!(all.contains(bad), "{bad}: {all}");
    }
    let single = read("[server]\nlisten = '127.0.0.1:80'\n").unwrap().config.server.listen;
    assert_eq!(single, ["127.0.0.1:80".parse().unwrap()]);
}

#[test]
fn a_repository_without_a_path_is_told_so() {
    assert_eq!(
        complaint("\n[repository.rpm]\nurl = '/x/'\n"),
        r#"/etc/c.toml:2: repository "rpm" has no path; add path = "/…""#
    );
}

#[test]
fn a_dotted_name_without_quotes_is_explained() {
    let all = complaints("[repository.el.9]\npath = '/x'\n");
    let hint =
        r#"unknown table [repository.el.9]; a name with a dot is written in quotes: [repository."el.9"]"#;
    assert!(all.iter().any(|line| line.ends_with(hint)), "{all:#?}");
}

#[test]
fn what_the_documentation_names_for_later_is_called_so() {
    let complaint = complaint("[repository.rpm]\npath = '/x'\nkeep_links = true\n");
    assert!(complaint.starts_with("/etc/c.toml:3: "), "{complaint}");
    assert!(complaint.contains("not there yet in this version"), "{complaint}");
}

#[test]
fn signatures_are_held_against_a_keyring_and_both_are_named() {
    let of = |lines: &str| format!("[repository.rpm]\npath = '/x'\n{lines}\n");
    let config = read(&of("verify = 'signature'\nkeyring = '/keys'")).unwrap().config;
    assert_eq!(config.repositories[0].keyring, Some("/keys".into()));
    assert_eq!(config.repositories[0].verify, Verify::Signature);
    assert!(complaint(&of("verify = 'signature'")).contains("needs keyring"));
    assert!(complaint(&of("keyring = '/keys'")).contains("of no use"));
}

#[test]
fn a_repository_is_signed_by_a_key_or_by_a_command() {
    let of = |sign: &str| format!("[repository.rpm]\npath = '/x'\nsign = {sign}\n");
    let signed = |sign: &str| read(&of(sign)).unwrap().config.repositories.remove(0).sign.unwrap();
    assert_eq!(
        signed("{ key = '/k', passphrase = '/p' }"),
        SignConfig::Key { key: "/k".into(), passphrase: Some("/p".into()) }
    );
    let command = vec!["gpg".to_owned(), "--armor".to_owned()];
    assert_eq!(
        signed("{ command = ['gpg', '--armor'], public_key = '/p', timeout = '1m' }"),
        SignConfig::Command { command, public_key: "/p".into(), timeout: Duration::from_secs(60) }
    );
    for (wrong, why) in [
        ("{ }", "expected { key"),
        ("'/k'", "expected a table"),
        ("{ key = 'k' }", "begins with /"),
        ("{ key = '/k', command = ['x'] }", "not both"),
        ("{ key = '/k', public_key = '/p' }", "go with command"),
        ("{ command = ['x'] }", "needs public_key"),
        ("{ command = [], public_key = '/p' }", "expected a program"),
        ("{ key = '/k', passphrase = '../x' }", "systemd credential"),
        ("{ key = '/k', passphrase = 'signing' }", "LoadCredential=signing"),
        ("{ key = '/k', colour = 'red' }", "unknown key \"colour\" in [repository.rpm.sign]"),
    ] {
        let complaint = complaint(&of(wrong));
        assert!(complaint.starts_with("/etc/c.toml:3: ") && complaint.contains(why), "{wrong}: {complaint}");
    }
}

#[test]
fn whoever_only_looks_is_given_no_credentials_and_needs_none() {
    let text = "[repository.rpm]\npath = '/x'\nsign = { key = '/k', passphrase = 'signing' }\n";
    let sign = |world: World| {
        let main = source("/etc/c.toml", text);
        let read = world.with(|surroundings| resolve(Some(&main), &[], surroundings));
        read.unwrap().config.repositories.remove(0).sign.unwrap()
    };
    let passphrase = |at: &str| SignConfig::Key { key: "/k".into(), passphrase: Some(at.into()) };
    let looks = World { serves: false, ..World::empty() };
    assert_eq!(sign(looks), passphrase("/run/credentials/createrepod.service/signing"));
    let environment = vec![("CREDENTIALS_DIRECTORY", "/run/credentials/x")];
    assert_eq!(sign(World { environment, ..World::empty() }), passphrase("/run/credentials/x/signing"));
}

#[test]
fn tls_and_https_belong_together() {
    let files = "certificate = '/c', key = '/k'";
    let read_server = |text: &str| read(&format!("[server]\n{text}\n"));
    let config = read_server(&format!(
        "listen = ['https://127.0.0.1:1', 'unix:/x']\ntls = {{ {files}, client_ca = '/a' }}"
    ));
    let server = config.unwrap().config.server;
    assert_eq!(server.listen[0], Listen::Https("127.0.0.1:1".parse().unwrap()));
    assert_eq!(server.listen[1], Listen::Unix("/x".into()));
    assert_eq!(server.tls.unwrap().client_ca, Some("/a".into()));
    for (text, told) in [
        ("listen = ['https://127.0.0.1:1']", "needs tls ="),
        (&*format!("tls = {{ {files} }}"), "no address of listen speaks it"),
        ("listen = ['https://127.0.0.1:1']\ntls = { key = '/k' }", "certificate is missing"),
        (
            "listen = ['127.0.0.1:1', 'https://127.0.0.1:1']\ntls = { certificate = '/c', key = '/k' }",
            "stands there twice",
        ),
        ("tls = { certificate = 'c', key = '/k' }", "begins with /"),
        ("tls = { certificate = '/c', key = '/k', colour = 1 }", "unknown key \"colour\""),
    ] {
        let all = read_server(text).expect_err(text).0;
        assert!(all.iter().any(|problem| problem.to_string().contains(told)), "{text}: {all:?}");
    }
}

#[test]
fn limits_have_limits() {
    let config =
        read("[limits]\nconnections = 5\nconnections_per_address = 0\nstall = '2s'\nheader_size = '16k'\n")
            .unwrap()
            .config;
    let limits = config.server.limits;
    assert_eq!((limits.connections, limits.connections_per_address, limits.header_size), (5, 0, 16384));
    assert_eq!(limits.stall, Duration::from_secs(2));
    for bad in [
        "connections = 0",
        "connections = -1",
        "header_size = '1k'",
        "header_size = '1g'",
        "header_count = 1",
        "idle = '0s'",
        "connections_per_address = 20000",
    ] {
        assert!(complaint(&format!("[limits]\n{bad}\n")).starts_with("/etc/c.toml:2: "), "{bad}");
    }
}

#[test]
fn a_url_prefix_keeps_clear_of_the_servers_own_names() {
    let with = |url: &str| read(&format!("[repository.rpm]\npath = '/x'\nurl = {url:?}\n"));
    for good in ["/", "/a/", "/el/9/x86_64/", "/a b/ü/"] {
        assert_eq!(with(good).unwrap().config.repositories[0].url, good);
    }
    for bad in [
        "",
        "a/",
        "/a",
        "//",
        "/a//b/",
        "/-/",
        "/-/x/",
        "/a/-/",
        "/./",
        "/a/../",
        "/.hidden/",
        "/@5/",
        "/a@b/",
        "/repodata/",
        "/a/repodata/",
        "/a%20b/",
        "/a?b/",
        "/a#b/",
        "/a\nb/",
    ] {
        assert!(with(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn names_are_plain_and_not_too_long() {
    for bad in ["\".a\"", "\"a b\"", "\"a/b\"", "\"-\"", "\"\"", "\"é\"", "repodata", &"a".repeat(201)] {
        assert!(
            read(&format!("[repository.{bad}]\npath = '/x'\nurl = '/y/'\n")).is_err(),
            "{bad} was accepted"
        );
    }
    for good in ["a", "A-1_2", "9", "\"el.9\""] {
        assert!(read(&format!("[repository.{good}]\npath = '/x'\n")).is_ok(), "{good} was refused");
    }
}

#[test]
fn a_base_url_is_a_web_address_with_a_slash_at_its_end() {
    let with = |url: &str| read(&format!("[server]\nbase_url = {url:?}\n"));
    for good in ["https://repo.example.com/", "http://[::1]:8080/", "https://h/sub/"] {
        assert_eq!(with(good).unwrap().config.server.base_url.as_deref(), Some(good));
    }
    assert_eq!(with("").unwrap().config.server.base_url, None);
    for bad in [
        "https://repo.example.com",
        "repo/",
        "ftp://x/",
        "https:///",
        "https://x/?a/",
        "https://x y/",
        "http://x/\n/",
    ] {
        assert!(with(bad).is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn repositories_share_no_url_and_no_piece_of_the_tree() {
    let two = |a: &str, b: &str| format!("[repository.a]\n{a}\n[repository.b]\n{b}\n");
    let same = complaint(&two("path = '/x'", "path = '/x'"));
    assert_eq!(same, r#"/etc/c.toml:3: repository "b" has the same path /x as "a" at /etc/c.toml:1"#);
    let nested = complaint(&two("path = '/x/y/z'", "path = '/x'"));
    assert!(nested.starts_with(r#"/etc/c.toml:1: repository "a": /x/y/z lies inside "b""#), "{nested}");
    assert!(read(&two("path = '/x'", "path = '/xy'")).is_ok(), "a longer name is another directory");
    let url = complaint(&two("path = '/x'\nurl='/u/'", "path = '/y'\nurl='/u/'"));
    assert!(url.contains(r#"has the same url "/u/" as "a""#), "{url}");
    assert!(
        read(&two("path = '/x'\nurl='/u/'", "path = '/y'\nurl='/u/v/'")).is_ok(),
        "the longest prefix wins"
    );
}

#[test]
fn two_names_of_one_directory_clash() {
    let world = World { links: vec![("/link", "/real")], ..World::empty() };
    let text = "[repository.a]\npath = '/real/x'\n[repository.b]\npath = '/link/x/y'\n";
    let problems = world.with(|s| resolve(Some(&source("/c.toml", text)), &[], s)).unwrap_err();
    assert!(problems.to_string().contains("/real/x/y lies inside \"a\""), "{problems}");
}

#[test]
fn state_does_not_lie_in_a_tree() {
    let with = |dir: &str| read(&format!("[state]\ndir = '{dir}'\n[repository.a]\npath = '/x'\n"));
    assert!(with("/x/state").unwrap_err().to_string().starts_with("/etc/c.toml:2: "));
    assert!(with("/x").is_err());
    assert!(with("/x/.createrepod/state").is_ok(), "its own hidden place is fine");
    assert!(with("/xy").is_ok());
}

#[test]
fn times_that_make_no_sense_are_refused_where_they_stand() {
    let with = |keys: &str| complaint(&format!("[repository.a]\npath = '/x'\n{keys}\n"));
    assert!(with("settle_max = '1s'").starts_with("/etc/c.toml:3: settle must not be longer"));
    assert!(with("\nsettle = '1h'").starts_with("/etc/c.toml:4: settle must not be longer"));
    assert!(with("rescan = '0s'").starts_with("/etc/c.toml:3: rescan:"));
}

#[test]
fn a_file_of_repos_d_holds_repositories_only() {
    let one = source("/etc/repos.d/a.toml", "[repository.a]\npath = '/a'\n");
    let two = source("/etc/repos.d/b.toml", "[server]\nlisten = []\n[repository.a]\npath = '/b'\n");
    let resolved = World::empty().with(|s| resolve(None, &[one], s)).unwrap();
    assert_eq!(resolved.config.repositories[0].path, PathBuf::from("/a"));
    let one = source("/etc/repos.d/a.toml", "[repository.a]\npath = '/a'\n");
    let problems = World::empty().with(|s| resolve(None, &[one, two], s)).unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    2 errors
      /etc/repos.d/b.toml:1: [server] belongs in createrepod.toml; a file of repos.d holds [repository.NAME] and [tree.NAME]
      /etc/repos.d/b.toml:3: repository "a" is already there, at /etc/repos.d/a.toml:1
    "#);
}

#[test]
fn arguments_win_over_the_environment_and_that_over_files() {
    let text = "[server]\nlisten = ['127.0.0.1:1']\nmax_upload = '1m'\n[state]\ndir = '/file'\n";
    let mut world = World::empty();
    let look = |world: &World| {
        let resolved = world.with(|s| resolve(Some(&source("/c.toml", text)), &[], s)).unwrap();
        let setting = resolved.settings.iter().find(|s| s.key == "listen").unwrap().clone();
        (
            resolved.config.server.listen[0].address().unwrap().port(),
            setting.value,
            setting.origin.to_string(),
        )
    };
    assert_eq!(look(&world), (1, r#"["127.0.0.1:1"]"#.into(), "/c.toml:2".into()));
    world.environment.push(("CREATEREPOD_LISTEN", "127.0.0.1:2,[::1]:2"));
    assert_eq!(
        look(&world),
        (2, r#"["127.0.0.1:2", "[::1]:2"]"#.into(), "environment CREATEREPOD_LISTEN".into())
    );
    world.listen.push("127.0.0.1:3".parse().unwrap());
    assert_eq!(look(&world), (3, r#"["127.0.0.1:3"]"#.into(), "--listen".into()));
}

#[test]
fn a_bad_environment_is_an_error_like_any_other() {
    for (name, value) in [
        ("CREATEREPOD_LISTEN", "localhost"),
        ("CREATEREPOD_LISTEN", ""),
        ("CREATEREPOD_STATE_DIR", "relative"),
        ("CREATEREPOD_MAX_UPLOAD", "lots"),
        ("CREATEREPOD_BASE_URL", "nowhere"),
    ] {
        let world = World { environment: vec![(name, value)], ..World::empty() };
        let problems = world.with(|s| resolve(None, &[], s)).unwrap_err();
        assert!(matches!(problems.0[0].origin, Origin::Environment(n) if n == name), "{problems}");
    }
}

#[test]
fn a_directory_alone_is_served_under_its_own_name_to_local_writers() {
    let config = World::empty().with(|s| directory(Path::new("/home/me/rpm"), s)).unwrap();
    let control = Some("/home/me/rpm/.createrepod/control.sock".into());
    assert_eq!(config.server, ServerConfig { control, ..ServerConfig::default() });
    let [repository] = config.repositories.as_slice() else { panic!() };
    assert_eq!((repository.name.as_str(), repository.url.as_str()), ("rpm", "/rpm/"));
    assert_eq!(repository.write, WriteAccess::Local);
    assert_eq!(repository.state_dir, PathBuf::from("/home/me/rpm/.createrepod/state"));
    for (path, name) in [
        ("/", "rpm"),
        ("/x/.hidden", "hidden"),
        ("/x/my rpms", "my-rpms"),
        ("/x/@@", "rpm"),
        ("/x/é", "rpm"),
        ("/x/repodata", "rpm"),
        ("/x/el9.x86_64", "el9.x86_64"),
    ] {
        let config = World::empty().with(|s| directory(Path::new(path), s)).unwrap();
        assert_eq!(config.repositories[0].name, name, "{path}");
    }
}

#[test]
fn the_environment_can_move_a_single_directorys_state() {
    let world = World { environment: vec![("CREATEREPOD_STATE_DIR", "/state")], ..World::empty() };
    let config = world.with(|s| directory(Path::new("/x/rpm"), s)).unwrap();
    assert_eq!(config.repositories[0].state_dir, PathBuf::from("/state/repositories/rpm"));
}

#[test]
fn what_config_show_prints_can_be_read_back() {
    let text = r#"
        [repository."el.9"]
        path = "/srv/a \"quoted\" name"
        changelog_limit = -1
        grace_space = "1k"
        umask = "002"
        settle = "1m30s"
    "#;
    let first = read(text).unwrap();
    let mut printed = String::new();
    let mut table = "";
    for setting in &first.settings {
        if setting.table != table {
            table = &setting.table;
            printed += &format!("[{table}]\n");
        }
        printed += &format!("{} = {}\n", setting.key, setting.value);
    }
    let second = read(&printed).unwrap();
    assert_eq!(first.config, second.config);
}

/// `#key = value` and `#[table]` are settings; `# text` is prose.
fn uncommented(text: &str) -> String {
    let open = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with([' ', '#']) => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(open).collect()
}

#[test]
fn the_shipped_file_changes_nothing_and_shows_every_default() {
    let shipped = include_str!("../../etc/createrepod.toml");
    assert_eq!(read(shipped).unwrap().config, Config { access: access(), ..Config::default() });
    let all = uncommented(shipped);
    let resolved = read(&all).unwrap_or_else(|problems| panic!("{problems}"));
    let example = RepositoryConfig {
        state_dir: "/var/lib/createrepod/repositories/example".into(),
        ..RepositoryConfig::new("example", "/srv/repos/example")
    };
    let everywhere = vec![Pattern::parse("*").unwrap()];
    let read = [Permission::Read].into_iter().collect();
    let access = AccessConfig {
        grants: vec![GrantConfig {
            name: "example".into(),
            users: vec!["*".into()],
            certificates: vec![],
            grant: Grant { scopes: read, repositories: everywhere },
        }],
        authorizers: vec![AuthorizerConfig::new("example", "http://127.0.0.1:9000/may")],
        ..access()
    };
    let hook = WebhookUrl::Written("https://hooks.example.com/services/T0/B0/secret".into());
    let webhooks = vec![WebhookConfig::new("example", hook)];
    let trees = resolved.config.trees.clone();
    assert_eq!(
        trees.iter().map(|tree| tree.template.url.as_str()).collect::<Vec<_>>(),
        ["/el/{release}/{arch}/"]
    );
    assert_eq!(
        resolved.config,
        Config { access, webhooks, repositories: vec![example], trees, ..Config::default() }
    );
    // A tree takes all that a repository takes; it is not written out twice.
    for setting in resolved.settings.iter().filter(|s| !s.table.starts_with("tree.")) {
        assert_ne!(setting.origin, Origin::Default, "{}.{} is not in the file", setting.table, setting.key);
    }
}

#[test]
fn a_webhook_has_one_address_and_shows_no_secret() {
    let text = "[webhook.ops]\nurl = 'https://hooks.example.com/services/secret'\nformat = 'slack'\nevents = ['failed']\n";
    let resolved = read(text).unwrap();
    let hook = &resolved.config.webhooks[0];
    assert!(hook.wants(WebhookEvent::Failed, "rpm") && !hook.wants(WebhookEvent::Rejected, "rpm"));
    assert_eq!(hook.format, WebhookFormat::Slack);
    let shown = format!("{:?} {:?}", resolved.settings, resolved.config);
    assert!(shown.contains("hooks.example.com/…") && !shown.contains("secret"), "{shown}");
    let file = read("[webhook.ops]\nurl_file = '/run/url'\nrepositories = ['el-*']\n").unwrap().config;
    assert_eq!(file.webhooks[0].url, WebhookUrl::File("/run/url".into()));
    for (bad, why) in [
        ("[webhook.ops]", "needs one address"),
        ("[webhook.ops]\nurl = 'http://h/'\nurl_file = '/f'", "needs one address"),
        ("[webhook.ops]\nurl = 'ftp://h/secret'", "expected http://HOST/PATH"),
        ("[webhook.ops]\nurl = 'http://me:secret@h/'", "without a user name"),
        ("[webhook.ops]\nurl = 'http://h/'\nevents = []", "expected at least one"),
        ("[webhook.ops]\nurl = 'http://h/'\nevents = ['broken']", "expected one of"),
        ("[webhook.ops]\nurl = 'http://h/'\nformat = 'teams'", "expected one of"),
    ] {
        let complaint = complaint(bad);
        assert!(complaint.contains(why) && !complaint.contains("secret"), "{bad}: {complaint}");
    }
}

#[test]
fn the_shipped_repository_can_be_served() {
    let main = source("/etc/createrepod/createrepod.toml", include_str!("../../etc/createrepod.toml"));
    let rpm = source("/etc/createrepod/repos.d/rpm.toml", include_str!("../../etc/repos.d/rpm.toml"));
    let resolved = World::empty().with(|s| resolve(Some(&main), &[rpm], s)).unwrap();
    assert_eq!(resolved.config.repositories[0].path, PathBuf::from("/var/www/repos/rpm-repo"));
    assert_eq!(resolved.config.repositories[0].url, "/rpm/");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".*\\PC*") {
        let _ = read(&text);
    }

    /// Nearer to what people write: the shipped file with pieces cut out, doubled and swapped.
    #[test]
    fn no_slip_of_the_hand_makes_the_reader_panic_or_lose_its_place(
        cuts in proptest::collection::vec((0usize..4000, 0usize..40, ".{0,6}"), 1..6)
    ) {
        let mut text = uncommented(include_str!("../../etc/createrepod.toml"));
        for (at, length, instead) in cuts {
            let floor = |text: &str, at: usize| (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i));
            let start = floor(&text, at).unwrap();
            let end = floor(&text, at + length).unwrap().max(start);
            text.replace_range(start..end, &instead);
        }
        if let Err(problems) = read(&text) {
            let lines = text.matches('\n').count() + 1;
            for problem in problems.0 {
                if let Origin::File { line, .. } = problem.origin {
                    proptest::prop_assert!((1..=lines).contains(&line), "{problem:?}");
                }
                proptest::prop_assert!(!problem.message.is_empty());
            }
        }
    }
}
