//! The doors: addresses and sockets that are bound here, or that systemd opened for us.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tracing::warn;

use super::systemd::{Given, GivenSocket};
use crate::beneath::own::{Own, PRIVATE};
use crate::config::{Listen, ServerConfig};
use crate::serve::{Listener, Tls};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: u32 = 4096;

/// Everything that is listened at.
pub struct Doors {
    pub listeners: Vec<Listener>,
    /// What they are called in the log, in the same order, with the real ports: `https://127.0.0.1:8443`.
    pub names: Vec<String>,
    /// The address a client on this machine can connect to without TLS, for the greeting.
    pub addresses: Vec<SocketAddr>,
    /// Socket files that are ours to remove.
    files: Vec<SocketFile>,
}

impl Doors {
    /// Binds all of them, or none; takes systemd's instead if there are any.
    pub async fn open(
        given: Vec<Given>,
        server: &ServerConfig,
        tls: Option<&Arc<Tls>>,
    ) -> anyhow::Result<Self> {
        let mut doors = Self { listeners: vec![], names: vec![], addresses: vec![], files: vec![] };
        if given.is_empty() {
            for listen in &server.listen {
                doors.bind(listen, tls).await?;
            }
        } else {
            let sockets = given.into_iter().map(|given| doors.take_over(given, server, tls));
            let taken: Vec<Listen> = sockets.collect::<anyhow::Result<_>>()?;
            let unused: Vec<_> =
                server.listen.iter().filter(|l| !taken.contains(l)).map(ToString::to_string).collect();
            if !unused.is_empty() {
                warn!(
                    "systemd handed over the sockets to listen on (createrepod.socket), so listen = {} is not used; \
                     change ListenStream= there, or disable createrepod.socket",
                    unused.join(", ")
                );
            }
        }
        Ok(doors)
    }

    /// The socket for our own commands. Without it the daemon works as well, so this only warns.
    pub async fn bind_control(&mut self, server: &ServerConfig) {
        let Some(path) = &server.control else { return };
        if let Some(directory) = path.parent().filter(|directory| !directory.ends_with(PRIVATE)) {
            // systemd makes it for the service; whoever starts the program by hand has none. What comes of it is told below.
            let _ = fs::DirBuilder::new().mode(0o755).create(directory);
        }
        // Whoever may connect may do everything.
        match bind_unix(path, 0o660).await {
            Ok((listener, file)) => {
                self.files.push(file);
                self.listeners.push(Listener::Control(listener));
            }
            Err(error) => warn!(
                "the commands status, refresh and verify cannot ask this daemon: there is no control socket at {}: {error:#}; \
                 [server] control = says where it lies",
                path.display()
            ),
        }
    }

    async fn bind(&mut self, listen: &Listen, tls: Option<&Arc<Tls>>) -> anyhow::Result<()> {
        let failed = || {
            format!(
                "cannot listen on {listen}; choose another address with --listen ADDR:PORT or listen in [server]"
            )
        };
        match listen {
            Listen::Unix(path) => {
                // Whoever may enter the directory may connect, as with systemd's SocketMode=0666; who may
                // write is decided for each request.
                let (listener, file) = bind_unix(path, 0o666).await.with_context(failed)?;
                self.files.push(file);
                self.add(Listener::Unix(listener), None, &format!("unix:{}", path.display()));
            }
            Listen::Http(address) | Listen::Https(address) => {
                let bound = bind_tcp(*address);
                if let Err(error) = &bound
                    && error.kind() == io::ErrorKind::PermissionDenied
                    && address.port() < 1024
                {
                    bail!(
                        "cannot listen on {listen}: ports below 1024 are root's; have systemd open it (systemctl enable \
                         --now createrepod.socket), give the unit CAP_NET_BIND_SERVICE (createrepod config systemd), or \
                         choose a port from 1024 on"
                    );
                }
                let listener = bound.with_context(failed)?;
                let address = listener.local_addr().with_context(failed)?;
                self.add_tcp(listener, address, matches!(listen, Listen::Https(_)), tls)?;
            }
        }
        Ok(())
    }

