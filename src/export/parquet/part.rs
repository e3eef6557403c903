//! One Parquet file of a table: rows of [`Cell`]s, gathered by column and written as a row group when there are enough.
//!
//! Its memory is that of one row group.
#![forbid(unsafe_code)]

use super::tables::{Column, ColumnType, Table};
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

/// Rows of a row group.
const ROWS: usize = 1 << 16;
/// Bytes of text after which a row group is written, also with fewer rows.
const BYTES: usize = 16 << 20;
/// Longer texts are not compared with those of earlier rows.
const SHORT: usize = 256;

/// The version of the tables.
const VERSION: &str = "1";

/// A value of a row.
#[derive(Clone, Copy)]
pub(super) enum Cell<'t, 'a> {
    /// Unknown.
    Null,
    /// A number or a time in microseconds.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// A text that stays at its address while the trace is open, and is recognised by that address.
    Lasting(&'t str),
    /// Any other text.
    Text(&'a str),
    /// A hash as 16 hexadecimal digits; NULL for 0.
    Hash(u64),
}

impl<'t> Cell<'t, '_> {
    /// A number that may be unknown.
    pub(super) fn int(value: Option<impl Into<i64>>) -> Cell<'t, 'static> {
        value.map_or(Cell::Null, |value| Cell::Int(value.into()))
    }

    /// A text that may be unknown.
    pub(super) fn lasting(value: Option<&'t str>) -> Cell<'t, 'static> {
        value.map_or(Cell::Null, Cell::Lasting)
    }

    /// A number without sign; NULL beyond 63 bits.
    pub(super) fn count(value: u64) -> Cell<'t, 'static> {
        Cell::int(i64::try_from(value).ok())
    }
}

enum Values {
    Text(Vec<ByteArray>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

struct Buffer {
    values: Values,
    /// 1 for a value, 0 for NULL.
    defined: Vec<i16>,
}

/// The texts of the row group so far.
#[derive(Default)]
struct KnownTexts {
    places: HashMap<(usize, usize), ByteArray>,
    hashes: HashMap<u64, ByteArray>,
    texts: HashMap<Box<str>, ByteArray>,
}

/// A file that is being written.
pub(super) struct Part {
    writer: SerializedFileWriter<File>,
    buffers: Vec<Buffer>,
    met: KnownTexts,
    rows: usize,
    bytes: usize,
}

impl Part {
    pub(super) fn new(table: &Table, file: File, about: &[(&str, String)]) -> Result<Part> {
        let buffer = |column: &Column| Buffer {
            values: match column.1 {
                ColumnType::Text => Values::Text(Vec::new()),
                ColumnType::Truth => Values::Bool(Vec::new()),
                _ => Values::Int(Vec::new()),
            },
            defined: Vec::new(),
        };
        let writer = SerializedFileWriter::new(file, Arc::new(schema(table)?), Arc::new(properties(table, about)))?;
        let buffers = table.columns().map(buffer).collect();
        Ok(Part { writer, buffers, met: KnownTexts::default(), rows: 0, bytes: 0 })
    }

    /// Adds a row: a cell for each column.
    pub(super) fn push(&mut self, row: &[Cell<'_, '_>]) -> Result<()> {
        debug_assert_eq!(row.len(), self.buffers.len());
        for (buffer, cell) in self.buffers.iter_mut().zip(row) {
            let defined = match (&mut buffer.values, *cell) {
                (Values::Int(values), Cell::Int(value)) => {
                    values.push(value);
                    true
                }
                (Values::Bool(values), Cell::Bool(value)) => {
                    values.push(value);
                    true
                }
                (Values::Text(values), cell) => match self.met.text(cell, &mut self.bytes) {
                    Some(text) => {
                        values.push(text);
                        true
                    }
                    None => false,
                },
                _ => false,
            };
            buffer.defined.push(i16::from(defined));
        }
        self.rows += 1;
        if self.rows >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the gathered rows as a row group.
    fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for buffer in &mut self.buffers {
            let Some(mut column) = group.next_column()? else { break };
            let defined = Some(buffer.defined.as_slice());
            match &mut buffer.values {
                Values::Text(values) => {
                    column.typed::<ByteArrayType>().write_batch(values, defined, None)?;
                    values.clear();
                }
                Values::Int(values) => {
                    column.typed::<Int64Type>().write_batch(values, defined, None)?;
                    values.clear();
                }
                Values::Bool(values) => {
                    column.typed::<BoolType>().write_batch(values, defined, None)?;
                    values.clear();
                }
            }
            column.close()?;
            buffer.defined.clear();
        }
        group.close()?;
        (self.met, self.rows, self.bytes) = (KnownTexts::default(), 0, 0);
        Ok(())
    }

    /// Writes the rest, and syncs it to the disk.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.writer.into_inner()?.sync_all()?;
        Ok(())
    }
}

impl KnownTexts {
    fn text(&mut self, cell: Cell<'_, '_>, bytes: &mut usize) -> Option<ByteArray> {
        let new = |text: &str, bytes: &mut usize| {
            *bytes += text.len();
            ByteArray::from(text)
        };
        Some(match cell {
            Cell::Lasting(text) => {
                let place = (text.as_ptr() as usize, text.len());
                self.places.entry(place).or_insert_with(|| new(text, bytes)).clone()
            }
            Cell::Hash(0) => return None,
            Cell::Hash(hash) => self.hashes.entry(hash).or_insert_with(|| new(&format!("{hash:016x}"), bytes)).clone(),
            Cell::Text(text) if text.len() > SHORT => new(text, bytes),
            Cell::Text(text) => match self.texts.get(text) {
                Some(known) => known.clone(),
                None => {
                    let text_ = new(text, bytes);
                    self.texts.insert(text.into(), text_.clone());
                    text_
                }
            },
            _ => return None,
        })
    }
}

fn schema(table: &Table) -> Result<Type> {
    let columns = table.columns().map(|&Column(name, holds, _)| {
        let physical = match holds {
            ColumnType::Text => Physical::BYTE_ARRAY,
            ColumnType::Truth => Physical::BOOLEAN,
            _ => Physical::INT64,
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        let builder = match holds {
            ColumnType::Text => builder.with_logical_type(Some(LogicalType::String)),
            ColumnType::Time => builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            _ => builder.with_converted_type(ConvertedType::NONE),
        };
        Ok(Arc::new(builder.build()?))
    });
    Type::group_type_builder(table.name).with_fields(columns.collect::<Result<_>>()?).build()
}

fn properties(table: &Table, about: &[(&str, String)]) -> WriterProperties {
    let columns: serde_json::Map<String, serde_json::Value> =
        table.columns().map(|&Column(name, _, what)| (name.to_owned(), what.into())).collect();
    let pairs = [("locktrace.schema", VERSION.to_owned()), ("locktrace.columns", serde_json::Value::Object(columns).to_string())];
    let pairs = pairs.into_iter().chain(about.iter().cloned());
    let pairs = pairs.map(|(key, value)| KeyValue { key: key.to_owned(), value: Some(value) });
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("locktrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(pairs.collect()));
    for Column(name, holds, _) in table.columns() {
        if matches!(holds, ColumnType::Count | ColumnType::Time) {
            let column = ColumnPath::from(*name);
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::parquet::tables::STATEMENTS;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    /// Rows of each row group of a file with this many rows, whose texts are this long.
    fn groups(rows: i64, length: usize) -> Vec<i64> {
        let file = tempfile::tempfile().unwrap();
        let mut part = Part::new(&STATEMENTS, file.try_clone().unwrap(), &[]).unwrap();
        let text = "x".repeat(length);
        for row in 0..rows {
            part.push(&[Cell::Hash(7), Cell::Text(&text), Cell::Int(row)]).unwrap();
        }
        part.finish().unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect()
    }

    #[test]
    fn row_groups_are_bounded_in_rows_and_in_bytes() {
        assert_eq!(groups(ROWS as i64 + 1, 1), [ROWS as i64, 1]);
        assert_eq!(groups(40, BYTES / 16), [16, 16, 8]);
    }
}
