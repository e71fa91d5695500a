//! The generated `<name>.repo`: what a client puts into /etc/yum.repos.d/.

use super::route::{PACKAGE_KEYS, encode_path};
use crate::config::{ReadAccess, RepositoryConfig, ServerConfig};

/// `reached` is the scheme and address at which the client has reached us; the Host header is the client's word and not used.
pub(crate) fn text(repository: &RepositoryConfig, server: &ServerConfig, reached: &str) -> String {
    let name = &repository.name;
    let base = base(repository, server, reached);
    let (metadata, packages) = (repository.sign.is_some(), repository.keyring.is_some());
    let keys: Vec<String> = [(metadata, "repodata/repomd.xml.key"), (packages, PACKAGE_KEYS)]
        .into_iter()
        .filter(|(signed, _)| *signed)
        .map(|(_, key)| format!("{base}{key}"))
        .collect();
    let mut text = format!(
        "[{name}]\nname={name}\nbaseurl={base}\nenabled=1\nautorefresh=1\ngpgcheck={}\n",
        u8::from(packages)
    );
    if repository.read != ReadAccess::Anyone {
        text += "# Not everybody may read this repository. Fill in a name and a token or password, and keep this file from\n\
                 # other users (chmod 600). zypper reads them from /etc/zypp/credentials.d, or asks.\n\
                 #username=NAME\n#password=TOKEN-OR-PASSWORD\n";
    }
    if metadata {
        text += "repo_gpgcheck=1\n";
    }
    if !keys.is_empty() {
        // Each on a line of its own: every yum, dnf and zypper reads that.
        text += &format!("gpgkey={}\n", keys.join("\n       "));
    }
    text
}

/// Where clients find the repository; ends in `/`.
pub(crate) fn base(repository: &RepositoryConfig, server: &ServerConfig, reached: &str) -> String {
    server_base(server, reached).to_owned() + &encode_path(&repository.url)
}

/// Where the server is found, without a slash at its end.
pub(crate) fn server_base<'s>(server: &'s ServerConfig, reached: &'s str) -> &'s str {
    server.base_url.as_deref().map_or(reached, |base| base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_is_configured_or_the_address_reached() {
        let repository = RepositoryConfig { url: "/el 9/".into(), ..RepositoryConfig::new("el", "/x") };
        let server = ServerConfig::default();
        let reached = "http://192.0.2.1:8080";
        insta::assert_snapshot!(text(&repository, &server, reached), @r"
        [el]
        name=el
        baseurl=http://192.0.2.1:8080/el%209/
        enabled=1
        autorefresh=1
        gpgcheck=0
        ");
        let server = ServerConfig { base_url: Some("https://repo.example.com/".into()), ..server };
        assert!(text(&repository, &server, reached).contains("baseurl=https://repo.example.com/el%209/\n"));
    }

    #[test]
    fn a_closed_repository_says_where_the_secret_belongs() {
        let open = RepositoryConfig::new("rpm", "/x");
        let server = ServerConfig { base_url: Some("https://h/below/".into()), ..ServerConfig::default() };
        assert!(!text(&open, &server, "http://h").contains("password"));
        let closed = RepositoryConfig { read: ReadAccess::Token, ..open };
        let text = text(&closed, &server, "http://h");
        assert!(text.starts_with("[rpm]\nname=rpm\nbaseurl=https://h/below/rpm/\n"), "{text}");
        assert!(text.contains("\n#username=NAME\n#password=TOKEN-OR-PASSWORD\n"), "{text}");
        let is_fine = |line: &str| line.starts_with(['#', '[']) || line.contains('=');
        assert!(text.lines().all(is_fine), "{text}");
    }

    #[test]
    fn a_signed_repository_names_its_key() {
        let sign = Some(crate::config::SignConfig::Key { key: "/k".into(), passphrase: None });
        let repository = RepositoryConfig { sign, ..RepositoryConfig::new("rpm", "/x") };
        let text = text(&repository, &ServerConfig::default(), "http://127.0.0.1:80");
        assert!(
            text.ends_with("repo_gpgcheck=1\ngpgkey=http://127.0.0.1:80/rpm/repodata/repomd.xml.key\n"),
            "{text}"
        );
    }

    #[test]
    fn where_packages_must_be_signed_clients_are_told_to_check_and_by_which_keys() {
        let sign = Some(crate::config::SignConfig::Key { key: "/k".into(), passphrase: None });
        let keyring = Some("/keys".into());
        let repository = RepositoryConfig { keyring, ..RepositoryConfig::new("rpm", "/x") };
        let server = ServerConfig::default();
        insta::assert_snapshot!(text(&repository, &server, "http://h"), @r"
        [rpm]
        name=rpm
        baseurl=http://h/rpm/
        enabled=1
        autorefresh=1
        gpgcheck=1
        gpgkey=http://h/rpm/-/packages.key
        ");
        insta::assert_snapshot!(text(&RepositoryConfig { sign, ..repository }, &server, "http://h"), @r"
        [rpm]
        name=rpm
        baseurl=http://h/rpm/
        enabled=1
        autorefresh=1
        gpgcheck=1
        repo_gpgcheck=1
        gpgkey=http://h/rpm/repodata/repomd.xml.key
               http://h/rpm/-/packages.key
        ");
    }
}
