//! As nginx reads it: ngx_http_core_module, ngx_http_proxy_module.

use super::{Disk, Front, HEADERS, PATIENCE, Source, regex_escaped};
use crate::cli::failure::Failure;

impl Front {
    /// A file for /etc/nginx/conf.d/.
    pub fn nginx(&self) -> Result<String, Failure> {
        let Self { server_name, port, prefix, upstream, .. } = self;
        // Before the path of base_url there is nothing of ours.
        let pass = match prefix.as_str() {
            "" => "proxy_pass http://createrepod;".to_owned(),
            prefix => format!(
                "rewrite \"^{}(/.*)$\" $1 break;\n        proxy_pass http://createrepod;",
                regex_escaped(prefix)
            ),
        };
        let dots = regex_escaped(prefix);
        let mut text = format!(
            "\
# Made by `createrepod config nginx`. In createrepod.toml: trusted_proxies = [\"127.0.0.1/32\"], so that createrepod
# knows clients by the addresses that X-Forwarded-For tells.
upstream createrepod {{
    server {upstream};
    keepalive 32;
}}

server {{
    listen {port};
    listen [::]:{port};
    server_name {server_name};

    # Uploads stream through; createrepod limits their size (max_upload).
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_read_timeout {PATIENCE}s;

    location {prefix}/ {{
        {pass}
    }}
    location @createrepod {{
        {pass}
    }}
    # Staged uploads, state and locks are nobody's business; about other names with a dot createrepod decides.
    location ~ \"/\\.createrepod(/|$)\" {{
        return 404;
    }}
    location ~ \"^{dots}/(?:.*/)?\\.\" {{
        {pass}
    }}
"
        );
        for source in self.sources() {
            text += &match source? {
                Source::Disk(disk) => from_disk(&disk),
                Source::Daemon { name, url } => format!(
                    "
    # {name}: not everybody may read it, so createrepod answers.
    location ~ \"^{url}\" {{
        {pass}
    }}
"
                ),
            };
        }
        text += "}\n";
        Ok(text)
    }
}

fn from_disk(disk: &Disk<'_>) -> String {
    let Disk { name, url, files, directory, follows } = disk;
    let links = match follows {
        true => String::new(),
        false => format!("        disable_symlinks on from=\"{directory}\";\n"),
    };
    let headers: String =
        HEADERS.iter().map(|(name, value)| format!("        add_header {name} \"{value}\";\n")).collect();
    format!(
        "
    # {name}: what never changes under its name comes from disk, if it is there and asked for by GET or HEAD.
    location ~ \"^{url}(?<file>{files})$\" {{
        root \"{directory}\";
{links}{headers}        error_page 403 418 = @createrepod;
        if ($request_method !~ \"^(GET|HEAD)$\") {{
            return 418;
        }}
        try_files /$file @createrepod;
        types {{
            application/x-rpm rpm;
            application/gzip gz;
            application/zstd zst;
        }}
        default_type application/octet-stream;
    }}
"
    )
}
