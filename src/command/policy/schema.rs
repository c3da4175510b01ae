//! `bulkhead policy schema`: the format, for editors.

use std::io::{self, Write};

use super::Exit;

pub(super) fn run(output: &mut impl Write) -> io::Result<Exit> {
    serde_json::to_writer_pretty(&mut *output, &crate::decide::schema())?;
    output.write_all(b"\n")?;
    Ok(Exit::Done)
}
