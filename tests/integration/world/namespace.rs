//! A mount namespace of a test's own: small file systems that can be filled, remounted and taken away, seen by
//! nobody else and gone with the test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::clients::{find, output};
use super::daemon::program;
use super::{Daemon, skipped};

/// Held by a process that sleeps in it.
pub struct Namespace {
    holder: Child,
    /// A user namespace too: where the test is not root, or may not mount as such.
    user: bool,
}

impl Namespace {
    /// `None`, having said so, where the machine allows none; a failure where clients are required.
    pub fn new() -> Option<Self> {
        Self::of(&["-Urm", "-m"])
    }

    /// One in which root may become any other user, as a service manager's does.
    pub fn with_all_users() -> Option<Self> {
        Self::of(&["-m"])
    }

    fn of(ways: &[&'static str]) -> Option<Self> {
        let unshare = find("unshare")?;
        find("nsenter")?;
        let user = ways.iter().copied().find(|&flags| {
            let mounts = ["sh", "-c", "mount -t tmpfs none /mnt"];
            Command::new(&unshare).arg(flags).args(mounts).output().is_ok_and(|tried| tried.status.success())
        });
        let Some(flags) = user else {
            let required = std::env::var_os("CREATEREPOD_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
            assert!(!required, "mount namespaces are not allowed here and CREATEREPOD_REQUIRE_CLIENTS=1");
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            skipped(format!("{test}: mount namespaces are not allowed here"));
            return None;
        };
        let mut holder = Command::new(unshare)
            .args([flags, "sh", "-c", "echo in && exec sleep 100000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        Some(Self { holder, user: flags == "-Urm" })
    }

    /// A command that runs inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        if self.user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "-t"]).arg(self.holder.id().to_string()).arg(program);
        command
    }

    /// A path inside, as it is reached from outside.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let inside = path.as_ref().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// Puts an empty file system of at most `size` at a directory.
    pub fn small(&self, at: &Path, size: &str) {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=755");
        output(self.command("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(at));
    }

    pub fn serve(&self, config: &Path) -> Daemon {
        let mut command = self.command(program().get_program());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CREATEREPOD_"))
        {
            command.env_remove(name);
        }
        command.args(["serve", "--config"]).arg(config).stdin(Stdio::null());
        Daemon::start_as(command, "/rpm/")
    }

    /// Fills the file system at `directory` to its last byte; removing the file makes room again.
    pub fn fill(&self, directory: &Path) -> PathBuf {
        let filler = self.path(directory.join(".filler"));
        let mut file = File::create(&filler).unwrap();
        for block in [64 << 10, 4 << 10, 1] {
            while file.write_all(&vec![b'x'; block]).is_ok() {}
        }
        filler
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
