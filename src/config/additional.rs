//! Which files hold metadata beyond packages, where their names do not say so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use crate::package::Location;
use crate::repodata::additional::{family, parse_kind, usual_kind};

/// `additional_metadata`: type of metadata → file. A type that is not named is picked up by the usual
/// names. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdditionalMetadata {
    /// `None` instead of an empty one.
    named: Option<Arc<BTreeMap<String, Named>>>,
}

/// Where one type comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// Nowhere: what the usual name holds is not published.
    Nothing,
    Inside(Location),
    /// Absolute, outside of the repository's directory.
    Outside(PathBuf),
}

impl AdditionalMetadata {
    /// Nothing is named.
    pub const USUAL: Self = Self { named: None };

    /// Reads the table as it stands in a configuration file.
    pub fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        let expected = "expected a table of types and files, such as { group = \"comps-el9.xml\" }";
        let table = value.as_table().ok_or(expected)?;
        let mut named = BTreeMap::new();
        let mut wrong = Vec::new();
        for (kind, path) in table {
            let kind = kind.get_ref().as_ref();
            let path = path.get_ref().as_str().ok_or("expected a file in quotes, such as \"comps-el9.xml\"");
            let read = path.map_err(str::to_owned).and_then(Named::parse);
            match parse_kind(kind).and_then(|kind| Ok((kind.to_owned(), read?))) {
                Ok((kind, path)) => _ = named.insert(kind, path),
                Err(why) => wrong.push(format!("{kind}: {why}")),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        let this = Self::of(named);
        let paths: Vec<&Named> =
            this.named().map(|(_, named)| named).filter(|named| **named != Named::Nothing).collect();
        match paths.iter().enumerate().find(|(i, path)| paths[..*i].contains(path)) {
            Some(_) => Err("one file cannot hold two types of metadata".into()),
            None => Ok(this),
        }
    }

    /// The same for a repository in `root`: what is named by its whole path is found inside all the same.
    pub fn in_repository(self, root: &Path) -> Self {
        let settle = |named: &Named| match named {
            Named::Outside(path) => match path.strip_prefix(root).map(Location::from_path) {
                Ok(Ok(location)) if !location.is_reserved() => Named::Inside(location),
                _ => named.clone(),
            },
            _ => named.clone(),
        };
        Self::of(self.named().map(|(kind, named)| (kind.clone(), settle(named))).collect())
    }

    fn of(named: BTreeMap<String, Named>) -> Self {
        Self { named: (!named.is_empty()).then(|| Arc::new(named)) }
    }

    fn named(&self) -> impl Iterator<Item = (&String, &Named)> {
        self.named.iter().flat_map(|named| named.iter())
    }

    fn get(&self, kind: &str) -> Option<&Named> {
        self.named.as_ref()?.get(kind)
    }

    /// As a configuration file writes it.
    pub fn spell(&self) -> String {
        if self.named.is_none() {
            return "{}".into();
        }
        let spell = |(kind, named): (&String, &Named)| {
            let path = match named {
                Named::Nothing => "",
                Named::Inside(location) => location.as_str(),
                Named::Outside(path) => &*path.to_string_lossy(),
            };
            format!("{kind} = {}", toml::Value::String(path.to_owned()))
        };
        format!("{{ {} }}", self.named().map(spell).collect::<Vec<_>>().join(", "))
    }

    /// The type of metadata that the file at this place of the repository holds; `None` for all others.
    pub fn kind_of(&self, location: &Location) -> Option<&str> {
        let is_it = |named: &Named| matches!(named, Named::Inside(inside) if inside == location);
        if let Some((kind, _)) = self.named().find(|(_, named)| is_it(named)) {
            return Some(kind);
        }
        usual_kind(location).filter(|kind| self.get(kind).is_none())
    }

    /// The types that are named.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.named().map(|(kind, _)| kind.as_str())
    }

    /// Files outside of the repository's directory, with their types.
    pub fn outside(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.named().filter_map(|(kind, named)| match named {
            Named::Outside(path) => Some((kind.as_str(), path.as_path())),
            Named::Nothing | Named::Inside(_) => None,
        })
    }

    /// Whether a record of this type, or a form of it, may be published at all.
    pub fn wants(&self, kind: &str) -> bool {
        self.get(family(kind)) != Some(&Named::Nothing)
    }
}

impl Named {
    fn parse(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(Self::Nothing);
        }
        if path.starts_with('/') {
            return Ok(Self::Outside(path.into()));
        }
        let location = Location::parse(path).map_err(|error| error.to_string())?;
        if location.is_reserved() || location.names_a_package() {
            return Err(format!("{path:?} cannot hold metadata: the name is kept for something else"));
        }
        Ok(Self::Inside(location))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AdditionalMetadata, String> {
        let document = format!("key = {text}");
        let table = toml::de::DeTable::parse(&document).unwrap();
        AdditionalMetadata::parse(table.get_ref().get("key").unwrap().get_ref())
    }

    #[test]
    fn a_named_file_takes_the_place_of_the_usual_one() {
        let additional =
            parse(r#"{ group = "meta/el9.xml", productid = "", modules = "/etc/m.yaml" }"#).unwrap();
        let kind = |text| additional.kind_of(&Location::parse(text).unwrap()).map(str::to_owned);
        assert_eq!(kind("meta/el9.xml").as_deref(), Some("group"));
        assert_eq!(kind("updateinfo.xml").as_deref(), Some("updateinfo"));
        for not_taken in ["comps.xml", "productid", "a/modules.yaml", "a.rpm"] {
            assert_eq!(kind(not_taken), None, "{not_taken}");
        }
        let outside: Vec<_> = additional.outside().collect();
        assert_eq!(outside, [("modules", Path::new("/etc/m.yaml"))]);
        assert!(!additional.wants("productid") && additional.wants("group_gz"));
    }

    #[test]
    fn a_whole_path_into_the_repository_is_a_place_inside() {
        let additional = parse(r#"{ group = "/srv/a/el9.xml", x = "/srv/ab/x" }"#).unwrap();
        let additional = additional.in_repository(Path::new("/srv/a"));
        assert_eq!(additional.kind_of(&Location::parse("el9.xml").unwrap()), Some("group"));
        assert_eq!(additional.spell(), r#"{ group = "el9.xml", x = "/srv/ab/x" }"#);
    }

    #[test]
    fn what_is_spelled_is_read_back() {
        for text in ["{}", r#"{ group = "a\"b.xml", x = "" }"#] {
            let read = parse(text).unwrap();
            assert_eq!(parse(&read.spell()).unwrap(), read);
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, why) in [
            ("\"comps.xml\"", "expected a table"),
            ("{ group = 1 }", "group: expected a file in quotes"),
            ("{ group = 1, \"a b\" = \"x\" }", "a b: \"a b\" cannot be a type"),
            ("{ primary = \"x\" }", "made by createrepod itself"),
            ("{ \"a b\" = \"x\" }", "cannot be a type"),
            ("{ group = \"../x\" }", "is not a path inside a repository"),
            ("{ group = \"repodata/x\" }", "kept for something else"),
            ("{ group = \"x.rpm\" }", "kept for something else"),
            ("{ group = \"x\", other-thing = \"x\" }", "two types"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
