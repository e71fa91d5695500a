//! One thin wrapper for each real client. A client that is missing is skipped loudly, or is a failure
//! with `CREATEREPOD_REQUIRE_CLIENTS=1`. Each wrapper has directories of its own, so tests can run side by side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::metadata::digest;
use super::skipped;

/// The path of a program, or `None` after having said that it is missing.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    require(
        name,
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file()),
    )
}

/// What GNOME Files mounts a share with; `gio` asks it through D-Bus.
pub fn gvfs() -> Option<PathBuf> {
    let places = ["/usr/libexec/gvfsd-dav", "/usr/lib/gvfs/gvfsd-dav"];
    require("gvfsd-dav", places.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// createrepo_c 1.2 and its sisters, where `make clients` put them. Distributions have older ones, which will not do.
pub fn createrepo_c(name: &str) -> Option<PathBuf> {
    let private = std::env::var_os("CREATEREPOD_CLIENTS").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        Some(cache?.join("createrepod/clients"))
    });
    let path = private.map(|private| private.join("createrepo_c/createrepo_c/data/bin").join(name));
    require(&format!("{name} 1.2"), path.filter(|path| path.is_file()))
}

fn require(name: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        let required = std::env::var_os("CREATEREPOD_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(
            !required,
            "{name} is missing and CREATEREPOD_REQUIRE_CLIENTS=1 (`make clients` installs it)"
        );
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        skipped(format!("{test}: {name} is missing (`make clients` installs it)"));
    }
    found
}

/// Debian's and Fedora's own Python with libmodulemd, which reads and merges modules for dnf and createrepo_c.
pub fn modulemd() -> Option<PathBuf> {
    let python = PathBuf::from("/usr/bin/python3");
    let import = "import gi; gi.require_version('Modulemd', '2.0'); from gi.repository import Modulemd";
    let there = Command::new(&python).args(["-c", import]).output().is_ok_and(|found| found.status.success());
    require("libmodulemd for Python", there.then_some(python))
}

/// Prints what libmodulemd's merger makes of the files given, each at the same priority; exit 3 when it
/// takes one of them only in part or not at all.
const MERGE_MODULES: &str = r"
import sys, gi
gi.require_version('Modulemd', '2.0')
from gi.repository import Modulemd
merger = Modulemd.ModuleIndexMerger.new()
for path in sys.argv[1:]:
    index = Modulemd.ModuleIndex.new()
    try: whole, failures = index.update_from_file(path, False)
    except Exception as error: print(error, file=sys.stderr); sys.exit(3)
    if not whole:
        for failure in failures: print(failure.get_gerror().message, file=sys.stderr)
        sys.exit(3)
    merger.associate_index(index, 0)
try: print(merger.resolve().dump_to_string())
except Exception as error: print(error, file=sys.stderr); sys.exit(3)
";

