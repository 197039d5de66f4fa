//! The options of the access log.

use std::path::PathBuf;

/// The text format of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Json,
    /// Apache's "combined", with the result type appended.
    Combined,
    /// CloudFront's standard log, version 1, in hourly files.
    CloudFrontV1,
    /// The same fields as JSON, as in version 2.
    CloudFrontV2,
    /// The same in Apache Parquet's format.
    CloudFrontV2Parquet,
}

impl Format {
    /// Whether records are in files for each distribution and hour.
    pub(crate) const fn is_in_files(self) -> bool {
        matches!(self, Self::CloudFrontV1 | Self::CloudFrontV2 | Self::CloudFrontV2Parquet)
    }
}

/// The access log's format and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The text format; `None` disables the log.
    pub format: Option<Format>,
    /// The file to append to; `None` is standard output. For CloudFront's format, a folder.
    pub path: Option<PathBuf>,
    /// The size in bytes of text at which a file in CloudFront's format is finished.
    pub max_file_size: u64,
    /// Whether files in CloudFront's format are in directories that Hive takes for partitions.
    pub hive_directories: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: Some(Format::Json),
            path: None,
            max_file_size: 64 << 20,
            hive_directories: false,
        }
    }
}
