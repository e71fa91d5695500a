//! Repositories of metadata without packages, laid out as createrepo_c lays them out.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use createrepod::package::{Checksum, ChecksumType};
use createrepod::repodata::codec::{Codec, Limits};
use createrepod::repodata::{MetadataType, Record, Repomd};

/// Each package is `name epoch:version-release arch time source`, then its base and the directory it lies in, where
/// it has them; `-` stands for nothing.
pub fn write(path: &Path, packages: &[&str], more: &[(&str, &str, &str)]) {
    let repodata = path.join("repodata");
    fs::create_dir_all(&repodata).unwrap();
    let [mut primary, mut filelists, mut other] =
        MetadataType::ALL.map(|kind| kind.preamble(packages.len() as u64));
    for package in packages {
        let words: Vec<&str> = package.split(' ').collect();
        let [name, evr, arch, time, source, rest @ ..] = &words[..] else { panic!("{package:?}") };
        let (epoch, vr) = evr.split_once(':').unwrap();
        let (version, release) = vr.split_once('-').unwrap();
        let base = rest.first().filter(|base| **base != "-");
        let base = base.map_or(String::new(), |base| format!("xml:base=\"{base}\" "));
        let directory = rest.get(1).map_or(String::new(), |directory| format!("{directory}/"));
        let source = if *source == "-" { "" } else { source };
        let pkgid = Checksum::of(
            ChecksumType::Sha256,
            format!("{} {package}", path.file_name().unwrap().display()).as_bytes(),
        );
        let evr = format!("  <version epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\"/>\n");
        let head = format!("<package pkgid=\"{pkgid}\" name=\"{name}\" arch=\"{arch}\">\n{evr}");
        primary += &format!(
            "<package type=\"rpm\">\n  <name>{name}</name>\n  <arch>{arch}</arch>\n{evr}\
             \x20 <checksum type=\"sha256\" pkgid=\"YES\">{pkgid}</checksum>\n  <summary>s</summary>\n\
             \x20 <description>d &amp; e</description>\n  <packager></packager>\n  <url>http://u</url>\n\
             \x20 <time file=\"{time}\" build=\"7\"/>\n  <size package=\"1\" installed=\"2\" archive=\"3\"/>\n\
             \x20 <location {base}href=\"{directory}{name}-{version}-{release}.{arch}.rpm\"/>\n  <format>\n\
             \x20   <rpm:license>MIT</rpm:license>\n    <rpm:vendor></rpm:vendor>\n    <rpm:group>g</rpm:group>\n\
             \x20   <rpm:buildhost>h</rpm:buildhost>\n{}\
             \x20   <rpm:header-range start=\"4\" end=\"5\"/>\n    <rpm:provides>\n\
             \x20     <rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\"/>\n\
             \x20   </rpm:provides>\n    <file>/etc/{name}</file>\n  </format>\n</package>\n",
            format_args!("    <rpm:sourcerpm>{source}</rpm:sourcerpm>\n"),
        );
        filelists += &format!("{head}  <file>/etc/{name}</file>\n</package>\n");
        other +=
            &format!("{head}  <changelog author=\"a &lt;a@b&gt;\" date=\"9\">- t</changelog>\n</package>\n");
    }
    let mut repomd = Repomd { revision: "1".into(), ..Repomd::default() };
    for (kind, text) in MetadataType::ALL.into_iter().zip([primary, filelists, other]) {
        let name = format!("{}.xml.gz", kind.as_str());
        repomd.records.push(put(&repodata, kind.as_str(), &name, &(text + kind.closing())));
    }
    for (kind, name, text) in more {
        repomd.records.push(put(&repodata, kind, name, text));
    }
    repomd.write(&mut fs::File::create(repodata.join("repomd.xml")).unwrap()).unwrap();
}

/// Compressed as its name says.
fn put(repodata: &Path, kind: &str, name: &str, text: &str) -> Record {
    let mut packed = Vec::new();
    let mut encoder = Codec::of_name(name).create(&mut packed).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
    fs::write(repodata.join(name), &packed).unwrap();
    Record {
        kind: kind.into(),
        checksum: Checksum::of(ChecksumType::Sha256, &packed),
        open_checksum: Some(Checksum::of(ChecksumType::Sha256, text.as_bytes())),
        href: format!("repodata/{name}"),
        base: None,
        timestamp: 1,
        size: Some(packed.len() as u64),
        open_size: Some(text.len() as u64),
        header: None,
        database_version: None,
    }
}

/// Changes the text of one of the files, and what repomd.xml says of it.
pub fn replace(path: &Path, kind: &str, change: impl FnOnce(String) -> String) {
    let repodata = path.join("repodata");
    let mut repomd = Repomd::read(&fs::read(repodata.join("repomd.xml")).unwrap()[..]).unwrap();
    let record = repomd.records.iter_mut().find(|record| record.kind == kind).unwrap();
    let name = record.href.rsplit('/').next().unwrap().to_owned();
    let mut text = String::new();
    let file = fs::File::open(repodata.join(&name)).unwrap();
    Codec::open(file, Limits { open_size: None }).unwrap().read_to_string(&mut text).unwrap();
    *record = put(&repodata, kind, &name, &change(text));
    repomd.write(&mut fs::File::create(repodata.join("repomd.xml")).unwrap()).unwrap();
}
