//! A power cut loses what was not synced: the order of writes is recorded and cut at every call.

mod disk;
mod lost;
mod record;

use std::fs;
use std::process::Command;

use crate::sign::generate;
use crate::world::clients::find;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, daemon, eventually, skipped};
use disk::hrefs;
use record::{Player, Seen};

/// What was promised, and where it must lie.
struct Judge {
    player: Player,
    tree: String,
    /// Files whose acknowledgement comes, in this order; `None`: an answer that promises nothing new.
    coming: Vec<Option<String>>,
    promised: Vec<String>,
    switches: usize,
    answers: usize,
}

impl Judge {
    fn new(home: &str, tree: &str, mut coming: Vec<Option<String>>) -> Self {
        coming.reverse();
        let player = Player::new(home);
        Self { player, tree: tree.to_owned(), coming, promised: Vec::new(), switches: 0, answers: 0 }
    }

    /// Cuts the power after this call.
    fn line(&mut self, line: &str) -> Result<(), String> {
        match self.player.line(line) {
            Seen::Acknowledged => {
                self.answers += 1;
                // What was replaced may be one or the other until then, but never less.
                self.promised.extend(self.coming.pop().flatten());
            }
            Seen::Switched => self.switches += 1,
            Seen::Other => {}
        }
        self.player.disk.is_consistent(&self.tree)?;
        self.promised.iter().try_for_each(|path| self.player.disk.is_reachable(path))
    }

    fn all(&mut self, lines: &str) -> Result<(), String> {
        lines
            .lines()
            .try_for_each(|line| self.line(line).map_err(|why| format!("{why}, after: {}", short(line))))
    }
}

fn short(line: &str) -> String {
    line.chars().take(300).collect()
}

#[test]
fn what_is_acknowledged_or_published_survives_a_power_cut_after_any_call() {
    let Some(strace) = find("strace") else { return };
    let tree = Tree::new();
    let traced = |log: &std::path::Path| {
        let mut command = Command::new(&strace);
        command.args(["-D", "-f", "-y", "-s", "65536", "-o"]).arg(log).arg("-e").arg(
            "trace=openat,openat2,open,creat,write,writev,pwrite64,sendto,sendmsg,copy_file_range,sendfile,\
             splice,ftruncate,fsync,fdatasync,close,rename,renameat,renameat2,link,linkat,unlink,unlinkat,\
             rmdir,mkdir,mkdirat",
        );
        command
    };
    let works = traced(&tree.beside("try")).arg("true").status().is_ok_and(|status| status.success());
    if !works {
        return skipped("power cuts: strace may not trace here");
    }
    let key = generate(&tree, "signing.asc", &["--ed25519"]);
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\n\
         write = \"anyone\"\noverwrite = \"allow\"\nmetadata = \"el7\"\ngrace = \"1s\"\nsign = {{ key = \"{}\" }}\n",
        tree.beside("state").display(),
        tree.root().display(),
        key.display(),
    );
    let config = daemon::write_config(&tree, &text);
    let log = tree.beside("calls");
    let mut command = traced(&log);
    let program = daemon::program();
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.arg(program.get_program()).args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()]);
    let daemon = Daemon::start_as(command, "/rpm/");
    let at = |location: &str| Some(tree.path(location).to_str().unwrap().to_owned());
    // Only what a connection of ours asks for is answered; the first is the look at its health.
    let health = fs::read_to_string(&log).unwrap().matches("\"HTTP/1.1 200").count();
    let mut coming = vec![None; health];
    for number in 0..6 {
        let rpm = Rpm::new(format!("p{number}")).payload(30_000 * number);
        let location = format!("sub{}/deep/{}", number % 3, rpm.file_name());
        assert_eq!(daemon.put(&location, &rpm.build()).status, 201);
        coming.push(at(&location));
        if number % 2 == 0 {
            assert!(daemon.put_and_wait(&location, &rpm.salt(9).build()).status < 300);
            coming.push(at(&location));
        }
    }
    for part in 0..3 {
        let rpm = Rpm::new(format!("b{part}"));
        let headers = [("Createrepod-Batch", "b")];
        let answer = daemon.request("PUT", &rpm.file_name(), &headers, Some(&rpm.build()));
        assert_eq!(answer.status, 201);
        coming.push(Some(
            tree.path(".createrepod/incoming/batches/b/files")
                .join(rpm.file_name())
                .to_str()
                .unwrap()
                .to_owned(),
        ));
    }
    let moved = Rpm::new("moved");
    assert_eq!(daemon.put(&moved.file_name(), &moved.build()).status, 201);
    coming.push(None);
    let destination = format!("{}sub1/{}", daemon.url(), moved.file_name());
    let answer = daemon.request("MOVE", &moved.file_name(), &[("Destination", &destination)], None);
    assert_eq!(answer.status, 201, "{}", answer.text());
    coming.push(at(&format!("sub1/{}", moved.file_name())));
    let uploads = coming.len();
    daemon.stop();
    let recorded = eventually(PATIENCE, "the end of the recording", || {
        let text = fs::read_to_string(&log).ok()?;
        text.trim_end().ends_with("+++ exited with 0 +++").then_some(text)
    });
    let home = tree.beside("").to_str().unwrap().trim_end_matches('/').to_owned();
    let mut judge = Judge::new(&home, tree.root().to_str().unwrap(), coming);
    judge.all(&recorded).unwrap_or_else(|why| panic!("a power cut here does harm: {why}"));
    println!(
        "{} calls, {} publications, {} answers",
        recorded.lines().count(),
        judge.switches,
        judge.answers
    );
    assert!(judge.switches >= 3, "{} publications were seen", judge.switches);
    assert_eq!(judge.answers, uploads, "answers were seen");
    assert_eq!(judge.promised.len(), uploads - health - 1);
    let last = fs::read_to_string(tree.path("repodata/repomd.xml")).unwrap();
    let id = judge.player.disk.find(tree.path("repodata/repomd.xml").to_str().unwrap()).unwrap();
    assert_eq!(
        judge.player.disk.hrefs(id),
        hrefs(&last),
        "the disk that was played is the one that is there"
    );
}

