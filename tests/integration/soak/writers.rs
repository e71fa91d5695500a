//! Those who change a repository over HTTP without pause, and what they were told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Figures;
use crate::world::metadata::digest;
use crate::world::{Random, Rpm, http};

/// Packages each writer has at most.
const MOST: usize = 25;

/// One writer, and what its locations may hold: SHA-256, or `None` for nothing. More than one where the answer
/// was not heard.
pub struct Writer {
    number: usize,
    random: Random,
    next: u64,
    /// Old and new name of what is being moved.
    moving: Option<(String, String)>,
    pub allowed: BTreeMap<String, Vec<Option<String>>>,
}

impl Writer {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            random: Random::new(number as u64 + 77),
            next: 0,
            moving: None,
            allowed: BTreeMap::new(),
        }
    }

    /// Goes on until `stop`, or until somebody does not answer: `Err` says what he was asked for.
    pub fn write(&mut self, address: SocketAddr, stop: &AtomicBool, figures: &Figures) -> Result<(), String> {
        while !stop.load(Ordering::Relaxed) {
            let is_there = |values: &Vec<Option<String>>| values.iter().any(Option::is_some);
            let there: Vec<&String> =
                self.allowed.iter().filter(|(_, values)| is_there(values)).map(|(at, _)| at).collect();
            let act = self.random.below(12);
            let chosen = match there.len() {
                0 => None,
                count => Some(there[self.random.below(count)].clone()),
            };
            let is_full = there.len() >= MOST;
            match (act, chosen) {
                (0..3, Some(chosen)) => self.delete(address, &chosen, figures)?,
                (_, Some(chosen)) if is_full => self.delete(address, &chosen, figures)?,
                (10 | 11, Some(chosen)) if !chosen.starts_with("over/") => {
                    let method = if act == 10 { "MOVE" } else { "COPY" };
                    self.transfer(address, method, &chosen, figures)?;
                }
                (3, _) => self.replace(address, figures)?,
                (4, _) => self.abort(address, figures)?,
                _ => self.upload(address, figures)?,
            }
        }
        Ok(())
    }

    fn rpm(&mut self) -> Rpm {
        self.next += 1;
        let size = [0, 0, 3_000, 40_000][self.random.below(4)];
        Rpm::new(format!("w{}n{}", self.number, self.next)).payload(size).salt(self.random.next())
    }

    fn upload(&mut self, address: SocketAddr, figures: &Figures) -> Result<(), String> {
        let rpm = self.rpm();
        let location = format!("{}/{}/{}", self.number, self.next % 3, rpm.file_name());
        self.put(address, &location, &rpm.build())?;
        figures.uploads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Other bytes under a name that is taken. A client that knows the old metadata sees the new bytes, as the
    /// manual says of `overwrite = "allow"`; so only names that no client fetches packages of are replaced.
    fn replace(&mut self, address: SocketAddr, figures: &Figures) -> Result<(), String> {
        let rpm = Rpm::new(format!("over{}", self.number)).salt(self.random.next());
        self.put(address, &format!("over/{}", rpm.file_name()), &rpm.build())?;
        figures.replacements.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn put(&mut self, address: SocketAddr, location: &str, bytes: &[u8]) -> Result<(), String> {
        let sum = Some(digest("sha256", bytes).unwrap());
        self.allowed.entry(location.to_owned()).or_insert_with(|| vec![None]).push(sum.clone());
        let headers: &[(&str, &str)] = if self.random.below(2) == 0 { &[("Prefer", "wait=60")] } else { &[] };
        let path = format!("/rpm/{location}");
        let answer = http::try_send(address, "PUT", &path, headers, Some(bytes));
        self.answered("PUT", location, answer)?;
        self.allowed.insert(location.to_owned(), vec![sum]);
        Ok(())
    }

    fn delete(&mut self, address: SocketAddr, location: &str, figures: &Figures) -> Result<(), String> {
        let values = self.allowed.get_mut(location).unwrap();
        let is_sure = values.len() == 1;
        values.push(None);
        let answer = http::try_send(address, "DELETE", &format!("/rpm/{location}"), &[], None);
        if !is_sure && answer.as_ref().is_ok_and(|answer| answer.status == 404) {
            self.allowed.insert(location.to_owned(), vec![None]);
            return Ok(());
        }
        self.answered("DELETE", location, answer)?;
        self.allowed.insert(location.to_owned(), vec![None]);
        figures.deletions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// COPY or MOVE beside it.
    fn transfer(
        &mut self,
        address: SocketAddr,
        method: &str,
        from: &str,
        figures: &Figures,
    ) -> Result<(), String> {
        self.next += 1;
        let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        let to = format!("{folder}/{}-{}.rpm", method.to_lowercase(), self.next);
        let before = self.allowed[from].clone();
        let is_sure = before.len() == 1;
        let both: Vec<_> = before.iter().cloned().chain([None]).collect();
        self.allowed.insert(to.clone(), both.clone());
        if method == "MOVE" {
            self.allowed.insert(from.to_owned(), both);
            self.moving = is_sure.then(|| (from.to_owned(), to.clone()));
        }
        let destination = format!("/rpm/{to}");
        let headers = [("Destination", &*destination)];
        let answer = http::try_send(address, method, &format!("/rpm/{from}"), &headers, None);
        if !is_sure && answer.as_ref().is_ok_and(|answer| answer.status == 404) {
            self.allowed.insert(from.to_owned(), vec![None]);
            self.allowed.insert(to, vec![None]);
            return Ok(());
        }
        self.answered(method, from, answer)?;
        self.moving = None;
        let moved: Vec<_> = before.into_iter().filter(Option::is_some).collect();
        if method == "MOVE" {
            self.allowed.insert(from.to_owned(), vec![None]);
        } else {
            self.allowed.insert(from.to_owned(), moved.clone());
        }
        self.allowed.insert(to, moved);
        figures.transfers.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// An upload that stops in the middle.
    fn abort(&mut self, address: SocketAddr, figures: &Figures) -> Result<(), String> {
        let bytes = self.rpm().build();
        let path = format!("/rpm/{}/aborted{}.rpm", self.number, self.next);
        self.allowed.insert(path["/rpm/".len()..].to_owned(), vec![None]);
        let half = &bytes[..bytes.len() / 2];
        http::try_begin_upload(address, &path, bytes.len(), half)
            .map_err(|error| format!("{path}: {error}"))?;
        figures.faults.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn answered(
        &self,
        method: &str,
        location: &str,
        answer: std::io::Result<http::Response>,
    ) -> Result<(), String> {
        match answer {
            Ok(answer) if matches!(answer.status, 200..300) => Ok(()),
            Ok(answer) => Err(format!("{method} {location}: {} {}", answer.status, answer.text())),
            Err(error) => Err(format!("{method} {location}: {error}")),
        }
    }

    /// What became of what was not answered is known once the daemon is back: it is what is there.
    pub fn settle(&mut self, tree: &std::path::Path) -> Result<(), String> {
        if let Some((old, new)) = self.moving.take()
            && !tree.join(&old).exists()
            && !tree.join(&new).exists()
        {
            return Err(format!("{old}, which was to be {new}, is neither"));
        }
        for (location, values) in &mut self.allowed {
            let found =
                std::fs::read(tree.join(location)).ok().map(|bytes| digest("sha256", &bytes).unwrap());
            if !values.contains(&found) {
                return Err(format!("{location} is {found:?}, and was acknowledged as {values:?}"));
            }
            *values = vec![found];
        }
        self.allowed.retain(|_, values| values[0].is_some());
        Ok(())
    }
}