    /// A socket speaks TLS if its name (FileDescriptorName=) is `https`, or `listen` says so of its address.
    fn take_over(
        &mut self,
        given: Given,
        server: &ServerConfig,
        tls: Option<&Arc<Tls>>,
    ) -> anyhow::Result<Listen> {
        let failed = "cannot use a socket that systemd handed over";
        match given.socket {
            GivenSocket::Tcp(socket) => {
                let listener = TcpListener::from_std(socket).context(failed)?;
                let address = listener.local_addr().context(failed)?;
                let is_https = given.name == "https" || server.listen.contains(&Listen::Https(address));
                self.add_tcp(listener, address, is_https, tls)?;
                Ok(if is_https { Listen::Https(address) } else { Listen::Http(address) })
            }
            GivenSocket::Unix(socket) => {
                let path =
                    socket.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
                let path = path.unwrap_or_default();
                let listener = UnixListener::from_std(socket).context(failed)?;
                self.add(Listener::Unix(listener), None, &format!("unix:{}", path.display()));
                Ok(Listen::Unix(path))
            }
        }
    }

    fn add_tcp(
        &mut self,
        listener: TcpListener,
        address: SocketAddr,
        is_https: bool,
        tls: Option<&Arc<Tls>>,
    ) -> anyhow::Result<()> {
        match (is_https, tls) {
            (true, Some(tls)) => {
                self.add(Listener::Https(listener, tls.clone()), None, &format!("https://{address}/"));
            }
            (true, None) => {
                bail!(
                    "the socket on {address} is called https, but [server] has no tls = {{ certificate, key }}"
                )
            }
            (false, _) => self.add(Listener::Http(listener), Some(address), &format!("http://{address}/")),
        }
        Ok(())
    }

    fn add(&mut self, listener: Listener, address: Option<SocketAddr>, name: &str) {
        self.listeners.push(listener);
        self.addresses.extend(address);
        self.names.push(name.to_owned());
    }

    /// Hands over the listeners; the socket files stay with the doors.
    pub fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket file that we made; removed when dropped, unless something else has its name by now.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. A socket that a killed process left is replaced, in one step; one that somebody
/// answers at, and anything that is no socket, stays.
async fn bind_unix(path: &Path, mode: u32) -> anyhow::Result<(UnixListener, SocketFile)> {
    let (socket, own) = (path, own_directory(path)?);
    // In a tree, by the descriptor of our directory there: whoever may write into the tree could put another in its place.
    let path = &match (&own, path.file_name()) {
        (Some(own), Some(name)) => {
            Path::new(&format!("/proc/self/fd/{}", own.as_fd().as_raw_fd())).join(name)
        }
        _ => path.to_owned(),
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("{} exists and is no socket", socket.display())
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).context("cannot find out who listens there"),
            Ok(_) => bail!("another process listens there"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut passing = path.as_os_str().to_owned();
    passing.push(".new");
    let passing = PathBuf::from(passing);
    // Of one that was killed in between.
    match fs::remove_file(&passing) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(&passing)?;
    fs::set_permissions(&passing, fs::Permissions::from_mode(mode))?;
    let metadata = fs::symlink_metadata(&passing)?;
    fs::rename(&passing, path)?;
    let inode = (metadata.dev(), metadata.ino());
    Ok((listener, SocketFile { path: socket.to_owned(), inode }))
}

/// The directory of a socket that lies in a tree: `.createrepod`, made where it is missing. `None`: it lies elsewhere.
fn own_directory(socket: &Path) -> io::Result<Option<Own>> {
    match socket.parent() {
        Some(private) if private.file_name().is_some_and(|name| name == PRIVATE) => {
            private.parent().map(Own::make_private).transpose()
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_directory_of_the_control_socket_is_made_where_it_is_missing() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(place.path().join(name).join("control.sock"));
        let mut doors = Doors { listeners: vec![], names: vec![], addresses: vec![], files: vec![] };
        for (control, is_bound) in [(at("run"), true), (at("not/so/deep"), false)] {
            doors.bind_control(&ServerConfig { control: control.clone(), ..ServerConfig::default() }).await;
            assert_eq!(control.unwrap().exists(), is_bound);
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("http.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (listener, file) = bind_unix(&path, 0o666).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        let taken = bind_unix(&path, 0o666).await.err().unwrap();
        assert!(taken.to_string().contains("another process listens"), "{taken}");
        assert!(UnixStream::connect(&path).await.is_ok(), "the first one is still there");
        drop((listener, file));
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(bind_unix(&path, 0o666).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn only_what_is_ours_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("http.sock");
        let (_listener, file) = bind_unix(&path, 0o666).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
