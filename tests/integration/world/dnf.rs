//! dnf that stays: its library in one process, asked again and again. Most of what a run of dnf takes is its start.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::clients::{Dnf, Gpg};

/// Answers each `.repo` file with what the repository has, every byte fetched anew and checked as the file says.
pub struct Resident {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
    home: TempDir,
}

const PROGRAM: &str = r"
import sys, os, shutil, dnf
home = sys.argv[1]
print('ready', flush=True)
for line in sys.stdin:
    try:
        base = dnf.Base()
        conf = base.conf
        conf.cachedir = home + '/cache'; conf.installroot = home + '/root'; conf.logdir = home
        conf.reposdir = [line.strip()]; conf.varsdir = []
        conf.substitutions['releasever'] = '1'
        base.read_all_repos()
        for repo in base.repos.iter_enabled():
            repo.skip_if_unavailable = False
            repo.retries = 1
            repo._repo.expire()
        base.fill_sack(load_system_repo=False)
        for package in base.sack.query():
            print('%s-%s:%s-%s.%s' % (package.name, package.epoch, package.version, package.release, package.arch))
        base.close()
        print('.', flush=True)
    except Exception as error:
        print('!' + ' '.join(str(error).split()), flush=True)
";

impl Resident {
    /// `None` where there is no dnf, or no library of it for Python.
    pub fn start() -> Option<Self> {
        let _ = (Gpg::find()?, Dnf::find()?);
        let home = TempDir::new().unwrap();
        for place in ["root", "repos"] {
            std::fs::create_dir(home.path().join(place)).unwrap();
        }
        let mut child = Command::new("/usr/bin/python3")
            .env("LC_ALL", "C.UTF-8")
            .args(["-c", PROGRAM])
            .arg(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (ask, answer) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut resident = Self { child, ask, answer, home };
        match resident.line() {
            Ok(line) if line == "ready" => Some(resident),
            _ => {
                let required =
                    std::env::var_os("CREATEREPOD_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
                assert!(!required, "python3 has no dnf here and CREATEREPOD_REQUIRE_CLIENTS=1");
                super::skipped("dnf that stays: python3 has no dnf here");
                None
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answer.read_line(&mut line) {
            Ok(0) => Err("dnf has ended".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What a repository has whose `.repo` file says this, with the checks it asks for.
    pub fn read(&mut self, dot_repo: &str) -> Result<BTreeSet<String>, String> {
        let repos = self.home.path().join("repos");
        std::fs::write(repos.join("test.repo"), dot_repo).unwrap();
        writeln!(self.ask, "{}", repos.display()).map_err(|error| error.to_string())?;
        let mut found = BTreeSet::new();
        loop {
            let line = self.line()?;
            match line.strip_prefix('!') {
                Some(why) => return Err(why.to_owned()),
                None if line == "." => return Ok(found),
                None => _ = found.insert(line),
            }
        }
    }

    /// What lies in a directory, as another web server would serve it.
    pub fn read_directory(&mut self, tree: &Path) -> Result<BTreeSet<String>, String> {
        self.read(&format!(
            "[disk]\nname=disk\nbaseurl=file://{}\ngpgcheck=0\nrepo_gpgcheck=0\n",
            tree.display()
        ))
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
