//! The environment and the flags, laid over the file's tree.

use super::node::{self, Node};
use super::problem::{Origin, Problem};
use super::suggest::nearest;
use super::{Flag, Key};

/// Sets the keys whose variables are set, and returns a warning for each variable that looks like
/// a misspelt one. Unknown variables are otherwise passed over: Kubernetes gives every pod
/// `RINGWAY_RELAY_SERVICE_HOST` and its like as soon as a service is called so. An empty variable
/// counts as not set, because compose files and charts leave many empty.
pub(super) fn environment(
    root: &mut Node,
    keys: &[Key],
    prefix: &str,
    variables: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let names: Vec<String> = keys.iter().map(|key| key.variable(prefix)).collect();
    let mut warnings = Vec::new();
    // An empty prefix would make every program's variables ours.
    let ours = variables.iter().filter(|(name, value)| {
        !prefix.is_empty() && name.starts_with(prefix) && !value.is_empty()
    });
    for (name, value) in ours {
        match names.iter().position(|known| known == name) {
            Some(index) => {
                let origin = Origin::Environment(name.clone());
                set(root, keys[index].path, value, origin, problems);
            }
            None => {
                // Compared without what all of them share, or everything would seem near.
                let ending = name.strip_prefix(prefix).unwrap_or(name);
                let endings = names.iter().filter_map(|known| known.strip_prefix(prefix));
                if let Some(meant) = nearest(ending, endings) {
                    warnings.push(format!(
                        "environment variable {name} sets nothing; did you mean {prefix}{meant}?"
                    ));
                }
            }
        }
    }
    warnings
}

/// Sets the keys given by flags.
pub(super) fn flags(root: &mut Node, keys: &[Key], flags: &[Flag], problems: &mut Vec<Problem>) {
    for Flag { flag, key, value } in flags {
        let origin = Origin::Flag(flag.clone());
        if keys.iter().any(|known| known.path == key) {
            set(root, key, value, origin, problems);
        } else {
            let hint = nearest(key, keys.iter().map(|known| known.path))
                .map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
            let reason = format!("no such key{hint}");
            problems.push(Problem { origin, key: key.clone(), reason });
        }
    }
}

fn set(root: &mut Node, path: &str, value: &str, origin: Origin, problems: &mut Vec<Problem>) {
    if let Err(reason) = root.set(path, node::text(value, &origin)) {
        problems.push(Problem { origin, key: path.to_owned(), reason });
    }
}
