//! The commands in README and docs, run as a reader would run them.
//!
//! Above every block of shell is a comment that readers do not see:
//!
//! ```text
//! <!-- run -->                     run it
//! <!-- run: a_relay -->            run it, after what the reader has done before
//! <!-- not run: needs a cluster -->  leave it, for a reason
//! ```
//!
//! A block without one fails the test, so nothing escapes by accident. The blocks of a document are
//! run in order, by one bash, on a host of their own (`documents/first.sh`), with the programs that
//! were just built. A block that is marked `<!-- output -->` is what the one before it must have
//! printed; `…` stands for anything in a line, and for any lines if it is one by itself.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::programs::{self, repository};
use e2e::skip::skip;

const PROGRAMS: [&str; 4] =
    ["ringway-relay", "ringway-transceiver", "ringway-loadgen", "ringway-tuning"];

/// A document that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fences of blocks that are commands.
const SHELLS: [&str; 4] = ["sh", "bash", "shell", "console"];

/// A block of commands, or of what commands print.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// The line of its first line.
    line: usize,
    mark: Mark,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// Run, after these commands.
    Run(String),
    NotRun,
    /// What the block before must have printed.
    Output,
}

/// The blocks of a document that are commands or outputs. What is wrong with the marks is told by line.
fn blocks(text: &str) -> Result<Vec<Block>, Vec<String>> {
    let (mut blocks, mut wrong) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    let mut above = (0, "");
    while let Some((index, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            if !line.trim().is_empty() {
                above = (index, line.trim());
            }
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
        let inside: Vec<_> = inside.map(|line| line.get(indent..).unwrap_or("")).collect();
        let mark = above.1.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        let mark = mark.filter(|_| above.0 + 1 == index);
        let mark = match mark.map(|mark| mark.split_once(": ").unwrap_or((mark, ""))) {
            Some(("run", before)) => Some(Mark::Run(before.to_owned())),
            Some(("not run", reason)) if !reason.is_empty() => Some(Mark::NotRun),
            Some(("output", "")) => Some(Mark::Output),
            _ => None,
        };
        match mark {
            Some(Mark::Output)
                if !blocks.last().is_some_and(|last: &Block| last.mark != Mark::NotRun) =>
            {
                wrong.push(format!("{}: output of no block that is run", index + 1));
            }
            Some(mark) => blocks.push(Block { line: index + 2, mark, text: inside.join("\n") }),
            None if language.is_empty() || SHELLS.contains(&language) => wrong.push(format!(
                "{}: a block of shell, or of no language, needs a line right above it: \
                 <!-- run -->, or <!-- not run: the reason -->; other blocks need a language",
                index + 1
            )),
            None => {}
        }
        above = (0, "");
    }
    if wrong.is_empty() { Ok(blocks) } else { Err(wrong) }
}

/// Whether lines are as expected, but for what `…` stands for.
fn fits(expected: &[&str], printed: &[&str]) -> bool {
    match (expected, printed) {
        ([], []) => true,
        (["…", rest @ ..], _) => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..]))
        }
        ([first, expected @ ..], [line, printed @ ..]) => {
            line_fits(first.trim_end(), line.trim_end()) && fits(expected, printed)
        }
        _ => false,
    }
}

