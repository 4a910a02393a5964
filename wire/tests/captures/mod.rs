//! Reads the captured datagrams beside this file; README.md there tells how they were made.

use std::path::Path;

/// One datagram.
pub(crate) struct Capture {
    /// The file's name, which tells client and occasion.
    pub(crate) name: String,
    /// What was on the wire.
    pub(crate) bytes: Vec<u8>,
}

impl Capture {
    /// Whether this is an ICE connectivity or consent check.
    pub(crate) fn is_check(&self) -> bool {
        !self.name.contains("client-hello") && !self.name.contains("goog-ping")
    }
}

/// All of them.
pub(crate) fn captures() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut captures: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| Capture {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            bytes: hex(&std::fs::read_to_string(&path).unwrap()),
        })
        .collect();
    captures.sort_by(|a, b| a.name.cmp(&b.name));
    captures
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .map(|character| character.to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
