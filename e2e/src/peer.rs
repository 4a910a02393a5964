//! A client in a process of its own, told what to do. Both kinds, a browser and a Python program,
//! speak the same lines of JSON:
//!
//! ```text
//!   in   {"do": "call"}                    out   {"did": "call", …} or {"failed": "call", "why": …}
//!        "say" text, "restart", "heard",         and whenever it happens
//!        "hang_up"                               {"event": "state" | "message" | "channel", …}
//! ```

use crate::hosts::Host;
use crate::process::Process;
use crate::programs;
use crate::skip::skip;
use crate::tones;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a client may take for anything. A browser starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Less energy than this is silence, comfort noise and the like.
const AUDIBLE: f64 = 1e-4;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Chromium without a window, driven by puppeteer-core.
    Chromium,
    /// Firefox, the same way.
    Firefox,
    /// A Python program with aiortc.
    Aiortc,
}

/// What a client does.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Where signaling is, as a client reaches it.
    pub origin: &'a str,
    /// The backend it asks for.
    pub model: &'a str,
    /// Silence between two rounds of tones.
    pub silence_ms: u32,
}

/// What a client heard since it was last asked.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Tones, one entry for each change.
    pub tones: Vec<u32>,
    /// Packets that came.
    pub packets: u64,
    /// Packets that did not.
    pub lost: u64,
    /// Loudness (mean square) times seconds.
    pub energy: f64,
    /// The longest time without a packet.
    pub gap: Duration,
}

impl Heard {
    fn and(mut self, more: &Self) -> Self {
        // A tone that goes on while it is asked about is one tone.
        let goes_on = self.tones.last() == more.tones.first();
        self.tones.extend(more.tones.iter().skip(usize::from(goes_on)));
        Self {
            tones: self.tones,
            packets: self.packets + more.packets,
            lost: self.lost + more.lost,
            energy: self.energy + more.energy,
            gap: self.gap.max(more.gap),
        }
    }
}

/// A running client. Dropping it ends it.
#[derive(Debug)]
pub struct Peer {
    /// Dropped first: a client whose input ends closes its browser and itself.
    orders: Option<ChildStdin>,
    lines: Receiver<Value>,
    earlier: VecDeque<Value>,
    process: Process,
    /// Browsers run one at a time: two on two cores would test each other's patience.
    _turn: Option<MutexGuard<'static, ()>>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Kind {
    /// What is needed to run it, or what is missing.
    fn tools(self) -> Result<Tools, String> {
        let tools = programs::tools();
        let missing = |what: &str| format!("{what} is missing: run scripts/setup.sh clients");
        if self == Self::Aiortc {
            let python = tools.join("venv/bin/python");
            let there = python.is_file().then_some(Tools { program: python, browser: None });
            return there.ok_or_else(|| missing("aiortc"));
        }
        let names: &[&str] = match self {
            Self::Firefox => &["firefox-esr", "firefox"],
            Self::Chromium | Self::Aiortc => &["chromium", "google-chrome-stable"],
        };
        let browser = programs::installed(names).ok_or_else(|| missing(names[0]))?;
        let program = programs::installed(&["node"]).ok_or_else(|| missing("node"))?;
        if !tools.join("node_modules/puppeteer-core").is_dir() {
            return Err(missing("puppeteer-core"));
        }
        Ok(Tools { program, browser: Some(browser) })
    }

    fn script(self) -> PathBuf {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        clients.join(if self == Self::Aiortc { "aiortc_client.py" } else { "browser.mjs" })
    }
}

/// Runs a script of the page's, which finds its tools by the environment, and returns how it ended;
/// `None`, with a line that says so, if something is missing.
pub fn run_with_chromium(script: &Path) -> Option<Output> {
    let tools = match Kind::Chromium.tools() {
        Ok(tools) => tools,
        Err(why) => {
            skip(&why);
            return None;
        }
    };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut node = Command::new(tools.program);
    node.arg(script).env("PUPPETEER_DIR", programs::tools());
    node.env("CHROMIUM", tools.browser.unwrap());
    Some(node.output().unwrap())
}

struct Tools {
    program: PathBuf,
    browser: Option<PathBuf>,
}

