//! A file in Apache Parquet's format with the fields of CloudFront's standard log. All values are strings, and the names of the
//! columns are those of the tables that Athena's documentation creates for CloudFront's Parquet files (Amazon Athena User
//! Guide, "Create a table for CloudFront logs in Athena using manual partitioning with Parquet").

use std::{fs::File, io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as PhysicalType},
    data_type::{ByteArray, ByteArrayType},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::{Type, TypePtr},
};

use super::cloudfront::NAMES;

/// Lines of a row group, which are in memory until they are written: about 10 MB.
const LINES: usize = if cfg!(test) { 3 } else { 10_000 };

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    writer: SerializedFileWriter<File>,
    /// Lines without line feeds.
    text: Vec<u8>,
    lines: Vec<Range<usize>>,
}

impl ParquetFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let schema = schema()?;
        let writer = SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties));
        Ok(Self { writer: writer?, text: Vec::new(), lines: Vec::new() })
    }

    /// Adds a line of version 1 of CloudFront's standard log.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let start = self.text.len();
        self.text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        self.lines.push(start..self.text.len());
        if self.lines.len() == LINES { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> io::Result<()> {
        let text = Bytes::from(std::mem::take(&mut self.text));
        let count = self.lines.len();
        let mut columns: Vec<_> = NAMES.iter().map(|_| Vec::with_capacity(count)).collect();
        for line in self.lines.drain(..) {
            let line = text.slice(line);
            // Each line of this program has all fields; a missing one would be empty.
            let mut values = line.split(|byte| *byte == b'\t');
            for column in &mut columns {
                column.push(ByteArray::from(line.slice_ref(values.next().unwrap_or_default())));
            }
        }
        Ok(self.write_columns(&columns)?)
    }

    fn write_columns(&mut self, columns: &[Vec<ByteArray>]) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for values in columns {
            if let Some(mut column) = group.next_column()? {
                column.typed::<ByteArrayType>().write_batch(values, None, None)?;
                column.close()?;
            }
        }
        group.close().map(drop)
    }

    /// Writes the rest, and syncs the file.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.write_group()?;
        }
        self.writer.into_inner()?.sync_all()
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let column = |name: &&str| {
        let name = name.replace(['-', '('], "_").replace(')', "").to_ascii_lowercase();
        let column = Type::primitive_type_builder(&name, PhysicalType::BYTE_ARRAY);
        let column = column.with_repetition(Repetition::REQUIRED);
        column.with_logical_type(Some(LogicalType::String)).build().map(Arc::new)
    };
    let columns = NAMES.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("log").with_fields(columns).build().map(Arc::new)
}
