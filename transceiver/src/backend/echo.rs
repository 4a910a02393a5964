//! Returns every audio packet and every message as it comes: the reference for measuring.

use super::{Backend, Backends, Heard, Invitation, Line, Message, Unavailable};

/// Makes echoes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echoes;

impl Backends for Echoes {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn description(&self) -> &'static str {
        "returns every packet and every message at once, for measuring"
    }

    fn invite(&self, _: Invitation) -> Result<Box<dyn Backend>, Unavailable> {
        Ok(Box::new(Echo))
    }
}

struct Echo;

impl Backend for Echo {
    fn on_audio(&mut self, heard: Heard, line: &mut Line) {
        // Full only if one wake-up brought more than any client sends: then it is lost, as on a
        // network.
        let _ = line.pass_on(heard.opus, heard.time_48k);
    }

    fn on_message(&mut self, message: Message, line: &mut Line) {
        // A client that sends faster than it reads loses messages rather than our memory.
        let _ = line.send(message);
    }
}
