//! As nginx reads it: ngx_http_core_module, ngx_http_proxy_module.

use super::{Front, PATIENCE};
use crate::cli::failure::Failure;
use crate::config::Symlinks;

impl Front {
    /// A file for /etc/nginx/conf.d/.
    pub fn nginx(&self) -> Result<String, Failure> {
        let Self { server_name, port, upstream, .. } = self;
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

    location / {{
        proxy_pass http://createrepod;
    }}
    location @createrepod {{
        proxy_pass http://createrepod;
    }}
    # Staged uploads, state and locks are nobody's business.
    location ~ \"/\\.\" {{
        return 404;
    }}
"
        );
        for disk in self.disks() {
            let disk = disk?;
            let links = match disk.symlinks {
                Symlinks::Never => format!("        disable_symlinks on from=\"{}\";\n", disk.directory),
                Symlinks::Inside => {
                    format!("        disable_symlinks if_not_owner from=\"{}\";\n", disk.directory)
                }
                Symlinks::Anywhere => String::new(),
            };
            text += &format!(
                "
    # {name}: what never changes under its name comes from disk, if it is there and asked for by GET or HEAD.
    location ~ \"^{url}(?<file>{files})$\" {{
        root \"{directory}\";
{links}        error_page 403 418 = @createrepod;
        if ($request_method !~ \"^(GET|HEAD)$\") {{
            return 418;
        }}
        try_files /$file @createrepod;
        types {{
            application/x-rpm rpm;
            application/gzip gz;
            application/zstd zst;
        }}
    }}
",
                name = disk.name,
                url = disk.url,
                files = disk.files,
                directory = disk.directory,
            );
        }
        text += "}\n";
        Ok(text)
    }
}
