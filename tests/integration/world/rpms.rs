//! Small valid packages, made in the process: thousands a second, every byte decided by the test.

use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};

use super::Random;

/// A package to be built; equal values build equal bytes.
#[derive(Debug, Clone)]
pub struct Rpm {
    pub name: String,
    pub version: String,
    pub release: String,
    pub arch: String,
    requires: Vec<String>,
    files: Vec<String>,
    payload: usize,
    changelogs: u32,
    salt: u64,
    summary: String,
}

impl Rpm {
    /// `name-1.0-1.noarch`, with one file and no requirement.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            files: vec![format!("/usr/share/{name}/README")],
            name,
            version: "1.0".into(),
            release: "1".into(),
            arch: "noarch".into(),
            requires: Vec::new(),
            payload: 0,
            changelogs: 1,
            salt: 0,
            summary: "A test package".into(),
        }
    }

    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    pub fn arch(mut self, arch: impl Into<String>) -> Self {
        self.arch = arch.into();
        self
    }

    pub fn requires(mut self, name: impl Into<String>) -> Self {
        self.requires.push(name.into());
        self
    }

    pub fn file(mut self, path: impl Into<String>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Adds a file of so many bytes that do not compress.
    pub fn payload(mut self, bytes: usize) -> Self {
        self.payload = bytes;
        self
    }

    /// Has so many changelog entries, a day apart.
    pub fn changelogs(mut self, count: u32) -> Self {
        self.changelogs = count;
        self
    }

    /// Other bytes under the same NEVRA.
    pub fn salt(mut self, salt: u64) -> Self {
        self.salt = salt;
        self
    }

    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// `name-version-release.arch`
    pub fn nvra(&self) -> String {
        format!("{}-{}-{}.{}", self.name, self.version, self.release, self.arch)
    }

    pub fn file_name(&self) -> String {
        self.nvra() + ".rpm"
    }

    pub fn build(&self) -> Vec<u8> {
        // Without reserved space and compression a package is small and quickly made.
        let config = BuildConfig::v4()
            .source_date(1_600_000_000_u32)
            .compression(CompressionType::None)
            .reserved_space(None);
        let mut builder = PackageBuilder::new(&self.name, &self.version, "MIT", &self.arch, &self.summary);
        builder
            .using_config(config)
            .release(&self.release)
            .build_host("build.example.com")
            .description(format!("Made by createrepod's tests, salt {}.", self.salt));
        for name in &self.requires {
            builder.requires(Dependency::any(name));
        }
        for path in &self.files {
            let text = format!("{path} of {} with salt {}\n", self.nvra(), self.salt);
            builder.with_file_contents(text, FileOptions::new(path).permissions(0o644)).unwrap();
        }
        if self.payload > 0 {
            let path = format!("/usr/share/{}/payload", self.name);
            let bytes = Random::new(self.salt ^ 0x5EED).bytes(self.payload);
            builder.with_file_contents(bytes, FileOptions::new(path).permissions(0o644)).unwrap();
        }
        for days_ago in 0..self.changelogs {
            let time = 1_600_000_000_u32 - days_ago * 86_400;
            builder.add_changelog_entry("Test <test@example.com> - 1.0-1", "- built", time);
        }
        builder.provides(Dependency::eq(format!("virtual({})", self.name), &self.version));
        let mut bytes = Vec::new();
        builder.build().unwrap().write(&mut bytes).unwrap();
        bytes
    }
}
