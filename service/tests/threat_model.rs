//! docs/threat-model.md names a test for every claim. A test that is renamed, removed or ignored
//! fails here, and so does a claim without one: the page cannot say more than what is tested.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// What a table's last column is called if its cells name tests.
const COLUMN: &str = "shown by";
/// What such a cell says if there is none, with the reason behind it.
const NO_TEST: &str = "no test: ";
/// Sections that the page must have, each with claims of its own.
const ADVERSARIES: [&str; 9] = [
    "Off-path spoofer",
    "On the path",
    "Client with a valid session",
    "Compromised transceiver",
    "Compromised relay",
    "Compromised Redis",
    "Stolen key",
    "Hostile HTTP client",
    "Neighbour on the host",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What is said to be so, and where it is shown.
#[derive(Debug, PartialEq, Eq)]
struct Claim<'a> {
    section: &'a str,
    text: &'a str,
    shown_by: &'a str,
}

impl<'a> Claim<'a> {
    /// All rows of all tables whose last column names tests.
    fn all(page: &'a str) -> Vec<Self> {
        let (mut section, mut in_table) = ("", false);
        let mut claims = Vec::new();
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title.trim();
            }
            let row = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|'));
            let Some(row) = row else {
                in_table = false;
                continue;
            };
            let Some((text, shown_by)) = row.rsplit_once('|') else { continue };
            let (text, shown_by) = (text.trim(), shown_by.trim());
            let is_rule = !shown_by.is_empty() && shown_by.chars().all(|c| matches!(c, '-' | ':'));
            if shown_by == COLUMN {
                in_table = true;
            } else if in_table && !is_rule {
                claims.push(Self { section, text, shown_by });
            }
        }
        claims
    }

    /// Files and names of its tests.
    fn tests(&self) -> Vec<(&'a str, &'a str)> {
        self.shown_by.split('`').skip(1).step_by(2).filter_map(|it| it.split_once("::")).collect()
    }

    fn problem(&self, root: &Path) -> Option<String> {
        let tests = self.tests();
        let excused = self.shown_by.strip_prefix(NO_TEST).is_some_and(|why| !why.is_empty());
        if tests.is_empty() && !excused {
            return Some("names no test, and does not say why".to_owned());
        }
        let missing = |(file, name): &&(&str, &str)| {
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            let suite = Path::new(file).with_file_name("main.rs");
            let suite = fs::read_to_string(root.join(suite)).unwrap_or_default();
            !is_test(&text, name) && !is_in_suite(&text, &suite, name)
        };
        let missing = tests.iter().find(missing);
        missing.map(|(file, name)| format!("there is no test {name} in {file}"))
    }
}

/// Whether a file has this test, and it runs by default.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest = line.strip_prefix("fn ").and_then(|line| line.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with('('))
    });
    let above = lines[..at.unwrap_or(0)].iter().rev();
    let attributes: Vec<_> = above.take_while(|line| line.starts_with("#[")).collect();
    let test = |line: &&&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    attributes.iter().any(test) && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

/// Whether a file has this function, and the suite beside it runs it for every engine.
fn is_in_suite(text: &str, suite: &str, name: &str) -> bool {
    let runs = suite.split_once("\nsuite! {").is_some_and(|(_, suite)| {
        suite.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
    });
    runs && text.contains(&format!("pub(crate) fn {name}("))
}

#[test]
fn every_claim_names_a_test_that_there_is() {
    let page = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let claims = Claim::all(&page);
    let problems: Vec<_> = claims
        .iter()
        .filter_map(|claim| Some(format!("{}: {}", claim.text, claim.problem(&root())?)))
        .collect();
    assert!(problems.is_empty(), "docs/threat-model.md:\n{}", problems.join("\n"));
    for adversary in ADVERSARIES {
        let tested = |claim: &&Claim<'_>| claim.section == adversary && !claim.tests().is_empty();
        assert!(claims.iter().any(|claim| tested(&claim)), "nothing is shown of: {adversary}");
    }
    // What looks like a test anywhere else on the page was meant to be one in a table.
    let named = page.matches(".rs::").count();
    let checked: usize = claims.iter().map(|claim| claim.tests().len()).sum();
    assert_eq!(named, checked, "tests are named in tables whose last column is {COLUMN:?}");
}

#[test]
fn a_claim_that_is_not_shown_is_found() {
    let page = "## One\n\n| cannot | why | shown by |\n|---|---|:---|\n| a | b | `x.rs::y` |\n\
                | c | d | |\n\n| not | these |\n|---|---|\n| e | `f.rs::g` |\n";
    let claims = Claim::all(page);
    assert_eq!(claims.len(), 2);
    assert_eq!((claims[0].section, claims[0].tests()), ("One", vec![("x.rs", "y")]));
    assert_eq!(claims[0].problem(&root()).unwrap(), "there is no test y in x.rs");
    assert_eq!(claims[1].problem(&root()).unwrap(), "names no test, and does not say why");
    let claim = |shown_by| Claim { section: "", text: "", shown_by };
    let here = "`service/tests/threat_model.rs::a_claim_that_is_not_shown_is_found`";
    assert_eq!(claim(here).problem(&root()), None);
    assert_eq!(claim("no test: the kernel's doing").problem(&root()), None);
    assert!(claim("no test: ").problem(&root()).is_some());
}

#[test]
fn only_what_runs_by_default_is_a_test() {
    let file = "/// A helper.\nfn helper() {}\n\n#[test]\nfn good() {}\n\n\
                #[tokio::test(flavor = \"multi_thread\")]\nasync fn waits() {}\n\n\
                #[test]\n#[ignore = \"slow\"]\nfn never() {}\n\n\
                proptest! {\n    #[test]\n    fn property(x: u8) {}\n}\n\
                pub(crate) fn shared(harness: &Harness) {}\n";
    for (name, is) in [
        ("good", true),
        ("waits", true),
        ("property", true),
        ("goo", false),
        ("helper", false),
        ("never", false),
        ("missing", false),
        ("shared", false),
    ] {
        assert_eq!(is_test(file, name), is, "{name}");
    }
    let suite = "macro_rules! suite {}\n\nsuite! {\n    hostile:\n        shared\n        ;\n}\n";
    assert!(is_in_suite(file, suite, "shared"));
    assert!(!is_in_suite(file, suite, "good") && !is_in_suite(file, suite, "share"));
}