impl Peer {
    /// Starts a client on a host; `None`, with a line that says so, if it is not installed.
    pub fn start(kind: Kind, host: &Host, part: Part<'_>, folder: &Path) -> Option<Self> {
        let tools = match kind.tools() {
            Ok(tools) => tools,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let turn =
            tools.browser.is_some().then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
        let microphone = folder.join("microphone.wav");
        fs::write(&microphone, tones::wav(part.silence_ms)).unwrap();
        let settings = json!({
            "origin": part.origin,
            "model": part.model,
            "tools": programs::tools(),
            "browser": tools.browser,
            "product": if kind == Kind::Firefox { "firefox" } else { "chrome" },
            "profile": folder.join("profile"),
            "microphone": microphone,
            "tones": tones::HERTZ,
        });
        let name = format!("{kind:?}").to_lowercase();
        let arguments = [kind.script().into_os_string(), settings.to_string().into()];
        let mut process = Process::start(host, &name, &tools.program, arguments, folder);
        let (orders, output) = process.pipes();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(json!({ "noise": line }));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let earlier = VecDeque::new();
        Some(Self { orders: Some(orders), lines, earlier, process, _turn: turn })
    }

    /// Has it do something, and returns what it says about it. Fails the test if it cannot.
    pub fn ask(&mut self, order: &Value) -> Value {
        match self.attempt(order) {
            Ok(answer) => answer,
            Err(why) => panic!("the client cannot {}: {why}", order["do"]),
        }
    }

    /// Has it do something that may fail.
    pub fn attempt(&mut self, order: &Value) -> Result<Value, String> {
        let what = order["do"].clone();
        writeln!(self.orders.as_mut().unwrap(), "{order}").expect("the client is there");
        let answer = self.wait_for(&format!("an answer to {what}"), |line| {
            line["did"] == what || line["failed"] == what
        });
        match answer["why"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }

    /// Calls; returns what the client knows of the call, its `id` above all.
    pub fn call(&mut self) -> Value {
        self.ask(&json!({ "do": "call" }))
    }

    /// Sends a message on the data channel.
    pub fn say(&mut self, text: &str) {
        self.ask(&json!({ "do": "say", "text": text }));
    }

    /// What it heard since the last question.
    pub fn heard(&mut self) -> Heard {
        let answer = self.ask(&json!({ "do": "heard" }));
        let number = |name: &str| answer[name].as_u64().unwrap_or_else(|| panic!("{answer}"));
        let tones = answer["tones"].as_array().unwrap();
        Heard {
            tones: tones.iter().map(|hertz| hertz.as_u64().unwrap().try_into().unwrap()).collect(),
            packets: number("packets"),
            lost: number("lost"),
            energy: answer["energy"].as_f64().unwrap(),
            gap: Duration::from_millis(number("gap_ms")),
        }
    }

    /// Waits until it has heard so many tones in their order since the last question.
    pub fn hears_tones(&mut self, count: usize, patience: Duration) -> Heard {
        let deadline = Instant::now() + patience;
        let mut all = self.heard();
        while tones::longest_run(&all.tones) < count {
            assert!(Instant::now() < deadline, "not {count} tones in order: {all:?}");
            std::thread::sleep(Duration::from_millis(100));
            all = all.and(&self.heard());
        }
        all
    }

    /// Waits until it has heard anything but silence for so many packets.
    pub fn hears_something(&mut self, packets: u64, patience: Duration) -> Heard {
        let deadline = Instant::now() + patience;
        let mut all = self.heard();
        while all.packets < packets || all.energy < AUDIBLE {
            assert!(Instant::now() < deadline, "not {packets} packets with sound: {all:?}");
            std::thread::sleep(Duration::from_millis(100));
            all = all.and(&self.heard());
        }
        all
    }

    /// Waits for something that it says by itself, now or earlier.
    pub fn wait_for(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.earlier.iter().position(&is_it) {
            return self.earlier.remove(place).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                self.process.assert_running();
                panic!("no {what} from the client, but: {:?}", self.earlier);
            };
            if is_it(&line) {
                return line;
            }
            self.earlier.push_back(line);
        }
    }

    /// Waits for a message on the data channel.
    pub fn wait_for_message(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let message = self.wait_for("such message", |line| {
            line["event"] == "message" && line["text"].as_str().is_some_and(&is_it)
        });
        message["text"].as_str().unwrap().to_owned()
    }

    /// Waits until its connection is in one of these states.
    pub fn wait_for_state(&mut self, states: &[&str]) -> String {
        let state = self.wait_for(&format!("state {states:?}"), |line| {
            line["event"] == "state" && states.iter().any(|state| line["state"] == *state)
        });
        state["state"].as_str().unwrap().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        // A browser that does not close in time is killed with its script.
        while self.process.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if std::thread::panicking() {
            println!("--- what the client said: {:?}", self.earlier);
        }
    }
}
