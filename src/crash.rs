//! Places at which a test has the process die as in a power cut: by SIGKILL, in the middle of what it does.
//!
//! Without the feature `crash-points` there is nothing of this in the program; `make test` has it on, and the
//! test of the packages looks that a release has it off. `CREATEREPOD_CRASH_AT=UploadLinked` kills at the
//! first arrival there, `UploadLinked:3` at the third.

macro_rules! points {
    ($($name:ident: $what:literal,)*) => {
        /// A step after which a crash must do no harm.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point { $(#[doc = $what] $name),* }

        /// Each of them; a test kills the process at every one.
        pub const ALL: &[Point] = &[$(Point::$name),*];
    };
}

points! {
    UploadStaged: "The first bytes of an upload are to be written to a file without a name.",
    UploadWritten: "All its bytes are written and checked, and not synced.",
    UploadSynced: "The bytes are synced; nothing has a name.",
    UploadPassing: "What is to replace another file has a passing name in `.createrepod/incoming`.",
    UploadLinked: "The upload has its name in the tree.",
    UploadDirectorySynced: "The name survives a power cut; the worker does not know.",
    UploadArrived: "The worker knows; nobody was answered.",
    RemovalMoved: "A removed package lies among those kept for the grace period; neither directory is synced.",
    RemovalDone: "The same, synced; the worker does not know, and nobody was answered.",
    RenameKept: "A package about to be renamed has its old name among those kept for the grace period, too.",
    RenameDone: "It has its new name; neither directory is synced, and the worker does not know.",
    RenameTold: "The worker knows; its properties are still those of the old name.",
    RenameCarried: "Its properties are carried along.",
    RenameNewSynced: "The new name survives a power cut; the old one may come back.",
    RenameSynced: "Both directories are synced; nobody was answered.",
    FolderMade: "A folder is made, and its name not synced.",
    CopyReceived: "A copy has come in like an upload; its properties have not.",
    CopyCarried: "They have; nobody was answered.",
    BatchHeld: "A file of a batch has its name in the batch.",
    BatchBegun: "A batch's commit is written down.",
    BatchShown: "One file of a batch has its name in the tree.",
    BatchSynced: "All of a batch is in the tree, and synced.",
    BatchNamedGone: "The batch is marked as gone.",
    BatchRemoved: "The batch is removed; nobody was answered.",
    CatalogPieces: "Pieces are in the file of pieces; the transaction that names them is open.",
    CatalogWritten: "All rows are written; the transaction is not committed.",
    CatalogCommitted: "The catalog lists what is not published.",
    CompactionCopied: "Living pieces are copied to a new file; the catalog names the old one.",
    CompactionNamed: "The catalog names the new file; the old one is still there.",
    DatabasesBuilt: "Databases are made anew; their index is not.",
    DatabasesForgotten: "Kept databases count as damaged: they are about to be changed.",
    DatabasesChangedOne: "One of three is changed.",
    DatabasesChanged: "All three are changed; their index is not.",
    DatabasesIndexed: "The index knows what they hold.",
    DatabasesNoted: "They count as whole again.",
    MetadataStaged: "One metadata file is written and synced, in `.createrepod/incoming`.",
    RepomdWritten: "The new repomd.xml is written, not synced, in `.createrepod/incoming`.",
    RepomdSynced: "The same, synced.",
    RepomdSigned: "Its signature is made, in memory.",
    NamesNoted: "The catalog knows the names of what will be in `repodata/`.",
    SignatureStaged: "The signature is written and synced, in `.createrepod/incoming`.",
    FileRenamed: "One of the new files has its name in `repodata/`.",
    FilesSynced: "All of them have, and it survives a power cut; the old repomd.xml stands.",
    RepomdRenamed: "The new repomd.xml is in its place.",
    RepomdSwitched: "The same, safe from a power cut.",
    OldSuperseded: "The catalog knows which files are superseded.",
    SignatureNoted: "… and which signature is ours,",
    PublicationNumbered: "… and the publication's number,",
    PublicationNoted: "… and that what is listed is published.",
    OldRemoved: "Files whose grace has ended are removed; the catalog still has them.",
    OldForgotten: "… and no longer has them.",
}

/// Dies here if the environment asks for it.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_: Point) {}

/// Dies here if the environment asks for it.
#[cfg(feature = "crash-points")]
pub fn point(point: Point) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("CREATEREPOD_CRASH_AT").ok()?;
        let (name, arrival) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), arrival.parse().unwrap_or(1)))
    });
    static ARRIVALS: AtomicU64 = AtomicU64::new(0);

    let Some((name, arrival)) = &*WANTED else { return };
    if *name == format!("{point:?}") && ARRIVALS.fetch_add(1, Ordering::SeqCst) + 1 == *arrival {
        // Nothing more is done or flushed; the loop is for the moment until the kernel is through.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
