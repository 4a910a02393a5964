//! What shells complete and what manual pages say, against what `--help` says: each program is asked
//! for all of them, and each must know the same commands and options, no more and no fewer.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use e2e::programs;

const PROGRAMS: [&str; 4] =
    ["ringway-relay", "ringway-transceiver", "ringway-loadgen", "ringway-tuning"];

fn program(name: &str) -> PathBuf {
    programs::folder_with(&PROGRAMS).join(name)
}

/// What a program prints, asked with these words.
fn ask(name: &str, words: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(program(name)).args(words).output().unwrap();
    assert!(status.success(), "{name} {words:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// What follows a command on a command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    options: BTreeSet<String>,
    commands: BTreeSet<String>,
}

/// Commands by their words, each with what `--help` lists.
fn helped(name: &str) -> &'static BTreeMap<String, Known> {
    static ALL: OnceLock<BTreeMap<&str, BTreeMap<String, Known>>> = OnceLock::new();
    &ALL.get_or_init(|| PROGRAMS.into_iter().map(|name| (name, asked(name))).collect())[name]
}

/// Asks for the help of every command; those below `help` are not followed.
fn asked(name: &str) -> BTreeMap<String, Known> {
    let (mut all, mut left) = (BTreeMap::new(), vec![String::new()]);
    while let Some(path) = left.pop() {
        let words: Vec<_> = path.split_whitespace().chain(["--help"]).collect();
        let known = listed(&ask(name, &words));
        let below = known.commands.iter().filter(|command| *command != "help");
        left.extend(below.map(|command| format!("{path} {command}").trim().to_owned()));
        all.insert(path, known);
    }
    all
}

fn listed(help: &str) -> Known {
    let (mut known, mut commands) = (Known::default(), false);
    for line in help.lines() {
        if !line.starts_with(' ') {
            if line.starts_with("Examples:") {
                break;
            }
            commands = line == "Commands:";
            continue;
        }
        let deep = line.len() - line.trim_start().len();
        let first = line.trim_start();
        if commands && deep == 2 {
            known.commands.insert(first.split(' ').next().unwrap().to_owned());
        } else if !commands && deep <= 6 && first.starts_with('-') {
            let options = first.split("  ").next().unwrap();
            let options = options.split([' ', ',']).filter(|word| word.starts_with("--"));
            known.options.extend(options.map(|word| word.split('=').next().unwrap().to_owned()));
        }
    }
    known
}

fn of(completed: &str) -> Known {
    let (mut known, words) = (Known::default(), completed.split_whitespace());
    for word in words.filter(|word| !word.starts_with('<') && !word.starts_with('[')) {
        if word.starts_with("--") {
            known.options.insert(word.to_owned());
        } else if !word.starts_with('-') {
            known.commands.insert(word.to_owned());
        }
    }
    known
}

/// A shell with a script; none, with a line, where there is no such shell.
fn shell(shell: &str, arguments: &[&str], script: &str) -> Option<String> {
    let child = Command::new(shell)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: {shell} is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr.is_empty(), "{shell}: {stderr}");
    Some(String::from_utf8(stdout).unwrap())
}

fn write(folder: &Path, name: &str, shell: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, ask(name, &["completions", shell])).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A line that parts what one question brought from what the next one does.
const NEXT: &str = "== next ==";

/// What a shell completes behind every command, first of `--` and then of nothing.
fn completed<'a>(
    name: &str,
    answers: &'a str,
) -> impl Iterator<Item = (&'static String, &'static Known, &'a str, &'a str)> {
    let mut answers = answers.split(NEXT);
    helped(name).iter().map(move |(path, known)| {
        (path, known, answers.next().unwrap(), answers.next().expect("an answer for each"))
    })
}

/// As readline asks: the words so far, with the last one begun.
#[test]
fn bash_completes_what_help_lists() {
    let folder = tempfile::tempdir().unwrap();
    for name in PROGRAMS {
        let script = write(folder.path(), name, "bash");
        let mut text = format!(
            "source {script}\nset -- $(complete -p {name})\n\
             while [ \"$1\" != -F ]; do shift; done\ncompletes=$2\n\
             ask() {{ COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n\
             \"$completes\" \"$1\" \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\" '{NEXT}'; }}\n"
        );
        for path in helped(name).keys() {
            text += &format!("ask {name} {path} --\nask {name} {path} ''\n");
        }
        let Some(answers) = shell("bash", &["--norc"], &text) else { return };
        for (path, expected, options, words) in completed(name, &answers) {
            assert_eq!(of(options).options, expected.options, "{name} {path} --");
            let words = of(words).commands;
            let missing: Vec<_> = expected.commands.difference(&words).collect();
            assert!(missing.is_empty(), "{name} {path}: {missing:?}");
            let other: Vec<_> = words.difference(&expected.commands).collect();
            assert!(expected.commands.is_empty() || other.is_empty(), "{name} {path}: {other:?}");
        }
    }
}

