//! Many parts of a file in one answer.

use super::world::World;

/// The parts of a multipart body: their `Content-Range` and their bytes.
fn parts(boundary: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mark = format!("\r\n--{boundary}");
    let find = |from: usize, what: &[u8]| {
        let at = body[from..].windows(what.len()).position(|window| window == what);
        from + at.unwrap_or_else(|| panic!("{:?} is missing", String::from_utf8_lossy(what)))
    };
    let mut found = Vec::new();
    let mut at = find(0, mark.as_bytes()) + mark.len();
    assert_eq!(at, mark.len(), "nothing stands before the first part");
    while !body[at..].starts_with(b"--") {
        let head_end = find(at, b"\r\n\r\n");
        let head = String::from_utf8(body[at..head_end].to_vec()).unwrap();
        let range = head.lines().find_map(|line| line.strip_prefix("Content-Range: ")).unwrap().to_owned();
        let end = find(head_end + 4, mark.as_bytes());
        found.push((range, body[head_end + 4..end].to_vec()));
        at = end + mark.len();
    }
    assert_eq!(&body[at..], b"--\r\n");
    found
}

#[test]
fn many_ranges_come_as_many_parts() {
    let world = World::new();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n * 7 % 253) as u8).collect();
    // From memory, and streamed from the disk.
    for (name, bytes) in [("small.rpm", &bytes[..5000]), ("large.rpm", &bytes[..])] {
        std::fs::write(world.path(name), bytes).unwrap();
        let path = format!("/rpm/{name}");
        let many: Vec<String> = (0..256).map(|n| format!("{}-{}", n * 19, n * 19 + 6)).collect();
        let answer = world.ask("GET", &path, &[("Range", &format!("bytes={}", many.join(",")))], b"");
        assert_eq!(answer.status, 206);
        let media_type = answer.header("content-type").unwrap();
        let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let parts = parts(boundary, &answer.body);
        assert_eq!(parts.len(), 256);
        for (n, (range, part)) in parts.iter().enumerate() {
            assert_eq!(*range, format!("bytes {}-{}/{}", n * 19, n * 19 + 6, bytes.len()));
            assert!(part == &bytes[n * 19..n * 19 + 7], "{name} {n}");
        }
        assert_eq!(answer.header("content-range"), None);

        let merged = world.ask("GET", &path, &[("Range", "bytes=10-19,5-9,20-29")], b"");
        assert_eq!((merged.status, merged.body.as_slice()), (206, &bytes[5..30]));
        assert_eq!(merged.header("content-range"), Some(&*format!("bytes 5-29/{}", bytes.len())));

        let greedy = world.ask("GET", &path, &[("Range", "bytes=0-,1-")], b"");
        assert_eq!((greedy.status, greedy.body.len()), (200, bytes.len()));
        let outside = world.ask("GET", &path, &[("Range", "bytes=9000000-,9900000-9900001")], b"");
        assert_eq!(outside.status, 416);
        assert_eq!(outside.header("content-range"), Some(&*format!("bytes */{}", bytes.len())));

        let tag = answer.header("etag").unwrap();
        let same = [("Range", "bytes=0-1,5-6"), ("If-Range", tag)];
        assert_eq!(world.ask("GET", &path, &same, b"").status, 206);
        let other = [("Range", "bytes=0-1,5-6"), ("If-Range", "\"other\"")];
        assert_eq!(world.ask("GET", &path, &other, b"").status, 200);
        let head = world.ask("HEAD", &path, &[("Range", "bytes=0-1,5-6")], b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some(&*bytes.len().to_string())));
    }
}

#[test]
fn a_digest_of_the_whole_is_told_to_whoever_asks() {
    let world = World::new().published();
    let bytes = super::world::rpm("a", 0, 100);
    assert_eq!(world.ask("PUT", "/rpm/a.rpm", &[("Prefer", "wait=60")], &bytes).status, 201);
    let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes);
    let stated = |answer: &super::world::Response| answer.header("repr-digest").map(str::to_owned);
    let want = [("Want-Repr-Digest", "sha-256=10")];
    let told = stated(&world.ask("GET", "/rpm/a.rpm", &want, b"")).unwrap();
    // What we tell, we take: the same bytes again, with the digest they were given with.
    let again = world.ask("PUT", "/rpm/a.rpm", &[("Repr-Digest", &told)], &bytes);
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(sum.len(), 32);
    assert_eq!(stated(&world.ask("HEAD", "/rpm/a.rpm", &want, b"")).as_deref(), Some(&*told));
    assert_eq!(stated(&world.get("/rpm/a.rpm")), None);
    let part = [want[0], ("Range", "bytes=0-9")];
    assert_eq!(stated(&world.ask("GET", "/rpm/a.rpm", &part, b"")).as_deref(), Some(&*told), "of the whole");

    let repomd = world.ask("GET", "/rpm/repodata/repomd.xml", &want, b"");
    assert!(stated(&repomd).is_some());
    let href = repomd.text().split("href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let metadata = world.get(&format!("/rpm/{href}"));
    assert_eq!(metadata.status, 200);
    assert!(stated(&metadata).unwrap().starts_with("sha-256=:"), "its name says it, so it costs nothing");
}