/// The calls of an upload and a publication as they should be; each line, left out, does harm.
const GOOD: &str = r#"1 openat(5</h/rpm>, ".", O_RDWR|O_CLOEXEC|O_TMPFILE, 0600) = 9</h/rpm/#7 (deleted)>
1 write(9</h/rpm/#7 (deleted)>, "package", 7) = 7
2 fdatasync(9</h/rpm/#7 (deleted)> <unfinished ...>
3 write(2</dev/null>, "x", 1) = 1
2 <... fdatasync resumed>) = 0
1 linkat(AT_FDCWD</>, "/proc/self/fd/9", 5</h/rpm>, "a.rpm", AT_SYMLINK_FOLLOW) = 0
1 fsync(5</h/rpm>) = 0
1 writev(11<socket:[1]>, [{iov_base="HTTP/1.1 201 Created\r\n", iov_len=9}], 1) = 9
1 openat(AT_FDCWD</>, "/h/rpm/.createrepod/incoming/metadata-primary", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 9</h/rpm/.createrepod/incoming/metadata-primary>
1 write(9</h/rpm/.createrepod/incoming/metadata-primary>, "<metadata/>", 11) = 11
1 fsync(9</h/rpm/.createrepod/incoming/metadata-primary>) = 0
1 openat(AT_FDCWD</>, "/h/rpm/.createrepod/incoming/metadata-repomd", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 9</h/rpm/.createrepod/incoming/metadata-repomd>
1 write(9</h/rpm/.createrepod/incoming/metadata-repomd>, "<repomd><location href=\"repodata/1-primary.xml.gz\"/>", 50) = 50
1 fsync(9</h/rpm/.createrepod/incoming/metadata-repomd>) = 0
1 rename("/h/rpm/.createrepod/incoming/metadata-primary", "/h/rpm/repodata/1-primary.xml.gz") = 0
1 fsync(8</h/rpm/repodata>) = 0
1 rename("/h/rpm/.createrepod/incoming/metadata-repomd", "/h/rpm/repodata/repomd.xml") = 0
1 fsync(8</h/rpm/repodata>) = 0
1 unlink("/h/rpm/repodata/0-primary.xml.gz") = 0
"#;

fn judged(lines: &str) -> Result<(), String> {
    Judge::new("/h", "/h/rpm", vec![Some("/h/rpm/a.rpm".into())]).all(lines)
}

#[test]
fn a_file_is_linked_by_its_descriptor_as_by_its_path() {
    let by_path = r#"linkat(AT_FDCWD</>, "/proc/self/fd/9", 5</h/rpm>, "a.rpm", AT_SYMLINK_FOLLOW)"#;
    assert!(GOOD.contains(by_path));
    let linked = |number: u32| {
        let call = format!(r#"linkat({number}</h/rpm/#7 (deleted)>, "", 5</h/rpm>, "a.rpm", AT_EMPTY_PATH)"#);
        judged(&GOOD.replace(by_path, &call))
    };
    linked(9).unwrap();
    assert!(linked(10).unwrap_err().contains("a.rpm was never made"));
}

#[test]
fn a_file_that_gets_the_number_of_one_that_is_still_being_closed_is_followed() {
    let open = GOOD.lines().find(|line| line.contains("metadata-primary\", O_WRONLY")).unwrap();
    let closing = "2 close(9</h/rpm/#7 (deleted)> <unfinished ...>";
    let between = format!("{closing}\n{open}\n2 <... close resumed>) = 0");
    judged(&GOOD.replace(open, &between)).unwrap();
}

#[test]
fn a_sync_that_is_left_out_is_noticed() {
    judged(GOOD).unwrap();
    let without = |which: &str| {
        let kept: Vec<&str> = GOOD.lines().filter(|line| !line.contains(which)).collect();
        assert!(kept.len() < GOOD.lines().count(), "{which} is there");
        judged(&kept.join("\n")).unwrap_err()
    };
    assert!(without("fdatasync").contains("a.rpm may lack bytes"));
    assert!(without("fsync(5").contains("a.rpm may be missing"));
    assert!(without("linkat").contains("a.rpm was never made"));
    assert!(
        without("fsync(9</h/rpm/.createrepod/incoming/metadata-primary")
            .contains("1-primary.xml.gz may lack")
    );
    assert!(
        without("fsync(9</h/rpm/.createrepod/incoming/metadata-repomd").contains("repomd.xml may lack bytes")
    );
    assert!(without("fsync(8").contains("1-primary.xml.gz may be missing"));
    // What the old repomd.xml names may go once it can no longer come back.
    let early = GOOD.replace("1 fsync(8</h/rpm/repodata>) = 0\n1 unlink", "1 unlink").replace(
        "1 rename(\"/h/rpm/.createrepod/incoming/metadata-repomd\", \"/h/rpm/repodata/repomd.xml\") = 0\n",
        &format!(
            "{}{}",
            "1 rename(\"/h/rpm/.createrepod/incoming/metadata-repomd\", \"/h/rpm/repodata/repomd.xml\") = 0\n",
            "1 unlink(\"/h/rpm/repodata/1-primary.xml.gz\") = 0\n"
        ),
    );
    assert!(judged(&early).unwrap_err().contains("may be missing"));
}