#[test]
fn bash_completes_the_values_of_an_option() {
    let folder = tempfile::tempdir().unwrap();
    let script = write(folder.path(), "ringway-relay", "bash");
    let text = format!(
        "source {script}\nCOMP_WORDS=(ringway-relay run --engine m)\nCOMP_CWORD=3\n\
         set -- $(complete -p ringway-relay)\nwhile [ \"$1\" != -F ]; do shift; done\n\
         \"$2\" ringway-relay m --engine\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    let Some(values) = shell("bash", &["--norc"], &text) else { return };
    assert_eq!(values, "mmsg\n");
}

#[test]
fn fish_completes_what_help_lists() {
    let folder = tempfile::tempdir().unwrap();
    for name in PROGRAMS {
        let script = write(folder.path(), name, "fish");
        if shell("fish", &["--no-execute", &script], "").is_none() {
            return;
        }
        let mut text = format!("source {script}\n");
        for path in helped(name).keys() {
            for begun in ["--", ""] {
                let line = format!("{name} {path} {begun}").replace("  ", " ");
                text += &format!("complete -C '{line}'; echo '{NEXT}'\n");
            }
        }
        let answers = shell("fish", &["--no-config"], &text).unwrap();
        // Each word with what it is, behind a tab.
        let words = |text: &str| {
            let words = text.lines().map(|line| line.split('\t').next().unwrap());
            of(&words.collect::<Vec<_>>().join("\n"))
        };
        for (path, expected, options, commands) in completed(name, &answers) {
            let options = words(options).options;
            assert_eq!(options, expected.options, "{name} {path} --");
            let commands = words(commands).commands;
            let missing: Vec<_> = expected.commands.difference(&commands).collect();
            assert!(missing.is_empty(), "{name} {path}: {missing:?}");
        }
    }
}

/// zsh completes on a terminal only; its script must be one that zsh can read, and name them all.
#[test]
fn zsh_can_read_its_script_and_it_names_what_help_lists() {
    let folder = tempfile::tempdir().unwrap();
    for name in PROGRAMS {
        let path = write(folder.path(), name, "zsh");
        if shell("zsh", &["--no-rcs", "-n", &path], "").is_none() {
            return;
        }
        let script = fs::read_to_string(path).unwrap();
        assert!(script.starts_with(&format!("#compdef {name}\n")), "{name}");
        let names = |word: &str, ends: [char; 4]| {
            let mut found = script.match_indices(word).map(|(at, _)| &script[at + word.len()..]);
            found.any(|rest| rest.starts_with(ends))
        };
        for (path, known) in helped(name) {
            for option in &known.options {
                assert!(names(option, ['=', '[', '\'', ' ']), "{name} {path} {option}");
            }
            for command in &known.commands {
                assert!(names(command, [':', ')', '\'', ' ']), "{name} {path} {command}");
            }
        }
    }
}

#[test]
fn manual_pages_are_sound_and_name_what_help_lists() {
    for name in PROGRAMS {
        // What is built for tests does not know its day, and that is the only thing it may lack.
        let page = ask(name, &["man"]).replacen(" \"\" ", " \"2026-01-31\" ", 1);
        for (program, arguments) in [
            // Not to be formatted for a terminal: only what is wrong is wanted.
            ("groff", &["-ww", "-k", "-man", "-Tutf8", "-z"][..]),
            ("mandoc", &["-Tlint", "-Wwarning"][..]),
        ] {
            if let Some(complaints) = shell(program, arguments, &page) {
                assert_eq!(complaints, "", "{name}: {program}");
            }
        }
        let plain = page.replace("\\-", "-");
        for (path, known) in helped(name) {
            for option in known.options.iter().filter(|option| *option != "--help") {
                assert!(plain.contains(&format!("{option}\\fR")), "{name} {path} {option}");
            }
            for command in known.commands.iter().filter(|command| *command != "help") {
                let path = format!("{path} {command}");
                assert!(plain.contains(&format!("\n.SS {}\n", path.trim())), "{name} {path}");
            }
        }
    }
}