/// libmodulemd's merger over `files`: what it writes, or why it refuses them.
pub fn modules_merged(python: &Path, files: &[PathBuf]) -> Result<String, String> {
    let done = Command::new(python).args(["-c", MERGE_MODULES]).args(files).output().unwrap();
    match done.status.code() {
        Some(0) => Ok(String::from_utf8(done.stdout).unwrap()),
        _ => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// Runs a command, which must succeed, and returns its standard output.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed with {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// dnf 4 or 5, with an installation root, cache and configuration of its own.
pub struct Dnf {
    program: PathBuf,
    home: TempDir,
}

impl Dnf {
    pub fn find() -> Option<Self> {
        let program = find("dnf")?;
        let home = TempDir::new().unwrap();
        std::fs::create_dir(home.path().join("root")).unwrap();
        std::fs::write(home.path().join("dnf.conf"), "[main]\n").unwrap();
        Some(Self { program, home })
    }

    /// dnf as it would be on a machine where nobody configured it: the `local` plugin alone would add a repository to every run.
    fn plain(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("LC_ALL", "C.UTF-8")
            .arg(format!("--config={}", self.home.path().join("dnf.conf").display()))
            .args(["--noplugins", "-q", "-y", "--releasever=1", "--setopt=varsdir=/dev/null", "--refresh"])
            .args(["--setopt=retries=1", "--setopt=timeout=60"])
            .arg(format!("--installroot={}", self.root().display()))
            .arg(format!("--setopt=cachedir={}", self.home.path().join("cache").display()));
        command
    }

    pub fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    fn command(&self, url: &str) -> Command {
        let mut command = self.plain();
        command
            .args([
                "--setopt=reposdir=/dev/null",
                "--setopt=install_weak_deps=False",
                "--nogpgcheck",
                "--repo=t",
            ])
            .arg(format!("--repofrompath=t,{url}"));
        command
    }

    /// `name-epoch:version-release.arch` of everything the repository has.
    pub fn nevras(&self, url: &str) -> BTreeSet<String> {
        let format = "%{name}-%{epoch}:%{version}-%{release}.%{arch}\n";
        let text = output(self.command(url).args(["repoquery", "--qf", format]));
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The same, as this user with this password.
    pub fn nevras_as(&self, url: &str, user: &str, password: &str) -> BTreeSet<String> {
        let format = "%{name}-%{epoch}:%{version}-%{release}.%{arch}\n";
        let mut command = self.command(url);
        command.arg(format!("--setopt=t.username={user}")).arg(format!("--setopt=t.password={password}"));
        let text = output(command.args(["repoquery", "--qf", format]));
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    pub fn repoquery(&self, url: &str, arguments: &[&str]) -> String {
        output(self.command(url).arg("repoquery").args(arguments))
    }

    /// Downloads every package, whether it could be installed or not; returns the sha256 of each.
    pub fn download_all(&self, url: &str) -> BTreeSet<String> {
        // Debian's dnf lacks the download command (its package conflicts with zypper), but has the library.
        let python = Path::new("/usr/bin/python3");
        if Command::new(python).args(["-c", "import dnf"]).output().is_ok_and(|found| found.status.success())
        {
            let cache = self.home.path().join("cache-all");
            let text =
                output(Command::new(python).args(["-c", DOWNLOAD_ALL, url]).arg(cache).arg(self.root()));
            return text.lines().map(str::to_owned).collect();
        }
        let target = self.home.path().join("downloaded");
        output(self.command(url).arg("download").arg(format!("--destdir={}", target.display())).arg("*"));
        rpms_below(&target).iter().map(|(_, bytes)| digest("sha256", bytes).unwrap()).collect()
    }

    /// Lists what a repository has whose `.repo` file says this, with the checks it asks for; keys are accepted.
    pub fn checked(&self, dot_repo: &str) -> Result<String, String> {
        let repos = self.home.path().join("repos");
        std::fs::create_dir_all(&repos).unwrap();
        std::fs::write(repos.join("test.repo"), dot_repo).unwrap();
        let mut command = self.plain();
        command
            .arg("--setopt=skip_if_unavailable=False")
            .arg(format!("--setopt=reposdir={}", repos.display()))
            .args(["repoquery", "--qf", "%{name}-%{epoch}:%{version}-%{release}.%{arch}\n"]);
        tried(&mut command)
    }

    /// What any other command of dnf prints.
    pub fn say(&self, url: &str, arguments: &[&str]) -> String {
        output(self.command(url).args(arguments))
    }

    pub fn install(&self, url: &str, package: &str) {
        output(self.command(url).args(["install", package]));
    }
}

/// dnf checks what it has downloaded against the metadata. Base names may repeat, so each is looked at in its turn.
const DOWNLOAD_ALL: &str = r"
import sys, os, hashlib, dnf
url, cache, root = sys.argv[1:]
base = dnf.Base()
conf = base.conf
conf.cachedir = cache; conf.installroot = root; conf.reposdir = []; conf.logdir = cache
conf.substitutions['releasever'] = '1'
base.repos.add_new_repo('t', conf, baseurl=[url], retries=1)
base.fill_sack(load_system_repo=False)
packages = list(base.sack.query())
if not packages: sys.exit('the repository is empty')
for package in packages:
    base.download_packages([package])
    with open(package.localPkg(), 'rb') as file: print(hashlib.sha256(file.read()).hexdigest())
    os.remove(package.localPkg())
";

/// zypper with a root and caches of its own.
pub struct Zypper {
    program: PathBuf,
    home: TempDir,
}

impl Zypper {
    pub fn find() -> Option<Self> {
        let program = find("zypper")?;
        Some(Self { program, home: TempDir::new().unwrap() })
    }

    fn command(&self) -> Command {
        let root = self.home.path().join("root");
        let mut command = Command::new(&self.program);
        command
            .env("LC_ALL", "C.UTF-8")
            // The lock is per process tree otherwise, not per root.
            .env("ZYPP_LOCKFILE_ROOT", &root)
            .arg("--root")
            .arg(&root)
            .args(["--quiet", "--non-interactive", "--no-gpg-checks", "--pkg-cache-dir"])
            .arg(self.home.path().join("packages"));
        command
    }

    /// Adds the repository and reads its metadata.
    pub fn add(&self, url: &str) {
        output(self.command().args(["addrepo", "--no-gpgcheck", url, "t"]));
        output(self.command().args(["refresh", "--force", "t"]));
    }

    /// Adds the repository with its signature required, accepts its key, and lists what it has.
    pub fn checked(&self, url: &str) -> Result<String, String> {
        let root = self.home.path().join("root");
        let zypper = || {
            let mut command = Command::new(&self.program);
            command
                .env("LC_ALL", "C.UTF-8")
                .env("ZYPP_LOCKFILE_ROOT", &root)
                .arg("--root")
                .arg(&root)
                .args(["--non-interactive", "--gpg-auto-import-keys"]);
            command
        };
        tried(zypper().args(["addrepo", "--gpgcheck-strict", url, "t"]))?;
        tried(zypper().args(["refresh", "--force", "t"]))?;
        tried(zypper().args(["search", "-s"]))
    }

    /// All patches, installed, needed or not, as XML.
    pub fn patches(&self) -> String {
        output(self.command().args(["--xmlout", "list-patches", "--all"]))
    }

    /// `name-version-release.arch` of everything the repository has; zypper prints an epoch only when there is one.
    pub fn nevras(&self) -> BTreeSet<String> {
        let xml = output(self.command().args(["--xmlout", "search", "-s"]));
        let attribute = |line: &str, name: &str| {
            let rest = line.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest)?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        xml.lines()
            .filter(|line| line.trim_start().starts_with("<solvable "))
            .map(|line| {
                let get = |name| attribute(line, name).unwrap_or_else(|| panic!("no {name} in {line}"));
                format!("{}-{}.{}", get("name"), get("edition"), get("arch"))
            })
            .collect()
    }

    /// Downloads this package, such as `name=version-release`; zypper checks its digest.
    pub fn download(&self, package: &str) {
        output(self.command().args(["download", package]));
    }

    /// What was downloaded: base name and content.
    pub fn downloaded(&self) -> Vec<(String, Vec<u8>)> {
        rpms_below(&self.home.path().join("packages"))
    }
}

/// Every `.rpm` below a directory: base name and content.
pub fn rpms_below(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut rpms_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rpm") {
            found.push((
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                std::fs::read(&path).unwrap(),
            ));
        }
    }
    found.sort();
    found
}

/// Runs a command; what it says, as `Err` when it fails.
fn tried(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(stdout.into_owned()) } else { Err(format!("{stdout}{stderr}")) }
}

/// gpg with a home of its own.
pub struct Gpg {
    program: PathBuf,
    home: TempDir,
}

impl Gpg {
    pub fn find() -> Option<Self> {
        let program = find("gpg")?;
        // A socket's path must be short.
        let home = tempfile::Builder::new().prefix("gpg-").tempdir_in("/tmp").unwrap();
        Some(Self { program, home })
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("LC_ALL", "C.UTF-8").arg("--homedir").arg(self.home.path());
        command.args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]);
        command
    }

    pub fn import(&self, key: &[u8]) {
        let file = self.home.path().join("import");
        std::fs::write(&file, key).unwrap();
        output(self.command().arg("--import").arg(file));
    }

    pub fn show_keys(&self) -> String {
        output(self.command().args(["--with-colons", "--list-keys"]))
    }

    pub fn export(&self) -> String {
        output(self.command().args(["--armor", "--export"]))
    }

    /// An RSA key without a passphrase.
    pub fn generate(&self, user_id: &str) {
        output(self.command().args(["--quick-generate-key", user_id, "rsa2048", "sign", "never"]));
    }

    pub fn list_packets(&self, bytes: &[u8]) -> String {
        let file = self.home.path().join("packets");
        std::fs::write(&file, bytes).unwrap();
        output(self.command().arg("--list-packets").arg(file))
    }

    /// `gpg --verify` of a detached signature.
    pub fn verify(&self, signature: &[u8], bytes: &[u8]) -> Result<String, String> {
        let place = tempfile::tempdir_in(self.home.path()).unwrap();
        let (detached, data) = (place.path().join("s.asc"), place.path().join("s"));
        std::fs::write(&detached, signature).unwrap();
        std::fs::write(&data, bytes).unwrap();
        tried(self.command().arg("--verify").arg(detached).arg(data))
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // The agent it may have started.
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).output();
    }
}
