//! As Apache's httpd 2.4 reads it: mod_rewrite, mod_proxy_http, mod_headers.

use super::{Disk, Front, HEADERS, PATIENCE, Source};
use crate::cli::failure::Failure;
use crate::config::Listen;

impl Front {
    /// A file for /etc/httpd/conf.d/ or /etc/apache2/sites-available/.
    pub fn apache(&self) -> Result<String, Failure> {
        let Self { server_name, port, prefix, upstream, .. } = self;
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
    # Staged uploads, state and locks are nobody's business; about other names with a dot createrepod decides.
    RewriteRule \"/\\.createrepod(/|$)\" \"-\" [R=404,L]
    RewriteRule \"/\\.\" \"-\" [L]
"
        );
        for source in self.sources() {
            text += &match source? {
                Source::Disk(disk) => from_disk(&disk),
                Source::Daemon { name, url } => format!(
                    "
    # {name}: not everybody may read it, so createrepod answers.
    RewriteRule \"^{url}\" \"-\" [L]
"
                ),
            };
        }
        text += &format!(
            "
    ProxyPass \"{prefix}/\" \"{upstream}/\" nocanon
</VirtualHost>
"
        );
        Ok(text)
    }
}

fn from_disk(disk: &Disk<'_>) -> String {
    let Disk { name, url, files, directory, follows } = disk;
    // -F asks whether the web server would give the file; it gives none through a link then.
    let (links, is_there) = if *follows { ("FollowSymLinks", "-f") } else { ("None", "-F") };
    let headers: String =
        HEADERS.iter().map(|(name, value)| format!("        Header set {name} \"{value}\"\n")).collect();
    format!(
        "
    # {name}: what never changes under its name comes from disk, if it is there and asked for by GET or HEAD.
    RewriteCond \"%{{REQUEST_METHOD}}\" \"^(GET|HEAD)$\"
    RewriteCond \"{directory}/$1\" {is_there}
    RewriteRule \"^{url}({files})$\" \"{directory}/$1\" [L]
    <Directory \"{directory}\">
        Require all granted
        AllowOverride None
        Options {links}
        # A name such as x.php.rpm is a package, whatever the web server does with x.php.
        SetHandler default-handler
        ForceType application/octet-stream
{headers}    </Directory>
"
    )
}
