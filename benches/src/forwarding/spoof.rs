use anyhow::Result;

use crate::command_line::Spoof;

pub(crate) fn run(_options: &Spoof) -> Result<()> {
    anyhow::bail!("later")
}
