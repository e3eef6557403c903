//! Records spooled by row, for a format that writes row by row what the pass finds in order of time.
//!
//! The records of a row can be read any number of times. Those that do not fit into the buffers go to one unnamed temporary file.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// A row's buffer is written out at this many bytes, and every buffer when all of them together reach [`ALL`].
const ONE: usize = 1 << 16;
const ALL: usize = 1 << 24;

/// See the module.
#[derive(Default)]
pub(super) struct SpooledRows {
    file: Option<File>,
    /// Bytes in the file.
    length: u64,
    rows: Vec<SpooledRow>,
    buffered: usize,
}

#[derive(Default)]
struct SpooledRow {
    buffer: Vec<u8>,
    /// The blocks that were written out: offset and length.
    blocks: Vec<(u64, usize)>,
}

impl SpooledRows {
    /// Adds a record to a row. Rows are numbered from 0 without gaps.
    pub(super) fn put(&mut self, row: usize, record: &[u8]) -> io::Result<()> {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, SpooledRow::default);
        }
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        let buffer = &mut self.rows[row].buffer;
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(record);
        self.buffered += 4 + record.len();
        if buffer.len() >= ONE {
            self.write_out(row)?;
        }
        if self.buffered >= ALL {
            (0..self.rows.len()).try_for_each(|row| self.write_out(row))?;
        }
        Ok(())
    }

    fn write_out(&mut self, row: usize) -> io::Result<()> {
        let row = &mut self.rows[row];
        if row.buffer.is_empty() {
            return Ok(());
        }
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("a temporary file in {}: {error}", std::env::temp_dir().display()))
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(failed)?),
        };
        file.write_all_at(&row.buffer, self.length).map_err(failed)?;
        row.blocks.push((self.length, row.buffer.len()));
        self.length += row.buffer.len() as u64;
        self.buffered -= row.buffer.len();
        row.buffer = Vec::new();
        Ok(())
    }

    /// Passes every record of a row to `take`, in the order in which they were added.
    pub(super) fn each(&self, row: usize, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some(row) = self.rows.get(row) else { return Ok(()) };
        let mut block = Vec::new();
        for &(at, length) in &row.blocks {
            block.resize(length, 0);
            if let Some(file) = &self.file {
                file.read_exact_at(&mut block, at)?;
            }
            records(&block, &mut take)?;
        }
        records(&row.buffer, &mut take)
    }
}

fn records(mut block: &[u8], take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut length = [0; 4];
    while !block.is_empty() {
        block.read_exact(&mut length)?;
        let (record, rest) = block.split_at_checked(u32::from_le_bytes(length) as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        take(record)?;
        block = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_records_in_order() {
        let mut spool = SpooledRows::default();
        // 400 rows with less than a block each, and one with several: both reasons to write out.
        for i in 0..60_000u32 {
            let row = if i % 3 == 0 { 0 } else { 1 + i as usize % 400 };
            spool.put(row, &[i.to_le_bytes().as_slice(), &vec![7; i as usize % 1000]].concat()).unwrap();
        }
        assert!(spool.length > ALL as u64 && spool.buffered < ALL);
        let mut seen = 0;
        for row in 0..500 {
            let mut last = None;
            spool
                .each(row, |record| {
                    let i = u32::from_le_bytes(record[..4].try_into().unwrap());
                    assert!(last.is_none_or(|last| last < i));
                    assert_eq!((record.len(), if i % 3 == 0 { 0 } else { 1 + i as usize % 400 }), (4 + i as usize % 1000, row));
                    (last, seen) = (Some(i), seen + 1);
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(seen, 60_000);
    }
}
