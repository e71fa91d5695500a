//! `config show`: TOML that can be read back, each line with where its value came from.

use crate::config::resolve::Setting;

pub fn text(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut table = "";
    let width = settings.iter().map(|s| s.key.len() + s.value.chars().count()).max().unwrap_or(0).min(60);
    for Setting { table: this, key, value, origin } in settings {
        if this != table {
            let gap = if table.is_empty() { "" } else { "\n" };
            text += &format!("{gap}[{this}]\n");
            table = this;
        }
        let line = width.saturating_sub(key.len());
        text += &format!("{key} = {value:line$}  # {origin}\n");
    }
    text
}
