//! What is most likely meant where something is wrong, so that the complaint can say what to write.

/// Every key stands in the file that is shipped, below its table, commented out (`#key = value`).
const SETTINGS: &str = include_str!("../../../etc/createrepod.toml");

/// Where a key belongs, if it is one of some table: `[server]`, `[repository.NAME]`.
pub(super) fn home(key: &str) -> Option<String> {
    let mut table = String::new();
    let mut homes: Vec<String> = Vec::new();
    for line in SETTINGS.lines().map(|line| line.strip_prefix('#').unwrap_or(line)) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = match title.split_once('.') {
                Some((kind, _)) => format!("[{kind}.NAME]"),
                None => format!("[{title}]"),
            };
        } else if line.split_once(" = ").is_some_and(|(found, _)| found == key) && !homes.contains(&table) {
            homes.push(table.clone());
        }
    }
    (!homes.is_empty()).then(|| homes.join(" or "))
}

/// What a text instead of the table `key` most likely means.
pub(super) fn instead_of_table(key: &str, text: Option<&str>) -> String {
    let text = text.map(|text| toml::Value::String(text.to_owned()).to_string());
    match (key, text) {
        ("sign", Some(file)) => format!("expected a table: write sign = {{ key = {file} }}"),
        ("tls", Some(file)) => {
            format!("expected a table: write tls = {{ certificate = {file}, key = \"/…\" }}")
        }
        _ => format!("expected a table, [{key}]"),
    }
}

/// A syntax error in words that say what to write; `at` is where it is in `text`.
pub(super) fn syntax(message: &str, text: &str, at: usize) -> String {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or_default().trim();
    if message.contains("leading zero")
        && let Some((key, value)) = line.split_once('=')
    {
        let value = value.split('#').next().unwrap_or_default().trim();
        return format!("a number does not begin with 0; write {} = \"{value}\"", key.trim());
    }
    if message.starts_with("duplicate key") {
        return twice(line, &text[..start]).unwrap_or_else(|| message.to_owned());
    }
    message.to_owned()
}

/// Names the key or the table of `line`, and where it stands already.
fn twice(line: &str, before: &str) -> Option<String> {
    let header = |line: &str| line.trim().split(']').next().filter(|h| h.starts_with('[')).map(str::to_owned);
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let lines: Vec<&str> = before.lines().collect();
    if let Some(table) = header(line) {
        let first = lines.iter().position(|line| header(line).as_ref() == Some(&table))?;
        return Some(format!("{table}] stands twice; the first is on line {}", first + 1));
    }
    let name = key(line)?;
    let same_table = lines.iter().rposition(|line| header(line).is_some()).map_or(0, |at| at + 1);
    let first = lines[same_table..].iter().position(|line| key(line).as_ref() == Some(&name))?;
    Some(format!("{name} stands twice; the first is on line {}", same_table + first + 1))
}