fn line_fits(expected: &str, line: &str) -> bool {
    let Some((before, after)) = expected.split_once('…') else { return expected == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    let ends = rest.char_indices().map(|(index, _)| index).chain([rest.len()]);
    ends.into_iter().any(|end| line_fits(after, &rest[end..]))
}

/// README, and everything in `docs` and beside the crates that is written for users.
fn documents() -> Vec<PathBuf> {
    let mut documents =
        vec![repository().join("README.md"), repository().join("loadgen/README.md")];
    let docs = fs::read_dir(repository().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
    documents.sort();
    documents
}

fn name(document: &Path) -> String {
    document.strip_prefix(repository()).unwrap().display().to_string()
}

/// The script that runs a document: each block in a file of its own, moved down to the line that it
/// has in the document, so that bash tells lines of the document.
fn script(name: &str, blocks: &[Block], scratch: &Path) -> String {
    let folder = scratch.join("blocks");
    let mut script = fs::read_to_string(repository().join("e2e/tests/documents/first.sh")).unwrap();
    for (number, block) in blocks.iter().enumerate() {
        let Mark::Run(before) = &block.mark else { continue };
        let file = folder.join(number.to_string()).join("blocks").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        // On the line of the mark.
        let text = format!("{}{before}\n\n{}\n", "\n".repeat(block.line - 3), block.text);
        fs::write(&file, text).unwrap();
        let out = scratch.join(format!("out.{number}"));
        writeln!(script, ". {} >{} 2>&1 </dev/null", file.display(), out.display()).unwrap();
    }
    script
}

/// Runs a document's blocks; what went wrong, if anything did.
fn run(name: &str, blocks: &[Block]) -> Result<usize, String> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("script");
    fs::write(&path, script(name, blocks, scratch.path())).unwrap();
    let folder = scratch.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let log = fs::File::create(scratch.path().join("log")).unwrap();
    let mut child = Command::new("unshare")
        // With the last process of the namespace ends all that the blocks have started.
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
        .arg(&path)
        .current_dir(folder)
        .env("SCRATCH", scratch.path())
        .env("RINGWAY_TOP", repository())
        .env("PROGRAMS", programs::folder_with(&PROGRAMS))
        .env("HOME", scratch.path())
        // Of the make that runs the tests, if one does.
        .env_remove("MAKEFLAGS")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let read = |file: String| fs::read_to_string(scratch.path().join(file)).unwrap_or_default();
    let mut ran = 0;
    for (number, block) in blocks.iter().enumerate() {
        let out = scratch.path().join(format!("out.{number}"));
        match block.mark {
            Mark::Run(_) if out.exists() => ran += 1,
            Mark::Run(_) | Mark::NotRun => {}
            Mark::Output => {
                let printed = read(format!("out.{}", number - 1));
                let expected: Vec<_> = block.text.lines().collect();
                if ended.is_some_and(|status| status.success())
                    && !fits(&expected, &printed.lines().collect::<Vec<_>>())
                {
                    let (line, text) = (block.line, &block.text);
                    return Err(format!("{name}:{line}: expected\n{text}\nand was\n{printed}"));
                }
            }
        }
    }
    if ended.is_some_and(|status| status.success()) {
        return Ok(ran);
    }
    let mut last = blocks.iter().enumerate().map(|(number, _)| read(format!("out.{number}")));
    let last = last.rfind(|out: &String| !out.is_empty()).unwrap_or_default();
    let (failed, log) = (read("failed".to_owned()), read("log".to_owned()));
    let failed = failed.lines().next().unwrap_or("it took too long").to_owned();
    Err(format!("{failed} ({name})\n{last}{log}"))
}

/// Whether this host lets a test have a host of its own.
fn can_run() -> bool {
    let probe = "mount -t tmpfs tmpfs /run && ip link add ringway0 type veth peer name far0";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "bash", "-c", probe]);
    unshare.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn every_block_of_shell_is_run_or_says_why_not() {
    let mut wrong = Vec::new();
    let mut counts = [0; 3];
    for document in documents() {
        match blocks(&fs::read_to_string(&document).unwrap()) {
            Err(lines) => {
                wrong.extend(lines.iter().map(|line| format!("{}:{line}", name(&document))));
            }
            Ok(blocks) => {
                for block in blocks {
                    counts[match block.mark {
                        Mark::Run(_) => 0,
                        Mark::NotRun => 1,
                        Mark::Output => 2,
                    }] += 1;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let [run, not_run, output] = counts;
    println!("{run} blocks are run, {not_run} are not, {output} outputs are compared");
    assert!(run > not_run, "most of what readers are told to run can be run");
}

#[test]
fn commands_in_the_documents_work() {
    if !can_run() {
        return skip("the commands of documents need root, unshare and ip");
    }
    let documents = documents();
    let results: Vec<_> = thread::scope(|scope| {
        let one = |document: &PathBuf| {
            let name = name(document);
            let blocks = blocks(&fs::read_to_string(document).unwrap()).unwrap_or_default();
            if blocks.is_empty() {
                return Ok(0);
            }
            let started = Instant::now();
            let result = run(&name, &blocks);
            let ran = result.as_ref().copied().unwrap_or_default();
            println!("{name}: {ran} blocks in {:.1} s", started.elapsed().as_secs_f64());
            result
        };
        let threads: Vec<_> =
            documents.iter().map(|document| scope.spawn(move || one(document))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let wrong: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    let wrong = wrong.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(results.iter().flatten().sum::<usize>() > 0, "nothing was run");
}

#[test]
fn marks_are_read_and_missing_ones_are_told() {
    let text = "<!-- run: a_relay -->\n```sh\none\n  two\n```\n\n<!-- output -->\n```text\nx…\n```\n\
                1. item\n\n   <!-- not run: no -->\n   ```sh\n   three\n   ```\n```json\n{}\n```\n";
    let expected = [
        Block { line: 3, mark: Mark::Run("a_relay".into()), text: "one\n  two".into() },
        Block { line: 9, mark: Mark::Output, text: "x…".into() },
        Block { line: 15, mark: Mark::NotRun, text: "three".into() },
    ];
    assert_eq!(blocks(text).unwrap(), expected);
    for (text, line) in [
        ("a\n```sh\nx\n```\n", "2:"),
        ("```\nx\n```\n", "1:"),
        ("<!-- run -->\n\n```sh\nx\n```\n", "3:"),
        ("<!-- not run -->\n```sh\nx\n```\n", "2:"),
        ("<!-- not run: x -->\n```sh\nx\n```\n<!-- output -->\n```text\nx\n```\n", "6:"),
    ] {
        let wrong = blocks(text).unwrap_err();
        assert!(wrong[0].starts_with(line), "{text}: {wrong:?}");
    }
}

#[test]
fn outputs_are_compared_but_for_what_is_left_out() {
    let table = [
        ("a\nb", "a\nb", true),
        ("a\nb", "a", false),
        ("a", "a\nb", false),
        ("a…c", "abbc", true),
        ("a…c", "ac", true),
        ("a…c", "acd", false),
        ("…é…", "caféine", true),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("a\n…\nd", "a\nb", false),
        ("…", "", true),
    ];
    for (expected, printed, same) in table {
        let (expected, printed): (Vec<_>, Vec<_>) =
            (expected.lines().collect(), printed.lines().collect());
        assert_eq!(fits(&expected, &printed), same, "{expected:?} {printed:?}");
    }
}

/// A failure is told by the line of the document, in the words of bash, and ends the document.
#[test]
fn a_command_that_fails_is_told_by_its_line() {
    if !can_run() {
        return skip("the commands of documents need root, unshare and ip");
    }
    let text = "# Title\n\n<!-- run -->\n```sh\ntrue\n```\n\n<!-- run -->\n```sh\ntrue\n\
                cat /nowhere\ntouch not-reached\n```\n";
    let error = run("some/page.md", &blocks(text).unwrap()).unwrap_err();
    assert!(error.starts_with("some/page.md:11: `cat /nowhere` failed"), "{error}");
    assert!(error.contains("No such file or directory"), "{error}");
    let text = "<!-- run -->\n```sh\necho 17 apples\n```\n<!-- output -->\n```text\n… pears\n```\n";
    let error = run("page.md", &blocks(text).unwrap()).unwrap_err();
    assert!(error.starts_with("page.md:7: expected\n… pears\nand was\n17 apples"), "{error}");
}
