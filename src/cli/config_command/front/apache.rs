//! As Apache's httpd 2.4 reads it: mod_rewrite, mod_proxy_http, mod_headers.

use super::{Front, PATIENCE};
use crate::cli::failure::Failure;
use crate::config::{Listen, Symlinks};

impl Front {
    /// A file for /etc/httpd/conf.d/ or /etc/apache2/sites-available/.
    pub fn apache(&self) -> Result<String, Failure> {
        let Self { server_name, port, upstream, .. } = self;
        let upstream = match upstream {
            Listen::Unix(_) => format!("{upstream}|http://localhost"),
            Listen::Http(_) | Listen::Https(_) => format!("http://{upstream}"),
        };
        let mut text = format!(
            "\
# Made by `createrepod config apache`. Debian: a2enmod proxy_http rewrite headers && a2ensite createrepod.
# In createrepod.toml: trusted_proxies = [\"127.0.0.1/32\"], so that createrepod knows clients by the addresses that
# X-Forwarded-For tells.
<VirtualHost *:{port}>
    ServerName {server_name}

    ProxyRequests Off
    ProxyPreserveHost On
    ProxyTimeout {PATIENCE}
    AllowEncodedSlashes NoDecode
    RequestHeader set X-Forwarded-Proto \"expr=%{{REQUEST_SCHEME}}\"
    # createrepod limits the size of uploads (max_upload).
    LimitRequestBody 0

    RewriteEngine On
    # Staged uploads, state and locks are nobody's business.
    RewriteRule \"/\\.\" \"-\" [R=404,L]
"
        );
        for disk in self.disks() {
            let disk = disk?;
            let links = match disk.symlinks {
                Symlinks::Never => "None",
                Symlinks::Inside => "SymLinksIfOwnerMatch",
                Symlinks::Anywhere => "FollowSymLinks",
            };
            text += &format!(
                "
    # {name}: what never changes under its name comes from disk, if it is there and asked for by GET or HEAD.
    RewriteCond \"%{{REQUEST_METHOD}}\" \"^(GET|HEAD)$\"
    RewriteCond \"{directory}/$1\" -f
    RewriteRule \"^{url}({files})$\" \"{directory}/$1\" [L]
    <Directory \"{directory}\">
        Require all granted
        AllowOverride None
        Options {links}
    </Directory>
",
                name = disk.name,
                url = disk.url,
                files = disk.files,
                directory = disk.directory,
            );
        }
        text += &format!(
            "
    ProxyPass \"/\" \"{upstream}/\" nocanon
</VirtualHost>
"
        );
        Ok(text)
    }
}
