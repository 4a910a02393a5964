//! What differs between two configurations, key by key, and whether a running process can take it.
//!
//! Works on the serialized form, so that no schema can forget a field. An element of a list of
//! tables that has an `id` is known by it, not by its place: moving one in the file is no change.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::{Key, Reload, Schema};

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The dotted key; list elements by id: `clusters[7].transceivers[3].address`.
    pub key: String,
    /// The value so far, as TOML; none if it was not there.
    pub old: Option<String>,
    /// The new value; none if it is gone.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {} -> {}", self.key, text(&self.old), text(&self.new))
    }
}

/// All that differs, by when it takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Takes effect at once.
    pub live: Vec<Change>,
    /// Takes effect only when the process starts again. To be said, never ignored.
    pub needs_restart: Vec<Change>,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.needs_restart.is_empty()
    }

    /// Compares two configurations.
    pub fn between<T: Schema>(old: &T, new: &T) -> Self {
        let (old, new) = (flattened(old), flattened(new));
        let mut changes = Self::default();
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys.into_iter().filter(|&key| old.get(key) != new.get(key)) {
            let change =
                Change { key: key.clone(), old: old.get(key).cloned(), new: new.get(key).cloned() };
            match reload(T::KEYS, key) {
                Reload::Live => changes.live.push(change),
                Reload::Restart => changes.needs_restart.push(change),
            }
        }
        changes
    }
}

/// What a reload did. Displays as lines for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The configuration's number from now on.
    pub generation: u64,
    /// What has changed and is in effect.
    pub live: Vec<String>,
    /// What has changed in the file and takes a restart.
    pub needs_restart: Vec<String>,
    /// What an operator may want to know about the file.
    pub warnings: Vec<String>,
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "configuration {} is in effect", self.generation)?;
        if self.live.is_empty() && self.needs_restart.is_empty() {
            writeln!(f, "nothing has changed")?;
        }
        let parts = [
            ("changed", &self.live),
            ("takes a restart", &self.needs_restart),
            ("note", &self.warnings),
        ];
        for (what, lines) in parts {
            for line in lines {
                writeln!(f, "{what}: {line}")?;
            }
        }
        Ok(())
    }
}

/// Every leaf of a configuration: its dotted key and its value as TOML. What has no value (`None`)
/// is not there.
pub fn flattened<T: Serialize>(config: &T) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    // A schema that TOML cannot express is a mistake of ours which every test of it would meet.
    match Value::try_from(config) {
        Ok(value) => flatten("", &value, &mut leaves),
        Err(error) => debug_assert!(false, "not expressible as TOML: {error}"),
    }
    leaves
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, leaves);
            }
        }
        Value::Array(elements) if elements.iter().any(Value::is_table) => {
            for (index, element) in elements.iter().enumerate() {
                let id = element.get("id").map_or_else(|| index.to_string(), ToString::to_string);
                flatten(&format!("{path}[{id}]"), element, leaves);
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => {
            leaves.insert(path.to_owned(), value.to_string());
        }
    }
}

/// What the table of keys says about a key or the list it is in. A key the table has forgotten is
/// safest called one that needs a restart.
fn reload(keys: &[Key], path: &str) -> Reload {
    let holds = |key: &&Key| {
        path.strip_prefix(key.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    keys.iter().find(holds).map_or(Reload::Restart, |key| key.reload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_in_words() {
        let report = ReloadReport {
            generation: 3,
            live: vec!["flows.idle_new: \"10s\" -> \"5s\"".into()],
            needs_restart: vec!["workers: 1 -> 2".into()],
            warnings: Vec::new(),
        };
        let expected = "configuration 3 is in effect\nchanged: flows.idle_new: \"10s\" -> \"5s\"\n\
                        takes a restart: workers: 1 -> 2\n";
        assert_eq!(report.to_string(), expected);
        let report = ReloadReport { live: Vec::new(), needs_restart: Vec::new(), ..report };
        assert!(report.to_string().ends_with("nothing has changed\n"));
    }
}
